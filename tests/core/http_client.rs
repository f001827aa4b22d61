//! The client's side of the HTTP layer through its public API: URLs, the bytes of a request, and
//! responses in virtual time.
//!
//! Most tests are rows of tables of raw responses. Each row runs in one piece, split in two at every
//! point, and byte by byte, and all runs must have the same outcome.

mod urls;

use std::time::{Duration, Instant};

use ballcast::testing::http::client::{
    CHUNK_LINE_MAX_BYTES, ClientRequest, ClientResponse, Exchange, ExchangeError, INTERIM_MAX,
    RESPONSE_BODY_TIME, RESPONSE_HEAD_MAX_BYTES, RESPONSE_HEAD_TIME, ResponseHead,
};
use ballcast::testing::http::{
    BODY_MAX_BYTES, HEADERS_MAX, Method, TARGET_MAX_BYTES, Url, UrlError,
};

use crate::support::cuts;

const TICK: Duration = Duration::from_nanos(1);

fn url(text: &str) -> Url {
    Url::parse(text).unwrap_or_else(|error| panic!("{text} {error}"))
}

fn request(method: Method, headers: &[(&str, &str)], body: &[u8]) -> String {
    let url = url("http://camera:8889/live/whip?a=1");
    let bytes = ClientRequest { method, url: &url, headers, body }.to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_request_says_whom_it_is_for_and_that_it_is_the_only_one() {
    let version = env!("CARGO_PKG_VERSION");
    let headers = [("Content-Type", "application/sdp"), ("Authorization", "Bearer a")];
    assert_eq!(
        request(Method::Post, &headers, b"v=0\r\n"),
        format!(
            "POST /live/whip?a=1 HTTP/1.1\r\nHost: camera:8889\r\nUser-Agent: ballcast/{version}\r\n\
             Connection: close\r\nContent-Type: application/sdp\r\nAuthorization: Bearer a\r\n\
             Content-Length: 5\r\n\r\nv=0\r\n"
        )
    );
}

#[test]
fn a_request_has_a_length_where_a_body_is_expected() {
    let has_length = |method, body| request(method, &[], body).contains("\r\nContent-Length: ");
    for method in [Method::Post, Method::Put, Method::Patch] {
        assert!(has_length(method, b""), "{method:?}");
    }
    for method in [Method::Get, Method::Delete, Method::Options] {
        assert!(!has_length(method, b"") && has_length(method, b"x"), "{method:?}");
    }
}

#[test]
fn a_header_value_cannot_end_its_line() {
    let request = request(Method::Delete, &[("Authorization", "Bearer a\r\nX-Evil: 1")], b"");
    assert!(request.contains("\r\nAuthorization: Bearer a  X-Evil: 1\r\n"), "{request}");
}

type Outcome = Result<ClientResponse, ExchangeError>;

/// What a caller sees of an exchange that is over.
#[derive(Debug, PartialEq)]
struct Record {
    head: Option<ResponseHead>,
    outcome: Outcome,
    /// It was over before the connection ended.
    ended_itself: bool,
}

/// All that comes of `pieces`, after which the connection ends.
fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Record {
    let now = Instant::now();
    let mut exchange = Exchange::new(now);
    for piece in pieces {
        exchange.receive(now, piece);
    }
    let ended_itself = exchange.poll_timeout().is_none();
    exchange.closed();
    assert_eq!(exchange.poll_timeout(), None, "a deadline of what is over");
    let outcome = exchange.take_outcome().expect("an outcome");
    exchange.receive(now, b"HTTP/1.1 200 OK\r\n\r\n");
    exchange.closed();
    exchange.handle_timeout(now + RESPONSE_HEAD_TIME + RESPONSE_BODY_TIME);
    assert_eq!(exchange.take_outcome(), None, "an outcome after the first");
    Record { head: exchange.head().cloned(), outcome, ended_itself }
}

/// What comes of `raw`, however it is cut.
fn run_in_every_way(name: &str, raw: &[u8]) -> Record {
    cuts::run_in_every_way(name, raw, |pieces| run(pieces))
}

/// A response that ends before the connection does.
fn check_whole(name: &str, raw: impl AsRef<[u8]>, status: u16, body: impl AsRef<[u8]>) {
    let record = run_in_every_way(name, raw.as_ref());
    check_response(name, &record, status, body.as_ref());
    assert!(record.ended_itself, "{name}: ends itself");
}

/// A response that ends with the connection.
fn check_whole_at_close(name: &str, raw: impl AsRef<[u8]>, status: u16, body: impl AsRef<[u8]>) {
    let record = run_in_every_way(name, raw.as_ref());
    check_response(name, &record, status, body.as_ref());
    assert!(!record.ended_itself, "{name}: ends with the connection");
}

fn check_response(name: &str, record: &Record, status: u16, body: &[u8]) {
    let Ok(response) = &record.outcome else { panic!("{name}: {record:?}") };
    assert_eq!(response.head.status, status, "{name}");
    assert!(response.body == body, "{name}: {:?}", String::from_utf8_lossy(&response.body));
    assert_eq!(record.head.as_ref(), Some(&response.head), "{name}");
}

/// A head that is refused.
fn check_bad_head(name: &str, raw: impl AsRef<[u8]>, error: ExchangeError) {
    let record = run_in_every_way(name, raw.as_ref());
    assert_eq!((record.outcome, record.head), (Err(error), None), "{name}");
    assert_eq!(record.ended_itself, error != ExchangeError::Closed, "{name}");
}

/// A response whose body is refused, and whose head is not.
fn check_bad_body(name: &str, raw: impl AsRef<[u8]>, error: ExchangeError) {
    let record = run_in_every_way(name, raw.as_ref());
    assert_eq!(record.outcome, Err(error), "{name}");
    assert!(record.head.is_some_and(|head| head.status == 201), "{name}");
    assert_eq!(record.ended_itself, error != ExchangeError::Closed, "{name}");
}

/// A 201 with these header lines, each with its line end, and this body.
fn created(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 201 Created\r\nLocation: /whip/1\r\n{headers}\r\n{body}")
}

fn chunked(body: &str) -> String {
    created("Transfer-Encoding: chunked\r\n", body)
}

#[test]
fn responses_end_where_rfc_9112_section_6_3_says() {
    check_whole("a length", created("Content-Length: 5\r\n", "v=0\r\n"), 201, "v=0\r\n");
    check_whole("a length of 0", created("Content-Length: 0\r\n", ""), 201, "");
    check_whole("leading zeros", created("Content-Length: 0002\r\n", "ab"), 201, "ab");
    check_whole("what follows", created("Content-Length: 1\r\n", "abc"), 201, "a");
    check_whole("204", "HTTP/1.1 204 No Content\r\n\r\nabc", 204, "");
    check_whole("204 with a length", "HTTP/1.1 204 \r\nContent-Length: x\r\n\r\nabc", 204, "");
    check_whole("304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, "");
    check_whole_at_close("no length", created("", "abc"), 201, "abc");
    check_whole_at_close("no length, no body", created("", ""), 201, "");
    check_whole_at_close("HTTP/1.0", "HTTP/1.0 404 No\r\n\r\nabc", 404, "abc");
    check_whole("HTTP/1.0", "HTTP/1.0 404 No\r\nContent-Length: 1\r\n\r\na", 404, "a");
    check_bad_body("too little", created("Content-Length: 2\r\n", "a"), ExchangeError::Closed);
}

#[test]
fn chunks_are_joined() {
    check_whole(
        "chunks",
        chunked("3\r\nabc\r\n0a\r\n0123456789\r\n0\r\n\r\n"),
        201,
        "abc0123456789",
    );
    check_whole("no chunk", chunked("0\r\n\r\n"), 201, "");
    check_whole("many zeros", chunked("0001\r\na\r\n000\r\n\r\n"), 201, "a");
    check_whole("capitals", chunked("A\r\n0123456789\r\n0\r\n\r\n"), 201, "0123456789");
    check_whole("extensions", chunked("1;a=\"b\" ; c\r\na\r\n0 ;d\r\n\r\n"), 201, "a");
    check_whole("trailers", chunked("1\r\na\r\n0\r\nLocation: /b\r\nX:\r\n\r\n"), 201, "a");
    check_whole("what follows", chunked("0\r\n\r\nabc"), 201, "");
    let coding = "HTTP/1.1 500 \r\nTransfer-Encoding: \tChunked \r\n\r\n1\r\na\r\n0\r\n\r\n";
    check_whole("another case", coding, 500, "a");
}

#[test]
fn malformed_chunks_are_refused() {
    use ExchangeError::*;
    for body in [
        "x\r\n",
        "\r\n",
        " 1\r\n",
        ";a\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        "1 1\r\n",
        "1\n",
        "1;a\n",
        "1\rx\r\n",
        "1;a\rb\r\n",
        "1\r\nab",
        "1\r\na\n",
        "1\r\na\rb",
        "11111111111111111\r\n",
    ] {
        check_bad_body(body, chunked(body), Chunks);
    }
    for body in ["0\r\na\r\n", "0\r\nX: a\n", "0\r\n\n", "0\r\n X: a\r\n\r\n", "0\r\nX : a\r\n\r\n"]
    {
        // A trailer without a colon shows at the end of the trailers.
        check_bad_body(body, chunked(&format!("{body}\r\n")), NotHttp);
    }
    for body in ["", "1", "1\r\n", "1\r\na", "1\r\na\r", "1\r\na\r\n", "0\r\n", "0\r\nX: a\r\n"] {
        check_bad_body(body, chunked(body), Closed);
    }
}

#[test]
fn doubt_about_the_length_is_refused() {
    use ExchangeError::*;
    let rows = [
        ("Content-Length: 1\r\nContent-Length: 1\r\n", LengthMalformed),
        ("Content-Length: 1, 1\r\n", LengthMalformed),
        ("Content-Length: +1\r\n", LengthMalformed),
        ("Content-Length: -1\r\n", LengthMalformed),
        ("Content-Length: 1 1\r\n", LengthMalformed),
        ("Content-Length: 0x1\r\n", LengthMalformed),
        ("Content-Length:\r\n", LengthMalformed),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", LengthAndCoding),
        ("Transfer-Encoding: gzip\r\nContent-Length: 1\r\n", LengthAndCoding),
        ("Transfer-Encoding: gzip, chunked\r\n", CodingUnknown),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CodingUnknown),
        ("Transfer-Encoding: identity\r\n", CodingUnknown),
        ("Transfer-Encoding:\r\n", CodingUnknown),
    ];
    for (headers, error) in rows {
        check_bad_body(headers, created(headers, "1\r\na\r\n0\r\n\r\n"), error);
    }
    let old = "HTTP/1.0 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    check_bad_body("chunks in HTTP/1.0", old, CodingUnknown);
}

#[test]
fn what_is_not_http_is_refused() {
    use ExchangeError::*;
    for raw in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "<html>",
        "\x15\x03\x03\0\x02\x02\x16",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/1.1 200 OK\n",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 OK\r\nX: a\n",
        "HTTP/1.1 200 OK\r\nX: a\x7f",
        "HTTP/1.1 200 OK\r\nX\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    ] {
        check_bad_head(raw, raw, NotHttp);
    }
    for raw in ["", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nX: a\r\n\r"] {
        check_bad_head(raw, raw, Closed);
    }
    check_bad_head("101", "HTTP/1.1 101 \r\nUpgrade: websocket\r\n\r\n", SwitchesProtocols);
}

#[test]
fn interim_responses_are_skipped() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nContent-Length: 7\r\n\r\n";
    let raw = interim.repeat(INTERIM_MAX / 2) + &created("Content-Length: 1\r\n", "a");
    check_whole("as many as allowed", &raw, 201, "a");
    let raw = format!("HTTP/1.1 199 \r\n\r\n{raw}");
    check_bad_head("one more", raw, ExchangeError::InterimTooMany);
    check_bad_head("nothing after it", interim, ExchangeError::Closed);
}

#[test]
fn headers_are_found_in_any_case_and_lists_are_joined() {
    let raw = "HTTP/1.1 201\r\nETAG: \"1\"\r\nLink: <a>\r\nlink:\t<b> \r\nX: \u{e4}\r\n\
               Content-Type: Application/SDP; charset=utf-8\r\nContent-Length: 0\r\n\r\n";
    let Ok(ClientResponse { head, .. }) = run_in_every_way("headers", raw.as_bytes()).outcome
    else {
        panic!("refused");
    };
    assert_eq!(head.header("etag"), Some("\"1\""));
    assert_eq!(head.header("LINK"), Some("<a>, <b>"));
    assert_eq!(head.header("x"), Some("\u{c3}\u{a4}"), "read as Latin-1");
    assert_eq!(head.header("location"), None);
    assert!(head.has_media_type("application/sdp") && !head.has_media_type("application"));
}

#[test]
fn a_head_has_a_largest_size() {
    let with_size = |size: usize| {
        let rest = "HTTP/1.1 204 \r\nX: \r\n\r\n".len();
        format!("HTTP/1.1 204 \r\nX: {}\r\n\r\n", "x".repeat(size - rest))
    };
    check_whole("the largest", with_size(RESPONSE_HEAD_MAX_BYTES), 204, "");
    let raw = with_size(RESPONSE_HEAD_MAX_BYTES + 1);
    check_bad_head("one byte more", raw, ExchangeError::HeadTooLarge);
    let endless = "HTTP/1.1 204 ".to_owned() + &"x".repeat(RESPONSE_HEAD_MAX_BYTES);
    check_bad_head("without an end", endless, ExchangeError::HeadTooLarge);
}

#[test]
fn headers_and_trailers_have_a_largest_number_and_size() {
    let with_lines = |count| format!("HTTP/1.1 204 \r\n{}\r\n", "X: x\r\n".repeat(count));
    check_whole("headers", with_lines(HEADERS_MAX), 204, "");
    let raw = with_lines(HEADERS_MAX + 1);
    check_bad_head("one header more", raw, ExchangeError::HeadersTooMany);
    let trailers = |count| chunked(&format!("0\r\n{}\r\n", "X: x\r\n".repeat(count)));
    check_whole("trailers", trailers(HEADERS_MAX), 201, "");
    let raw = trailers(HEADERS_MAX + 1);
    check_bad_body("one trailer more", raw, ExchangeError::HeadersTooMany);
    let large = chunked(&format!("0\r\nX: {}", "x".repeat(RESPONSE_HEAD_MAX_BYTES)));
    check_bad_body("large trailers", large, ExchangeError::HeadTooLarge);
}

#[test]
fn a_body_has_a_largest_size() {
    let error = ExchangeError::BodyTooLarge;
    let body = "b".repeat(BODY_MAX_BYTES);
    let with_length = |size| created(&format!("Content-Length: {size}\r\n"), &body);
    check_whole("a length", with_length(BODY_MAX_BYTES), 201, &body);
    check_bad_body("a length", with_length(BODY_MAX_BYTES + 1), error);
    let huge = created(&format!("Content-Length: {}\r\n", "9".repeat(100)), "");
    check_bad_body("a length that fits no number", huge, error);
    check_whole_at_close("no length", created("", &body), 201, &body);
    check_bad_body("no length", created("", &body) + "b", error);
    let chunks = format!("8000\r\n{}\r\n", &body[..0x8000]).repeat(2);
    check_whole("chunks", chunked(&chunks) + "0\r\n\r\n", 201, &body);
    check_bad_body("chunks", chunked(&chunks) + "1\r\n", error);
    check_bad_body("a huge chunk", chunked("ffffffffffffffff\r\n"), error);
    check_bad_body("a huge second chunk", chunked("1\r\na\r\nffffffffffffffff\r\n"), error);
}

#[test]
fn a_chunk_has_a_longest_line() {
    let with_size = |size: usize| chunked(&format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(size - 4)));
    check_whole("the longest", with_size(CHUNK_LINE_MAX_BYTES), 201, "a");
    let raw = with_size(CHUNK_LINE_MAX_BYTES + 1);
    check_bad_body("one byte more", raw, ExchangeError::Chunks);
}

#[test]
fn a_head_has_ten_seconds_and_a_byte_more_or_an_interim_response_gain_nothing() {
    let start = Instant::now();
    let mut exchange = Exchange::new(start);
    let due = start + RESPONSE_HEAD_TIME;
    assert_eq!(exchange.poll_timeout(), Some(due));
    exchange.receive(start + RESPONSE_HEAD_TIME / 2, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 ");
    exchange.handle_timeout(due - TICK);
    assert_eq!((exchange.poll_timeout(), exchange.take_outcome()), (Some(due), None));
    exchange.handle_timeout(due);
    assert_eq!(exchange.poll_timeout(), None);
    assert_eq!(exchange.take_outcome(), Some(Err(ExchangeError::HeadLate)));
    assert_eq!(exchange.head(), None);
}

#[test]
fn a_body_has_five_seconds_after_its_head() {
    for headers in ["Content-Length: 2\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        let start = Instant::now();
        let mut exchange = Exchange::new(start);
        let head_at = start + RESPONSE_HEAD_TIME - TICK;
        exchange.receive(head_at, created(headers, "1").as_bytes());
        let due = head_at + RESPONSE_BODY_TIME;
        assert_eq!(exchange.poll_timeout(), Some(due), "{headers}");
        exchange.handle_timeout(due - TICK);
        assert_eq!(exchange.take_outcome(), None, "{headers}");
        exchange.handle_timeout(due);
        assert_eq!(exchange.take_outcome(), Some(Err(ExchangeError::BodyLate)), "{headers}");
        let location = exchange.head().and_then(|head| head.header("location"));
        assert_eq!(location, Some("/whip/1"), "what was created can be deleted");
    }
}

#[test]
fn errors_are_clauses_about_a_media_server() {
    assert_eq!(ExchangeError::HeadLate.to_string(), "does not answer within 10 s");
    assert_eq!(
        ExchangeError::Closed.to_string(),
        "closes the connection before its response is complete"
    );
    assert_eq!(
        ExchangeError::NotHttp.to_string(),
        "sends something other than HTTP/1.0 or HTTP/1.1"
    );
}
