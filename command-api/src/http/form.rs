use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use zeroize::Zeroizing;

use super::OauthProblem;
use super::body::{MAX, read};

/// The parameters of an OAuth request, each at most once. [RFC 6749, sections 3.2 and B]
pub(crate) struct Form(Vec<(String, Zeroizing<String>)>);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = OauthProblem;

    async fn from_request(request: Request, _: &S) -> Result<Self, OauthProblem> {
        let mut types = request.headers().get_all(CONTENT_TYPE).iter();
        let of_form = types
            .next()
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"));
        let alone = types.next().is_none();
        let body = Zeroizing::new(read(request.into_body()).await?);
        if body.len() > MAX {
            return Err(OauthProblem::TooLarge);
        }
        if !of_form || !alone {
            return Err(OauthProblem::UnsupportedMediaType);
        }
        Self::parse(&body)
    }
}

impl Form {
    fn parse(body: &[u8]) -> Result<Self, OauthProblem> {
        let mut parameters: Vec<(String, Zeroizing<String>)> = Vec::new();
        for pair in body.split(|octet| *octet == b'&').filter(|pair| !pair.is_empty()) {
            let equals = pair.iter().position(|octet| *octet == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at(equals);
            let name = decoded(name).ok_or(OauthProblem::Encoding)?;
            let value = decoded(value.get(1..).unwrap_or_default()).ok_or(OauthProblem::Encoding)?;
            if parameters.iter().any(|(known, _)| *known == *name) {
                return Err(OauthProblem::Duplicate);
            }
            parameters.push((name.to_string(), value));
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter. One without a value is treated as if it was not there. [RFC 6749, section 3.2]
    pub(crate) fn take(&mut self, name: &str) -> Option<Zeroizing<String>> {
        let index = self.0.iter().position(|(known, value)| known == name && !value.is_empty())?;
        Some(self.0.swap_remove(index).1)
    }
}

/// What stands behind `+` and `%`, if it is UTF-8 and each `%` is followed by two hexadecimal digits.
pub(crate) fn decoded(encoded: &[u8]) -> Option<Zeroizing<String>> {
    let mut octets = Zeroizing::new(Vec::with_capacity(encoded.len()));
    let mut rest = encoded;
    while let [first, after @ ..] = rest {
        rest = after;
        octets.push(match *first {
            b'+' => b' ',
            b'%' => {
                let ([high, low], after) = after.split_first_chunk::<2>()?;
                rest = after;
                let digit = |octet: u8| char::from(octet).to_digit(16);
                u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?
            }
            octet => octet,
        });
    }
    str::from_utf8(&octets).ok().map(|text| Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::Form;
    use crate::http::OauthProblem;

    fn parameters(body: &[u8]) -> Result<Vec<(String, String)>, OauthProblem> {
        let Form(parameters) = Form::parse(body)?;
        Ok(parameters.into_iter().map(|(name, value)| (name, value.to_string())).collect())
    }

    /// The most that may be written otherwise, is.
    fn encoded(text: &str) -> String {
        text.bytes().map(|octet| format!("%{octet:02X}")).collect()
    }

    #[test]
    fn a_form_is_read_as_it_was_written() {
        let read = parameters(b"&a=1+2%2b&&b=%C3%A4=&c&d=&").unwrap();
        let expected = [("a", "1 2+"), ("b", "ä="), ("c", ""), ("d", "")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(parameters(b"").unwrap(), []);
        let mut form = Form::parse(b"a=&b=x").unwrap_or_else(|_| panic!("a form"));
        assert_eq!(form.take("a"), None, "without a value it is not there");
        assert_eq!(form.take("b").as_deref().map(String::as_str), Some("x"));
        assert_eq!(form.take("b"), None);
    }

    #[test]
    fn a_parameter_stands_there_once_however_it_is_spelt_and_empty_or_not() {
        for twice in ["a=1&a=1", "a=&a=1", "a&a", "a=1&%61=2", "x=1&a=1&y=2&a=3", "=1&=2"] {
            assert_eq!(parameters(twice.as_bytes()), Err(OauthProblem::Duplicate), "{twice}");
        }
    }

    #[test]
    fn what_is_not_encoded_as_a_form_is_refused() {
        for wrong in [&b"a=%"[..], b"a=%4", b"a=%zz", b"%=1", b"a=%ff", b"\xff=1", b"a=%+1"] {
            assert_eq!(parameters(wrong), Err(OauthProblem::Encoding), "{}", wrong.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn whatever_is_encoded_is_read_back(pairs in vec(("\\PC{0,6}", "\\PC{0,20}"), 0..6)) {
            let body: Vec<String> =
                pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
            let mut names: Vec<_> = pairs.iter().map(|(name, _)| name).collect();
            names.sort();
            names.dedup();
            let read = parameters(body.join("&").as_bytes());
            if names.len() == pairs.len() {
                prop_assert_eq!(read, Ok(pairs));
            } else {
                prop_assert_eq!(read, Err(OauthProblem::Duplicate));
            }
        }

        #[test]
        fn whatever_comes_is_read_or_refused(body in vec(any::<u8>(), 0..60)) {
            if let Ok(read) = parameters(&body) {
                let mut names: Vec<_> = read.iter().map(|(name, _)| name).collect();
                names.sort();
                names.dedup();
                prop_assert_eq!(names.len(), read.len(), "each name once");
                prop_assert!(read.iter().all(|(name, value)| name.len() + value.len() <= body.len()));
            }
        }
    }
}
