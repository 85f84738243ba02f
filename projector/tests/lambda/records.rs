use domain::Version;
use serde_json::{Value, json};
use testkit::{Detour, Engine, Outcome};

use crate::stream::{FIRST, Ground, Stream, batch, failed, processed};

/// Two users' first commits.
async fn two(ground: &Ground) -> (domain::UserId, domain::UserId) {
    (ground.register(1).await, ground.register(2).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_record_says_beside_its_keys_or_leaves_out_is_no_hindrance() {
    let mut stream = Stream::start().await;
    let user = stream.ground.register(1).await;
    let keys = json!({"user": {"S": user.to_string()}, "item": {"S": FIRST}});
    let image = json!({
        "user": {"S": user.to_string()}, "item": {"S": FIRST}, "command": {"S": "x"}, "at": {"S": "y"},
        "sealed": {"B": "AQID"}, "n": {"N": "1"}, "l": {"L": [{"NULL": true}, {"BOOL": false}]},
        "m": {"M": {"ss": {"SS": ["a"]}, "ns": {"NS": ["1"]}, "bs": {"BS": ["AQID"]}}},
    });
    let whole = batch(&[("INSERT", user.to_string(), FIRST)])["Records"][0].clone();
    let mut of_images = whole.clone();
    of_images["dynamodb"]["NewImage"] = image.clone();
    of_images["dynamodb"]["OldImage"] = image;
    of_images["dynamodb"]["StreamViewType"] = "NEW_AND_OLD_IMAGES".into();
    let mut of_the_future = whole.clone();
    of_the_future["eventVersion"] = "9.9".into();
    of_the_future["replicationSource"] = json!({"regions": ["eu-central-1"]});
    of_the_future["dynamodb"]["StreamViewType"] = "DIFFERENCES".into();
    of_the_future["dynamodb"]["ApproximateCreationDateTime"] = "2100-11-22T00:00:00Z".into();
    of_the_future["dynamodb"]["Vectors"] = json!([1, 2]);
    let mut of_nulls = whole.clone();
    for name in ["eventID", "eventVersion", "eventSource", "awsRegion", "eventSourceARN", "userIdentity"] {
        of_nulls[name] = Value::Null;
    }
    for name in ["ApproximateCreationDateTime", "SequenceNumber", "SizeBytes", "StreamViewType", "NewImage"] {
        of_nulls["dynamodb"][name] = Value::Null;
    }
    let bare = json!({"dynamodb": {"Keys": keys}});
    for record in [whole, of_images, of_the_future, of_nulls, bare] {
        let event = json!({"Records": [record.clone()], "window": {}});
        assert_eq!(stream.send(event).await, processed(), "{record}");
        assert_eq!(stream.ground.shown(user).await, Some(Version::new(1)), "{record}");
        stream.ground.forget(user).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_keys_fails_its_batch_loudly_and_is_not_quoted() {
    let mut stream = Stream::start().await;
    for record in [
        json!({"eventName": "INSERT", "dynamodb": {"SequenceNumber": "secret"}}),
        json!({"eventName": "INSERT", "dynamodb": {"Keys": "secret"}}),
        json!({"eventName": "INSERT", "dynamodb": {"Keys": {"user": {"S": 1, "secret": 2}}}}),
        json!("secret"),
        Value::Null,
    ] {
        let Outcome::Failed(error) = stream.function.invoke(json!({"Records": [record.clone()]})).await
        else {
            panic!("answered: {record}")
        };
        let message = "neither a batch of a DynamoDB stream nor {\"retry\": \"parked\"}";
        assert_eq!(error, json!({"errorType": "InvocationError", "errorMessage": message}), "{record}");
    }
    assert!(!stream.function.stop().await.join("\n").contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_another_kind_are_nobodys() {
    let mut stream = Stream::start().await;
    let user = stream.ground.register(1).await;
    let mut event = batch(&[0; 3].map(|_| ("INSERT", user.to_string(), FIRST)));
    event["Records"][0]["dynamodb"]["Keys"]["user"] = json!({"B": "AQID"});
    event["Records"][1]["dynamodb"]["Keys"]["item"] = json!({"N": "1"});
    event["Records"][2]["dynamodb"]["Keys"].as_object_mut().unwrap().remove("item");
    assert_eq!(stream.send(event).await, processed());
    assert_eq!(stream.ground.shown(user).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_processed_comes_again_and_the_same_batch_twice_changes_nothing() {
    let ground = Ground::new().await;
    let detour = Detour::to(&ground.engine).await;
    let mut settings = ground.settings();
    settings.insert("AWS_ENDPOINT_URL_DYNAMODB", detour.endpoint().to_owned());
    let function = ground.start(&settings).await.unwrap();
    let mut stream = Stream { ground, function };
    let (ada, bob) = two(&stream.ground).await;
    let event = batch(&[
        ("INSERT", ada.to_string(), FIRST),
        ("INSERT", bob.to_string(), FIRST),
        ("INSERT", ada.to_string(), FIRST),
    ]);

    detour.refuse("Query", &bob);
    assert_eq!(stream.send(event.clone()).await, failed(1));
    assert_eq!(stream.ground.shown(ada).await, Some(Version::new(1)));
    assert_eq!(stream.ground.shown(bob).await, None);

    detour.clear();
    // From the checkpoint on; then, as it may, all of it once more.
    let mut rest = event.clone();
    rest["Records"].as_array_mut().unwrap().remove(0);
    for again in [rest, event.clone(), event] {
        assert_eq!(stream.send(again).await, processed());
        for user in [ada, bob] {
            assert_eq!(stream.ground.shown(user).await, Some(Version::new(1)));
        }
    }
    // Of each commit it is measured once how long it took to the view.
    let log = stream.function.stop().await;
    let lags = measured(&log, "ProjectionLag");
    assert_eq!(lags.len(), 2, "{log:#?}");
    assert!(lags.iter().all(|lag| *lag >= 0.0), "{lags:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batchs_line_says_what_it_took() {
    let mut stream = Stream::start().await;
    let user = stream.ground.register(1).await;
    stream.send(batch(&[("INSERT", user.to_string(), FIRST)])).await;
    let log = stream.function.stop().await;
    let line = log.iter().find(|line| line.contains(r#""message":"batch""#)).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["projected"], &line["dynamodb_requests"]), (&json!(1), &json!(3)), "{line}");
    if !Engine::is_elsewhere() {
        assert_eq!((&line["read_units"], &line["write_units"]), (&json!(1.5), &json!(1.0)), "{line}");
    }
    assert!(line["latency_ms"].as_f64().unwrap() > 0.0, "{line}");
    assert_eq!(line["span"]["requestId"], "00000000-0000-4000-8000-000000000001", "{line}");
}

/// All values of this metric.
pub fn measured(log: &[String], metric: &str) -> Vec<f64> {
    let lines = log.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let values = lines.flat_map(|line| line[metric].as_array().cloned().unwrap_or_default());
    values.map(|value| value.as_f64().unwrap()).collect()
}
