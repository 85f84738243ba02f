use std::time::Duration;

use aws_lc_rs::digest;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Account, User, UserId, Version};
use storage::one_time::OneTimeKeys;
use storage::{
    Broken, Claimed, Commit, EventLog, MailClaim, MailClaims, Metadata, Moment, PastError, ReadError,
    Unavailable,
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::errand::{Call, Errand, calls};
use crate::handler::with_causes;
use crate::letter::{Letter, Matter, write};
use crate::letterhead::Letterhead;
use crate::transport::{DeliveryError, Reply, Transport};

/// Nothing is sent of what happened longer ago: the stream holds no record longer, and news that old would be none.
const TOO_OLD: TimeDelta = TimeDelta::hours(24);
/// What was sent is noted within this, or else sent again.
const NOTED_WITHIN: Duration = Duration::from_secs(15);
/// A claim is held for so long besides the time that sending may take: to claim, to note, and for clocks that differ.
const HELD_BESIDES: Duration = Duration::from_secs(25);

/// Sends the mails that commits call for.
#[derive(Debug, Clone)]
pub struct Mailer {
    pub(crate) log: EventLog,
    claims: MailClaims,
    tokens: OneTimeKeys,
    letterhead: Letterhead,
    transport: Transport,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attended {
    /// It calls for no mail.
    Silent,
    /// What it calls for has been sent now, but for so many mails that were refused for good, or came too late.
    Sent {
        /// Those that went out.
        sent: usize,
        /// Those that will not.
        refused: usize,
        /// Those whose time had passed.
        late: usize,
    },
    /// What it calls for had been sent before.
    Before,
    /// It is too old to tell anybody of.
    TooOld,
    /// It cannot be read, or its user has been erased: nobody is told.
    Unreadable,
    /// It is not in the log.
    Gone,
}

/// Why a commit has to come again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttendError {
    /// DynamoDB did not answer as it should.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Somebody else is sending the mails of this commit, or broke down doing so.
    #[error("the mails of the commit are being sent")]
    Held,
    /// The mail was not delivered.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}

/// The time that has passed since a batch came, added to the time at which it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: DateTime<Utc>,
    since: Instant,
}

impl Clock {
    pub(crate) fn at(now: DateTime<Utc>) -> Self {
        Self { began: now, since: Instant::now() }
    }

    fn now(&self) -> DateTime<Utc> {
        self.began + delta(self.since.elapsed())
    }
}

fn delta(time: Duration) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX)
}

impl Mailer {
    /// A mailer that reads this log, notes in these claims what was sent, makes the tokens of links with these keys, and
    /// sends in this way.
    pub const fn new(
        log: EventLog,
        claims: MailClaims,
        tokens: OneTimeKeys,
        letterhead: Letterhead,
        transport: Transport,
    ) -> Self {
        Self { log, claims, tokens, letterhead, transport }
    }

    /// Opens the connection to DynamoDB, so that the first batch does not wait for it. Whether it succeeds, the first
    /// batch will tell. The way to who takes the mails is opened with the first of them, for which nobody waits.
    pub async fn warm(&self) {
        if let Err(error) = self.log.begun(&[UserId::new(Uuid::nil())]).await {
            tracing::warn!(error = with_causes(&error), "DynamoDB does not answer yet");
        }
    }

    /// Sends the mails that a commit calls for, unless they have been.
    ///
    /// A mail is sent between two writes, the claim before and the note after. What breaks down before the claim or
    /// after the note sends nothing twice; in between, the claim holds everybody off until its lease ends, and then the
    /// mail is sent, perhaps again.
    pub(crate) async fn attend(
        &self,
        user: UserId,
        version: Version,
        clock: &Clock,
    ) -> Result<Attended, AttendError> {
        let commit = match self.log.commit(user, version).await {
            Ok(Some(commit)) => commit,
            Ok(None) => return Ok(Attended::Gone),
            Err(ReadError::Unavailable(error)) => return Err(error.into()),
            Err(ReadError::Broken(broken)) => return Ok(unreadable(user, version, &broken)),
        };
        let mut called = Vec::new();
        for recorded in &commit.events {
            called.extend(calls(&recorded.event, commit.at).into_iter().map(|call| (call, &recorded.meta)));
        }
        if called.is_empty() {
            return Ok(Attended::Silent);
        }
        if clock.now() - commit.at >= TOO_OLD {
            return Ok(Attended::TooOld);
        }
        let account = match self.account_after(&commit).await {
            Ok(Some(account)) => account,
            Ok(None) => return Ok(Attended::Silent),
            Err(ReadError::Unavailable(error)) => return Err(error.into()),
            Err(ReadError::Broken(broken)) => return Ok(unreadable(user, version, &broken)),
        };
        match self.claims.claim(user, version, self.lease(), clock.now()).await? {
            Claimed::Held => Err(AttendError::Held),
            Claimed::Done => Ok(Attended::Before),
            Claimed::Ours(claim) => self.send_all(&commit, &account, &called, claim, clock).await,
        }
    }

    /// The user as of a commit, by the log up to it.
    async fn account_after(&self, commit: &Commit) -> Result<Option<Account>, ReadError> {
        let user = if commit.version == Version::NONE.next() {
            commit.fold(User::default())
        } else {
            match self.log.as_of(commit.user, Moment::Version(commit.version)).await {
                Ok(past) => past.snapshot.user,
                // The commit was there a moment ago.
                Err(
                    PastError::NoLog
                    | PastError::NoSuchVersion
                    | PastError::BeyondEnd(_)
                    | PastError::BeforeAll(_),
                ) => {
                    return Err(Broken::NoVault.into());
                }
                Err(PastError::Broken(broken)) => return Err(broken.into()),
                Err(PastError::Unavailable(error)) => return Err(error.into()),
            }
        };
        Ok(user.account().cloned())
    }

    /// Sends what is left of the mails of a commit whose claim is held.
    async fn send_all(
        &self,
        commit: &Commit,
        account: &Account,
        called: &[(Call<'_>, &Metadata)],
        mut claim: MailClaim,
        clock: &Clock,
    ) -> Result<Attended, AttendError> {
        let (mut sent, mut refused, mut late) = (0, 0, 0);
        while let Some((call, meta)) = called.get(claim.sent) {
            let errand = call.errand(commit.user, account, &self.tokens)?;
            let matter = Matter {
                id: self.id(commit, claim.sent),
                name: account.name.as_ref().map(domain::DisplayName::as_str),
                at: commit.at,
                meta,
            };
            let fate = match &errand {
                Some(errand) => self.send(commit, errand, &matter, clock).await,
                None => Ok(Fate::NobodyThere),
            };
            match fate {
                Ok(Fate::Sent) => sent += 1,
                Ok(Fate::Refused) => refused += 1,
                Ok(Fate::Late) => late += 1,
                Ok(Fate::NobodyThere) => {}
                Err(error) => {
                    // Should this fail, the lease ends by itself.
                    if let Err(error) = self.claims.release(&claim).await {
                        tracing::warn!(user = %commit.user, %error, "a claim is held until its lease ends");
                    }
                    return Err(error.into());
                }
            }
            let all = claim.sent + 1 == called.len();
            if !self.claims.note(&mut claim, all, self.lease(), NOTED_WITHIN, clock.now()).await? {
                tracing::warn!(user = %commit.user, version = commit.version.number(), "a claim ended too early");
                return Err(AttendError::Held);
            }
        }
        Ok(Attended::Sent { sent, refused, late })
    }

    /// Sends one mail of a commit. Of one that will not go out it is said whose it was, and of which commit: nobody else
    /// tells the user.
    async fn send(
        &self,
        commit: &Commit,
        errand: &Errand,
        matter: &Matter<'_>,
        clock: &Clock,
    ) -> Result<Fate, DeliveryError> {
        let (now, alarm) = (clock.now(), "mail-refused");
        let (user, version) = (commit.user, commit.version.number());
        if errand.link.as_ref().is_some_and(|link| link.ends <= now) {
            return Ok(Fate::Late);
        }
        let letter = match write(errand, matter, &self.letterhead, now) {
            Ok(letter) => letter,
            Err(error) => {
                tracing::error!(alarm, %user, version, mail = matter.id, %error, "a mail cannot be written");
                return Ok(Fate::Refused);
            }
        };
        match self.delivered(&letter, now).await {
            Ok(()) => Ok(Fate::Sent),
            Err(DeliveryError::Refused(reply)) => {
                tracing::error!(alarm, %user, version, mail = letter.id, %reply, "a mail is refused for good");
                Ok(Fate::Refused)
            }
            Err(error) => Err(error),
        }
    }

    async fn delivered(&self, letter: &Letter, now: DateTime<Utc>) -> Result<(), DeliveryError> {
        let delivery = self.transport.deliver(letter, now);
        let lost = Reply { step: "sending in time", code: None };
        tokio::time::timeout(self.transport.patience(), delivery)
            .await
            .unwrap_or(Err(DeliveryError::Failed(lost)))
    }

    /// What names one of the mails of a commit, to whoever sends it. It tells nothing of the user.
    fn id(&self, commit: &Commit, place: usize) -> String {
        let named = format!("{}/{}/{}/{place}", self.log.deployment(), commit.user, commit.version.number());
        let hash = digest::digest(&digest::SHA256, named.as_bytes());
        hash.as_ref().iter().take(16).map(|octet| format!("{octet:02x}")).collect()
    }

    fn lease(&self) -> TimeDelta {
        delta(self.transport.patience() + HELD_BESIDES)
    }
}

/// What became of a mail that need not be sent again.
enum Fate {
    Sent,
    Refused,
    Late,
    /// The user has no address any more.
    NobodyThere,
}

/// Says that a commit cannot be read, unless its user has been erased: that is no damage.
fn unreadable(user: UserId, version: Version, broken: &Broken) -> Attended {
    if *broken != Broken::Erased {
        let (alarm, code, version) = ("mail-unreadable", broken.code(), version.number());
        tracing::error!(alarm, %user, code, version, "a commit cannot be read: nobody is told of it");
    }
    Attended::Unreadable
}
