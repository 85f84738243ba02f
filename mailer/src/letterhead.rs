use std::str::FromStr;

use lettre::message::Mailbox;
use url::{Host, Url};

/// What every mail of a deployment has in common: who sends it, and where its links point to.
#[derive(Debug, Clone)]
pub struct Letterhead {
    /// The sender.
    pub from: Sender,
    /// Where the pages are that links point to.
    pub links: Links,
}

/// The sender of all mails: an address, and perhaps a name.
#[derive(Debug, Clone)]
pub struct Sender(pub(crate) Mailbox);

/// The base of the links in mails: they point to pages below it, and carry their tokens in the fragment, which no
/// browser sends anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    base: String,
    site: String,
}

/// Nobody can send mail under this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an address such as no-reply@example.com, or Example <no-reply@example.com>")]
pub struct NoSender;

/// Nothing can be linked to below this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an address such as https://app.example.com; http only on this machine")]
pub struct NoLinks;

impl FromStr for Sender {
    type Err = NoSender;

    fn from_str(text: &str) -> Result<Self, NoSender> {
        if text.chars().any(char::is_control) {
            return Err(NoSender);
        }
        text.parse().map(Self).map_err(|_| NoSender)
    }
}

impl FromStr for Links {
    type Err = NoLinks;

    fn from_str(text: &str) -> Result<Self, NoLinks> {
        let url = Url::parse(text).map_err(|_| NoLinks)?;
        let secure = match url.scheme() {
            "https" => true,
            "http" => is_loopback(url.host().as_ref()),
            _ => false,
        };
        let plain = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let host = url.host_str().filter(|_| secure && plain).ok_or(NoLinks)?;
        let site = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Self { base: url.as_str().trim_end_matches('/').to_owned(), site })
    }
}

impl Links {
    /// The link to a page, with a token that only the page sees.
    pub(crate) fn to(&self, page: &str, token: &str) -> String {
        format!("{}/{page}#token={token}", self.base)
    }

    /// The host that the links point to, by which people know the service.
    pub(crate) fn site(&self) -> &str {
        &self.site
    }
}

/// Whether what is sent to this host does not leave the machine.
pub(crate) fn is_loopback(host: Option<&Host<&str>>) -> bool {
    match host {
        Some(Host::Domain(name)) => *name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Links, NoLinks, NoSender, Sender};

    #[test]
    fn links_point_where_they_are_told_and_hide_their_token_from_servers() {
        for (base, link, site) in [
            ("https://app.example.com", "https://app.example.com/verify#token=t", "app.example.com"),
            ("https://example.com/app/", "https://example.com/app/verify#token=t", "example.com"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000/verify#token=t", "127.0.0.1:3000"),
        ] {
            let links: Links = base.parse().unwrap();
            assert_eq!((links.to("verify", "t").as_str(), links.site()), (link, site));
        }
    }

    #[test]
    fn links_over_the_network_are_https() {
        for wrong in [
            "",
            "app.example.com",
            "http://app.example.com",
            "ftp://app.example.com",
            "javascript:alert(1)",
            "https://app.example.com/?a=b",
            "https://app.example.com/#a",
            "https://user:secret@app.example.com",
        ] {
            assert_eq!(wrong.parse::<Links>(), Err(NoLinks), "{wrong}");
        }
    }

    #[test]
    fn a_sender_is_an_address_with_or_without_a_name() {
        for right in ["no-reply@example.com", "Example <no-reply@example.com>"] {
            assert_eq!(right.parse::<Sender>().unwrap().0.email.to_string(), "no-reply@example.com");
        }
        for wrong in ["", "example.com", "a@example.com\r\nBcc: b@example.com"] {
            assert_eq!(wrong.parse::<Sender>().unwrap_err(), NoSender, "{wrong}");
        }
    }
}
