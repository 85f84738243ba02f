//! How long an idle local stack takes from the answer to a registration to the user's view, and that `GET /me` does
//! not wait for it.

mod support;

use std::time::{Duration, Instant};

use annals::local::clients;
use serde_json::{Value, json};
use storage::keys::ServiceKeys;
use storage::tables::Tables;
use storage::{View, ViewKeys, Views};
use support::{Failure, Server, milliseconds, quantile};
use tokio::time::sleep;

const REGISTRATIONS: u64 = 400;
const SIGN_INS: u64 = 300;
/// Between two looks at a view.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let data = tempfile::tempdir()?;
    let folder = data.path().to_str().ok_or("a folder whose name is no text")?;
    let server = Server::start(&["--data", folder, "--argon2", "m=8,t=1,p=1"])?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let views = {
        let keys = ServiceKeys::open(&data.path().join("service-keys.json"))?;
        let engine = clients::tables(&std::fs::read_to_string(data.path().join("engine.url"))?);
        Views::new(engine, Tables::prefixed("annals").views, ViewKeys::new(keys.deployment, keys.views))
    };
    let post = async |path: &str, number: u64| -> Result<Value, reqwest::Error> {
        let body =
            json!({"email": format!("user-{number}@example.com"), "password": "correct horse battery"});
        let answer = client.post(format!("{}{path}", server.url)).json(&body).send().await?;
        answer.error_for_status()?.json().await
    };

    // The first requests pay for connections and pages.
    for number in 0..20 {
        post("/register", number).await?;
    }
    let mut projected = Vec::new();
    for number in 20..20 + REGISTRATIONS {
        // Idle, and never at the same moment of the pump's round.
        sleep(Duration::from_millis(60 + number * 7 % 41)).await;
        let registered = post("/register", number).await?;
        let answered = Instant::now();
        let user = registered["user_id"].as_str().ok_or("no user id")?.parse()?;
        while !shows(&views, user, 1).await? {
            sleep(LOOK_AGAIN).await;
        }
        projected.push(answered.elapsed());
    }

    let me = async |token: &str| -> Result<Duration, reqwest::Error> {
        let asked = Instant::now();
        let request = client.get(format!("{}/me?min_version=2", server.url)).bearer_auth(token);
        request.send().await?.error_for_status()?.bytes().await?;
        Ok(asked.elapsed())
    };
    let (mut at_once, mut later, mut not_yet) = (Vec::new(), Vec::new(), 0);
    for number in 20..20 + SIGN_INS {
        sleep(Duration::from_millis(60 + number * 7 % 41)).await;
        let signed_in = post("/login", number).await?;
        let token = signed_in["access_token"].as_str().ok_or("no token")?;
        at_once.push(me(token).await?);
        let user = signed_in["user_id"].as_str().ok_or("no user id")?.parse()?;
        not_yet += u32::from(!shows(&views, user, 2).await?);
        while !shows(&views, user, 2).await? {
            sleep(LOOK_AGAIN).await;
        }
        later.push(me(token).await?);
    }

    println!("idle local stack with a data file          n   p50 ms   p99 ms   max ms");
    let row = |what: &str, times: &[Duration]| {
        println!(
            "{what:40} {:4} {:8.1} {:8.1} {:8.1}",
            times.len(),
            milliseconds(quantile(times, 50)),
            milliseconds(quantile(times, 99)),
            milliseconds(quantile(times, 100))
        );
    };
    row("201 of /register to the view", &projected);
    row("GET /me right after a sign-in", &at_once);
    row("GET /me once the view shows the sign-in", &later);
    println!("{not_yet} of {SIGN_INS} times GET /me had answered before the view showed the sign-in");
    Ok(())
}

async fn shows(views: &Views, user: domain::UserId, version: u64) -> Result<bool, Failure> {
    let found = views.read_all(&[user], true).await?;
    Ok(found.iter().any(
        |stored| matches!(&stored.view, View::Of(snapshot) if snapshot.head.version.number() >= version),
    ))
}
