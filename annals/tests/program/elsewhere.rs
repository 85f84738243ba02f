use testkit::Engine;

use crate::client::{ADA, Client, emails};
use crate::process::{CHEAP, Data, Server};

#[tokio::test(flavor = "multi_thread")]
async fn another_dynamodb_can_hold_the_data_while_the_keys_stay_in_the_folder() {
    let engine = Engine::start().await;
    let data = Data::new();
    let endpoint = ["--endpoint", engine.endpoint()];
    let with = |args: &[&'static str]| [args, &endpoint[..]].concat();
    let serve = async || {
        let args = [&["serve", "--port", "0", "--argon2", CHEAP], &endpoint[..]].concat();
        Server::start(data.command(&args)).await
    };
    let server = serve().await;
    let client = Client::of(&server);
    client.populate(emails(3)).await;
    assert_eq!(client.register(ADA).await.status, 201);
    let signed_in = client.login(ADA).await;
    assert_eq!(client.me(&signed_in.text_of("access_token")).await.status, 200);
    assert!(!data.path().join("dynamodb.sqlite").exists() && data.path().join("service-keys.json").exists());

    let verified = data.run(&with(&["verify", "--json"])).await;
    assert_eq!((verified.code, &verified.json()["events"]), (Some(0), &8.into()), "{verified:?}");
    assert_eq!(data.run(&with(&["history", ADA])).await.out.lines().count(), 2);
    assert_eq!(server.stop().await.code, Some(0));
    let dry_run = data.run(&with(&["rebuild", "--dry-run", "--json"])).await.json();
    assert_eq!((&dry_run["users"], &dry_run["equal"]), (&4.into(), &4.into()), "it was drained: {dry_run}");

    let server = serve().await;
    assert_eq!(Client::of(&server).login(ADA).await.version(), 3, "the next start goes on");
    server.stop().await;
    assert_eq!(data.run(&with(&["repair"])).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_another_folder_are_refused_there_too() {
    let engine = Engine::start().await;
    let serve = ["serve", "--port", "0", "--endpoint", engine.endpoint()];
    let (data, other) = (Data::new(), Data::new());
    let server = Server::start(data.command(&serve)).await;
    assert_eq!(Client::of(&server).register(ADA).await.status, 201);
    other.run(&serve).await.is_refused("are those of another deployment");
    assert_eq!(server.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_on_an_endpoint_without_tables_say_so() {
    let engine = Engine::start().await;
    let data = Data::new();
    data.serve().await.stop().await;
    for command in [&["history", ADA][..], &["verify"], &["rebuild"], &["repair"]] {
        let command = [command, &["--endpoint", engine.endpoint()]].concat();
        data.run(&command).await.is_refused("ResourceNotFoundException");
    }
}
