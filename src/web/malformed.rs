//! What the sender of a request is told when the HTTP layer rejects it.

use std::borrow::Cow;
use std::time::Duration;

use super::reason::Reason;
use super::refusal::Refusal;
use crate::http::{self, HttpError};

/// When to send a request again that the server had no answer for in time.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The refusal for an error, or `None` if the connection ends without an answer.
pub fn refusal(error: HttpError) -> Option<Refusal> {
    let refusal = Refusal::new(error.status()?, Reason::Http(error), sentence(error)?);
    match error {
        HttpError::NotReady => Some(refusal.retry_after(RETRY_AFTER)),
        _ => Some(refusal),
    }
}

/// What to do about an error that has an answer.
fn sentence(error: HttpError) -> Option<Cow<'static, str>> {
    let fixed = match error {
        HttpError::BareLf => "End each line of the head with CR LF, not with LF alone.",
        HttpError::BareCr => "Use CR in the head only as part of a CR LF line end.",
        HttpError::ControlCharacter => {
            "Send plain HTTP (not TLS) without control characters in the head."
        }
        HttpError::RequestLine => {
            "Start the request with `METHOD target HTTP/1.1`, separated by single spaces."
        }
        HttpError::Target => {
            "Use a path from `/` or an `http://` address, in visible ASCII and without a `#` part."
        }
        HttpError::LineFolded => {
            "Put each header on one line: a header line must not begin with a space or a tab."
        }
        HttpError::HeaderMalformed => {
            "Write each header as `Name: value`, with no space before the colon."
        }
        HttpError::LengthMalformed => "Send Content-Length once, as decimal digits only.",
        HttpError::LengthAndCoding => {
            "Send Content-Length without Transfer-Encoding: both together are ambiguous."
        }
        HttpError::CodingUnknown => {
            "Send the body unencoded, with Content-Length and without Transfer-Encoding."
        }
        HttpError::HostMissing => "Send a Host header with this server's name.",
        HttpError::HostMalformed => {
            "Send one Host header with a host name or address, and a port if there is one."
        }
        HttpError::Incomplete => "Send the whole request before closing the connection.",
        HttpError::LengthMissing => "State the length of the body with Content-Length.",
        HttpError::Chunked => {
            "Send the body with Content-Length: this server does not accept chunked bodies."
        }
        HttpError::Expectation => "Omit the Expect header, or send `Expect: 100-continue`.",
        HttpError::MethodUnknown => {
            "Use one of GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS, in capital letters."
        }
        HttpError::Version => "Use HTTP/1.1.",
        error => return limit(error).map(Cow::Owned),
    };
    Some(fixed.into())
}

/// What to do about a request beyond a limit.
fn limit(error: HttpError) -> Option<String> {
    let (head, body) = (http::HEAD_TIME.as_secs(), http::BODY_TIME.as_secs());
    match error {
        HttpError::HeadLate => {
            Some(format!("Send the request again, with its whole head within {head} seconds."))
        }
        HttpError::BodyLate => Some(format!(
            "Send the request again, with its whole body within {body} seconds of the head."
        )),
        HttpError::BodyTooLarge => {
            Some(format!("Send at most {} bytes of body.", http::BODY_MAX_BYTES))
        }
        HttpError::TargetTooLong => {
            Some(format!("Use a target of at most {} bytes.", http::TARGET_MAX_BYTES))
        }
        HttpError::HeadersTooMany => {
            Some(format!("Send at most {} header lines.", http::HEADERS_MAX))
        }
        HttpError::HeadersTooLarge => Some(format!(
            "Send at most {} bytes of headers; clearing this site's cookies may help.",
            http::HEADERS_MAX_BYTES
        )),
        HttpError::NotReady => Some(format!(
            "The answer was not ready within {} seconds. Try again in a moment.",
            http::RESPOND_TIME.as_secs()
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_with_a_status_has_a_sentence_and_no_other() {
        for error in HttpError::ALL {
            assert_eq!(sentence(*error).is_some(), error.status().is_some(), "{error:?}");
        }
    }
}
