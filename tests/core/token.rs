//! The token: what it protects, what it does not, and how guesses are rate limited, in virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::world::{ALLOWED_ORIGIN, World};
use ballcast::testing::server::{ConnId, Input};
use ballcast::testing::web::auth::Token;
use serde_json::Value;

const TOKEN: &str = "open-sesame";
const CHROMIUM: &str = include_str!("../offers/chromium-156.sdp");
const JSON: &str = "Content-Type: application/json\r\n";
const SDP: &str = "Content-Type: application/sdp\r\n";
const FRAGMENT: &str = "Content-Type: application/trickle-ice-sdpfrag\r\n";

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|l| l.0 == name)
            .map(|l| l.1)
    }

    /// The status and the reason.
    fn status_and_reason(&self) -> (u16, &str) {
        (self.status, self.body["reason"].as_str().unwrap_or_default())
    }
}

fn world_with_token() -> World {
    World::with_token(Token::parse(TOKEN))
}

fn ask(world: &mut World, from: &str, what: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "{what} HTTP/1.1\r\nHost: camera\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    let from: SocketAddr = from.parse().unwrap();
    let answer = String::from_utf8(world.http_raw(from, request.as_bytes())).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: serde_json::from_str(body).unwrap_or_default() }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// The status and the reason of the answer to a guess.
fn guess(world: &mut World, from: &str, token: &str) -> (u16, String) {
    let answer = ask(world, from, "GET /stats", &bearer(token), "");
    let (status, reason) = answer.status_and_reason();
    (status, reason.to_owned())
}

const CLIENT: &str = "10.0.9.9:999";
const WRONG: (u16, &str) = (401, "token-wrong");
const RATE_LIMITED: (u16, &str) = (429, "token-rate");

fn is(answer: &(u16, String), expected: (u16, &str)) -> bool {
    (answer.0, answer.1.as_str()) == expected
}

#[test]
fn every_request_that_reads_or_changes_state_needs_the_token() {
    let mut world = world_with_token();
    let offer = serde_json::json!({"type": "offer", "sdp": CHROMIUM}).to_string();
    let right = bearer(TOKEN);
    let session = ask(&mut world, CLIENT, "POST /whep", &format!("{SDP}{right}"), CHROMIUM);
    let session = format!("/{}", session.header("Location").unwrap());
    let patch = format!("PATCH {session}");
    let delete = format!("DELETE {session}");
    let trickle = "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n";
    let star = format!("{FRAGMENT}If-Match: *\r\n");
    let cases = [
        ("POST /offer", JSON, offer.as_str(), 200),
        ("POST /whep", SDP, CHROMIUM, 201),
        ("GET /stats", "", "", 200),
        ("HEAD /stats", "", "", 200),
        (&patch, &star, trickle, 204),
        // Without the token, neither a wrong type of body nor an unknown session is reported.
        ("POST /offer", "", "x", 415),
        ("POST /whep", "", "x", 415),
        (&patch, "", "x", 415),
        ("DELETE /whep/0123", "", "", 404),
        (&delete, "", "", 200),
    ];
    let forms = ["", "Authorization: Basic b3Blbi1zZXNhbWU=\r\n", "Authorization: Bearer\r\n"];
    for (number, (what, headers, body, status)) in cases.into_iter().enumerate() {
        let from = format!("10.0.8.{number}:999");
        for form in forms {
            let answer = ask(&mut world, &from, what, &format!("{headers}{form}"), body);
            if what.starts_with("HEAD") {
                assert_eq!(answer.status, 401);
            } else {
                assert_eq!(answer.status_and_reason(), (401, "token-missing"), "{what} {form}");
                let sentence = answer.body["detail"].as_str().unwrap();
                assert!(sentence.contains("#token="), "{sentence}");
            }
            assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer realm=\"ballcast\""));
        }
        for token in ["open-sesam", "open-sesame=", "open-sesamE", "x", "open-sesame, x"] {
            let headers = format!("{headers}{}", bearer(token));
            let answer = ask(&mut world, &from, what, &headers, body);
            assert_eq!(answer.status, 401, "{what} {token}");
            let challenge = "Bearer realm=\"ballcast\", error=\"invalid_token\"";
            assert_eq!(answer.header("WWW-Authenticate"), Some(challenge));
        }
        // The last one is the password of `user`.
        let token =
            ["Bearer open-sesame", "bearer   open-sesame", "Basic dXNlcjpvcGVuLXNlc2FtZQ=="];
        let headers = format!("{headers}Authorization: {}\r\n", token[number % 3]);
        let answer = ask(&mut world, CLIENT, what, &headers, body);
        assert_eq!(answer.status, status, "{what} {headers}: {}", answer.body);
    }
    let stats = ask(&mut world, CLIENT, "GET /stats", &right, "").body;
    assert_eq!(stats["refusals"]["token-missing"], 10 * 3);
    assert_eq!(stats["refusals"]["token-wrong"], 10 * 5);
}

#[test]
fn public_resources_need_no_token() {
    let mut world = world_with_token();
    let preflight = format!("Origin: {ALLOWED_ORIGIN}\r\nAccess-Control-Request-Method: POST\r\n");
    for (what, headers, status) in [
        ("GET /", "", 200),
        ("GET /static/ballcast.js", "", 200),
        ("GET /whep", "", 200),
        ("HEAD /whep", "", 200),
        ("OPTIONS /whep", &preflight, 204),
        ("OPTIONS /offer", &preflight, 204),
        ("OPTIONS *", "", 200),
    ] {
        // A wrong token is ignored.
        for token in ["", &bearer("some-other")] {
            let headers = format!("{headers}{token}");
            assert_eq!(ask(&mut world, CLIENT, what, &headers, "").status, status, "{what}");
        }
    }
    for path in ["/whep", "/offer"] {
        let answer = ask(&mut world, CLIENT, &format!("OPTIONS {path}"), &preflight, "");
        assert!(answer.header("Access-Control-Allow-Headers").unwrap().contains("Authorization"));
    }
}

#[test]
fn only_a_page_of_an_allowed_origin_may_read_the_refusal_of_a_token() {
    let mut world = world_with_token();
    let allowed = format!("Origin: {ALLOWED_ORIGIN}\r\n{SDP}");
    for (token, reason) in [("", "token-missing"), (&*bearer("some-other"), "token-wrong")] {
        let answer = ask(&mut world, CLIENT, "POST /whep", &format!("{allowed}{token}"), CHROMIUM);
        assert_eq!(answer.status_and_reason(), (401, reason));
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(ALLOWED_ORIGIN));
    }
    let foreign = format!("Origin: https://elsewhere.example\r\n{SDP}{}", bearer("some-other"));
    for _ in 0..10 {
        let answer = ask(&mut world, CLIENT, "POST /whep", &foreign, CHROMIUM);
        assert_eq!(answer.status_and_reason(), (403, "foreign-origin"));
    }
    assert!(is(&guess(&mut world, CLIENT, "some-other"), WRONG), "none of its guesses are used up");
}

#[test]
fn guesses_are_rate_limited_and_the_limit_ends_after_a_short_time() {
    let mut world = world_with_token();
    for _ in 0..100 {
        let answer = ask(&mut world, CLIENT, "GET /stats", "", "");
        assert_eq!(
            answer.status_and_reason(),
            (401, "token-missing"),
            "a request without a token is no guess"
        );
    }
    for number in 0..5 {
        assert!(is(&guess(&mut world, CLIENT, &format!("guess-{number}")), WRONG), "{number}");
    }
    // The limit holds for every port of that address, and the answer does not depend on the token.
    for (from, token) in [(CLIENT, "guess-5x"), ("10.0.9.9:1000", "guess-5x"), (CLIENT, TOKEN)] {
        let answer = ask(&mut world, from, "GET /stats", &bearer(token), "");
        assert_eq!(answer.status_and_reason(), RATE_LIMITED);
        assert_eq!(answer.header("Retry-After"), Some("12"));
    }
    assert_eq!(guess(&mut world, "10.0.9.8:999", TOKEN).0, 200, "another address");
    let answer = ask(&mut world, CLIENT, "GET /stats", "", "");
    assert_eq!(
        answer.status_and_reason(),
        (401, "token-missing"),
        "a missing token is still reported"
    );

    // Rate-limited requests did not make the wait longer.
    world.run(Duration::from_secs(12));
    assert_eq!(guess(&mut world, CLIENT, TOKEN).0, 200);
    assert_eq!(
        guess(&mut world, CLIENT, TOKEN).0,
        200,
        "the right token does not count as a guess"
    );
    assert!(is(&guess(&mut world, CLIENT, "guess-6x"), WRONG));
    assert!(is(&guess(&mut world, CLIENT, TOKEN), RATE_LIMITED));
    world.run(Duration::from_secs(60));
    for number in 0..5 {
        assert!(is(&guess(&mut world, CLIENT, &format!("guess-{number}")), WRONG), "{number}");
    }
    assert!(is(&guess(&mut world, CLIENT, "guess-7x"), RATE_LIMITED));

    let stats = ask(&mut world, "10.0.9.8:999", "GET /stats", &bearer(TOKEN), "").body;
    assert_eq!(stats["refusals"]["token-rate"], 5);
    assert!(!stats.to_string().contains(TOKEN));
}

#[test]
fn pipelined_guesses_on_one_connection_are_rate_limited_too() {
    let mut world = world_with_token();
    let guess = format!("GET /stats HTTP/1.1\r\nHost: camera\r\n{}\r\n", bearer("some-other"));
    let answers = world.http_raw(CLIENT.parse().unwrap(), guess.repeat(20).as_bytes());
    let answers = String::from_utf8(answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 401 Unauthorized\r\n").count(), 5);
    assert_eq!(answers.matches("HTTP/1.1 429 Too Many Requests\r\n").count(), 15);
}

#[test]
fn a_viewer_keeps_its_video_while_its_address_is_rate_limited() {
    let mut world = world_with_token();
    let (client, sdp) = world.offer();
    let from = client.address.to_string();
    let body = serde_json::json!({"type": "offer", "sdp": sdp}).to_string();
    let headers = format!("{JSON}{}", bearer(TOKEN));
    let answer = ask(&mut world, &from, "POST /offer", &headers, &body);
    let index = world.add(client, &sdp, answer.body["sdp"].as_str().unwrap());
    for _ in 0..20 {
        guess(&mut world, &from, "some-other");
    }
    world.run(Duration::from_secs(1));
    assert!(world.clients[index].client.frames.len() >= 28);
}

/// A world on an IPv6 network, of which a host can be any address.
fn world_among_neighbours() -> World {
    World::configured(|config| {
        config.token = Token::parse(TOKEN);
        config.addresses.push("[fd00::20]:8080".parse().unwrap());
    })
}

/// The addresses that one host can have, by their number.
const NEIGHBOURHOODS: [fn(u16) -> String; 3] = [
    |number| format!("[fd00::9:{number:x}]:999"),
    |number| format!("[fe80::9:{number:x}]:999"),
    |number| format!("127.9.{}.{}:999", number / 256, number % 256),
];

/// Asks for the statistics with a token on a connection that stays open: it may be answered later.
fn ask_with(world: &mut World, from: &str, token: &str) -> ConnId {
    let id = world.connect(from.parse().unwrap());
    let request = format!("GET /stats HTTP/1.1\r\nHost: camera\r\n{}\r\n", bearer(token));
    world.input(Input::Received(id, request.as_bytes()));
    id
}

fn status_of(world: &mut World, id: ConnId) -> Option<u16> {
    let answer = String::from_utf8(world.take_sent(id)).unwrap();
    answer.split(' ').nth(1).map(|status| status.parse().unwrap())
}

/// Uses up what neighbours have in common, and fills the line.
fn guess_until_there_is_a_line(world: &mut World, address: fn(u16) -> String, length: u16) {
    for number in 0..20 {
        assert!(is(&guess(world, &address(number), "some-other"), WRONG), "{number}");
    }
    for number in 20..20 + length {
        let id = ask_with(world, &address(number), "some-other");
        assert_eq!(status_of(world, id), None, "{number} waits");
    }
}

#[test]
fn a_host_that_guesses_from_ever_new_addresses_is_one_guesser() {
    const A_SECOND: u32 = 385;
    for address in NEIGHBOURHOODS {
        let mut world = world_among_neighbours();
        let known = address(60_000);
        assert_eq!(guess(&mut world, &known, TOKEN).0, 200);
        let (mut compared, mut held) = (0, Vec::new());
        for number in 0..60 * A_SECOND {
            held.push(ask_with(&mut world, &address(number as u16), "some-other"));
            held.retain(|id| {
                let status = status_of(&mut world, *id);
                compared += u32::from(status == Some(401));
                if status.is_some() {
                    world.input(Input::Disconnected(*id));
                }
                status.is_none()
            });
            if number % A_SECOND == 0 {
                assert_eq!(guess(&mut world, &known, TOKEN).0, 200, "a viewer that is known");
                assert_eq!(guess(&mut world, "10.0.9.9:9", TOKEN).0, 200, "one elsewhere");
            }
            world.run(Duration::from_secs(1) / A_SECOND);
        }
        assert!((45..=52).contains(&compared), "{compared} in a minute, of {}", 60 * A_SECOND);
        // Whoever comes then waits for those in line at most.
        world.run(Duration::from_secs(2));
        let id = ask_with(&mut world, &address(61_000), TOKEN);
        world.run(Duration::from_secs(8));
        assert_eq!(status_of(&mut world, id), Some(200));
    }
}

#[test]
fn in_line_the_right_token_waits_as_long_as_a_wrong_one() {
    for address in NEIGHBOURHOODS {
        let answered = |token: &str| {
            let mut world = world_among_neighbours();
            guess_until_there_is_a_line(&mut world, address, 3);
            let id = ask_with(&mut world, &address(100), token);
            for waited in 0.. {
                if let Some(status) = status_of(&mut world, id) {
                    return (status, waited);
                }
                world.run(Duration::from_millis(10));
            }
            unreachable!()
        };
        assert_eq!(answered(TOKEN), (200, 800));
        assert_eq!(answered("some-other"), (401, 800));
    }
}

#[test]
fn a_line_has_an_end_and_an_offer_in_it_is_answered() {
    let address = NEIGHBOURHOODS[0];
    let mut world = world_among_neighbours();
    guess_until_there_is_a_line(&mut world, address, 3);
    ask_with(&mut world, &address(99), "some-other");
    for token in [TOKEN, "some-other"] {
        let answer = ask(&mut world, &address(100), "GET /stats", &bearer(token), "");
        assert_eq!(answer.status_and_reason(), RATE_LIMITED);
        assert_eq!(answer.header("Retry-After"), Some("2"));
    }
    world.run(Duration::from_secs(2));
    let (client, sdp) = world.offer();
    let body = serde_json::json!({"type": "offer", "sdp": sdp}).to_string();
    let id = world.connect(address(101).parse().unwrap());
    let head = format!(
        "POST /offer HTTP/1.1\r\nHost: camera\r\n{JSON}{}Content-Length: {}\r\n\r\n",
        bearer(TOKEN),
        body.len()
    );
    world.input(Input::Received(id, head.as_bytes()));
    world.input(Input::Received(id, body.as_bytes()));
    assert_eq!(world.server.viewers(), 0);
    world.run(Duration::from_secs(8));
    let answer = String::from_utf8(world.take_sent(id)).unwrap();
    let (_, answer) = answer.split_once("\r\n\r\n").unwrap();
    let answer: Value = serde_json::from_str(answer).unwrap();
    let index = world.add(client, &sdp, answer["sdp"].as_str().unwrap());
    world.run(Duration::from_secs(1));
    assert!(world.clients[index].client.frames.len() >= 28, "an offer in line is answered");

    let waits = (200..).find(|number| {
        let id = ask_with(&mut world, &address(*number), "some-other");
        status_of(&mut world, id).is_none()
    });
    assert!(waits.is_some());
    world.input(Input::Shutdown);
    world.run(Duration::from_secs(60));
    assert_eq!(world.deadline(), None, "nothing waits after the end");
}

/// A page of another site shows `<img src="http://camera/snapshot.jpg?token=wrong">`, over and over.
#[test]
fn wrong_tokens_that_a_foreign_page_sends_block_none_in_a_header() {
    let mut world = world_with_token();
    let basic = "Authorization: Basic dXNlcjpzb21lLW90aGVy\r\n";
    for path in ["/snapshot.jpg", "/stream.mjpg"] {
        for _ in 0..10 {
            ask(&mut world, CLIENT, &format!("GET {path}?token=some-other"), "", "");
            ask(&mut world, CLIENT, &format!("GET {path}"), basic, "");
        }
    }
    let right = format!("GET /snapshot.jpg?token={TOKEN}");
    let answer = ask(&mut world, CLIENT, &right, "", "");
    assert_eq!(answer.status_and_reason(), RATE_LIMITED, "in the query, guesses are limited");
    let answer = ask(&mut world, CLIENT, "GET /stats", basic, "");
    assert_eq!(answer.status_and_reason(), RATE_LIMITED);
    assert_eq!(guess(&mut world, CLIENT, TOKEN).0, 200);
    for _ in 0..5 {
        assert!(is(&guess(&mut world, CLIENT, "some-other"), WRONG));
    }
    assert!(is(&guess(&mut world, CLIENT, TOKEN), RATE_LIMITED));
    world.run(Duration::from_secs(12));
    let answer = ask(&mut world, CLIENT, &right, "", "");
    assert_ne!(answer.status, 429, "and the wait is over");
}

/// ffmpeg, and what is built on it, sends the password of an address once it is asked for it. A browser
/// would ask its user then.
#[test]
fn programs_are_asked_for_a_password_and_browsers_are_not() {
    const BASIC: &str = "WWW-Authenticate: Basic realm=\"ballcast\"";
    const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n";
    let mut world = world_with_token();
    let offer = serde_json::json!({"type": "offer", "sdp": CHROMIUM}).to_string();
    let mut is_asked = |what: &str, headers: &str, body: &str| {
        let answer = ask(&mut world, CLIENT, what, headers, body);
        assert_eq!(answer.status, 401, "{what} {headers}");
        let challenges: Vec<&str> =
            answer.head.lines().filter(|line| line.starts_with("WWW-Authenticate: ")).collect();
        assert!(challenges[0].starts_with("WWW-Authenticate: Bearer "), "{challenges:?}");
        assert!(challenges[1..].iter().all(|challenge| *challenge == BASIC), "{challenges:?}");
        challenges.len() > 1
    };
    let paths = ["/snapshot.jpg", "/stream.mjpg", "/?action=stream", "/stats", "/metrics"];
    for path in paths {
        for method in ["GET", "HEAD"] {
            let what = format!("{method} {path}");
            for program in ["", "User-Agent: Lavf/61.7.100\r\n"] {
                assert!(is_asked(&what, program, ""), "{what} {program}");
            }
            for browser in [
                BROWSER,
                "Sec-Fetch-Site: none\r\n",
                "Sec-Fetch-Mode: no-cors\r\n",
                "Sec-Fetch-Dest: image\r\n",
                "Upgrade-Insecure-Requests: 1\r\n",
                &format!("Origin: {ALLOWED_ORIGIN}\r\n"),
            ] {
                assert!(!is_asked(&what, browser, ""), "{what} {browser}");
            }
        }
    }
    assert!(!is_asked("POST /offer", JSON, &offer));
    assert!(!is_asked("POST /whep", SDP, CHROMIUM));
    let basic = "Authorization: Basic dXNlcjpzb21lLW90aGVy\r\n";
    assert!(is_asked("GET /stream.mjpg", basic, ""), "so that it is said what was wrong");
    assert!(!is_asked("GET /stream.mjpg", &format!("{basic}{BROWSER}"), ""));
}
