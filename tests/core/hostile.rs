//! Hostile input: what it may cost, and that it costs nobody but its sender anything.

mod datagrams;

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::crypto;
use crate::support::dear_offers::{BODY_BYTES, dear_offers};
use crate::support::world::World;
use ballcast::testing::sdp::offer::{Offer, OfferError, SdpError};
use ballcast::testing::server::limits::admission::Limits;
use ballcast::testing::server::{ConnId, Input};
use ballcast::testing::work::steps_of;
use is::stun::{StunMessage, TransId};
use serde_json::{Value, json};

const CHROMIUM: &str = include_str!("../offers/chromium-156.sdp");
const SERVER: &str = "10.0.0.254:8080";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: camera\r\n\r\n";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn reading_an_offer_takes_work_in_proportion_to_its_length() {
    for bytes in [8_192, 16_384, BODY_BYTES] {
        for (what, sdp) in dear_offers(bytes) {
            let (steps, _) = steps_of(|| Offer::parse(&sdp));
            let most = 100 + sdp.len() as u64;
            assert!(steps <= most, "{what}: {steps} steps for {} bytes", sdp.len());
        }
    }
}

#[test]
fn an_offer_with_too_much_of_something_is_refused_with_a_sentence() {
    let refused = |what: &str| {
        let offers = dear_offers(BODY_BYTES);
        let (_, sdp) = offers.into_iter().find(|(name, _)| *name == what).unwrap();
        Offer::parse(&sdp)
    };
    assert_eq!(refused("short lines"), Err(too_large("lines", 2_048)));
    assert_eq!(refused("sections"), Err(too_large("m-lines", 64)));
    assert_eq!(refused("one long line"), Err(too_large("bytes in a line", 2_048)));
    let formats = CHROMIUM.replacen("SAVPF ", &format!("SAVPF {}", "96 ".repeat(200)), 1);
    let refused = Offer::parse(&formats);
    assert_eq!(refused, Err(too_large("formats in an m-line", 128)));

    let mut world = World::new();
    let (status, problem) = post(&mut world, "10.1.1.1:1".parse().unwrap(), &formats);
    assert_eq!((status, &problem["reason"]), (413, &json!("offer-too-large")));
    let sentence = "The offer has too many formats in an m-line: at most 128 are accepted.";
    assert_eq!(problem["detail"], sentence);
    assert_eq!(world.stats()["refusals"]["offer-too-large"], 1);
}

#[test]
fn the_rate_limit_is_charged_before_an_offer_is_read() {
    let mut world = World::new();
    let from = "10.1.1.1:1".parse().unwrap();
    let body = "x".repeat(BODY_BYTES);
    for count in 0..40 {
        let (steps, (status, problem)) = steps_of(|| world.post_offer(from, &body));
        let expected = if count < 20 { "offer-malformed" } else { "offer-rate" };
        assert_eq!(problem["reason"], expected, "{status} {problem}");
        assert!(steps < 100, "{steps}");
    }
}

/// A further offer of a connection costs as much as the first, and is charged as much.
#[test]
fn the_rate_limit_holds_for_further_offers_of_a_connection() {
    let mut world = World::new();
    let (client, sdp) = world.offer();
    let body = json!({"type": "offer", "sdp": sdp}).to_string();
    let statuses: Vec<u16> = (0..40).map(|_| world.post_offer(client.address, &body).0).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 20);
    assert_eq!(world.server.viewers(), 1);
}

#[test]
fn who_has_read_an_offer_cannot_restart_the_ice_of_its_viewer() {
    let mut world = World::new();
    let (viewer, sdp) = join(&mut world);
    world.run(seconds(1));
    let forged = sdp.replacen("a=ice-ufrag:", "a=ice-ufrag:zzzz", 1);
    let (status, answer) = post(&mut world, "10.6.6.6:1".parse().unwrap(), &forged);
    assert_eq!(status, 200);
    let own_ufrag = world.clients[viewer].username.split(':').next().unwrap().to_owned();
    assert!(!answer["sdp"].as_str().unwrap().contains(&own_ufrag), "another viewer's answer");
    assert_eq!(world.server.viewers(), 2);
    let before = world.clients[viewer].client.frames.len();
    // The viewer's own further offer is still answered by its own viewer.
    let again = world.clients[viewer].client.offer_again(|api| {
        api.ice_restart(true);
    });
    let body = json!({"type": "offer", "sdp": again}).to_string();
    let from = world.clients[viewer].address;
    let (status, answer) = world.post_offer(from, &body);
    assert_eq!(status, 200, "{answer}");
    let now = world.now;
    world.clients[viewer].client.accept(answer["sdp"].as_str().unwrap(), now);
    world.run(seconds(2));
    let after = world.clients[viewer].client.frames.len();
    assert!(after - before >= 58, "{}", after - before);
}

/// Posts an offer; the status and the document of the answer.
fn too_large(what: &'static str, most: usize) -> OfferError {
    SdpError::TooLarge(what, most).into()
}

fn post(world: &mut World, from: SocketAddr, sdp: &str) -> (u16, Value) {
    world.post_offer(from, &json!({"type": "offer", "sdp": sdp}).to_string())
}

/// A viewer, and the SDP of its offer.
fn join(world: &mut World) -> (usize, String) {
    let (client, sdp) = world.offer();
    let (_, answer) = post(world, client.address, &sdp);
    (world.add(client, &sdp, answer["sdp"].as_str().unwrap()), sdp)
}

/// A connectivity check of a viewer of the world, with its own password.
fn check(world: &World, viewer: usize) -> Vec<u8> {
    let client = &world.clients[viewer];
    let check = StunMessage::binding_request(&client.username, TransId::new(), true, 1, 1, false);
    sign(&check, &client.password)
}

fn sign(message: &StunMessage, password: &str) -> Vec<u8> {
    let crypto = str0m::crypto::from_feature_flags();
    let hmac = |key: &[u8], parts: &[&[u8]]| crypto.sha1_hmac_provider.sha1_hmac(key, parts);
    let mut bytes = vec![0; 512];
    let length = message.to_bytes(Some(password.as_bytes()), &mut bytes, hmac).unwrap();
    bytes.truncate(length);
    bytes
}

fn deliver(world: &mut World, source: SocketAddr, contents: &[u8]) {
    world.input(Input::Datagram { source, destination: SERVER.parse().unwrap(), contents });
}

fn frames_of(world: &World, viewer: usize) -> usize {
    world.clients[viewer].client.frames.len()
}

#[test]
fn a_viewer_that_checks_from_thousands_of_ports_has_sixteen_addresses() {
    let mut world = World::new();
    let (bystander, insider) = (world.join(), world.join());
    world.run(seconds(1));
    let before = (frames_of(&world, bystander), frames_of(&world, insider));
    let id = world.server.viewer_at(world.clients[insider].address);
    let port = |port: u16| SocketAddr::from(([10, 66, 0, 1], 1_024 + port));
    for number in 0..10_000 {
        let check = check(&world, insider);
        deliver(&mut world, port(number), &check);
    }
    world.run(seconds(2));
    let owned = (0..10_000).filter(|number| world.server.viewer_at(port(*number)) == id).count();
    assert!(owned <= 15, "{owned}");
    let dropped = world.stats()["datagrams_dropped"].as_u64().unwrap();
    assert!(dropped >= 9_980, "{dropped}");
    // Not one address more than it may have is answered or checked.
    let mut answered = world.undeliverable.clone();
    answered.sort();
    answered.dedup();
    assert!(answered.len() <= 16, "{}", answered.len());
    assert!(frames_of(&world, bystander) - before.0 >= 58);
    assert!(frames_of(&world, insider) - before.1 >= 58, "its own path still works");
}

/// The limits of one client hold for an IPv6 host, whichever of its addresses it uses.
#[test]
fn an_ipv6_host_elsewhere_is_one_client() {
    let mut world = World::new();
    let ask = |world: &mut World, host: u16| {
        let (_, sdp) = world.offer();
        let from = format!("[2001:db8:0:1::{host:x}]:1").parse().unwrap();
        post(world, from, &sdp)
    };
    for host in 1..=10 {
        assert_eq!(ask(&mut world, host).0, 200);
    }
    assert_eq!(ask(&mut world, 11).1["reason"], "viewers-per-address");
}

/// The responses on a connection since the last call.
fn answers(world: &mut World, id: ConnId) -> usize {
    String::from_utf8(world.take_sent(id)).unwrap().matches("HTTP/1.1 200").count()
}

#[test]
fn of_requests_that_come_together_an_input_serves_one() {
    let mut world = World::new();
    let id = world.connect("10.1.1.1:1".parse().unwrap());
    world.input(Input::Received(id, HEAD.repeat(100).as_bytes()));
    for served in 1..100 {
        assert_eq!(answers(&mut world, id), 1, "{served}");
        world.input(Input::Timeout);
        assert_eq!(answers(&mut world, id), 0, "the answer is not taken yet");
        world.input(Input::Flushed(id));
    }
}

#[test]
fn a_client_that_asks_too_often_waits_and_nobody_else_does() {
    let mut world = World::new();
    let greedy = world.connect("10.1.1.1:1".parse().unwrap());
    world.input(Input::Received(greedy, HEAD.repeat(300).as_bytes()));
    let mut served = 0;
    loop {
        let answers = answers(&mut world, greedy);
        if answers == 0 {
            break;
        }
        served += answers;
        world.input(Input::Flushed(greedy));
    }
    assert_eq!(served, 200, "a burst");
    let again = world.connect("10.1.1.1:2".parse().unwrap());
    world.input(Input::Received(again, HEAD.as_bytes()));
    assert_eq!(answers(&mut world, again), 0, "another connection waits, too");
    let modest = world.connect("10.1.1.2:1".parse().unwrap());
    world.input(Input::Received(modest, HEAD.as_bytes()));
    assert_eq!(answers(&mut world, modest), 1);
    // One of the two that wait is served every 10 ms.
    for _ in 0..50 {
        world.run(Duration::from_millis(10));
        let taken = [greedy, again].map(|id| answers(&mut world, id));
        assert_eq!(taken.iter().sum::<usize>(), 1, "{taken:?}");
        if taken[0] == 1 {
            world.input(Input::Flushed(greedy));
        }
        served += taken[0];
    }
    assert_eq!(served, 249, "the other connection has had its turn");
    assert_eq!(world.stats()["refusals"], json!({}));
}

/// Half heads come all the time; a newcomer's request comes some accepts after its connection.
#[test]
fn a_connection_whose_request_is_on_its_way_makes_no_room_for_a_flood() {
    let mut world = World::new();
    let most = Limits::default().connections as u16;
    let half = |world: &mut World, number: u16| {
        let [high, low] = number.to_be_bytes();
        let id = world.connect(SocketAddr::from(([10, 7, high, low], 1)));
        world.input(Input::Received(id, b"GET / HTTP/1.1\r\n"));
    };
    (0..2 * most).for_each(|number| half(&mut world, number));
    let newcomer = world.connect("10.1.1.1:1".parse().unwrap());
    (0..most - 1).for_each(|number| half(&mut world, 1_000 + number));
    world.input(Input::Received(newcomer, HEAD.as_bytes()));
    assert_eq!(answers(&mut world, newcomer), 1);
}

#[test]
fn requests_that_wait_for_their_turn_make_room_for_a_newcomer() {
    let mut world = World::new();
    let most = Limits::default().connections;
    let from = |client: usize, port: u16| SocketAddr::from(([10, 7, client as u8, 1], port));
    for port in 0..200 {
        let id = world.connect(from(0, port));
        world.input(Input::Received(id, HEAD.as_bytes()));
        world.read_answers(id);
        world.input(Input::Disconnected(id));
    }
    // A few clients are beyond their rate, and hold all places.
    for number in 0..most {
        let client = number / 30;
        let id = world.connect(from(client, 1_000 + number as u16));
        world.input(Input::Received(id, HEAD.repeat(201).as_bytes()));
        world.read_answers(id);
    }
    let newcomer = world.connect("10.1.1.1:1".parse().unwrap());
    let other = world.connect("10.1.1.2:1".parse().unwrap());
    for id in [newcomer, other] {
        world.input(Input::Received(id, HEAD.as_bytes()));
        assert_eq!(answers(&mut world, id), 1);
    }
}

/// A page of another site asks and gives up at once, over and over, in the browser of a viewer.
#[test]
fn requests_that_are_given_up_while_they_wait_keep_no_place_and_starve_nobody() {
    let mut world = World::new();
    let from = |port| SocketAddr::from(([10, 1, 1, 1], port));
    let give_up = |world: &mut World, port| {
        let id = world.connect(from(port));
        world.input(Input::Received(id, HEAD.as_bytes()));
        world.input(Input::HalfClosed(id));
        world.read_answers(id);
        assert!(world.is_closed(id), "{port}");
    };
    (0..2_000).for_each(|port| give_up(&mut world, port));
    let stays = world.connect(from(9_000));
    world.input(Input::Received(stays, HEAD.as_bytes()));
    for port in 10_000..10_300 {
        world.run(Duration::from_millis(4));
        give_up(&mut world, port);
    }
    assert_eq!(answers(&mut world, stays), 1, "after a second at most");
}

#[test]
fn half_open_viewers_of_the_largest_client_make_room() {
    let mut world = World::with_limits(Limits { half_open: 3, ..Limits::default() });
    let ask = |world: &mut World, from: &str| -> Value {
        let (_, sdp) = world.offer();
        let (status, answer) = post(world, from.parse().unwrap(), &sdp);
        assert_eq!(status, 200, "{answer}");
        answer
    };
    ask(&mut world, "10.7.7.7:1");
    for _ in 0..9 {
        ask(&mut world, "10.6.6.6:1");
    }
    assert_eq!(world.server.viewers(), 3);
    let viewers = world.stats()["viewers"].clone();
    assert_eq!(viewers[0]["address"], "10.7.7.7", "the one of the smaller client is still there");
    assert_eq!(world.stats()["viewers_ended"]["displaced"], 7);
    let joined = world.join();
    world.run(seconds(1));
    assert!(frames_of(&world, joined) >= 28);
}

/// Who floods the server with wrong tokens from many addresses does not lock out who has the right
/// one: the table of clients is full, and the right token is compared all the same.
#[test]
fn a_flood_of_wrong_tokens_locks_out_nobody_else() {
    let token = ballcast::testing::web::auth::Token::parse("open-sesame");
    let mut world = World::with_token(token);
    let ask = |world: &mut World, from: [u8; 4], token: &str| {
        let request = format!(
            "GET /stats HTTP/1.1\r\nHost: camera\r\nAuthorization: Bearer {token}\r\n\
             Connection: close\r\n\r\n"
        );
        world.http(SocketAddr::from((from, 1)), &request).0
    };
    for number in 0..5_000u16 {
        let [high, low] = number.to_be_bytes();
        assert_eq!(ask(&mut world, [10, 66, high, low], "a-wrong-one"), 401);
    }
    assert_eq!(ask(&mut world, [10, 1, 1, 1], "open-sesame"), 200);
}

/// What a host with more addresses than there are places may leave unfinished on each of them.
#[test]
fn unfinished_requests_from_ever_new_addresses_lock_out_nobody() {
    let page = "GET /static/ballcast.js HTTP/1.1\r\nHost: camera\r\n\r\n";
    let unfinished: [(&str, String, bool); 7] = [
        ("half a head", "GET / HTTP/1.1\r\nHost: cam".into(), true),
        (
            "half a body",
            "POST /offer HTTP/1.1\r\nHost: camera\r\nContent-Type: application/json\r\n\
             Content-Length: 4000\r\n\r\n{"
                .into(),
            true,
        ),
        (
            "half a body that is unwanted",
            "POST /nowhere HTTP/1.1\r\nHost: camera\r\nContent-Length: 4000\r\n\r\n{".into(),
            true,
        ),
        ("a last answer", "GET / HTTP/1.1\r\n\r\n".into(), true),
        ("an answer that is not read", page.into(), false),
        ("many answers that are not read", page.repeat(20), false),
        ("an answer that is not made", page.replace("/static/ballcast.js", "/snapshot.jpg"), true),
    ];
    for (what, request, is_read) in unfinished {
        let mut world = World::new();
        world.snapshot = None;
        for number in 0..400u16 {
            let [high, low] = number.to_be_bytes();
            let id = world.connect(SocketAddr::from(([10, 66, high, low], 1)));
            world.input(Input::Received(id, request.as_bytes()));
            if is_read {
                world.input(Input::Flushed(id));
            }
            world.take_sent(id);
            if number > 130 && number.is_multiple_of(10) {
                let request = "GET /health HTTP/1.1\r\nHost: camera\r\nConnection: close\r\n\r\n";
                let (status, answer) = world.http("10.1.1.1:1".parse().unwrap(), request);
                assert_eq!(status, 200, "{what}, {number}: {answer}");
            }
        }
    }
}

/// A client whose request comes slowly keeps its place against one host, and for as long as it takes
/// that others fill all places against many.
#[test]
fn a_slow_request_outlives_the_unfinished_ones_of_a_host_with_one_address() {
    let mut world = World::new();
    let slow = world.connect("10.1.1.1:1".parse().unwrap());
    world.input(Input::Received(slow, b"GET /health HTTP/1.1\r\n"));
    let places = Limits::default().connections as u16;
    for number in 0..5 * places {
        let host = if number < 4 * places { number % 4 } else { number };
        let [high, low] = host.to_be_bytes();
        let id = world.connect(SocketAddr::from(([10, 66, high, low], 1)));
        world.input(Input::Received(id, b"GET / HTTP"));
        if number == 4 * places + places / 2 {
            world.input(Input::Received(slow, b"Host: camera\r\n\r\n"));
            assert!(world.take_sent(slow).starts_with(b"HTTP/1.1 200 "));
        }
    }
}

#[test]
fn a_further_offer_in_another_format_is_refused_and_the_video_goes_on() {
    let mut world = World::new();
    let (viewer, sdp) = join(&mut world);
    world.run(seconds(1));
    let other = sdp.replace("H264/90000", "VP8/90000");
    let body = json!({"type": "offer", "sdp": other}).to_string();
    let from = world.clients[viewer].address;
    let (status, problem) = world.post_offer(from, &body);
    assert_eq!((status, &problem["reason"]), (409, &json!("format-changed")), "{problem}");
    let before = frames_of(&world, viewer);
    world.run(seconds(1));
    assert!(frames_of(&world, viewer) - before >= 29);
    assert_eq!(world.server.viewers(), 1);
}
