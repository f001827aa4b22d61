//! A media server that the stream is published to, and its token.

use std::fmt;

use crate::http::{Url, is_b64token};

/// A media server: its WHIP endpoint (RFC 9725), and the token that it requires, if any. Display and Debug
/// omit the path and the query, which may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    pub url: Url,
    pub token: Option<BearerToken>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}/…", self.url.authority)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

const MOST_BYTES: usize = 4_096;

/// The bearer token for a media server (RFC 6750). The media server chooses it, so it may be as short as a
/// stream key and as long as a signed token.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

impl BearerToken {
    /// For the error message about a text that is not a token.
    pub const ALLOWED: &str =
        "1 to 4096 letters, digits or any of - . _ ~ + / : with = at the end only";

    /// Parses a b64token (RFC 6750, section 2.1) of 1 to 4096 bytes, in which colons are allowed, too: MediaMTX
    /// takes a user and a password with a colon between them.
    pub fn parse(text: &str) -> Option<BearerToken> {
        let is_token = text.len() <= MOST_BYTES && is_b64token(text, b":");
        is_token.then(|| BearerToken(text.to_owned()))
    }

    /// The secret itself, for the media server only.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Without the secret: the configuration may be logged.
impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_b64token_of_any_usual_length() {
        for text in ["k", "AZ09-._~+/==", "user:password", &"x".repeat(4_096)] {
            assert_eq!(BearerToken::parse(text).unwrap().text(), text);
        }
        let wrong = ["", "==", "with space", "with=inside", "wörtlich", "a\nb", "a\"b", "a,b"];
        for text in wrong.into_iter().chain([&*"x".repeat(4_097)]) {
            assert!(BearerToken::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn neither_the_token_nor_the_path_and_query_are_displayed() {
        let url = Url::parse("http://media.example:8889/camera/whip?key=secret?").unwrap();
        let token = BearerToken::parse("secret");
        assert_eq!(format!("{token:?}"), "Some(BearerToken)");
        let target = Target { url, token };
        assert_eq!(target.to_string(), "http://media.example:8889/…");
        assert_eq!(format!("{target:?}"), "http://media.example:8889/…");
    }
}
