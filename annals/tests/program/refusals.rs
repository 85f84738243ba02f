use std::os::unix::fs::PermissionsExt as _;

use crate::client::{ADA, Client};
use crate::process::{CHEAP, Data, entries, program, run, until};

const COMMANDS: [&[&str]; 5] = [&["history", ADA], &["verify"], &["rebuild"], &["repair"], &["parked"]];

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let data = Data::new();
    data.run(&["serve", "--port", &port]).await.is_refused(&format!("cannot listen on port {port}"));
    assert!(!data.path().exists(), "nothing was made for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_in_use_by_another_server_are_named() {
    let data = Data::new();
    let server = data.serve().await;
    let refused = data.run(&["serve", "--port", "0"]).await;
    refused.is_refused(&format!("the data in {} is in use by another process", data.path().display()));
    assert_eq!(Client::of(&server).register(ADA).await.status, 201, "the first goes on");
    assert_eq!(data.run(&["verify"]).await.code, Some(0), "and commands still find it");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_others_can_read_are_refused_to_every_command() {
    let data = Data::new();
    data.serve().await.stop().await;
    let keys = data.path().join("service-keys.json");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o640)).unwrap();
    for command in COMMANDS.into_iter().chain([&["serve", "--port", "0"][..]]) {
        data.run(command).await.is_refused("must be readable by their owner only (mode 0600)");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_keys_are_refused_and_not_quoted() {
    let data = Data::new();
    data.serve().await.stop().await;
    let keys = data.path().join("service-keys.json");
    let text = std::fs::read_to_string(&keys).unwrap();
    for wrong in ["", "{}", "half", &text[..text.len() / 2], &text.replacen("\"deployment\"", "\"other\"", 1)]
    {
        std::fs::write(&keys, wrong).unwrap();
        for command in [&["serve", "--port", "0"][..], &["verify"]] {
            data.run(command).await.is_refused("service-keys.json are malformed");
        }
        assert_eq!(std::fs::read_to_string(&keys).unwrap(), wrong, "they are left as they are");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_another_deployment_are_refused_before_anybody_is_unknown() {
    let (data, other) = (Data::new(), Data::new());
    let server = data.serve().await;
    Client::of(&server).register(ADA).await;
    server.stop().await;
    other.serve().await.stop().await;

    let keys = data.path().join("service-keys.json");
    let own = std::fs::read(&keys).unwrap();
    std::fs::write(&keys, std::fs::read(other.path().join("service-keys.json")).unwrap()).unwrap();
    for command in COMMANDS.into_iter().chain([&["serve", "--port", "0"][..]]) {
        data.run(command).await.is_refused("are those of another deployment");
    }

    std::fs::write(&keys, own).unwrap();
    let server = data.serve().await;
    assert_eq!(Client::of(&server).login(ADA).await.status, 200, "no harm was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_without_their_keys_get_no_new_ones() {
    let data = Data::new();
    let server = data.serve().await;
    Client::of(&server).register(ADA).await;
    server.stop().await;
    let keys = data.path().join("service-keys.json");
    std::fs::remove_file(&keys).unwrap();
    for command in COMMANDS.into_iter().chain([&["serve", "--port", "0"][..]]) {
        data.run(command).await.is_refused("are missing; put service-keys.json back");
    }
    assert!(!keys.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_make_nothing_where_there_is_nothing() {
    let data = Data::new();
    for command in COMMANDS {
        data.run(command).await.is_refused("there is no data in");
    }
    assert!(!data.path().exists());

    // Keys alone, as of a server whose data are elsewhere.
    data.serve().await.stop().await;
    for file in entries(&data.path()).iter().filter(|file| *file != "service-keys.json") {
        let path = data.path().join(file);
        if path.is_dir() { std::fs::remove_dir(path) } else { std::fs::remove_file(path) }.unwrap();
    }
    for command in COMMANDS {
        data.run(command).await.is_refused("there is no data in");
    }
    assert_eq!(entries(&data.path()), ["service-keys.json"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_cannot_be_made_or_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // Not even the superuser writes to these.
    for folder in [file.path(), &file.path().join("below"), "/proc/annals".as_ref(), "/proc/self".as_ref()] {
        let mut serve = program();
        serve.args(["serve", "--port", "0", "--data"]).arg(folder);
        run(serve).await.is_refused(&folder.display().to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_does_not_answer_is_named_at_once() {
    let data = Data::new();
    data.serve().await.stop().await;
    let nobody = testkit::Nobody::new();
    let endpoint = format!("http://{}", nobody.address());
    for command in COMMANDS.into_iter().chain([&["serve", "--port", "0"][..]]) {
        let command = [command, &["--endpoint", &endpoint]].concat();
        data.run(&command).await.is_refused(&format!("no DynamoDB answers at {endpoint}: "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_the_environment_that_is_none_is_named_and_concerns_the_server_only() {
    let data = Data::new();
    for wrong in ["abc", "", "70000", "-1"] {
        let mut serve = data.command(&["serve"]);
        serve.env("PORT", wrong);
        run(serve)
            .await
            .is_refused(&format!("PORT must be a port to listen on, 0 to 65535, and not {wrong:?}"));
    }
    data.serve().await.stop().await;
    let mut verify = data.command(&["verify"]);
    verify.env("PORT", "abc");
    assert_eq!(run(verify).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_command_line_does_not_know_is_named() {
    for (args, naming) in [
        (&["--bogus"][..], "--bogus"),
        (&["bogus"], "bogus"),
        (&["verify", "--bogus"], "--bogus"),
        (&["serve", "--port", "abc"], "abc"),
        (&["serve", "--port", "70000"], "70000"),
        (&["serve", "--argon2", "m=1"], "m=KIB,t=PASSES,p=LANES"),
        (&["serve", "--memory", "--data", "x"], "--memory"),
        (&["serve", "--endpoint", "garbage"], "http://127.0.0.1:8000"),
        (&["rebuild", "--segment", "4/3"], "I from 1 to N"),
        (&["history"], "<USER>"),
    ] {
        let mut command = program();
        command.args(args);
        let ended = run(command).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{args:?}: {ended:?}");
        let said = ended.err.split("\n\n").next().unwrap();
        assert!(said.starts_with("error: ") && said.contains(naming), "{args:?}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_standard_output_is_closed_serves() {
    let data = Data::new();
    let mut shell = std::process::Command::new("sh");
    let serve = format!(
        "exec {} serve --port 0 --argon2 {CHEAP} --data {} > /dev/full 2> /dev/null",
        env!("CARGO_BIN_EXE_annals"),
        data.path().display()
    );
    let mut server = shell.args(["-c", &serve]).env_remove("PORT").spawn().unwrap();
    until("the engine's address", || data.path().join("engine.url").exists()).await;
    assert_eq!(data.run(&["verify"]).await.code, Some(0));
    assert_eq!(server.try_wait().unwrap(), None);
    server.kill().unwrap();
    server.wait().unwrap();
}
