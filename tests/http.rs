//! The HTTP layer through its public API: bytes in, events out, in virtual time.
//!
//! Most tests are rows of tables of raw requests. Each row runs in one piece, split in two at every
//! point, and byte by byte, and all runs must produce the same bytes and events.

#[path = "support/cuts.rs"]
mod cuts;

use std::time::{Duration, Instant, SystemTime};

use ballcast::http::{
    ANSWER_TIME, Authority, BLANK_LINES_MAX, BODY_MAX_BYTES, BODY_TIME, Context, DISCARD_MAX_BYTES,
    HEAD_TIME, HEADERS_MAX, HEADERS_MAX_BYTES, Head, HttpConnection, HttpError, HttpEvent,
    IDLE_TIME, INPUT_MAX_BYTES, LINGER_MAX_BYTES, LINGER_TIME, Method, RESPOND_TIME, Response,
    TARGET_MAX_BYTES, Verdict,
};
use ballcast::web::headers::COMMON_HEADERS;
use ballcast::web::malformed;
use ballcast::web::reason::Reason;
use ballcast::web::refusal::Refusal;

const LARGE_ASSET: &[u8] = &[b'x'; 100 * 1024];
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

// -------------------------------------------------------------------------------------------------
// The harness: a connection, a clock, and a server that repeats the request in its answer.

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

/// The next event but for heads, which are judged. Errors are answered.
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

// -------------------------------------------------------------------------------------------------
// The tables.

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

#[test]
fn options_with_an_absolute_target_without_a_path_is_about_the_server() {
    // RFC 9110 section 4.2.3; found by the reference parser of the fuzzers.
    let request = "OPTIONS http://localhost HTTP/1.1\r\nHost: camera\r\n\r\n";
    assert_eq!(Peer::new().reported_paths(request), ["*"]);
    let request = "OPTIONS http://localhost?a HTTP/1.1\r\nHost: camera\r\n\r\n";
    assert_eq!(Peer::new().reported_paths(request), ["/"]);
}

#[test]
fn a_latin_1_no_break_space_is_no_white_space() {
    // RFC 9110 section 5.6.3; found by the reference parser of the fuzzers.
    let request = b"GET / HTTP/1.1\r\nHost: camera\r\nConnection: \xa0close\r\n\r\n";
    let events = Peer::new().send(request);
    assert!(!events.contains(&HttpEvent::Finish), "the connection stays open: {events:?}");
}

#[test]
fn well_formed_requests_are_answered() {
    let target = format!("/{}", "p".repeat(TARGET_MAX_BYTES - 1));
    check(vec![
        kept("a browser's GET", get("User-Agent: x\r\nAccept: */*\r\n"), &[200]),
        kept("every method", line("DELETE / HTTP/1.1"), &[200]),
        kept("a POST", post("Content-Length: 5\r\n", "hello"), &[200]),
        kept("a POST of nothing", post("Content-Length: 0\r\n", ""), &[200]),
        kept("leading zeros are decimal", post("Content-Length: 010\r\n", "0123456789"), &[200]),
        kept("a PUT without a length has no body", line("PUT / HTTP/1.1") + &get(""), &[200, 200]),
        kept("a GET with a body", get("Content-Length: 4\r\n") + "GET " + &get(""), &[200, 200]),
        kept(
            "pipelined",
            get("") + &post("Content-Length: 2\r\n", "ab") + &get(""),
            &[200, 200, 200],
        ),
        kept("an empty line first", format!("\r\n{}", get("")), &[200]),
        kept("as many empty lines as allowed", "\r\n".repeat(BLANK_LINES_MAX) + &get(""), &[200]),
        kept(
            "an empty line after a body",
            post("Content-Length: 1\r\n", "x\r\n") + &get(""),
            &[200, 200],
        ),
        kept("a header without a value", get("X-Empty:\r\n"), &[200]),
        kept("a value without a space", get("X-Tight:v\r\n"), &[200]),
        kept("white space around a value", get("Content-Length: \t 0 \t \r\n"), &[200]),
        kept("obs-text in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x80\xff\r\n\r\n", &[200]),
        kept(
            "a name that is similar to Transfer-Encoding",
            get("Transfer_Encoding: chunked\r\n"),
            &[200],
        ),
        kept("the longest target", line(&format!("GET {target} HTTP/1.1")), &[200]),
        kept("the most headers", get(&"X: y\r\n".repeat(HEADERS_MAX - 1)), &[200]),
        kept("OPTIONS of the server", line("OPTIONS * HTTP/1.1"), &[200]),
        kept("an absolute target", line("GET http://b:81/x?y HTTP/1.1"), &[200]),
        kept("an absolute target without a path", line("GET HTTP://b HTTP/1.1"), &[200]),
        kept("a path of two slashes is a path", line("GET //b/x HTTP/1.1"), &[200]),
        kept("an IPv6 host", "GET / HTTP/1.1\r\nhOST:[::1]:80\r\n\r\n", &[200]),
        kept(
            "an answer 304, then another request",
            line("GET /known HTTP/1.1") + &get(""),
            &[304, 200],
        ),
        kept(
            "an answer 204, then another request",
            line("GET /empty HTTP/1.1") + &get(""),
            &[204, 200],
        ),
        kept(
            "a large answer, then another request",
            line("GET /large HTTP/1.1") + &get(""),
            &[200, 200],
        ),
    ]);
}

#[test]
fn connections_close_when_the_client_asks_for_it() {
    check(vec![
        closed("asked to close", get("Connection: close\r\n"), &[200]),
        closed("asked to close in a list", get("Connection: TE,\tClose\r\n"), &[200]),
        closed(
            "asked to close in two lines",
            get("Connection: TE\r\nConnection: close\r\n"),
            &[200],
        ),
        kept("not asked to close", get("Connection: closed, keep-alive\r\n"), &[200]),
        closed("nothing after it is answered", get("Connection: close\r\n") + &get(""), &[200]),
        closed("HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", &[200]),
        closed(
            "HTTP/1.0 keep-alive",
            "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            &[200],
        ),
        closed("HTTP/1.0 has no Expect", "GET / HTTP/1.0\r\nHost: a\r\nExpect: x\r\n\r\n", &[200]),
    ]);
}

#[test]
fn malformed_request_lines_are_refused() {
    let long = |target: usize| line(&format!("GET /{} HTTP/1.1", "p".repeat(target - 1)));
    check(vec![
        refused("HTTP/0.9", "GET /\r\n", &[400], "request-line"),
        refused("no method", line(" / HTTP/1.1"), &[400], "request-line"),
        refused("a method that is no token", line("G@T / HTTP/1.1"), &[400], "request-line"),
        refused("two spaces", line("GET  / HTTP/1.1"), &[400], "request-line"),
        refused("a space at the end", line("GET / HTTP/1.1 "), &[400], "request-line"),
        refused("a space in the target", line("GET /a b HTTP/1.1"), &[400], "request-line"),
        refused("tabs for spaces", line("GET\t/\tHTTP/1.1"), &[400], "request-line"),
        refused(
            "too many empty lines",
            "\r\n".repeat(BLANK_LINES_MAX + 1) + &get(""),
            &[400],
            "request-line",
        ),
        refused("a header first", "Host: a\r\n\r\n", &[400], "request-line"),
        refused("lower-case version", line("GET / http/1.1"), &[400], "request-line"),
        refused("a version of two digits", line("GET / HTTP/1.10"), &[400], "request-line"),
        refused("a version of one part", line("GET / HTTP/1"), &[400], "request-line"),
        refused("a version with a comma", line("GET / HTTP/1,1"), &[400], "request-line"),
        refused("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505], "version"),
        refused("HTTP/1.2", line("GET / HTTP/1.2"), &[505], "version"),
        refused("HTTP/0.9 as the version", line("GET / HTTP/0.9"), &[505], "version"),
        refused("an unknown method", line("BREW / HTTP/1.1"), &[501], "method-unknown"),
        refused("a method in lower case", line("get / HTTP/1.1"), &[501], "method-unknown"),
        refused("CONNECT", line("CONNECT a:443 HTTP/1.1"), &[501], "method-unknown"),
        refused("TRACE", line("TRACE / HTTP/1.1"), &[501], "method-unknown"),
        refused("a relative target", line("GET index.html HTTP/1.1"), &[400], "target"),
        refused("a fragment", line("GET /#top HTTP/1.1"), &[400], "target"),
        refused("the server as a target of GET", line("GET * HTTP/1.1"), &[400], "target"),
        refused("another scheme", line("GET ftp://a/ HTTP/1.1"), &[400], "target"),
        refused(
            "an absolute target with a user",
            line("GET http://u@a/ HTTP/1.1"),
            &[400],
            "target",
        ),
        refused(
            "an absolute target without a host",
            line("GET http:///x HTTP/1.1"),
            &[400],
            "target",
        ),
        refused("an authority as a target", line("GET a:80 HTTP/1.1"), &[400], "target"),
        refused("UTF-8 in the target", line("GET /é HTTP/1.1"), &[400], "target"),
        refused(
            "a high byte in the target",
            b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
            &[400],
            "target",
        ),
        refused("a tab in the target", line("GET /\t HTTP/1.1"), &[400], "target"),
        refused("a target one too long", long(TARGET_MAX_BYTES + 1), &[414], "target-too-long"),
        refused("a target much too long", long(2 * TARGET_MAX_BYTES), &[414], "target-too-long"),
        refused(
            "a line without an end",
            "G".repeat(2 * TARGET_MAX_BYTES),
            &[414],
            "target-too-long",
        ),
    ]);
}

#[test]
fn malformed_lines_and_headers_are_refused() {
    let one_large = |size: usize| get(&format!("X: {}\r\n", "y".repeat(size)));
    check(vec![
        refused("LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", &[400], "bare-lf"),
        refused("LF after a header", "GET / HTTP/1.1\r\nHost: a\n\r\n", &[400], "bare-lf"),
        refused("LF for the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", &[400], "bare-lf"),
        refused(
            "LF for an empty line first",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            &[400],
            "bare-lf",
        ),
        refused("CR in a value", get("X: a\rb\r\n"), &[400], "bare-cr"),
        refused("CR before a hidden header", get("X: a\rContent-Length: 5\r\n"), &[400], "bare-cr"),
        refused("CR twice", get("X: a\r\r\n"), &[400], "bare-cr"),
        refused("CR in the request line", line("GET /\r HTTP/1.1"), &[400], "bare-cr"),
        refused("NUL in a value", get("X: a\0b\r\n"), &[400], "control-character"),
        refused("NUL in the target", line("GET /\0 HTTP/1.1"), &[400], "control-character"),
        refused("NUL in a name", get("X\0: a\r\n"), &[400], "control-character"),
        refused("DEL in a value", get("X: \x7f\r\n"), &[400], "control-character"),
        refused(
            "a vertical tab in a value",
            get("Transfer-Encoding: \x0bchunked\r\n"),
            &[400],
            "control-character",
        ),
        refused("a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00", &[400], "control-character"),
        refused("obs-fold", get("X: a\r\n b\r\n"), &[400], "line-folded"),
        refused("obs-fold by a tab", get("X: a\r\n\tb\r\n"), &[400], "line-folded"),
        refused("a first line folded", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", &[400], "line-folded"),
        refused("a fold of nothing", get("X: a\r\n \r\n"), &[400], "line-folded"),
        refused(
            "a space before the colon",
            get("Content-Length : 5\r\n"),
            &[400],
            "header-malformed",
        ),
        refused(
            "a tab before the colon",
            get("Transfer-Encoding\t: chunked\r\n"),
            &[400],
            "header-malformed",
        ),
        refused("a space in a name", get("X Y: a\r\n"), &[400], "header-malformed"),
        refused("no colon", get("X\r\n"), &[400], "header-malformed"),
        refused("no name", get(": a\r\n"), &[400], "header-malformed"),
        refused("a name in brackets", get("[X]: a\r\n"), &[400], "header-malformed"),
        refused("UTF-8 in a name", get("é: a\r\n"), &[400], "header-malformed"),
        refused(
            "one header too many",
            get(&"X: y\r\n".repeat(HEADERS_MAX)),
            &[431],
            "headers-too-many",
        ),
        refused("one large header", one_large(HEADERS_MAX_BYTES), &[431], "headers-too-large"),
        refused("many headers", get(&"X: y\r\n".repeat(4000)), &[431], "headers-too-large"),
        refused("no end of headers", "GET / HTTP/1.1\r\nHost: a\r\nX: y", &[400], "incomplete"),
        refused("no end of a request line", "GET /", &[400], "incomplete"),
    ]);
}

#[test]
fn malformed_hosts_are_refused() {
    let host = |host: &str| format!("GET / HTTP/1.1\r\n{host}\r\n");
    check(vec![
        refused("no Host", host(""), &[400], "host-missing"),
        refused("no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", &[400], "host-missing"),
        refused(
            "no Host beside an absolute target",
            "GET http://a/ HTTP/1.1\r\n\r\n",
            &[400],
            "host-missing",
        ),
        refused(
            "a malformed Host beside one",
            "GET http://a/ HTTP/1.1\r\nHost: @\r\n\r\n",
            &[400],
            "host-malformed",
        ),
        refused("two Hosts", host("Host: a\r\nHost: b\r\n"), &[400], "host-malformed"),
        refused("the same Host twice", host("Host: a\r\nhost: a\r\n"), &[400], "host-malformed"),
        refused("an empty Host", host("Host:\r\n"), &[400], "host-malformed"),
        refused(
            "an empty Host and a valid one",
            host("Host:\r\nHost: a\r\n"),
            &[400],
            "host-malformed",
        ),
        refused("a Host with a path", host("Host: a/b\r\n"), &[400], "host-malformed"),
        refused("a Host with a user", host("Host: u@a\r\n"), &[400], "host-malformed"),
        refused("a Host with a scheme", host("Host: http://a\r\n"), &[400], "host-malformed"),
        refused("a Host with a space", host("Host: a b\r\n"), &[400], "host-malformed"),
        refused("a port that is no number", host("Host: a:b\r\n"), &[400], "host-malformed"),
        refused("a signed port", host("Host: a:+80\r\n"), &[400], "host-malformed"),
        refused("a port too large", host("Host: a:65536\r\n"), &[400], "host-malformed"),
        refused("two ports", host("Host: a:1:2\r\n"), &[400], "host-malformed"),
        refused("IPv6 without brackets", host("Host: ::1\r\n"), &[400], "host-malformed"),
        refused("IPv6 without an end", host("Host: [::1\r\n"), &[400], "host-malformed"),
        refused("IPv6 and more", host("Host: [::1]80\r\n"), &[400], "host-malformed"),
        refused("no IPv6", host("Host: [a]\r\n"), &[400], "host-malformed"),
    ]);
}

#[test]
fn ambiguous_framing_is_refused_and_nothing_after_it_is_parsed() {
    let hidden = &get("X-Hidden: 1\r\n");
    let with = |headers: &str| post(headers, "hello") + hidden;
    let bad = |name, value: &str| {
        refused(name, with(&format!("Content-Length:{value}\r\n")), &[400], "length-malformed")
    };
    let coding = |name, value: &str| {
        refused(name, with(&format!("Transfer-Encoding:{value}\r\n")), &[400], "coding-unknown")
    };
    check(vec![
        bad("an empty length", ""),
        bad("a positive length", " +5"),
        bad("a negative length", " -5"),
        bad("a hexadecimal length", " 0x5"),
        bad("a fractional length", " 5.0"),
        bad("a length with a space", " 5 5"),
        bad("a length with an underscore", " 1_0"),
        bad("a list of lengths", " 5, 5"),
        bad("a length and a comma", " 5,"),
        bad("an Arabic digit", " \u{665}"),
        bad("two lengths", " 5\r\nContent-Length: 6"),
        bad("the same length twice", " 5\r\ncontent-length: 5"),
        bad("a length and an empty one", " 5\r\nContent-Length:"),
        refused(
            "length and chunked",
            with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            &[400],
            "length-and-coding",
        ),
        refused(
            "length and an unknown coding",
            with("Transfer-Encoding: cow\r\nContent-Length: 5\r\n"),
            &[400],
            "length-and-coding",
        ),
        coding("an unknown coding", " cow"),
        coding("no coding", ""),
        coding("identity", " identity"),
        coding("chunked not last", " chunked, gzip"),
        coding("chunked twice", " chunked, chunked"),
        coding("chunked in two lines", " chunked\r\nTransfer-Encoding: identity"),
        coding("chunked in quotes", " \"chunked\""),
        coding("almost chunked", " xchunked"),
        refused(
            "chunked in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            &[400],
            "coding-unknown",
        ),
        refused("chunked", with("Transfer-Encoding: chunked\r\n"), &[411], "chunked"),
        refused("chunked in capitals", with("TRANSFER-ENCODING: CHUNKED\r\n"), &[411], "chunked"),
        refused("a chunked GET", get("Transfer-Encoding: chunked\r\n") + hidden, &[411], "chunked"),
        refused("a POST without a length", with(""), &[411], "length-missing"),
        refused(
            "a body one too large",
            with("Content-Length: 65537\r\n"),
            &[413],
            "body-too-large",
        ),
        refused(
            "a length beyond 64 bits",
            with("Content-Length: 99999999999999999999\r\n"),
            &[413],
            "body-too-large",
        ),
        refused("a large GET", get("Content-Length: 65537\r\n") + hidden, &[413], "body-too-large"),
        refused("a body cut short", post("Content-Length: 6\r\n", "hello"), &[400], "incomplete"),
        refused(
            "garbage after a valid request",
            get("") + "garbage\r\n" + hidden,
            &[200, 400],
            "request-line",
        ),
        refused(
            "a length and a no-break space",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\xa0\r\n\r\nhello",
            &[400],
            "length-malformed",
        ),
        refused(
            "a body longer than its length",
            post("Content-Length: 3\r\n", "abcde\r\n") + hidden,
            &[200, 400],
            "request-line",
        ),
        refused(
            "another expectation",
            with("Content-Length: 5\r\nExpect: cake\r\n"),
            &[417],
            "expectation",
        ),
        refused(
            "two expectations",
            with("Content-Length: 5\r\nExpect: 100-continue, cake\r\n"),
            &[417],
            "expectation",
        ),
    ]);
}

#[test]
fn a_request_that_is_not_admitted_keeps_the_connection_open_if_its_body_is_small() {
    let forbidden = |length: usize, headers: &str| {
        let head = format!(
            "POST /forbidden HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        head + &"b".repeat(length) + &get("")
    };
    check(vec![
        kept("no body", line("GET /forbidden HTTP/1.1") + &get(""), &[403, 200]),
        kept("a small body", forbidden(200, ""), &[403, 200]),
        kept("the largest small body", forbidden(DISCARD_MAX_BYTES, ""), &[403, 200]),
        refused("a larger body", forbidden(DISCARD_MAX_BYTES + 1, ""), &[403], "foreign-origin"),
        refused(
            "a body that waits for 100-continue",
            forbidden(200, "Expect: 100-continue\r\n"),
            &[403],
            "foreign-origin",
        ),
        refused(
            "asked to close",
            forbidden(200, "Connection: close\r\n"),
            &[403],
            "foreign-origin",
        ),
    ]);
}

#[test]
fn mutated_requests_are_the_same_in_one_piece_and_byte_by_byte() {
    let seeds = [
        get("Accept: */*\r\nConnection: close\r\n"),
        post("Content-Length: 5\r\n", "hello") + &get(""),
        post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        line("GET http://b:81/x?y HTTP/1.1") + &line("OPTIONS * HTTP/1.1"),
        "\r\nHEAD / HTTP/1.0\r\nHost: [::1]:80\r\n\r\n".to_owned(),
    ];
    let mut state = 1u64;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..3000 {
        let mut raw = seeds[round % seeds.len()].clone().into_bytes();
        for _ in 0..=random(3) {
            let size = raw.len();
            let at = random(size);
            match random(4) {
                0 => drop(raw.remove(at)),
                1 => raw[at] = random(256) as u8,
                2 => raw.insert(at, b"\r\n \t:,/0\0\x80"[random(10)]),
                _ => raw.copy_within(at..(at + 8).min(size), 0),
            }
        }
        let name = String::from_utf8_lossy(&raw).into_owned();
        let cut = random(raw.len());
        let whole = run([raw.as_slice()]);
        assert_eq!(run(raw.chunks(1)), whole, "{name:?}");
        assert_eq!(run([&raw[..cut], &raw[cut..]]), whole, "{name:?} cut at {cut}");
        assert_eq!(whole.last(), Some(&HttpEvent::Close), "{name:?}");
    }
}

// -------------------------------------------------------------------------------------------------
// The contents of requests and answers.

#[test]
fn a_head_contains_the_parsed_request() {
    let events = Peer::new().send(
        b"POST /a%2fb?c?d HTTP/1.1\r\nHOST: Device.Local:8080\r\nX-List: a\r\nX-Text: \t\xe9 b \r\nx-list: b\r\n\
          Content-Length: 3\r\n\r\nabc",
    );
    let HttpEvent::Request(request) = &events[0] else { panic!("{events:?}") };
    let head = &request.head;
    assert_eq!(
        (head.method, head.path.as_str(), head.query.as_deref()),
        (Method::Post, "/a%2fb", Some("c?d"))
    );
    assert_eq!(head.host, Authority { name: "device.local".to_owned(), port: Some(8080) });
    assert_eq!((head.content_length, request.body.as_slice()), (3, &b"abc"[..]));
    assert_eq!(head.header("X-LIST"), Some("a, b"));
    assert_eq!(head.header("x-text"), Some("é b"));
    assert_eq!(head.header("x-none"), None);
}

#[test]
fn an_absolute_target_has_priority_over_the_host_header() {
    let head =
        requests(&Peer::new().send(line("GET http://[2001:DB8::0:1]:81?q HTTP/1.1"))).remove(0);
    assert_eq!(head.host, Authority { name: "2001:db8::1".to_owned(), port: Some(81) });
    assert_eq!((head.path.as_str(), head.query.as_deref()), ("/", Some("q")));
    assert_eq!(head.header("host"), Some("a"));
}

#[test]
fn options_of_the_server_is_reported() {
    let head = requests(&Peer::new().send(line("OPTIONS * HTTP/1.1"))).remove(0);
    assert_eq!((head.method, head.path.as_str()), (Method::Options, "*"));
}

#[test]
fn an_authority_with_an_empty_port_has_no_port() {
    assert_eq!(Authority::parse("a:"), Some(Authority { name: "a".to_owned(), port: None }));
    assert_eq!(Authority::parse("[::1]:"), Some(Authority { name: "::1".to_owned(), port: None }));
    assert_eq!(Authority::parse(":80"), None);
}

#[test]
fn an_authority_is_written_as_in_a_url() {
    for (text, written) in
        [("A:80", "a:80"), ("a:", "a"), ("[0::1]:8080", "[::1]:8080"), ("[::1]", "[::1]")]
    {
        assert_eq!(Authority::parse(text).unwrap().to_string(), written);
    }
}

#[test]
fn head_gets_the_same_headers_as_get_and_no_body() {
    for path in ["/large", "/busy", "/forbidden", "/known"] {
        let get = Peer::new().send(line(&format!("GET {path} HTTP/1.1")));
        let head = Peer::new().send(line(&format!("HEAD {path} HTTP/1.1")));
        assert_eq!(String::from_utf8(sent(&head)).unwrap(), reply(&get).head, "{path}");
    }
    let refused = sent(&Peer::new().send("HEAD / HTTP/1.1\r\n\r\n"));
    assert!(
        refused.starts_with(b"HTTP/1.1 400 ") && refused.ends_with(b"Connection: close\r\n\r\n")
    );
}

#[test]
fn a_refusal_says_what_to_do() {
    let mut peer = Peer::new();
    let events = peer.send(post("", ""));
    assert_eq!(events[0], HttpEvent::Error(HttpError::LengthMissing));
    let reply = reply(&events);
    assert_eq!(reply.header("Content-Type"), Some("application/problem+json"));
    let problem: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let expected = serde_json::json!({
        "type": "about:blank", "title": "Length Required", "status": 411, "reason": "length-missing",
        "detail": "State the length of the body with Content-Length.",
    });
    assert_eq!(problem, expected);
}

#[test]
fn a_busy_server_sends_retry_after_and_keeps_the_connection_open() {
    let mut peer = Peer::new();
    let events = peer.send(line("GET /busy HTTP/1.1"));
    assert_eq!(reply(&events).reason().as_deref(), Some("viewers"));
    assert_eq!(reply(&events).header("Retry-After"), Some("7"));
    assert_eq!(reply(&peer.send(get(""))).status, 200);
}

#[test]
fn a_header_value_cannot_contain_a_line_end() {
    let reply = reply(&Peer::new().send(line("GET /split HTTP/1.1")));
    assert_eq!(reply.header("X-Echo"), Some("a  X-Evil: 1 "));
    assert_eq!(reply.header("X-Evil"), None);
}

#[test]
fn a_clock_out_of_range_is_clamped() {
    let late = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
    let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    for (date, text) in
        [(late, "Fri, 31 Dec 9999 23:59:59 GMT"), (early, "Thu, 01 Jan 1970 00:00:00 GMT")]
    {
        let now = Instant::now();
        let mut connection = HttpConnection::new(now);
        connection.receive(b"\n");
        let context = Context { now, date, common_headers: COMMON_HEADERS };
        let events: Vec<HttpEvent> =
            std::iter::from_fn(|| poll(&mut connection, context)).collect();
        assert_eq!(reply(&events).header("Date"), Some(text));
    }
}

#[test]
fn a_small_body_is_sent_with_its_head_and_a_large_one_is_not_copied() {
    let small = Peer::not_reading().send(get(""));
    assert!(matches!(small[..], [HttpEvent::Request(_), HttpEvent::Send(_)]), "{small:?}");
    let large = Peer::not_reading().send(line("GET /large HTTP/1.1"));
    let [HttpEvent::Request(_), HttpEvent::Send(_), HttpEvent::Send(body)] = &large[..] else {
        panic!("{} events", large.len());
    };
    assert!(std::ptr::eq(&body[..], LARGE_ASSET));
}

// -------------------------------------------------------------------------------------------------
// 100-continue.

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let mut peer = Peer::new();
    let events = peer.send(post("Content-Length: 5\r\nExpect: 100-Continue\r\n", ""));
    assert_eq!(events, [HttpEvent::Send(CONTINUE.into())]);
    assert_eq!(reply(&peer.send("hello")).status, 200);
    assert_eq!(reply(&peer.send(get(""))).status, 200);
}

#[test]
fn there_is_no_100_continue_for_a_body_that_is_already_sent_or_empty() {
    let sending = Peer::new().send(post("Content-Length: 5\r\nExpect: 100-continue\r\n", "hel"));
    assert_eq!(sending, []);
    let nothing = Peer::new().send(post("Content-Length: 0\r\nExpect: 100-continue\r\n", ""));
    assert_eq!(reply(&nothing).status, 200);
}

#[test]
fn there_is_no_100_continue_for_a_refused_request() {
    for (headers, path, status) in [
        ("Content-Length: 65537\r\nExpect: 100-continue\r\n", "/offer", 413),
        ("Content-Length: 5\r\nExpect: 100-continue\r\n", "/forbidden", 403),
        ("Content-Length: 5\r\nExpect: 100-continue\r\nHost: b\r\n", "/offer", 400),
    ] {
        let events = Peer::new().send(format!("POST {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
        assert_eq!((reply(&events).status, reply(&events).closes()), (status, true));
    }
}

#[test]
fn a_request_that_expects_100_continue_is_answered_the_same_however_it_is_split() {
    let raw = post("Content-Length: 5\r\nExpect: 100-continue\r\n", "hello") + &get("");
    let whole = sent(&run([raw.as_bytes()]));
    for at in 0..raw.len() {
        let (first, second) = raw.as_bytes().split_at(at);
        let cut = sent(&run([first, second]));
        assert_eq!(cut.strip_prefix(CONTINUE).unwrap_or(&cut), whole, "cut at {at}");
    }
}

#[test]
fn a_head_is_reported_once_and_before_the_body() {
    let now = Instant::now();
    let context = Context { now, date: SystemTime::UNIX_EPOCH, common_headers: COMMON_HEADERS };
    let mut connection = HttpConnection::new(now);
    connection.receive(post("Content-Length: 5\r\n", "").as_bytes());
    let Some(HttpEvent::Head(head)) = connection.poll(&context) else { panic!("no head") };
    assert_eq!(head.content_length, 5);
    connection.judge(head, Verdict::Accept, now);
    assert_eq!(connection.poll(&context), None);
    connection.receive(b"hello");
    assert!(matches!(connection.poll(&context), Some(HttpEvent::Request(_))));
}

#[test]
fn a_request_that_is_held_is_reported_again_in_its_turn_and_then_answered() {
    let start = Instant::now();
    let context =
        |now| Context { now, date: SystemTime::UNIX_EPOCH, common_headers: COMMON_HEADERS };
    let turn = start + Duration::from_millis(10);
    let mut connection = HttpConnection::new(start);
    connection.receive(get("").repeat(2).as_bytes());
    let Some(HttpEvent::Head(head)) = connection.poll(&context(start)) else { panic!("no head") };
    connection.judge(head.clone(), Verdict::Hold(turn), start);
    assert_eq!(connection.poll(&context(start)), None);
    assert_eq!(connection.poll_timeout(), Some(turn));
    assert!(!connection.takes_bytes(), "the second request waits");
    connection.handle_timeout(turn);
    assert_eq!(connection.poll(&context(turn)), Some(HttpEvent::Head(head.clone())));
    connection.judge(head, Verdict::Accept, turn);
    assert!(matches!(connection.poll(&context(turn)), Some(HttpEvent::Request(_))));
    connection.respond(Response::new(200));
    assert!(matches!(connection.poll(&context(turn)), Some(HttpEvent::Send(_))));
}

#[test]
fn a_client_that_sends_too_much_while_it_is_held_is_cut_off() {
    let now = Instant::now();
    let context = Context { now, date: SystemTime::UNIX_EPOCH, common_headers: COMMON_HEADERS };
    let mut connection = HttpConnection::new(now);
    connection.receive(get("").as_bytes());
    let Some(HttpEvent::Head(head)) = connection.poll(&context) else { panic!("no head") };
    connection.judge(head, Verdict::Hold(now + HEAD_TIME), now);
    connection.receive(&vec![b'x'; INPUT_MAX_BYTES]);
    assert_eq!(connection.poll(&context), None);
    connection.receive(b"x");
    assert_eq!(connection.poll(&context), Some(HttpEvent::Error(HttpError::InputOverflow)));
    assert_eq!(connection.poll(&context), Some(HttpEvent::Finish));
}

// -------------------------------------------------------------------------------------------------
// Time.

const TICK: Duration = Duration::from_millis(1);

#[test]
fn a_silent_client_is_closed_without_an_answer() {
    let mut peer = Peer::new();
    assert_eq!(peer.pass(IDLE_TIME - TICK), []);
    assert_eq!(peer.pass(TICK), [HttpEvent::Close]);
    assert_eq!(peer.connection.poll_timeout(), None);
    assert_eq!(peer.send(get("")), []);
}

#[test]
fn the_idle_time_starts_again_when_an_answer_is_read() {
    let mut peer = Peer::new();
    peer.pass(IDLE_TIME - TICK);
    peer.send(get(""));
    assert_eq!(peer.pass(IDLE_TIME - TICK), []);
    assert_eq!(peer.pass(TICK), [HttpEvent::Close]);
}

#[test]
fn empty_lines_neither_start_a_request_nor_extend_the_idle_time() {
    let mut peer = Peer::new();
    peer.pass(IDLE_TIME - HEAD_TIME);
    assert_eq!(peer.send("\r\n"), []);
    assert!(peer.connection.is_idle());
    assert_eq!(peer.pass(HEAD_TIME), [HttpEvent::Close]);
}

#[test]
fn a_head_must_be_complete_five_seconds_after_its_first_byte() {
    let mut peer = Peer::new();
    peer.pass(IDLE_TIME - TICK);
    assert_eq!(peer.send("G"), []);
    assert_eq!(peer.pass(HEAD_TIME - TICK), []);
    assert_eq!(peer.send("ET / HTTP/1.1\r\nX: more bytes do not extend it"), []);
    let events = peer.pass(TICK);
    assert_eq!((reply(&events).status, errors(&events)), (408, vec!["head-late"]));
    assert_eq!(events.last(), Some(&HttpEvent::Finish));
}

#[test]
fn a_body_must_be_complete_five_seconds_after_the_head() {
    let mut peer = Peer::new();
    peer.send("P");
    peer.pass(HEAD_TIME - TICK);
    peer.send(&post("Content-Length: 5\r\n", "hell")[1..]);
    assert_eq!(peer.pass(BODY_TIME - TICK), []);
    let events = peer.pass(TICK);
    assert_eq!((reply(&events).status, errors(&events)), (408, vec!["body-late"]));
    assert_eq!(events.last(), Some(&HttpEvent::Finish));
}

#[test]
fn reading_the_100_late_does_not_extend_the_time_for_the_body() {
    let mut peer = Peer::not_reading();
    peer.send(post("Content-Length: 5\r\nExpect: 100-continue\r\n", ""));
    peer.pass(BODY_TIME - TICK);
    peer.flush();
    assert_eq!(errors(&peer.pass(TICK)), ["body-late"]);
}

#[test]
fn the_second_head_has_its_own_five_seconds() {
    let mut peer = Peer::new();
    peer.send("G");
    peer.pass(HEAD_TIME - TICK);
    assert_eq!(reply(&peer.send(get("")[1..].to_owned() + "G")).status, 200);
    assert_eq!(peer.pass(HEAD_TIME - TICK), []);
    assert_eq!(reply(&peer.pass(TICK)).status, 408);
}

#[test]
fn a_discarded_body_that_does_not_arrive_ends_the_connection() {
    let mut peer = Peer::new();
    let events = peer.send("POST /forbidden HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nb");
    assert_eq!((reply(&events).status, reply(&events).closes()), (403, false));
    assert!(!peer.connection.is_idle());
    assert_eq!(peer.pass(BODY_TIME), [HttpEvent::Finish]);
}

#[test]
fn the_idle_time_starts_when_a_discarded_body_has_arrived() {
    let mut peer = Peer::new();
    peer.send("POST /forbidden HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nb");
    peer.pass(BODY_TIME - TICK);
    assert_eq!(peer.send("body"), []);
    assert_eq!(peer.pass(IDLE_TIME - TICK), []);
    assert_eq!(peer.pass(TICK), [HttpEvent::Close]);
}

#[test]
fn an_answer_that_is_not_read_ends_the_connection() {
    let mut peer = Peer::not_reading();
    assert_eq!(reply(&peer.send(get(""))).status, 200);
    assert!(!peer.connection.is_idle());
    assert_eq!(peer.pass(ANSWER_TIME - TICK), []);
    assert_eq!(peer.pass(TICK), [HttpEvent::Error(HttpError::AnswerLate), HttpEvent::Close]);
}

#[test]
fn another_request_does_not_extend_the_time_for_the_first_answer() {
    let mut peer = Peer::not_reading();
    peer.send(get(""));
    peer.pass(ANSWER_TIME - TICK);
    peer.send(get(""));
    assert_eq!(errors(&peer.pass(TICK)), ["answer-late"]);
}

#[test]
fn an_answer_that_is_read_late_leaves_the_connection_idle() {
    let mut peer = Peer::not_reading();
    peer.send(get(""));
    peer.pass(ANSWER_TIME - TICK);
    assert_eq!(peer.flush(), []);
    assert!(peer.connection.is_idle());
    assert_eq!(peer.pass(IDLE_TIME - TICK), []);
    assert_eq!(peer.pass(TICK), [HttpEvent::Close]);
}

// -------------------------------------------------------------------------------------------------
// The end of a connection.

#[test]
fn a_refused_client_that_keeps_sending_still_gets_its_answer() {
    let mut peer = Peer::not_reading();
    let events = peer.send(post("Content-Length: 1000000\r\n", "begin"));
    assert_eq!((reply(&events).status, events.last()), (413, Some(&HttpEvent::Finish)));
    for _ in 0..500 {
        assert_eq!(peer.send([b'b'; 1000]), []);
    }
    assert_eq!(peer.half_close(), [], "the answer is not read yet");
    assert_eq!(peer.flush(), [HttpEvent::Close]);
}

#[test]
fn lingering_ends_two_seconds_after_the_answer_is_read() {
    let mut peer = Peer::not_reading();
    peer.send("bad\r\n");
    peer.pass(LINGER_TIME * 2);
    assert_eq!(peer.flush(), []);
    assert_eq!(peer.pass(LINGER_TIME - TICK), []);
    assert_eq!(peer.pass(TICK), [HttpEvent::Close]);
}

#[test]
fn lingering_ends_when_the_client_sends_too_much() {
    let mut peer = Peer::new();
    peer.send("bad\r\n");
    assert_eq!(peer.send(vec![0; LINGER_MAX_BYTES - "bad\r\n".len()]), []);
    assert_eq!(peer.send([0]), [HttpEvent::Close]);
    assert_eq!(peer.send([0]), []);
}

#[test]
fn a_client_that_half_closes_gets_all_its_answers() {
    let mut peer = Peer::not_reading();
    peer.connection.receive((get("") + &get("")).as_bytes());
    assert_eq!(replies(&peer.half_close()).len(), 1);
    assert_eq!(replies(&peer.flush()).len(), 1);
    assert_eq!(peer.flush(), [HttpEvent::Finish, HttpEvent::Close]);
}

#[test]
fn an_idle_connection_closes_when_the_client_does() {
    assert_eq!(Peer::new().half_close(), [HttpEvent::Finish, HttpEvent::Close]);
}

#[test]
fn shutdown_closes_an_idle_connection_at_once() {
    assert_eq!(Peer::new().shutdown(), [HttpEvent::Close]);
}

#[test]
fn shutdown_finishes_what_is_being_sent() {
    let mut peer = Peer::not_reading();
    peer.send(line("GET /large HTTP/1.1"));
    assert_eq!(peer.shutdown(), [HttpEvent::Finish]);
    assert_eq!(peer.send(get("")), []);
    assert_eq!(peer.flush(), []);
    assert_eq!(peer.half_close(), [HttpEvent::Close]);
}

#[test]
fn shutdown_lets_a_reported_request_be_answered() {
    let mut peer = Peer::new();
    peer.connection.receive((get("") + &get("")).as_bytes());
    assert!(matches!(peer.poll(), Some(HttpEvent::Request(_))));
    peer.connection.shutdown(peer.now);
    peer.connection.respond(Response::new(200));
    let events = peer.drain();
    assert!(reply(&events).closes());
    assert_eq!(events.last(), Some(&HttpEvent::Finish));
}

// -------------------------------------------------------------------------------------------------
// Back-pressure.

#[test]
fn of_requests_that_come_together_each_is_served_when_the_last_answer_is_taken() {
    let mut peer = Peer::not_reading();
    let first = peer.send(line("GET /large HTTP/1.1").repeat(3));
    assert_eq!(requests(&first).len(), 1);
    assert!(!peer.connection.takes_bytes());
    peer.pass(HEAD_TIME + TICK);
    assert_eq!(requests(&peer.flush()).len(), 1);
    assert_eq!(requests(&peer.flush()).len(), 1);
    assert!(peer.connection.takes_bytes(), "nothing is left to be parsed");
    assert_eq!(peer.flush(), []);
    assert!(peer.connection.is_idle());
}

#[test]
fn a_client_that_only_sends_is_cut_off() {
    let mut peer = Peer::not_reading();
    peer.send(line("GET /large HTTP/1.1"));
    assert_eq!(peer.send(vec![b'x'; INPUT_MAX_BYTES]), []);
    assert_eq!(peer.send("x"), [HttpEvent::Error(HttpError::InputOverflow), HttpEvent::Finish]);
}

#[test]
fn the_largest_request_is_accepted_byte_by_byte() {
    let raw = post(&format!("Content-Length: {BODY_MAX_BYTES}\r\n"), &"b".repeat(BODY_MAX_BYTES));
    let mut peer = Peer::new();
    let events: Vec<HttpEvent> =
        raw.as_bytes().chunks(1).flat_map(|byte| peer.send(byte)).collect();
    assert_eq!(reply(&events).status, 200);
    assert!(peer.connection.is_idle());
}

// -------------------------------------------------------------------------------------------------
// Answers that come later than their request, and answers without an end.

/// A request. One for `/late` gets no answer before the test gives it.
fn late_get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: camera\r\n\r\n")
}

fn respond_late(peer: &mut Peer) -> Vec<HttpEvent> {
    peer.connection.respond(Response::new(200).with_body("text/plain", "late"));
    peer.drain()
}

#[test]
fn a_late_answer_comes_before_the_answers_to_later_requests() {
    let mut peer = Peer::new();
    let raw = [late_get("/late"), late_get("/late"), late_get("/")].concat();
    let events = peer.send(raw);
    assert!(matches!(events[..], [HttpEvent::Request(_)]), "{events:?}");
    assert!(peer.connection.awaits_response());
    assert_eq!(peer.send(late_get("/2")), [], "no request is read while one waits");
    let events = respond_late(&mut peer);
    assert_eq!(reply(&events).body, "late");
    assert_eq!(requests(&events).len(), 1, "the second one waits again");
    let bodies: Vec<String> =
        replies(&respond_late(&mut peer)).into_iter().map(|reply| reply.body).collect();
    assert_eq!(bodies[0], "late");
    assert!(bodies[1].starts_with("Get / ") && bodies[2].starts_with("Get /2 "), "{bodies:?}");
}

#[test]
fn late_answers_are_the_same_however_the_requests_are_split() {
    let raw =
        [late_get("/late"), post("Content-Length: 1\r\n", "x"), late_get("/late"), late_get("/")]
            .concat();
    let play = |pieces: Vec<&[u8]>| {
        let mut peer = Peer::new();
        let mut events = Vec::new();
        pieces.into_iter().for_each(|piece| events.extend(peer.send(piece)));
        while peer.connection.awaits_response() {
            events.extend(respond_late(&mut peer));
        }
        events.extend(peer.half_close());
        joined(events)
    };
    let whole = play(vec![raw.as_bytes()]);
    assert_eq!(replies(&whole).len(), 4);
    assert_eq!(play(raw.as_bytes().chunks(1).collect()), whole);
    for at in 0..raw.len() {
        let (first, second) = raw.as_bytes().split_at(at);
        assert_eq!(play(vec![first, second]), whole, "cut at {at}");
    }
}

#[test]
fn an_answer_that_is_not_ready_in_ten_seconds_is_503_and_the_connection_stays_open() {
    let mut peer = Peer::new();
    peer.send(late_get("/late"));
    assert_eq!(peer.pass(RESPOND_TIME - Duration::from_millis(1)), []);
    let events = peer.pass(Duration::from_millis(1));
    assert_eq!(errors(&events), ["not-ready"]);
    let answer = reply(&events);
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
    assert!(!answer.closes());
    assert!(!peer.connection.awaits_response());
    assert_eq!(reply(&peer.send(get(""))).status, 200);
}

#[test]
fn a_client_that_half_closes_still_gets_its_late_answer() {
    let mut peer = Peer::new();
    peer.send(late_get("/late"));
    assert_eq!(peer.half_close(), []);
    let events = respond_late(&mut peer);
    assert_eq!(reply(&events).body, "late");
    assert_eq!(events[1..], [HttpEvent::Finish, HttpEvent::Close]);
}

#[test]
fn a_client_that_sends_too_much_while_it_waits_is_cut_off() {
    let mut peer = Peer::new();
    peer.send(late_get("/late"));
    assert_eq!(peer.send(vec![b'x'; INPUT_MAX_BYTES]), []);
    let events = peer.send("x");
    assert_eq!(events, [HttpEvent::Error(HttpError::InputOverflow), HttpEvent::Finish]);
    assert!(!peer.connection.awaits_response());
}

#[test]
fn shutdown_lets_a_late_answer_come_and_closes_then() {
    let mut peer = Peer::new();
    peer.send(late_get("/late"));
    assert_eq!(peer.shutdown(), []);
    let events = respond_late(&mut peer);
    assert!(reply(&events).closes());
    assert!(events.contains(&HttpEvent::Finish));
}

fn start_stream(peer: &mut Peer) -> Vec<HttpEvent> {
    peer.send(late_get("/late"));
    let head = Response::new(200).with_body("multipart/x-mixed-replace", "start").into_stream();
    peer.connection.respond(head);
    peer.drain()
}

#[test]
fn a_stream_has_no_length_and_goes_on_until_it_ends() {
    let mut peer = Peer::new();
    let head = String::from_utf8(sent(&start_stream(&mut peer))).unwrap();
    assert!(head.contains("\r\nConnection: close\r\n") && !head.contains("Content-Length"));
    assert!(head.ends_with("\r\n\r\nstart"), "{head}");
    for _ in 0..3 {
        assert!(peer.connection.takes_part());
        peer.connection.send_part("part".into(), peer.now);
        assert_eq!(peer.drain(), [HttpEvent::Send("part".into())]);
        assert_eq!(peer.pass(RESPOND_TIME / 2), []);
    }
    assert_eq!(peer.send(get("")), [], "what the peer sends is not wanted");
    assert_eq!(peer.half_close(), [HttpEvent::Finish, HttpEvent::Close]);
}

#[test]
fn a_stream_gives_no_part_to_a_peer_that_has_not_taken_the_last() {
    let mut peer = Peer::not_reading();
    start_stream(&mut peer);
    assert!(peer.connection.is_streaming() && !peer.connection.takes_part());
    peer.flush();
    peer.connection.send_part("part".into(), peer.now);
    peer.drain();
    assert!(!peer.connection.takes_part());
    let events = peer.pass(ANSWER_TIME);
    assert_eq!(events, [HttpEvent::Error(HttpError::AnswerLate), HttpEvent::Close]);
}

#[test]
fn a_stream_without_parts_ends() {
    let mut peer = Peer::new();
    start_stream(&mut peer);
    assert_eq!(peer.pass(RESPOND_TIME + LINGER_TIME), [HttpEvent::Finish, HttpEvent::Close]);
}

#[test]
fn a_peer_that_sends_too_much_into_its_stream_ends_it() {
    let mut peer = Peer::new();
    start_stream(&mut peer);
    assert_eq!(peer.send(vec![0; LINGER_MAX_BYTES]), []);
    assert_eq!(peer.send([0]), [HttpEvent::Finish]);
}

#[test]
fn head_of_a_stream_gets_its_head() {
    let mut peer = Peer::new();
    peer.send(line("HEAD /late HTTP/1.1"));
    peer.connection.respond(Response::new(200).with_body("text/plain", "start").into_stream());
    let events = peer.drain();
    assert!(sent(&events).ends_with(b"\r\n\r\n"));
    assert!(!peer.connection.is_streaming() && events.contains(&HttpEvent::Finish));
}

#[test]
fn shutdown_ends_a_stream() {
    let mut peer = Peer::new();
    start_stream(&mut peer);
    assert_eq!(peer.shutdown(), [HttpEvent::Finish]);
}

#[test]
fn a_response_can_replace_a_header_that_every_response_carries() {
    let mut peer = Peer::new();
    peer.send(late_get("/late"));
    let name = "Cross-Origin-Resource-Policy";
    peer.connection.respond(Response::new(200).with_header(name, "same-site"));
    assert_eq!(reply(&peer.drain()).header(name), Some("same-site"));
}
