//! The secret that viewers have to know, if the operator has set one: a bearer token (RFC 6750).

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use subtle::ConstantTimeEq;

use crate::http::{Head, Method, Response};
use crate::refusal::Reason;
use crate::web::query;

const LEAST_BYTES: usize = 8;
const MOST_BYTES: usize = 256;
/// Fewer characters may be a word, which is found in days at the rate at which guesses are compared.
const SAFE_BYTES: usize = 16;

/// Filled up with zeros, so that a comparison takes as long for every length.
#[derive(Clone, Eq)]
pub struct Token(Box<[u8; MOST_BYTES]>);

impl Token {
    /// For the error message about a token that is none.
    pub const ALLOWED: &str =
        "8 to 256 letters, digits or any of - . _ ~ + / with = at the end only";

    /// A b64token (RFC 6750, section 2.1): it fits into a header, and into a URL's fragment as it is.
    pub fn parse(text: &str) -> Option<Token> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        let characters = text.trim_end_matches('=');
        if text.len() < LEAST_BYTES || characters.is_empty() || !characters.bytes().all(legal) {
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

    /// For the operator's own eyes.
    pub fn text(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(MOST_BYTES);
        str::from_utf8(&self.0[..end]).unwrap_or_default()
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Token) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

/// Without the secret: flags are logged when a mistake is looked for.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Where a request has its token. A page of another site can make a browser send a wrong one in the
/// query, and some browsers as Basic, but none as Bearer: each place has its own count of wrong tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenPlace {
    /// `Authorization: Bearer` (RFC 6750, section 2.1).
    Bearer,
    /// The password of any user in `Authorization: Basic` (RFC 7617): there are players that can send
    /// nothing else.
    Basic,
    /// `?token=`: an `<img>` and many programs that show pictures can send no header.
    ///
    /// Such an address can end up in the history of a browser and in the log of a proxy, though not in
    /// ours, and other sites are not told it (Referrer-Policy). It is no cookie and no password that a
    /// browser remembers: a page of another site that does not know the token cannot use it.
    Query,
}

/// Whether a token may be compared, after wrong ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Now,
    /// The request has to wait until then, and its answer too: it would tell right from wrong.
    Later(Instant),
    /// The client has to wait so long before it asks again.
    RefusedFor(Duration),
}

/// What has become of the token of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenVerdict {
    /// The request needs none.
    NotNeeded,
    Missing,
    Right,
    Wrong(TokenPlace),
    /// To be compared then.
    Postponed(Instant),
    RefusedFor(Duration),
}

/// What a request has to get past.
pub struct TokenCheck<'a> {
    pub token: &'a Token,
    pub turn: &'a mut dyn FnMut(TokenPlace) -> Turn,
}

impl TokenCheck<'_> {
    /// Judges the token of a request, which may be in the query where that
    /// [is accepted](TokenPlace::Query).
    ///
    /// Whoever has to wait does so with the right token, too: an answer would tell it from the wrong
    /// ones.
    pub fn judge(&mut self, head: &Head, accepts_query: bool) -> TokenVerdict {
        let in_query = || query::parameter(head, "token").map(|it| (TokenPlace::Query, it.into()));
        let given = in_header(head).or_else(|| accepts_query.then(in_query).flatten());
        let Some((place, given)) = given else { return TokenVerdict::Missing };
        match (self.turn)(place) {
            Turn::RefusedFor(wait) => TokenVerdict::RefusedFor(wait),
            Turn::Later(at) => TokenVerdict::Postponed(at),
            Turn::Now if Token::parse(&given).is_some_and(|given| given == *self.token) => {
                TokenVerdict::Right
            }
            Turn::Now => TokenVerdict::Wrong(place),
        }
    }
}

impl TokenVerdict {
    /// The refusal of this request that the verdict is, if it is one.
    pub fn admit(self, head: &Head, accepts_query: bool) -> Result<(), Response> {
        let challenge = |reason, sentence, challenge| {
            let mut refusal = Response::problem(401, reason, sentence);
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
                Err(Response::problem(429, Reason::TokenRate, sentence).retry_after(wait))
            }
        }
    }
}

/// Whether the password of a URL may be sent once it is asked for, as ffmpeg and all that is built on
/// it do. A browser would ask its user for a name and a password then: all of them are `Mozilla`, and
/// over plain `http` that is the only thing that tells a picture in a page.
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

/// Another scheme than these two is as good as none.
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
