use askama::Template;
use chrono::{DateTime, Utc};
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};
use storage::Metadata;

use crate::client::origin;
use crate::errand::Errand;
use crate::letterhead::Letterhead;

/// A name longer than this is not greeted by, in code points.
const LONGEST_NAME: usize = 60;

/// A mail, ready to be sent. Nobody sends it twice under two ids.
pub(crate) struct Letter {
    /// What names the mail: 32 characters, the same whenever it is written.
    pub id: String,
    /// The mail with its headers, and whom to give it to. All of it is ASCII, in lines of at most 76 characters but for
    /// headers.
    pub message: Message,
}

/// Why a mail cannot be written. Writing it again will not help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LetterError {
    /// No mail can be addressed like this.
    #[error("the address is none that mail is sent to")]
    Address,
    /// The template or the parts did not come together.
    #[error("the parts of the mail do not come together")]
    Parts,
}

/// The words of a mail, as plain text.
#[derive(Template)]
#[template(path = "letter.txt")]
struct PlainText<'a> {
    name: Option<&'a str>,
    what: &'a str,
    when: &'a str,
    origin: Option<&'a str>,
    link: Option<&'a ShownLink>,
    otherwise: &'a str,
    site: &'a str,
}

/// The same words, for who reads HTML. Askama escapes whatever is put into a template of this name.
#[derive(Template)]
#[template(path = "letter.html")]
struct Html<'a> {
    subject: &'a str,
    name: Option<&'a str>,
    what: &'a str,
    when: &'a str,
    origin: Option<&'a str>,
    link: Option<&'a ShownLink>,
    otherwise: &'a str,
    site: &'a str,
}

struct ShownLink {
    invitation: &'static str,
    address: String,
    until: String,
}

/// What a mail is about, besides its words.
pub(crate) struct Matter<'a> {
    /// What names the mail.
    pub id: String,
    /// The name of whom it is written to, if they have one.
    pub name: Option<&'a str>,
    /// When what it tells of happened.
    pub at: DateTime<Utc>,
    /// From where.
    pub meta: &'a Metadata,
}

/// Writes a mail: text and HTML of the same words.
pub(crate) fn write(
    errand: &Errand,
    matter: &Matter<'_>,
    head: &Letterhead,
    now: DateTime<Utc>,
) -> Result<Letter, LetterError> {
    let words = errand.occasion.words();
    let link = errand.link.as_ref().map(|link| ShownLink {
        invitation: link.page.invitation(),
        address: head.links.to(link.page.path(), &link.token),
        until: time(link.ends),
    });
    let (when, origin) = (time(matter.at), origin(matter.meta));
    let (origin, link, site) = (origin.as_deref(), link.as_ref(), head.links.site());
    let name = matter.name.and_then(greeted);
    let (what, otherwise) = (words.what, words.otherwise);
    // In text, marks keep a name that is written from right to left apart from what is around it. [UAX #9]
    let isolated = name.as_deref().map(|name| format!("\u{2068}{name}\u{2069}"));
    let text = PlainText { name: isolated.as_deref(), what, when: &when, origin, link, otherwise, site };
    let text = text.render().map_err(|_| LetterError::Parts)?;
    let (subject, name) = (words.subject, name.as_deref());
    let html = Html { subject, name, what, when: &when, origin, link, otherwise, site };
    let html = html.render().map_err(|_| LetterError::Parts)?;

    let to: Address = errand.to.as_str().parse().map_err(|_| LetterError::Address)?;
    let id = matter.id.clone();
    let parts = MultiPart::alternative()
        .boundary(format!("annals-{id}"))
        .singlepart(part(ContentType::TEXT_PLAIN, text)?)
        .singlepart(part(ContentType::TEXT_HTML, html)?);
    let message = Message::builder()
        .from(head.from.0.clone())
        .to(Mailbox::new(None, to))
        .subject(subject)
        .date(now.into())
        .message_id(Some(format!("<{id}@{}>", head.from.0.email.domain())))
        // No answering machine answers it. [RFC 3834, section 5]
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        .multipart(parts)
        .map_err(|_| LetterError::Parts)?;
    Ok(Letter { id, message })
}

/// A part in an encoding that passes every server and that a person can read in a file.
fn part(kind: ContentType, text: String) -> Result<SinglePart, LetterError> {
    let body = Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable);
    Ok(SinglePart::builder().content_type(kind).body(body.map_err(|_| LetterError::Parts)?))
}

/// A name as it is greeted by; `None` for one that should not be. It may be that of a stranger, who registered the
/// reader's address: what a mail program would turn into a link is no name to greet somebody by. Nor does a name end its
/// line, or turn the direction of what follows.
fn greeted(name: &str) -> Option<String> {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    let shown: String = name.chars().map(|c| if steers(c) { ' ' } else { c }).collect();
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut after_dot = shown.split('.').skip(1);
    let is_lure = shown.contains(['/', '\\', ':', '@'])
        || after_dot.any(|after| after.starts_with(|c: char| !c.is_whitespace()));
    (!shown.is_empty() && !is_lure && shown.chars().count() <= LONGEST_NAME).then_some(shown)
}

/// A time as people write it: `22 November 2026, 21:43 UTC`.
fn time(at: DateTime<Utc>) -> String {
    at.format("%-d %B %Y, %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::greeted;

    #[test]
    fn a_name_of_any_alphabet_is_greeted_by() {
        for name in ["Ada", "李 小龍", "محمد", "Dr. Ada", "Ada <3 & \"Bob\"", "Ada & Co."] {
            assert_eq!(greeted(name).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_name_neither_ends_its_line_nor_turns_the_text_around() {
        assert_eq!(greeted("Ada\r\nBcc: x").as_deref(), None);
        assert_eq!(greeted("Ada\r\nBob").as_deref(), Some("Ada Bob"));
        assert_eq!(greeted("Ada\u{2028}Bob").as_deref(), Some("Ada Bob"));
        assert_eq!(greeted("\u{202e}adA\u{2069}").as_deref(), Some("adA"));
        assert_eq!(greeted("\u{2066}\u{2069}"), None);
    }

    #[test]
    fn a_name_that_would_become_a_link_is_not_greeted_by() {
        for lure in
            ["evil.example", "https://evil", "Win at evil.example now", "a@evil", "//evil", &"x".repeat(61)]
        {
            assert_eq!(greeted(lure), None, "{lure}");
        }
    }
}
