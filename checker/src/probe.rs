use std::collections::BTreeSet;
use std::time::Duration;

use testkit::Random;

use crate::Story;
use crate::client::{SPARE, Session};
use crate::history::{Answer, Command, Entry};
use crate::truth::Truth;
use crate::world::{World, address};

/// Longer than any wait after failures, and than any access token is good.
const LATER: Duration = Duration::from_hours(2);

/// Tries everything that was handed out when nothing goes wrong any more: what is alive works, what has ended does not,
/// and everybody gets in with the password that the log says is theirs, and with none that was.
pub(crate) async fn probe(story: &Story) -> Vec<String> {
    let prober =
        Prober { world: &story.world, truth: &story.truth, random: Random::new(1), findings: Vec::new() };
    prober.probe(&story.hearsay.sessions(), story.addresses, &story.history).await
}

struct Prober<'a> {
    world: &'a World,
    truth: &'a Truth,
    random: Random,
    findings: Vec<String>,
}

impl Prober<'_> {
    async fn probe(mut self, sessions: &[Session], addresses: usize, history: &[Entry]) -> Vec<String> {
        for session in sessions {
            self.session(session, history).await;
        }
        for of in 0..addresses + SPARE {
            self.world.rest(LATER).await;
            self.address(of, history).await;
        }
        self.findings
    }

    async fn session(&mut self, session: &Session, history: &[Entry]) {
        let id = session.access.session;
        let alive = self.truth.rows.iter().any(|(_, row)| *row == id);
        if self.world.time.now() + Duration::from_secs(5) < session.access.expires {
            let answer = self.ask(&session.agent, Command::ReadProfile(session.access.clone(), None)).await;
            self.expect(matches!(answer, Answer::Profile(_)) == alive, &session.agent, &answer);
        }
        let Some(token) = session.tokens.last() else { return };
        // Somebody may hold a later one without having been told so.
        let uncertain = history.iter().any(|entry| {
            entry.answer == Answer::Unknown
                && matches!(&entry.command, Command::Refresh(token) if token.session == id)
        });
        let answer = self.ask(&session.agent, Command::Refresh(token.clone())).await;
        let fits = match answer {
            Answer::Refreshed(..) => alive,
            Answer::Refused(400) => !alive || uncertain,
            _ => false,
        };
        self.expect(fits, &session.agent, &answer);
    }

    async fn address(&mut self, of: usize, history: &[Entry]) {
        if self.truth.guessed_at.contains(&of) {
            return self.reset(of).await;
        }
        let owner = self.truth.owner(&address(of));
        let set = owner.map(|(_, told)| told.passwords(history)).unwrap_or_default();
        let current = set.last().copied().flatten();
        let mut wrong: BTreeSet<usize> = set.into_iter().flatten().collect();
        wrong.insert(1_000_000);
        for password in wrong.into_iter().filter(|password| Some(*password) != current) {
            let answer = self.ask("probe", Command::SignIn { address: of, password, device: None }).await;
            self.expect(answer == Answer::Refused(401), "probe", &answer);
            self.world.rest(LATER).await;
        }
        let Some(password) = current else { return };
        let answer = self.ask("probe", Command::SignIn { address: of, password, device: None }).await;
        let owner = owner.map(|(owner, _)| owner);
        let fits = matches!(answer, Answer::SignedIn { user, .. } if Some(user) == owner);
        self.expect(fits, "probe", &answer);
    }

    /// Whatever was guessed at, whoever reads the mail gets in again.
    async fn reset(&mut self, of: usize) {
        let accepted = self.ask("probe", Command::Forget { address: of }).await;
        self.expect(accepted == Answer::Accepted, "probe", &accepted);
        // None for nobody, and where there were too many that day.
        let mailed = self.world.mailed(of).await.filter(|mailed| mailed.ends > self.world.time.now());
        let Some(token) = mailed else { return };
        let (user, new) = (token.user, 1_000_001);
        let done = self.ask("probe", Command::Reset { token, new }).await;
        self.expect(done == Answer::Done, "probe", &done);
        let answer = self.ask("probe", Command::SignIn { address: of, password: new, device: None }).await;
        let fits = matches!(answer, Answer::SignedIn { user: who, .. } if who == user);
        self.expect(fits, "probe", &answer);
    }

    async fn ask(&mut self, agent: &str, command: Command) -> Answer {
        self.world.send(usize::MAX, agent, &command, &mut self.random).await
    }

    fn expect(&mut self, fits: bool, who: &str, answer: &Answer) {
        if !fits {
            let last = self.world.history.entries().pop().map(|entry| entry.to_string()).unwrap_or_default();
            self.findings.push(format!("in the end, {who} is answered {answer:?}: {last}"));
        }
    }
}
