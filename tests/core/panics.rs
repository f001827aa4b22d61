//! A panic ends the viewer, the datagram or the request that caused it, and nothing else. Hostile
//! input has caused such panics in other servers, in str0m and in parsers. Here they are planted in
//! the crypto provider that str0m calls, and in the logger that the core calls.

use std::cell::Cell;
use std::sync::Once;
use std::time::Duration;

use crate::support::crypto;
use crate::support::world::World;
use ballcast::testing::server::Input;
use ballcast::testing::server::limits::admission::Limits;
use serde_json::json;
use str0m::media::KeyframeRequestKind;

const PERIOD: Duration = Duration::from_millis(34);

#[test]
fn a_panic_on_a_viewers_packet_ends_only_that_viewer() {
    let mut world = World::with_crypto(Limits::default(), crypto::provider());
    let (stays, hostile) = (world.join(), world.join());
    world.run(Duration::from_secs(1));
    let now = world.now;
    world.clients[hostile].client.request_keyframe(KeyframeRequestKind::Pli, now);
    crypto::plant_panic(true);
    world.run(Duration::ZERO);
    crypto::plant_panic(false);
    assert_eq!(world.server.viewers(), 1);
    let address = world.clients[hostile].address;
    assert_eq!(world.server.viewer_at(address), None, "the viewer is removed");
    world.clients[hostile].powered_off = true;
    world.run(Duration::from_secs(1));
    let frames = &world.clients[stays].client.frames;
    assert!(frames.len() >= 58, "{} frames", frames.len());
    assert!(frames.windows(2).all(|pair| pair[1].at - pair[0].at <= PERIOD));
    // A new viewer can join, and the server becomes idle after all viewers are gone.
    world.join();
    world.run(Duration::from_secs(1));
    assert_eq!(world.server.viewers(), 2);
    world.clients.iter_mut().for_each(|host| host.powered_off = true);
    world.run(Duration::from_secs(12));
    assert_eq!((world.server.viewers(), world.deadline()), (0, None));
}

#[test]
fn a_panic_on_an_offer_refuses_that_offer() {
    let mut world = World::with_crypto(Limits::default(), crypto::provider());
    let stays = world.join();
    world.run(Duration::from_secs(1));
    let (client, sdp) = world.offer();
    let body = json!({"type": "offer", "sdp": sdp}).to_string();
    crypto::plant_panic(true);
    let (status, problem) = world.post_offer(client.address, &body);
    crypto::plant_panic(false);
    assert_eq!((status, &problem["reason"]), (400, &json!("offer-malformed")), "{problem}");
    world.run(Duration::from_secs(1));
    assert_eq!(world.server.viewers(), 1);
    assert!(world.clients[stays].client.frames.len() >= 58);
    assert_eq!(world.post_offer(client.address, &body).0, 200);
}

#[test]
fn a_panic_while_a_stun_message_is_authenticated_drops_that_message() {
    let mut world = World::with_crypto(Limits::default(), crypto::provider());
    let viewer = world.join();
    world.run(Duration::from_secs(1));
    let dropped = |world: &mut World| world.stats()["datagrams_dropped"].as_u64().unwrap();
    assert_eq!(dropped(&mut world), 0);
    world.clients[viewer].sent_limit = usize::MAX;
    world.run(Duration::from_secs(3));
    let sent = std::mem::take(&mut world.clients[viewer].sent);
    let check = sent.iter().find(|datagram| datagram.starts_with(&[0, 1])).unwrap();
    let source = world.clients[viewer].address;
    let destination = "10.0.0.254:8080".parse().unwrap();
    crypto::plant_hmac_panic(true);
    world.input(Input::Datagram { source, destination, contents: check });
    crypto::plant_hmac_panic(false);
    assert_eq!(dropped(&mut world), 1);
    let before = world.clients[viewer].client.frames.len();
    world.run(Duration::from_secs(1));
    assert!(world.clients[viewer].client.frames.len() - before >= 29);
}

thread_local! {
    static LOGGER_PANICS: Cell<bool> = const { Cell::new(false) };
}

/// A logger that panics on this thread once, when it is told to.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        let planted = record.level() == log::Level::Info && LOGGER_PANICS.take();
        assert!(!planted, "a planted panic");
    }

    fn flush(&self) {}
}

#[test]
fn a_panic_while_a_request_is_answered_is_a_500_and_the_end_of_its_connection() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Info);
    });
    let mut world = World::with_crypto(Limits::default(), crypto::provider());
    let stays = world.join();
    world.run(Duration::from_secs(1));
    let (client, sdp) = world.offer();
    let body = json!({"type": "offer", "sdp": sdp}).to_string();
    LOGGER_PANICS.set(true);
    let (status, problem) = world.post_offer(client.address, &body);
    assert_eq!((status, &problem["reason"]), (500, &json!("internal")), "{problem}");
    assert_eq!(world.server.connections(), 0);
    let stats = world.stats();
    assert_eq!(stats["refusals"]["internal"], 1);
    world.run(Duration::from_secs(1));
    assert!(world.clients[stays].client.frames.len() >= 58);
    assert_eq!(world.post_offer(client.address, &body).0, 200);
}
