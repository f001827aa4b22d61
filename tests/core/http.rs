//! The HTTP layer through its public API: bytes in, events out, in virtual time.
//!
//! Most tests are rows of tables of raw requests. Each row runs in one piece, split in two at every
//! point, and byte by byte, and all runs must produce the same bytes and events.

mod contents;
mod late;
mod tables;
mod time;

use std::time::{Duration, Instant, SystemTime};

use ballcast::testing::http::{
    ANSWER_TIME, Authority, BLANK_LINES_MAX, BODY_MAX_BYTES, BODY_TIME, Context, DISCARD_MAX_BYTES,
    HEAD_TIME, HEADERS_MAX, HEADERS_MAX_BYTES, Head, HttpConnection, HttpError, HttpEvent,
    IDLE_TIME, INPUT_MAX_BYTES, LINGER_MAX_BYTES, LINGER_TIME, Method, RESPOND_TIME, Response,
    TARGET_MAX_BYTES, Verdict,
};
use ballcast::testing::web::headers::COMMON_HEADERS;
use ballcast::testing::web::malformed;
use ballcast::testing::web::reason::Reason;
use ballcast::testing::web::refusal::Refusal;

use crate::support::cuts;

static LARGE_ASSET: &[u8] = &[b'x'; 100 * 1024];
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

struct Peer {
    connection: HttpConnection,
    now: Instant,
    /// Whether the peer reads what is sent to it.
    reads: bool,
}

impl Peer {
    fn new() -> Self {
        let now = Instant::now();
        Self { connection: HttpConnection::new(now), now, reads: true }
    }

    /// A peer that reads nothing until `flush`.
    fn not_reading() -> Self {
        Self { reads: false, ..Self::new() }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) -> Vec<HttpEvent> {
        self.connection.receive(bytes.as_ref());
        self.drain()
    }

    /// Sends a request, and returns the paths of the reported requests.
    fn reported_paths(&mut self, request: &str) -> Vec<String> {
        let events = self.send(request).into_iter();
        let paths = events.filter_map(|event| match event {
            HttpEvent::Request(request) => Some(request.head.path),
            _ => None,
        });
        paths.collect()
    }

    fn half_close(&mut self) -> Vec<HttpEvent> {
        self.connection.half_closed();
        self.drain()
    }

    fn flush(&mut self) -> Vec<HttpEvent> {
        self.connection.flushed(self.now);
        self.drain()
    }

    fn shutdown(&mut self) -> Vec<HttpEvent> {
        self.connection.shutdown(self.now);
        self.drain()
    }

    /// Advances the time as the driver does, with a timeout at each deadline.
    fn pass(&mut self, time: Duration) -> Vec<HttpEvent> {
        let until = self.now + time;
        let mut events = Vec::new();
        while let Some(at) = self.connection.poll_timeout().filter(|&at| at <= until) {
            self.now = at;
            self.connection.handle_timeout(at);
            events.extend(self.drain());
            assert!(
                self.connection.poll_timeout().is_none_or(|next| next > at),
                "the next deadline is later"
            );
        }
        self.now = until;
        events
    }

    fn drain(&mut self) -> Vec<HttpEvent> {
        let mut events = Vec::new();
        loop {
            let before = events.len();
            while let Some(event) = self.poll() {
                if let HttpEvent::Request(request) = &event
                    && request.head.path != "/late"
                {
                    self.connection.respond(answer(&request.head, &request.body));
                }
                events.push(event);
            }
            if !self.reads || events.len() == before {
                break;
            }
            self.connection.flushed(self.now);
        }
        let closed = events.contains(&HttpEvent::Close) || self.connection.poll_timeout().is_none();
        assert_eq!(
            self.connection.poll_timeout().is_none(),
            closed,
            "there is a deadline until the connection is closed"
        );
        events
    }

    fn poll(&mut self) -> Option<HttpEvent> {
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        poll(&mut self.connection, Context { now: self.now, date, common_headers: COMMON_HEADERS })
    }
}

/// The next event but for heads, which are judged. Errors are answered. Errors are answered.
fn poll(connection: &mut HttpConnection, context: Context) -> Option<HttpEvent> {
    loop {
        match connection.poll(&context)? {
            HttpEvent::Head(head) => {
                let verdict = verdict(&head);
                connection.judge(head, verdict, context.now);
            }
            event => {
                if let HttpEvent::Error(error) = event
                    && let Some(refusal) = malformed::refusal(error)
                {
                    connection.respond(refusal.into_response(false));
                }
                return Some(event);
            }
        }
    }
}

fn verdict(head: &Head) -> Verdict {
    match head.path.as_str() {
        "/forbidden" => {
            let sentence = "This path is forbidden.";
            Verdict::Reject(Refusal::new(403, Reason::ForeignOrigin, sentence).into_response(false))
        }
        _ => Verdict::Accept,
    }
}

fn answer(head: &Head, body: &[u8]) -> Response {
    match head.path.as_str() {
        "/large" => Response::new(200).with_body("text/plain", LARGE_ASSET),
        "/known" => Response::new(304).with_header("ETag", "\"1\""),
        "/empty" => Response::new(204),
        "/busy" => Refusal::new(503, Reason::Viewers, "Try again soon.")
            .retry_after(Duration::from_millis(6001))
            .into_response(false),
        "/split" => Response::new(200).with_header("X-Echo", "a\r\nX-Evil: 1\u{0}"),
        path => {
            let query = head.query.as_deref().unwrap_or("-");
            let host = &head.host;
            let text = format!(
                "{:?} {path} {query} {} {:?} {}",
                head.method,
                host.name,
                host.port,
                body.len()
            );
            Response::new(200).with_body("text/plain", text.into_bytes())
        }
    }
}

/// Joins consecutive `Send` events: a client does not see where they are split.
fn joined(events: Vec<HttpEvent>) -> Vec<HttpEvent> {
    let mut joined: Vec<HttpEvent> = Vec::new();
    for event in events {
        match (joined.last_mut(), event) {
            (Some(HttpEvent::Send(sent)), HttpEvent::Send(more)) => {
                *sent = [&sent[..], &more].concat().into()
            }
            (_, event) => joined.push(event),
        }
    }
    joined
}

fn sent(events: &[HttpEvent]) -> Vec<u8> {
    let sends = events.iter().filter_map(|event| match event {
        HttpEvent::Send(bytes) => Some(bytes.as_ref()),
        _ => None,
    });
    sends.collect::<Vec<_>>().concat()
}

fn errors(events: &[HttpEvent]) -> Vec<&'static str> {
    let reasons = events.iter().filter_map(|event| match event {
        HttpEvent::Error(error) => Some(error.name()),
        _ => None,
    });
    reasons.collect()
}

fn requests(events: &[HttpEvent]) -> Vec<Head> {
    let heads = events.iter().filter_map(|event| match event {
        HttpEvent::Request(request) => Some(request.head.clone()),
        _ => None,
    });
    heads.collect()
}

/// One response as a client reads it.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter(|(known, _)| *known == name);
        let value = values.next().map(|(_, value)| value);
        assert!(values.next().is_none(), "{name} twice");
        value
    }

    fn closes(&self) -> bool {
        self.header("Connection") == Some("close")
    }

    fn reason(&self) -> Option<String> {
        let problem: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        Some(problem["reason"].as_str()?.to_owned())
    }
}

/// Parses the responses. None of the requests may be HEAD.
fn replies(events: &[HttpEvent]) -> Vec<Reply> {
    let bytes = sent(events);
    let mut rest = bytes.as_slice();
    let mut replies = Vec::new();
    while !rest.is_empty() {
        let end =
            rest.windows(4).position(|window| window == b"\r\n\r\n").expect("a complete head") + 4;
        let head = String::from_utf8(rest[..end].to_vec()).unwrap();
        let status = head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        let mut reply = Reply { status, head, body: String::new() };
        let length = reply.header("Content-Length").map_or(0, |length| length.parse().unwrap());
        reply.body = String::from_utf8(rest[end..end + length].to_vec()).unwrap();
        rest = &rest[end + length..];
        replies.push(reply);
    }
    replies
}

fn reply(events: &[HttpEvent]) -> Reply {
    let mut replies = replies(events);
    assert_eq!(replies.len(), 1, "{replies:#?}");
    replies.remove(0)
}

/// All events of a connection that receives `pieces`, and is half-closed after the last answer.
fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<HttpEvent> {
    let mut peer = Peer::new();
    let mut events = Vec::new();
    for piece in pieces {
        events.extend(peer.send(piece));
    }
    events.extend(peer.half_close());
    joined(events)
}

/// What comes of `raw`, however it is cut.
fn run_in_every_way(name: &str, raw: &[u8]) -> Vec<HttpEvent> {
    cuts::run_in_every_way(name, raw, |pieces| run(pieces))
}

/// A raw request with the expected status of each answer, and the reason of the last one if it is a
/// refusal.
struct Row {
    name: &'static str,
    raw: Vec<u8>,
    statuses: &'static [u16],
    reason: Option<&'static str>,
    closes: bool,
}

/// A row whose last request is answered and whose connection stays open.
fn kept(name: &'static str, raw: impl AsRef<[u8]>, statuses: &'static [u16]) -> Row {
    Row { name, raw: raw.as_ref().to_vec(), statuses, reason: None, closes: false }
}

/// A row whose last request is answered and whose connection then closes.
fn closed(name: &'static str, raw: impl AsRef<[u8]>, statuses: &'static [u16]) -> Row {
    Row { closes: true, ..kept(name, raw, statuses) }
}

/// A row whose last request is refused, which closes the connection.
fn refused(
    name: &'static str,
    raw: impl AsRef<[u8]>,
    statuses: &'static [u16],
    reason: &'static str,
) -> Row {
    Row { reason: Some(reason), ..closed(name, raw, statuses) }
}

fn check(rows: Vec<Row>) {
    for row in rows {
        let name = row.name;
        let events = run_in_every_way(name, &row.raw);
        let replies = replies(&events);
        let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
        assert_eq!(statuses, row.statuses, "{name}: {replies:#?}");
        let last = replies.last().expect("an answer");
        assert_eq!(last.reason().as_deref(), row.reason, "{name}");
        let mut reasons: Vec<String> = replies.iter().filter_map(Reply::reason).collect();
        reasons.retain(|reason| HttpError::ALL.iter().any(|error| error.name() == reason));
        assert_eq!(errors(&events), reasons, "{name}");
        assert_eq!(last.closes(), row.closes, "{name}");
        assert!(replies.iter().rev().skip(1).all(|reply| !reply.closes()), "{name}: closes once");
        assert_eq!(
            events.iter().filter(|event| **event == HttpEvent::Finish).count(),
            1,
            "{name}: finishes once"
        );
        assert_eq!(
            events.iter().filter(|event| **event == HttpEvent::Close).count(),
            1,
            "{name}: closes once"
        );
        assert_eq!(events.last(), Some(&HttpEvent::Close), "{name}: closes last");
        for reply in &replies {
            check_common_headers(reply);
        }
    }
}

fn check_common_headers(reply: &Reply) {
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                  media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    assert_eq!(reply.header("Date"), Some(DATE));
    assert_eq!(reply.header("Content-Security-Policy"), Some(policy));
    assert_eq!(reply.header("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(reply.header("Referrer-Policy"), Some("no-referrer"));
    assert_eq!(reply.header("Cross-Origin-Resource-Policy"), Some("same-origin"));
    assert_eq!(reply.header("Content-Length").is_none(), matches!(reply.status, 204 | 304));
    assert_eq!(reply.header("Server"), None);
}

/// A GET with these header lines after Host. Each line includes its CRLF.
fn get(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /offer HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}")
}

/// A request line, with a Host header.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: a\r\n\r\n")
}
