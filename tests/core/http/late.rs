//! Answers that come later than their request, and answers without an end.

use super::*;

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
