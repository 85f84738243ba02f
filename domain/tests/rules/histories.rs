//! Properties of random histories: commands in any order, at times that also run backwards.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Command, DisplayName, Email, EmailChange, MAX_SESSIONS, MOST_FAILURES, SessionId, User, UserEvent,
    VerifiedPassword, Version, decide,
};
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use uuid::Uuid;

use crate::fixture::{
    ada, augusta, credential, device, disable, end_others, end_reused, end_session, given, noon, password,
    register, registered, rename_in, request_reset, session, sign_out,
};

/// One command of a history. Sessions are named by the sign-in that began them, counted from 0.
#[derive(Debug, Clone)]
enum Ask {
    Register,
    SignIn {
        address_is_hers: bool,
        credential_is_hers: bool,
        lasts: TimeDelta,
        attempt: u64,
        device: Option<u8>,
    },
    Rename(Option<u8>, Option<Vec<u64>>),
    ChangePassword {
        acting: usize,
        credential_is_hers: bool,
        attempt: u64,
    },
    RequestReset {
        address_is_hers: bool,
    },
    ResetPassword {
        credential_is_hers: bool,
        base: u64,
    },
    Disable(u64),
    SignOut(usize),
    EndSession(usize, usize),
    EndOthers(usize),
    EndReused(usize),
    RequestVerification,
    Verify {
        credential_is_hers: bool,
    },
    RequestChange {
        acting: usize,
        to: u8,
    },
    ConfirmChange {
        right: bool,
    },
    NoteRegistration,
    Yield,
}

fn asks() -> impl Strategy<Value = Ask> {
    let sign_in =
        (any::<u8>(), 1..60 * 24 * 3_600_000_i64, 0..500_u64, proptest::option::weighted(0.3, 0..4_u8))
            .prop_map(|(right, lasts, attempt, device)| {
                Ask::SignIn {
                    address_is_hers: right % 16 != 0,
                    credential_is_hers: right % 16 != 1,
                    // Milliseconds, which the log does not keep for the end of a session.
                    lasts: TimeDelta::milliseconds(lasts),
                    attempt,
                    device,
                }
            });
    prop_oneof![
        6 => Just(Ask::Register),
        132 => sign_in,
        12 => (proptest::option::of(0..3_u8), proptest::option::of(proptest::collection::vec(0..20_u64, 0..9)))
            .prop_map(|(name, replacing)| Ask::Rename(name, replacing)),
        9 => (0..100_usize, any::<u8>(), 0..500_u64).prop_map(|(acting, right, attempt)| {
            Ask::ChangePassword { acting, credential_is_hers: right % 16 != 0, attempt }
        }),
        3 => any::<u8>().prop_map(|right| Ask::RequestReset { address_is_hers: right % 4 != 0 }),
        1 => (any::<u8>(), 0..500_u64).prop_map(|(right, base)| {
            Ask::ResetPassword { credential_is_hers: right % 4 != 0, base }
        }),
        // Most are too few after the last success.
        1 => (0..900_u64).prop_map(Ask::Disable),
        12 => (0..100_usize).prop_map(Ask::SignOut),
        12 => (0..100_usize, 0..100_usize).prop_map(|(acting, number)| Ask::EndSession(acting, number)),
        6 => (0..200_usize).prop_map(Ask::EndOthers),
        6 => (0..100_usize).prop_map(Ask::EndReused),
        6 => Just(Ask::RequestVerification),
        6 => any::<u8>().prop_map(|right| Ask::Verify { credential_is_hers: right % 4 == 0 }),
        6 => (0..100_usize, 0..3_u8).prop_map(|(acting, to)| Ask::RequestChange { acting, to }),
        6 => any::<u8>().prop_map(|right| Ask::ConfirmChange { right: right % 4 != 0 }),
        6 => Just(Ask::NoteRegistration),
        // Nobody signs in afterwards.
        1 => Just(Ask::Yield),
    ]
}

/// One commit: a command that led to something.
#[derive(Debug)]
struct Commit {
    before: User,
    events: Vec<UserEvent>,
    at: DateTime<Utc>,
    version: Version,
    after: User,
}

/// Lives a history: decides one command after another, each at its time, and folds what comes of it.
fn live(steps: Vec<(Ask, i64)>) -> Vec<Commit> {
    let (mut user, mut version, mut now, mut begun) = (User::Unregistered, Version::NONE, noon(), 0);
    let mut credentials = 1;
    let mut log = vec![];
    for (ask, seconds) in steps {
        now += TimeDelta::seconds(seconds);
        let hers = user.account().map_or(credential(1), |account| account.credential);
        let address = user.account().and_then(|account| account.email.clone()).unwrap_or_else(ada);
        let command = match ask {
            Ask::Register => register(),
            Ask::SignIn { address_is_hers, credential_is_hers, lasts, attempt, device: by } => {
                begun += 1;
                Command::SignIn {
                    email: if address_is_hers { address } else { Email::parse("eve@example.com").unwrap() },
                    credential: if credential_is_hers { hers } else { credential(0) },
                    attempt,
                    device: by.map(|number| device(number.into())),
                    session: session(begun - 1),
                    ends: now + lasts,
                    verified_only: false,
                }
            }
            Ask::Rename(name, replacing) => {
                let newest = user.account().and_then(|account| account.sessions.last());
                let acting = newest.map_or(session(0), |live| live.id);
                let name = name.map(|name| ["Ada", "Augusta", "李"][usize::from(name)]);
                rename_in(acting, name, replacing.as_deref())
            }
            Ask::ChangePassword { acting, credential_is_hers, attempt } => {
                credentials += 1;
                let proven = if credential_is_hers { hers } else { credential(0) };
                Command::ChangePassword {
                    session: session(acting as u128),
                    verified: VerifiedPassword { credential: proven, attempt, device: None },
                    credential: credential(credentials),
                }
            }
            Ask::RequestReset { address_is_hers } => {
                request_reset(if address_is_hers { ada() } else { Email::parse("eve@example.com").unwrap() })
            }
            Ask::ResetPassword { credential_is_hers, base } => {
                credentials += 1;
                Command::ResetPassword {
                    email: ada(),
                    since: None,
                    replacing: if credential_is_hers { hers } else { credential(0) },
                    credential: credential(credentials),
                    base,
                }
            }
            Ask::Disable(attempt) => disable(attempt),
            Ask::SignOut(number) => sign_out(number as u128),
            Ask::EndSession(acting, number) => end_session(acting as u128, number as u128),
            Ask::EndOthers(acting) => end_others(acting as u128),
            Ask::EndReused(number) => end_reused(number as u128),
            Ask::RequestVerification => {
                Command::RequestEmailVerification { email: address, ends: now + TimeDelta::hours(24) }
            }
            Ask::Verify { credential_is_hers } => {
                let credential = if credential_is_hers { hers } else { credential(0) };
                Command::VerifyEmail { email: address, credential }
            }
            Ask::RequestChange { acting, to } => {
                let newest = user.account().and_then(|account| account.sessions.last());
                let email = [ada(), augusta(), Email::parse("countess@example.com").unwrap()];
                Command::RequestEmailChange {
                    session: newest.filter(|_| acting > 9).map_or(session(0), |live| live.id),
                    email: email[usize::from(to)].clone(),
                    ends: now + TimeDelta::hours(24),
                }
            }
            Ask::ConfirmChange { right } => {
                let asked_for = user.account().and_then(|account| account.email_change.clone());
                let made_up = || EmailChange { from: ada(), to: augusta(), ends: noon() };
                let change = asked_for.filter(|_| right).unwrap_or_else(made_up);
                Command::ConfirmEmailChange { change, credential: hers }
            }
            Ask::NoteRegistration => Command::NoteRegistration { email: address },
            Ask::Yield => Command::YieldAddress { email: address },
        };
        let decided = decide(&user, &command, now);
        assert_eq!(decided, decide(&user, &command, now), "deciding is deterministic");
        let Ok(events) = decided else { continue };
        if events.is_empty() {
            continue;
        }
        version = version.next();
        let before = user.clone();
        user = events.iter().fold(user, |user, event| user.evolve(event, now, version));
        log.push(Commit { before, events, at: now, version, after: user.clone() });
    }
    log
}

/// Histories that begin with a registration, mostly, and are long enough for sessions to give way.
fn histories() -> impl Strategy<Value = Vec<Commit>> {
    let at = prop_oneof![40 => 0..3_600_i64, 2 => -86_400..0_i64, 1 => 0..20 * 86_400_i64];
    let registers_first = prop_oneof![9 => Just(true), 1 => Just(false)];
    (registers_first, proptest::collection::vec((asks(), at), 0..280)).prop_map(|(first, mut steps)| {
        if first {
            steps.insert(0, (Ask::Register, 0));
        }
        live(steps)
    })
}

fn sessions(user: &User) -> BTreeSet<SessionId> {
    user.account().map_or(BTreeSet::new(), |account| account.sessions.iter().map(|live| live.id).collect())
}

/// The session that an event began, if it began one, and those that it ended.
fn begun_and_ended(event: &UserEvent) -> (Option<SessionId>, Vec<SessionId>) {
    match event {
        UserEvent::UserRegistered { .. }
        | UserEvent::UserRenamed { .. }
        | UserEvent::UserRequestedEmailVerification { .. }
        | UserEvent::UserVerifiedEmail { .. }
        | UserEvent::UserRequestedEmailChange { .. }
        | UserEvent::UserEmailChanged { .. }
        | UserEvent::AddressRegisteredAgain { .. }
        | UserEvent::UserRequestedPasswordReset { .. }
        | UserEvent::UserPasswordDisabled { .. } => (None, vec![]),
        UserEvent::UserSignedIn { session, evicted, lapsed, .. } => {
            (Some(*session), evicted.iter().chain(lapsed).copied().collect())
        }
        UserEvent::UserPasswordChanged { ended, .. }
        | UserEvent::UserPasswordReset { ended, .. }
        | UserEvent::UserEndedOtherSessions { ended }
        | UserEvent::UserAddressReleased { ended, .. } => (None, ended.clone()),
        UserEvent::UserSignedOut { session }
        | UserEvent::UserEndedSession { session }
        | UserEvent::RefreshTokenReused { session } => (None, vec![*session]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_user_never_has_more_sessions_than_the_most(log in histories()) {
        for commit in &log {
            let account = commit.after.account().unwrap();
            prop_assert!(account.sessions.len() <= MAX_SESSIONS);
            prop_assert_eq!(sessions(&commit.after).len(), account.sessions.len(), "each is there once");
        }
    }

    #[test]
    fn a_session_gives_way_only_when_all_places_are_taken_by_the_living(log in histories()) {
        for commit in &log {
            for event in &commit.events {
                let UserEvent::UserSignedIn { evicted, lapsed, .. } = event else { continue };
                let before = &commit.before.account().unwrap().sessions;
                let alive: Vec<_> = before.iter().filter(|live| live.ends > commit.at).collect();
                let expected = (alive.len() == MAX_SESSIONS).then(|| alive[0].id);
                prop_assert_eq!(*evicted, expected);
                prop_assert_eq!(lapsed.len(), before.len() - alive.len());
            }
        }
    }

    #[test]
    fn only_sessions_that_were_live_are_ended(log in histories()) {
        for commit in &log {
            for event in &commit.events {
                for ended in begun_and_ended(event).1 {
                    prop_assert!(sessions(&commit.before).contains(&ended));
                    prop_assert!(!sessions(&commit.after).contains(&ended));
                }
            }
        }
    }

    #[test]
    fn a_changed_password_leaves_one_session_and_a_credential_of_its_own(log in histories()) {
        let mut before = BTreeSet::from([credential(1)]);
        for commit in &log {
            for event in &commit.events {
                let UserEvent::UserPasswordChanged { credential, .. } = event else { continue };
                let account = commit.after.account().unwrap();
                prop_assert_eq!(account.sessions.len(), 1);
                prop_assert_eq!(account.credential, *credential);
                prop_assert!(before.insert(*credential));
            }
        }
    }

    #[test]
    fn an_address_changes_by_the_event_that_says_so_and_is_verified_from_then_on(log in histories()) {
        let mut expected = None;
        for commit in &log {
            let verified = commit.before.account().is_some_and(|account| account.email_verified);
            let account = commit.after.account().unwrap();
            for event in &commit.events {
                match event {
                    UserEvent::UserRegistered { email, .. } => expected = Some(email.clone()),
                    UserEvent::UserEmailChanged { from, to } => {
                        prop_assert_eq!(expected.as_ref(), Some(from));
                        prop_assert!(account.email_verified);
                        expected = Some(to.clone());
                    }
                    UserEvent::UserAddressReleased { email, .. } => {
                        prop_assert_eq!(expected.as_ref(), Some(email));
                        prop_assert!(!verified && account.sessions.is_empty());
                        expected = None;
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(&account.email, &expected);
            prop_assert!(account.email_verified || !verified, "verified once is verified for ever");
        }
    }

    #[test]
    fn a_reset_leaves_no_session_and_a_verified_address_and_a_password_that_is_not_disabled(log in histories()) {
        let mut before = BTreeSet::from([credential(1)]);
        for commit in &log {
            for event in &commit.events {
                let UserEvent::UserPasswordReset { credential, base, .. } = event else { continue };
                let account = commit.after.account().unwrap();
                prop_assert!(account.sessions.is_empty() && account.email_verified && !account.password_disabled);
                prop_assert_eq!(account.credential, *credential);
                prop_assert!(account.last_success >= *base);
                prop_assert!(before.insert(*credential));
            }
        }
    }

    #[test]
    fn no_password_is_right_between_its_disabling_and_a_reset(log in histories()) {
        for commit in &log {
            let disabled = commit.before.account().is_some_and(|account| account.password_disabled);
            for event in &commit.events {
                let rests_on_one =
                    matches!(event, UserEvent::UserSignedIn { .. } | UserEvent::UserPasswordChanged { .. });
                prop_assert!(!(disabled && rests_on_one));
                let resets = matches!(event, UserEvent::UserPasswordReset { .. });
                prop_assert!(!disabled || resets || commit.after.account().unwrap().password_disabled);
                if let UserEvent::UserPasswordDisabled { attempt } = event {
                    let since = commit.before.account().unwrap().last_success;
                    prop_assert!(!disabled && attempt - since >= MOST_FAILURES);
                }
            }
        }
    }

    #[test]
    fn a_session_that_ended_never_comes_back(log in histories()) {
        let mut over = BTreeSet::new();
        for commit in &log {
            over.extend(commit.events.iter().flat_map(|event| begun_and_ended(event).1));
            prop_assert!(over.is_disjoint(&sessions(&commit.after)));
        }
    }

    #[test]
    fn nothing_but_events_begins_and_ends_sessions(log in histories()) {
        let mut expected = BTreeSet::new();
        for commit in &log {
            for event in &commit.events {
                let (begun, ended) = begun_and_ended(event);
                expected.retain(|session| !ended.contains(session));
                expected.extend(begun);
            }
            prop_assert_eq!(&sessions(&commit.after), &expected);
        }
    }

    #[test]
    fn the_last_success_never_goes_back_and_is_the_greatest_that_a_reset_knew_or_no_device_counted(log in histories()) {
        let mut greatest = 0;
        for commit in &log {
            for event in &commit.events {
                let counted = match event {
                    UserEvent::UserSignedIn { password, .. }
                    | UserEvent::UserPasswordChanged { password, .. } if password.device.is_none() => password.attempt,
                    UserEvent::UserPasswordReset { base, .. } => *base,
                    _ => 0,
                };
                greatest = greatest.max(counted);
            }
            prop_assert_eq!(commit.after.account().unwrap().last_success, greatest);
        }
    }

    #[test]
    fn a_document_is_read_as_it_was_written_at_every_step(log in histories()) {
        for commit in &log {
            let stored = serde_json::to_string(&commit.after).unwrap();
            prop_assert_eq!(&serde_json::from_str::<User>(&stored).unwrap(), &commit.after);
        }
    }

    #[test]
    fn a_log_that_was_stored_folds_to_what_its_commands_led_to(log in histories()) {
        let mut replayed = User::Unregistered;
        for commit in &log {
            let stored = serde_json::to_string(&commit.events).unwrap();
            for event in serde_json::from_str::<Vec<UserEvent>>(&stored).unwrap() {
                replayed = replayed.evolve(&event, commit.at, commit.version);
            }
            prop_assert_eq!(&replayed, &commit.after);
        }
    }

    #[test]
    fn folding_on_from_a_stored_document_is_folding_from_the_first_commit(log in histories(), cut in any::<usize>()) {
        let Some(last) = log.last() else { return Ok(()) };
        let cut = cut % log.len();
        let snapshot = serde_json::from_str(&serde_json::to_string(&log[cut].after).unwrap()).unwrap();
        let folded = log[cut + 1..].iter().fold(snapshot, |user: User, commit| {
            commit.events.iter().fold(user, |user, event| user.evolve(event, commit.at, commit.version))
        });
        prop_assert_eq!(&folded, &last.after);
    }

    #[test]
    fn events_that_do_not_fit_change_nothing(log in histories()) {
        for commit in &log {
            for event in &commit.events {
                let again = commit.after.clone().evolve(event, commit.at, commit.version.next());
                match event {
                    // Said twice, each of these finds nothing left to do.
                    UserEvent::UserRegistered { .. }
                    | UserEvent::UserPasswordChanged { .. }
                    | UserEvent::UserRequestedPasswordReset { .. }
                    | UserEvent::UserPasswordReset { .. }
                    | UserEvent::UserPasswordDisabled { .. }
                    | UserEvent::UserSignedOut { .. }
                    | UserEvent::UserEndedSession { .. }
                    | UserEvent::UserEndedOtherSessions { .. }
                    | UserEvent::RefreshTokenReused { .. }
                    | UserEvent::UserRequestedEmailVerification { .. }
                    | UserEvent::UserRequestedEmailChange { .. }
                    | UserEvent::UserEmailChanged { .. }
                    | UserEvent::AddressRegisteredAgain { .. }
                    | UserEvent::UserAddressReleased { .. } => prop_assert_eq!(&again, &commit.after),
                    // It begins the session again, or says that the profile changed again.
                    UserEvent::UserSignedIn { .. }
                    | UserEvent::UserRenamed { .. }
                    | UserEvent::UserVerifiedEmail { .. } => {}
                }
                if !matches!(event, UserEvent::UserRegistered { .. }) {
                    let nobody = User::Unregistered.evolve(event, commit.at, commit.version);
                    prop_assert_eq!(nobody, User::Unregistered);
                }
            }
        }
    }
}

#[test]
fn histories_are_long_enough_for_sessions_to_give_way_and_to_lapse() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut evictions, mut lapses, mut ends, mut renames, mut changes) = (0, 0, 0, 0, 0);
    let (mut endings_of_others, mut requests, mut resets, mut disablings) = (0, 0, 0, 0);
    let (mut verifications, mut moves, mut releases, mut devices) = (0, 0, 0, 0);
    for _ in 0..128 {
        for commit in histories().new_tree(&mut runner).unwrap().current() {
            for event in commit.events {
                match event {
                    UserEvent::UserRegistered { .. }
                    | UserEvent::UserRequestedEmailVerification { .. }
                    | UserEvent::UserRequestedEmailChange { .. }
                    | UserEvent::AddressRegisteredAgain { .. } => {}
                    UserEvent::UserVerifiedEmail { .. } => verifications += 1,
                    UserEvent::UserEmailChanged { .. } => moves += 1,
                    UserEvent::UserAddressReleased { .. } => releases += 1,
                    UserEvent::UserRenamed { .. } => renames += 1,
                    UserEvent::UserRequestedPasswordReset { .. } => requests += 1,
                    UserEvent::UserPasswordReset { ended, .. } => resets += usize::from(ended.len() > 5),
                    UserEvent::UserPasswordDisabled { .. } => disablings += 1,
                    UserEvent::UserPasswordChanged { ended, .. } => changes += usize::from(ended.len() > 5),
                    UserEvent::UserSignedIn { password, evicted, lapsed, .. } => {
                        devices += usize::from(password.device.is_some());
                        evictions += usize::from(evicted.is_some());
                        lapses += lapsed.len();
                    }
                    UserEvent::UserSignedOut { .. }
                    | UserEvent::UserEndedSession { .. }
                    | UserEvent::RefreshTokenReused { .. } => ends += 1,
                    UserEvent::UserEndedOtherSessions { ended } => {
                        endings_of_others += usize::from(ended.len() > 5);
                    }
                }
            }
        }
    }
    assert!(evictions > 10 && lapses > 100, "{evictions}, {lapses}");
    assert!(ends > 100 && renames > 100 && changes > 20, "{ends}, {renames}, {changes}");
    assert!(endings_of_others > 5 && devices > 100, "{endings_of_others}, {devices}");
    assert!(verifications > 10 && moves > 20 && releases > 5, "{verifications}, {moves}, {releases}");
    assert!(requests > 50 && resets > 10 && disablings > 10, "{requests}, {resets}, {disablings}");
}

#[test]
fn a_document_with_all_its_sessions_fits_into_two_write_units() {
    let name = DisplayName::parse("Augusta Ada King, Countess of Lovelace").unwrap();
    let email = Email::parse("augusta.ada.king.lovelace@analytical-engine.example.com").unwrap();
    let augusta = UserEvent::UserRegistered { email, name: Some(name), credential: credential(1) };
    let mut user = User::Unregistered.evolve(&augusta, noon(), Version::new(1));
    for number in 0..MAX_SESSIONS as u128 {
        let signed_in = UserEvent::UserSignedIn {
            session: session(number),
            ends: noon() + TimeDelta::days(30),
            password: password(1_000_000),
            evicted: None,
            lapsed: vec![],
        };
        user = user.evolve(&signed_in, noon(), Version::new(2));
    }
    assert_eq!(sessions(&user).len(), MAX_SESSIONS);
    let octets = serde_json::to_vec(&user).unwrap().len();
    assert!(octets < 2_048, "{octets} octets");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_end_of_a_session_is_read_as_it_was_written_whenever_it_is(seconds in any::<i64>(), number in any::<u128>()) {
        let seconds = seconds % DateTime::<Utc>::MAX_UTC.timestamp();
        let ends = DateTime::from_timestamp(seconds, 0).unwrap();
        let signed_in = UserEvent::UserSignedIn {
            session: SessionId::new(Uuid::from_u128(number)),
            ends,
            password: password(1),
            evicted: None,
            lapsed: vec![],
        };
        let user = given([registered(), signed_in]).user;
        let stored = serde_json::to_string(&user).unwrap();
        prop_assert_eq!(serde_json::from_str::<User>(&stored).unwrap(), user);
    }
}
