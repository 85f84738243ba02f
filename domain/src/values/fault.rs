/// Why a value was refused, in words that can be shown to the person who sent it. Never carries the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing is left of it once white space is taken away.
    #[error("must not be empty")]
    Empty,
    /// Below the least length.
    #[error("must have at least {0} characters")]
    TooShort(usize),
    /// Above the greatest length, in Unicode code points.
    #[error("must have at most {0} characters")]
    TooLong(usize),
    /// Above the greatest length, in octets of UTF-8.
    #[error("must have at most {0} bytes")]
    TooManyBytes(usize),
    /// Contains a control character.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// Not an address by RFC 5321, or one of its forms that Annals does not take: quoted local parts, comments,
    /// address literals, and domains without a dot.
    #[error("is not an e-mail address")]
    NotAnAddress,
    /// The part before the `@` is not ASCII.
    #[error("must have only ASCII characters before the @")]
    LocalPartNotAscii,
}
