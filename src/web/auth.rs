//! The secret that viewers have to know, if the operator has set one: a bearer token (RFC 6750).

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use subtle::ConstantTimeEq;

use crate::http::{Head, Response};
use crate::refusal::Reason;
use crate::web::query;

const LEAST_BYTES: usize = 8;
const MOST_BYTES: usize = 256;

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

/// What a request has to get past.
#[derive(Debug)]
pub struct TokenCheck<'a> {
    pub token: &'a Token,
    /// How long the peer has to wait, after too many wrong ones.
    pub wait: Option<Duration>,
    /// Set when a token was compared and is wrong, which the peer may do a few times only.
    pub guessed_wrong: &'a Cell<bool>,
}

impl TokenCheck<'_> {
    /// Whoever has to wait does so with the right token, too: an answer would tell it from the wrong
    /// ones.
    pub fn admit(&self, head: &Head) -> Result<(), Response> {
        let sentence = "This server asks for a token: open its address with #token=… at the end. A \
                        player sends it as Authorization: Bearer.";
        self.admit_given(given(head).as_deref(), sentence)
    }

    /// As [`admit`](Self::admit), and the token may be in the query, as `?token=…`: an `<img>` and
    /// many programs that show pictures can send no header.
    ///
    /// Such an address can end up in the history of a browser and in the log of a proxy, though not
    /// in ours, and other sites are not told it (Referrer-Policy). It is no cookie and no password
    /// that a browser remembers: a page of another site that does not know the token cannot use it.
    pub fn admit_picture(&self, head: &Head) -> Result<(), Response> {
        let in_query = query::parameter(head, "token");
        let sentence = "This server asks for a token: add ?token=… to this address, or send \
                        Authorization: Bearer.";
        let given = given(head);
        self.admit_given(given.as_deref().or(in_query.as_deref()), sentence)
    }

    fn admit_given(&self, given: Option<&str>, sentence: &str) -> Result<(), Response> {
        let Some(given) = given else {
            return Err(challenge(Reason::TokenMissing, sentence, "Bearer realm=\"ballcast\""));
        };
        if let Some(wait) = self.wait {
            let sentence = "Too many wrong tokens came from your address. Try again in a moment.";
            return Err(Response::problem(429, Reason::TokenRate, sentence).retry_after(wait));
        }
        if Token::parse(given).is_some_and(|given| given == *self.token) {
            return Ok(());
        }
        self.guessed_wrong.set(true);
        let sentence = "The token is not this server's. Ask its operator for the right one.";
        Err(challenge(
            Reason::TokenWrong,
            sentence,
            "Bearer realm=\"ballcast\", error=\"invalid_token\"",
        ))
    }
}

/// The token that comes with a request (RFC 6750, section 2.1), or as a password of any user (RFC
/// 7617): there are players that can send nothing else. Another scheme is as good as none.
fn given(head: &Head) -> Option<Cow<'_, str>> {
    let (scheme, given) = head.header("authorization")?.split_once(' ')?;
    let given = given.trim_start_matches(' ');
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(given.into());
    }
    let decoded =
        scheme.eq_ignore_ascii_case("basic").then(|| Base64::decode_vec(given).ok())??;
    let decoded = String::from_utf8(decoded).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned().into())
}

/// RFC 6750, section 3.
fn challenge(reason: Reason, sentence: &str, challenge: &'static str) -> Response {
    Response::problem(401, reason, sentence).with_header("WWW-Authenticate", challenge)
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
