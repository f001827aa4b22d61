//! Time, the end of a connection, and back-pressure.

use super::*;

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
