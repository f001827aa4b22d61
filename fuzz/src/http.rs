//! One connection's bytes, in one piece, in several and byte by byte, with the real admission and
//! real answers: the events must be the same, and each answer one that a strict client accepts.
//!
//! The first byte of the input says how the peer behaves, so that a readable seed starts with NUL
//! and goes on with what is sent:
//!
//! - Its low six bits are the number of cut bytes that follow. A cut byte `c` is a piece of `c + 1`
//!   bytes; what is left after the cuts is one piece.
//! - With [`DEAF`], the peer takes no answer before it has sent everything.
//! - With [`SILENT`], the peer does not half-close after the last byte, but waits until the server
//!   closes. With both, it never takes any answer.
//!
//! If there are cuts, there is one more run, in which time passes before each piece. Its events are
//! others, but keep the same laws.

use std::cell::RefCell;
use std::iter::Peekable;
use std::net::{IpAddr, Ipv4Addr};
use std::slice;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ballcast::http::{
    Authority, BLANK_LINES_MAX, BODY_MAX_BYTES, Connection, Context, DISCARD_MAX_BYTES, Event,
    HEADERS_MAX_BYTES, Head, INPUT_MAX_BYTES, Method, REQUEST_LINE_MAX_BYTES, Request, Response,
};
use ballcast::refusal::Reason;
use ballcast::web::assets;
use ballcast::web::cors::AccessPolicy;
use ballcast::web::routes::{self, Route};
use ballcast::web::whep;
use serde_json::Value;

use crate::Outcomes;

pub const DEAF: u8 = 0x40;
pub const SILENT: u8 = 0x80;

/// More than the longest request. What is sent while nothing is read must stay below
/// [`INPUT_MAX_BYTES`], or the size of the pieces would decide what is too much.
const BYTES_MAX: usize = 104 * 1024;
const _: () = assert!(BYTES_MAX < INPUT_MAX_BYTES);

/// A head and what may come before it, with room for line ends.
const HEAD_MAX_BYTES: usize =
    DISCARD_MAX_BYTES + 2 * BLANK_LINES_MAX + REQUEST_LINE_MAX_BYTES + HEADERS_MAX_BYTES + 8;

/// For each unit of a cut byte, so that all times of the connection can run out.
const PAUSE_UNIT: Duration = Duration::from_millis(60);

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Refusals after which nothing is sent: nobody takes it.
const MUTE_REFUSALS: [Reason; 2] = [Reason::AnswerLate, Reason::InputOverflow];

/// Where every run begins. Only differences matter.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

pub fn run(data: &[u8]) -> Outcomes {
    let Some(script) = Script::parse(data) else {
        return Outcomes::new();
    };
    let whole = script.play(&[], Pace::Fast);
    let bytewise = script.play(&vec![0; script.bytes.len()], Pace::Fast);
    agree(&whole, &bytewise);
    let mut outcomes = Outcomes::new();
    script.judge(&whole, &mut outcomes);
    if bytewise.continues > 0 {
        outcomes.insert("continue".to_owned());
    }
    if !script.cuts.is_empty() {
        agree(&script.play(script.cuts, Pace::Fast), &bytewise);
        script.judge(&script.play(script.cuts, Pace::Slow), &mut outcomes);
    }
    outcomes
}

struct Script<'a> {
    is_deaf: bool,
    is_silent: bool,
    cuts: &'a [u8],
    bytes: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Fast,
    /// A piece is the later the larger it is.
    Slow,
}

impl<'a> Script<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        let (&first, rest) = data.split_first()?;
        let cuts = usize::from(first & !(DEAF | SILENT)).min(rest.len());
        let (cuts, bytes) = rest.split_at(cuts);
        let bytes = &bytes[..bytes.len().min(BYTES_MAX)];
        Some(Self { is_deaf: first & DEAF != 0, is_silent: first & SILENT != 0, cuts, bytes })
    }

    fn play(&self, cuts: &[u8], pace: Pace) -> Record {
        let mut peer = Peer::new(!self.is_deaf);
        let mut rest = self.bytes;
        for &cut in cuts {
            if pace == Pace::Slow {
                peer.pass(PAUSE_UNIT * u32::from(cut));
            }
            let (piece, after) = rest.split_at(rest.len().min(usize::from(cut) + 1));
            peer.send(piece);
            rest = after;
        }
        peer.send(rest);
        if !self.is_silent {
            peer.half_close();
        }
        if self.is_deaf && !self.is_silent {
            peer.take_answers();
        }
        peer.pass_to_the_end();
        peer.record
    }

    fn judge(&self, record: &Record, outcomes: &mut Outcomes) {
        for admission in &record.admissions {
            judge_head(&admission.head, self.bytes);
        }
        let mut judge = Judge {
            events: record.story.iter().peekable(),
            admissions: record.admissions.iter(),
            bytes: self.bytes,
            outcomes,
        };
        judge.story();
    }
}

/// The pieces in which something came decide nothing but whether `100 Continue` is worth sending.
fn agree(pieces: &Record, bytewise: &Record) {
    assert_eq!(pieces.story, bytewise.story, "the pieces decide");
    assert_eq!(pieces.admissions, bytewise.admissions, "the pieces decide who is admitted");
    assert!(pieces.continues <= bytewise.continues, "100 Continue in large pieces only");
}

// -------------------------------------------------------------------------------------------------
// The peer, its server and the clock.

/// What happened on a connection.
#[derive(Default)]
struct Record {
    /// All events but `100 Continue`, and adjacent `Send`s as one: where they are cut is not the
    /// client's business.
    story: Vec<Event>,
    admissions: Vec<Admission>,
    continues: usize,
}

/// A head, and why its request is not wanted.
#[derive(Debug, PartialEq, Eq)]
struct Admission {
    head: Head,
    refusal: Option<Response>,
}

struct Peer {
    connection: Connection,
    now: Instant,
    takes_answers: bool,
    sent: usize,
    /// Bytes sent since the last event or admission.
    unanswered: usize,
    record: Record,
}

impl Peer {
    fn new(takes_answers: bool) -> Self {
        let now = *BEGINNING;
        let connection = Connection::new(now);
        Self { connection, now, takes_answers, sent: 0, unanswered: 0, record: Record::default() }
    }

    fn send(&mut self, bytes: &[u8]) {
        let before = self.record.progress();
        self.sent += bytes.len();
        self.connection.receive(bytes);
        self.drain();
        self.unanswered += bytes.len();
        if self.record.progress() != before {
            self.unanswered = 0;
        }
        let is_bounded = self.unanswered <= HEAD_MAX_BYTES + self.record.body_due();
        let is_held_back = !self.takes_answers || self.record.has_ended();
        assert!(is_bounded || is_held_back, "{} bytes without a sign", self.unanswered);
    }

    fn half_close(&mut self) {
        self.connection.half_closed();
        self.drain();
    }

    /// Takes what was sent so far and, from now on, everything.
    fn take_answers(&mut self) {
        self.takes_answers = true;
        self.connection.flushed(self.now);
        self.drain();
    }

    /// Lets `time` pass as the driver would: sleeping until each deadline on the way.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.connection.poll_timeout().is_some_and(|at| at <= until) {
            self.fire();
        }
        self.now = until;
    }

    fn pass_to_the_end(&mut self) {
        while self.connection.poll_timeout().is_some() {
            self.fire();
        }
        self.connection.receive(b"GET / HTTP/1.1\r\n\r\n");
        self.drain();
    }

    fn fire(&mut self) {
        self.now = self.connection.poll_timeout().unwrap_or(self.now);
        self.connection.handle_timeout(self.now);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            let mut has_events = false;
            while let Some(event) = self.poll() {
                self.take(event);
                has_events = true;
            }
            if !(has_events && self.takes_answers) {
                break;
            }
            self.connection.flushed(self.now);
        }
        match self.connection.poll_timeout() {
            Some(at) => assert!(at > self.now, "a deadline that does not move on"),
            None => assert_eq!(self.record.story.last(), Some(&Event::Close), "nothing due"),
        }
    }

    fn poll(&mut self) -> Option<Event> {
        let admissions = RefCell::new(&mut self.record.admissions);
        let admit = |head: &Head| {
            let verdict = admit(head);
            let refusal = verdict.clone().err();
            admissions.borrow_mut().push(Admission { head: head.clone(), refusal });
            verdict
        };
        self.connection.poll(&Context { now: self.now, date: date(), admit: &admit })
    }

    fn take(&mut self, event: Event) {
        let story = &mut self.record.story;
        assert_ne!(story.last(), Some(&Event::Close), "{event:?} after the end");
        assert!(story.len() < self.sent + 8, "events without end");
        match (story.last_mut(), event) {
            (_, Event::Send(bytes)) if *bytes == *CONTINUE => self.record.continues += 1,
            (Some(Event::Send(sent)), Event::Send(more)) => sent.to_mut().extend_from_slice(&more),
            (_, event) => {
                if let Event::Request(request) = &event {
                    self.connection.respond(answer(request));
                }
                story.push(event);
            }
        }
    }
}

impl Record {
    fn progress(&self) -> (usize, usize) {
        (self.story.len(), self.admissions.len())
    }

    /// The length of a body that has been waited for.
    fn body_due(&self) -> usize {
        self.admissions.last().map_or(0, |admission| admission.head.content_length)
    }

    fn has_ended(&self) -> bool {
        self.story.iter().rev().take(3).any(|e| matches!(e, Event::Finish | Event::Close))
    }
}

/// A whole second, as Date is.
fn date() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(784_111_777)
}

fn admit(head: &Head) -> Result<(), Response> {
    static ACCESS: LazyLock<AccessPolicy> =
        LazyLock::new(|| AccessPolicy { names: vec!["camera".to_owned()], origins: Vec::new() });
    routes::admit(head, &ACCESS, &[ADDRESS], None)
}

fn answer(request: &Request) -> Response {
    match routes::route(&request.head).expect("admitted, so there is a route") {
        Route::Asset(asset) => assets::respond(asset, &request.head),
        Route::Server => routes::server_options(),
        Route::Stats => Response::new(204),
        Route::Whep | Route::WhepSession(_) => whep::presence(),
        Route::Offer if request.body.is_empty() => {
            Response::problem(400, Reason::OfferMalformed, "Say more.")
        }
        Route::Offer => {
            Response::new(200).with_body("text/plain", request.body.len().to_string().into_bytes())
        }
    }
}

// -------------------------------------------------------------------------------------------------
// The laws of requests.

fn judge_head(head: &Head, bytes: &[u8]) {
    let is_visible = |text: &str| text.bytes().all(|b| (0x21..=0x7e).contains(&b) && b != b'#');
    let is_for_server = head.method == Method::Options && head.path == "*";
    assert!(head.path.starts_with('/') || is_for_server, "path {:?}", head.path);
    assert!(is_visible(&head.path) && !head.path.contains('?'), "path {:?}", head.path);
    assert!(head.query.as_deref().is_none_or(is_visible), "query {:?}", head.query);

    let host = Authority::parse(&head.host.to_string());
    assert_eq!(host.as_ref(), Some(&head.host), "the host's own text is another host");
    assert!(head.header("Host").is_some_and(|host| !host.is_empty()), "no Host");

    let length = head.header("content-length").map(str::parse::<usize>);
    assert_eq!(length.clone().unwrap_or(Ok(0)), Ok(head.content_length), "length");
    assert!(head.content_length <= BODY_MAX_BYTES, "a body of {}", head.content_length);
    assert!(head.method != Method::Post || length.is_some(), "POST without a length");
    assert_eq!(head.header("transfer-encoding"), None);

    for value in names(bytes).filter_map(|name| head.header(name)) {
        let is_clean = value.chars().all(|c| !c.is_ascii_control() || c == '\t');
        assert!(is_clean, "value {value:?}");
    }
}

/// What may be the name of a field.
fn names(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let lines = bytes.split(|&byte| byte == b'\n').take(80);
    lines.filter_map(|line| std::str::from_utf8(line.split(|&byte| byte == b':').next()?).ok())
}

// -------------------------------------------------------------------------------------------------
// The laws of answers: for each request or refusal one, in order, until the connection ends.

struct Judge<'a> {
    events: Peekable<slice::Iter<'a, Event>>,
    admissions: slice::Iter<'a, Admission>,
    bytes: &'a [u8],
    outcomes: &'a mut Outcomes,
}

impl<'a> Judge<'a> {
    fn story(&mut self) {
        let mut answers = 0;
        loop {
            let closes = match self.events.next().expect("a connection ends with Close") {
                Event::Request(request) => self.request(request),
                Event::Refused(reason) if MUTE_REFUSALS.contains(reason) => {
                    return self.mute(*reason);
                }
                Event::Refused(reason) => self.refused(*reason),
                Event::Send(bytes) => panic!("an answer to nothing: {bytes:?}"),
                Event::Finish => return self.finish(),
                Event::Close => return self.close(),
            };
            answers += 1;
            if answers > 1 {
                self.saw("pipelined");
            }
            if closes {
                assert_eq!(self.events.next(), Some(&Event::Finish), "said close, and did not");
                return self.finish();
            }
            self.saw("kept");
        }
    }

    /// Whether the connection ends here; so do the next two.
    fn request(&mut self, request: &Request) -> bool {
        let admission = self.admissions.next().expect("a request that was admitted");
        assert_eq!(admission.head, request.head, "another request than the one admitted");
        assert_eq!(admission.refusal, None, "a request that was not admitted");
        assert_eq!(request.body.len(), request.head.content_length, "length of the body");
        self.saw(&format!("request {}", request.head.method.as_str()));
        let answer = answer(request);
        if let Some(reason) = answer.refusal {
            assert_eq!(self.events.next(), Some(&Event::Refused(reason)));
            self.saw(&format!("refused {reason}"));
        }
        self.answer(&answer, &request.head)
    }

    fn refused(&mut self, reason: Reason) -> bool {
        self.saw(&format!("refused {reason}"));
        match self.admissions.next() {
            Some(Admission { head, refusal: Some(answer) }) => {
                assert_eq!(answer.refusal, Some(reason), "refused for another reason");
                self.answer(answer, head)
            }
            // The head, or the body of a request that was admitted, is not as it should be.
            admission => {
                let method = admission.map(|admission| admission.head.method);
                let bytes = self.bytes;
                let reply = self.reply(|body| match method {
                    Some(method) => method == Method::Head,
                    None => body.is_empty() && mentions_head(bytes),
                });
                assert_eq!(self.admissions.next(), None, "parsed after a refusal of {reason}");
                assert!(reply.closes(), "kept after {reason}");
                judge_problem(&reply, reason);
                true
            }
        }
    }

    fn answer(&mut self, answer: &Response, head: &Head) -> bool {
        let reply = self.reply(|_| head.method == Method::Head);
        assert_eq!(reply.status, answer.status);
        for (name, value) in &answer.headers {
            assert_eq!(reply.header(name), Some(value.as_ref()), "{name}");
        }
        match reply.is_bodiless {
            true => assert!(reply.body.is_empty(), "a body where none may be"),
            false => assert_eq!(reply.body, answer.body.as_ref(), "another body"),
        }
        if let Some(reason) = answer.refusal {
            judge_problem(&reply, reason);
        }
        assert!(reply.closes() || !says_close(head), "kept though the client closes");
        reply.closes()
    }

    fn reply(&mut self, is_to_head: impl Fn(&[u8]) -> bool) -> Reply<'a> {
        let Some(Event::Send(bytes)) = self.events.next() else {
            panic!("no answer");
        };
        let reply = Reply::parse(bytes, is_to_head);
        reply.judge();
        self.saw(&format!("status {}", reply.status));
        reply
    }

    /// Nothing is sent any more.
    fn finish(&mut self) {
        assert_eq!(self.admissions.next(), None, "admitted and left");
        self.saw("finish");
        match self.events.next() {
            Some(Event::Refused(reason @ Reason::AnswerLate)) => self.mute(*reason),
            Some(Event::Close) => self.close(),
            event => panic!("{event:?} after Finish"),
        }
    }

    fn mute(&mut self, reason: Reason) {
        self.saw(&format!("refused {reason}"));
        let is_finish = |event: &&Event| **event == Event::Finish;
        assert_eq!(self.events.next_if(is_finish).is_some(), reason == Reason::InputOverflow);
        assert_eq!(self.events.next(), Some(&Event::Close), "after {reason}");
        assert_eq!(self.events.next(), None, "after Close");
    }

    fn close(&mut self) {
        assert_eq!(self.events.next(), None, "after Close");
        assert_eq!(self.admissions.next(), None, "admitted and left");
        self.saw("close");
    }

    fn saw(&mut self, outcome: &str) {
        if !self.outcomes.contains(outcome) {
            self.outcomes.insert(outcome.to_owned());
        }
    }
}

/// A refusal of a HEAD request has no body, and whose request was refused is not always said.
fn mentions_head(bytes: &[u8]) -> bool {
    bytes.windows(5).any(|word| word == b"HEAD ")
}

fn says_close(head: &Head) -> bool {
    let options = head.header("connection").unwrap_or_default();
    options.split(',').any(|option| option.trim_matches([' ', '\t']).eq_ignore_ascii_case("close"))
}

/// RFC 9457.
fn judge_problem(reply: &Reply, reason: Reason) {
    assert_eq!(reply.header("Content-Type"), Some("application/problem+json"));
    assert!((400..600).contains(&reply.status), "status {}", reply.status);
    if reply.is_bodiless {
        return;
    }
    let problem: Value = serde_json::from_slice(reply.body).expect("JSON");
    assert_eq!(problem["status"], reply.status);
    assert_eq!(problem["reason"], reason.name());
    for name in ["type", "title", "detail"] {
        assert!(problem[name].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
}

// -------------------------------------------------------------------------------------------------
// A strict client.

struct Reply<'a> {
    status: u16,
    headers: Vec<(&'a str, &'a str)>,
    body: &'a [u8],
    /// As every answer to HEAD, and every 204 and 304.
    is_bodiless: bool,
}

impl<'a> Reply<'a> {
    /// Everything served is text. `is_to_head` sees what follows the head.
    fn parse(bytes: &'a [u8], is_to_head: impl Fn(&[u8]) -> bool) -> Self {
        let text = std::str::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("an end of the head");
        let mut lines = head.split("\r\n");
        let status = status_line(lines.next().unwrap_or_default());
        let headers = lines.map(field_line).collect();
        let body = body.as_bytes();
        let is_bodiless = matches!(status, 204 | 304) || is_to_head(body);
        Self { status, headers, body, is_bodiless }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|&(_, value)| value);
        assert!(values.next().is_none(), "{name} twice");
        value
    }

    fn closes(&self) -> bool {
        self.header("Connection").inspect(|option| assert_eq!(*option, "close")).is_some()
    }

    /// What holds of every answer.
    fn judge(&self) {
        let sent = self.header("Date").map(httpdate::parse_http_date);
        assert_eq!(sent.and_then(Result::ok), Some(date()), "Date");
        for (name, value) in [
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Frame-Options", "DENY"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ] {
            assert_eq!(self.header(name), Some(value), "{name}");
        }
        let policy = self.header("Content-Security-Policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "policy");
        for name in ["Server", "Transfer-Encoding", "Access-Control-Allow-Origin"] {
            assert_eq!(self.header(name), None, "{name}");
        }
        self.judge_length();
        match self.status {
            304 => assert!(self.header("ETag").is_some(), "304 without ETag"),
            405 => assert!(self.header("Allow").is_some(), "405 without Allow"),
            415 => assert!(self.header("Accept-Post").is_some(), "415 without Accept-Post"),
            _ => {}
        }
    }

    fn judge_length(&self) {
        let length = self.header("Content-Length").map(|length| length.parse().expect("a number"));
        match (length, self.status) {
            (None, 204 | 304) => {}
            (Some(length), status) if !matches!(status, 204 | 304) => {
                let sent = if self.is_bodiless { 0 } else { length };
                assert_eq!(self.body.len(), sent, "Content-Length is {length}");
            }
            (length, status) => panic!("Content-Length {length:?} with {status}"),
        }
    }
}

/// `status-line = HTTP-version SP status-code SP [ reason-phrase ]`
fn status_line(line: &str) -> u16 {
    let (status, phrase) = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.split_once(' '))
        .unwrap_or_else(|| panic!("status line {line:?}"));
    assert!(status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit()), "{line:?}");
    assert!(!phrase.is_empty() && phrase.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line:?}");
    let status = status.parse().expect("three digits");
    assert!((200..600).contains(&status), "{status} is not final");
    status
}

fn field_line(line: &str) -> (&str, &str) {
    let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("field line {line:?}"));
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let is_value = !value.is_empty() && value == value.trim() && !value.contains(char::is_control);
    assert!(is_name && is_value, "field line {line:?}");
    (name, value)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: camera\r\n\r\n";

    fn record(bytes: &[u8]) -> Record {
        Script { is_deaf: false, is_silent: false, cuts: &[], bytes }.play(&[], Pace::Fast)
    }

    /// Whether the laws are broken once `change` has been made to what happened.
    fn breaks(bytes: &[u8], change: impl FnOnce(&mut Record)) -> bool {
        let mut record = record(bytes);
        change(&mut record);
        let script = Script { is_deaf: false, is_silent: false, cuts: &[], bytes };
        let judge = std::panic::AssertUnwindSafe(|| script.judge(&record, &mut Outcomes::new()));
        std::panic::catch_unwind(judge).is_err()
    }

    fn replace(record: &mut Record, from: &str, to: &str) {
        for event in &mut record.story {
            if let Event::Send(bytes) = event {
                let text = String::from_utf8_lossy(bytes);
                assert!(text.contains(from), "{from:?} is not in {text:?}");
                *bytes = Cow::Owned(text.replacen(from, to, 1).into_bytes());
            }
        }
    }

    #[test]
    fn http_laws_hold_of_an_honest_exchange() {
        assert!(!breaks(GET, |_| {}));
        assert!(!breaks(b"GET / HTTP/1.1\r\n\r\n", |_| {}));
    }

    #[test]
    fn http_laws_are_broken_by_answers_that_are_not_strict() {
        let changes = [
            ("Date: ", "Date : "),
            ("Date: Sun", "Date: Mon, "),
            ("X-Frame-Options: DENY\r\n", ""),
            ("default-src 'none'", "default-src 'unsafe-inline'"),
            ("nosniff\r\n", "nosniff\n"),
            ("HTTP/1.1 200", "HTTP/1.1 20"),
            ("\r\n\r\n", "\r\n\r\n "),
            ("ETag", "Server"),
        ];
        for (from, to) in changes {
            assert!(breaks(GET, |record| replace(record, from, to)), "{from:?} to {to:?}");
        }
    }

    #[test]
    fn http_laws_are_broken_by_events_out_of_order() {
        assert!(breaks(GET, |record| record.story.truncate(1)));
        assert!(breaks(GET, |record| record.story.swap(0, 1)));
        assert!(breaks(GET, |record| {
            record.story.remove(1);
        }));
        assert!(breaks(GET, |record| record.story.push(Event::Close)));
        assert!(breaks(GET, |record| record.story.insert(2, Event::Finish)));
        assert!(breaks(GET, |record| record.admissions.clear()));
        assert!(breaks(b"GET / HTTP/1.1\r\n\r\n", |record| {
            replace(record, "Connection: close\r\n", "");
        }));
        assert!(breaks(b"GET / HTTP/1.1\r\n\r\n", |record| {
            replace(record, "host-missing", "host-malformed");
        }));
    }
}
