//! Where the stream is published to.

use std::fmt;

use crate::http::Url;

/// A media server's WHIP endpoint, and what it wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub url: Url,
    pub token: Option<BearerToken>,
}

/// A token of RFC 6750, section 2.1. It is in no text that people see.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

impl BearerToken {
    pub fn parse(text: &str) -> Option<BearerToken> {
        (!text.is_empty()).then(|| BearerToken(text.to_owned()))
    }

    /// The value of an Authorization header.
    pub fn to_header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken")
    }
}
