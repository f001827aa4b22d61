//! The bytes of one connection, in one piece, in several and byte by byte, with the real admission
//! and real responses: the events must be the same, and a strict client must accept each response.
//!
//! The first byte of the input says how the peer behaves, so that a readable seed starts with NUL
//! and continues with the bytes that are sent:
//!
//! - Its low six bits are the number of cut bytes that follow. A cut byte `c` stands for a piece of
//!   `c + 1` bytes; the bytes after the last cut are one piece.
//! - With [`READS_LATE`], the peer reads no response before it has sent everything.
//! - With [`NO_HALF_CLOSE`], the peer does not half-close after the last byte, but waits until the
//!   server closes. With both, it never reads a response.
//!
//! If there are cuts, there is one more run, in which time passes before each piece. Its events
//! differ, but must have the same properties.

use std::iter::Peekable;
use std::net::{IpAddr, Ipv4Addr};
use std::slice;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ballcast::testing::http::{
    Authority, BLANK_LINES_MAX, BODY_MAX_BYTES, Context, DISCARD_MAX_BYTES, HEADERS_MAX_BYTES,
    Head, HttpConnection, HttpError, HttpEvent, INPUT_MAX_BYTES, Method, REQUEST_LINE_MAX_BYTES,
    Request, Response, Verdict,
};
use ballcast::testing::media::SnapshotError;
use ballcast::testing::web::access::AccessPolicy;
use ballcast::testing::web::assets;
use ballcast::testing::web::auth::TokenVerdict;
use ballcast::testing::web::endpoints::{self, Route};
use ballcast::testing::web::headers::COMMON_HEADERS;
use ballcast::testing::web::reason::Reason;
use ballcast::testing::web::refusal::Refusal;
use ballcast::testing::web::{cors, guards, health, malformed, snapshot, whep};
use serde_json::Value;

use crate::Outcomes;

pub const READS_LATE: u8 = 0x40;
pub const NO_HALF_CLOSE: u8 = 0x80;

/// More than the longest request, and less than [`INPUT_MAX_BYTES`], so that the size of the pieces
/// has no influence on whether the input overflows.
const BYTES_MAX: usize = 104 * 1024;
const _: () = assert!(BYTES_MAX < INPUT_MAX_BYTES);

/// A head and what may precede it, including line ends.
const HEAD_MAX_BYTES: usize =
    DISCARD_MAX_BYTES + 2 * BLANK_LINES_MAX + REQUEST_LINE_MAX_BYTES + HEADERS_MAX_BYTES + 8;

/// The pause for each unit of a cut byte: long enough that every timeout of a connection can
/// expire.
const PAUSE_UNIT: Duration = Duration::from_millis(60);

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The time at which every run starts. Only differences matter.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

pub fn run(data: &[u8]) -> Outcomes {
    let Some(script) = Script::parse(data) else {
        return Outcomes::new();
    };
    let whole = script.play(&[], Pace::Fast);
    let bytewise = script.play(&vec![0; script.bytes.len()], Pace::Fast);
    check_same_events(&whole, &bytewise);
    let mut outcomes = Outcomes::new();
    script.check(&whole, &mut outcomes);
    if bytewise.continues > 0 {
        outcomes.insert("continue".to_owned());
    }
    if !script.cuts.is_empty() {
        check_same_events(&script.play(script.cuts, Pace::Fast), &bytewise);
        script.check(&script.play(script.cuts, Pace::Slow), &mut outcomes);
    }
    outcomes
}

struct Script<'a> {
    reads_late: bool,
    no_half_close: bool,
    cuts: &'a [u8],
    bytes: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Fast,
    /// The pause before a piece grows with its size.
    Slow,
}

impl<'a> Script<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        let (&first, rest) = data.split_first()?;
        let cuts = usize::from(first & !(READS_LATE | NO_HALF_CLOSE)).min(rest.len());
        let (cuts, bytes) = rest.split_at(cuts);
        let bytes = &bytes[..bytes.len().min(BYTES_MAX)];
        Some(Self {
            reads_late: first & READS_LATE != 0,
            no_half_close: first & NO_HALF_CLOSE != 0,
            cuts,
            bytes,
        })
    }

    fn play(&self, cuts: &[u8], pace: Pace) -> Record {
        let mut peer = Peer::new(!self.reads_late);
        let mut rest = self.bytes;
        for &cut in cuts {
            if pace == Pace::Slow {
                peer.advance(PAUSE_UNIT * u32::from(cut));
            }
            let (piece, after) = rest.split_at(rest.len().min(usize::from(cut) + 1));
            peer.send(piece);
            rest = after;
        }
        peer.send(rest);
        peer.answer_late();
        if !self.no_half_close {
            peer.half_close();
        }
        if self.reads_late && !self.no_half_close {
            peer.take_answers();
        }
        peer.advance_to_end();
        peer.record
    }

    fn check(&self, record: &Record, outcomes: &mut Outcomes) {
        for admission in &record.admissions {
            check_head(&admission.head, self.bytes);
        }
        let mut checker = AnswerChecker {
            events: record.events.iter().peekable(),
            admissions: record.admissions.iter(),
            bytes: self.bytes,
            outcomes,
        };
        checker.check_all();
    }
}

/// The pieces in which the bytes arrive influence only whether `100 Continue` is sent.
fn check_same_events(pieces: &Record, bytewise: &Record) {
    assert_eq!(pieces.events, bytewise.events, "the pieces change the events");
    assert_eq!(pieces.admissions, bytewise.admissions, "the pieces change what is admitted");
    assert!(pieces.continues <= bytewise.continues, "100 Continue in large pieces only");
}

// -------------------------------------------------------------------------------------------------
// The peer, its server and the clock.

/// The events of a connection.
#[derive(Default)]
struct Record {
    /// All events but `100 Continue`, with the `Send`s of a response joined: the client cannot
    /// see where they are cut.
    events: Vec<HttpEvent>,
    admissions: Vec<Admission>,
    continues: usize,
}

/// A head that was offered for admission, and the refusal of its request with its response.
#[derive(Debug, PartialEq, Eq)]
struct Admission {
    head: Head,
    refusal: Option<(Reason, Response)>,
}

struct Peer {
    connection: HttpConnection,
    now: Instant,
    takes_answers: bool,
    /// Whether late answers come at once, and one that is still to come.
    answers_late: bool,
    late: Option<Response>,
    sent: usize,
    /// Bytes sent since the last event or admission.
    unanswered: usize,
    /// The next `Send` continues the last one: no head has come since.
    continues_send: bool,
    record: Record,
}

impl Peer {
    fn new(takes_answers: bool) -> Self {
        let now = *START;
        let connection = HttpConnection::new(now);
        Self {
            connection,
            now,
            takes_answers,
            answers_late: true,
            late: None,
            sent: 0,
            unanswered: 0,
            continues_send: false,
            record: Record::default(),
        }
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
        let waits = self.connection.awaits_response();
        let is_held_back = waits || !self.takes_answers || self.record.has_ended();
        assert!(is_bounded || is_held_back, "{} bytes without an event", self.unanswered);
    }

    /// What was answered late until now, and everything from now on, is answered.
    fn answer_late(&mut self) {
        self.answers_late = false;
        if let Some(late) = self.late.take()
            && self.connection.awaits_response()
        {
            self.connection.respond(late);
            self.drain();
        }
    }

    fn half_close(&mut self) {
        self.connection.half_closed();
        self.drain();
    }

    /// Reads what was sent so far and, from now on, everything.
    fn take_answers(&mut self) {
        self.takes_answers = true;
        self.connection.flushed(self.now);
        self.drain();
    }

    /// Advances the time as the driver would, handling each timeout when it is due.
    fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        while self.connection.poll_timeout().is_some_and(|at| at <= until) {
            self.fire();
        }
        self.now = until;
    }

    fn advance_to_end(&mut self) {
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
            Some(at) => assert!(at > self.now, "a deadline that is not in the future"),
            None => assert_eq!(
                self.record.events.last(),
                Some(&HttpEvent::Close),
                "open without a deadline"
            ),
        }
    }

    fn poll(&mut self) -> Option<HttpEvent> {
        let context = Context { now: self.now, date: date(), common_headers: COMMON_HEADERS };
        loop {
            match self.connection.poll(&context)? {
                HttpEvent::Head(head) => {
                    let refusal = refusal_of(&head);
                    let admission = Admission { head: head.clone(), refusal: refusal.clone() };
                    self.record.admissions.push(admission);
                    self.continues_send = false;
                    let refusal = refusal.map(|(_, response)| Verdict::Reject(response));
                    let verdict = refusal.unwrap_or(Verdict::Accept);
                    self.connection.judge(head, verdict, self.now);
                }
                event => return Some(event),
            }
        }
    }

    fn take(&mut self, event: HttpEvent) {
        let events = &mut self.record.events;
        assert_ne!(events.last(), Some(&HttpEvent::Close), "{event:?} after Close");
        assert!(events.len() < self.sent + 8, "endless events");
        match (events.last_mut(), event) {
            (_, HttpEvent::Send(bytes)) if *bytes == *CONTINUE => self.record.continues += 1,
            (Some(HttpEvent::Send(sent)), HttpEvent::Send(more)) if self.continues_send => {
                *sent = [&sent[..], &more].concat().into()
            }
            (_, event) => {
                if let HttpEvent::Request(request) = &event {
                    let (_, response) = answer(request);
                    if self.answers_late && is_late(request) {
                        self.late = Some(response);
                    } else {
                        self.connection.respond(response);
                    }
                }
                if let HttpEvent::Error(error) = event
                    && let Some(refusal) = malformed::refusal(error)
                {
                    self.connection.respond(refusal.into_response(false));
                }
                self.continues_send = true;
                events.push(event);
            }
        }
    }
}

impl Record {
    fn progress(&self) -> (usize, usize) {
        (self.events.len(), self.admissions.len())
    }

    /// The length of the body that the last admitted request announced.
    fn body_due(&self) -> usize {
        self.admissions.last().map_or(0, |admission| admission.head.content_length)
    }

    fn has_ended(&self) -> bool {
        self.events.iter().rev().take(3).any(|e| matches!(e, HttpEvent::Finish | HttpEvent::Close))
    }
}

/// A whole second, as in the Date header.
fn date() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(784_111_777)
}

static PAGE: LazyLock<assets::Page> = LazyLock::new(|| assets::Page::new(Some("Porch")));
static ACCESS: LazyLock<AccessPolicy> = LazyLock::new(|| AccessPolicy {
    names: vec!["camera".to_owned()],
    addresses: vec![ADDRESS],
    ..AccessPolicy::default()
});

fn refusal_of(head: &Head) -> Option<(Reason, Response)> {
    let visitor = ACCESS.visitor(ADDRESS, head);
    let endpoint = endpoints::find(head);
    let checked = guards::check(head, endpoint, &visitor, &ACCESS);
    let admitted =
        checked.and_then(|(endpoint, _)| guards::admit(head, endpoint, TokenVerdict::NotNeeded));
    admitted.err().map(|refusal| {
        let reason = refusal.reason;
        let mut response = refusal.into_response(false);
        response.headers.extend(cors::headers(head, endpoint, &visitor, &ACCESS));
        (reason, response)
    })
}

fn route(request: &Request) -> Route {
    endpoints::find(&request.head).expect("admitted, so there is an endpoint").route
}

/// Pictures are answered when the peer has sent everything.
fn is_late(request: &Request) -> bool {
    matches!(route(request), Route::Snapshot | Route::MotionJpeg)
}

/// The response, and why it is a refusal, if it is one.
fn answer(request: &Request) -> (Option<Reason>, Response) {
    let head = &request.head;
    let visitor = ACCESS.visitor(ADDRESS, head);
    let refused = |refusal: Refusal| (Some(refusal.reason), refusal.into_response(false));
    let response = match route(request) {
        Route::Page => PAGE.respond(head, &visitor, &ACCESS),
        Route::Asset(asset) => asset.respond(head, &visitor, &ACCESS),
        Route::Server => endpoints::find(head).expect("an endpoint").options(),
        Route::Stats | Route::Metrics => Response::new(204),
        Route::Health => health::answer(None),
        Route::Snapshot => snapshot::picture((&b"JPEG"[..]).into(), UNIX_EPOCH),
        Route::MotionJpeg => {
            return refused(snapshot::refusal(SnapshotError::NoPictures, Duration::ZERO));
        }
        Route::Whep | Route::WhepSession => whep::presence(),
        Route::Offer if request.body.is_empty() => {
            return refused(Refusal::new(400, Reason::OfferMalformed, "Say more."));
        }
        Route::Offer => {
            Response::new(200).with_body("text/plain", request.body.len().to_string().into_bytes())
        }
    };
    (None, response)
}

// -------------------------------------------------------------------------------------------------
// The properties of requests.

fn check_head(head: &Head, bytes: &[u8]) {
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

/// Every part of the input that may be a field name.
fn names(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let lines = bytes.split(|&byte| byte == b'\n').take(80);
    lines.filter_map(|line| std::str::from_utf8(line.split(|&byte| byte == b':').next()?).ok())
}

// -------------------------------------------------------------------------------------------------
// The properties of responses: one for each request or refusal, in order, until the connection
// ends.

struct AnswerChecker<'a> {
    events: Peekable<slice::Iter<'a, HttpEvent>>,
    admissions: slice::Iter<'a, Admission>,
    bytes: &'a [u8],
    outcomes: &'a mut Outcomes,
}

impl<'a> AnswerChecker<'a> {
    fn check_all(&mut self) {
        let mut answers = 0;
        loop {
            let closes = match *self.events.peek().expect("a connection ends with Close") {
                HttpEvent::Request(request) => {
                    self.events.next();
                    self.request(request)
                }
                HttpEvent::Error(error) => {
                    self.events.next();
                    if error.status().is_none() {
                        return self.closed_unanswered(*error);
                    }
                    self.malformed(*error)
                }
                HttpEvent::Send(_) => self.rejected(),
                HttpEvent::Head(_) => panic!("a head that was not judged"),
                HttpEvent::Finish => {
                    self.events.next();
                    return self.finish();
                }
                HttpEvent::Close => {
                    self.events.next();
                    return self.close();
                }
            };
            answers += 1;
            if answers > 1 {
                self.note("pipelined");
            }
            if closes {
                assert_eq!(
                    self.events.next(),
                    Some(&HttpEvent::Finish),
                    "Connection: close, and it stays open"
                );
                return self.finish();
            }
            self.note("kept");
        }
    }

    /// Returns whether the connection ends here, as do the next functions.
    fn request(&mut self, request: &Request) -> bool {
        let admission = self.admissions.next().expect("a request that was admitted");
        assert_eq!(admission.head, request.head, "another request than the one admitted");
        assert_eq!(admission.refusal, None, "a request that was not admitted");
        assert_eq!(request.body.len(), request.head.content_length, "length of the body");
        self.note(&format!("request {}", request.head.method.as_str()));
        if is_late(request)
            && self
                .events
                .next_if(|event| **event == HttpEvent::Error(HttpError::NotReady))
                .is_some()
        {
            self.note("refused not-ready");
            let reply = self.reply(|_| request.head.method == Method::Head);
            check_problem(&reply, Reason::Http(HttpError::NotReady));
            return reply.closes();
        }
        let (reason, answer) = answer(request);
        if is_late(request) {
            self.note("late");
        }
        self.answer(reason, &answer, &request.head)
    }

    /// The response to a request that was not admitted.
    fn rejected(&mut self) -> bool {
        match self.admissions.next() {
            Some(Admission { head, refusal: Some((reason, answer)) }) => {
                self.answer(Some(*reason), answer, head)
            }
            admission => panic!("a response to {admission:?}"),
        }
    }

    /// The response to a malformed head, or to an admitted request with an incomplete body.
    fn malformed(&mut self, error: HttpError) -> bool {
        self.note(&format!("refused {}", error.name()));
        let method = self.admissions.next().map(|admission| admission.head.method);
        let bytes = self.bytes;
        let reply = self.reply(|body| match method {
            Some(method) => method == Method::Head,
            None => body.is_empty() && mentions_head(bytes),
        });
        assert_eq!(self.admissions.next(), None, "parsed after {error:?}");
        assert!(reply.closes(), "kept open after {error:?}");
        check_problem(&reply, Reason::Http(error));
        true
    }

    fn answer(&mut self, reason: Option<Reason>, answer: &Response, head: &Head) -> bool {
        let reply = self.reply(|_| head.method == Method::Head);
        assert_eq!(reply.status, answer.status);
        for (name, value) in &answer.headers {
            assert_eq!(reply.header(name), Some(value.as_ref()), "{name}");
        }
        match reply.is_bodiless {
            true => assert!(reply.body.is_empty(), "a body where none is allowed"),
            false => assert_eq!(reply.body, answer.body.as_ref(), "another body"),
        }
        if let Some(reason) = reason {
            self.note(&format!("refused {reason}"));
            check_problem(&reply, reason);
        }
        assert!(reply.closes() || !says_close(head), "kept open though the client closes");
        reply.closes()
    }

    fn reply(&mut self, is_to_head: impl Fn(&[u8]) -> bool) -> Reply<'a> {
        let Some(HttpEvent::Send(bytes)) = self.events.next() else {
            panic!("no answer");
        };
        let reply = Reply::parse(bytes, is_to_head);
        reply.check();
        self.note(&format!("status {}", reply.status));
        reply
    }

    /// The end of the responses: nothing more is sent.
    fn finish(&mut self) {
        assert_eq!(self.admissions.next(), None, "admitted and not answered");
        self.note("finish");
        match self.events.next() {
            Some(HttpEvent::Error(error @ HttpError::AnswerLate)) => self.closed_unanswered(*error),
            Some(HttpEvent::Close) => self.close(),
            event => panic!("{event:?} after Finish"),
        }
    }

    fn closed_unanswered(&mut self, error: HttpError) {
        self.note(&format!("refused {}", error.name()));
        let is_finish = |event: &&HttpEvent| **event == HttpEvent::Finish;
        assert_eq!(self.events.next_if(is_finish).is_some(), error == HttpError::InputOverflow);
        assert_eq!(self.events.next(), Some(&HttpEvent::Close), "after {error:?}");
        assert_eq!(self.events.next(), None, "after Close");
    }

    fn close(&mut self) {
        assert_eq!(self.events.next(), None, "after Close");
        assert_eq!(self.admissions.next(), None, "admitted and not answered");
        self.note("close");
    }

    fn note(&mut self, outcome: &str) {
        if !self.outcomes.contains(outcome) {
            self.outcomes.insert(outcome.to_owned());
        }
    }
}

/// A refusal of a HEAD request has no body, and a refusal of a malformed head does not tell its
/// method.
fn mentions_head(bytes: &[u8]) -> bool {
    bytes.windows(5).any(|word| word == b"HEAD ")
}

fn says_close(head: &Head) -> bool {
    let options = head.header("connection").unwrap_or_default();
    options.split(',').any(|option| option.trim_matches([' ', '\t']).eq_ignore_ascii_case("close"))
}

/// RFC 9457.
fn check_problem(reply: &Reply, reason: Reason) {
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
    /// A response to HEAD, a 204 or a 304.
    is_bodiless: bool,
}

impl<'a> Reply<'a> {
    /// All responses are text. `is_to_head` is given what follows the head.
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

    /// Checks what must hold for every response.
    fn check(&self) {
        let sent = self.header("Date").map(httpdate::parse_http_date);
        assert_eq!(sent.and_then(Result::ok), Some(date()), "Date");
        for (name, value) in
            [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")]
        {
            assert_eq!(self.header(name), Some(value), "{name}");
        }
        // Pictures, and refusals of them, are for pages on other ports, too.
        // Their answers say that they depend on the page that asks.
        let resource_policy = self.header("Cross-Origin-Resource-Policy");
        let is_picture = resource_policy == Some("same-site") && self.header("Vary").is_some();
        assert!(is_picture || resource_policy == Some("same-origin"), "{resource_policy:?}");
        let policy = self.header("Content-Security-Policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "policy");
        for name in ["Server", "Transfer-Encoding"] {
            assert_eq!(self.header(name), None, "{name}");
        }
        // Pages of this host alone, on whatever port.
        if let Some(origin) = self.header("Access-Control-Allow-Origin") {
            let authority = origin.split_once("://").and_then(|(_, rest)| Authority::parse(rest));
            let name = authority.expect("an origin").name;
            let is_address = |address: IpAddr| address == ADDRESS || address.is_loopback();
            let is_own = ["camera", "localhost"].contains(&name.trim_end_matches('.'))
                || name.parse().is_ok_and(is_address);
            assert!(is_own, "{origin} may read the answer");
        }
        self.check_length();
        match self.status {
            304 => assert!(self.header("ETag").is_some(), "304 without ETag"),
            405 => assert!(self.header("Allow").is_some(), "405 without Allow"),
            415 => assert!(self.header("Accept-Post").is_some(), "415 without Accept-Post"),
            _ => {}
        }
    }

    fn check_length(&self) {
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
    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: camera\r\n\r\n";

    fn record(bytes: &[u8]) -> Record {
        Script { reads_late: false, no_half_close: false, cuts: &[], bytes }.play(&[], Pace::Fast)
    }

    /// Whether a property is violated once `change` has been made to the record.
    fn is_violated(bytes: &[u8], change: impl FnOnce(&mut Record)) -> bool {
        let mut record = record(bytes);
        change(&mut record);
        let script = Script { reads_late: false, no_half_close: false, cuts: &[], bytes };
        let check = std::panic::AssertUnwindSafe(|| script.check(&record, &mut Outcomes::new()));
        std::panic::catch_unwind(check).is_err()
    }

    fn replace(record: &mut Record, from: &str, to: &str) {
        for event in &mut record.events {
            if let HttpEvent::Send(bytes) = event {
                let text = String::from_utf8_lossy(bytes);
                assert!(text.contains(from), "{from:?} is not in {text:?}");
                *bytes = text.replacen(from, to, 1).into_bytes().into();
            }
        }
    }

    #[test]
    fn http_properties_hold_for_a_valid_exchange() {
        assert!(!is_violated(GET, |_| {}));
        assert!(!is_violated(b"GET / HTTP/1.1\r\n\r\n", |_| {}));
    }

    #[test]
    fn http_properties_hold_for_late_answers_however_they_are_cut() {
        let late = b"GET /snapshot.jpg HTTP/1.1\r\nHost: camera\r\n\r\n";
        let stream = b"HEAD /stream.mjpg HTTP/1.1\r\nHost: camera\r\n\r\n";
        let bytes = [&late[..], GET, stream, late, GET].concat();
        for first in [0, READS_LATE, NO_HALF_CLOSE, READS_LATE | NO_HALF_CLOSE] {
            for cuts in [vec![], vec![40, 3, 250], vec![59; 5]] {
                let head = [&[first | cuts.len() as u8][..], &cuts].concat();
                let outcomes = run(&[&head[..], &bytes].concat());
                // Whoever reads nothing has one answer only.
                let wanted = match first & READS_LATE {
                    0 => &["late", "pipelined", "status 200", "status 501", "kept"][..],
                    _ => &["late", "status 200", "kept"],
                };
                assert!(wanted.iter().all(|name| outcomes.contains(*name)), "{outcomes:?}");
            }
        }
        let outcomes = run(&[&[2, 58, 250][..], late, GET].concat());
        assert!(outcomes.contains("refused not-ready"), "{outcomes:?}");
    }

    #[test]
    fn http_properties_are_violated_by_answers_that_are_not_strict() {
        let changes = [
            ("Date: ", "Date : "),
            ("Date: Sun", "Date: Mon, "),
            ("Referrer-Policy: no-referrer\r\n", ""),
            ("default-src 'none'", "default-src 'unsafe-inline'"),
            ("nosniff\r\n", "nosniff\n"),
            ("HTTP/1.1 200", "HTTP/1.1 20"),
            ("\r\n\r\n", "\r\n\r\n "),
            ("ETag", "Server"),
        ];
        for (from, to) in changes {
            assert!(is_violated(GET, |record| replace(record, from, to)), "{from:?} to {to:?}");
        }
    }

    #[test]
    fn http_properties_are_violated_by_events_out_of_order() {
        assert!(is_violated(GET, |record| record.events.truncate(1)));
        assert!(is_violated(GET, |record| record.events.swap(0, 1)));
        assert!(is_violated(GET, |record| {
            record.events.remove(1);
        }));
        assert!(is_violated(GET, |record| record.events.push(HttpEvent::Close)));
        assert!(is_violated(GET, |record| record.events.insert(2, HttpEvent::Finish)));
        assert!(is_violated(GET, |record| record.admissions.clear()));
        assert!(is_violated(b"GET / HTTP/1.1\r\n\r\n", |record| {
            replace(record, "Connection: close\r\n", "");
        }));
        assert!(is_violated(b"GET / HTTP/1.1\r\n\r\n", |record| {
            replace(record, "host-missing", "host-malformed");
        }));
    }
}
