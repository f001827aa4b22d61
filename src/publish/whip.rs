//! Reads a media server's response to our offer (RFC 9725, section 4).

use std::time::Duration;

use super::call::Outcome;
use super::{Problem, PublishCause, Target};
use crate::foreign::Foreign;
use crate::http::Url;
use crate::http::client::ResponseHead;

/// The longest quotation of a server's own words, in characters.
const MAX_WORDS: usize = 100;

/// The content of a response to an offer.
pub struct Answer {
    /// The session to delete at the end. A server that does not name it has to notice the end by itself.
    pub session: Option<Url>,
    /// The answer's SDP, or why there is none.
    pub sdp: Result<String, Problem>,
    /// The shortest pause before the next attempt.
    pub retry_after: Option<Duration>,
}

/// Reads the outcome of an offer. ETag, which some servers send as a bare `*`, is for changes of a session,
/// and Link names servers that we do not use: neither is read. A server's own words are not quoted if they
/// repeat one of the `secrets`, or if the server is elsewhere.
///
/// A session at the target's own origin is deleted with the token, so only the target itself may name one.
pub fn read_answer(outcome: &Outcome, target: &Target, secrets: &[&str]) -> Answer {
    let Some(head) = &outcome.head else {
        return Answer {
            session: None,
            sdp: outcome.body.clone().map(|_| String::new()),
            retry_after: None,
        };
    };
    let is_made = (200..300).contains(&head.status);
    let location = head.header("location").filter(|_| is_made);
    let problem = |cause, words| Problem { cause, address: outcome.address, words };
    let sdp = match &outcome.body {
        Ok(body) if is_made => {
            String::from_utf8(body.clone()).map_err(|_| problem(PublishCause::AnswerNotText, None))
        }
        Ok(body) => {
            let words = if outcome.is_elsewhere { None } else { words(body, secrets) };
            Err(problem(PublishCause::Refusal(head.status), words))
        }
        Err(why) => Err(why.clone()),
    };
    let session = location.and_then(|location| outcome.url.join(location).ok());
    let session = session.filter(|url| !(outcome.is_elsewhere && url.has_origin_of(&target.url)));
    Answer { session, sdp, retry_after: retry_after(head) }
}

/// The first line of a text, unless it is markup or repeats a secret of the request.
fn words(body: &[u8], secrets: &[&str]) -> Option<Foreign> {
    let line = str::from_utf8(body).ok()?.lines().next()?.trim();
    let plain: String = line.chars().filter(char::is_ascii_graphic).collect();
    if line.starts_with('<') || secrets.iter().any(|secret| plain.contains(secret)) {
        return None;
    }
    Foreign::new(&line.replace('"', "'"), MAX_WORDS)
}

/// Retry-After in seconds, or as a date by the server's own clock (RFC 9110, section 10.2.3).
fn retry_after(head: &ResponseHead) -> Option<Duration> {
    let value = head.header("retry-after")?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| httpdate::parse_http_date(text).ok();
    date(value)?.duration_since(date(head.header("date")?)?).ok()
}
