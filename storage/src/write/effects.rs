use std::fmt;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use chrono::{DateTime, Utc};
use domain::{Account, CommandId, CredentialId, Email, SessionId, UserEvent, UserId};
use zeroize::Zeroizing;

use super::pretend::decoy;
use crate::Store;
use crate::error::Unavailable;
use crate::items::{Item, b, n, s};
use crate::sessions::mails::Tally;
use crate::sessions::{Guessed, NewSession, Origin, Sessions, mails};
use crate::vault::{DataKey, Vault};

/// What a command brings along besides its events: secrets, which no event holds.
#[derive(Clone)]
pub enum Enclosed {
    /// Nothing.
    Nothing,
    /// The verifier of a new password, a PHC string.
    Verifier(Zeroizing<String>),
    /// The verifier of a new password, a PHC string, of somebody who registers where nobody is told whether the address
    /// was taken: their mail counts as much as the one to whoever has it.
    VerifierUnsaid(Zeroizing<String>),
    /// The same, of an address that another one yields in the same transaction.
    VerifierAndYielded {
        /// The verifier.
        verifier: Zeroizing<String>,
        /// Whose the address is until then.
        by: UserId,
    },
    /// The session that begins.
    Session(Box<NewSession>),
    /// The session that begins, and a stronger verifier of the password that begins it, a PHC string.
    SessionAndVerifier {
        /// The session.
        session: Box<NewSession>,
        /// The verifier.
        verifier: Zeroizing<String>,
        /// The vault with the verifier that the password opened. Unless it is as it was, it stays as it is.
        instead_of: Box<Vault>,
    },
    /// The verifier of another password, a PHC string, and the session in which the command is given: it goes on, and
    /// must be alive until then.
    NewVerifier {
        /// The verifier.
        verifier: Zeroizing<String>,
        /// The session.
        acting: SessionId,
    },
    /// The command is given in this session, which ends with it and must be alive until then.
    ActingSession,
    /// The command is given in this session, which goes on and must be alive until then.
    LastingSession(SessionId),
    /// The command is given in this session, which goes on and must be alive until then, and has a mail sent to an
    /// address that is not the user's.
    MailElsewhere {
        /// The session.
        acting: SessionId,
        /// Whose address it is: it counts as a mail to them.
        to: Guessed,
        /// Whether nobody has shown that the user's own address is theirs: that is told, too, and it counts as a mail to
        /// them as well. Otherwise whoever registers a stranger's address could have them told without end.
        unverified: bool,
    },
}

/// Names what is enclosed, and shows nothing of it.
impl fmt::Debug for Enclosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Verifier(_) => "Verifier(…)",
            Self::VerifierUnsaid(_) => "VerifierUnsaid(…)",
            Self::VerifierAndYielded { verifier: _, by: _ } => "VerifierAndYielded(…)",
            Self::Session(_) => "Session(…)",
            Self::SessionAndVerifier { session: _, verifier: _, instead_of: _ } => "SessionAndVerifier(…)",
            Self::NewVerifier { verifier: _, acting: _ } => "NewVerifier(…)",
            Self::ActingSession => "ActingSession",
            Self::LastingSession(_) => "LastingSession",
            Self::MailElsewhere { acting: _, to: _, unverified: _ } => "MailElsewhere(…)",
        })
    }
}

/// The condition that a session is alive; the table's TTL takes it away some time after that.
const ALIVE: &str = "#expires > :now";

/// What is written with a commit, in one transaction.
pub(super) struct Companion {
    pub kind: Kind,
    pub item: TransactWriteItem,
}

impl Companion {
    /// An item to be put.
    pub(super) fn new(kind: Kind, put: Put) -> Self {
        Self { kind, item: TransactWriteItem::builder().put(put).build() }
    }
}

/// What it means when the condition of a companion fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The address belongs to somebody.
    Identifier,
    /// The session in which the command is given has ended.
    ActingSession,
    /// Too many mails, of those that are counted so, have been sent to somebody who never showed that they read them.
    Mails {
        /// How they are counted.
        tally: Tally,
        /// When this one would be sent.
        now: DateTime<Utc>,
    },
    /// The world has moved on: load again.
    Other,
}

/// The command a companion belongs to.
pub(super) struct Context<'a> {
    pub store: &'a Store,
    pub user: UserId,
    /// The user as they are before the command.
    pub account: Option<&'a Account>,
    pub command: CommandId,
    pub key: &'a DataKey,
    pub vault: Option<&'a Vault>,
    pub enclosed: &'a Enclosed,
    pub origin: Origin<'a>,
    pub now: DateTime<Utc>,
}

impl Context<'_> {
    /// What these events change besides the log: the only place that says so.
    pub(super) fn companions(&self, events: &[UserEvent]) -> Result<Vec<Companion>, Unavailable> {
        let mut companions = Vec::new();
        for event in events {
            match event {
                UserEvent::UserRegistered { email, credential, name: _ } => {
                    companions.extend(self.registered(email, *credential)?);
                }
                UserEvent::UserSignedIn { session: _, ends: _, password: _, evicted, lapsed: _ } => {
                    let (Enclosed::Session(session) | Enclosed::SessionAndVerifier { session, .. }) =
                        self.enclosed
                    else {
                        return Err(Unavailable::because("a sign-in encloses a session"));
                    };
                    let mut item = session.row.clone().into_item(session.user, session.id);
                    let sessions = &self.store.sessions;
                    item.insert(
                        "client".into(),
                        b(sessions.seal_client(self.user, session.id, &self.origin)?),
                    );
                    companions.push(new(Kind::Other, &self.store.sessions.table, "item", item)?);
                    if let Some(evicted) = evicted {
                        companions.push(self.end(*evicted, false)?);
                    }
                    companions.extend(self.stronger_verifier()?);
                }
                UserEvent::UserRenamed { name: _ }
                | UserEvent::UserPasswordDisabled { attempt: _ }
                | UserEvent::UserVerifiedEmail { email: _ } => {}
                UserEvent::UserPasswordChanged { credential, password: _, ended } => {
                    let Enclosed::NewVerifier { verifier, acting } = self.enclosed else {
                        return Err(Unavailable::because("a change of password encloses a verifier"));
                    };
                    companions.push(self.replace_verifier(*credential, verifier)?);
                    companions.push(self.lives(*acting)?);
                    if self.is_unverified() {
                        companions.push(self.one_more(Tally::Changes, &self.user.to_string())?);
                    }
                    companions.extend(self.end_all(ended)?);
                }
                UserEvent::UserRequestedPasswordReset { email: _, credential: _, ends: _ }
                | UserEvent::UserRequestedEmailVerification { email: _, credential: _, ends: _ } => {
                    companions.push(self.one_more_mail()?);
                }
                UserEvent::UserPasswordReset { credential, base: _, ended } => {
                    let Enclosed::Verifier(verifier) = self.enclosed else {
                        return Err(Unavailable::because("a reset encloses a verifier"));
                    };
                    companions.push(self.replace_verifier(*credential, verifier)?);
                    companions.extend(self.end_all(ended)?);
                }
                UserEvent::UserSignedOut { session } => {
                    let acting = matches!(self.enclosed, Enclosed::ActingSession);
                    companions.push(self.end(*session, acting)?);
                }
                UserEvent::UserEndedSession { session } => {
                    companions.push(self.acting_lives()?);
                    companions.push(self.end(*session, false)?);
                }
                UserEvent::UserEndedOtherSessions { ended } => {
                    companions.push(self.acting_lives()?);
                    companions.extend(self.end_all(ended)?);
                }
                UserEvent::RefreshTokenReused { session } => companions.push(self.end(*session, false)?),
                UserEvent::UserRequestedEmailChange { email: _, from: _, credential: _, ends: _ } => {
                    let Enclosed::MailElsewhere { acting, to, unverified } = self.enclosed else {
                        return Err(Unavailable::because("another address is asked for in a session"));
                    };
                    companions.push(self.lives(*acting)?);
                    companions.push(self.one_more_mail_to(to)?);
                    // One that is theirs by now would count twice; then this commit is in vain.
                    if *unverified && to.partition() != self.user.to_string() {
                        companions.push(self.one_more_mail()?);
                    }
                }
                UserEvent::UserEmailChanged { from, to } => {
                    companions.push(self.take(to, None)?);
                    companions.push(self.let_go(from)?);
                    if self.is_unverified() {
                        let left = self.store.identifiers.key.email(from);
                        companions.push(self.one_more(Tally::Moves, left.as_str())?);
                    }
                }
                UserEvent::AddressRegisteredAgain { email } => {
                    companions.push(self.one_more_mail()?);
                    companions.push(self.still_has(email)?);
                    companions.push(self.decoy()?);
                }
                UserEvent::UserAddressReleased { email: _, ended } => {
                    companions.extend(self.end_all(ended)?);
                }
            }
        }
        Ok(companions)
    }

    fn registered(&self, email: &Email, credential: CredentialId) -> Result<Vec<Companion>, Unavailable> {
        let (phc, yielding) = match self.enclosed {
            Enclosed::Verifier(phc) | Enclosed::VerifierUnsaid(phc) => (phc, None),
            Enclosed::VerifierAndYielded { verifier, by } => (verifier, Some(*by)),
            _ => return Err(Unavailable::because("a registration encloses a verifier")),
        };
        let keys = &self.store.log.keys;
        let vault = Vault::new(self.user, keys, self.key, &self.store.verifiers, (credential, phc))?;
        let mut companions = vec![
            new(Kind::Other, &self.store.log.table, "item", vault.into_item())?,
            self.take(email, yielding)?,
        ];
        if !matches!(self.enclosed, Enclosed::Verifier(_)) {
            companions.push(self.one_more_mail()?);
        }
        Ok(companions)
    }

    /// Makes an address lead to the user: on condition that it leads to nobody, or to whoever yields it.
    fn take(&self, email: &Email, yielding: Option<UserId>) -> Result<Companion, Unavailable> {
        let identifiers = &self.store.identifiers;
        let item = identifiers.item(email, self.user, self.command);
        let Some(other) = yielding else {
            return new(Kind::Identifier, &identifiers.table, "identifier", item);
        };
        let put = Put::builder()
            .table_name(&identifiers.table)
            .set_item(Some(item))
            .condition_expression("#user = :other")
            .expression_attribute_names("#user", "user")
            .expression_attribute_values(":other", s(other.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(unbuilt)?;
        Ok(Companion::new(Kind::Identifier, put))
    }

    /// Makes an address lead to nobody, on condition that it leads to the user.
    fn let_go(&self, email: &Email) -> Result<Companion, Unavailable> {
        let identifiers = &self.store.identifiers;
        let delete = Delete::builder()
            .table_name(&identifiers.table)
            .key("identifier", s(identifiers.key.email(email).as_str()))
            .condition_expression("#user = :user")
            .expression_attribute_names("#user", "user")
            .expression_attribute_values(":user", s(self.user.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(unbuilt)?;
        Ok(Companion { kind: Kind::Other, item: TransactWriteItem::builder().delete(delete).build() })
    }

    /// Lets the command take effect only if an address leads to the user.
    fn still_has(&self, email: &Email) -> Result<Companion, Unavailable> {
        let identifiers = &self.store.identifiers;
        let check = ConditionCheck::builder()
            .table_name(&identifiers.table)
            .key("identifier", s(identifiers.key.email(email).as_str()))
            .condition_expression("#user = :user")
            .expression_attribute_names("#user", "user")
            .expression_attribute_values(":user", s(self.user.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(unbuilt)?;
        let item = TransactWriteItem::builder().condition_check(check).build();
        Ok(Companion { kind: Kind::Other, item })
    }

    /// Writes what means nothing, in place of the vault of somebody who would be registered.
    fn decoy(&self) -> Result<Companion, Unavailable> {
        let put = Put::builder()
            .table_name(&self.store.sessions.table)
            .set_item(Some(decoy(&self.user.to_string(), self.now)))
            .build()
            .map_err(unbuilt)?;
        Ok(Companion::new(Kind::Other, put))
    }

    /// Deletes the rows of sessions, whether they are alive or not.
    fn end_all(&self, sessions: &[SessionId]) -> Result<Vec<Companion>, Unavailable> {
        sessions.iter().map(|session| self.end(*session, false)).collect()
    }

    /// Deletes the row of a session; on condition that it is alive, if the command is given in it.
    fn end(&self, session: SessionId, must_be_alive: bool) -> Result<Companion, Unavailable> {
        let kind = if must_be_alive { Kind::ActingSession } else { Kind::Other };
        let mut delete = Delete::builder()
            .table_name(&self.store.sessions.table)
            .set_key(Some(Sessions::key(self.user, session)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if must_be_alive {
            delete = delete
                .condition_expression(ALIVE)
                .expression_attribute_names("#expires", "expires")
                .expression_attribute_values(":now", n(self.now.timestamp()));
        }
        let delete = delete.build().map_err(unbuilt)?;
        Ok(Companion { kind, item: TransactWriteItem::builder().delete(delete).build() })
    }

    fn acting_lives(&self) -> Result<Companion, Unavailable> {
        let Enclosed::LastingSession(acting) = self.enclosed else {
            return Err(Unavailable::because("other sessions are ended by one that goes on"));
        };
        self.lives(*acting)
    }

    /// Lets the command take effect only if the session in which it is given, and which goes on, is alive.
    fn lives(&self, acting: SessionId) -> Result<Companion, Unavailable> {
        let check = ConditionCheck::builder()
            .table_name(&self.store.sessions.table)
            .set_key(Some(Sessions::key(self.user, acting)))
            .condition_expression(ALIVE)
            .expression_attribute_names("#expires", "expires")
            .expression_attribute_values(":now", n(self.now.timestamp()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(unbuilt)?;
        let item = TransactWriteItem::builder().condition_check(check).build();
        Ok(Companion { kind: Kind::ActingSession, item })
    }

    /// Counts a mail that a stranger can have sent to the user, unless there have been too many.
    fn one_more_mail(&self) -> Result<Companion, Unavailable> {
        self.one_more_mail_to(&Guessed::User(self.user))
    }

    /// The same of a mail to an address that is not the user's: it counts as its owner's, or as nobody's.
    fn one_more_mail_to(&self, whose: &Guessed) -> Result<Companion, Unavailable> {
        self.one_more(Tally::Mails, &whose.partition())
    }

    fn one_more(&self, tally: Tally, partition: &str) -> Result<Companion, Unavailable> {
        let update = mails::one_more(&self.store.sessions.table, partition, tally, self.now)?;
        let kind = Kind::Mails { tally, now: self.now };
        Ok(Companion { kind, item: TransactWriteItem::builder().update(update).build() })
    }

    /// Whether nobody has shown that the user's address is theirs. As exact as the log: the commit takes the place behind
    /// the state that this is said of, or none.
    fn is_unverified(&self) -> bool {
        self.account.is_some_and(|account| !account.email_verified)
    }

    /// Puts a stronger verifier of the same password in the place of the one that was verified, and under the same
    /// credential: what the log says of it stays true. Where the vault has changed since, there is nothing to do: its
    /// verifier was made later, and perhaps of another password.
    fn stronger_verifier(&self) -> Result<Option<Companion>, Unavailable> {
        match self.enclosed {
            Enclosed::SessionAndVerifier { session: _, verifier, instead_of }
                if self.vault == Some(&**instead_of) =>
            {
                self.replace_verifier(instead_of.credential, verifier).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Puts a verifier in the place of the one that was read.
    fn replace_verifier(&self, credential: CredentialId, phc: &str) -> Result<Companion, Unavailable> {
        let vault = self.vault.ok_or_else(|| Unavailable::because("the vault was not read"))?;
        let table = &self.store.log.table;
        let update = vault.replace_verifier(table, &self.store.verifiers, (credential, phc))?;
        Ok(Companion { kind: Kind::Other, item: TransactWriteItem::builder().update(update).build() })
    }
}

/// Puts an item that must not be there yet.
pub(super) fn put_new(table: &str, key: &str, item: Item) -> Result<Put, Unavailable> {
    Put::builder()
        .table_name(table)
        .set_item(Some(item))
        .condition_expression("attribute_not_exists(#key)")
        .expression_attribute_names("#key", key)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
        .map_err(unbuilt)
}

fn new(kind: Kind, table: &str, key: &str, item: Item) -> Result<Companion, Unavailable> {
    Ok(Companion::new(kind, put_new(table, key, item)?))
}

pub(super) fn unbuilt(error: BuildError) -> Unavailable {
    Unavailable(Box::new(error))
}
