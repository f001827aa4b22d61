//! WHEP: each request and its answer, for the core in virtual time and for the program over real TCP.

use std::net::SocketAddr;

#[cfg(feature = "driver")]
use super::process::{self, Server};
use super::world::{ALLOWED_ORIGIN, World};
use serde_json::Value;

const FROM: &str = "10.0.9.9:999";
pub const SDP: &str = "Content-Type: application/sdp\r\n";
pub const FRAGMENT: &str = "Content-Type: application/trickle-ice-sdpfrag\r\n";
pub const CHROMIUM: &str = include_str!("../offers/chromium-156.sdp");

pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn reason(&self) -> String {
        let problem: Value = serde_json::from_str(&self.body).unwrap_or_default();
        problem["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// A server that answers HTTP requests: the core, or the program over TCP.
pub trait HttpServer {
    fn host(&self) -> String;
    /// Sends the bytes of one request, and returns the answer.
    fn exchange(&mut self, request: &[u8]) -> Answer;
    fn statistics(&mut self) -> Value;
}

impl HttpServer for World {
    fn host(&self) -> String {
        "camera".into()
    }

    fn exchange(&mut self, request: &[u8]) -> Answer {
        let from: SocketAddr = FROM.parse().unwrap();
        let answer = String::from_utf8(self.http_raw(from, request)).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn statistics(&mut self) -> Value {
        self.stats()
    }
}

#[cfg(feature = "driver")]
impl HttpServer for Server {
    fn host(&self) -> String {
        self.address.to_string()
    }

    fn exchange(&mut self, request: &[u8]) -> Answer {
        let answer = process::raw(self.address, request);
        let body = String::from_utf8(answer.body).unwrap();
        Answer { status: answer.status, head: answer.head, body }
    }

    fn statistics(&mut self) -> Value {
        self.stats()
    }
}

/// `what` is `METHOD /path`; `headers` are whole lines.
pub fn ask(server: &mut dyn HttpServer, what: &str, headers: &str, body: &str) -> Answer {
    let (host, length) = (server.host(), body.len());
    let request = format!(
        "{what} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    server.exchange(request.as_bytes())
}

/// The Location and the ETag of a new session.
pub fn created(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 201, "{}", answer.body);
    let header = |name| answer.header(name).unwrap().to_owned();
    // Relative to the endpoint.
    (format!("/{}", header("Location")), header("ETag"))
}

/// A client that checks in every answer that an allowed origin may read it.
pub struct Player {
    server: Box<dyn HttpServer>,
    /// The origin of the page that contains the player, if there is a page.
    origin: Option<&'static str>,
}

impl Player {
    fn ask(&mut self, what: &str, headers: &str, body: &str) -> Answer {
        let origin = self.origin.map(|origin| format!("Origin: {origin}\r\n"));
        let headers = origin.unwrap_or_default() + headers;
        let answer = ask(&mut *self.server, what, &headers, body);
        assert_eq!(answer.header("Access-Control-Allow-Origin"), self.origin, "{what}");
        let exposed = "Location, ETag, Link, Accept-Post, Accept-Patch, Retry-After";
        let expected = self.origin.map(|_| exposed);
        assert_eq!(answer.header("Access-Control-Expose-Headers"), expected, "{what}");
        assert_eq!(answer.header("Vary"), Some("Origin"), "a cache distinguishes origins");
        if answer.status >= 400 && !what.starts_with("HEAD") {
            assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
        }
        answer
    }

    fn post(&mut self) -> (String, String) {
        created(&self.ask("POST /whep", SDP, CHROMIUM))
    }

    fn viewers(&mut self) -> usize {
        self.server.statistics()["viewers"].as_array().unwrap().len()
    }
}

/// Starts two servers with this limit of viewers, and returns a player for each: one without an origin
/// and one of an allowed origin.
pub type Players = fn(viewers: usize) -> [Player; 2];

pub fn players(open: impl Fn() -> Box<dyn HttpServer>) -> [Player; 2] {
    [None, Some(ALLOWED_ORIGIN)].map(|origin| Player { server: open(), origin })
}

/// A test for each case, with players of this function.
#[allow(unused_macros, reason = "not all test programs know WHEP")]
macro_rules! whep_cases {
    ($players:path) => {
        $crate::support::whep::whep_cases! { $players:
            an_offer_creates_a_session_with_an_unguessable_url
            an_unusable_offer_is_refused_with_the_status_that_players_expect
            a_full_server_says_when_to_try_again
            get_head_and_options_of_the_endpoint_and_of_a_session_are_answered
            a_preflight_is_answered_as_configured
            a_deleted_session_and_its_viewer_are_removed_before_the_answer
            trickle_ice_is_accepted_and_needs_the_current_etag
            an_ice_restart_is_answered_with_new_credentials
            pages_of_other_origins_are_refused
        }
    };
    ($players:path: $($case:ident)*) => {
        $(#[test] fn $case() { $crate::support::whep::$case($players); })*
    };
}
#[allow(unused_imports, reason = "not all test programs know WHEP")]
pub(crate) use whep_cases;

pub fn an_offer_creates_a_session_with_an_unguessable_url(players: Players) {
    for mut player in players(10) {
        let answer = player.ask("POST /whep", SDP, CHROMIUM);
        let (location, etag) = created(&answer);
        let key = location.strip_prefix("/whep/").unwrap();
        assert!(key.len() == 32 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{location}");
        assert!(etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'), "{etag}");
        assert_eq!(answer.header("Content-Type"), Some("application/sdp"));
        assert!(answer.body.starts_with("v=0\r\n") && answer.body.contains("\r\na=candidate:"));
        assert!(answer.body.contains("\r\na=sendonly\r\n"));
        let (other, other_etag) = player.post();
        assert!(other != location && other_etag != etag);
        assert_eq!(player.viewers(), 2);
    }
}

pub fn an_unusable_offer_is_refused_with_the_status_that_players_expect(players: Players) {
    let sendonly = CHROMIUM.replace("a=recvonly", "a=sendonly");
    let inactive = CHROMIUM.replace("a=recvonly", "a=inactive");
    let no_codec = CHROMIUM.replace("H264/90000", "H265/90000").replace("VP8/90000", "AV2/90000");
    let no_video = CHROMIUM.replace("m=video", "m=text");
    let cases = [
        ("", CHROMIUM, 415, "content-type"),
        ("Content-Type: application/json\r\n", CHROMIUM, 415, "content-type"),
        (SDP, "", 400, "offer-malformed"),
        (SDP, "hello", 400, "offer-malformed"),
        (SDP, &no_video, 422, "no-video"),
        (SDP, &sendonly, 422, "video-not-receiving"),
        (SDP, &inactive, 422, "video-not-receiving"),
        (SDP, &no_codec, 422, "no-codec"),
    ];
    for mut player in players(10) {
        for (headers, body, status, reason) in cases {
            let answer = player.ask("POST /whep", headers, body);
            let outcome = (answer.status, answer.reason());
            assert_eq!(outcome, (status, reason.to_owned()), "{}", answer.body);
            if status == 415 {
                assert_eq!(answer.header("Accept-Post"), Some("application/sdp"));
            }
        }
        assert_eq!(player.viewers(), 0);
        assert_eq!(player.server.statistics()["refusals"]["content-type"], 2);
    }
}

pub fn a_full_server_says_when_to_try_again(players: Players) {
    for mut player in players(1) {
        let (session, _) = player.post();
        let answer = player.ask("POST /whep", SDP, CHROMIUM);
        assert_eq!((answer.status, answer.reason().as_str()), (503, "viewers"));
        assert!(answer.header("Retry-After").unwrap().parse::<u32>().unwrap() > 0);
        assert_eq!(player.ask(&format!("DELETE {session}"), "", "").status, 200);
        player.post();
    }
}

pub fn get_head_and_options_of_the_endpoint_and_of_a_session_are_answered(players: Players) {
    for mut player in players(10) {
        let (session, _) = player.post();
        for path in ["/whep", &session] {
            for method in ["GET", "HEAD"] {
                let answer = player.ask(&format!("{method} {path}"), "", "");
                assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{method} {path}");
                assert_eq!(answer.header("Content-Type"), Some("application/sdp"));
            }
            let answer = player.ask(&format!("OPTIONS {path}"), "", "");
            assert_eq!(answer.status, 204);
            assert_eq!(answer.header("Accept-Post"), Some("application/sdp"));
            assert_eq!(answer.header("Accept-Patch"), Some("application/trickle-ice-sdpfrag"));
            assert!(answer.header("Allow").unwrap().contains("OPTIONS"));
        }
        for (what, status) in [
            ("PUT /whep", 405),
            ("DELETE /whep", 405),
            ("POST /whep/0123", 405),
            ("GET /whep/0123", 404),
            ("DELETE /whep/", 404),
        ] {
            assert_eq!(player.ask(what, "", "").status, status, "{what}");
        }
        assert_eq!(ask(&mut *player.server, "GET /whepper", "", "").status, 404);
    }
}

pub fn a_preflight_is_answered_as_configured(players: Players) {
    for mut player in players(10) {
        let (session, _) = player.post();
        for (path, method) in [("/whep", "POST"), (&session, "PATCH"), (&session, "DELETE")] {
            let headers = format!("Access-Control-Request-Method: {method}\r\n");
            let answer = player.ask(&format!("OPTIONS {path}"), &headers, "");
            assert_eq!(answer.status, 204);
            assert_eq!(answer.header("Accept-Post"), Some("application/sdp"));
            let allowed = |name, wanted| answer.header(name).is_some_and(|v| v.contains(wanted));
            let is_allowed = player.origin.is_some();
            assert_eq!(allowed("Access-Control-Allow-Methods", method), is_allowed);
            for header in ["Content-Type", "If-Match", "Authorization"] {
                assert_eq!(allowed("Access-Control-Allow-Headers", header), is_allowed);
            }
        }
    }
}

pub fn a_deleted_session_and_its_viewer_are_removed_before_the_answer(players: Players) {
    for mut player in players(10) {
        let (session, _) = player.post();
        assert_eq!(player.viewers(), 1);
        assert_eq!(player.ask(&format!("DELETE {session}"), "", "").status, 200);
        assert_eq!(player.viewers(), 0);
        for method in ["DELETE", "GET"] {
            let again = player.ask(&format!("{method} {session}"), "", "");
            assert_eq!((again.status, again.reason().as_str()), (404, "no-session"));
        }
    }
}

pub fn trickle_ice_is_accepted_and_needs_the_current_etag(players: Players) {
    let credentials = CHROMIUM
        .lines()
        .filter(|line| line.starts_with("a=ice-ufrag:") || line.starts_with("a=ice-pwd:"))
        .fold(String::new(), |lines, line| lines + line + "\r\n");
    let candidates = "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
        a=candidate:1 1 udp 1 4d1d.local 9 typ host\r\n\
        a=candidate:2 1 tcp 1 10.0.0.1 9 typ host tcptype active\r\n\
        a=candidate:nonsense\r\na=end-of-candidates\r\n";
    let fragment = credentials + candidates;
    for mut player in players(10) {
        let (session, etag) = player.post();
        let right = format!("{FRAGMENT}If-Match: {etag}\r\n");
        let star = format!("{FRAGMENT}If-Match: *\r\n");
        let quoted_star = format!("{FRAGMENT}If-Match: \"*\"\r\n");
        let stale = format!("{FRAGMENT}If-Match: \"0123\"\r\n");
        let cases = [
            (right.as_str(), fragment.as_str(), 204, ""),
            (&star, &fragment, 204, ""),
            (&quoted_star, &fragment, 204, ""),
            (&right, candidates, 204, ""),
            // As Mainsail and Fluidd make it of the empty candidate at the end in Firefox.
            (&right, "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=\r\n", 204, ""),
            (SDP, &fragment, 415, "content-type"),
            (FRAGMENT, &fragment, 428, "if-match-missing"),
            (&stale, &fragment, 412, "if-match-stale"),
            (&right, "", 400, "fragment-malformed"),
            (&right, "hello", 400, "fragment-malformed"),
            (&right, "a=ice-ufrag:abcd\r\n", 400, "fragment-malformed"),
            (&right, "a=ice-ufrag:abcd\r\na=ice-pwd:short\r\n", 400, "fragment-malformed"),
        ];
        for (headers, body, status, reason) in cases {
            let answer = player.ask(&format!("PATCH {session}"), headers, body);
            let outcome = (answer.status, answer.reason());
            assert_eq!(outcome, (status, reason.to_owned()), "{headers}{body}");
            assert_eq!(answer.header("ETag"), None);
        }
        assert_eq!(player.viewers(), 1);
    }
}

pub fn an_ice_restart_is_answered_with_new_credentials(players: Players) {
    let fragment = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdefghijkl\r\n";
    for mut player in players(10) {
        let (session, etag) = player.post();
        let patch = format!("PATCH {session}");
        let headers = format!("{FRAGMENT}If-Match: {etag}\r\n");
        let answer = player.ask(&patch, &headers, fragment);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("Content-Type"), Some("application/trickle-ice-sdpfrag"));
        for line in ["a=ice-ufrag:", "a=ice-pwd:", "a=candidate:", "a=end-of-candidates"] {
            assert!(answer.body.contains(line), "{line}: {}", answer.body);
        }
        let new_etag = answer.header("ETag").unwrap().to_owned();
        assert_ne!(new_etag, etag);
        assert_eq!(player.ask(&patch, &headers, fragment).status, 412, "the former ETag");
        let headers = format!("{FRAGMENT}If-Match: {new_etag}\r\n");
        assert_eq!(
            player.ask(&patch, &headers, fragment).status,
            204,
            "these credentials are already in use"
        );
    }
}

pub fn pages_of_other_origins_are_refused(players: Players) {
    let [mut player, _] = players(10);
    let (session, etag) = player.post();
    let foreign = "Origin: https://elsewhere.example\r\n";
    let post = format!("{foreign}{SDP}");
    let patch = format!("{foreign}{FRAGMENT}If-Match: {etag}\r\n");
    let preflight = format!("{foreign}Access-Control-Request-Method: POST\r\n");
    for (what, headers, body, status) in [
        ("POST /whep", post.as_str(), CHROMIUM, 403),
        (&format!("PATCH {session}"), &patch, "a=end-of-candidates\r\n", 403),
        (&format!("DELETE {session}"), foreign, "", 403),
        // Requests that change nothing are answered, but without CORS headers.
        ("GET /whep", foreign, "", 200),
        ("OPTIONS /whep", &preflight, "", 204),
        ("POST /offer", foreign, "{}", 403),
    ] {
        let answer = player.ask(what, headers, body);
        assert_eq!(answer.status, status, "{what}");
        assert!(!answer.head.contains("Access-Control-"), "{}", answer.head);
    }
    assert_eq!(player.viewers(), 1);
}
