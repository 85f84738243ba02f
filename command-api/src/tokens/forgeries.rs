//! Tokens that nobody should accept, and what each is refused for.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use storage::keys::{KeyId, Ring, SigningSecret};

use super::{AccessClaims, AccessTokens, TokenError, Verified};

pub(super) const ISSUER: &str = "https://accounts.example.com";
pub(super) const AUDIENCE: &str = "https://api.example.com";
pub(super) const CLIENT: &str = "annals";
pub(super) const USER: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
pub(super) const SESSION: &str = "01890a5d-ac96-774b-bcce-b302099a8058";
pub(super) const TOKEN: &str = "01890a5d-ac96-774b-bcce-b302099a8059";

/// When the tokens here are made, in seconds since 1970; they expire 900 s later.
const NOW: i64 = 1_000_000;

pub(super) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

pub(super) fn tokens(ring: &Ring<SigningSecret>) -> AccessTokens {
    AccessTokens::new(ring, ISSUER.to_owned(), AUDIENCE.to_owned(), CLIENT.to_owned()).unwrap()
}

pub(super) fn claims(issued_at: i64) -> AccessClaims {
    AccessClaims {
        user: USER.parse().unwrap(),
        session: SESSION.parse().unwrap(),
        auth_time: at(issued_at - 600),
        issued_at: at(issued_at),
        token: TOKEN.parse().unwrap(),
    }
}

/// A forger who, to test each check alone, even has our signing key.
struct Forger {
    secret: SigningSecret,
    tokens: AccessTokens,
}

impl Forger {
    fn new() -> Self {
        let secret = SigningSecret::random().unwrap();
        let tokens = tokens(&Ring::of(KeyId::parse("k1").unwrap(), secret.clone()));
        Self { secret, tokens }
    }

    fn verify(&self, token: &str, seconds: i64) -> Result<Verified, TokenError> {
        self.tokens.verify(token, at(seconds))
    }

    fn genuine(&self) -> String {
        self.tokens.issue(&claims(NOW)).unwrap()
    }

    /// Any header and claims, as text, signed with our key.
    fn sign(&self, header: &str, claims: &str) -> String {
        let key = EncodingKey::from_ec_der(self.secret.expose_pkcs8());
        signed(header, claims, &key, Algorithm::ES256)
    }

    /// A good header with members set, or removed by null, over good claims.
    fn with_header(&self, changes: &Value) -> String {
        self.sign(&changed(header(), changes), &claims_text())
    }

    /// Good claims with members set, or removed by null, under a good header.
    fn with_claims(&self, changes: &Value) -> String {
        let claims: Value = serde_json::from_str(&claims_text()).unwrap();
        self.sign(&header().to_string(), &changed(claims, changes))
    }
}

fn header() -> Value {
    json!({ "typ": "at+jwt", "alg": "ES256", "kid": "k1" })
}

fn claims_text() -> String {
    json!({
        "iss": ISSUER, "sub": USER, "aud": AUDIENCE, "exp": NOW + 900, "iat": NOW, "jti": TOKEN,
        "client_id": CLIENT, "sid": SESSION, "auth_time": NOW,
    })
    .to_string()
}

fn changed(mut object: Value, changes: &Value) -> String {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        } else {
            object[name] = value.clone();
        }
    }
    object.to_string()
}

fn message(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

fn signed(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = message(header, claims);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

#[test]
fn what_the_forger_makes_without_a_change_is_good() {
    let forger = Forger::new();
    assert!(forger.verify(&forger.genuine(), NOW).is_ok());
    assert!(forger.verify(&forger.with_header(&json!({})), NOW).is_ok());
    assert!(forger.verify(&forger.with_claims(&json!({})), NOW).is_ok());
}

#[test]
fn an_unsigned_token_is_refused() {
    let forger = Forger::new();
    for alg in ["none", "None", "NONE", "nOnE"] {
        let header = changed(header(), &json!({ "alg": alg }));
        let unsigned = format!("{}.", message(&header, &claims_text()));
        assert_eq!(forger.verify(&unsigned, NOW), Err(TokenError::Algorithm), "{alg}");
        assert_eq!(forger.verify(&forger.sign(&header, &claims_text()), NOW), Err(TokenError::Algorithm));
    }
    let stripped = format!("{}.", message(&header().to_string(), &claims_text()));
    assert_eq!(forger.verify(&stripped, NOW), Err(TokenError::Signature));
}

#[test]
fn a_token_signed_with_the_public_key_as_a_shared_secret_is_refused() {
    let forger = Forger::new();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, forger.secret.expose_pkcs8()).unwrap();
    let point = pair.public_key().as_ref();
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n",
        &STANDARD.encode(der.as_ref())[..64],
        &STANDARD.encode(der.as_ref())[64..]
    );
    let jwks = serde_json::to_string(&forger.tokens.jwks(at(NOW))).unwrap();
    for secret in [point, der.as_ref(), pem.as_bytes(), pem.trim_end().as_bytes(), jwks.as_bytes()] {
        let key = EncodingKey::from_secret(secret);
        let honest = changed(header(), &json!({ "alg": "HS256" }));
        let token = signed(&honest, &claims_text(), &key, Algorithm::HS256);
        assert_eq!(forger.verify(&token, NOW), Err(TokenError::Algorithm));
        let lying = signed(&header().to_string(), &claims_text(), &key, Algorithm::HS256);
        assert_eq!(forger.verify(&lying, NOW), Err(TokenError::Signature));
    }
}

#[test]
fn a_token_of_another_algorithm_is_refused() {
    let forger = Forger::new();
    let ed = EncodingKey::from_ed_der(Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref());
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let p384 = EncodingKey::from_ec_der(p384.to_pkcs8v1().unwrap().as_ref());
    for (name, key, algorithm) in [("EdDSA", &ed, Algorithm::EdDSA), ("ES384", &p384, Algorithm::ES384)] {
        let honest = changed(header(), &json!({ "alg": name }));
        let token = signed(&honest, &claims_text(), key, algorithm);
        assert_eq!(forger.verify(&token, NOW), Err(TokenError::Algorithm), "{name}");
        let lying = signed(&header().to_string(), &claims_text(), key, algorithm);
        assert_eq!(forger.verify(&lying, NOW), Err(TokenError::Signature), "{name}");
    }
    for alg in
        [json!("RS256"), json!("PS256"), json!("es256"), json!("ES256K"), json!(["ES256"]), json!(null)]
    {
        let token = forger.with_header(&json!({ "alg": alg }));
        assert_eq!(forger.verify(&token, NOW), Err(TokenError::Algorithm), "{alg}");
    }
}

#[test]
fn a_token_changed_in_any_character_is_refused() {
    let forger = Forger::new();
    let token = forger.genuine();
    for position in 0..token.len() {
        let mut octets = token.clone().into_bytes();
        octets[position] = if octets[position] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(octets).unwrap();
        assert!(forger.verify(&altered, NOW).is_err(), "{position}: {altered}");
    }
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (_, claims) = message.split_once('.').unwrap();
    let admin = URL_SAFE_NO_PAD.encode(claims_text().replace(USER, SESSION));
    assert_eq!(forger.verify(&token.replace(claims, &admin), NOW), Err(TokenError::Signature));
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    assert_eq!(forger.verify(&format!("{message}.{zeros}"), NOW), Err(TokenError::Signature));
    assert_eq!(forger.verify(&format!("{message}.{signature}=="), NOW), Err(TokenError::Signature));
}

#[test]
fn a_token_of_another_type_is_refused() {
    let forger = Forger::new();
    // RFC 9068 allows the long form and any case; ours are written in one way, and so they are read.
    for typ in [
        json!("JWT"),
        json!("at+JWT"),
        json!("application/at+jwt"),
        json!("id+jwt"),
        json!(""),
        json!(["at+jwt"]),
        json!(null),
    ] {
        let token = forger.with_header(&json!({ "typ": typ }));
        assert_eq!(forger.verify(&token, NOW), Err(TokenError::Type), "{typ}");
    }
}

#[test]
fn a_token_of_a_key_outside_the_ring_is_refused() {
    let forger = Forger::new();
    for kid in [json!("k2"), json!("K1"), json!(""), json!("../k1"), json!(1), json!(["k1"]), json!(null)] {
        let token = forger.with_header(&json!({ "kid": kid }));
        assert_eq!(forger.verify(&token, NOW), Err(TokenError::UnknownKey), "{kid}");
    }
    let foreign = SigningSecret::random().unwrap();
    let foreign = tokens(&Ring::of(KeyId::parse("k1").unwrap(), foreign)).issue(&claims(NOW)).unwrap();
    assert_eq!(forger.verify(&foreign, NOW), Err(TokenError::Signature), "under the name of ours");
}

#[test]
fn a_token_that_brings_or_points_to_a_key_is_refused() {
    let forger = Forger::new();
    let jwk = serde_json::to_value(&forger.tokens.jwks(at(NOW)).keys[0]).unwrap();
    for member in [
        json!({ "jku": "https://accounts.example.com/.well-known/jwks.json" }),
        json!({ "jwk": jwk }),
        json!({ "x5u": "https://accounts.example.com/certificate" }),
        json!({ "x5c": ["MIIB"] }),
        json!({ "x5t": "AAAA" }),
        json!({ "x5t#S256": "AAAA" }),
        json!({ "crit": ["exp"], "exp": 1 }),
        json!({ "crit": [] }),
        json!({ "b64": true }),
    ] {
        let token = forger.with_header(&member);
        assert_eq!(forger.verify(&token, NOW), Err(TokenError::RefusedMember), "{member}");
    }
    let null = r#"{"typ":"at+jwt","alg":"ES256","kid":"k1","jku":null}"#;
    assert_eq!(forger.verify(&forger.sign(null, &claims_text()), NOW), Err(TokenError::RefusedMember));
    assert!(forger.verify(&forger.with_header(&json!({ "cty": "x", "other": { "a": 1 } })), NOW).is_ok());
}

#[test]
fn a_token_of_another_issuer_or_audience_is_refused() {
    let forger = Forger::new();
    for iss in [
        json!("https://accounts.example.com/"),
        json!("HTTPS://accounts.example.com"),
        json!([ISSUER]),
        json!(null),
    ] {
        let token = forger.with_claims(&json!({ "iss": iss }));
        assert_eq!(forger.verify(&token, NOW), Err(TokenError::Issuer), "{iss}");
    }
    // A list is not for us alone, even with us in it or only us: whoever else is in it could pass the token on.
    for aud in [
        json!("https://other.example.com"),
        json!(CLIENT),
        json!([AUDIENCE]),
        json!([AUDIENCE, "https://other.example.com"]),
        json!(null),
    ] {
        let token = forger.with_claims(&json!({ "aud": aud }));
        assert_eq!(forger.verify(&token, NOW), Err(TokenError::Audience), "{aud}");
    }
}

#[test]
fn a_token_is_good_in_its_time_and_a_minute_around_it() {
    let forger = Forger::new();
    let token = forger.genuine();
    for (seconds, refusal) in [
        (NOW - 61, Some(TokenError::NotYetValid)),
        (NOW - 60, None),
        (NOW, None),
        (NOW + 900 + 30, None),
        (NOW + 900 + 59, None),
        (NOW + 900 + 60, Some(TokenError::Expired)),
        (NOW + 900 + 61, Some(TokenError::Expired)),
    ] {
        assert_eq!(forger.verify(&token, seconds).err(), refusal, "at {seconds}");
    }
    for claim in ["nbf", "iat", "auth_time"] {
        let soon = forger.with_claims(&json!({ claim: NOW + 60 }));
        assert!(forger.verify(&soon, NOW).is_ok(), "{claim}");
        let later = forger.with_claims(&json!({ claim: NOW + 61 }));
        assert_eq!(forger.verify(&later, NOW), Err(TokenError::NotYetValid), "{claim}");
    }
}

#[test]
fn a_token_without_a_claim_or_with_one_of_another_type_is_refused() {
    let forger = Forger::new();
    for claim in ["sub", "sid", "exp", "iat", "auth_time"] {
        for value in [json!(null), json!(true), json!("1000900"), json!(1_000_900.5), json!(1e30), json!([])]
        {
            let token = forger.with_claims(&json!({ claim: value }));
            assert_eq!(forger.verify(&token, NOW), Err(TokenError::Malformed), "{claim}: {value}");
        }
    }
    for changes in [
        json!({ "nbf": "1000000" }),
        json!({ "exp": i64::MAX }),
        json!({ "auth_time": i64::MIN }),
        json!({ "sub": USER.to_uppercase() }),
        json!({ "sid": "" }),
    ] {
        let token = forger.with_claims(&changes);
        assert_eq!(forger.verify(&token, NOW), Err(TokenError::Malformed), "{changes}");
    }
}

#[test]
fn a_member_that_occurs_twice_is_refused() {
    let forger = Forger::new();
    let claims = claims_text();
    for extra in [
        format!(r#""sub":"{SESSION}","#),
        format!(r#""\u0073ub":"{SESSION}","#),
        format!(r#""sub":"{USER}","#),
        r#""exp":9999999999,"#.to_owned(),
        r#""unknown":1,"unknown":2,"#.to_owned(),
    ] {
        let doubled = claims.replacen('{', &format!("{{{extra}"), 1);
        let token = forger.sign(&header().to_string(), &doubled);
        assert_eq!(forger.verify(&token, NOW), Err(TokenError::Malformed), "{extra}");
    }
    for extra in [r#""alg":"none","#, r#""kid":"k2","#, r#""typ":"JWT","#, r#""a":1,"a":1,"#] {
        let doubled = header().to_string().replacen('{', &format!("{{{extra}"), 1);
        let token = forger.sign(&doubled, &claims);
        assert_eq!(forger.verify(&token, NOW), Err(TokenError::Malformed), "{extra}");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let forger = Forger::new();
    let token = forger.genuine();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    for (text, error) in [
        (String::new(), TokenError::Malformed),
        (".".to_owned(), TokenError::Malformed),
        ("..".to_owned(), TokenError::Malformed),
        ("...".to_owned(), TokenError::Malformed),
        ("....".to_owned(), TokenError::Malformed),
        (message.to_owned(), TokenError::Malformed),
        (format!("{token}."), TokenError::Malformed),
        (format!(".{token}"), TokenError::Malformed),
        (format!("{message}..{signature}"), TokenError::Malformed),
        (format!(".{claims}.{signature}"), TokenError::Malformed),
        (format!("{header}..{signature}"), TokenError::Signature),
        (format!("{message}."), TokenError::Signature),
        (format!("{message}.\u{e9}"), TokenError::Signature),
        (format!(" {token}"), TokenError::Malformed),
        (format!("{token} "), TokenError::Signature),
        (format!("{header}=.{claims}.{signature}"), TokenError::Malformed),
    ] {
        assert_eq!(forger.verify(&text, NOW), Err(error), "{text:?}");
    }
    for header in ["", "not json", "[]", "null", "\"ES256\"", "{", "{} {}", "{\"alg\":\"\\ud800\"}"] {
        let token = forger.sign(header, &claims_text());
        assert_eq!(forger.verify(&token, NOW), Err(TokenError::Malformed), "{header:?}");
    }
    for claims in ["", "not json", "[]", "null", "{", "{} {}"] {
        let token = forger.sign(&self::header().to_string(), claims);
        assert_eq!(forger.verify(&token, NOW), Err(TokenError::Malformed), "{claims:?}");
    }
}

#[test]
fn a_token_longer_than_4_kib_is_not_looked_at() {
    let forger = Forger::new();
    let padded = |length: usize| forger.with_claims(&json!({ "padding": "x".repeat(length) }));
    let fits = padded(2_500);
    assert!(fits.len() <= 4_096 && forger.verify(&fits, NOW).is_ok());
    assert_eq!(forger.verify(&padded(2_900), NOW), Err(TokenError::TooLong));
    assert_eq!(forger.verify(&".".repeat(4_097), NOW), Err(TokenError::TooLong));
    let nested = forger.with_claims(&json!({})).replace('.', &".".repeat(1 << 20));
    assert_eq!(forger.verify(&nested, NOW), Err(TokenError::TooLong));
}
