//! Values of options, as they are written.

use axum::http::Uri;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use storage::Segment;
use storage::keys::{KeyId, RingName};

pub(super) fn endpoint(text: &str) -> Result<String, &'static str> {
    let uri = text.parse::<Uri>().ok().filter(|uri| uri.path() == "/" && uri.query().is_none());
    match uri.as_ref().and_then(Uri::scheme_str) {
        Some("http" | "https") => Ok(text.to_owned()),
        _ => Err("must be an address such as http://127.0.0.1:8000"),
    }
}

pub(super) fn stack(text: &str) -> Result<String, &'static str> {
    let fits = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.len() <= 128
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    if fits { Ok(text.to_owned()) } else { Err("must be the name of a stack: letters, digits and -") }
}

pub(super) fn ring(text: &str) -> Result<RingName, String> {
    let found = RingName::ALL.into_iter().find(|ring| ring.as_str() == text);
    found.ok_or_else(|| format!("must be one of {}", RingName::ALL.map(RingName::as_str).join(", ")))
}

pub(super) fn key_id(text: &str) -> Result<KeyId, &'static str> {
    KeyId::parse(text).ok_or("must be 1 to 16 lower-case letters and digits")
}

pub(super) fn time(text: &str) -> Result<DateTime<Utc>, &'static str> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let day = text.parse::<NaiveDate>().ok().filter(|day| day.to_string() == text);
    day.map(|day| day.and_time(NaiveTime::MIN).and_utc())
        .ok_or("must be a time such as 2026-11-22T17:22:53Z, or a day")
}

pub(super) fn segment(text: &str) -> Result<Segment, String> {
    let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match numbers {
        Some((index @ 1.., total @ 1..=1_000_000)) if index <= total => {
            let index: u32 = index;
            Ok(Segment { index: index - 1, total })
        }
        _ => Err("must be I/N, with I from 1 to N and N at most 1,000,000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{RingName, endpoint, ring, segment, time};

    #[test]
    fn an_endpoint_is_an_address_without_a_path() {
        for right in ["http://127.0.0.1:8000", "http://[::1]:8000/", "https://dynamodb.example.com"] {
            assert_eq!(endpoint(right).as_deref(), Ok(right));
        }
        for wrong in ["", "garbage", "127.0.0.1:8000", "ftp://a", "http://", "http://a/b", "http://a/?b"] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_a_moment_or_the_beginning_of_a_day() {
        let moment = |text: &str| time(text).map(|time| time.timestamp_millis());
        assert_eq!(moment("1970-01-02"), Ok(86_400_000));
        assert_eq!(moment("1970-01-02T01:00:00.250+01:00"), Ok(86_400_250));
        for wrong in ["", "now", "1970", "1970-1-2", "1970-02-30", "1970-01-02T00:00:00", "+1970-01-02"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_ring_is_named_as_its_parameter_is() {
        assert_eq!(ring("one-time").map(RingName::as_str), Ok("one-time"));
        let wrong = ring("identifiers").unwrap_err();
        assert!(wrong.contains("wrapping, verifiers, views, refresh, one-time, pepper, signing"), "{wrong}");
    }

    #[test]
    fn a_segment_is_counted_from_one() {
        let third = segment("3/8").unwrap();
        assert_eq!((third.index, third.total), (2, 8));
        for wrong in ["0/8", "9/8", "1/0", "1", "a/b", "-1/8"] {
            assert!(segment(wrong).is_err(), "{wrong}");
        }
    }
}
