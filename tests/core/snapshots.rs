//! Pictures over HTTP, in virtual time: late answers, limits, and who wakes the source.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::world::{ALLOWED_ORIGIN, SnapshotMaker, World};
use ballcast::testing::http::RESPOND_TIME;
use ballcast::testing::media::SnapshotError;
use ballcast::testing::server::limits::admission::Limits;
use ballcast::testing::server::{ConnId, Input};
use ballcast::testing::web::auth::Token;

const SNAPSHOT: &str = "GET /snapshot.jpg HTTP/1.1\r\nHost: camera\r\n\r\n";
const STREAM: &str = "GET /stream.mjpg HTTP/1.1\r\nHost: camera\r\n\r\n";
const PERIOD: Duration = Duration::from_millis(34);
/// From one picture of a stream to the next, with a tick of the clock more.
const PART_PERIOD: Duration = Duration::from_millis(134);

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 3, 0, host], 4_000))
}

/// Sends a request on a connection of its own.
fn ask(world: &mut World, host: u8, request: &str) -> ConnId {
    let id = world.connect(address(host));
    world.input(Input::Received(id, request.as_bytes()));
    id
}

fn text(world: &mut World, id: ConnId) -> String {
    String::from_utf8(world.take_sent(id)).unwrap()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
}

/// The status, and the reason of a refusal.
fn status_and_reason(answer: &str) -> (u16, String) {
    let reason = answer.split_once("\"reason\":\"").and_then(|(_, rest)| rest.split_once('"'));
    (status(answer), reason.map_or(String::new(), |(reason, _)| reason.to_owned()))
}

/// A world whose source makes its JPEG files when the test says so.
fn world_with_late_snapshots() -> World {
    let mut world = World::new();
    world.snapshot = None;
    world
}

fn made(world: &mut World, width: Option<usize>) {
    world.input(Input::Snapshot { width, made: Ok("JPEG".into()), cost: Duration::ZERO });
}

#[test]
fn a_snapshot_wakes_a_source_that_nobody_watches_and_lets_it_sleep_again() {
    let mut world = World::new();
    let id = ask(&mut world, 1, SNAPSHOT);
    let answer = text(&mut world, id);
    assert_eq!(status(&answer), 200);
    assert!(answer.contains("\r\nContent-Type: image/jpeg\r\n"), "{answer}");
    assert!(answer.contains("\r\nCache-Control: no-store\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nJPEG 1 None"), "{answer}");
    world.input(Input::Disconnected(id));
    world.run(Duration::from_secs(60));
    assert_eq!((world.captures, world.deadline()), (1, None), "one picture, and no timer");
}

#[test]
fn all_who_ask_for_one_picture_share_one_file() {
    let mut world = world_with_late_snapshots();
    // More than one client may have encoded at once.
    let early: Vec<ConnId> = (0..25).map(|_| ask(&mut world, 1, SNAPSHOT)).collect();
    let narrow =
        ask(&mut world, 30, "GET /snapshot.jpg?width=320&t=5 HTTP/1.1\r\nHost: camera\r\n\r\n");
    assert_eq!(world.snapshots, [None], "one file after the other");
    made(&mut world, None);
    assert_eq!(world.snapshots, [None, Some(320)]);
    let late = ask(&mut world, 31, SNAPSHOT);
    for id in early.into_iter().chain([late]) {
        assert_eq!(status(&text(&mut world, id)), 200);
    }
    assert_eq!(text(&mut world, narrow), "", "another width is another file");
    made(&mut world, Some(320));
    assert_eq!(status(&text(&mut world, narrow)), 200);
    assert_eq!((world.captures, world.snapshots.len()), (1, 2));
    assert_eq!(world.stats()["jpegs_made"], 2);
    assert_eq!(world.stats()["snapshots_sent"], 27);
    world.run(PERIOD);
    ask(&mut world, 32, SNAPSHOT);
    assert_eq!((world.captures, world.snapshots.len()), (2, 3), "a new picture is a new file");
}

#[test]
fn with_viewers_the_snapshot_is_of_the_picture_that_they_see() {
    let mut world = World::new();
    world.join();
    world.run(Duration::from_secs(1));
    let captures = world.captures;
    let id = ask(&mut world, 1, SNAPSHOT);
    let answer = text(&mut world, id);
    assert!(answer.ends_with(&format!("JPEG {captures} None")), "{answer}");
    assert_eq!(world.captures, captures, "no picture is taken for it");
}

#[test]
fn answers_keep_the_order_of_their_requests() {
    let mut world = world_with_late_snapshots();
    let stats = "HEAD /stats HTTP/1.1\r\nHost: camera\r\n\r\n";
    let id = ask(&mut world, 1, &[stats, SNAPSHOT, stats].concat());
    let before = String::from_utf8(world.read_answers(id)).unwrap();
    assert_eq!(before.matches("HTTP/1.1 200").count(), 1);
    made(&mut world, None);
    let answers = String::from_utf8(world.read_answers(id)).unwrap();
    let picture = answers.find("image/jpeg").unwrap();
    assert!(picture < answers.find("application/json").unwrap(), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2);
}

#[test]
fn head_gets_the_head_of_the_picture() {
    let mut world = World::new();
    let id = ask(&mut world, 1, &SNAPSHOT.replace("GET", "HEAD"));
    let answer = text(&mut world, id);
    assert!(answer.contains("\r\nContent-Length: 11\r\n") && answer.ends_with("\r\n\r\n"));
}

#[test]
fn a_picture_that_does_not_come_is_503_after_ten_seconds() {
    let mut world = world_with_late_snapshots();
    let id = ask(&mut world, 1, SNAPSHOT);
    world.run(RESPOND_TIME - Duration::from_millis(1));
    assert_eq!(text(&mut world, id), "");
    world.run(Duration::from_millis(1));
    let answer = text(&mut world, id);
    assert_eq!(status_and_reason(&answer), (503, "not-ready".into()));
    assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
    world.input(Input::Flushed(id));
    made(&mut world, None);
    assert_eq!(text(&mut world, id), "", "nothing is answered twice");
}

#[test]
fn a_peer_that_is_gone_waits_for_nothing() {
    let mut world = world_with_late_snapshots();
    let gone = ask(&mut world, 1, SNAPSHOT);
    let stays = ask(&mut world, 2, SNAPSHOT);
    world.input(Input::Disconnected(gone));
    made(&mut world, None);
    assert_eq!(text(&mut world, gone), "");
    assert_eq!(status(&text(&mut world, stays)), 200);
}

#[test]
fn why_there_is_no_picture_is_said() {
    let failures: [(SnapshotMaker, u16, &str); 3] = [
        (|_, _| Err(SnapshotError::NoPicture), 503, "no-source"),
        (|_, _| Err(SnapshotError::NoPictures), 501, "no-pictures"),
        (|_, _| Err(SnapshotError::TooWide { picture_width: 640 }), 400, "snapshot-width"),
    ];
    for (maker, expected, reason) in failures {
        for request in [SNAPSHOT, STREAM] {
            let mut world = World::new();
            world.snapshot = Some(maker);
            let id = ask(&mut world, 1, request);
            let answer = text(&mut world, id);
            assert_eq!(status_and_reason(&answer), (expected, reason.into()));
            assert_eq!(answer.contains("\r\nRetry-After: "), expected == 503, "{answer}");
            assert_eq!(world.stats()["refusals"][reason], 1);
            assert_eq!(world.stats()["mjpeg_clients"], 0);
        }
    }
}

#[test]
fn a_width_is_even_and_not_too_small() {
    for width in ["", "0", "14", "17", "3842", "-16", "+16", "1e3", "99999999999999999999"] {
        let mut world = World::new();
        let request = format!("GET /snapshot.jpg?width={width} HTTP/1.1\r\nHost: camera\r\n\r\n");
        let id = ask(&mut world, 1, &request);
        let answer = text(&mut world, id);
        assert_eq!(status_and_reason(&answer), (400, "snapshot-width".into()), "{width}");
        assert_eq!(world.captures, 0);
    }
}

#[test]
fn a_stream_keeps_the_source_awake_and_gets_ten_pictures_a_second() {
    let mut world = World::new();
    let id = ask(&mut world, 1, STREAM);
    let start = text(&mut world, id);
    assert!(
        start.contains("Content-Type: multipart/x-mixed-replace; boundary=ballcast-picture\r\n")
    );
    let first = "\r\n\r\n--ballcast-picture\r\nContent-Type: image/jpeg\r\nContent-Length: 11\r\n\
                 X-Timestamp: 784111777.000000\r\n\r\nJPEG 1 None\r\n--ballcast-picture\r\n";
    assert!(start.ends_with(first) && !start.contains("Transfer-Encoding"), "{start}");
    let mut parts = 0;
    for _ in 0..1_000 {
        world.input(Input::Flushed(id));
        world.run(Duration::from_millis(10));
        parts += text(&mut world, id).matches("image/jpeg").count();
    }
    assert!((98..=101).contains(&parts), "{parts} pictures in 10 s");
    assert!((295..=302).contains(&world.captures), "{}", world.captures);
    assert!(world.encoded.is_empty(), "no video is encoded for it");
    assert_eq!(world.stats()["mjpeg_clients"], 1);
    world.input(Input::Disconnected(id));
    assert_eq!(world.deadline(), None);
    assert_eq!(world.stats()["mjpeg_clients"], 0);
}

#[test]
fn a_slow_reader_skips_pictures_and_costs_the_others_nothing() {
    let mut world = World::new();
    let (slow, fast) = (ask(&mut world, 1, STREAM), ask(&mut world, 2, STREAM));
    text(&mut world, slow);
    let encoded = world.snapshots.len();
    let mut parts = 0;
    for _ in 0..50 {
        world.input(Input::Flushed(fast));
        world.run(Duration::from_millis(100));
        parts += text(&mut world, fast).matches("image/jpeg").count();
    }
    assert!((48..=51).contains(&parts), "{parts}");
    assert_eq!(text(&mut world, slow), "", "nothing is given to a reader that has not read");
    assert!(world.snapshots.len() - encoded <= parts + 1, "one file for both");
    world.input(Input::Flushed(slow));
    world.run(PART_PERIOD);
    let part = text(&mut world, slow);
    assert_eq!(part.matches("image/jpeg").count(), 1, "and then the newest, once: {part}");
    world.input(Input::Disconnected(fast));
    let encoded = world.snapshots.len();
    world.run(Duration::from_secs(5));
    assert_eq!(world.snapshots.len(), encoded, "nothing is encoded when nobody takes it");
}

#[test]
fn a_stream_that_is_not_read_ends_and_the_source_sleeps() {
    let mut world = World::new();
    let id = ask(&mut world, 1, STREAM);
    world.run(Duration::from_secs(11));
    assert!(world.is_closed(id));
    assert_eq!(world.deadline(), None);
    assert_eq!(world.stats()["refusals"]["answer-late"], 1);
}

#[test]
fn a_stream_ends_when_the_peer_half_closes() {
    let mut world = World::new();
    let id = ask(&mut world, 1, STREAM);
    world.input(Input::Flushed(id));
    world.input(Input::HalfClosed(id));
    assert_eq!(world.stats()["mjpeg_clients"], 0);
    world.run(Duration::from_secs(3));
    assert_eq!(world.deadline(), None);
}

#[test]
fn so_many_streams_and_no_more() {
    let limits = Limits { mjpeg_clients: 2, ..Limits::default() };
    let mut world = World::with_limits(limits);
    let ids = [1, 2].map(|host| ask(&mut world, host, STREAM));
    let refused = ask(&mut world, 3, STREAM);
    let answer = text(&mut world, refused);
    assert_eq!(status_and_reason(&answer), (503, "mjpeg-clients".into()));
    assert!(answer.contains("\r\nRetry-After: "), "{answer}");
    assert_eq!(world.stats()["refusals"]["mjpeg-clients"], 1);
    world.input(Input::Disconnected(ids[0]));
    let admitted = ask(&mut world, 3, STREAM);
    assert_eq!(status(&text(&mut world, admitted)), 200);
}

#[test]
fn the_client_with_most_streams_makes_room_for_one_with_fewer() {
    let mut world = World::new();
    let greedy: Vec<ConnId> = (0..8).map(|_| ask(&mut world, 1, STREAM)).collect();
    let is_streaming = |world: &mut World, id: ConnId| {
        world.input(Input::Flushed(id));
        text(world, id);
        world.run(PART_PERIOD);
        text(world, id).contains("image/jpeg")
    };
    let watch = |world: &mut World, host: u8| {
        let id = ask(world, host, STREAM);
        let answer = text(world, id);
        (id, status_and_reason(&answer))
    };
    let refused = (503, "mjpeg-clients".to_owned());
    assert_eq!(watch(&mut world, 1).1, refused, "it does not make room for itself");
    let (other, admitted) = watch(&mut world, 2);
    assert_eq!(admitted.0, 200);
    assert!(!is_streaming(&mut world, greedy[0]), "its oldest has ended");
    assert!(is_streaming(&mut world, greedy[1]) && is_streaming(&mut world, other));
    assert_eq!(watch(&mut world, 1).1, refused, "and does not come back");
    for host in 3..9 {
        assert_eq!(watch(&mut world, host).1.0, 200, "{host}");
    }
    // Now each has one.
    assert_eq!(watch(&mut world, 9).1, refused);
    assert!(is_streaming(&mut world, greedy[7]) && is_streaming(&mut world, other));
    assert_eq!(world.stats()["mjpeg_clients"], 8);
}

#[test]
fn a_stream_that_waits_for_its_first_picture_makes_room_with_an_answer() {
    let mut world = world_with_late_snapshots();
    let greedy: Vec<ConnId> = (0..8).map(|_| ask(&mut world, 1, STREAM)).collect();
    let other = ask(&mut world, 2, STREAM);
    let answer = text(&mut world, greedy[0]);
    assert_eq!(status_and_reason(&answer), (503, "mjpeg-clients".into()));
    made(&mut world, None);
    assert_eq!(status(&text(&mut world, other)), 200);
    assert_eq!(status(&text(&mut world, greedy[1])), 200);
}

#[test]
fn shutdown_answers_who_waits_and_ends_the_streams() {
    let mut world = World::new();
    ask(&mut world, 1, STREAM);
    world.snapshot = None;
    world.run(PERIOD);
    let narrow = SNAPSHOT.replace(".jpg", ".jpg?width=160");
    let waits = ask(&mut world, 2, &narrow);
    world.input(Input::Shutdown);
    let answer = text(&mut world, waits);
    assert_eq!(status_and_reason(&answer), (503, "shutting-down".into()));
    assert_eq!(world.stats()["mjpeg_clients"], 0);
    let late = ask(&mut world, 3, SNAPSHOT);
    assert_eq!(status_and_reason(&text(&mut world, late)), (503, "shutting-down".into()));
}

#[test]
fn pictures_need_the_token_in_the_header_or_in_the_address() {
    let mut world = World::with_token(Token::parse("open+sesame/="));
    let query = |path: &str, token: &str| {
        format!("GET {path}?t=1&token={token} HTTP/1.1\r\nHost: camera\r\n\r\n")
    };
    for path in ["/snapshot.jpg", "/stream.mjpg"] {
        let plain = format!("GET {path} HTTP/1.1\r\nHost: camera\r\n\r\n");
        let header = "\r\nAuthorization: Bearer open+sesame/=\r\n\r\n";
        for (request, expected) in [
            (plain.clone(), (401, "token-missing")),
            (query(path, "open-sesame"), (401, "token-wrong")),
            (query(path, "open+sesame/="), (200, "")),
            (query(path, "open%2Bsesame%2f%3D"), (200, "")),
            (plain.replace("\r\n\r\n", header), (200, "")),
        ] {
            let id = ask(&mut world, 1, &request);
            let (status, reason) = status_and_reason(&text(&mut world, id));
            assert_eq!((status, reason.as_str()), expected, "{request}");
            world.input(Input::Disconnected(id));
        }
    }
    let stats = ask(&mut world, 1, &query("/stats", "open+sesame/="));
    let answer = text(&mut world, stats);
    assert_eq!(status_and_reason(&answer).0, 401, "the other resources take the header only");
}

#[test]
fn pages_of_other_sites_show_no_pictures_unless_they_are_allowed() {
    let mut world = World::new();
    let mut ask_with = |headers: &str| {
        let id = ask(&mut world, 1, &SNAPSHOT.replace("\r\n\r\n", &format!("\r\n{headers}\r\n")));
        let answer = text(&mut world, id);
        world.input(Input::Disconnected(id));
        answer
    };
    let foreign = ask_with("Origin: http://elsewhere.example\r\n");
    assert_eq!(status_and_reason(&foreign), (403, "foreign-origin".into()));
    let allowed = ask_with(&format!("Origin: {ALLOWED_ORIGIN}\r\n"));
    assert_eq!(status(&allowed), 200);
    let header = format!("\r\nAccess-Control-Allow-Origin: {ALLOWED_ORIGIN}\r\n");
    assert!(allowed.contains(&header), "{allowed}");
    let plain = ask_with("Sec-Fetch-Site: cross-site\r\n");
    assert!(plain.contains("\r\nCross-Origin-Resource-Policy: cross-origin\r\n"), "{plain}");
    let rebound = ask(&mut world, 1, &SNAPSHOT.replace("camera", "evil.example"));
    assert_eq!(status_and_reason(&text(&mut world, rebound)), (421, "host-unknown".into()));
}

#[test]
fn pictures_have_the_addresses_of_mjpg_streamer_too() {
    let mut world = World::new();
    let mut answer = |path: &str| {
        let id = ask(&mut world, 1, &format!("GET {path} HTTP/1.1\r\nHost: camera\r\n\r\n"));
        let answer = String::from_utf8_lossy(&world.take_sent(id)).into_owned();
        world.input(Input::Disconnected(id));
        assert_eq!(status(&answer), 200, "{path}: {answer}");
        let mut headers = answer.lines().filter_map(|line| line.strip_prefix("Content-Type: "));
        let content_type = headers.next().unwrap().split(';').next().unwrap().to_owned();
        (content_type, answer.contains("\r\nX-Accel-Buffering: no\r\n"))
    };
    for path in [
        "/snapshot.jpg",
        "/snapshot",
        "/?action=snapshot",
        "/?action=snapshot&n=1",
        "/?n=1&action=snapshot_0",
    ] {
        assert_eq!(answer(path), ("image/jpeg".into(), false), "{path}");
    }
    for path in [
        "/stream.mjpg",
        "/stream",
        "/?action=stream",
        "/?action=stream_0",
        "/?action=stream&a.mjpg",
    ] {
        assert_eq!(answer(path), ("multipart/x-mixed-replace".into(), true), "{path}");
    }
    for path in ["/", "/?", "/?action=", "/?action=command&id=1", "/?actions=stream"] {
        assert_eq!(answer(path), ("text/html".into(), false), "{path}");
    }
}
