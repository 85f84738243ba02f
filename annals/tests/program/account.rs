use std::process::Command;

use serde_json::{Value, json};
use testkit::{Engine, Parameters};

use crate::client::{ADA, Client, emails};
use crate::process::{CHEAP, Data, Ended, entries, run};

/// A stack in an account: its tables on an engine, its keys and its description as parameters; and the folder of an
/// operator who has nothing else.
struct Stack {
    engine: Engine,
    parameters: Parameters,
    /// Of the server that made the tables and the keys.
    origin: Data,
    operator: Data,
}

const NAME: &str = "accounts-prod";

impl Stack {
    /// With Ada and three others, each of whom has signed in.
    async fn new() -> Self {
        let (engine, parameters) = (Engine::start().await, Parameters::start().await);
        let (origin, operator) = (Data::new(), Data::new());
        let args = ["serve", "--port", "0", "--argon2", CHEAP, "--endpoint", engine.endpoint()];
        let server = crate::process::Server::start(origin.command(&args)).await;
        let client = Client::of(&server);
        client.populate(emails(3).chain([ADA.to_owned()])).await;
        assert_eq!(server.stop().await.code, Some(0));

        let stack = Self { engine, parameters, origin, operator };
        stack.describe("annals-events");
        stack.put_keys(&stack.origin);
        stack
    }

    fn describe(&self, events: &str) {
        let description = json!({"events": events, "identifiers": "annals-identifiers",
            "views": "annals-views", "sessions": "annals-sessions", "issuer": "https://accounts.example.com"});
        self.parameters.put(&format!("/annals/{NAME}/deployment"), &description.to_string());
    }

    fn put_keys(&self, of: &Data) {
        let keys = std::fs::read(of.path().join("service-keys.json")).unwrap();
        let keys: Value = serde_json::from_slice(&keys).unwrap();
        for (member, value) in keys.as_object().unwrap() {
            self.parameters
                .put(&format!("/annals/{NAME}/keys/{}", member.replace('_', "-")), &value.to_string());
        }
    }

    /// The program with the credentials, the region and the endpoints of the account, and nothing of the tester's.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.operator.command(args);
        let home = self.operator.path().join("home");
        command
            .env_clear()
            .env("HOME", home)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "eu-central-1")
            .env("AWS_ENDPOINT_URL_SSM", &self.parameters.endpoint)
            .env("AWS_ENDPOINT_URL_DYNAMODB", self.engine.endpoint());
        command
    }

    async fn run(&self, args: &[&str]) -> Ended {
        run(self.command(&[args, &["--stack", NAME]].concat())).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_an_operator_works_on_a_stack() {
    let stack = Stack::new().await;
    let verified = stack.run(&["verify", "--json"]).await;
    assert_eq!((verified.code, &verified.json()["events"]), (Some(0), &json!(8)), "{verified:?}");
    assert_eq!(stack.run(&["history", ADA]).await.out.lines().count(), 2);
    assert!(stack.run(&["state", ADA]).await.out.contains(ADA));
    assert_eq!(stack.run(&["parked"]).await.out, "0 users parked\n");
    let rebuilt = stack.run(&["rebuild", "--json"]).await;
    assert_eq!((rebuilt.code, &rebuilt.json()["written"]), (Some(0), &json!(4)), "{rebuilt:?}");
    let part = stack.run(&["rebuild", "--segment", "1/1", "--json"]).await;
    assert_eq!(part.json()["written"], 4);
    assert_eq!(stack.run(&["repair", "--json"]).await.json()["found"]["equal"], 4);

    stack.run(&["restore"]).await.is_refused("--yes-the-api-is-off");
    let looked = stack.run(&["restore", "--dry-run", "--json"]).await;
    assert_eq!((looked.code, &looked.json()["views_deleted"]), (Some(0), &json!(4)), "{looked:?}");
    let restored = stack.run(&["restore", "--yes-the-api-is-off"]).await;
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert_eq!(stack.run(&["verify"]).await.code, Some(0));

    // Nothing of it is left on this machine but the folder.
    assert_eq!(entries(&stack.operator.path()), ["stacks"]);
    let folder = stack.operator.path().join("stacks").join("eu-central-1").join(NAME);
    assert_eq!(entries(&folder), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_over_a_stack_has_left_is_gone_on_with_for_that_stack_alone() {
    let stack = Stack::new().await;
    assert_eq!(stack.run(&["rebuild"]).await.code, Some(0));
    let folder = stack.operator.path().join("stacks").join("eu-central-1").join(NAME);
    // What a run leaves that was killed when it had done three of the four.
    let checkpoint = json!({
        "format": 1,
        "work": {"phase": "repair", "replacing_newer": false, "deployment": stack.origin.keys().deployment,
            "events": "annals-events", "views": "annals-views", "fold": domain::FOLD, "total": 8},
        "begun": chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()),
        "segments": (0..8).map(|index| (index.to_string(), json!("beginning"))).collect::<serde_json::Map<_, _>>(),
        "counts": {"covered": {"users": 3, "commits": 6, "events": 6}, "found": {"equal": 3, "absent": 0,
            "behind": 0, "different": 0, "torn": 0, "parked": 0, "of_lower_fold": 0, "of_higher_fold": 0,
            "beyond_log": 0, "broken": 0, "erased": 0}, "done": {"written": 0, "parked": 0, "erased": 0,
            "of_higher_fold": 0, "beyond_log": 0, "overtaken": 0}},
    });
    let file = folder.join("unfinished-repair.json");
    let left = |endpoint: &str| json!({"endpoint": endpoint, "checkpoint": checkpoint}).to_string();
    std::fs::write(&file, left("AWS in us-east-1")).unwrap();
    let anew = stack.run(&["repair"]).await;
    assert!(anew.err.contains("it is that of another endpoint"), "{anew:?}");
    std::fs::write(&file, left("AWS in eu-central-1")).unwrap();
    let resumed = stack.run(&["repair", "--json"]).await;
    assert_eq!(resumed.said(), "resumed: 3 users done before\n", "{resumed:?}");
    assert!(!file.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_can_be_named_one_by_one_with_keys_here_or_there() {
    let stack = Stack::new().await;
    let tables = [
        "--events-table=annals-events",
        "--identifiers-table=annals-identifiers",
        "--views-table=annals-views",
        "--sessions-table=annals-sessions",
    ];
    let with_prefix = ["verify", "--keys-prefix", "/annals/accounts-prod/keys/"];
    let verified = run(stack.command(&[&with_prefix[..], &tables].concat())).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(!stack.parameters.asked().iter().any(|asked| asked.ends_with(".GetParameter")));

    let with_folder = [&["verify"][..], &tables].concat();
    run(stack.command(&with_folder)).await.is_refused("cannot use the service keys at");
    std::fs::copy(
        stack.origin.path().join("service-keys.json"),
        stack.operator.path().join("service-keys.json"),
    )
    .unwrap();
    assert_eq!(run(stack.command(&with_folder)).await.code, Some(0));
    assert!(stack.parameters.asked().is_empty());
    let folder = stack.operator.path().join("tables").join("eu-central-1").join("annals-events");
    assert_eq!(entries(&folder), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_in_the_account_is_named() {
    let stack = Stack::new().await;
    let verify = ["verify", "--stack", "acounts"];
    run(stack.command(&verify)).await.is_refused(
        "there is no parameter /annals/acounts/deployment in eu-central-1; is acounts the name of the stack, and this \
         its region?",
    );

    let mut nowhere = stack.command(&["verify", "--stack", NAME]);
    nowhere.env_remove("AWS_REGION");
    run(nowhere).await.is_refused("no AWS region is set; set AWS_REGION");
    let mut nobody = stack.command(&["verify", "--stack", NAME]);
    nobody.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    run(nobody).await.is_refused("no AWS credentials are found");

    for (code, message, told) in [
        (
            "AccessDeniedException",
            "User: arn:aws:iam::1:user/x is not authorized to perform: ssm:GetParameter",
            "these credentials do not allow ssm:GetParameter on /annals/accounts-prod/deployment",
        ),
        ("ExpiredTokenException", "", "AWS does not accept these credentials (ExpiredTokenException)"),
        ("ThrottlingException", "Rate exceeded", "ssm:GetParameter is throttled; try again later"),
        (
            "InternalServerError",
            "oh",
            "cannot read the parameter /annals/accounts-prod/deployment in eu-central-1",
        ),
    ] {
        stack.parameters.refuse(Some((code, message)));
        stack.run(&["verify"]).await.is_refused(told);
    }
    stack.parameters.refuse(None);

    // The account's own words name the action that the tables or the keys need.
    let denied =
        "User: arn:aws:iam::1:user/x is not authorized to perform: dynamodb:Query on resource: annals-events";
    let tables = Parameters::start().await;
    tables.refuse(Some(("AccessDeniedException", denied)));
    let mut command = stack.command(&["verify", "--stack", NAME]);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &tables.endpoint);
    run(command).await.is_refused("is not authorized to perform: dynamodb:");
    stack.describe("annals-evnts");
    stack.run(&["verify"]).await.is_refused("ResourceNotFoundException");
    stack.describe("annals-events");

    stack.parameters.remove("/annals/accounts-prod/keys/pepper");
    stack.run(&["verify"]).await.is_refused("there is no parameter /annals/accounts-prod/keys/pepper");
    stack.parameters.put("/annals/accounts-prod/deployment", "{}");
    stack.run(&["verify"]).await.is_refused("the parameter /annals/accounts-prod/deployment is malformed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_another_stack_are_refused_before_anything_is_done() {
    let stack = Stack::new().await;
    let other = Data::new();
    other.serve().await.stop().await;
    stack.put_keys(&other);
    for command in [&["verify"][..], &["rebuild"], &["history", ADA], &["restore", "--yes-the-api-is-off"]] {
        let refused = stack.run(command).await;
        refused.is_refused("the service keys in /annals/accounts-prod/keys/ are those of another deployment");
    }
    stack.put_keys(&stack.origin);
    assert_eq!(stack.run(&["verify"]).await.code, Some(0), "no harm was done");
}
