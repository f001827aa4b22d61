//! WHEP: each request and its answer, from the core in virtual time and from the program over real TCP;
//! and viewers that connect with WHEP.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use ballcast::server::limits::admission::Limits;
use serde_json::Value;
#[cfg(feature = "driver")]
use support::process::{self, Server};
use support::world::{ALLOWED_ORIGIN, World};

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

/// A server that answers HTTP requests: the core, or the program over TCP.
trait HttpServer {
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
fn ask(server: &mut dyn HttpServer, what: &str, headers: &str, body: &str) -> Answer {
    let (host, length) = (server.host(), body.len());
    let request = format!(
        "{what} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    server.exchange(request.as_bytes())
}

/// The Location and the ETag of a new session.
fn created(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 201, "{}", answer.body);
    let header = |name| answer.header(name).unwrap().to_owned();
    // Relative to the endpoint.
    (format!("/{}", header("Location")), header("ETag"))
}

/// A client that checks in every answer that an allowed origin may read it.
struct Player {
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
type Players = fn(viewers: usize) -> [Player; 2];

fn players(open: impl Fn() -> Box<dyn HttpServer>) -> [Player; 2] {
    [None, Some(ALLOWED_ORIGIN)].map(|origin| Player { server: open(), origin })
}

fn with_core(viewers: usize) -> [Player; 2] {
    players(|| {
        let limits = Limits { offers_per_second: 1_000, ..Limits::for_viewers(viewers) };
        Box::new(World::with_limits(limits))
    })
}

#[cfg(feature = "driver")]
fn with_program(viewers: usize) -> [Player; 2] {
    let viewers = viewers.to_string();
    let flags = ["--allow-origin", ALLOWED_ORIGIN, "--max-offers-per-second", "1000"];
    let flags = [&flags[..], &["--max-viewers", &viewers]].concat();
    players(|| Box::new(Server::start(&flags)))
}

macro_rules! table {
    ($($case:ident)*) => {
        mod in_the_core {
            $(#[test] fn $case() { super::$case(super::with_core); })*
        }
        #[cfg(feature = "driver")]
        mod over_tcp {
            $(#[test] fn $case() { super::$case(super::with_program); })*
        }
    };
}

table! {
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

fn an_offer_creates_a_session_with_an_unguessable_url(players: Players) {
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

fn an_unusable_offer_is_refused_with_the_status_that_players_expect(players: Players) {
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

fn a_full_server_says_when_to_try_again(players: Players) {
    for mut player in players(1) {
        let (session, _) = player.post();
        let answer = player.ask("POST /whep", SDP, CHROMIUM);
        assert_eq!((answer.status, answer.reason().as_str()), (503, "viewers"));
        assert!(answer.header("Retry-After").unwrap().parse::<u32>().unwrap() > 0);
        assert_eq!(player.ask(&format!("DELETE {session}"), "", "").status, 200);
        player.post();
    }
}

fn get_head_and_options_of_the_endpoint_and_of_a_session_are_answered(players: Players) {
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

fn a_preflight_is_answered_as_configured(players: Players) {
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

fn a_deleted_session_and_its_viewer_are_removed_before_the_answer(players: Players) {
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

fn trickle_ice_is_accepted_and_needs_the_current_etag(players: Players) {
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

fn an_ice_restart_is_answered_with_new_credentials(players: Players) {
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

fn pages_of_other_origins_are_refused(players: Players) {
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

/// Adds a viewer with WHEP, and returns its index and the Location and ETag of its session.
fn join(world: &mut World) -> (usize, String, String) {
    let (client, sdp) = world.offer();
    let answer = ask(world, "POST /whep", SDP, &sdp);
    let (location, etag) = created(&answer);
    let index = world.add(client, &sdp, &answer.body);
    world.run(SECOND);
    assert!(world.clients[index].client.frames.len() >= 28);
    (index, location, etag)
}

#[test]
fn a_viewer_whose_session_is_deleted_receives_close_notify() {
    let mut world = World::new();
    let (index, session, _) = join(&mut world);
    assert_eq!(ask(&mut world, &format!("DELETE {session}"), "", "").status, 200);
    assert_eq!(world.server.viewers(), 0);
    assert!(world.clients[index].client.closed);
}

#[test]
fn a_session_is_removed_when_its_viewer_leaves() {
    let mut world = World::new();
    let (index, session, _) = join(&mut world);
    let now = world.now;
    world.clients[index].client.close(now);
    world.run(SECOND);
    assert_eq!(ask(&mut world, &format!("GET {session}"), "", "").status, 404);
}

#[test]
fn an_ice_restart_does_not_interrupt_the_video() {
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
    let [new_ufrag, new_pwd] = ["a=ice-ufrag:", "a=ice-pwd:"].map(|name| value(&answer.body, name));
    assert_ne!(format!("{new_ufrag}:{ufrag}"), world.clients[index].username);

    // A player applies its old answer with the new credentials.
    let before = world.clients[index].client.frames.len();
    world.clients[index].client.answer_restart(&new_ufrag, &new_pwd, world.now);
    world.run(12 * SECOND);
    let frames = &world.clients[index].client.frames[before..];
    assert!(frames.len() >= 12 * 30 - 2, "{} frames", frames.len());
    assert_eq!(world.server.viewers(), 1, "the viewer is recognised by its new credentials");
}

#[test]
fn while_the_source_fails_an_offer_is_refused_with_retry_after() {
    let mut world = World::new();
    let viewer = world.join();
    world.run(SECOND);
    world.source_fails = true;
    world.run(SECOND);
    let answer = ask(&mut world, "POST /whep", SDP, CHROMIUM);
    assert_eq!((answer.status, answer.reason().as_str()), (409, "no-source"));
    assert!(answer.header("Retry-After").unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(world.try_join().unwrap_err().0, 409, "an offer of the page is refused, too");
    world.source_fails = false;
    world.run(SECOND);
    created(&ask(&mut world, "POST /whep", SDP, CHROMIUM));

    // Without viewers there is no capture, so the server does not know that the source fails, and
    // accepts the next offer.
    world.source_fails = true;
    world.run(SECOND);
    let now = world.now;
    world.clients[viewer].client.close(now);
    world.run(SECOND * 3);
    created(&ask(&mut world, "POST /whep", SDP, CHROMIUM));
}
