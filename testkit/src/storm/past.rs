use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use super::json;
use crate::in_process::InProcess;

/// So many former states of an item, and former answers to a query, are remembered.
const REMEMBERED: usize = 4;

/// What tables held before, for reads that may be late.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The names of each table's key attributes.
    keys: HashMap<String, Vec<String>>,
    /// What lay in an item's place, latest last; `None` if nothing did.
    items: HashMap<Place, VecDeque<Option<Value>>>,
    /// What lies where a write is about to take effect.
    before: Vec<(Place, Option<Value>)>,
    /// What was answered to a query or scan, by its operation and body.
    answers: HashMap<(String, String), VecDeque<String>>,
}

/// A table, and an item's key in it.
type Place = (String, String);

impl Past {
    /// Looks at what a write is about to replace.
    pub(super) fn look(&mut self, engine: &InProcess, operation: &str, body: &str) {
        self.before.clear();
        for (table, key) in self.written(operation, &json(body)) {
            let get = serde_json::json!({ "TableName": table, "Key": key, "ConsistentRead": true });
            let (_, found) = engine.answer("GetItem", &get.to_string());
            let item = json(&found).get("Item").cloned();
            self.before.push((self.place(&table, &key), item));
        }
    }

    /// Keeps what a request that has taken effect replaced or was answered.
    pub(super) fn remember(&mut self, operation: &str, body: &str, answer: &str) {
        match operation {
            "CreateTable" => {
                let definition = json(body);
                let names = definition["KeySchema"].as_array().into_iter().flatten();
                let names = names.map(|key| text(&key["AttributeName"])).collect();
                self.keys.insert(text(&definition["TableName"]), names);
            }
            "Query" | "Scan" => {
                let question = (operation.to_owned(), body.to_owned());
                keep(self.answers.entry(question).or_default(), answer.to_owned());
            }
            _ => {}
        }
        for (place, item) in std::mem::take(&mut self.before) {
            keep(self.items.entry(place).or_default(), item);
        }
    }

    /// What an eventually consistent read is answered instead; `None` if with the truth. Of so many former states,
    /// `choose` takes one or none.
    pub(super) fn instead(
        &self,
        operation: &str,
        body: &str,
        answer: &str,
        mut choose: impl FnMut(usize) -> Option<usize>,
    ) -> Option<String> {
        let question = json(body);
        match operation {
            "GetItem" if eventual(&question) => {
                let table = text(&question["TableName"]);
                let former = self.items.get(&self.place(&table, &question["Key"]))?;
                let former = former.get(choose(former.len())?)?;
                let mut answer = json(answer);
                let current = answer.as_object_mut()?;
                let differs = current.get("Item") != former.as_ref();
                current.remove("Item");
                current.extend(former.clone().map(|item| ("Item".to_owned(), item)));
                differs.then(|| answer.to_string())
            }
            "BatchGetItem" => self.batch_instead(&question, json(answer), choose),
            "Query" | "Scan" if eventual(&question) => {
                let former = self.answers.get(&(operation.to_owned(), body.to_owned()))?;
                let former = former.get(choose(former.len())?)?;
                (former != answer).then(|| former.clone())
            }
            _ => None,
        }
    }

    fn batch_instead(
        &self,
        question: &Value,
        mut answer: Value,
        mut choose: impl FnMut(usize) -> Option<usize>,
    ) -> Option<String> {
        let mut replaced = false;
        let tables = question["RequestItems"].as_object().into_iter().flatten();
        for (table, wanted) in tables.filter(|(_, wanted)| eventual(wanted)) {
            let items = answer["Responses"][table].as_array_mut()?;
            for key in wanted["Keys"].as_array().into_iter().flatten() {
                let place = self.place(table, key);
                let former = self.items.get(&place);
                let Some(former) = former.and_then(|states| states.get(choose(states.len())?)) else {
                    continue;
                };
                let current = items.iter().position(|item| self.place(table, item) == place);
                if current.map(|index| &items[index]) != former.as_ref() {
                    current.map(|index| items.remove(index));
                    items.extend(former.clone());
                    replaced = true;
                }
            }
        }
        replaced.then(|| answer.to_string())
    }

    /// Where a request writes: tables and keys.
    fn written(&self, operation: &str, body: &Value) -> Vec<(String, Value)> {
        match operation {
            "PutItem" | "UpdateItem" | "DeleteItem" => self.action(body).into_iter().collect(),
            "TransactWriteItems" => {
                let actions = body["TransactItems"].as_array().into_iter().flatten();
                let actions = actions.filter_map(|action| action.as_object()?.iter().next());
                actions
                    .filter(|(kind, _)| *kind != "ConditionCheck")
                    .filter_map(|(_, action)| self.action(action))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn action(&self, action: &Value) -> Option<(String, Value)> {
        let table = text(&action["TableName"]);
        let key = match action.get("Key") {
            Some(key) => key.clone(),
            None => self
                .keys
                .get(&table)?
                .iter()
                .map(|name| (name.clone(), action["Item"][name].clone()))
                .collect(),
        };
        Some((table, key))
    }

    /// Where an item lies, told by the item or by its key.
    fn place(&self, table: &str, item: &Value) -> Place {
        let names = self.keys.get(table).into_iter().flatten();
        let key: Vec<String> = names.map(|name| item[name].to_string()).collect();
        (table.to_owned(), key.concat())
    }
}

fn eventual(read: &Value) -> bool {
    read["ConsistentRead"] != Value::Bool(true)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn keep<T: PartialEq>(former: &mut VecDeque<T>, one_more: T) {
    if former.back() == Some(&one_more) {
        return;
    }
    if former.len() == REMEMBERED {
        former.pop_front();
    }
    former.push_back(one_more);
}
