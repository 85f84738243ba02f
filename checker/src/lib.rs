//! The checker: clients who do whatever they like, at once, against the real service over the real projector and a real
//! engine, while requests are lost, come late or fail, records come twice, in another order or never, and programs die.
//! Afterwards every answer is held against the log, and the log, the identifiers, the sessions and the views against
//! each other.
//!
//! [`run`] is one such story, all of it drawn from one seed; [`campaign`] is many. What a client was not told (a 503, or
//! no answer) may have happened or not, but once at most and never in part. Ids, keys and the jitter of back-offs are
//! truly random, so a seed repeats what everybody means to do and what goes wrong, and mostly who meets whom: play a seed
//! that failed several times.
//!
//! A new command is a variant of [`Command`], an arm each in `exchange.rs` (how it is sent, what its answer says) and
//! `client.rs` (when), and a rule in `rules/`.
#![expect(
    clippy::expect_used,
    reason = "a test has nothing better to do than to stop when its ground is missing"
)]

mod campaign;
mod client;
mod exchange;
mod history;
mod probe;
mod rules;
mod stream;
mod tally;
mod truth;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::{UserId, Version};
use projector::replay::Replay;
use testkit::{Random, Weather};
use tokio::sync::watch;
use tokio::time::sleep;

pub use campaign::{Campaign, campaign};
pub use history::{
    Access, Answer, Command, Device, Entry, GUESSABLE, Listed, Mailed, PAGE, Profile, Shown, Token,
};
pub use tally::Counts;

use client::{Client, Hearsay};
use stream::Delivery;
use truth::Truth;
use world::World;

/// What came of one seed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What does not fit together, in words; nothing if all is well.
    pub findings: Vec<String>,
    /// Every request and its answer.
    pub history: Vec<Entry>,
    /// What happened how often.
    pub counts: Counts,
}

/// So many addresses that are registered there are at most.
const MOST_ADDRESSES: usize = 4;

/// A story that has come to its end, and what it left.
struct Story {
    world: Arc<World>,
    history: Vec<Entry>,
    truth: Truth,
    /// The commits that the projector answered for.
    delivered: BTreeSet<(UserId, Version)>,
    hearsay: Arc<Hearsay>,
    addresses: usize,
}

/// Plays and judges the story of a seed. To be called on a runtime of one thread whose time is paused, so that no wait
/// takes any time.
pub async fn run(seed: u64) -> Outcome {
    let story = Story::play(seed).await;
    let mut findings = rules::judge(&story.history, &story.truth, &story.delivered);
    findings.extend(mended(&story.world).await);
    findings.extend(probe::probe(&story).await);
    let counts = counts(&story);
    Outcome { seed, findings, history: story.history, counts }
}

impl Story {
    async fn play(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let world = Arc::new(World::new(&mut random).await);
        world.storm.rages(Weather::of(&mut random));
        let (done, no_more) = watch::channel(false);
        let delivery = Arc::new(Delivery::new(&world, &mut random));
        let delivering = tokio::spawn({
            let (delivery, random) = (Arc::clone(&delivery), random.fork());
            async move { delivery.run(random, no_more).await }
        });
        let operator = tokio::spawn(look_after(Arc::clone(&world), random.fork()));
        let hearsay = Arc::new(Hearsay::default());
        let (clients, addresses, commands) =
            (4 + random.below(5), 1 + random.below(MOST_ADDRESSES), 6 + random.below(8));
        let clients: Vec<_> = (0..clients)
            .map(|number| {
                let (world, hearsay, random) = (Arc::clone(&world), Arc::clone(&hearsay), random.fork());
                let client = Client { number, world, random, addresses, clients, hearsay };
                tokio::spawn(client.run(commands))
            })
            .collect();
        for client in clients {
            client.await.expect("a client comes to its end");
        }
        operator.await.expect("an operator comes to an end");
        world.calms_down().await;
        done.send_replace(true);
        delivering.await.expect("the stream is delivered to its end");

        let history = world.history.entries();
        let truth = Truth::of(&world).await;
        Self { world, history, truth, delivered: delivery.delivered(), hearsay, addresses }
    }
}

/// Somebody may repair or rebuild in the middle of it all. It may fail, and must do no harm.
async fn look_after(world: Arc<World>, mut random: Random) {
    if random.chance(0.6) {
        return;
    }
    sleep(random.millis(0, 2_000)).await;
    let replay = Replay::of(world.read_model(&world.storm.client())).in_segments(2);
    let now = world.time.now();
    let store = world.store();
    let finished = if random.chance(0.5) {
        replay.repair(now).await.is_ok()
    } else {
        replay.rebuild(&store.identifiers, now).await.is_ok()
    };
    world.tally.count(if finished { "looked after" } else { "looked after in vain" });
}

/// What is still wrong when the operator has repaired what was dropped.
async fn mended(world: &World) -> Vec<String> {
    let replay = Replay::of(world.read_model(&world.storm.client())).in_segments(1);
    let repaired = replay.repair(world.time.now()).await;
    let verified = replay.verify(&world.store().identifiers).await;
    let mut findings = Vec::new();
    match repaired {
        Ok(repaired) if repaired.done.parked == 0 => {}
        repaired => findings.push(format!("repair: {repaired:?}")),
    }
    match verified {
        Ok(verified) if verified.holds() && verified.parked.is_empty() => {}
        verified => findings.push(format!("verify: {verified:?}")),
    }
    findings
}

fn counts(Story { world, history, truth, .. }: &Story) -> Counts {
    let mut counts = world.tally.counts();
    for entry in history {
        counts.add("requests", 1);
        match (&entry.command, &entry.answer) {
            (Command::SignIn { device: Some(_), .. }, Answer::SignedIn { .. }) => {
                counts.add("signed in on a device", 1);
            }
            (Command::SignIn { device: Some(_), .. }, Answer::Refused(_)) => {
                counts.add("refused a device", 1);
            }
            (Command::Verify { .. }, Answer::Refused(_)) => counts.add("refused a verification", 1),
            (Command::Revoke(_), Answer::Done) => counts.add("revoked", 1),
            _ => {}
        }
        match &entry.answer {
            Answer::Unknown => counts.add("unknown outcome", 1),
            Answer::Refused(status) => counts.add(&format!("refused {status}"), 1),
            Answer::Registered { .. } => counts.add("registered", 1),
            Answer::SignedIn { .. } => counts.add("signed in", 1),
            Answer::Refreshed(..) => counts.add("refreshed", 1),
            Answer::Accepted => counts.add("accepted", 1),
            Answer::Done => counts.add("done", 1),
            Answer::Profile(_) => counts.add("profile shown", 1),
            Answer::Sessions(_) => counts.add("sessions listed", 1),
            Answer::Events(..) => counts.add("history shown", 1),
            Answer::Worth(true) => counts.add("active token", 1),
            Answer::Worth(false) => counts.add("inactive token", 1),
            Answer::SignInTooOld => counts.add("sign-in too old", 1),
            Answer::WrongPassword => counts.add("wrong current password", 1),
            Answer::Guessable => counts.add("guessable", 1),
            Answer::TooManyMails => counts.add("too many mails", 1),
            Answer::Absurd(_) => counts.add("absurd", 1),
        }
    }
    for event in truth.commits().flat_map(truth::events) {
        counts.add(event.name(), 1);
    }
    for (mishap, times) in world.storm.met() {
        counts.add(&format!("{mishap:?}"), times);
    }
    counts.add("DynamoDB requests", world.storm.requests());
    counts
}
