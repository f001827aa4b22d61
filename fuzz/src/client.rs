//! The bytes of one response, in one piece, in several and byte by byte: the outcome must be the
//! same, within the limits, and what a second reader finds. A Location in it must lead to a URL that
//! the server's side takes.
//!
//! The first byte of the input says how the peer behaves, so that a readable seed starts with NUL and
//! continues with the response:
//!
//! - Its low six bits are the number of cut bytes that follow. A cut byte `c` stands for a piece of
//!   `c + 1` bytes; the bytes after the last cut are one piece.
//! - With [`NO_CLOSE`], the peer does not close after the last byte, and time runs out.
//!
//! If there are cuts, there is one more run, in which time passes before each piece. It may end too
//! late, and ends otherwise in the same way.

use std::sync::LazyLock;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ballcast::testing::http::client::{
    ClientRequest, ClientResponse, Exchange, ExchangeError, RESPONSE_BODY_TIME, RESPONSE_HEAD_TIME,
    ResponseHead,
};
use ballcast::testing::http::{
    BODY_MAX_BYTES, Context, HttpConnection, HttpEvent, Method, TARGET_MAX_BYTES, Url, Verdict,
};

use crate::Outcomes;

pub const NO_CLOSE: u8 = 0x40;

const CUTS_MASK: u8 = 0x3f;

/// The pause for each unit of a cut byte: long enough that every timeout of an exchange can expire.
const PAUSE_UNIT: Duration = Duration::from_millis(60);

/// The time at which every run starts. Only differences matter.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What the request was for.
static BASE: LazyLock<Url> =
    LazyLock::new(|| Url::parse("http://camera:8889/live/whip?a=1").expect("a URL"));

pub fn run(data: &[u8]) -> Outcomes {
    let Some((&first, rest)) = data.split_first() else { return Outcomes::new() };
    let (cuts, bytes) = rest.split_at(rest.len().min(usize::from(first & CUTS_MASK)));
    let closes = first & NO_CLOSE == 0;
    let whole = play(&[], bytes, closes, Duration::ZERO);
    let bytewise = play(&vec![0; bytes.len()], bytes, closes, Duration::ZERO);
    assert_eq!(whole, bytewise, "byte by byte");
    let mut outcomes = Outcomes::new();
    check(&whole, bytes, &mut outcomes);
    if !cuts.is_empty() {
        assert_eq!(play(cuts, bytes, closes, Duration::ZERO), whole, "cut");
        let slow = play(cuts, bytes, closes, PAUSE_UNIT);
        let is_late =
            matches!(slow.outcome, Err(ExchangeError::HeadLate | ExchangeError::BodyLate));
        assert!(is_late || slow == whole, "{slow:?} instead of {whole:?}");
        check(&slow, bytes, &mut outcomes);
    }
    outcomes
}

/// What a caller sees of an exchange that is over.
#[derive(Debug, PartialEq)]
struct Record {
    head: Option<ResponseHead>,
    outcome: Result<ClientResponse, ExchangeError>,
}

fn play(cuts: &[u8], bytes: &[u8], closes: bool, pause_unit: Duration) -> Record {
    let mut now = *START;
    let mut exchange = Exchange::new(now);
    let mut rest = bytes;
    let pieces = cuts.iter().map(|&cut| (usize::from(cut) + 1, pause_unit * u32::from(cut)));
    for (length, pause) in pieces.chain([(bytes.len(), Duration::ZERO)]) {
        advance(&mut exchange, &mut now, pause);
        let (piece, after) = rest.split_at(rest.len().min(length));
        exchange.receive(now, piece);
        rest = after;
    }
    if closes {
        exchange.closed();
    }
    advance(&mut exchange, &mut now, RESPONSE_HEAD_TIME + RESPONSE_BODY_TIME);
    assert_eq!(exchange.poll_timeout(), None, "an exchange without an end");
    let outcome = exchange.take_outcome().expect("an outcome");
    let head = exchange.head().cloned();
    exchange.receive(now, bytes);
    exchange.closed();
    exchange.handle_timeout(now);
    assert_eq!((exchange.take_outcome(), exchange.head()), (None, head.as_ref()), "after the end");
    Record { head, outcome }
}

/// Advances the time as the driver would, handling each timeout when it is due.
fn advance(exchange: &mut Exchange, now: &mut Instant, time: Duration) {
    let until = *now + time;
    while let Some(at) = exchange.poll_timeout().filter(|&at| at <= until) {
        assert!(at > *now, "a deadline that is not in the future");
        *now = at;
        exchange.handle_timeout(at);
    }
    *now = until;
}

fn check(record: &Record, bytes: &[u8], outcomes: &mut Outcomes) {
    if let Some(head) = &record.head {
        assert!((200..600).contains(&head.status), "status {}", head.status);
        check_location(head, outcomes);
    }
    match &record.outcome {
        Ok(response) => {
            assert_eq!(record.head.as_ref(), Some(&response.head));
            assert!(response.body.len() <= BODY_MAX_BYTES, "a body of {}", response.body.len());
            check_response(response, bytes, outcomes);
        }
        Err(error) => {
            let clause = error.to_string();
            assert!(!clause.is_empty() && !clause.ends_with('.'), "a clause");
            outcomes.insert(format!("refused {error:?}"));
        }
    }
}

// -------------------------------------------------------------------------------------------------
// A second reader of responses that were taken, which relies on it that they are well-formed.

fn check_response(response: &ClientResponse, bytes: &[u8], outcomes: &mut Outcomes) {
    let (mut head, mut rest) = split_after(bytes, b"\r\n\r\n");
    while head[9] == b'1' {
        outcomes.insert("interim".to_owned());
        (head, rest) = split_after(rest, b"\r\n\r\n");
    }
    let status = str::from_utf8(&head[9..12]).expect("three digits");
    assert_eq!(status.parse(), Ok(response.head.status));
    let has = |name: &str| {
        let mut lines = head.split(|&byte| byte == b'\n').skip(1);
        lines.any(|line| {
            let (found, _) = line.split_at(line.iter().position(|&b| b == b':').unwrap_or(0));
            found.eq_ignore_ascii_case(name.as_bytes())
        })
    };
    assert!(!has("transfer-encoding") || !has("content-length") || has_no_body(response));
    let (name, body) = if has_no_body(response) {
        ("no body", Vec::new())
    } else if has("transfer-encoding") {
        ("chunked", unchunked(rest))
    } else if let Some(length) = response.head.header("content-length") {
        ("length", rest[..length.parse().expect("a number")].to_vec())
    } else {
        ("at close", rest.to_vec())
    };
    assert!(response.body == body, "{name}: {:?} is not {body:?}", response.body);
    outcomes.insert(name.to_owned());
}

fn has_no_body(response: &ClientResponse) -> bool {
    matches!(response.head.status, 204 | 304)
}

/// The data of chunks up to the last one.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let (line, after) = split_after(rest, b"\r\n");
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let digits = str::from_utf8(&line[..digits]).expect("digits");
        let size = usize::from_str_radix(digits, 16).expect("a size");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&after[..size]);
        rest = after[size..].strip_prefix(b"\r\n").expect("the end of a chunk");
    }
}

fn split_after<'a>(bytes: &'a [u8], end: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = bytes.windows(end.len()).position(|window| window == end).expect("an end");
    bytes.split_at(at + end.len())
}

// -------------------------------------------------------------------------------------------------
// Where a Location leads.

fn check_location(head: &ResponseHead, outcomes: &mut Outcomes) {
    let Some(location) = head.header("location") else { return };
    let url = match BASE.join(location) {
        Ok(url) => url,
        Err(error) => {
            outcomes.insert(format!("location {error:?}"));
            return;
        }
    };
    outcomes.insert("location".to_owned());
    let text = url.to_string();
    assert!(text.len() <= TARGET_MAX_BYTES, "{} bytes", text.len());
    assert_eq!(Url::parse(&text).as_ref(), Ok(&url), "displayed and parsed");
    assert_eq!(BASE.join(&text).as_ref(), Ok(&url), "joined once more");
    assert_eq!(url.join("").as_ref(), Ok(&url), "joined with nothing");
    let path = url.target.split('?').next().unwrap_or_default();
    assert!(path.split('/').all(|segment| !matches!(segment, "." | "..")), "{path}");
    check_request(&url);
}

/// The server's side reads a request to `url` as one to `url`.
fn check_request(url: &Url) {
    let now = *START;
    let mut connection = HttpConnection::new(now);
    let request =
        ClientRequest { method: Method::Delete, url, headers: &[("If-Match", "*")], body: b"" };
    connection.receive(&request.to_bytes());
    let context = Context { now, date: UNIX_EPOCH, common_headers: &[] };
    if let Some(HttpEvent::Head(head)) = connection.poll(&context) {
        connection.judge(head, Verdict::Accept, now);
    }
    let Some(HttpEvent::Request(request)) = connection.poll(&context) else {
        panic!("the server's side refuses a request to {url}");
    };
    let head = &request.head;
    assert_eq!((head.method, &head.host), (Method::Delete, &url.authority));
    let query = head.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    assert_eq!(format!("{}{query}", head.path), url.target);
    assert_eq!((head.header("if-match"), request.body.len()), (Some("*"), 0));
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &[u8] =
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nLocation: ../a\r\n\r\n2\r\nab\r\n0\r\n\r\n";

    fn is_violated(bytes: &[u8], change: impl FnOnce(&mut ClientResponse)) -> bool {
        let mut record = play(&[], bytes, true, Duration::ZERO);
        if let Ok(response) = &mut record.outcome {
            change(response);
        }
        let check = std::panic::AssertUnwindSafe(|| check(&record, bytes, &mut Outcomes::new()));
        std::panic::catch_unwind(check).is_err()
    }

    #[test]
    fn client_properties_hold_however_a_response_is_cut() {
        for first in [0, NO_CLOSE] {
            for cuts in [vec![], vec![40, 3, 9], vec![0; 5]] {
                let head = [&[first | cuts.len() as u8][..], &cuts].concat();
                let outcomes = run(&[&head[..], CHUNKED].concat());
                assert_eq!(outcomes, Outcomes::from(["chunked".into(), "location".into()]));
            }
        }
        let outcomes = run(&[&[1, 250][..], CHUNKED].concat());
        assert!(outcomes.contains("refused HeadLate"), "{outcomes:?}");
    }

    #[test]
    fn client_properties_are_violated_by_another_response() {
        assert!(!is_violated(CHUNKED, |_| {}));
        assert!(is_violated(CHUNKED, |response| response.head.status = 200));
        assert!(is_violated(CHUNKED, |response| response.body.clear()));
        assert!(is_violated(CHUNKED, |response| response.body.push(b'\r')));
    }
}
