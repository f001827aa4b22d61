//! The stream is published to media servers, in virtual time: what they are asked, what becomes of
//! their answers, and when they are asked again.

mod dialects;
mod paths;
mod redirects;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::support::world::World;
use ballcast::testing::http::Url;
use ballcast::testing::media::Codec;
use ballcast::testing::os_error::OsError;
use ballcast::testing::publish::{
    BearerToken, PublishCause, PublishCommand, PublishEvent, Target, TargetId,
};
use ballcast::testing::server::Input;
use ballcast::testing::web::auth::Token;
use serde_json::Value;

const TARGET: TargetId = TargetId(0);
const VIEWER_TOKEN: &str = "open-sesame";
const URL: &str = "http://media.example:8889/cam/whip?key=secret";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn target(url: &str) -> Target {
    Target { url: Url::parse(url).unwrap(), token: BearerToken::parse("opensesame") }
}

fn publishing(url: &str) -> World {
    let mut world = World::configured(|config| config.targets = vec![target(url)]);
    world.run(Duration::ZERO);
    world
}

/// The same where viewers need a token, so that who has it may read more.
fn publishing_with_token(url: &str) -> World {
    let mut world = World::configured(|config| {
        config.targets = vec![target(url)];
        config.token = Token::parse(VIEWER_TOKEN);
    });
    world.run(Duration::ZERO);
    world
}

/// What the target's connection is asked to do since the last call.
fn commands(world: &mut World) -> Vec<PublishCommand> {
    std::mem::take(&mut world.publish_commands).into_iter().map(|(_, command)| command).collect()
}

fn tell(world: &mut World, event: PublishEvent) {
    world.input(Input::Publish(TARGET, event));
}

fn fail(world: &mut World, cause: PublishCause) {
    tell(world, PublishEvent::Failed(cause.into()));
}

/// The connection of the target is made as it asks for it: the request.
fn connect(world: &mut World) -> String {
    loop {
        let next = commands(world).into_iter().rfind(|command| *command != PublishCommand::Close);
        match next.expect("a request is under way") {
            PublishCommand::Resolve(_) => {
                tell(world, PublishEvent::Resolved(vec![IpAddr::from([10, 9, 9, 9])]))
            }
            PublishCommand::Connect(_) | PublishCommand::ConnectElsewhere(_) => {
                tell(world, PublishEvent::Connected)
            }
            PublishCommand::Send(bytes) => return String::from_utf8(bytes.to_vec()).unwrap(),
            PublishCommand::Close => unreachable!(),
        }
    }
}

fn respond(world: &mut World, head: &str, body: &str) {
    let length = body.len();
    let response = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}");
    tell(world, PublishEvent::Received(response.as_bytes()));
}

fn body(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

/// A media server takes the offer: its index among the clients.
fn accept(world: &mut World) -> usize {
    let request = connect(world);
    assert!(request.starts_with("POST "), "{request}");
    let (index, answer) = world.invite(body(&request));
    respond(world, "201 Created\r\nLocation: session/1\r\nETag: *", &answer);
    index
}

fn stats(world: &mut World) -> Value {
    world.stats()["targets"][0].clone()
}

/// What is shown to who has the token.
fn stats_with_token(world: &mut World) -> Value {
    let request = format!(
        "GET /stats HTTP/1.1\r\nHost: camera\r\nAuthorization: Bearer {VIEWER_TOKEN}\r\n\r\n"
    );
    world.http("10.0.0.99:1000".parse().unwrap(), &request).1["targets"][0].clone()
}

#[test]
fn a_media_server_gets_the_stream_from_a_key_frame_on() {
    let mut world = publishing(URL);
    assert_eq!(commands(&mut world), [PublishCommand::Resolve("media.example".into())]);
    tell(&mut world, PublishEvent::Resolved(vec![IpAddr::from([10, 9, 9, 9])]));
    assert_eq!(commands(&mut world), [PublishCommand::Connect("10.9.9.9:8889".parse().unwrap())]);
    tell(&mut world, PublishEvent::Connected);
    let request = connect(&mut world);
    let head = request.split_once("\r\n\r\n").unwrap().0;
    for line in [
        "POST /cam/whip?key=secret HTTP/1.1",
        "Host: media.example:8889",
        "Authorization: Bearer opensesame",
        "Content-Type: application/sdp",
        "Connection: close",
    ] {
        assert!(head.lines().any(|it| it == line), "{line}: {head}");
    }
    let offer = body(&request);
    for line in [
        "a=sendonly",
        "a=setup:actpass",
        "a=rtcp-mux",
        "a=rtcp-mux-only",
        "a=end-of-candidates",
        "a=rtpmap:96 H264/90000",
        "a=rtpmap:97 rtx/90000",
        "a=rtpmap:98 VP8/90000",
    ] {
        assert!(offer.lines().any(|it| it == line), "{line}: {offer}");
    }
    assert_eq!(offer.matches("m=").count(), 1, "{offer}");
    let (server, answer) = world.invite(offer);
    respond(&mut world, "201 Created\r\nLocation: session/1\r\nETag: *", &answer);
    assert_eq!(commands(&mut world), [PublishCommand::Close]);
    world.run(seconds(2));
    let client = &world.clients[server].client;
    assert!(client.connected);
    assert!(client.frames[0].is_keyframe());
    assert!(client.frames.len() >= 55, "{}", client.frames.len());
    let stats = stats(&mut world);
    assert_eq!((&stats["state"], &stats["server"]), (&"live".into(), &"media server 1".into()));
    for part in ["secret", "media.example", "8889", "10.9.9.9"] {
        assert!(!world.stats().to_string().contains(part), "{part}");
    }
    assert_eq!(world.server.viewers(), 0, "it is none of those that have asked");
}

#[test]
fn vp8_is_sent_to_a_server_that_takes_nothing_else() {
    let mut world = publishing(URL);
    world.codec = Codec::Vp8;
    let server = accept(&mut world);
    world.run(seconds(1));
    assert!(!world.clients[server].client.frames.is_empty());
    assert_eq!(world.encoded, [Codec::Vp8]);
}

#[test]
fn a_server_is_sent_nothing_that_its_answer_does_not_take() {
    let extension = "a=extmap:1 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay\r\n";
    for (takes_rtx, takes_extension) in [(true, true), (false, true), (true, false)] {
        let mut world = publishing(URL);
        let request = connect(&mut world);
        let (server, answer) = world.invite(body(&request));
        let is_of_rtx =
            |line: &str| line.starts_with("a=rtpmap:97") || line.starts_with("a=fmtp:97");
        let lines = answer.lines().filter(|line| takes_rtx || !is_of_rtx(line));
        let mut answer: String = lines.map(|line| format!("{line}\r\n")).collect();
        if takes_extension {
            answer += extension;
        }
        respond(&mut world, "201 Created\r\nLocation: session/1", &answer);
        world.run(seconds(1));
        // It misses some of the packets, and asks for them.
        world.clients[server].powered_off = true;
        world.run(Duration::from_millis(60));
        world.clients[server].powered_off = false;
        world.run(seconds(1));
        let mut expected = BTreeSet::from([(96, takes_extension)]);
        expected.extend(takes_rtx.then_some((97, takes_extension)));
        assert_eq!(world.clients[server].rtp_kinds, expected);
    }
}

/// The first attempt's response is this: the sentences about it, for everybody and for who has the token,
/// and how long until the next attempt.
fn outcome(response: &str) -> (String, String, f64) {
    let [public, private] = [publishing(URL), publishing_with_token(URL)].map(|mut world| {
        connect(&mut world);
        tell(&mut world, PublishEvent::Received(response.as_bytes()));
        tell(&mut world, PublishEvent::Ended);
        world
    });
    let (public, private) = (stats(&mut { public }), stats_with_token(&mut { private }));
    assert_eq!(public["state"], "waiting", "{public}");
    assert_eq!((&public["detail"], &public["server"]), (&Value::Null, &"media server 1".into()));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let retry_in = public["retry_in_s"].as_f64().unwrap();
    (text(&public["sentence"]), text(&private["detail"]), retry_in)
}

#[test]
fn a_refusal_becomes_a_sentence_and_is_tried_again() {
    let long = format!("HTTP/1.1 500 X\r\nContent-Length: 9000\r\n\r\n{}", "x".repeat(9_000));
    let hostile = "HTTP/1.1 400 X\r\nContent-Length: 40\r\n\r\n\u{1b}[31m<b onclick=\"x\">\\ bad\0 stream\u{7}\nmore lines";
    let cases = [
        (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            "status 401: the token is wrong",
        ),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nIn use", "says \"In use\"."),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "nothing at this URL"),
        ("HTTP/1.1 406 X\r\nContent-Length: 0\r\n\r\n", "does not accept WHIP"),
        ("HTTP/1.1 418 X\r\nContent-Length: 0\r\n\r\n", "refuses the offer"),
        ("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", "cannot serve this now"),
        (
            "HTTP/1.1 301 X\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
            "not a valid answer to an offer",
        ),
        ("HTTP/1.1 201 Created\r\nLocation: /s\r\nContent-Length: 4\r\n\r\nv=0\n", "its answer"),
        ("HTTP/1.1 201 Created\r\nLocation: /s\r\nContent-Length: 4\r\n\r\nv=", "10.9.9.9:8889"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "10.9.9.9:8889"),
        ("", "10.9.9.9:8889"),
        (&long, "xxx"),
        (hostile, "says \"\\u{1b}[31m<b onclick='x'>\\ bad\\0 stream\\u{7}\"."),
    ];
    for (response, expected) in cases {
        let (sentence, detail, retry_in) = outcome(response);
        assert!(detail.contains(expected), "{expected}: {detail}");
        assert!(detail.starts_with("media.example:8889 has no picture: "), "{detail}");
        assert!(!detail.contains(char::is_control) && detail.len() < 300, "{detail:?}");
        // In our own words, everybody reads the same.
        let own = detail.strip_prefix("media.example:8889").unwrap();
        let own = own.split(" (10.9.9.9:8889)").next().unwrap().trim_end_matches('.');
        assert_eq!(sentence.strip_prefix("media server 1"), Some(&*format!("{own}.")));
        assert!((0.99..=2.0).contains(&retry_in), "{response}: {retry_in}");
    }
}

#[test]
fn a_server_that_names_a_time_is_not_asked_before() {
    let response =
        |header: &str| format!("HTTP/1.1 503 X\r\nContent-Length: 0\r\n{header}\r\n\r\n");
    let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:37 GMT";
    for (header, seconds) in [
        ("Retry-After: 45", 45.0),
        (date, 60.0),
        ("Retry-After: 99999999999", 600.0),
        ("Retry-After: 18446744073709551616", 2.0),
        ("Retry-After: soon", 2.0),
    ] {
        let (_, _, retry_in) = outcome(&response(header));
        let is_kept = if seconds > 2.0 { retry_in == seconds } else { retry_in <= seconds };
        assert!(is_kept, "{header}: {retry_in}");
    }
}

#[test]
fn the_addresses_of_a_host_are_tried_in_turn() {
    let mut world = publishing_with_token(URL);
    let addresses = ["fd00::9", "10.9.9.8", "10.9.9.9"].map(|it| it.parse::<IpAddr>().unwrap());
    tell(&mut world, PublishEvent::Resolved(addresses.to_vec()));
    let to = |address: &str| PublishCommand::Connect(address.parse().unwrap());
    assert_eq!(commands(&mut world)[1..], [to("[fd00::9]:8889")]);
    fail(&mut world, PublishCause::Unreachable(OsError::Number(113)));
    assert_eq!(commands(&mut world), [to("10.9.9.8:8889")]);
    world.run(seconds(3));
    assert_eq!(commands(&mut world), [PublishCommand::Close, to("10.9.9.9:8889")]);
    fail(&mut world, PublishCause::ConnectionRefused);
    let detail = stats_with_token(&mut world)["detail"].to_string();
    assert!(detail.contains("it refuses the connection (10.9.9.9:8889)."), "{detail}");
}

#[test]
fn a_host_that_is_an_address_is_not_looked_up() {
    let mut world = publishing("http://[fd00::9]/whip");
    assert_eq!(commands(&mut world), [PublishCommand::Connect("[fd00::9]:80".parse().unwrap())]);
}

#[test]
fn every_step_has_its_time() {
    // Nothing is resolved.
    let mut world = publishing(URL);
    world.run(seconds(6));
    assert!(stats(&mut world)["sentence"].to_string().contains("was not resolved within 6 s"));
    assert_eq!(commands(&mut world).last(), Some(&PublishCommand::Close));
    // Nothing is answered.
    let mut world = publishing(URL);
    connect(&mut world);
    world.run(seconds(10));
    assert!(stats(&mut world)["sentence"].to_string().contains("it does not answer within 10 s"));
    assert_eq!(commands(&mut world), [PublishCommand::Close]);
    // It answers, and never connects.
    let mut world = publishing(URL);
    let server = accept(&mut world);
    world.clients[server].powered_off = true;
    commands(&mut world);
    world.run(seconds(10));
    assert!(stats(&mut world)["sentence"].to_string().contains("it never connected"));
    world.run(seconds(2));
    assert!(connect(&mut world).starts_with("DELETE /cam/session/1 "));
}

#[test]
fn an_answer_that_is_of_no_use_is_said_to_be() {
    type Change = fn(String) -> String;
    let wrong: [(&str, Change); 8] = [
        ("does not accept the video", |sdp| {
            sdp.replace("m=video 9", "m=video 0").replace("BUNDLE", "X")
        }),
        ("does not accept the video", |sdp| sdp.replace("a=recvonly", "a=inactive")),
        ("does not accept the video", |sdp| sdp.replace("m=video", "m=audio")),
        ("accepts none of the offered codecs", |sdp| {
            sdp.replace("H264", "AV1").replace("VP8", "AV1")
        }),
        ("ice-pwd", |sdp| sdp.replace("a=ice-pwd", "a=x")),
        // Longer than what str0m can write into a check.
        ("ice-ufrag", |sdp| {
            sdp.replace("a=ice-ufrag:", &format!("a=ice-ufrag:{}", "x".repeat(120)))
        }),
        ("fingerprint", |sdp| sdp.replace("sha-256", "sha-1")),
        ("too many lines", |sdp| sdp + &"a=x\r\n".repeat(3_000)),
    ];
    for (expected, change) in wrong {
        let mut world = publishing(URL);
        let request = connect(&mut world);
        let (_, answer) = world.invite(body(&request));
        respond(&mut world, "201 Created\r\nLocation: session/1", &change(answer));
        let sentence = stats(&mut world)["sentence"].to_string();
        assert!(sentence.contains(expected), "{expected}: {sentence}");
        world.run(seconds(2));
        let request = connect(&mut world);
        assert!(
            request.starts_with("DELETE /cam/session/1 "),
            "what was made is deleted: {request}"
        );
    }
}

#[test]
fn of_thousands_of_candidates_some_are_tried() {
    let mut world = publishing(URL);
    let request = connect(&mut world);
    let (_, answer) = world.invite(body(&request));
    let host = |n: usize| format!("10.8.{}.{} {}", n / 250, n % 250 + 1, 9_000);
    let candidates: String = (0..1_000)
        .map(|n| format!("a=candidate:{n} 1 udp 2130706431 {} typ host\r\n", host(n)))
        .collect();
    let strange = "a=candidate:1 1 udp 1 0.0.0.0 9 typ host\r\na=candidate:1 1 udp 1 224.0.0.1 9 typ host\r\n\
         a=candidate:1 1 tcp 1 10.0.0.1 9 typ host tcptype active\r\na=candidate:1 2 udp 1 10.0.0.1 9 typ host\r\n\
         a=candidate:1 1 udp 1 camera.local 9 typ host\r\na=candidate:\r\n";
    let own = answer.lines().find(|line| line.starts_with("a=candidate")).unwrap();
    let answer = answer.replace(&format!("{own}\r\n"), &format!("{strange}{candidates}"));
    respond(&mut world, "201 Created\r\nLocation: session/1", &answer);
    world.run(seconds(9));
    let mut asked = world.undeliverable.clone();
    asked.sort();
    asked.dedup();
    assert!((1..=16).contains(&asked.len()), "{asked:?}");
    assert!(asked.iter().all(|it| it.ip().to_string().starts_with("10.8.")), "{asked:?}");
}

#[test]
fn a_server_that_falls_silent_is_asked_anew_and_viewers_see_nothing_of_it() {
    let mut world = publishing(URL);
    let server = accept(&mut world);
    let viewer = world.join();
    world.run(seconds(11));
    commands(&mut world);
    world.clients[server].powered_off = true;
    let shown = world.clients[viewer].client.frames.len();
    world.run(seconds(5));
    assert!(stats(&mut world)["sentence"].to_string().contains("stopped sending authenticated"));
    assert!(connect(&mut world).starts_with("DELETE "));
    let more = world.clients[viewer].client.frames.len() - shown;
    assert!((149..=151).contains(&more), "{more}");
    let encoded = world.stats()["frames"].as_u64().unwrap();
    assert!((475..=485).contains(&encoded), "one encode for both: {encoded}");
}

#[test]
fn nobody_at_either_end_lets_the_clock_sleep() {
    let mut world = publishing(URL);
    world.run(Duration::from_millis(500));
    assert_eq!(world.captures, 0);
    let server = accept(&mut world);
    world.run(seconds(1));
    assert!(world.captures > 20);
    world.clients[server].client.close(world.now);
    world.run(Duration::from_millis(100));
    let captures = world.captures;
    world.run(Duration::from_millis(500));
    assert_eq!(world.captures, captures);
    assert!(stats(&mut world)["sentence"].to_string().contains("the peer closed the connection"));
}

#[test]
fn a_target_takes_nobody_a_place_and_a_device_without_targets_publishes_nothing() {
    let mut world = World::configured(|config| {
        config.targets = vec![target(URL)];
        config.limits.viewers = 1;
        config.limits.half_open = 1;
    });
    world.run(Duration::ZERO);
    accept(&mut world);
    world.join();
    world.run(seconds(1));
    assert_eq!(
        (world.server.viewers(), world.server.watching(), world.server.published()),
        (1, 1, 1)
    );
    assert!(world.try_join().is_err());

    let mut world = World::new();
    world.join();
    world.run(seconds(60));
    world.input(Input::Shutdown);
    assert_eq!(world.publish_commands, []);
    assert!(!world.server.is_unpublishing());
}

#[test]
fn metrics_count_by_target() {
    let mut world = publishing(URL);
    accept(&mut world);
    world.run(seconds(3));
    let request = b"GET /metrics HTTP/1.1\r\nHost: camera\r\n\r\n";
    let text = world.http_raw("10.0.0.99:1000".parse().unwrap(), request);
    let text = String::from_utf8(text).unwrap();
    for line in [
        "ballcast_target_up{target=\"1\"} 1",
        "ballcast_target_sessions_total{target=\"1\"} 1",
        "ballcast_target_loss_ratio{target=\"1\"} 0",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(text.contains("ballcast_viewers{codec=\"H264\",state=\"live\"} 0\n"), "{text}");
}

#[test]
fn what_a_server_repeats_of_token_and_path_is_not_shown() {
    for words in [
        "opense\u{7}same may not write",
        "open\u{200b}sesame",
        "nobody may write to /cam/whip?key=secret",
        "/cam/whip is in use",
        "there is no key=secret",
    ] {
        let mut world = publishing_with_token(URL);
        connect(&mut world);
        respond(&mut world, "403 Forbidden", words);
        let detail = stats_with_token(&mut world)["detail"].to_string();
        assert!(
            detail.ends_with("or the stream is in use (10.9.9.9:8889).\""),
            "{words}: {detail}"
        );
    }
}

#[test]
fn announced_addresses_are_candidates_of_the_offer() {
    let mut world = World::configured(|config| {
        config.targets = vec![target(URL)];
        config.announced = vec![IpAddr::from([192, 0, 2, 7])];
    });
    world.run(Duration::ZERO);
    let request = connect(&mut world);
    let candidates = body(&request).lines().filter(|line| line.starts_with("a=candidate:"));
    let hosts: Vec<&str> = candidates.filter_map(|line| line.split(' ').nth(4)).collect();
    assert_eq!(hosts, ["10.0.0.254", "192.0.2.7"]);
}

#[test]
fn a_stream_from_outside_is_offered_in_its_own_profile_first() {
    let formats = |profile| ballcast::testing::webrtc::viewer::formats(profile, false);
    let ids = |profile| formats(profile).iter().map(|it| it.profile_level_id).collect::<Vec<_>>();
    assert_eq!(ids(None), [0x42_e0_1f]);
    // Constrained baseline by other bits, main, high.
    assert_eq!(ids(Some(0x42_c0_28)), [0x42_e0_1f]);
    assert_eq!(ids(Some(0x4d_00_28)), [0x4d_00_28, 0x42_e0_1f]);
    assert_eq!(ids(Some(0x64_00_28)), [0x64_00_28, 0x42_e0_1f]);
    let numbers =
        |it: &ballcast::testing::sdp::local_offer::OfferedFormat| (it.payload_type, it.rtx);
    let numbered: Vec<_> = formats(Some(0x64_00_28)).iter().map(numbers).collect();
    assert_eq!(numbered, [(96, 97), (98, 99)]);
}
