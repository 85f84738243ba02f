use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// The namespace of the metrics.
const NAMESPACE: &str = "Annals";
/// So many values of one metric a line may hold. [CloudWatch user guide, "Specification: Embedded metric format"]
const VALUES: usize = 100;

tokio::task_local! {
    static MEASURED: RefCell<Measured>;
}

/// Something that is counted or measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    /// `Commands`, by `Command`: a request that may change something was carried out. The name is that of its method
    /// and route; an invocation has one at most.
    Command(String),
    /// `Refusals`: a client was refused.
    Refusal,
    /// `HashTime`: how long a password hash was computed.
    HashTime(Duration),
    /// `ProjectionLag`: how long after its commit an event was in the view.
    ProjectionLag(Duration),
    /// `Parked`: users whose log could not be read.
    Parked(u64),
    /// `RefreshTokenReused`: a spent refresh token was presented again, and its session ended.
    RefreshTokenReused,
}

/// Notes something for the metrics of the invocation that this task serves; for nobody, if it serves none.
pub fn measure(measure: Measure) {
    let _ = MEASURED.try_with(|measured| measured.borrow_mut().add(measure));
}

/// Writes the metrics of a function to standard output, in the embedded metric format of CloudWatch: the function is
/// their dimension.
#[derive(Debug, Clone)]
pub struct Metrics {
    function: String,
}

/// What an invocation has measured.
#[derive(Debug, Default)]
struct Measured {
    command: Option<String>,
    /// The units and values of the others, by name.
    others: BTreeMap<&'static str, (&'static str, Vec<f64>)>,
}

impl Metrics {
    /// The metrics of the function with this name.
    pub const fn of(function: String) -> Self {
        Self { function }
    }

    /// Serves an invocation, and writes what was measured meanwhile in its task: one line, more only if there are over
    /// a hundred values of a metric, and none without any.
    pub async fn of_invocation<T>(&self, serve: impl Future<Output = T>) -> T {
        let (served, measured) = measuring(serve).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut output = std::io::stdout().lock();
        for line in measured.lines(&self.function, now) {
            // Nobody is left to tell.
            let _ = writeln!(output, "{line}");
        }
        served
    }
}

async fn measuring<T>(work: impl Future<Output = T>) -> (T, Measured) {
    let measured = async {
        let output = work.await;
        (output, MEASURED.with(RefCell::take))
    };
    MEASURED.scope(RefCell::default(), measured).await
}

impl Measured {
    fn add(&mut self, measure: Measure) {
        const COUNT: &str = "Count";
        const MILLISECONDS: &str = "Milliseconds";
        let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0;
        let (name, unit, value) = match measure {
            Measure::Command(name) => {
                self.command = Some(name);
                return;
            }
            Measure::Refusal => ("Refusals", COUNT, 1.0),
            Measure::HashTime(time) => ("HashTime", MILLISECONDS, milliseconds(time)),
            Measure::ProjectionLag(time) => ("ProjectionLag", MILLISECONDS, milliseconds(time)),
            Measure::Parked(users) => ("Parked", COUNT, f64::from(u32::try_from(users).unwrap_or(u32::MAX))),
            Measure::RefreshTokenReused => ("RefreshTokenReused", COUNT, 1.0),
        };
        self.others.entry(name).or_insert_with(|| (unit, Vec::new())).1.push(value);
    }

    /// The lines, each complete by itself. [CloudWatch user guide, "Specification: Embedded metric format"]
    fn lines(mut self, function: &str, now: Duration) -> Vec<Value> {
        let mut lines = Vec::new();
        loop {
            let mut line = json!({ "Function": function });
            let mut directives = Vec::new();
            if let Some(command) = self.command.take() {
                directives.push(directive(
                    &["Function", "Command"],
                    &[json!({"Name": "Commands", "Unit": "Count"})],
                ));
                line["Command"] = command.into();
                line["Commands"] = 1.into();
            }
            let mut metrics = Vec::new();
            for (name, (unit, values)) in &mut self.others {
                let rest = values.split_off(values.len().min(VALUES));
                let values = std::mem::replace(values, rest);
                if !values.is_empty() {
                    metrics.push(json!({ "Name": name, "Unit": unit }));
                    line[name] = values.into();
                }
            }
            if !metrics.is_empty() {
                directives.push(directive(&["Function"], &metrics));
            }
            if directives.is_empty() {
                return lines;
            }
            let timestamp = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            line["_aws"] = json!({ "Timestamp": timestamp, "CloudWatchMetrics": directives });
            lines.push(line);
        }
    }
}

fn directive(dimensions: &[&str], metrics: &[Value]) -> Value {
    json!({ "Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{Measure, measure, measuring};

    const NOW: Duration = Duration::from_millis(1_800_000_000_123);

    #[tokio::test]
    async fn an_invocation_is_one_line_in_the_embedded_metric_format() {
        let ((), measured) = measuring(async {
            measure(Measure::HashTime(Duration::from_micros(20_500)));
            tokio::task::yield_now().await;
            measure(Measure::HashTime(Duration::from_millis(3)));
            measure(Measure::Command("POST /login".to_owned()));
            measure(Measure::Refusal);
        })
        .await;
        assert_eq!(
            measured.lines("commands", NOW),
            [json!({
                "_aws": {
                    "Timestamp": 1_800_000_000_123_u64,
                    "CloudWatchMetrics": [
                        {
                            "Namespace": "Annals",
                            "Dimensions": [["Function", "Command"]],
                            "Metrics": [{"Name": "Commands", "Unit": "Count"}],
                        },
                        {
                            "Namespace": "Annals",
                            "Dimensions": [["Function"]],
                            "Metrics": [
                                {"Name": "HashTime", "Unit": "Milliseconds"},
                                {"Name": "Refusals", "Unit": "Count"},
                            ],
                        },
                    ],
                },
                "Function": "commands",
                "Command": "POST /login",
                "Commands": 1,
                "HashTime": [20.5, 3.0],
                "Refusals": [1.0],
            })]
        );
    }

    #[tokio::test]
    async fn no_line_holds_more_values_than_cloudwatch_takes_and_none_is_lost() {
        let ((), measured) = measuring(async {
            for number in 0..250 {
                measure(Measure::ProjectionLag(Duration::from_millis(number)));
            }
            measure(Measure::Parked(2));
        })
        .await;
        let lines = measured.lines("projector", NOW);
        let lags: Vec<_> =
            lines.iter().map(|line| line["ProjectionLag"].as_array().unwrap().clone()).collect();
        assert_eq!(lags.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!(lags.concat(), (0..250).map(|lag| json!(f64::from(lag))).collect::<Vec<_>>());
        assert_eq!((&lines[0]["Parked"], &lines[1]["Parked"]), (&json!([2.0]), &json!(null)));
    }

    #[tokio::test]
    async fn what_measured_nothing_says_nothing_and_nobody_need_listen() {
        measure(Measure::Refusal);
        let ((), measured) = measuring(async {}).await;
        assert!(measured.lines("commands", NOW).is_empty());
    }
}
