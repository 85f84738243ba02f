use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use domain::{Account, CredentialId, Email, UserEvent, UserId};
use storage::Unavailable;
use storage::one_time::{Bound, OneTimeKeys};
use zeroize::Zeroizing;

/// So long the link in the mail of a registration works.
const VERIFIED_WITHIN: TimeDelta = TimeDelta::hours(24);

/// What an event calls for.
pub(crate) enum Call<'a> {
    /// A link with which an address is verified, to that address.
    Verify(Occasion, Proof<'a>),
    /// A link with which the password is reset, to the address by which it was asked for.
    Reset(Proof<'a>),
    /// A link with which the user shows that the other address is theirs, to that address; and what stands for the one
    /// before.
    Confirm(Proof<'a>, &'a Email),
    /// News to this address.
    NoticeTo(Occasion, &'a Email),
    /// News to the address that the user has, if they have one.
    Notice(Occasion),
}

/// What a token rests on: the address it goes to, the verifier of the time, and its end; whole seconds.
pub(crate) struct Proof<'a> {
    email: &'a Email,
    credential: CredentialId,
    ends: DateTime<Utc>,
}

/// The mails that an event, which happened at `at`, calls for; always in this order, as those that went out are counted.
pub(crate) fn calls(event: &UserEvent, at: DateTime<Utc>) -> Vec<Call<'_>> {
    match event {
        UserEvent::UserRegistered { email, name: _, credential } => {
            let ends = (at + VERIFIED_WITHIN).trunc_subsecs(0);
            vec![Call::Verify(Occasion::Registered, Proof { email, credential: *credential, ends })]
        }
        UserEvent::UserRequestedPasswordReset { email, credential, ends } => {
            vec![Call::Reset(Proof { email, credential: *credential, ends: *ends })]
        }
        UserEvent::UserPasswordChanged { .. } => vec![Call::Notice(Occasion::PasswordChanged)],
        UserEvent::UserPasswordReset { .. } => vec![Call::Notice(Occasion::PasswordReset)],
        UserEvent::UserPasswordDisabled { .. } => vec![Call::Notice(Occasion::PasswordDisabled)],
        UserEvent::UserRequestedEmailVerification { email, credential, ends } => {
            let proof = Proof { email, credential: *credential, ends: *ends };
            vec![Call::Verify(Occasion::VerificationRequested, proof)]
        }
        UserEvent::UserRequestedEmailChange { email, from, credential, ends } => {
            let proof = Proof { email, credential: *credential, ends: *ends };
            vec![Call::Confirm(proof, from), Call::NoticeTo(Occasion::AddressChangeRequested, from)]
        }
        UserEvent::UserEmailChanged { from, to: _ } => {
            vec![Call::NoticeTo(Occasion::AddressChanged, from)]
        }
        UserEvent::AddressRegisteredAgain { email } => {
            vec![Call::NoticeTo(Occasion::RegisteredAgain, email)]
        }
        // Of an address that was released the reader is somebody else by now.
        UserEvent::UserAddressReleased { .. }
        | UserEvent::UserVerifiedEmail { .. }
        | UserEvent::UserSignedIn { .. }
        | UserEvent::UserRenamed { .. }
        | UserEvent::UserSignedOut { .. }
        | UserEvent::UserEndedSession { .. }
        | UserEvent::UserEndedOtherSessions { .. }
        | UserEvent::RefreshTokenReused { .. } => Vec::new(),
    }
}

impl Call<'_> {
    /// The mail for a user who is this after the event's commit; `None` if there is nobody to send it to.
    ///
    /// # Errors
    /// [`Unavailable`] when no token can be made.
    pub(crate) fn errand(
        &self,
        user: UserId,
        account: &Account,
        tokens: &OneTimeKeys,
    ) -> Result<Option<Errand>, Unavailable> {
        let with_link = |occasion, page, bound: &Bound<'_>, to: &Email, ends| {
            let token = tokens.make(user, bound, ends)?;
            Ok(Some(Errand { occasion, to: to.clone(), link: Some(Link { page, token, ends }) }))
        };
        let news = |occasion, to: &Email| Errand { occasion, to: to.clone(), link: None };
        match *self {
            Self::Verify(occasion, Proof { email, credential, ends }) => {
                let bound = Bound::EmailVerification { email, credential };
                with_link(occasion, Page::Verify, &bound, email, ends)
            }
            Self::Reset(Proof { email, credential, ends }) => {
                let bound = Bound::PasswordReset { email, credential, since: account.email_since };
                with_link(Occasion::ResetRequested, Page::Reset, &bound, email, ends)
            }
            Self::Confirm(Proof { email: to, credential, ends }, from) => {
                let bound = Bound::EmailChange { from, to, credential };
                with_link(Occasion::ConfirmationRequested, Page::Confirm, &bound, to, ends)
            }
            Self::NoticeTo(occasion, to) => Ok(Some(news(occasion, to))),
            Self::Notice(occasion) => Ok(account.email.as_ref().map(|to| news(occasion, to))),
        }
    }
}

/// A mail to be written.
pub(crate) struct Errand {
    /// What it is about.
    pub occasion: Occasion,
    /// Whom it is for.
    pub to: Email,
    /// What its reader can do with it, if there is something.
    pub link: Option<Link>,
}

/// A link with a one-time token.
pub(crate) struct Link {
    /// The page it points to.
    pub page: Page,
    /// The token.
    pub token: Zeroizing<String>,
    /// When the token ends; whole seconds. A mail is not sent after this.
    pub ends: DateTime<Utc>,
}

/// What a mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// Somebody registered with the address.
    Registered,
    /// The user asked for another mail to verify the address with.
    VerificationRequested,
    /// The user asked to have this address instead of the one before.
    ConfirmationRequested,
    /// The same, to the one before.
    AddressChangeRequested,
    /// The user has another address now; to the one before.
    AddressChanged,
    /// Somebody tried to register with the user's address.
    RegisteredAgain,
    /// Somebody asked to reset the password.
    ResetRequested,
    /// The user, who knew the password, took another one.
    PasswordChanged,
    /// Whoever reads the user's mail took another password.
    PasswordReset,
    /// So many wrong passwords were tried that none is right any more.
    PasswordDisabled,
}

/// A page that links point to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// Where an address is verified.
    Verify,
    /// Where a password is reset.
    Reset,
    /// Where another address is confirmed.
    Confirm,
}

/// The words of a mail besides who, when and where from.
pub(crate) struct Words {
    /// The subject.
    pub subject: &'static str,
    /// What happened.
    pub what: &'static str,
    /// What to do if it was not the reader.
    pub otherwise: &'static str,
}

impl Occasion {
    pub(crate) const fn words(self) -> Words {
        match self {
            Self::Registered => Words {
                subject: "Please confirm your e-mail address",
                what: "Somebody registered an account with this e-mail address.",
                otherwise: "If it was not you, you need not do anything: as long as nobody follows the link, the address \
                            is not confirmed.",
            },
            Self::VerificationRequested => Words {
                subject: "Please confirm your e-mail address",
                what: "You asked for another mail to confirm your e-mail address.",
                otherwise: "If it was not you, you need not do anything: as long as nobody follows the link, the address \
                            is not confirmed.",
            },
            Self::ConfirmationRequested => Words {
                subject: "Please confirm your new e-mail address",
                what: "Somebody asked to use this e-mail address for their account.",
                otherwise: "If it was not you, you need not do anything: as long as nobody follows the link, the account \
                            keeps the address that it has.",
            },
            Self::AddressChangeRequested => Words {
                subject: "Your e-mail address is about to be changed",
                what: "Somebody who is signed in to your account asked to use another e-mail address for it. It is changed \
                       when the link in a mail to that address is followed.",
                otherwise: "If it was not you, somebody else is signed in to your account: change your password at once, \
                            which signs out all other devices and makes that link worthless.",
            },
            Self::AddressChanged => Words {
                subject: "Your e-mail address was changed",
                what: "Your account has another e-mail address now. This one is no longer good for signing in, and no more \
                       mail about the account comes here.",
                otherwise: "If it was not you, somebody else has taken your account over: turn to whoever runs the service \
                            at once.",
            },
            Self::RegisteredAgain => Words {
                subject: "You have an account already",
                what: "Somebody tried to register an account with this e-mail address, which has one already. Nothing has \
                       changed.",
                otherwise: "If it was you, sign in instead, or set a new password with the link \"Forgot your password?\" of \
                            the sign-in page. If it was not you, you need not do anything.",
            },
            Self::ResetRequested => Words {
                subject: "Set a new password",
                what: "Somebody asked to set a new password for your account. This signs out all devices.",
                otherwise: "If it was not you, you need not do anything: your password stays as it is, and the link is \
                            in this mail only. Do not give it to anybody.",
            },
            Self::PasswordChanged => Words {
                subject: "Your password was changed",
                what: "The password of your account was changed. All other devices have been signed out.",
                otherwise: "If it was not you, somebody knows your password: set a new one at once with the link \
                            \"Forgot your password?\" of the sign-in page, which signs everybody out.",
            },
            Self::PasswordReset => Words {
                subject: "Your password was reset",
                what: "A new password was set for your account with a link from a mail to this address. All devices have \
                       been signed out.",
                otherwise: "If it was not you, somebody reads your mail: change the password of your mailbox first, and \
                            then the one of this account with the link \"Forgot your password?\" of the sign-in page.",
            },
            Self::PasswordDisabled => Words {
                subject: "Your password was disabled",
                what: "Too many wrong passwords were tried for your account, one after the other. To keep it safe, nobody \
                       can sign in with a password until a new one is set. Devices that are signed in stay so.",
                otherwise: "Whether it was you or not, set a new password with the link \"Forgot your password?\" of the \
                            sign-in page.",
            },
        }
    }
}

impl Page {
    /// Where it is below the base of links.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Reset => "reset",
            Self::Confirm => "confirm",
        }
    }

    /// What the link is called.
    pub(crate) const fn invitation(self) -> &'static str {
        match self {
            Self::Verify => "Confirm the address",
            Self::Reset => "Set a new password",
            Self::Confirm => "Confirm the new address",
        }
    }
}
