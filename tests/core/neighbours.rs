//! What other programs beside this one may do: pages on other ports and other sites, and proxies in
//! front, honest ones and others.

mod host;

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::world::{ALLOWED_ORIGIN, World};
use ballcast::testing::server::Input;
use ballcast::testing::source::{SourceKind, StreamConfig};
use ballcast::testing::web::auth::Token;
use ballcast::testing::web::proxies::TrustedProxies;
use serde_json::{Value, json};

const CHROMIUM: &str = include_str!("../offers/chromium-156.sdp");
const SDP: &str = "Content-Type: application/sdp\r\n";
const PROXY: &str = "10.0.7.1:999";
const CLIENT: &str = "10.0.8.1:999";

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|header| header.0 == name).map(|header| header.1)
    }

    fn reason(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// `headers` are whole lines, with Host.
fn ask(world: &mut World, from: &str, what: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!("{what} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    let from: SocketAddr = from.parse().unwrap();
    let answer = String::from_utf8(world.http_raw(from, request.as_bytes())).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn offer() -> String {
    json!({"type": "offer", "sdp": CHROMIUM}).to_string()
}

/// A world behind proxies at these addresses.
fn behind(proxies: &[&str]) -> World {
    let networks = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
    World::configured(|config| {
        config.access.proxies = TrustedProxies(networks);
        config.token = Token::parse("open-sesame");
        config.limits.viewers_per_address = 2;
        config.limits.connections_per_address = 2;
    })
}

#[test]
fn pages_of_the_same_host_may_connect_from_every_port_and_others_may_not() {
    let own = [
        ("camera", "http://camera"),
        ("camera", "http://camera:8080"),
        ("camera:8080", "https://camera"),
        ("camera.", "http://camera:1"),
        // All of its names and addresses are one host.
        ("camera", "http://10.0.0.254"),
        ("10.0.0.254:8080", "https://camera:443"),
        ("127.0.0.1:8080", "http://127.0.0.1"),
        ("[::1]:8080", "http://[::1]:80"),
        ("localhost:8080", "http://localhost"),
        ("camera", ALLOWED_ORIGIN),
    ];
    let foreign = [
        ("camera", "http://elsewhere"),
        ("camera", "null"),
        ("camera", "http://camera.elsewhere"),
        ("camera", "http://camera@elsewhere"),
        ("camera", "http://camera:8080@elsewhere"),
        ("camera", "http://elsewhere#camera"),
        ("camera", "file://camera"),
        ("camera", "camera"),
        ("camera", "http://10.0.0.253"),
        // The browser's own machine is not this one.
        ("camera", "http://localhost"),
        ("camera", "http://127.0.0.1"),
        ("10.0.0.254", "http://[::1]"),
        ("camera", "https://home.example:8123"),
    ];
    let json = "Content-Type: application/json\r\n";
    for (what, kind, body) in [("POST /offer", json, offer()), ("POST /whep", SDP, CHROMIUM.into())]
    {
        for (host, origin) in own {
            let mut world = World::new();
            let headers = format!("Host: {host}\r\nOrigin: {origin}\r\n{kind}");
            let answer = ask(&mut world, CLIENT, what, &headers, &body);
            assert!(matches!(answer.status, 200 | 201), "{what} {host} {origin} {}", answer.head);
            assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(origin));
            let path = what.replace("POST", "OPTIONS");
            let headers = format!(
                "Host: {host}\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n"
            );
            let answer = ask(&mut world, CLIENT, &path, &headers, "");
            assert_eq!((answer.status, answer.header("Vary")), (204, Some("Origin")));
            let headers = answer.header("Access-Control-Allow-Headers").unwrap();
            assert!(headers.contains("Client-Id") && headers.contains("Cache-Control"));
        }
        for (host, origin) in foreign {
            let mut world = World::new();
            let headers = format!("Host: {host}\r\nOrigin: {origin}\r\n{kind}");
            let answer = ask(&mut world, CLIENT, what, &headers, &body);
            assert_eq!((answer.status, &*answer.reason()), (403, "foreign-origin"), "{origin}");
            assert_eq!(answer.header("Access-Control-Allow-Origin"), None);
        }
    }
    let mut world = World::new();
    let cross_site = format!("Host: camera\r\nSec-Fetch-Site: cross-site\r\n{SDP}");
    assert_eq!(ask(&mut world, CLIENT, "POST /whep", &cross_site, CHROMIUM).status, 403);
}

#[test]
fn the_page_may_be_shown_inside_pages_of_the_same_host_and_of_allowed_origins() {
    let mut world = World::new();
    let policy = |world: &mut World, what: &str| {
        let answer = ask(world, CLIENT, what, "Host: 10.0.0.254:8080\r\n", "");
        assert_eq!(answer.header("X-Frame-Options"), None);
        let policy = answer.header("Content-Security-Policy").unwrap();
        policy.split_once("frame-ancestors ").unwrap().1.to_owned()
    };
    assert_eq!(
        policy(&mut world, "GET /"),
        "'self' http://10.0.0.254:* https://10.0.0.254:* http://camera:* https://camera:* \
         https://home.example"
    );
    assert_eq!(policy(&mut world, "GET /stats"), "'none'");
    let answer = ask(&mut world, CLIENT, "GET /", "Host: [fd00::1]\r\n", "");
    assert_eq!(answer.status, 421);
}

#[test]
fn limits_hold_for_each_client_of_a_trusted_proxy() {
    let mut world = behind(&["10.0.7.0/24"]);
    let post = |world: &mut World, from: &str, forwarded: &str| {
        let headers =
            format!("Host: camera\r\nAuthorization: Bearer open-sesame\r\n{forwarded}{SDP}");
        let answer = ask(world, from, "POST /whep", &headers, CHROMIUM);
        (answer.status, answer.reason())
    };
    let forms = [
        ("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"),
        ("X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n", "192.0.2.2"),
        ("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.3, 10.0.7.9\r\n", "192.0.2.3"),
        ("X-Forwarded-For: [2001:db8::4]:99\r\n", "2001:db8::4"),
        ("X-Forwarded-For: 2001:db8:1::5\r\n", "2001:db8:1::5"),
        ("X-Forwarded-For: ::ffff:192.0.2.6\r\n", "192.0.2.6"),
        ("Forwarded: for=192.0.2.7;proto=https\r\n", "192.0.2.7"),
        ("Forwarded: for=192.0.2.1, For=\"[2001:db8:2::8]:47\" ; by=_x\r\n", "2001:db8:2::8"),
        // Another proxy in front of it writes the other header, and both agree.
        ("Forwarded: for=192.0.2.9\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.9:80\r\n", "192.0.2.9"),
        ("Forwarded: host=camera\r\nX-Forwarded-For: 192.0.2.10\r\n", "192.0.2.10"),
        // Nobody but proxies: the first of them.
        ("X-Forwarded-For: 10.0.7.3, 10.0.7.4\r\n", "10.0.7.3"),
    ];
    for (forwarded, address) in forms {
        for _ in 0..2 {
            assert_eq!(post(&mut world, PROXY, forwarded), (201, String::new()), "{forwarded}");
        }
        let refused = post(&mut world, PROXY, forwarded);
        assert_eq!(refused, (503, "viewers-per-address".into()), "{forwarded}");
        let stats = "Host: camera\r\nAuthorization: Bearer open-sesame\r\n";
        let stats = ask(&mut world, PROXY, "GET /stats", stats, "").body;
        assert!(stats.contains(&format!("\"address\":\"{address}\"")), "{address}: {stats}");
    }
}

#[test]
fn a_proxy_that_tells_nobody_apart_has_the_limits_of_the_server_and_of_guesses() {
    for forwarded in ["", "X-Forwarded-For: unknown\r\n", "Forwarded: for=_hidden\r\n"] {
        let mut world = behind(&["10.0.7.1/32"]);
        let right = format!("Host: camera\r\nAuthorization: Bearer open-sesame\r\n{forwarded}");
        for _ in 0..5 {
            let answer = ask(&mut world, PROXY, "POST /whep", &format!("{right}{SDP}"), CHROMIUM);
            assert_eq!(answer.status, 201, "{forwarded}");
        }
        let connections: Vec<_> = (0..10).map(|_| world.connect(PROXY.parse().unwrap())).collect();
        assert!(connections.iter().all(|connection| !world.is_closed(*connection)));
        let wrong = format!("Host: camera\r\nAuthorization: Bearer some-other\r\n{forwarded}");
        let statuses: Vec<u16> =
            (0..6).map(|_| ask(&mut world, PROXY, "GET /stats", &wrong, "").status).collect();
        assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
    }
}

#[test]
fn guesses_of_one_client_lock_out_nobody_else_behind_the_proxy() {
    let mut world = behind(&["10.0.7.1/32"]);
    let guess = |world: &mut World, token: &str, client: &str| {
        let headers = format!(
            "Host: camera\r\nAuthorization: Bearer {token}\r\nX-Forwarded-For: {client}\r\n"
        );
        ask(world, PROXY, "GET /stats", &headers, "").status
    };
    let guesses: Vec<u16> = (0..6).map(|_| guess(&mut world, "some-other", "192.0.2.1")).collect();
    assert_eq!(guesses, [401, 401, 401, 401, 401, 429]);
    assert_eq!(guess(&mut world, "open-sesame", "192.0.2.1"), 429);
    assert_eq!(guess(&mut world, "open-sesame", "192.0.2.2"), 200);
    // What is left of the proxy's own word is the client's, which changes nothing.
    assert_eq!(guess(&mut world, "open-sesame", "192.0.2.2, 192.0.2.1"), 429);
}

#[test]
fn half_requests_through_a_proxy_end_no_stream_of_another_visitor() {
    let mut world = behind(&["10.0.7.1/32"]);
    let stream = |client: u8| {
        format!(
            "GET /stream.mjpg HTTP/1.1\r\nHost: camera\r\nAuthorization: Bearer open-sesame\r\n\
             X-Forwarded-For: 192.0.2.{client}\r\n\r\n"
        )
    };
    let visitor = world.connect(PROXY.parse().unwrap());
    world.input(Input::Received(visitor, stream(1).as_bytes()));
    assert!(world.take_sent(visitor).starts_with(b"HTTP/1.1 200 "));
    for _ in 0..160 {
        let id = world.connect(PROXY.parse().unwrap());
        world.input(Input::Received(id, b"GET / HTTP/1.1\r\nHost: cam"));
    }
    assert!(!world.is_closed(visitor));
    // Nor do they keep a visitor from coming.
    let other = world.connect(PROXY.parse().unwrap());
    world.input(Input::Received(other, stream(2).as_bytes()));
    assert!(world.take_sent(other).starts_with(b"HTTP/1.1 200 "));
    // Behind the proxy, too, who has most streams makes room.
    for _ in 0..7 {
        let id = world.connect(PROXY.parse().unwrap());
        world.input(Input::Received(id, stream(2).as_bytes()));
    }
    world.input(Input::Flushed(visitor));
    world.run(Duration::from_millis(200));
    assert!(!world.take_sent(visitor).is_empty(), "its stream goes on");
}

/// A proxy writes one of the two headers, and passes on the other as its client has forged it.
#[test]
fn clients_with_contradicting_headers_are_one_client() {
    let mut world = behind(&["10.0.7.1/32"]);
    let mut post = |client: u8| {
        let one = format!("X-Forwarded-For: 192.0.2.{client}\r\nForwarded: for=198.51.100.1\r\n");
        let other = format!("Forwarded: for=192.0.2.{client}\r\nX-Forwarded-For: unknown\r\n");
        let forged = if client.is_multiple_of(2) { one } else { other };
        let headers = format!("Host: camera\r\nAuthorization: Bearer open-sesame\r\n{forged}{SDP}");
        let answer = ask(&mut world, PROXY, "POST /whep", &headers, CHROMIUM);
        (answer.status, answer.reason())
    };
    for client in 0..2 {
        assert_eq!(post(client).0, 201);
    }
    for client in 2..20 {
        assert_eq!(post(client), (503, "viewers-per-address".into()));
    }
}

#[test]
fn what_somebody_says_who_is_no_trusted_proxy_changes_nothing() {
    let mut world = behind(&["10.0.7.1/32"]);
    let spoofed = |client: u8| {
        format!(
            "Host: camera\r\nAuthorization: Bearer open-sesame\r\nX-Forwarded-For: 192.0.2.{client}\r\n\
             Forwarded: for=192.0.2.{client}\r\n{SDP}"
        )
    };
    for client in 0..2 {
        let answer = ask(&mut world, CLIENT, "POST /whep", &spoofed(client), CHROMIUM);
        assert_eq!(answer.status, 201);
    }
    let answer = ask(&mut world, CLIENT, "POST /whep", &spoofed(9), CHROMIUM);
    assert_eq!((answer.status, &*answer.reason()), (503, "viewers-per-address"));
    // Neither does another name make a foreign page an own one, nor a wrong host the right one.
    for (headers, reason) in [
        ("Host: elsewhere\r\nX-Forwarded-Host: camera\r\n", "host-unknown"),
        ("Host: camera\r\nX-Forwarded-Host: a\r\nOrigin: http://a\r\n", "foreign-origin"),
    ] {
        let headers = format!("{headers}Authorization: Bearer open-sesame\r\n{SDP}");
        let answer = ask(&mut world, "10.0.8.2:9", "POST /whep", &headers, CHROMIUM);
        assert_eq!(answer.reason(), reason);
    }
}

#[test]
fn every_host_in_a_request_of_a_trusted_proxy_is_ours() {
    let world = || behind(&["10.0.7.1/32"]);
    for (headers, status) in [
        ("Host: upstream\r\n", 421),
        ("Host: upstream\r\nX-Forwarded-Host: camera\r\n", 421),
        ("Host: camera\r\n", 201),
        ("Host: camera\r\nX-Forwarded-Host: evil, camera:8443\r\n", 201),
        ("Host: camera\r\nX-Forwarded-Host: camera, evil\r\n", 421),
        ("Host: camera\r\nX-Forwarded-Host: localhost\r\n", 421),
        ("Host: camera\r\nForwarded: for=1.2.3.4;host=evil\r\n", 421),
        ("Host: camera\r\nForwarded: for=1.2.3.4;host=camera\r\nX-Forwarded-Host: evil\r\n", 421),
        ("Host: camera\r\nForwarded: for=1.2.3.4;host=evil\r\nX-Forwarded-Host: camera\r\n", 421),
        ("Host: camera\r\nX-Forwarded-Host: \r\n", 201),
        // What a browser can be made to ask for, and no server has.
        ("Host: camera\r\nX-Forwarded-Host: a!b.evil.example\r\n", 421),
        ("Host: camera\r\nForwarded: for=1.2.3.4;host=a!b.evil.example\r\n", 421),
        ("Host: localhost\r\nForwarded: for=1.2.3.4;host=camera;x.evil.example\r\n", 421),
        ("Host: localhost\r\nForwarded: for=1.2.3.4;host=camera;host=evil\r\n", 421),
        ("Host: localhost\r\nForwarded: for=1.2.3.4;host=\"camera;x\"\r\n", 421),
        ("Host: localhost\r\nForwarded: for=1.2.3.4; Host=camera;\r\n", 201),
        ("Host: evil\r\nX-Forwarded-Host: camera\r\n", 421),
        ("Host: evil\r\nX-Forwarded-Host: localhost\r\n", 421),
        // The proxy's own name for this server, or its client on its own machine.
        ("Host: localhost\r\n", 421),
        ("Host: 127.0.0.1:8080\r\n", 421),
        ("Host: 127.0.0.1:8080\r\nX-Forwarded-Host: camera\r\n", 201),
        ("Host: [::1]:8080\r\nForwarded: for=1.2.3.4;host=\"10.0.0.254:8080\"\r\n", 201),
        ("Host: 127.0.0.1:8080\r\nX-Forwarded-Host: 127.0.0.1:8080\r\n", 421),
        ("Host: 127.0.0.1:8080\r\nX-Forwarded-Host: localhost.\r\n", 421),
        ("Host: 127.0.0.1:8080\r\nX-Forwarded-Host: ::1\r\n", 421),
        ("Host: 127.0.0.1:8080\r\nX-Forwarded-Host: camera\r\nOrigin: https://camera\r\n", 201),
        ("Host: 127.0.0.1:8080\r\nX-Forwarded-Host: camera\r\nOrigin: https://evil\r\n", 403),
    ] {
        let answer = ask(
            &mut world(),
            PROXY,
            "POST /whep",
            &format!("{headers}Authorization: Bearer open-sesame\r\n{SDP}"),
            CHROMIUM,
        );
        assert_eq!(answer.status, status, "{headers}");
    }
    for (host, status) in [("127.0.0.1:8080", 200), ("camera", 200), ("evil", 421)] {
        let answer = ask(&mut world(), PROXY, "GET /health", &format!("Host: {host}\r\n"), "");
        assert_eq!(answer.status, status, "a watcher on the proxy's machine asks for {host}");
    }
}

fn get(world: &mut World, path: &str) -> Answer {
    ask(world, CLIENT, &format!("GET {path}"), "Host: camera\r\n", "")
}

#[test]
fn a_connection_is_counted_once_whoever_asks() {
    let mut world = World::new();
    let count = |world: &World| world.server.statistics(world.now).connections;
    assert_eq!(count(&world), 0);
    let ids = [1, 2].map(|host| world.connect(SocketAddr::from(([10, 0, 8, host], 1))));
    assert_eq!(count(&world), 2);
    let request = "GET /stats HTTP/1.1\r\nHost: camera\r\n\r\n";
    world.input(Input::Received(ids[0], request.as_bytes()));
    let answer = String::from_utf8(world.take_sent(ids[0])).unwrap();
    assert!(answer.contains("\"connections\":2,"), "the one that asks is one of them: {answer}");
    assert_eq!(count(&world), 2);
}

#[test]
fn metrics_are_those_of_all_viewers_and_none_is_of_one() {
    let mut world = World::new();
    let viewer = world.join();
    world.run(Duration::from_secs(2));
    let metric = |world: &mut World, name: &str| {
        let answer = get(world, "/metrics");
        assert_eq!(answer.header("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let mut lines = answer.body.lines();
        let line = lines.find_map(|line| line.strip_prefix(&format!("ballcast_{name} ")));
        line.unwrap_or_else(|| panic!("{name}: {}", answer.body)).parse::<f64>().unwrap()
    };
    assert_eq!(metric(&mut world, "viewers{codec=\"H264\",state=\"live\"}"), 1.0);
    assert_eq!(metric(&mut world, "source_up"), 1.0);
    let sent = metric(&mut world, "sent_packets_total");
    assert!(sent >= 58.0 && metric(&mut world, "sent_bytes_total") > sent * 20.0);
    world.clients[viewer].client.close(world.now);
    world.run(Duration::from_millis(100));
    assert_eq!(metric(&mut world, "viewers{codec=\"H264\",state=\"live\"}"), 0.0);
    assert_eq!(metric(&mut world, "viewer_endings_total{reason=\"peer-closed\"}"), 1.0);
    assert!(metric(&mut world, "sent_packets_total") >= sent, "a counter never falls");
    get(&mut world, "/nowhere");
    assert_eq!(metric(&mut world, "refusals_total{reason=\"not-found\"}"), 1.0);
    assert!(!get(&mut world, "/metrics").body.contains("10.0."), "no address");
    let mut guarded = World::with_token(Token::parse("open-sesame"));
    assert_eq!(get(&mut guarded, "/metrics").status, 401);
}

#[test]
fn health_is_whether_there_is_a_picture_and_needs_no_token() {
    let mut world = World::with_token(Token::parse("open-sesame"));
    let answer = get(&mut world, "/health");
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    world.source_fails = true;
    let bearer = format!("Host: camera\r\nAuthorization: Bearer open-sesame\r\n{SDP}");
    let _ = ask(&mut world, CLIENT, "GET /snapshot.jpg", &bearer, "");
    let answer = get(&mut world, "/health");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("camera or the encoder"), "{}", answer.body);
    let mut stream = World::with_source(
        StreamConfig { kind: SourceKind::Command, raw: None, interval: None }.into(),
    );
    let answer = get(&mut stream, "/health");
    assert_eq!((answer.status, answer.body.as_str()), (503, "The command is starting.\n"));
    let refusals = stream.stats()["refusals"].clone();
    assert_eq!(refusals, json!({}), "a watcher is not refused");
}

#[test]
fn an_announced_address_is_offered_at_our_port_and_is_a_name_of_the_server() {
    let mut world = World::configured(|config| {
        config.announced = vec!["203.0.113.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
    });
    let headers = format!("Host: 203.0.113.7:8080\r\n{SDP}");
    let answer = ask(&mut world, CLIENT, "POST /whep", &headers, CHROMIUM);
    assert_eq!(answer.status, 201);
    let candidates: Vec<&str> =
        answer.body.lines().filter(|line| line.starts_with("a=candidate:")).collect();
    assert_eq!(candidates.len(), 3, "{candidates:?}");
    for (candidate, address) in candidates.iter().zip(["10.0.0.254", "203.0.113.7", "2001:db8::7"])
    {
        assert!(candidate.contains(&format!(" {address} 8080 typ host")), "{candidate}");
    }
}

/// An `<img>` sends no Origin, and over plain HTTP no Sec-Fetch-Site. To Chromium an IP address is the
/// same site as nothing, another port of it included.
#[test]
fn pages_of_the_same_host_show_pictures_from_every_port_and_others_do_not() {
    let policy = |what: &str, host: &str, headers: &str| {
        let mut world = World::configured(|config| config.access.origins.clear());
        let headers = format!("Host: {host}\r\n{headers}");
        let answer = ask(&mut world, CLIENT, &format!("GET {what}"), &headers, "");
        (answer.status, answer.header("Cross-Origin-Resource-Policy").unwrap().to_owned())
    };
    let own = [
        ("10.0.0.254:8080", "Referer: http://10.0.0.254/\r\n"),
        ("10.0.0.254:8080", "Referer: https://10.0.0.254:7125/panel?camera=1#top\r\n"),
        ("10.0.0.254:8080", "Referer: http://camera\r\n"),
        ("camera:8080", "Referer: http://camera.:80/\r\n"),
        ("127.0.0.1:8080", "Referer: http://127.0.0.1/\r\nSec-Fetch-Site: cross-site\r\n"),
        ("[::1]:8080", "Referer: http://[::1]/\r\nSec-Fetch-Site: cross-site\r\n"),
        ("10.0.0.254:8080", "Origin: http://10.0.0.254\r\n"),
    ];
    let unknown = [
        ("10.0.0.254:8080", ""),
        ("10.0.0.254:8080", "Referer: http://elsewhere/\r\n"),
        ("10.0.0.254:8080", "Referer: http://elsewhere/10.0.0.254/\r\n"),
        ("10.0.0.254:8080", "Referer: http://10.0.0.254@elsewhere/\r\n"),
        ("10.0.0.254:8080", "Referer: http://elsewhere?http://10.0.0.254/\r\n"),
        ("10.0.0.254:8080", "Referer: http://10.0.0.254.elsewhere/\r\n"),
        ("10.0.0.254:8080", "Referer: http://127.0.0.1/\r\n"),
        ("10.0.0.254:8080", "Referer: file:///10.0.0.254\r\n"),
        ("10.0.0.254:8080", "Referer: 10.0.0.254\r\n"),
        ("10.0.0.254:8080", "Referer: about:blank\r\n"),
    ];
    let foreign = [
        ("10.0.0.254:8080", "Referer: http://elsewhere/\r\nSec-Fetch-Site: cross-site\r\n"),
        ("10.0.0.254:8080", "Sec-Fetch-Site: cross-site\r\n"),
        ("10.0.0.254:8080", "Origin: http://elsewhere\r\nReferer: http://10.0.0.254/\r\n"),
        ("10.0.0.254:8080", "Origin: null\r\nReferer: http://10.0.0.254/\r\n"),
    ];
    for what in ["/snapshot.jpg", "/stream.mjpg", "/?action=snapshot", "/?action=stream"] {
        for (host, headers) in own {
            let expected = (200, "cross-origin".into());
            assert_eq!(policy(what, host, headers), expected, "{what} {host} {headers}");
        }
        for (host, headers) in unknown {
            let expected = (200, "same-site".into());
            assert_eq!(policy(what, host, headers), expected, "{what} {host} {headers}");
        }
        for (host, headers) in foreign {
            let expected = (403, "same-site".into());
            assert_eq!(policy(what, host, headers), expected, "{what} {host} {headers}");
        }
    }
    assert_eq!(policy("/stats", own[0].0, own[0].1), (200, "same-origin".into()));
}
