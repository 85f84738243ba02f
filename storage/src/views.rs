//! The read model: one sealed document a user, which is also the snapshot that commands start from.

mod keys;

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use domain::{FOLD, User, UserId, Version};
use serde::{Deserialize, Serialize};

pub use keys::ViewKeys;

use crate::error::Unavailable;
use crate::items::{Item, PAGE, Wanted, b, batch_get, n, number, octets, s, text};
use crate::keys::KeyId;
use crate::log::{CommitHash, Head, Snapshot};
use crate::parking::{Parked, mark, marks};
use crate::seal::{Binding, Purpose, open, seal, user_key};

/// The views table.
#[derive(Debug, Clone)]
pub struct Views {
    pub(crate) client: Client,
    pub(crate) table: String,
    keys: ViewKeys,
    fold: u32,
}

/// A view as it was found.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "most are of use, and each is looked at once")]
pub enum View {
    /// There is none.
    Absent,
    /// One that is of use.
    Of(Snapshot),
    /// One that is of no use to this code: of another fold number, or nothing but a mark.
    Foreign {
        /// The version in its key attributes.
        version: Version,
        /// The fold number.
        fold: u32,
    },
    /// One that does not open: torn, tampered with, or of a version or user not its own.
    Torn(TornView),
}

/// A view with what its item says besides.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredView {
    /// Whose it is.
    pub user: UserId,
    /// What it is worth.
    pub view: View,
    /// Whether the user is parked, and why.
    pub parked: Option<Parked>,
    /// How often the user has been parked.
    pub marks: u64,
}

/// A view that does not open, as it was read, so that nothing but it is replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct TornView(Item);

/// What a new document may replace.
#[derive(Debug, Clone, PartialEq)]
pub enum Replacing {
    /// Views that know less: of the same fold number and a lower version, or of a lower fold number and no higher
    /// version.
    Older,
    /// The same, and those of the same version and fold number.
    OlderOrEqual,
    /// Views of no higher version, whatever their fold number: what newer code has left behind after a roll-back. Code
    /// of a higher number that still runs makes its own again, so nothing but work is lost where both do.
    OfAnyFold,
    /// This view, which does not open.
    Torn(TornView),
}

/// What became of a document, or of a mark, or of its deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is in the table, or gone from it.
    Written,
    /// Another one stands in its place.
    Lost,
}

/// One page of the views table.
#[derive(Debug, Clone)]
pub struct ViewPage {
    /// The views.
    pub views: Vec<StoredView>,
    /// Items whose key is no user id.
    pub malformed: u64,
    /// Where the next page starts; `None` after the last.
    pub next: Option<ViewCursor>,
}

/// A place in the views table.
#[derive(Debug, Clone)]
pub struct ViewCursor(pub(crate) Item);

#[derive(Serialize, Deserialize)]
struct Document<U> {
    user: U,
    head: String,
}

impl Views {
    /// The table with the keys that open it.
    pub const fn new(client: Client, table: String, keys: ViewKeys) -> Self {
        Self { client, table, keys, fold: FOLD }
    }

    /// The same table as code of another fold number sees it: during a migration, and in tests of one.
    #[must_use]
    pub fn with_fold(self, fold: u32) -> Self {
        Self { fold, ..self }
    }

    /// The name of the table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The fold number of the documents put and of use here.
    pub const fn fold(&self) -> u32 {
        self.fold
    }

    /// The view of a user. Eventually consistent, and so never the last word.
    pub async fn read(&self, user: UserId) -> Result<View, Unavailable> {
        let mut views = self.read_all(&[user], false).await?;
        Ok(views.pop().map_or(View::Absent, |stored| stored.view))
    }

    /// The views of several users, in the same order.
    pub async fn read_all(&self, users: &[UserId], consistent: bool) -> Result<Vec<StoredView>, Unavailable> {
        let keys = users.iter().map(|user| view_key(*user)).collect();
        let mut found =
            batch_get(&self.client, vec![Wanted { table: &self.table, keys, consistent }]).await?;
        let items = found.remove(&self.table).unwrap_or_default();
        let mut by_user: HashMap<UserId, Item> =
            items.into_iter().filter_map(|item| Some((user_of(&item)?, item))).collect();
        Ok(users.iter().map(|user| self.stored(*user, by_user.remove(user))).collect())
    }

    /// One page of the whole table, eventually consistent.
    pub async fn page(&self, from: Option<ViewCursor>) -> Result<ViewPage, Unavailable> {
        let answer = self
            .client
            .scan()
            .table_name(&self.table)
            .limit(PAGE)
            .set_exclusive_start_key(from.map(|ViewCursor(key)| key))
            .send()
            .await?;
        let (mut views, mut malformed) = (Vec::new(), 0);
        for item in answer.items.unwrap_or_default() {
            match user_of(&item) {
                Some(user) => views.push(self.stored(user, Some(item))),
                None => malformed += 1,
            }
        }
        Ok(ViewPage { views, malformed, next: answer.last_evaluated_key.map(ViewCursor) })
    }

    /// Deletes the view of a user who has no log, unless it has changed since it was read, or somebody has marked it:
    /// [`Put::Lost`].
    pub async fn sweep(&self, stored: &StoredView) -> Result<Put, Unavailable> {
        let (version, marks) = match &stored.view {
            View::Absent => return Ok(Put::Written),
            View::Of(snapshot) => {
                (Some(n(snapshot.head.version)), (stored.marks > 0).then(|| n(stored.marks)))
            }
            View::Foreign { version, .. } => (Some(n(version)), (stored.marks > 0).then(|| n(stored.marks))),
            View::Torn(TornView(item)) => (item.get("version").cloned(), item.get("marks").cloned()),
        };
        let mut request =
            self.client.delete_item().table_name(&self.table).set_key(Some(view_key(stored.user)));
        let mut unchanged = Vec::new();
        for (name, value, read) in [("#version", ":version", version), ("#marks", ":marks", marks)] {
            unchanged.push(match read {
                Some(read) => {
                    request = request.expression_attribute_values(value, read);
                    format!("{name} = {value}")
                }
                None => format!("attribute_not_exists({name})"),
            });
        }
        let request = request
            .condition_expression(unchanged.join(" AND "))
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#marks", "marks");
        match request.send().await {
            Ok(_) => Ok(Put::Written),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DeleteItemError::is_conditional_check_failed_exception) =>
            {
                Ok(Put::Lost)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn stored(&self, user: UserId, item: Option<Item>) -> StoredView {
        let parked = item.as_ref().and_then(mark);
        let marks = item.as_ref().and_then(marks).unwrap_or_default();
        StoredView { user, view: self.open(user, item), parked, marks }
    }

    /// What an item of the table is worth.
    pub(crate) fn open(&self, user: UserId, item: Option<Item>) -> View {
        let Some(item) = item else { return View::Absent };
        let (Ok(version), Ok(fold)) = (number(&item, "version").map(Version::new), number(&item, "fold"))
        else {
            return View::Torn(TornView(item));
        };
        if marks(&item).is_none() {
            return View::Torn(TornView(item));
        }
        if fold != self.fold || version == Version::NONE {
            return View::Foreign { version, fold };
        }
        self.open_document(user, version, &item).map_or_else(|| View::Torn(TornView(item)), View::Of)
    }

    fn open_document(&self, user: UserId, version: Version, item: &Item) -> Option<Snapshot> {
        let key = |id: &KeyId| user_key(&self.keys.ring.get(id)?, Purpose::View, user).ok();
        let sealed = octets(item, "sealed").ok()?;
        let plain = self.bound(user, version, |binding| open(sealed, key, binding)).ok()?;
        let document: Document<User> = serde_json::from_slice(&plain).ok()?;
        let hash = STANDARD_NO_PAD.decode(document.head).ok()?.as_slice().try_into().ok()?;
        Some(Snapshot { user: document.user, head: Head { version, hash: CommitHash(hash) } })
    }

    /// Puts a document without having read the view, on condition of what it may replace, and that the user was never
    /// parked.
    pub async fn put(
        &self,
        user: UserId,
        snapshot: &Snapshot,
        replacing: Replacing,
    ) -> Result<Put, Unavailable> {
        self.put_after(user, snapshot, replacing, 0).await
    }

    /// Puts a document, on condition of what it may replace, and that the user was not parked since `marks` were read.
    ///
    /// A mark goes with the view it stands on, but not with a log read before it: the record of the commit that could
    /// not be read counts as handled, so the mark would be gone, and nothing would come again.
    pub async fn put_after(
        &self,
        user: UserId,
        snapshot: &Snapshot,
        replacing: Replacing,
        marks: u64,
    ) -> Result<Put, Unavailable> {
        let version = snapshot.head.version;
        let document = Document { user: &snapshot.user, head: STANDARD_NO_PAD.encode(snapshot.head.hash.0) };
        let plain = serde_json::to_vec(&document).map_err(|error| Unavailable(Box::new(error)))?;
        let (id, secret) = self.keys.ring.current();
        let secret = user_key(&secret, Purpose::View, user)?;
        let sealed = self.bound(user, version, |binding| seal((&id, &secret), binding, &plain))?;
        let request = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("user", s(user.to_string()))
            .item("version", n(version))
            .item("fold", n(self.fold))
            .item("sealed", b(sealed))
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#fold", "fold");
        let as_read = match (&replacing, marks) {
            (Replacing::Torn(_), _) => None,
            (_, 0) => Some("attribute_not_exists(#marks)"),
            (_, _) => Some("#marks = :marks"),
        };
        let request = match replacing {
            Replacing::Older => request
                .condition_expression(
                    "attribute_not_exists(#user) OR (#fold = :fold AND #version < :version) \
                     OR (#fold < :fold AND #version <= :version)",
                )
                .expression_attribute_names("#user", "user")
                .expression_attribute_values(":fold", n(self.fold))
                .expression_attribute_values(":version", n(version)),
            Replacing::OlderOrEqual => request
                .condition_expression(
                    "attribute_not_exists(#user) OR (#fold <= :fold AND #version <= :version)",
                )
                .expression_attribute_names("#user", "user")
                .expression_attribute_values(":fold", n(self.fold))
                .expression_attribute_values(":version", n(version)),
            Replacing::OfAnyFold => request
                .condition_expression(
                    "attribute_not_exists(#user) OR (#fold >= :none AND #version <= :version)",
                )
                .expression_attribute_names("#user", "user")
                .expression_attribute_values(":none", n(0))
                .expression_attribute_values(":version", n(version)),
            Replacing::Torn(TornView(torn)) => {
                let mut condition = Vec::new();
                let mut request = request;
                for (name, alias, value) in [
                    ("version", "#version", ":version"),
                    ("fold", "#fold", ":fold"),
                    ("sealed", "#sealed", ":sealed"),
                    ("marks", "#marks", ":marks_read"),
                ] {
                    condition.push(match torn.get(name) {
                        Some(read) => {
                            request = request.expression_attribute_values(value, read.clone());
                            format!("{alias} = {value}")
                        }
                        None => format!("attribute_not_exists({alias})"),
                    });
                }
                request
                    .condition_expression(condition.join(" AND "))
                    .expression_attribute_names("#sealed", "sealed")
            }
        };
        let mut request = request.expression_attribute_names("#marks", "marks");
        if let (Some(as_read), Some(condition)) = (as_read, request.get_condition_expression()) {
            let condition = format!("({condition}) AND {as_read}");
            request = request.condition_expression(condition);
            if marks > 0 {
                request = request.expression_attribute_values(":marks", n(marks));
            }
        }
        if marks > 0 {
            request = request.item("marks", n(marks));
        }
        match request.send().await {
            Ok(_) => Ok(Put::Written),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Ok(Put::Lost)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn bound<T>(&self, user: UserId, version: Version, with: impl FnOnce(&Binding<'_>) -> T) -> T {
        let (version, fold) = (version.number().to_be_bytes(), self.fold.to_be_bytes());
        with(&Binding {
            deployment: &self.keys.deployment,
            purpose: Purpose::View,
            user,
            item: "view",
            also: &[&version, &fold],
        })
    }
}

/// Whose an item is, by its key: an id in the one form in which it is looked up.
pub(crate) fn user_of(item: &Item) -> Option<UserId> {
    let key = text(item, "user").ok()?;
    key.parse().ok().filter(|user: &UserId| user.to_string() == key)
}

pub(crate) fn view_key(user: UserId) -> Item {
    Item::from([("user".to_owned(), AttributeValue::S(user.to_string()))])
}
