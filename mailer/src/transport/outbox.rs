use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use quoted_printable::{ParseMode, decode};

use super::{DeliveryError, Reply};
use crate::letter::Letter;

/// What the name of every mail ends with.
const SUFFIX: &str = ".eml";

/// A folder in which mails lie instead of being sent: each a file that any mail program opens. A mail that was sent
/// twice lies there twice.
#[derive(Debug, Clone)]
pub struct Outbox {
    folder: PathBuf,
}

/// A mail in an outbox, as its reader would see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The name of its file, without the ending: later ones sort behind earlier ones.
    pub id: String,
    /// When it was sent, as the mail says it.
    pub date: String,
    /// The sender.
    pub from: String,
    /// The recipient.
    pub to: String,
    /// What it is about.
    pub subject: String,
    /// Its plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
    /// The link in it, if there is one.
    pub link: Option<String>,
    /// The token in that link.
    pub token: Option<String>,
}

impl Outbox {
    /// The outbox in this folder, which is made if it is not there, for its owner only.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Puts a mail into the folder, whole or not at all.
    pub(super) fn deliver(&self, letter: &Letter, now: DateTime<Utc>) -> Result<(), DeliveryError> {
        let name = format!("{:013}-{}{SUFFIX}", now.timestamp_millis(), letter.id);
        let put = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(&letter.message.formatted())?;
            file.persist(self.folder.join(name))?;
            Ok(())
        };
        put().map_err(|error| {
            DeliveryError::Failed(Reply { step: "the outbox", code: Some(error.kind().to_string()) })
        })
    }

    /// Every mail, the last one first.
    pub fn list(&self) -> io::Result<Vec<Kept>> {
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).filter(|id| is_id(id));
            ids.extend(id.map(str::to_owned));
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        let mut mails = Vec::new();
        for id in ids {
            mails.extend(self.read(&id)?);
        }
        Ok(mails)
    }

    /// One mail; `None` if there is none of this id, or it is none of ours.
    pub fn read(&self, id: &str) -> io::Result<Option<Kept>> {
        if !is_id(id) {
            return Ok(None);
        }
        match std::fs::read(self.folder.join(format!("{id}{SUFFIX}"))) {
            Ok(octets) => Ok(Kept::parse(id, &octets)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether this is the name of one of our files, and no way out of the folder.
fn is_id(text: &str) -> bool {
    let of_the_alphabet = |octet: u8| octet.is_ascii_digit() || octet.is_ascii_lowercase() || octet == b'-';
    !text.is_empty() && text.bytes().all(of_the_alphabet)
}

impl Kept {
    /// Reads a mail of the form that [`crate::letter`] writes.
    fn parse(id: &str, octets: &[u8]) -> Option<Self> {
        let mail = std::str::from_utf8(octets).ok()?;
        let (head, body) = mail.split_once("\r\n\r\n")?;
        let boundary =
            header(head, "Content-Type")?.split_once("boundary=\"")?.1.split('"').next()?.to_owned();
        let delimiter = format!("--{boundary}");
        let mut parts = body.split(delimiter.as_str()).skip(1);
        let (text, html) = (decoded(parts.next()?)?, decoded(parts.next()?)?);
        let link =
            text.lines().find(|line| line.starts_with("http") && line.contains("#token=")).map(str::to_owned);
        let token =
            link.as_deref().and_then(|link| link.split_once("#token=")).map(|(_, token)| token.to_owned());
        Some(Self {
            id: id.to_owned(),
            date: header(head, "Date")?,
            from: header(head, "From")?,
            to: header(head, "To")?,
            subject: header(head, "Subject")?,
            text,
            html,
            link,
            token,
        })
    }
}

/// The value of a header, unfolded. [RFC 5322, section 2.2.3]
fn header(head: &str, name: &str) -> Option<String> {
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let named = |line: &str| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    unfolded.lines().find_map(named)
}

/// The text of a part in quoted-printable, with line feeds for ends of lines.
fn decoded(part: &str) -> Option<String> {
    let (_, body) = part.split_once("\r\n\r\n")?;
    let octets = decode(body, ParseMode::Robust).ok()?;
    Some(String::from_utf8(octets).ok()?.replace("\r\n", "\n").trim_end().to_owned())
}
