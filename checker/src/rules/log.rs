use std::collections::{BTreeMap, BTreeSet};

use domain::{SessionId, UserEvent, UserId, Version};
use storage::{Commit, View};

use super::Case;
use crate::history::{Access, Answer, Command, Entry, GUESSABLE};
use crate::truth::{begun, ended, events, request_of};
use crate::world::address;

impl Case<'_> {
    /// Each log opens and is dense; each commit was asked for, by one request, whose answer does not deny it; none took
    /// effect twice; none stands before one that had been answered when it was asked for.
    pub(super) fn log(&mut self) {
        let (mut commands, mut requests, mut began, mut over) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let truth = self.truth;
        for (user, told) in &truth.users {
            if let Some(why) = &told.broken {
                self.findings.push(format!("the log of {user} breaks after {}: {why}", told.head()));
            }
            self.require(!told.commits.is_empty(), || format!("{user} has a vault and no commit"));
            self.follows_real_time(&told.commits);
            for commit in &told.commits {
                let (user, version) = (commit.user, commit.version);
                self.require(commands.insert(commit.command), || {
                    format!("the command of {user} v{version} took effect twice")
                });
                for event in events(commit) {
                    let registers = matches!(event, UserEvent::UserRegistered { .. });
                    self.require(registers == (version == Version::NONE.next()), || {
                        format!("{user} v{version} is out of place: {}", event.name())
                    });
                    if let Some(session) = begun(event) {
                        self.require(began.insert(session), || format!("{session} began twice"));
                    }
                    for session in ended(event) {
                        let once = began.contains(&session) && over.insert((user, session));
                        self.require(once, || format!("{session} ended twice or before it began"));
                    }
                }
                match request_of(commit).and_then(|request| self.entries.get(request)) {
                    Some(entry) => {
                        self.require(requests.insert(entry.request), || {
                            format!("took effect twice, again as {user} v{version}: {entry}")
                        });
                        self.was_asked_for(commit, entry);
                    }
                    None => self.findings.push(format!("nobody asked for {user} v{version}")),
                }
            }
        }
    }

    /// The later of two commits was not answered before the earlier was asked for.
    fn follows_real_time(&mut self, commits: &[Commit]) {
        let entries = self.entries;
        let mut latest: Option<&Entry> = None;
        for commit in commits {
            let Some(entry) = request_of(commit).and_then(|request| entries.get(request)) else { continue };
            if let Some(latest) = latest.filter(|latest| entry.precedes(latest)) {
                self.complain(entry, format!("the log has it after what came later, {latest}"));
            }
            latest = latest.filter(|latest| latest.invoked > entry.invoked).or(Some(entry));
        }
    }

    /// A commit is what its request asked for, and the request was not refused.
    fn was_asked_for(&mut self, commit: &Commit, entry: &Entry) {
        let (user, version) = (commit.user, commit.version);
        let told = self.truth.users.get(&user);
        let before = usize::try_from(version.number()).unwrap_or_default().saturating_sub(1);
        let alive: BTreeSet<SessionId> = told.into_iter().flat_map(|told| told.alive(before)).collect();
        let is_theirs = |access: &Access| self.user_of(access.session).is_some_and(|(of, _)| of == user);
        let was_alive = |session: SessionId| alive.contains(&session);
        let ends_all_but = |access: &Access, ended: &[SessionId]| {
            let mut left = alive.clone();
            ended.iter().all(|session| left.remove(session)) && left.into_iter().eq([access.session])
        };
        let had = |of: usize| told.is_some_and(|told| self.may_have_had(told, &address(of), entry));
        let fits = events(commit).all(|event| match (&entry.command, event) {
            (Command::Register { address: of, .. }, UserEvent::UserRegistered { email, name, .. }) => {
                let name = name.as_ref().map(|name| name.as_str().to_owned());
                email.as_str() == address(*of) && name == entry.registered_name()
            }
            (Command::SignIn { address: of, password, .. }, UserEvent::UserSignedIn { .. }) => {
                told.is_some_and(|told| told.has(&address(*of), before))
                    && self.password_after(user, before) == Some(*password)
            }
            (Command::Rename { access, name, .. }, UserEvent::UserRenamed { name: new }) => {
                is_theirs(access) && *name == new.as_ref().map(|new| new.as_str().to_owned())
            }
            (
                Command::ChangePassword { access, current, new },
                UserEvent::UserPasswordChanged { ended, .. },
            ) => {
                *new != GUESSABLE
                    && self.password_after(user, before) == Some(*current)
                    && ends_all_but(access, ended)
            }
            (Command::Forget { .. }, UserEvent::UserRequestedPasswordReset { .. }) => {
                self.is_the_mail_asked_for(commit, entry, event)
            }
            (Command::Reset { token, new }, UserEvent::UserPasswordReset { ended, .. }) => {
                *new != GUESSABLE
                    && token.user == user
                    && told.and_then(|told| told.account(before)).map(|account| account.credential)
                        == Some(token.credential)
                    && alive == ended.iter().copied().collect()
            }
            (Command::AskForAddress { .. } | Command::Verify { .. }, event) => {
                self.is_what_the_address_needed(commit, entry, event)
            }
            (Command::SignIn { address: of, .. }, UserEvent::UserPasswordDisabled { .. }) => had(*of),
            (Command::ChangePassword { access, .. }, UserEvent::UserPasswordDisabled { .. }) => {
                is_theirs(access)
            }
            (Command::EndOtherSessions(access), UserEvent::UserEndedOtherSessions { ended }) => {
                !ended.is_empty() && ends_all_but(access, ended)
            }
            (Command::EndSession { access, session }, UserEvent::UserEndedSession { session: ended }) => {
                session == ended && ended != &access.session && was_alive(access.session)
            }
            (Command::EndSession { access, session }, UserEvent::UserSignedOut { session: ended }) => {
                session == ended && *ended == access.session
            }
            (Command::SignOut(access), UserEvent::UserSignedOut { session }) => access.session == *session,
            (Command::Revoke(token), UserEvent::UserSignedOut { session }) => {
                token.genuine && token.session == *session
            }
            (Command::Refresh(token), UserEvent::RefreshTokenReused { session }) => {
                token.genuine && token.session == *session && self.is_reuse(entry, token)
            }
            _ => false,
        });
        self.require(fits, || format!("{user} v{version} is not what was asked for: {entry}"));
        let disables = events(commit).all(|event| matches!(event, UserEvent::UserPasswordDisabled { .. }));
        let denied = match (&entry.command, &entry.answer) {
            // The last wrong guess is refused, and has the password disabled.
            (_, answer) if disables => !matches!(answer, Answer::Unknown) && !answer.refuses(),
            // A spent token is refused, and ends its session.
            (Command::Refresh(_), Answer::Refused(_)) => false,
            (Command::Refresh(_), answer) => *answer != Answer::Unknown,
            (_, answer) => answer.refuses(),
        };
        self.require(!denied, || format!("refused, and done all the same as {user} v{version}: {entry}"));
    }

    /// Every view is the fold of the log up to its version, and shows every commit that the projector answered for.
    /// Nobody is parked.
    pub(super) fn views(&mut self, delivered: &BTreeSet<(UserId, Version)>) {
        let mut answered_for: BTreeMap<UserId, Version> = BTreeMap::new();
        for (user, version) in delivered {
            let highest = answered_for.entry(*user).or_default();
            *highest = (*highest).max(*version);
        }
        let truth = self.truth;
        for (user, told) in &truth.users {
            self.require(told.view.parked.is_none(), || format!("{user} is parked"));
            let shown = match &told.view.view {
                View::Of(snapshot) => {
                    let version = snapshot.head.version;
                    let place = usize::try_from(version.number()).ok().and_then(|n| n.checked_sub(1));
                    let state = place.and_then(|place| told.states.get(place));
                    self.require(state == Some(&snapshot.user), || {
                        format!("the view of {user} is not the fold of its log at v{version}")
                    });
                    version
                }
                View::Absent => Version::NONE,
                view @ (View::Foreign { .. } | View::Torn(_)) => {
                    self.findings.push(format!("the view of {user} is of no use: {view:?}"));
                    continue;
                }
            };
            let delivered = answered_for.get(user).copied().unwrap_or_default();
            self.require(shown >= delivered, || {
                format!("the projector answered for v{delivered} of {user}, and the view shows v{shown}")
            });
        }
    }
}
