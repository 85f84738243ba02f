use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;

use super::Random;
use crate::client::{Answer, Client};

/// A lost refresh is retried within the ten seconds of the grace; where the machine was too slow for that, not at all.
const GRACE: Duration = Duration::from_secs(8);
/// The sixth failure in a row would be turned away.
const FAILURES: u64 = 3;

/// So many were acknowledged, and so many more were asked for and not answered.
#[derive(Debug, Default)]
struct Count {
    sure: u64,
    doubtful: u64,
}

/// What somebody asked for and was answered: what they may rely on.
#[derive(Debug)]
pub(super) struct Person {
    email: String,
    /// The idempotency key of the registration.
    key: String,
    user: Option<String>,
    commits: Count,
    attempts: Count,
    /// Wrong passwords in a row, answered or not.
    failures: u64,
    devices: Vec<Device>,
}

struct Device {
    access_token: String,
    refresh_token: String,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    SignedIn,
    /// The token was presented, and no answer came.
    Refreshing(Instant),
    /// Asked for, and no answer came.
    SigningOut,
    SignedOut,
    /// Too late to find out.
    Forgotten,
}

impl Count {
    const fn asked(&mut self) {
        self.doubtful += 1;
    }

    const fn acknowledged(&mut self) {
        self.doubtful -= 1;
        self.sure += 1;
    }

    /// Asserts that the truth is neither less than what was acknowledged nor more than what was asked for, and keeps it.
    #[track_caller]
    fn found(&mut self, count: u64) {
        assert!((self.sure..=self.sure + self.doubtful).contains(&count), "{count} is not in {self:?}");
        *self = Self { sure: count, doubtful: 0 };
    }
}

/// One person after another comes and does this and that, until nobody answers.
pub(super) async fn come_and_go(
    client: Client,
    mut random: Random,
    prefix: String,
    answers: Arc<AtomicU64>,
) -> Vec<Person> {
    let mut people = Vec::new();
    for number in 0.. {
        let mut person = Person::new(&format!("{prefix}-{number}"));
        let lived = person.live(&client, &mut random, &answers).await;
        people.push(person);
        if lived.is_err() {
            break;
        }
    }
    people
}

impl Person {
    fn new(name: &str) -> Self {
        Self {
            email: format!("{name}@example.com"),
            key: format!("the registration of {name}"),
            user: None,
            commits: Count::default(),
            attempts: Count::default(),
            failures: 0,
            devices: Vec::new(),
        }
    }

    /// The commits in the log, which a check has found out.
    pub(super) const fn commits(&self) -> u64 {
        self.commits.sure
    }

    async fn live(
        &mut self,
        client: &Client,
        random: &mut Random,
        answers: &AtomicU64,
    ) -> Result<(), reqwest::Error> {
        self.register(client).await?;
        for _ in 0..8 {
            answers.fetch_add(1, Ordering::Relaxed);
            let count = u64::try_from(self.devices.len()).unwrap();
            match random.below(5) {
                0 if self.failures < FAILURES => self.guess(client).await?,
                1 | 2 if count > 0 => {
                    let device = usize::try_from(random.below(count)).unwrap();
                    self.refresh(client, device).await?;
                }
                3 if count > 0 => {
                    let device = usize::try_from(random.below(count)).unwrap();
                    self.sign_out(client, device).await?;
                }
                _ => {
                    self.sign_in(client).await?;
                }
            }
        }
        Ok(())
    }

    async fn register(&mut self, client: &Client) -> Result<(), reqwest::Error> {
        self.commits.asked();
        let registered = client.try_register_once(&self.email, &self.key).await?;
        assert_eq!((registered.status.as_u16(), registered.json()["version"].as_u64()), (201, Some(1)));
        self.commits.acknowledged();
        self.user = Some(registered.text_of("user_id"));
        Ok(())
    }

    async fn sign_in(&mut self, client: &Client) -> Result<Answer, reqwest::Error> {
        self.commits.asked();
        self.attempts.asked();
        let answer = client.try_login(&self.email).await?;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.commits.acknowledged();
        self.attempts.acknowledged();
        self.failures = 0;
        self.devices.push(Device {
            access_token: answer.text_of("access_token"),
            refresh_token: answer.text_of("refresh_token"),
            standing: Standing::SignedIn,
        });
        Ok(answer)
    }

    async fn guess(&mut self, client: &Client) -> Result<(), reqwest::Error> {
        self.attempts.asked();
        self.failures += 1;
        let guess = json!({"email": self.email, "password": "incorrect horse battery"});
        assert_eq!(client.try_post("/login", guess).await?.status, 401);
        self.attempts.acknowledged();
        Ok(())
    }

    async fn refresh(&mut self, client: &Client, device: usize) -> Result<(), reqwest::Error> {
        let device = &mut self.devices[device];
        if device.standing == Standing::SignedIn {
            device.standing = Standing::Refreshing(Instant::now());
            let refreshed = client.try_refresh(&device.refresh_token).await?;
            device.refreshed(&refreshed);
        }
        Ok(())
    }

    async fn sign_out(&mut self, client: &Client, device: usize) -> Result<(), reqwest::Error> {
        let device = &mut self.devices[device];
        if device.standing == Standing::SignedIn {
            device.standing = Standing::SigningOut;
            self.commits.asked();
            let signed_out = client.try_logout(&device.access_token).await?;
            assert_eq!(signed_out.status, 204, "{signed_out:?}");
            self.commits.acknowledged();
            device.standing = Standing::SignedOut;
        }
        Ok(())
    }

    /// Asserts that everything is as this person may expect, and finds out what became of what was not answered. How
    /// many answers that had been lost were asked for again.
    pub(super) async fn check(&mut self, client: &Client, tables: &aws_sdk_dynamodb::Client) -> u64 {
        let mut asked_again = u64::from(self.user.is_none());
        self.check_registration(client).await;
        let user = self.user.clone().unwrap();
        self.attempts.found(attempts(tables, &user).await);
        for index in 0..self.devices.len() {
            asked_again += u64::from(self.devices[index].standing != Standing::SignedIn);
            self.check_device(client, index).await;
        }
        let version = self.sign_in(client).await.unwrap().version();
        self.commits.found(version);
        self.attempts.found(attempts(tables, &user).await);
        asked_again
    }

    /// The same key is the same registration, answered before or not.
    pub(super) async fn check_registration(&mut self, client: &Client) {
        for _ in 0..2 {
            let again = client.try_register_once(&self.email, &self.key).await.unwrap();
            assert_eq!(again.status, 201, "{self:?}: {again:?}");
            assert_eq!(again.version(), 1, "{self:?}");
            let user = again.text_of("user_id");
            if let Some(known) = &self.user {
                assert_eq!(*known, user, "{self:?}");
            } else {
                self.commits.acknowledged();
                self.user = Some(user);
            }
        }
    }

    async fn check_device(&mut self, client: &Client, index: usize) {
        let device = &mut self.devices[index];
        match device.standing {
            Standing::SignedIn => {
                let me = client.me(&device.access_token).await;
                assert_eq!((me.status.as_u16(), &me.json()["email"]), (200, &json!(self.email)), "{me:?}");
            }
            Standing::Refreshing(since) if since.elapsed() < GRACE => {
                device.refreshed(&client.refresh(&device.refresh_token).await);
            }
            Standing::Refreshing(since) => {
                println!("a refresh is not retried: its answer was lost {:?} ago", since.elapsed());
                device.standing = Standing::Forgotten;
            }
            Standing::SigningOut => {
                // It happened or it did not; said again, it has happened once.
                let alive = client.me(&device.access_token).await.status == 200;
                let again = client.logout(&device.access_token).await.status;
                assert_eq!(again.as_u16(), if alive { 204 } else { 401 });
                self.commits.acknowledged();
                device.standing = Standing::SignedOut;
            }
            Standing::SignedOut | Standing::Forgotten => {}
        }
        if device.standing == Standing::Forgotten {
            return;
        }
        if device.standing == Standing::SignedOut {
            assert_eq!(client.me(&device.access_token).await.status, 401, "{device:?} came back");
            assert_eq!(client.refresh(&device.refresh_token).await.status, 400, "{device:?} came back");
        } else {
            // The successor is good, and so is what follows it.
            device.refreshed(&client.refresh(&device.refresh_token).await);
            assert_eq!(client.me(&device.access_token).await.status, 200);
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Device").field(&self.standing).finish()
    }
}

impl Device {
    #[track_caller]
    fn refreshed(&mut self, answer: &Answer) {
        assert_eq!(answer.status, 200, "{self:?}: {answer:?}");
        let successor = answer.text_of("refresh_token");
        assert_ne!(successor, self.refresh_token);
        self.access_token = answer.text_of("access_token");
        self.refresh_token = successor;
        self.standing = Standing::SignedIn;
    }
}

/// The attempts to sign in that are counted for a user.
async fn attempts(tables: &aws_sdk_dynamodb::Client, user: &str) -> u64 {
    let guesses = tables.get_item().table_name("annals-sessions").consistent_read(true);
    let guesses = guesses.key("user", AttributeValue::S(user.to_owned()));
    let guesses = guesses.key("item", AttributeValue::S("guesses".to_owned())).send().await.unwrap();
    guesses.item().map_or(0, |item| item["attempts"].as_n().unwrap().parse().unwrap())
}
