//! Our parser compared with a reference parser ([`http_reference`](crate::http_reference)): two
//! parsers that disagree about the end of a request allow request smuggling.
//!
//! The input is what the peer sends, in one piece, before it half-closes. Every method but DELETE
//! is admitted, so that bodies are discarded as well as read.

use std::time::{Duration, Instant, UNIX_EPOCH};

use ballcast::testing::http::{
    Context, HttpConnection, HttpError, HttpEvent, Request, Response, Verdict,
};

use crate::Outcomes;
use crate::http_reference::{self as reference, End, Stream};

/// More than the longest request, so that every limit can be exceeded.
const INPUT_MAX_BYTES: usize = 104 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

pub fn run(data: &[u8]) -> Outcomes {
    let bytes = &data[..data.len().min(INPUT_MAX_BYTES)];
    let ours = Reading::of(bytes);
    let theirs = reference::stream(bytes, is_wanted);
    for (ours, theirs) in ours.requests.iter().zip(&theirs.requests) {
        agree_on_request(ours, theirs);
    }
    let (ours_count, theirs_count) = (ours.requests.len(), theirs.requests.len());
    assert_eq!(ours_count, theirs_count, "requests, before {:?} and {:?}", ours.end, theirs.end);
    agree_on_end(&ours, &theirs);
    outcomes(&ours, &theirs)
}

fn is_wanted(method: &str) -> bool {
    method != "DELETE"
}

/// The requests that our connection parsed from a stream, and how the stream ended.
#[derive(Default)]
struct Reading {
    /// The body of a request that is not admitted is empty.
    requests: Vec<Request>,
    /// The response to the last request closes the connection.
    closed: bool,
    /// `100 Continue` was sent, and no response after it.
    awaits_body: bool,
    /// The error that ended the stream, and the status of its response.
    end: Option<(HttpError, u16)>,
}

impl Reading {
    fn of(bytes: &[u8]) -> Self {
        let now = Instant::now();
        let mut connection = HttpConnection::new(now);
        let mut reading = Self::default();
        connection.receive(bytes);
        reading.drain(&mut connection, now);
        connection.half_closed();
        reading.drain(&mut connection, now);
        assert_eq!(connection.poll_timeout(), None, "open after both sides are done");
        reading
    }

    fn drain(&mut self, connection: &mut HttpConnection, now: Instant) {
        let date = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let context = Context { now, date, common_headers: &[] };
        loop {
            let mut has_events = false;
            while let Some(event) = connection.poll(&context) {
                has_events = true;
                self.take(event, connection, now);
            }
            if !has_events {
                break;
            }
            connection.flushed(now);
        }
    }

    fn take(&mut self, event: HttpEvent, connection: &mut HttpConnection, now: Instant) {
        match event {
            HttpEvent::Head(head) if is_wanted(head.method.as_str()) => {
                connection.judge(head, Verdict::Accept, now);
            }
            HttpEvent::Head(head) => {
                self.request(Request { head: head.clone(), body: Vec::new() });
                connection.judge(head, Verdict::Reject(Response::new(403)), now);
            }
            HttpEvent::Request(request) => {
                self.request(request);
                connection.respond(Response::new(200));
            }
            HttpEvent::Error(error) => {
                assert_eq!(self.end, None, "{error:?} after an error");
                self.end = Some((error, 0));
                connection.respond(Response::new(error.status().expect("an error with an answer")));
            }
            HttpEvent::Send(bytes) if *bytes == *CONTINUE => self.awaits_body = true,
            HttpEvent::Send(bytes) => match &mut self.end {
                Some((_, status)) => *status = status_code(&bytes),
                None => {
                    assert!(matches!(status_code(&bytes), 200 | 403), "neither 200 nor 403");
                    self.closed = bytes.windows(17).any(|part| part == b"Connection: close");
                }
            },
            HttpEvent::Finish | HttpEvent::Close => {}
        }
    }

    fn request(&mut self, request: Request) {
        assert_eq!(self.end, None, "a request after a refusal");
        assert!(!self.closed, "a request after the last answer");
        assert!(!self.awaits_body, "100 Continue for a body that has arrived or is not wanted");
        self.requests.push(request);
    }
}

/// `status-line = HTTP-version SP status-code SP [ reason-phrase ]`
fn status_code(response: &[u8]) -> u16 {
    let digits = response.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).expect("an answer with a status line")
}

fn agree_on_request(ours: &Request, theirs: &reference::Request) {
    let head = &ours.head;
    assert_eq!(head.method.as_str(), theirs.method, "method");
    assert_eq!(head.path, theirs.path, "path");
    assert_eq!(head.query, theirs.query, "query");
    let host = reference::Host { name: head.host.name.clone(), port: head.host.port };
    assert_eq!(host, theirs.host, "host");
    for (name, values) in &theirs.fields {
        assert_eq!(head.header(name), Some(values.join(", ").as_str()), "{name}");
    }
    for name in ["content-length", "content-type", "expect", "origin", "transfer-encoding"] {
        assert_eq!(head.header(name).is_some(), theirs.fields.contains_key(name), "{name}");
    }
    assert_eq!(ours.body, theirs.body.as_deref().unwrap_or_default(), "body");
}

fn agree_on_end(ours: &Reading, theirs: &Stream) {
    match (&theirs.end, ours.end) {
        (End::Consumed, None) => assert!(!ours.closed, "closed though it may stay open"),
        (End::Closed, None) => assert!(ours.closed, "kept open though it must close"),
        (&End::Incomplete { awaits_body }, Some((HttpError::Incomplete, 400))) => {
            assert_eq!(ours.awaits_body, awaits_body, "100 Continue");
        }
        (End::Faulty(statuses), Some((_, status))) if statuses.contains(&status) => {}
        (theirs, ours) => panic!("the end is {ours:?}, and in the reference {theirs:?}"),
    }
}

fn outcomes(ours: &Reading, theirs: &Stream) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for request in &theirs.requests {
        outcomes.insert(format!("request {}", request.method));
        if request.body.is_none() {
            outcomes.insert("unwanted".to_owned());
        }
    }
    if theirs.requests.len() > 1 {
        outcomes.insert("pipelined".to_owned());
    }
    outcomes.insert(match (&theirs.end, ours.end) {
        (End::Closed, _) => "closed".to_owned(),
        (End::Incomplete { awaits_body: true }, _) => "continue".to_owned(),
        (_, Some((error, status))) => format!("refused {} {status}", error.name()),
        (_, None) => "consumed".to_owned(),
    });
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"GET /a?b HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n";

    fn disagree(bytes: &[u8], change: impl FnOnce(&mut Stream)) -> bool {
        let ours = Reading::of(bytes);
        let mut theirs = reference::stream(bytes, is_wanted);
        change(&mut theirs);
        let result = std::panic::catch_unwind(|| {
            agree_on_end(&ours, &theirs);
            agree_on_request(&ours.requests[0], &theirs.requests[0]);
        });
        result.is_err()
    }

    #[test]
    fn http_disagreements_are_seen() {
        assert!(!disagree(GET, |_| {}));
        assert!(disagree(GET, |theirs| theirs.requests[0].path.push('a')));
        assert!(disagree(GET, |theirs| theirs.requests[0].body = Some(vec![0])));
        assert!(disagree(GET, |theirs| theirs.requests[0].host.port = Some(80)));
        assert!(disagree(GET, |theirs| {
            theirs.requests[0].fields.insert("x-a".to_owned(), vec!["2".to_owned()]);
        }));
        assert!(disagree(GET, |theirs| theirs.end = End::Closed));
        assert!(disagree(GET, |theirs| theirs.end = End::Faulty([400].into())));
    }

    #[test]
    fn http_refusals_are_compared_by_status() {
        let bytes = [GET, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"].concat();
        assert!(!disagree(&bytes, |_| {}));
        assert!(disagree(&bytes, |theirs| theirs.end = End::Faulty([400].into())));
    }
}
