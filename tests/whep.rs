//! WHEP: each request and its answer, and viewers that come that way.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use support::world::{FRIEND, World};

const FROM: &str = "10.0.9.9:999";
const SDP: &str = "Content-Type: application/sdp\r\n";
const FRAGMENT: &str = "Content-Type: application/trickle-ice-sdpfrag\r\n";
const CHROMIUM: &str = include_str!("offers/chromium-156.sdp");
const SECOND: Duration = Duration::from_secs(1);

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn reason(&self) -> String {
        let problem: Value = serde_json::from_str(&self.body).unwrap_or_default();
        problem["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// `what` is `METHOD /path`; `headers` are whole lines.
fn ask(world: &mut World, what: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "{what} HTTP/1.1\r\nHost: camera\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    let from: SocketAddr = FROM.parse().unwrap();
    let answer = String::from_utf8(world.http_raw(from, request.as_bytes())).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Posts an offer that is answered; where its session is, and its tag.
fn post(world: &mut World, sdp: &str) -> (String, String, Answer) {
    let answer = ask(world, "POST /whep", SDP, sdp);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let location = answer.header("Location").unwrap().to_owned();
    let etag = answer.header("ETag").unwrap().to_owned();
    (location, etag, answer)
}

/// A viewer that watches; its index, and its session.
fn join(world: &mut World) -> (usize, String, String) {
    let (client, sdp) = world.offer();
    let (location, etag, answer) = post(world, &sdp);
    let index = world.add(client, &sdp, &answer.body);
    world.run(SECOND);
    assert!(world.clients[index].client.frames.len() >= 28);
    (index, location, etag)
}

#[test]
fn an_offer_makes_a_session_with_a_secret_name() {
    let mut world = World::new();
    let (location, etag, answer) = post(&mut world, CHROMIUM);
    let key = location.strip_prefix("/whep/").unwrap();
    assert!(key.len() == 32 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{location}");
    assert!(etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    assert_eq!(answer.header("Content-Type"), Some("application/sdp"));
    assert!(answer.body.starts_with("v=0\r\n") && answer.body.contains("\r\na=candidate:"));
    assert!(answer.body.contains("\r\na=sendonly\r\n"));
    let (other, other_etag, _) = post(&mut world, CHROMIUM);
    assert!(other != location && other_etag != etag);
    assert_eq!(world.server.viewers(), 2);
}

#[test]
fn what_cannot_be_answered_is_refused_with_the_status_that_players_expect() {
    let mut world = World::new();
    let sendonly = CHROMIUM.replace("a=recvonly", "a=sendonly");
    let no_codec = CHROMIUM.replace("H264/90000", "H265/90000").replace("VP8/90000", "AV2/90000");
    let no_video = CHROMIUM.replace("m=video", "m=text");
    let cases = [
        ("", CHROMIUM, 415, "content-type"),
        ("Content-Type: application/json\r\n", CHROMIUM, 415, "content-type"),
        (SDP, "", 400, "offer-malformed"),
        (SDP, "hello", 400, "offer-malformed"),
        (SDP, &no_video, 422, "no-video"),
        (SDP, &sendonly, 422, "video-not-receiving"),
        (SDP, &no_codec, 422, "no-codec"),
    ];
    for (headers, body, status, reason) in cases {
        let answer = ask(&mut world, "POST /whep", headers, body);
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{}", answer.body);
        assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
        if status == 415 {
            assert_eq!(answer.header("Accept-Post"), Some("application/sdp"));
        }
    }
    assert_eq!(world.server.viewers(), 0);
    let refusals = &world.stats()["refusals"];
    assert_eq!(refusals["content-type"], 2);
}

#[test]
fn a_full_server_says_when_to_try_again() {
    let mut world = World::with_limits(ballcast::limits::Limits::for_viewers(1));
    post(&mut world, CHROMIUM);
    let answer = ask(&mut world, "POST /whep", SDP, CHROMIUM);
    assert_eq!((answer.status, answer.reason().as_str()), (503, "viewers"));
    assert!(answer.header("Retry-After").is_some());
}

#[test]
fn the_endpoint_and_a_session_say_what_they_are() {
    let mut world = World::new();
    let (session, ..) = post(&mut world, CHROMIUM);
    for path in ["/whep", &session] {
        for method in ["GET", "HEAD"] {
            let answer = ask(&mut world, &format!("{method} {path}"), "", "");
            assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{method} {path}");
            assert_eq!(answer.header("Content-Type"), Some("application/sdp"));
        }
        let answer = ask(&mut world, &format!("OPTIONS {path}"), "", "");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("Accept-Post"), Some("application/sdp"));
        assert!(answer.header("Allow").unwrap().contains("OPTIONS"));
    }
    for (what, status) in [
        ("PUT /whep", 405),
        ("DELETE /whep", 405),
        ("POST /whep/0123", 405),
        ("GET /whep/0123", 404),
        ("DELETE /whep/", 404),
        ("GET /whepper", 404),
    ] {
        assert_eq!(ask(&mut world, what, "", "").status, status, "{what}");
    }
}

#[test]
fn a_session_is_deleted_once_and_its_viewer_is_gone_at_once() {
    let mut world = World::new();
    let (index, session, _) = join(&mut world);
    let answer = ask(&mut world, &format!("DELETE {session}"), "", "");
    assert_eq!(answer.status, 200);
    assert_eq!(world.server.viewers(), 0);
    assert!(world.clients[index].client.closed, "it was told goodbye");
    let again = ask(&mut world, &format!("DELETE {session}"), "", "");
    assert_eq!((again.status, again.reason().as_str()), (404, "no-session"));
}

#[test]
fn a_session_whose_viewer_has_left_is_gone() {
    let mut world = World::new();
    let (index, session, _) = join(&mut world);
    let now = world.now;
    world.clients[index].client.close(now);
    world.run(SECOND);
    assert_eq!(ask(&mut world, &format!("GET {session}"), "", "").status, 404);
}

#[test]
fn trickle_is_taken_and_needs_the_right_tag() {
    let mut world = World::new();
    let (session, etag, _) = post(&mut world, CHROMIUM);
    let credentials = CHROMIUM
        .lines()
        .filter(|line| line.starts_with("a=ice-ufrag:") || line.starts_with("a=ice-pwd:"))
        .fold(String::new(), |lines, line| lines + line + "\r\n");
    let candidates = "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
        a=candidate:1 1 udp 1 4d1d.local 9 typ host\r\n\
        a=candidate:2 1 tcp 1 10.0.0.1 9 typ host tcptype active\r\n\
        a=candidate:nonsense\r\na=end-of-candidates\r\n";
    let fragment = credentials + candidates;
    let right = format!("{FRAGMENT}If-Match: {etag}\r\n");
    let star = format!("{FRAGMENT}If-Match: *\r\n");
    let quoted_star = format!("{FRAGMENT}If-Match: \"*\"\r\n");
    let stale = format!("{FRAGMENT}If-Match: \"0123\"\r\n");
    let cases = [
        (right.as_str(), fragment.as_str(), 204, ""),
        (&star, &fragment, 204, ""),
        (&quoted_star, &fragment, 204, ""),
        (&right, candidates, 204, ""),
        (SDP, &fragment, 415, "content-type"),
        (FRAGMENT, &fragment, 428, "if-match-missing"),
        (&stale, &fragment, 412, "if-match-stale"),
        (&right, "", 400, "fragment-malformed"),
        (&right, "hello", 400, "fragment-malformed"),
        (&right, "a=ice-ufrag:abcd\r\n", 400, "fragment-malformed"),
        (&right, "a=ice-ufrag:abcd\r\na=ice-pwd:short\r\n", 400, "fragment-malformed"),
    ];
    for (headers, body, status, reason) in cases {
        let answer = ask(&mut world, &format!("PATCH {session}"), headers, body);
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{headers}{body}");
        assert_eq!(answer.header("ETag"), None);
    }
    assert_eq!(world.server.viewers(), 1);
}

#[test]
fn ice_begins_anew_and_the_picture_goes_on() {
    let mut world = World::new();
    let (index, session, etag) = join(&mut world);
    let offer = world.clients[index].client.offer_again(|api| {
        api.ice_restart(true);
    });
    let value = |sdp: &str, name: &str| {
        sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
    };
    let [ufrag, pwd] = ["a=ice-ufrag:", "a=ice-pwd:"].map(|name| value(&offer, name));
    let fragment = format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n");
    let headers = format!("{FRAGMENT}If-Match: {etag}\r\n");
    let answer = ask(&mut world, &format!("PATCH {session}"), &headers, &fragment);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("Content-Type"), Some("application/trickle-ice-sdpfrag"));
    let new_etag = answer.header("ETag").unwrap().to_owned();
    assert_ne!(new_etag, etag);
    assert!(answer.body.contains("a=candidate:") && answer.body.contains("a=end-of-candidates"));
    let [new_ufrag, new_pwd] = ["a=ice-ufrag:", "a=ice-pwd:"].map(|name| value(&answer.body, name));
    assert_ne!(format!("{new_ufrag}:{ufrag}"), world.clients[index].username);

    // What a player does with it: its old answer with the new credentials.
    let before = world.clients[index].client.frames.len();
    world.clients[index].client.answer_restart(&new_ufrag, &new_pwd, world.now);
    world.run(12 * SECOND);
    let frames = &world.clients[index].client.frames[before..];
    assert!(frames.len() >= 12 * 30 - 2, "{} frames", frames.len());
    assert_eq!(world.server.viewers(), 1, "it is heard under its new name");
    let stale = ask(&mut world, &format!("PATCH {session}"), &headers, &fragment);
    assert_eq!(stale.status, 412, "the tag of before is stale");
}

#[test]
fn pages_of_an_allowed_origin_may_read_every_answer_and_others_none() {
    let mut world = World::new();
    let friend = format!("Origin: {FRIEND}\r\n");
    let preflight = format!("{friend}Access-Control-Request-Method: POST\r\n");
    let answer = ask(&mut world, "OPTIONS /whep", &preflight, "");
    assert_eq!(answer.status, 200);
    assert!(answer.header("Access-Control-Allow-Methods").unwrap().contains("PATCH"));
    assert!(answer.header("Access-Control-Allow-Headers").unwrap().contains("If-Match"));
    let cases = [
        ("POST /whep", format!("{friend}{SDP}"), CHROMIUM, 201),
        ("POST /whep", format!("{friend}{SDP}"), "hello", 400),
        ("POST /whep", friend.clone(), CHROMIUM, 415),
        ("DELETE /whep/0123", friend.clone(), "", 404),
        ("GET /whep", friend.clone(), "", 200),
    ];
    for (what, headers, body, status) in cases {
        let answer = ask(&mut world, what, &headers, body);
        assert_eq!(answer.status, status, "{what}");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(FRIEND), "{what}");
        let exposed = answer.header("Access-Control-Expose-Headers").unwrap();
        for name in ["Location", "ETag", "Link", "Accept-Post", "Retry-After"] {
            assert!(exposed.split(", ").any(|e| e == name), "{exposed}");
        }
    }
    let stranger = format!("Origin: https://elsewhere.example\r\n{SDP}");
    let answer = ask(&mut world, "POST /whep", &stranger, CHROMIUM);
    assert_eq!((answer.status, answer.reason().as_str()), (403, "foreign-origin"));
    assert_eq!(answer.header("Access-Control-Allow-Origin"), None);
    // The page's own way stays the page's own.
    let json = format!("{friend}Content-Type: application/json\r\n");
    assert_eq!(ask(&mut world, "POST /offer", &json, "{}").status, 403);
}
