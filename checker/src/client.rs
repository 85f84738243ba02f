use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::UserId;
use testkit::Random;
use tokio::time::sleep;

use crate::history::{Access, Answer, Command, Device, GUESSABLE, Mailed, Token};
use crate::world::World;

/// So often a client that was told nothing sends the same again, at most.
const TRIES: usize = 4;

/// So many addresses more there are that nobody registers, to move to.
pub(crate) const SPARE: usize = 2;

/// One of several clients that share the addresses, and now and then each other's tokens.
pub(crate) struct Client {
    pub number: usize,
    pub world: Arc<World>,
    pub random: Random,
    /// How many addresses there are.
    pub addresses: usize,
    /// How many clients, and so passwords, there are.
    pub clients: usize,
    pub hearsay: Arc<Hearsay>,
}

/// What all clients have been told: their own, and others' when they steal.
#[derive(Default)]
pub(crate) struct Hearsay(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    sessions: Vec<Session>,
    /// Devices, with the number of the address that was signed in with.
    devices: Vec<(usize, Device)>,
    /// Addresses that were registered, and their passwords in the order in which they were set, or perhaps were.
    accounts: Vec<(usize, usize)>,
    /// Mails with which a password can be reset, or could be.
    mails: Vec<Mailed>,
}

/// A session as its client knows it.
#[derive(Clone)]
pub(crate) struct Session {
    pub client: usize,
    pub user: UserId,
    pub agent: String,
    /// The address that was signed in with, by its number.
    pub address: usize,
    /// Refresh tokens in the order in which they came.
    pub tokens: Vec<Token>,
    pub access: Access,
    /// The latest version of the log that was heard of.
    pub version: u64,
    /// The latest entity tag of the profile that was heard of.
    pub etag: Option<String>,
    /// Whether it was refused: it has ended, or its access token has.
    pub refused: bool,
}

impl Hearsay {
    pub(crate) fn sessions(&self) -> Vec<Session> {
        self.heard().sessions.clone()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an answer.
    fn hear(&self, client: usize, agent: &str, command: &Command, answer: &Answer) {
        let mut heard = self.heard();
        let Heard { sessions, devices, accounts, .. } = &mut *heard;
        if let (Some(access), Answer::Refused(401)) = (command.acting(), answer) {
            for known in sessions.iter_mut().filter(|known| known.access.session == access.session) {
                known.refused = true;
            }
        }
        match (command, answer) {
            (Command::Register { address, password, .. }, Answer::Registered { .. }) => {
                accounts.push((*address, *password));
            }
            (Command::SignIn { address, .. }, Answer::SignedIn { user, version, token, access, device }) => {
                devices.push((*address, device.clone()));
                sessions.push(Session {
                    client,
                    user: *user,
                    agent: agent.to_owned(),
                    address: *address,
                    tokens: vec![token.clone()],
                    access: access.clone(),
                    version: *version,
                    etag: None,
                    refused: false,
                });
            }
            (_, Answer::Refreshed(token, access)) => {
                for known in sessions.iter_mut().filter(|known| known.access.session == token.session) {
                    if !known.tokens.contains(token) {
                        known.tokens.push(token.clone());
                    }
                    known.access = access.clone();
                    known.refused = false;
                }
            }
            (Command::ReadProfile(access, _) | Command::Rename { access, .. }, Answer::Profile(profile)) => {
                for known in sessions.iter_mut().filter(|known| known.access.session == access.session) {
                    known.version = known.version.max(profile.version);
                    known.etag = Some(profile.etag.clone());
                }
            }
            (Command::ChangePassword { access, new, .. }, Answer::Done | Answer::Unknown) => {
                let of = sessions.iter().find(|known| known.access.session == access.session);
                accounts.extend(of.map(|known| (known.address, *new)));
            }
            // Whoever had a password there has it here.
            (Command::Verify { token, from: Some(from) }, Answer::Done | Answer::Unknown) => {
                let moved: Vec<_> = accounts.iter().filter(|(address, _)| address == from).copied().collect();
                accounts.extend(moved.into_iter().map(|(_, password)| (token.address, password)));
            }
            (Command::Reset { token, new }, Answer::Done | Answer::Unknown) => {
                accounts.push((token.address, *new));
            }
            _ => {}
        }
    }
}

impl Client {
    /// Does so many things, one after another, and some of them twice at once.
    pub(crate) async fn run(mut self, commands: usize) {
        for _ in 0..commands {
            if self.random.chance(0.7) {
                sleep(self.random.millis(0, 150)).await;
            }
            self.let_time_pass().await;
            if self.random.chance(0.03) {
                self.guess_in_a_rush().await;
            }
            if self.random.chance(0.06) {
                self.forget_the_password().await;
            }
            if self.random.chance(0.1) {
                self.see_to_the_address().await;
            }
            let (agent, command) = self.choose();
            if self.random.chance(0.15) {
                self.twice_at_once(&agent, &command).await;
            } else {
                self.until_answered(&agent, &command).await;
            }
        }
    }

    /// The clock goes ahead now and then: past the grace of a refresh, past a back-off, past an access token's life.
    async fn let_time_pass(&mut self) {
        match self.random.below(100) {
            0..=11 => self.world.time.skip(self.random.millis(100, 3_000)),
            12..=16 => self.world.time.skip(self.random.millis(8_000, 14_000)),
            17..=18 => self.world.rest(self.random.millis(60_000, 20 * 60_000)).await,
            _ => {}
        }
    }

    /// What to do next, and with which `User-Agent`: a session is refreshed by the one it was begun with.
    fn choose(&mut self) -> (String, Command) {
        let mut agent = format!("c{}", self.number);
        let Some(session) = self.some_session() else {
            let early = if self.random.chance(0.3) { self.registration() } else { self.sign_in() };
            return (agent, early);
        };
        let command = match self.random.below(112) {
            0..=5 => self.registration(),
            6..=29 => self.sign_in(),
            30..=49 => {
                // A thief has another browser, mostly.
                if session.client == self.number || self.random.chance(0.3) {
                    agent = session.agent;
                }
                Command::Refresh(self.some_token(&session.tokens))
            }
            50..=54 => Command::SignOut(session.access),
            55..=68 => {
                let at_least = match self.random.below(10) {
                    0..=4 => Some(session.version),
                    5 => Some(1_000_000),
                    _ => None,
                };
                Command::ReadProfile(session.access, at_least)
            }
            69..=74 => Command::ListSessions(session.access),
            75..=82 => self.rename(session),
            83..=92 => self.change_of_password(session),
            93..=96 => self.end_of_a_session(session),
            97..=99 => Command::EndOtherSessions(session.access),
            100..=102 => Command::Revoke(self.some_token(&session.tokens)),
            103..=106 => Command::Introspect(session.access),
            _ => {
                let before = self.random.chance(0.5).then(|| 1 + self.random.below(30) as u64);
                Command::LookBack(session.access, before)
            }
        };
        (agent, command)
    }

    fn registration(&mut self) -> Command {
        let key =
            self.random.chance(0.6).then(|| format!("k{}-{}", self.number, self.random.below(1_000_000)));
        // Not with a key: all tries of one registration have one password.
        let guessable = key.is_none() && self.random.chance(0.1);
        let password = if guessable { GUESSABLE } else { self.number };
        Command::Register { address: self.random.below(self.addresses), password, key }
    }

    /// One of few names, so that it may be the name already; on condition of a tag that is right, or may be.
    fn rename(&mut self, session: Session) -> Command {
        let name = self.random.pick(&[None, Some("Ada"), Some("Bea"), Some("Eve")]).copied().flatten();
        let if_match = match self.random.below(10) {
            0..=3 => session.etag,
            4..=5 => Some(format!("\"{}\"", 1 + self.random.below(6))),
            6 => Some("*".to_owned()),
            _ => None,
        };
        Command::Rename { access: session.access, name: name.map(str::to_owned), if_match }
    }

    /// With the right password mostly, or one that was right or never was; to another, the same, or one that is easy to
    /// guess.
    fn change_of_password(&mut self, session: Session) -> Command {
        let guesses = self.random.chance(0.15);
        let current = self.password_of(session.address).filter(|_| !guesses);
        let current = current.unwrap_or_else(|| self.random.below(self.clients));
        let new = match self.random.below(10) {
            0 => GUESSABLE,
            1 => current,
            _ => self.random.below(2 * self.clients),
        };
        Command::ChangePassword { access: session.access, current, new }
    }

    /// Another session of one's own, or this one, or one of anybody.
    fn end_of_a_session(&mut self, session: Session) -> Command {
        let all = self.hearsay.sessions();
        let of_address: Vec<_> = all.iter().filter(|known| known.address == session.address).collect();
        let ended = match self.random.below(10) {
            0..=6 => self.random.pick(&of_address).copied(),
            _ => self.random.pick(&all),
        };
        let ended = ended.map_or(session.access.session, |ended| ended.access.session);
        Command::EndSession { access: session.access, session: ended }
    }

    /// A password of an address, as far as is known: the latest mostly, or any that was heard of.
    fn password_of(&mut self, of: usize) -> Option<usize> {
        let known = self.hearsay.heard().accounts.clone();
        let known: Vec<_> =
            known.into_iter().filter(|(address, _)| *address == of).map(|(_, password)| password).collect();
        if self.random.chance(0.75) { known.last().copied() } else { self.random.pick(&known).copied() }
    }

    /// As the owner of some address, or at a guess.
    fn sign_in(&mut self) -> Command {
        let guesses = self.random.chance(0.35);
        let accounts = self.hearsay.heard().accounts.clone();
        let account = self.random.pick(&accounts).filter(|_| !guesses);
        let known = account.and_then(|(address, _)| Some((*address, self.password_of(*address)?)));
        let (address, password) =
            known.unwrap_or_else(|| (self.random.below(self.addresses), self.random.below(self.clients)));
        let device = if self.random.chance(0.5) { self.some_device(address) } else { None };
        Command::SignIn { address, password, device }
    }

    /// A device of an address mostly, by its latest token or an earlier one; or one of somebody else, or of nobody.
    fn some_device(&mut self, of: usize) -> Option<Device> {
        let mut known = self.hearsay.heard().devices.clone();
        if self.random.chance(0.85) {
            known.retain(|(address, _)| *address == of);
        }
        let latest = self.random.chance(0.6);
        let chosen = if latest { known.last() } else { self.random.pick(&known) };
        let (_, mut device) = chosen.cloned()?;
        if self.random.chance(0.1) {
            let mut text = device.text.into_bytes();
            let place = self.random.below(text.len());
            text[place] = if text[place] == b'A' { b'B' } else { b'A' };
            device.text = String::from_utf8_lossy(&text).into_owned();
            device.genuine = false;
        }
        Some(device)
    }

    /// One's own latest session mostly, or an earlier one, or somebody else's; seldom one that was refused.
    fn some_session(&mut self) -> Option<Session> {
        let mut all = self.hearsay.sessions();
        if self.random.chance(0.8) {
            all.retain(|known| !known.refused);
        }
        let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|known| known.client == self.number);
        if self.random.chance(0.1) && !others.is_empty() {
            return self.random.pick(&others).cloned();
        }
        if self.random.chance(0.6) { own.last().cloned() } else { self.random.pick(&own).cloned() }
    }

    /// The latest mostly, or one that was spent, or one that nobody was given.
    fn some_token(&mut self, tokens: &[Token]) -> Token {
        let latest = tokens.last().cloned().expect("a session begins with a token");
        match self.random.below(20) {
            0..=6 => self.random.pick(tokens).cloned().unwrap_or(latest),
            7 => {
                let mut text = latest.text.into_bytes();
                let place = self.random.below(text.len());
                text[place] = if text[place] == b'A' { b'B' } else { b'A' };
                let text = String::from_utf8_lossy(&text).into_owned();
                Token { text, genuine: false, ..latest }
            }
            _ => latest,
        }
    }

    /// Has a mail sent, reads it, and takes another password with it, or with one of before; now and then because somebody
    /// has guessed so often that none is right any more.
    async fn forget_the_password(&mut self) {
        let (of, agent) = (self.random.below(self.addresses), format!("c{}", self.number));
        if self.random.chance(0.1) {
            self.world.a_day_of_guesses(of).await;
            let guess = Command::SignIn { address: of, password: usize::MAX, device: None };
            self.twice_at_once(&agent, &guess).await;
        }
        for _ in 0..=self.random.below(3) {
            self.until_answered(&agent, &Command::Forget { address: of }).await;
        }
        sleep(self.random.millis(0, 400)).await;
        if let Some(mailed) = self.world.mailed(of).await {
            self.hearsay.heard().mails.push(mailed);
        }
        let mails = self.hearsay.heard().mails.clone();
        let mailed = if self.random.chance(0.7) { mails.last() } else { self.random.pick(&mails) };
        let Some(mut token) = mailed.cloned() else { return };
        if self.random.chance(0.1) {
            token.text = token.text.replace(".reset.", ".verify.");
            token.genuine = false;
        }
        let guessable = self.random.chance(0.1);
        let new = if guessable { GUESSABLE } else { self.random.below(2 * self.clients) };
        let command = Command::Reset { token, new };
        if self.random.chance(0.3) {
            self.twice_at_once(&agent, &command).await;
        } else {
            self.until_answered(&agent, &command).await;
        }
    }

    /// Asks for another address, which somebody may have, in a session that is fresh mostly; reads the mails, and sends back
    /// the token of one, the latest mostly.
    async fn see_to_the_address(&mut self) {
        let Some(session) = self.some_session() else { return };
        if self.random.chance(0.8) {
            let address = self.random.below(self.addresses + SPARE);
            let command = Command::AskForAddress { access: session.access, address };
            if self.random.chance(0.2) {
                self.twice_at_once(&session.agent, &command).await;
            } else {
                self.until_answered(&session.agent, &command).await;
            }
            sleep(self.random.millis(0, 400)).await;
        }
        let mails = self.world.mailed_to(session.user).await.unwrap_or_default();
        let mailed = if self.random.chance(0.7) { mails.last() } else { self.random.pick(&mails) };
        let Some((mut token, from)) = mailed.cloned() else { return };
        if self.random.chance(0.1) {
            let (purpose, other) =
                if from.is_some() { (".confirm.", ".verify.") } else { (".verify.", ".confirm.") };
            token.text = token.text.replace(purpose, other);
            token.genuine = false;
        }
        let (agent, command) = (format!("c{}", self.number), Command::Verify { token, from });
        if self.random.chance(0.3) {
            self.twice_at_once(&agent, &command).await;
        } else {
            self.until_answered(&agent, &command).await;
        }
    }

    async fn twice_at_once(&mut self, agent: &str, command: &Command) {
        let (mut here, mut there) = (self.random.fork(), self.random.fork());
        let first = self.world.send(self.number, agent, command, &mut here);
        let second = self.world.send(self.number, agent, command, &mut there);
        let (first, second) = futures::future::join(first, second).await;
        for answer in [first, second] {
            self.hearsay.hear(self.number, agent, command, &answer);
        }
    }

    /// Tries wrong passwords on one address, all at once.
    async fn guess_in_a_rush(&mut self) {
        let address = self.random.below(self.addresses);
        let device = if self.random.chance(0.4) { self.some_device(address) } else { None };
        let guess = Command::SignIn { address, password: usize::MAX, device };
        let world = &self.world;
        let rush: Vec<_> = (0..12)
            .map(|_| {
                let (mut luck, number, guess) = (self.random.fork(), self.number, &guess);
                async move { world.send(number, "rush", guess, &mut luck).await }
            })
            .collect();
        futures::future::join_all(rush).await;
    }

    /// Sends a command, and sends it again if it was not said what came of it, as clients do; some give up.
    async fn until_answered(&mut self, agent: &str, command: &Command) {
        for _ in 0..TRIES {
            let answer = self.world.send(self.number, agent, command, &mut self.random).await;
            self.hearsay.hear(self.number, agent, command, &answer);
            if answer != Answer::Unknown || self.random.chance(0.25) {
                return;
            }
            sleep(self.random.millis(0, 400)).await;
        }
    }
}
