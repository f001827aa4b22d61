//! What viewers receive, in virtual time: the whole core with str0m's own client, without I/O.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::world::{FRAMES_PER_SECOND, World};
use ballcast::testing::media::Codec;
use ballcast::testing::server::Input;
use ballcast::testing::server::limits::admission::Limits;
use is::stun::{StunMessage, TransId};
use serde_json::{Value, json};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind};

const PERIOD: Duration = Duration::from_nanos(1_000_000_000 / FRAMES_PER_SECOND as u64);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn a_viewer_gets_a_key_frame_first_and_then_every_frame() {
    let mut world = World::new();
    let viewer = world.join();
    world.run(seconds(10));
    let frames = &world.clients[viewer].client.frames;
    assert!(frames[0].is_keyframe());
    assert!(frames[1..].iter().all(|frame| !frame.is_keyframe()));
    assert!((295..=301).contains(&frames.len()), "{}", frames.len());
    assert!(world.undeliverable.is_empty(), "{:?}", world.undeliverable);
}

#[test]
fn a_viewer_gets_no_frame_at_all_before_its_first_key_frame() {
    let mut world = World::new();
    world.join();
    world.run(seconds(1));
    world.source_ignores_keyframe_requests = true;
    let late = world.join();
    world.run(seconds(2));
    assert!(world.clients[late].client.connected);
    assert!(world.clients[late].client.frames.is_empty());
    let stats = world.stats();
    assert_eq!(stats["viewers"][1]["frames_sent"], 0);
    assert!(stats["viewers"][1]["drops"].as_u64() > Some(50), "{stats}");
    world.source_ignores_keyframe_requests = false;
    world.run(seconds(1));
    assert!(world.clients[late].client.frames[0].is_keyframe(), "requested again until it came");
}

#[test]
fn rtp_timestamps_follow_the_capture_time() {
    let mut world = World::new();
    let viewer = world.join();
    world.run(seconds(3));
    let frames = &world.clients[viewer].client.frames;
    for pair in frames.windows(2) {
        let step = pair[1].timestamp - pair[0].timestamp;
        assert!((2_999..=3_001).contains(&step), "{step} of 90 kHz at 30 frames/s");
    }
}

#[test]
fn a_late_viewer_gets_a_key_frame_at_the_next_tick_and_does_not_affect_the_others() {
    let mut world = World::new();
    let first = world.join();
    world.run(seconds(5) + milliseconds(7));
    let second = world.join();
    let joined = world.now;
    world.run(seconds(2));
    let frames = &world.clients[second].client.frames;
    assert!(frames[0].is_keyframe());
    assert!(frames[0].at - joined <= PERIOD + milliseconds(60), "{:?}", frames[0].at - joined);
    let frames = &world.clients[first].client.frames;
    assert!(frames.windows(2).all(|pair| pair[1].at - pair[0].at <= PERIOD * 2));
    assert_eq!(world.forced_keyframes.len(), 2, "one for each viewer that joined");
}

#[test]
fn each_codec_is_encoded_only_while_a_viewer_uses_it() {
    let mut world = World::new();
    let first = world.join();
    world.run(seconds(1));
    assert_eq!(world.encoded, [Codec::H264]);
    world.codec = Codec::Vp8;
    let second = world.join();
    world.run(seconds(1));
    assert_eq!(world.encoded, [Codec::H264, Codec::Vp8]);
    let third = world.join();
    world.run(seconds(2));
    assert_eq!(world.encoded, [Codec::H264, Codec::Vp8], "VP8 is encoded once for both viewers");
    for (viewer, codec) in [(first, Codec::H264), (second, Codec::Vp8), (third, Codec::Vp8)] {
        let frames = &world.clients[viewer].client.frames;
        assert!(frames[0].is_keyframe() && frames.iter().all(|frame| frame.codec == codec));
        assert!(frames.windows(2).all(|pair| pair[1].at - pair[0].at <= PERIOD * 2));
    }
    let forced: Vec<Codec> = world.forced_keyframes.iter().map(|(codec, _)| *codec).collect();
    assert_eq!(forced, [Codec::H264, Codec::Vp8, Codec::Vp8]);
    for (viewer, left) in [(first, vec![Codec::Vp8]), (second, vec![Codec::Vp8]), (third, vec![])] {
        let now = world.now;
        world.clients[viewer].client.close(now);
        world.encoded.clear();
        world.run(seconds(1));
        assert_eq!(world.encoded, left);
    }
}

#[test]
fn a_pli_forces_a_key_frame_only_in_its_own_codec() {
    let mut world = World::new();
    world.join();
    world.codec = Codec::Vp8;
    let viewer = world.join();
    world.run(seconds(3));
    world.forced_keyframes.clear();
    let now = world.now;
    world.clients[viewer].client.request_keyframe(KeyframeRequestKind::Pli, now);
    world.run(seconds(1));
    let forced: Vec<Codec> = world.forced_keyframes.iter().map(|(codec, _)| *codec).collect();
    assert_eq!(forced, [Codec::Vp8]);
}

#[test]
fn there_is_one_capture_per_tick_for_any_number_of_viewers_and_none_without_viewers() {
    let mut world = World::new();
    world.run(seconds(60));
    assert_eq!(world.captures, 0);
    assert_eq!(world.deadline(), None, "no viewers, no deadline");
    let viewers: Vec<usize> = (0..8).map(|_| world.join()).collect();
    world.run(seconds(10));
    assert!((299..=302).contains(&world.captures), "{}", world.captures);
    for viewer in viewers {
        let now = world.now;
        world.clients[viewer].client.close(now);
    }
    world.run(milliseconds(100));
    let captures = world.captures;
    world.run(seconds(60));
    assert_eq!(world.captures, captures);
    assert_eq!(world.server.viewers(), 0);
    assert_eq!(world.deadline(), None);
}

#[test]
fn pli_and_fir_are_answered_with_a_key_frame_within_100_ms() {
    for kind in [KeyframeRequestKind::Pli, KeyframeRequestKind::Fir] {
        let mut world = World::new();
        let viewer = world.join();
        world.run(seconds(3));
        let asked = world.now;
        world.clients[viewer].client.request_keyframe(kind, asked);
        world.run(seconds(1));
        let frames = world.clients[viewer].client.frames.iter();
        let answer = frames.filter(|f| f.at >= asked).find(|f| f.is_keyframe());
        let answer = answer.unwrap_or_else(|| panic!("{kind:?} is not answered"));
        assert!(answer.at - asked <= milliseconds(100), "{kind:?} {:?}", answer.at - asked);
    }
}

#[test]
fn many_plis_cause_at_most_two_key_frames_per_second() {
    let mut world = World::new();
    let viewers: Vec<usize> = (0..4).map(|_| world.join()).collect();
    world.run(seconds(2));
    let before = world.forced_keyframes.len();
    for _ in 0..500 {
        for viewer in &viewers {
            let now = world.now;
            world.clients[*viewer].client.request_keyframe(KeyframeRequestKind::Pli, now);
        }
        world.run(milliseconds(10));
    }
    let forced = &world.forced_keyframes[before..];
    assert!((9..=11).contains(&forced.len()), "{} in 5 s", forced.len());
    assert!(forced.windows(3).all(|three| three[2].1 - three[0].1 >= seconds(1)));
}

#[test]
fn a_viewer_that_leaves_is_removed_at_once_and_the_others_are_not_affected() {
    let mut world = World::new();
    let (stays, leaves) = (world.join(), world.join());
    world.run(seconds(2));
    let now = world.now;
    world.clients[leaves].client.close(now);
    world.run(milliseconds(1));
    assert_eq!(world.server.viewers(), 1);
    world.run(seconds(2));
    let frames = &world.clients[stays].client.frames;
    assert!(frames.windows(2).all(|pair| pair[1].at - pair[0].at <= PERIOD * 2));
}

#[test]
fn a_silent_viewer_gets_no_frames_after_5_s_and_is_removed_within_10() {
    let mut world = World::new();
    let (stays, vanishes) = (world.join(), world.join());
    world.run(seconds(3));
    world.clients[vanishes].powered_off = true;
    let vanished = world.now;
    world.run(seconds(6));
    let last = *world.clients[vanishes].datagrams.last().unwrap();
    let states: Vec<_> = world.stats()["viewers"].as_array().unwrap().clone();
    assert_eq!(states[1]["state"], "silent");
    // ICE still sends connectivity checks, so only frames are counted.
    let sent = states[1]["frames_sent"].as_u64().unwrap();
    assert!(sent <= 30 * (3 + 5) + 2, "{sent} frames");
    assert!(last >= vanished);
    world.run(seconds(4));
    assert_eq!(world.server.viewers(), 1);
    let frames = &world.clients[stays].client.frames;
    assert!(frames.windows(2).all(|pair| pair[1].at - pair[0].at <= PERIOD * 2));
}

#[test]
fn a_silent_viewer_that_returns_after_7_s_gets_a_key_frame_first() {
    let mut world = World::new();
    let viewer = world.join();
    world.run(seconds(3));
    world.clients[viewer].powered_off = true;
    world.run(seconds(7));
    world.clients[viewer].powered_off = false;
    let back = world.now;
    world.run(seconds(5));
    assert_eq!(world.server.viewers(), 1);
    let mut frames = world.clients[viewer].client.frames.iter();
    let first = frames.find(|frame| frame.at >= back).expect("frames arrive again");
    assert!(first.is_keyframe());
}

#[test]
fn a_viewer_that_never_connects_is_removed_after_10_s() {
    let mut world = World::new();
    let (client, sdp) = world.offer();
    let body = json!({"type": "offer", "sdp": sdp}).to_string();
    assert_eq!(world.post_offer(client.address, &body).0, 200);
    world.run(seconds(9));
    assert_eq!(world.server.viewers(), 1);
    world.run(seconds(1));
    assert_eq!(world.server.viewers(), 0);
    assert!(
        world.undeliverable.is_empty(),
        "nothing is sent to an address without an authenticated check"
    );
    assert_eq!(world.deadline(), None);
}

/// Posts an offer with a client id.
fn post_with_client_id(world: &mut World, client_id: &str, sdp: &str) -> (u16, Value) {
    let body = json!({"type": "offer", "sdp": sdp}).to_string();
    let head = format!(
        "POST /offer HTTP/1.1\r\nHost: camera\r\nContent-Type: application/json\r\n\
         Ballcast-Client-Id: {client_id}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    world.http("10.1.1.1:1".parse().unwrap(), &(head + &body))
}

#[test]
fn a_new_connection_with_the_same_client_id_replaces_the_former_viewer() {
    let limits = Limits { viewers: 2, ..Limits::default() };
    let mut world = World::with_limits(limits);
    let other = world.join();
    let offer = |world: &mut World, client_id: &str| {
        let (_, sdp) = world.offer();
        post_with_client_id(world, client_id, &sdp).0
    };
    for _ in 0..10 {
        assert_eq!(offer(&mut world, "one"), 200);
        assert_eq!(world.server.viewers(), 2);
        world.run(milliseconds(100));
    }
    assert_eq!(offer(&mut world, "another"), 503, "another client id does not replace a viewer");
    world.run(seconds(1));
    assert!(
        world.clients[other].client.frames.len() > 50,
        "a viewer without a client id is not replaced"
    );
    world.run(seconds(10));
    assert_eq!(world.server.viewers(), 1);
}

#[test]
fn a_subsequent_offer_belongs_to_the_viewer_of_its_connection() {
    let mut world = World::new();
    let (client, sdp) = world.offer();
    let (_, answer) = post_with_client_id(&mut world, "one", &sdp);
    let viewer = world.add(client, &sdp, answer["sdp"].as_str().unwrap());
    world.run(seconds(1));
    let before = world.clients[viewer].client.frames.len();
    for ice_restart in [false, true, false] {
        let sdp = world.clients[viewer].client.offer_again(|api| {
            if ice_restart {
                api.ice_restart(true);
            } else {
                api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
            }
        });
        let (status, answer) = post_with_client_id(&mut world, "one", &sdp);
        assert_eq!(status, 200, "{answer}");
        let now = world.now;
        world.clients[viewer].client.accept(answer["sdp"].as_str().unwrap(), now);
        world.run(seconds(2));
        assert_eq!(world.server.viewers(), 1);
    }
    let frames = &world.clients[viewer].client.frames[before..];
    assert!((178..=182).contains(&frames.len()), "{}: the video continues", frames.len());
    assert!(frames.iter().all(|frame| !frame.is_keyframe()), "without a new key frame");

    // The same session id with another fingerprint is a new viewer.
    let sdp = world.clients[viewer].client.offer_again(|api| {
        api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
    });
    let sdp = sdp.replacen("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 00:", 1);
    let cut = sdp.find("a=fingerprint:sha-256 ").unwrap() + "a=fingerprint:sha-256 ".len() + 95;
    let sdp = format!("{}{}", &sdp[..cut], &sdp[cut + 3..]);
    assert_eq!(post_with_client_id(&mut world, "another", &sdp).0, 200);
    assert_eq!(world.server.viewers(), 2);
}

#[test]
fn unauthenticated_datagrams_are_not_answered() {
    let mut world = World::new();
    let viewer = world.join();
    world.run(seconds(1));
    let unknown: SocketAddr = "10.9.9.9:9".parse().unwrap();
    let destination = "10.0.0.254:8080".parse().unwrap();
    let stun: &[u8] = &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    for contents in [stun, &[22, 254, 253], &[0x80, 96, 0, 1], &[], &[0xff; 1500]] {
        world.input(Input::Datagram { source: unknown, destination, contents });
    }
    let victim = world.clients[viewer].client.address;
    for contents in [stun, &[22, 254, 253, 0, 0], &[0x80, 96, 0, 1], &[0x80; 300], &[21; 40]] {
        world.input(Input::Datagram { source: victim, destination, contents });
    }
    let frames = world.clients[viewer].client.frames.len();
    world.run(seconds(1));
    assert!(world.undeliverable.is_empty());
    assert!(world.clients[viewer].client.frames.len() >= frames + 29);
}

#[test]
fn after_a_failed_send_no_frame_is_sent_until_a_key_frame() {
    let mut world = World::new();
    let viewer = world.join();
    world.run(seconds(2));
    let sent = |world: &mut World| world.stats()["viewers"][0]["frames_sent"].as_u64().unwrap();
    world.source_ignores_keyframe_requests = true;
    world.transmit_fails = true;
    world.run(PERIOD);
    world.transmit_fails = false;
    let before = sent(&mut world);
    world.run(seconds(1));
    assert_eq!(sent(&mut world), before, "no delta frames");
    world.source_ignores_keyframe_requests = false;
    let restored = world.now;
    world.run(seconds(1));
    let mut frames = world.clients[viewer].client.frames.iter();
    let keyframe = frames.find(|frame| frame.at >= restored && frame.is_keyframe());
    assert!(keyframe.is_some(), "a key frame is requested until it comes");
    assert!(sent(&mut world) > before + 10);
}

#[test]
fn a_forged_connectivity_check_does_not_take_over_a_viewers_address() {
    let mut world = World::new();
    let (victim, other) = (world.join(), world.join());
    world.run(seconds(1));
    // An attacker on the network can read the user fragments, but not the password.
    let username = world.clients[other].username.clone();
    let check = StunMessage::binding_request(&username, TransId::new(), true, 1, 1, true);
    let crypto = str0m::crypto::from_feature_flags();
    let mut forged = vec![0; 512];
    let hmac = |key: &[u8], parts: &[&[u8]]| crypto.sha1_hmac_provider.sha1_hmac(key, parts);
    let bytes = check.to_bytes(Some(b"a guess"), &mut forged, hmac).unwrap();
    let source = world.clients[victim].client.address;
    let destination = "10.0.0.254:8080".parse().unwrap();
    world.input(Input::Datagram { source, destination, contents: &forged[..bytes] });
    // The datagrams of the victim still reach its own viewer.
    let asked = world.now;
    world.clients[victim].client.request_keyframe(KeyframeRequestKind::Pli, asked);
    world.run(milliseconds(100));
    let stats = world.stats();
    assert_eq!(stats["viewers"][victim]["keyframe_requests"], 1, "{stats}");
    assert_eq!(stats["datagrams_dropped"], 1, "{stats}");
}

#[test]
fn the_viewer_limits_hold_and_refusals_name_the_limit() {
    let limits = Limits { viewers: 3, viewers_per_address: 2, ..Limits::default() };
    let mut world = World::with_limits(limits);
    let refusal = |world: &mut World, from: &str, reason: &str| {
        let (_, sdp) = world.offer();
        let body = json!({"type": "offer", "sdp": sdp}).to_string();
        let (status, problem) = world.post_offer(from.parse().unwrap(), &body);
        assert_eq!((status, &problem["reason"]), (503, &json!(reason)), "{problem}");
    };
    for _ in 0..2 {
        let (_, sdp) = world.offer();
        let body = json!({"type": "offer", "sdp": sdp}).to_string();
        let from = "10.1.1.1:1".parse().unwrap();
        assert_eq!(world.post_offer(from, &body).0, 200);
    }
    refusal(&mut world, "10.1.1.1:2", "viewers-per-address");
    world.join();
    refusal(&mut world, "10.2.2.2:1", "viewers");
    let stats = world.stats();
    assert_eq!(stats["refusals"]["viewers"], 1);
    assert_eq!(stats["refusals"]["viewers-per-address"], 1);
}

#[test]
fn offers_from_one_address_are_rate_limited() {
    let limits = Limits { offers_per_second: 1, ..Limits::default() };
    let mut world = World::with_limits(limits);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let (_, sdp) = world.offer();
        let body = json!({"type": "offer", "sdp": sdp}).to_string();
        statuses.push(world.post_offer("10.1.1.1:1".parse().unwrap(), &body).0);
    }
    assert_eq!(statuses, [200, 200, 503, 503]);
}

#[test]
fn a_connection_above_the_limit_replaces_the_oldest_idle_one() {
    let limits = Limits { connections: 3, ..Limits::default() };
    let mut world = World::with_limits(limits);
    let from = |n: u8| SocketAddr::from(([10, 3, n, 1], 1));
    let busy = world.connect(from(0));
    world.input(Input::Received(busy, b"GET / HTTP/1.1\r\n"));
    world.run(milliseconds(1));
    let oldest = world.connect(from(1));
    world.input(Input::Received(oldest, b"GET / HTTP/1.1\r\nHost: camera\r\n\r\n"));
    world.read_answers(oldest);
    world.run(milliseconds(1));
    let newer = world.connect(from(2));
    let newest = world.connect(from(3));
    assert!(world.is_closed(oldest));
    assert!([busy, newer, newest].iter().all(|id| !world.is_closed(*id)));
    assert_eq!(world.server.connections(), 3);
}

#[test]
fn a_connection_above_the_limit_of_its_address_is_refused() {
    let limits = Limits { connections_per_address: 2, ..Limits::default() };
    let mut world = World::with_limits(limits);
    let from = "10.3.0.1:1".parse().unwrap();
    let held = [world.connect(from), world.connect(from)];
    let (status, problem) = world.http(from, "");
    assert_eq!((status, &problem["reason"]), (503, &json!("connections")), "{problem}");
    assert!(held.iter().all(|id| !world.is_closed(*id)));
    let elsewhere = "10.3.0.2:1".parse().unwrap();
    assert_eq!(world.http(elsewhere, "GET / HTTP/1.1\r\nHost: camera\r\n\r\n").0, 200);
}

#[test]
fn every_viewer_that_ends_is_sent_an_rtcp_bye() {
    let mut world = World::new();
    let [leaves, vanishes, replaced, stays] = std::array::from_fn(|_| {
        let (client, sdp) = world.offer();
        let client_id = format!("page {}", world.clients.len());
        let (_, answer) = post_with_client_id(&mut world, &client_id, &sdp);
        world.add(client, &sdp, answer["sdp"].as_str().unwrap())
    });
    world.run(seconds(1));
    assert!(world.clients.iter().all(|host| host.client.connected && !host.bye));
    let (_, sdp) = world.offer();
    assert_eq!(post_with_client_id(&mut world, &format!("page {replaced}"), &sdp).0, 200);
    assert!(world.clients[replaced].bye && world.clients[replaced].client.closed);
    let now = world.now;
    world.clients[leaves].client.close(now);
    world.clients[vanishes].powered_off = true;
    world.run(seconds(10));
    assert!(world.clients[leaves].bye && world.clients[vanishes].bye);
    assert!(!world.clients[stays].bye);
    world.input(Input::Shutdown);
    assert!(world.clients[stays].bye);
}

#[test]
fn the_server_sends_close_notify_to_all_viewers_on_shutdown() {
    let mut world = World::new();
    let viewers = [world.join(), world.join()];
    world.run(seconds(1));
    world.input(Input::Shutdown);
    for viewer in viewers {
        assert!(world.clients[viewer].client.closed, "close_notify arrived");
    }
    assert_eq!(world.server.viewers(), 0);
    let (client, sdp) = world.offer();
    let body = json!({"type": "offer", "sdp": sdp}).to_string();
    assert_eq!(world.post_offer(client.address, &body).0, 503);
}
