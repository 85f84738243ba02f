use crate::gateway::{Gateway, Ground, registration};

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_requires_verified_addresses_does_not_tell_which_are_taken() {
    let ground = Ground::new().await;
    let mut settings = ground.settings();
    settings.insert("ANNALS_VERIFICATION", "required".to_owned());
    let function = ground.start(&settings).await.unwrap();
    let mut gateway = Gateway { ground, function };
    for time in ["first", "second"] {
        let registered = gateway.send(registration()).await;
        assert_eq!(registered.status, 202, "the {time} time: {registered:?}");
    }
}
