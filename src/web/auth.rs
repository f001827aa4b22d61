//! The secret that viewers must know, if the operator has set one: a bearer token (RFC 6750).

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use subtle::ConstantTimeEq;

use super::query;
use super::reason::Reason;
use super::refusal::Refusal;
use crate::http::{Head, Method, is_b64token};

const LEAST_BYTES: usize = 8;
const MOST_BYTES: usize = 256;
/// A shorter token may be a word, which guesses find within days at the rate at which they are compared.
const SAFE_BYTES: usize = 16;

/// A token, padded with zeros so that a comparison takes the same time for every length.
#[derive(Clone, Eq)]
pub struct Token(Box<[u8; MOST_BYTES]>);

impl Token {
    /// For the error message about a text that is not a token.
    pub const ALLOWED: &str =
        "8 to 256 letters, digits or any of - . _ ~ + / with = at the end only";

    /// Parses a b64token (RFC 6750, section 2.1) of 8 to 256 bytes: it fits into a header, and into a URL's
    /// fragment as it is.
    pub fn parse(text: &str) -> Option<Token> {
        if text.len() < LEAST_BYTES || !is_b64token(text, b"") {
            return None;
        }
        let mut bytes = Box::new([0; MOST_BYTES]);
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Token(bytes))
    }

    /// Whether a patient program can guess it.
    pub fn is_short(&self) -> bool {
        self.text().len() < SAFE_BYTES
    }

    /// The secret itself, for the operator only.
    pub fn text(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(MOST_BYTES);
        str::from_utf8(&self.0[..end]).unwrap_or_default()
    }

    /// Whether a request shows this token. The time tells nothing about where the two differ.
    pub fn is_shown(&self, given: &str) -> bool {
        Token::parse(given).is_some_and(|given| given == *self)
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Token) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

/// Without the secret: the configuration may be logged.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Where a request shows its token. A page of another site can make a browser send a wrong one in the
/// query, and some browsers as Basic, but none as Bearer: wrong tokens are counted separately for each
/// place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenPlace {
    /// `Authorization: Bearer` (RFC 6750, section 2.1).
    Bearer,
    /// The password of any user in `Authorization: Basic` (RFC 7617), for players that can send nothing
    /// else.
    Basic,
    /// `?token=`: an `<img>` and many programs that show pictures cannot send a header.
    ///
    /// Such an address can end up in the history of a browser and in the log of a proxy, though not in
    /// ours, and Referrer-Policy keeps it from other sites. It is neither a cookie nor a password that a
    /// browser remembers: a page of another site that does not know the token cannot use it.
    Query,
}

/// The token that a request needs and shows.
pub enum Credential<'a> {
    NotNeeded,
    Missing,
    Shown { place: TokenPlace, text: Cow<'a, str> },
}

impl<'a> Credential<'a> {
    /// The token in the Authorization header, by one of the schemes of [`TokenPlace`].
    pub(super) fn in_header(head: &'a Head) -> Credential<'a> {
        in_header(head)
            .map_or(Credential::Missing, |(place, text)| Credential::Shown { place, text })
    }

    /// The token in the Authorization header, or else in the query.
    pub(super) fn in_header_or_query(head: &'a Head) -> Credential<'a> {
        match (Credential::in_header(head), query::parameter(head, "token")) {
            (Credential::Missing, Some(text)) => {
                Credential::Shown { place: TokenPlace::Query, text: text.into() }
            }
            (credential, _) => credential,
        }
    }
}

/// The decision on the token of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenVerdict {
    NotNeeded,
    Missing,
    Right,
    Wrong(TokenPlace),
    /// The token is compared at this time, and the request waits until then: an earlier answer would
    /// tell a right token from a wrong one.
    Postponed(Instant),
    /// The client has to wait this long before its next request.
    RefusedFor(Duration),
}

impl TokenVerdict {
    /// Rejects the request if its token does. `accepts_query`: the token may be in the query.
    pub(super) fn admit(self, head: &Head, accepts_query: bool) -> Result<(), Refusal> {
        let challenge = |reason, sentence, challenge| {
            let mut refusal = Refusal::new(401, reason, sentence);
            refusal = refusal.with_header("WWW-Authenticate", challenge);
            if waits_for_challenge(head) {
                // A line of its own: programs look at how a line begins.
                refusal = refusal.with_header("WWW-Authenticate", "Basic realm=\"ballcast\"");
            }
            Err(refusal)
        };
        match self {
            TokenVerdict::NotNeeded | TokenVerdict::Right | TokenVerdict::Postponed(_) => Ok(()),
            TokenVerdict::Missing => {
                let sentence = match accepts_query {
                    true => "This server requires a token: add ?token=… to this address.",
                    false => {
                        "This server requires a token: open its address with #token=… at the end."
                    }
                };
                // RFC 6750, section 3.
                challenge(Reason::TokenMissing, sentence, "Bearer realm=\"ballcast\"")
            }
            TokenVerdict::Wrong(_) => {
                let sentence =
                    "The token is wrong. Ask the operator of this server for the right one.";
                let error = "Bearer realm=\"ballcast\", error=\"invalid_token\"";
                challenge(Reason::TokenWrong, sentence, error)
            }
            TokenVerdict::RefusedFor(wait) => {
                let sentence = "Too many wrong tokens from your address. Try again in a moment.";
                Err(Refusal::new(429, Reason::TokenRate, sentence).retry_after(wait))
            }
        }
    }
}

/// Whether the client may be a program that sends the password of a URL only after a challenge, as ffmpeg
/// and everything built on it do. A browser would ask its user for a name and a password: every browser
/// says `Mozilla`, and over plain `http` nothing else identifies a picture in a page.
fn waits_for_challenge(head: &Head) -> bool {
    const OF_BROWSERS: [&str; 5] = [
        "origin",
        "sec-fetch-site",
        "sec-fetch-mode",
        "sec-fetch-dest",
        "upgrade-insecure-requests",
    ];
    let agent = head.header("user-agent").unwrap_or_default();
    matches!(head.method, Method::Get | Method::Head)
        && !agent.contains("Mozilla/")
        && OF_BROWSERS.iter().all(|name| head.header(name).is_none())
}

/// Other schemes than Bearer and Basic are ignored.
fn in_header(head: &Head) -> Option<(TokenPlace, Cow<'_, str>)> {
    let (scheme, given) = head.header("authorization")?.split_once(' ')?;
    let given = given.trim_start_matches(' ');
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some((TokenPlace::Bearer, given.into()));
    }
    let decoded =
        scheme.eq_ignore_ascii_case("basic").then(|| Base64::decode_vec(given).ok())??;
    let decoded = String::from_utf8(decoded).ok()?;
    let (_, password) = decoded.split_once(':')?;
    Some((TokenPlace::Basic, password.to_owned().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_a_header_can_carry() {
        for text in ["abcdefgh", "AZ09-._~+/==", &"x".repeat(256)] {
            assert!(Token::parse(text).is_some(), "{text}");
        }
        let wrong =
            ["", "short=7", "========", "with space", "with=inside", "wörtlich", "a\0bcdefgh"];
        for text in wrong.into_iter().chain([&*"x".repeat(257)]) {
            assert!(Token::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn tokens_are_the_same_when_every_character_is() {
        let token = Token::parse("abcdefgh").unwrap();
        assert_eq!(token, Token::parse("abcdefgh").unwrap());
        for other in ["abcdefgH", "Abcdefgh", "abcdefgh=", "abcdefghabcdefgh"] {
            assert_ne!(token, Token::parse(other).unwrap(), "{other}");
        }
    }
}
