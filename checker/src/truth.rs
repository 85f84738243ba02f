use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use domain::{Account, CredentialId, Email, SessionId, User, UserEvent, UserId, Version};
use storage::{Commit, StoredView};

use crate::MOST_ADDRESSES;
use crate::client::SPARE;
use crate::history::{Command, Entry};
use crate::world::{World, address, number_of};

/// What the tables hold in the end, read by who has all keys and with nothing going wrong.
#[derive(Clone)]
pub(crate) struct Truth {
    pub users: BTreeMap<UserId, Told>,
    /// Rows of sessions.
    pub rows: BTreeSet<(UserId, SessionId)>,
    /// Who each address leads to, by the identifiers.
    pub leads_to: BTreeMap<String, UserId>,
    /// How many identifiers there are.
    pub identifiers: usize,
    /// The addresses, by their numbers, at which somebody has guessed for a day, unseen; and those that the same users had.
    pub guessed_at: BTreeSet<usize>,
}

/// A user's log and view.
#[derive(Clone)]
pub(crate) struct Told {
    pub commits: Vec<Commit>,
    /// The user after each of the commits.
    pub states: Vec<User>,
    pub view: StoredView,
    /// The credential in the vault.
    pub credential: Option<CredentialId>,
    /// Why the log cannot be read beyond these commits, if it cannot.
    pub broken: Option<String>,
}

impl Truth {
    pub(crate) async fn of(world: &World) -> Self {
        let store = world.store();
        let mut users = BTreeMap::new();
        for (user, _) in keys(world, &world.tables.events).await {
            let Ok(user) = user.parse() else { continue };
            if users.contains_key(&user) {
                continue;
            }
            let mut commits = Vec::new();
            let read = store.log.history(user, |commit| commits.push(commit.clone())).await;
            let states = commits.iter().scan(User::default(), |state, commit| {
                *state = commit.fold(std::mem::take(state));
                Some(state.clone())
            });
            let states = states.collect();
            let view = store.views.read_all(&[user], true).await.expect("a view").remove(0);
            let loaded = store.load(user).await.ok().flatten();
            let credential = loaded.and_then(|loaded| Some(loaded.vault()?.credential));
            let broken = read.err().map(|error| format!("{error:?}"));
            users.insert(user, Told { commits, states, view, credential, broken });
        }
        let rows = keys(world, &world.tables.sessions).await.into_iter();
        let rows = rows.filter_map(|(user, item)| {
            Some((user.parse().ok()?, item?.strip_prefix("session-")?.parse().ok()?))
        });
        let rows = rows.collect();
        let mut leads_to = BTreeMap::new();
        for number in 0..MOST_ADDRESSES + SPARE {
            let email = Email::parse(&address(number)).expect("an address");
            if let Some(user) = store.find(&email).await.expect("an identifier, or none") {
                leads_to.insert(address(number), user);
            }
        }
        let identifiers = keys(world, &world.tables.identifiers).await.len();
        let mut guessed_at = world.guessed_at();
        let of: Vec<_> = users.values().map(Told::addresses).collect();
        for of in of.into_iter().filter(|of| !of.is_disjoint(&world.guessed_at())) {
            guessed_at.extend(of);
        }
        Self { users, rows, leads_to, identifiers, guessed_at }
    }

    /// Every commit with its user.
    pub(crate) fn commits(&self) -> impl Iterator<Item = &Commit> {
        self.users.values().flat_map(|told| &told.commits)
    }

    /// Who has this address in the end.
    pub(crate) fn owner(&self, address: &str) -> Option<(UserId, &Told)> {
        let of = |told: &Told| {
            let email = told.states.last()?.account()?.email.as_ref();
            email.map(|email| email.as_str() == address)
        };
        self.users.iter().find(|(_, told)| of(told) == Some(true)).map(|(user, told)| (*user, told))
    }

    /// Whether this address, by its number, was somebody's before it was somebody else's, or may have been.
    pub(crate) fn has_moved(&self, of: usize) -> bool {
        let address = address(of);
        self.commits().flat_map(events).any(|event| {
            matches!(event, UserEvent::UserEmailChanged { from, to }
                if from.as_str() == address || to.as_str() == address)
        })
    }

    /// The commit that ended a session.
    pub(crate) fn end_of(&self, session: SessionId) -> Option<&Commit> {
        self.commits().find(|commit| events(commit).any(|event| ended(event).contains(&session)))
    }
}

impl Told {
    /// The name that the user registered with.
    pub(crate) fn registered_name(&self) -> Option<&str> {
        self.states.first()?.account()?.name.as_ref().map(domain::DisplayName::as_str)
    }

    /// The number of the commit that a request caused.
    pub(crate) fn commit_of(&self, entry: &Entry) -> Option<usize> {
        let place = self.commits.iter().position(|commit| request_of(commit) == Some(entry.request));
        place.map(|place| place + 1)
    }

    /// The user after so many commits.
    pub(crate) fn account(&self, commits: usize) -> Option<&Account> {
        self.states.get(commits.checked_sub(1)?)?.account()
    }

    /// Whether an address was the user's after so many commits.
    pub(crate) fn has(&self, address: &str, commits: usize) -> bool {
        self.account(commits)
            .and_then(|account| account.email.as_ref())
            .is_some_and(|of| of.as_str() == address)
    }

    /// The addresses, by their numbers, that the user ever had.
    pub(crate) fn addresses(&self) -> BTreeSet<usize> {
        let accounts = self.states.iter().filter_map(User::account);
        accounts.filter_map(|account| number_of(account.email.as_ref()?)).collect()
    }

    /// The sessions alive after so many commits, the oldest first.
    pub(crate) fn alive(&self, commits: usize) -> impl Iterator<Item = SessionId> {
        self.account(commits).into_iter().flat_map(|account| &account.sessions).map(|live| live.id)
    }

    /// The password, by its number, after each of the commits: whoever set it said in their request which one.
    pub(crate) fn passwords(&self, entries: &[Entry]) -> Vec<Option<usize>> {
        let mut current = None;
        let after = |commit: &Commit| {
            for event in events(commit) {
                match event {
                    UserEvent::UserRegistered { .. } => current = self.registered_with(entries),
                    UserEvent::UserPasswordChanged { .. } | UserEvent::UserPasswordReset { .. } => {
                        let cause = request_of(commit).and_then(|request| entries.get(request));
                        current = cause.and_then(|entry| match entry.command {
                            Command::ChangePassword { new, .. } | Command::Reset { new, .. } => Some(new),
                            _ => None,
                        });
                    }
                    UserEvent::UserSignedIn { .. }
                    | UserEvent::UserRenamed { .. }
                    | UserEvent::UserRequestedEmailVerification { .. }
                    | UserEvent::UserVerifiedEmail { .. }
                    | UserEvent::UserRequestedEmailChange { .. }
                    | UserEvent::UserEmailChanged { .. }
                    | UserEvent::AddressRegisteredAgain { .. }
                    | UserEvent::UserAddressReleased { .. }
                    | UserEvent::UserRequestedPasswordReset { .. }
                    | UserEvent::UserPasswordDisabled { .. }
                    | UserEvent::UserSignedOut { .. }
                    | UserEvent::UserEndedSession { .. }
                    | UserEvent::UserEndedOtherSessions { .. }
                    | UserEvent::RefreshTokenReused { .. } => {}
                }
            }
            current
        };
        self.commits.iter().map(after).collect()
    }

    /// The password that the user registered with: with one idempotency key all tries have the same.
    fn registered_with(&self, entries: &[Entry]) -> Option<usize> {
        let of = self.states.first()?.account()?.email.as_ref()?.as_str();
        entries.iter().find_map(|entry| match &entry.command {
            Command::Register { address: number, password, .. }
                if address(*number) == of && entry.registered_name().as_deref() == self.registered_name() =>
            {
                Some(*password)
            }
            _ => None,
        })
    }

    pub(crate) fn head(&self) -> Version {
        self.commits.last().map_or(Version::NONE, |commit| commit.version)
    }
}

pub(crate) fn events(commit: &Commit) -> impl Iterator<Item = &UserEvent> {
    commit.events.iter().map(|recorded| &recorded.event)
}

/// The request that caused a commit, by the network address that it recorded.
pub(crate) fn request_of(commit: &Commit) -> Option<usize> {
    let address: Ipv6Addr = commit.events.first()?.meta.address.as_ref()?.parse().ok()?;
    usize::try_from(address.to_bits()).ok()
}

/// The session that an event began.
pub(crate) fn begun(event: &UserEvent) -> Option<SessionId> {
    if let UserEvent::UserSignedIn { session, .. } = event { Some(*session) } else { None }
}

/// The sessions that an event ended.
pub(crate) fn ended(event: &UserEvent) -> Vec<SessionId> {
    match event {
        UserEvent::UserSignedIn { evicted, lapsed, .. } => evicted.iter().chain(lapsed).copied().collect(),
        UserEvent::UserPasswordChanged { ended, .. }
        | UserEvent::UserPasswordReset { ended, .. }
        | UserEvent::UserEndedOtherSessions { ended }
        | UserEvent::UserAddressReleased { ended, .. } => ended.clone(),
        UserEvent::UserSignedOut { session }
        | UserEvent::UserEndedSession { session }
        | UserEvent::RefreshTokenReused { session } => vec![*session],
        UserEvent::UserRegistered { .. }
        | UserEvent::UserRenamed { .. }
        | UserEvent::UserRequestedEmailVerification { .. }
        | UserEvent::UserVerifiedEmail { .. }
        | UserEvent::UserRequestedEmailChange { .. }
        | UserEvent::UserEmailChanged { .. }
        | UserEvent::AddressRegisteredAgain { .. }
        | UserEvent::UserRequestedPasswordReset { .. }
        | UserEvent::UserPasswordDisabled { .. } => Vec::new(),
    }
}

/// The keys of a table's items: partition and sort key.
async fn keys(world: &World, table: &str) -> Vec<(String, Option<String>)> {
    let pages = world.storm.client().scan().table_name(table).consistent_read(true).into_paginator();
    let items: Vec<_> = pages.items().send().collect::<Result<_, _>>().await.expect("every item of a table");
    let text = |item: &std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue>,
                name: &str| { item.get(name).and_then(|value| value.as_s().ok()).cloned() };
    items.iter().map(|item| (text(item, "user").unwrap_or_default(), text(item, "item"))).collect()
}
