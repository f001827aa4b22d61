//! What a media server's response to our offer says (RFC 9725, section 4).

use std::time::Duration;

use super::call::Outcome;
use crate::http::Url;
use crate::http::client::ResponseHead;

/// The most of a server's own words that are shown.
const MAX_WORDS: usize = 100;

/// What a response to an offer says.
pub struct Answer {
    /// What is to be deleted in the end. A server that does not say where its session is has to find
    /// its end by itself.
    pub session: Option<Url>,
    /// The answer's SDP. Otherwise, why there is none: a clause without a full stop.
    pub sdp: Result<String, String>,
    /// How long to wait at least before the next attempt.
    pub retry_after: Option<Duration>,
}

/// Reads what has become of an offer. ETag, which some servers send as a bare `*`, is for changes of a
/// session, and Link is about servers that we do not use: neither is read. Of the server's own words,
/// `secrets` are left out.
pub fn read_answer(outcome: &Outcome, secrets: &[&str]) -> Answer {
    let Some(head) = &outcome.head else {
        return Answer {
            session: None,
            sdp: outcome.body.clone().map(|_| String::new()),
            retry_after: None,
        };
    };
    let is_made = (200..300).contains(&head.status);
    let location = head.header("location").filter(|_| is_made);
    let sdp = match &outcome.body {
        Ok(body) if is_made => text(body).ok_or_else(|| "its answer is no text".to_owned()),
        Ok(body) => Err(refusal(head, body, secrets)),
        Err(why) => Err(why.clone()),
    };
    let session = location.and_then(|location| outcome.url.join(location).ok());
    Answer { session, sdp, retry_after: retry_after(head) }
}

fn text(body: &[u8]) -> Option<String> {
    String::from_utf8(body.to_vec()).ok()
}

/// Status codes are no more than their class, but for what the person at the other end can do
/// (RFC 9725, section 4.1).
fn refusal(head: &ResponseHead, body: &[u8], secrets: &[&str]) -> String {
    let status = head.status;
    let what = match status {
        401 | 403 => "it wants another token, or is in use",
        404 => "there is nothing at the path of this URL",
        405 | 406 | 415 => "it does not take WHIP, or nothing that was offered",
        409 => "it has another stream at this URL",
        400..500 => "it refuses the offer",
        500..600 => "it is not able to, just now",
        _ => "this is no answer to an offer",
    };
    let words = words(body, secrets);
    let words = words.map_or(String::new(), |words| format!(", and says \"{words}\""));
    format!("it answers with status {status}: {what}{words}")
}

/// The first line of a text, without what could be more than words in a log or on a page, and without
/// what it repeats of the request that is nobody's business.
fn words(body: &[u8], secrets: &[&str]) -> Option<String> {
    let line = str::from_utf8(body).ok()?.lines().next()?.trim();
    let is_plain = |c: &char| !c.is_control() && !matches!(c, '<' | '>' | '"' | '\\');
    let plain: String = line.chars().filter(is_plain).collect();
    let plain = secrets.iter().fold(plain, |text, secret| text.replace(secret, "..."));
    let words: String = plain.chars().take(MAX_WORDS).collect();
    (!words.is_empty() && !line.starts_with('<')).then_some(words)
}

/// In seconds, or until a date by the server's own clock (RFC 9110, section 10.2.3).
fn retry_after(head: &ResponseHead) -> Option<Duration> {
    let value = head.header("retry-after")?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| httpdate::parse_http_date(text).ok();
    date(value)?.duration_since(date(head.header("date")?)?).ok()
}
