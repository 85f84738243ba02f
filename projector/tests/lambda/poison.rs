use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::{UserId, Version};
use serde_json::{Value, json};
use testkit::Outcome;

use crate::records::measured;
use crate::stream::{FIRST, Stream, batch, processed};

impl Stream {
    /// Puts these octets in the place of a user's sealed first commit; those that lay there.
    async fn seal(&self, user: UserId, sealed: Blob) -> Blob {
        let key = |name: &str, value: &str| (name.to_owned(), AttributeValue::S(value.to_owned()));
        let client = self.ground.engine.client();
        let before = client
            .update_item()
            .table_name(&self.ground.tables.events)
            .set_key(Some([key("user", &user.to_string()), key("item", FIRST)].into()))
            .update_expression("SET sealed = :sealed")
            .expression_attribute_values(":sealed", AttributeValue::B(sealed))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllOld)
            .send()
            .await
            .unwrap();
        before.attributes.unwrap()["sealed"].as_b().unwrap().clone()
    }

    async fn retry(&mut self) -> Value {
        self.send(json!({"retry": "parked"})).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_user_is_parked_and_alarmed_holds_nobody_up_and_is_freed_by_the_schedule() {
    let mut stream = Stream::start().await;
    assert_eq!(stream.retry().await, json!({"freed": 0, "parked": 0}));
    let (ada, bob) = (stream.ground.register(1).await, stream.ground.register(2).await);
    let sound = stream.seal(ada, Blob::new([1, 2, 3])).await;
    let event = batch(&[("INSERT", ada.to_string(), FIRST), ("INSERT", bob.to_string(), FIRST)]);
    assert_eq!(stream.send(event).await, processed());
    assert_eq!(stream.ground.shown(bob).await, Some(Version::new(1)));

    // The cause is there, and so is the mark.
    assert_eq!(stream.retry().await, json!({"freed": 0, "parked": 1}));
    stream.seal(ada, sound).await;
    assert_eq!(stream.retry().await, json!({"freed": 1, "parked": 0}));
    assert_eq!(stream.ground.shown(ada).await, Some(Version::new(1)));
    assert_eq!(stream.retry().await, json!({"freed": 0, "parked": 0}));

    let log = stream.function.stop().await;
    // The batch's, then those of the four runs of the schedule.
    let mut parked = measured(&log, "Parked");
    parked.sort_by(f64::total_cmp);
    assert_eq!(parked, [0.0, 0.0, 0.0, 1.0, 1.0], "{log:#?}");
    let alarms: Vec<_> = log.iter().filter(|line| line.contains(r#""alarm":"parked""#)).collect();
    assert_eq!(alarms.len(), 1, "{log:#?}");
    assert!(alarms[0].contains(&ada.to_string()), "{alarms:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_asks_for_something_else_fails() {
    let mut stream = Stream::start().await;
    for event in [
        json!({"retry": "everybody"}),
        json!({"retry": null}),
        json!({"retry": "parked", "segment": 1}),
        json!({"retry": "parked", "Records": []}),
        json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}),
    ] {
        assert!(matches!(stream.function.invoke(event.clone()).await, Outcome::Failed(_)), "{event}");
    }
    assert_eq!(stream.retry().await, json!({"freed": 0, "parked": 0}));
}
