//! Why a media server does not have the stream.

use std::fmt;
use std::net::SocketAddr;

use super::call::{CONNECT_TIME, MAX_REDIRECTS, RESOLVE_TIME};
use crate::foreign::Foreign;
use crate::http::client::ExchangeError;
use crate::os_error::OsError;
use crate::sdp::remote_answer::AnswerError;
use crate::webrtc::EndReason;

/// Why a media server does not have the stream. Displays as a clause about the media server ("it ..."), in
/// our own words, which everybody may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishCause {
    /// The name of its host cannot be resolved.
    NameUnknown,
    NameLate,
    NameWithoutAddress,
    ConnectionRefused,
    /// The operating system's timeout.
    ConnectionTimedOut,
    /// Our timeout.
    ConnectionLate,
    Unreachable(OsError),
    ConnectionReset,
    /// The peer does not acknowledge what was sent.
    ConnectionSilent,
    ConnectionBroken(OsError),
    Exchange(ExchangeError),
    /// The answer has this status, which is not a success.
    Refusal(u16),
    /// The answer is not UTF-8.
    AnswerNotText,
    Answer(AnswerError),
    RedirectsTooOften,
    RedirectsToHttps,
    RedirectsToNoUrl,
    /// It named a URL elsewhere, at an address that leads to this device or only to its own link.
    LeadsToThisDevice,
    /// The media connection has ended.
    Ended(EndReason),
}

/// A failure that the driver reports: the cause, and the words of the resolver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishFailure {
    pub cause: PublishCause,
    pub words: Option<Foreign>,
}

/// Why a media server does not have the stream, in detail. Displays for the operator's log: with the address
/// of the connection, without the words of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub cause: PublishCause,
    /// The address of the connection.
    pub address: Option<SocketAddr>,
    /// The words of the server or of the resolver.
    pub words: Option<Foreign>,
}

impl Problem {
    /// All details. Only for clients with the token.
    pub fn detail(&self) -> String {
        match (&self.words, &self.cause) {
            (Some(words), PublishCause::NameUnknown) => format!("{self}: {words}"),
            (Some(words), _) => format!("{self}, and says \"{words}\""),
            (None, _) => self.to_string(),
        }
    }
}

impl From<PublishCause> for Problem {
    fn from(cause: PublishCause) -> Problem {
        Problem { cause, address: None, words: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        self.address.map_or(Ok(()), |address| write!(f, " ({address})"))
    }
}

impl From<EndReason> for PublishCause {
    fn from(reason: EndReason) -> PublishCause {
        PublishCause::Ended(reason)
    }
}

impl From<PublishCause> for PublishFailure {
    fn from(cause: PublishCause) -> PublishFailure {
        PublishFailure { cause, words: None }
    }
}

impl fmt::Display for PublishCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishCause::NameUnknown => f.write_str("its name cannot be resolved"),
            PublishCause::NameLate => {
                write!(f, "its name was not resolved within {} s", RESOLVE_TIME.as_secs())
            }
            PublishCause::NameWithoutAddress => f.write_str("its name has no address"),
            PublishCause::ConnectionRefused => f.write_str("it refuses the connection"),
            PublishCause::ConnectionTimedOut => f.write_str("it does not answer"),
            PublishCause::ConnectionLate => {
                write!(f, "it did not answer within {} s", CONNECT_TIME.as_secs())
            }
            PublishCause::Unreachable(error) => write!(f, "it cannot be reached: {error}"),
            PublishCause::ConnectionReset => f.write_str("it reset the connection"),
            PublishCause::ConnectionSilent => f.write_str("it stopped answering"),
            PublishCause::ConnectionBroken(error) => {
                write!(f, "the connection to it failed: {error}")
            }
            PublishCause::Exchange(error) => write!(f, "it {error}"),
            PublishCause::Refusal(status) => {
                write!(f, "it answers with status {status}: {}", meaning(*status))
            }
            PublishCause::AnswerNotText => f.write_str("its answer is not text"),
            PublishCause::Answer(error) => write!(f, "its answer {error}"),
            PublishCause::RedirectsTooOften => {
                write!(f, "it redirects more than {MAX_REDIRECTS} times")
            }
            PublishCause::RedirectsToHttps => {
                f.write_str("it redirects to https, and Ballcast publishes over plain http only")
            }
            PublishCause::RedirectsToNoUrl => {
                f.write_str("it redirects to something that is not a URL")
            }
            PublishCause::LeadsToThisDevice => f.write_str(
                "it names a URL at an address of this device or its link, which is not allowed",
            ),
            PublishCause::Ended(reason) => reason.fmt(f),
        }
    }
}

/// The meaning of a status: that of its class, unless the operator can do something specific (RFC 9725,
/// section 4.1).
fn meaning(status: u16) -> &'static str {
    match status {
        401 | 403 => "the token is wrong, or the stream is in use",
        404 => "there is nothing at this URL",
        405 | 406 | 415 => "it does not accept WHIP, or nothing in the offer",
        409 => "there is already another stream at this URL",
        400..500 => "it refuses the offer",
        500..600 => "it cannot serve this now",
        _ => "this is not a valid answer to an offer",
    }
}
