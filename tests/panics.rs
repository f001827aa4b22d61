//! A panic inside str0m ends the viewer that caused it, and nothing else. Hostile input has caused
//! such panics in other servers. Here the test's crypto provider panics when str0m calls it.

mod support;

use std::time::Duration;

use ballcast::server::admission::Limits;
use serde_json::json;
use str0m::media::KeyframeRequestKind;
use support::crypto;
use support::world::World;

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
