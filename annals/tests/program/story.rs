use serde_json::json;

use crate::client::{ADA, Client, PASSWORD};
use crate::process::{CHEAP, Data, Server, program, run, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_registers_signs_in_reads_refreshes_and_signs_out() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);

    let body = json!({"email": ADA, "password": PASSWORD, "name": "Ada"});
    let registered = client.try_post("/register", body).await.unwrap();
    assert_eq!(registered.status, 201, "{registered:?}");
    let user = registered.text_of("user_id");
    assert_eq!(registered.json(), json!({"user_id": user, "version": 1}));

    let signed_in = client.login(ADA).await;
    assert_eq!((signed_in.status.as_u16(), signed_in.version()), (200, 2), "{signed_in:?}");
    // Whatever the projection has come to: this asks for the version that the sign-in named.
    let me = client.me_since(&signed_in.text_of("access_token"), signed_in.version()).await;
    assert_eq!(me.status, 200, "{me:?}");
    assert_eq!((me.header("etag"), me.header("annals-version")), ("\"1\"", "2"));
    let profile = me.json();
    assert_eq!((&profile["user_id"], &profile["email"]), (&json!(user), &json!(ADA)));
    assert_eq!((&profile["name"], &profile["email_verified"]), (&json!("Ada"), &json!(false)));

    let refreshed = client.refresh(&signed_in.text_of("refresh_token")).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    let token = refreshed.text_of("access_token");
    assert_eq!(client.me(&token).await.status, 200);
    assert_eq!(client.logout(&token).await.status, 204);
    assert_eq!(client.me(&token).await.status, 401);
    assert_eq!(client.refresh(&refreshed.text_of("refresh_token")).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_that_everybody_may_read_name_the_address_of_this_server() {
    let server = Data::new().serve().await;
    let client = Client::of(&server);
    assert_eq!(client.get("/health").await.json(), json!({"status": "ok"}));
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let metadata = client.get(path).await.json();
        assert_eq!(metadata["issuer"], server.url);
        let keys = metadata["jwks_uri"].as_str().unwrap().strip_prefix(&server.url).unwrap().to_owned();
        let keys = client.get(&keys).await.json();
        assert_eq!(keys["keys"][0]["crv"], "P-256", "{keys}");
    }
    let document = client.get("/openapi.json").await.json();
    assert!(document["paths"]["/register"]["post"].is_object(), "{document}");
    assert!(document.to_string().contains(&server.url), "{document}");
}

/// The commands between the blank lines of what the server says.
fn commands_in(welcome: &str) -> Vec<&str> {
    welcome.split("\n\n").map(str::trim_start).filter(|part| part.starts_with("curl")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_to_try_works_as_it_is_printed() {
    if run({
        let mut curl = std::process::Command::new("sh");
        curl.args(["-c", "command -v curl"]);
        curl
    })
    .await
    .code
        != Some(0)
    {
        eprintln!("not tried: there is no curl");
        return;
    }
    let server = Server::start(Data::new().command(&["--port", "0"])).await;
    let shell = async |script: &str, token: &str| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script]).env("ACCESS_TOKEN", token).env("no_proxy", "127.0.0.1");
        let ended = run(shell).await;
        assert_eq!(ended.code, Some(0), "{script}: {ended:?}");
        serde_json::from_str::<serde_json::Value>(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:?}"))
    };
    let welcome = server.out();
    let [register, login, me] = commands_in(&welcome)[..] else { panic!("{welcome}") };
    assert_eq!(shell(register, "").await["version"], 1);
    let signed_in = shell(login, "").await;
    let profile = shell(me, signed_in["access_token"].as_str().unwrap()).await;
    assert_eq!((&profile["email"], &profile["name"]), (&json!(ADA), &json!("Ada")));
    assert_eq!(server.err().matches("below the minimum").count(), 0, "the default is not weak");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_below_the_minimum_is_warned_of_and_used() {
    let mut command = program();
    command.args(["serve", "--memory", "--port", "0", "--argon2", CHEAP]);
    let server = Server::start(command).await;
    assert_eq!(Client::of(&server).register(ADA).await.status, 201);
    let warning = || server.err().lines().find(|line| line.contains("below the minimum")).map(str::to_owned);
    until("a warning", || warning().is_some()).await;
    let warning = warning().unwrap();
    let warning: serde_json::Value = serde_json::from_str(&warning).unwrap();
    assert_eq!(warning["level"], "WARN");
    assert!(warning["message"].as_str().unwrap().contains(CHEAP), "{warning}");
    assert!(server.out().contains("Nothing is kept"), "{}", server.out());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_can_come_from_the_environment() {
    let data = Data::new();
    let mut command = data.command(&["--argon2", CHEAP]);
    command.env("PORT", "0");
    let server = Server::start(command).await;
    assert!(!server.url.ends_with(":3000") && !server.url.ends_with(":0"), "{}", server.url);
    assert_eq!(Client::of(&server).get("/health").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_address_is_logged() {
    let data = Data::new();
    let server = data.serve().await;
    let client = Client::of(&server);
    client.register(ADA).await;
    let signed_in = client.login(ADA).await;
    client.try_post("/login", json!({"email": ADA, "password": "not the password"})).await.unwrap();
    client.me(&signed_in.text_of("access_token")).await;
    let ended = server.stop().await;
    assert!(ended.err.contains("signed in"), "{}", ended.err);
    for secret in [ADA, PASSWORD, "not the password", &signed_in.text_of("refresh_token")] {
        assert!(!ended.err.contains(secret), "{secret} in {}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_to_which_nothing_happens_logs_nothing() {
    let data = Data::new();
    let serve = async || Server::start(data.command(&["serve", "--port", "0"])).await;
    assert_eq!(serve().await.stop().await.err, "");
    assert_eq!(serve().await.stop().await.err, "", "nor the next time");
}
