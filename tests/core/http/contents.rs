//! What requests and answers contain.

use super::*;

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
