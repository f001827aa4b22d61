//! Tables of requests: which are answered, which are refused, and how.

use super::*;

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
