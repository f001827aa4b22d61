//! The stream is published to media servers, in virtual time: what they are asked, what becomes of
//! their answers, and when they are asked again.

mod support;

use std::net::IpAddr;
use std::time::Duration;

use ballcast::http::Url;
use ballcast::media::Codec;
use ballcast::publish::{BearerToken, Command, Event, Target, TargetId};
use ballcast::server::Input;
use serde_json::Value;
use support::world::World;

const TARGET: TargetId = TargetId(0);
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

/// What the target's connection is asked to do since the last call.
fn commands(world: &mut World) -> Vec<Command> {
    std::mem::take(&mut world.publish_commands).into_iter().map(|(_, command)| command).collect()
}

fn tell(world: &mut World, event: Event) {
    world.input(Input::Publish(TARGET, event));
}

/// The connection of the target is made as it asks for it: the request.
fn connect(world: &mut World) -> String {
    loop {
        let next = commands(world).into_iter().rfind(|command| *command != Command::Close);
        match next.expect("a request is under way") {
            Command::Resolve(_) => tell(world, Event::Resolved(&[IpAddr::from([10, 9, 9, 9])])),
            Command::Connect(_) => tell(world, Event::Connected),
            Command::Send(bytes) => return String::from_utf8(bytes.to_vec()).unwrap(),
            Command::Close => unreachable!(),
        }
    }
}

fn respond(world: &mut World, head: &str, body: &str) {
    let length = body.len();
    let response = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}");
    tell(world, Event::Received(response.as_bytes()));
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

#[test]
fn a_media_server_gets_the_stream_from_a_key_frame_on() {
    let mut world = publishing(URL);
    assert_eq!(commands(&mut world), [Command::Resolve("media.example".into())]);
    tell(&mut world, Event::Resolved(&[IpAddr::from([10, 9, 9, 9])]));
    assert_eq!(commands(&mut world), [Command::Connect("10.9.9.9:8889".parse().unwrap())]);
    tell(&mut world, Event::Connected);
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
    assert_eq!(commands(&mut world), [Command::Close]);
    world.run(seconds(2));
    let client = &world.clients[server].client;
    assert!(client.connected);
    assert!(client.frames[0].is_keyframe());
    assert!(client.frames.len() >= 55, "{}", client.frames.len());
    let stats = stats(&mut world);
    assert_eq!((&stats["state"], &stats["server"]), (&"live".into(), &"media.example:8889".into()));
    assert!(!world.stats().to_string().contains("secret"));
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
fn the_session_is_deleted_at_the_end_and_before_the_next_one() {
    let mut world = publishing(URL);
    let server = accept(&mut world);
    world.run(seconds(20));
    commands(&mut world);
    world.clients[server].powered_off = true;
    world.run(seconds(8));
    let request = connect(&mut world);
    assert!(request.starts_with("DELETE /cam/session/1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("Authorization: Bearer opensesame\r\n"), "{request}");
    respond(&mut world, "404 Not Found", "");
    accept(&mut world);
    world.run(seconds(1));
    assert_eq!(stats(&mut world)["state"], "live");
    assert_eq!(stats(&mut world)["sessions"], 2);
    world.input(Input::Shutdown);
    assert!(world.server.is_unpublishing());
    let request = connect(&mut world);
    assert!(request.starts_with("DELETE /cam/session/1"), "{request}");
    respond(&mut world, "200 OK", "");
    assert!(!world.server.is_unpublishing());
    assert_eq!(commands(&mut world), [Command::Close]);
    world.run(seconds(60));
    assert_eq!(commands(&mut world), []);
}
