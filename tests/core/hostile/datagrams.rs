//! Datagrams that are forged, or come from elsewhere.

use super::*;

/// An insider names another's address as the source of its own checks: the other's RTCP and checks
/// still reach the other's viewer, and the insider owns what has answered a check of its own only.
#[test]
fn an_address_belongs_to_the_viewer_whose_check_it_answers() {
    let mut world = World::new();
    let (victim, insider) = (world.join(), world.join());
    world.run(seconds(1));
    let address = world.clients[victim].address;
    let owner = world.server.viewer_at(address);
    let forged = check(&world, insider);
    deliver(&mut world, address, &forged);
    assert_eq!(world.server.viewer_at(address), owner, "a request takes no address away");

    // It may even come first.
    let (client, sdp) = world.offer();
    let (_, answer) = post(&mut world, client.address, &sdp);
    let forged = check(&world, insider);
    deliver(&mut world, client.address, &forged);
    assert_eq!(
        world.server.viewer_at(client.address),
        world.server.viewer_at(world.clients[insider].address)
    );
    let late = world.add(client, &sdp, answer["sdp"].as_str().unwrap());
    // The first flights of DTLS may have gone astray, and are repeated.
    world.run(seconds(4));
    let before = frames_of(&world, late);
    world.run(seconds(1));
    let address = world.clients[late].address;
    assert_ne!(
        world.server.viewer_at(address),
        world.server.viewer_at(world.clients[insider].address)
    );
    assert!(frames_of(&world, late) - before >= 29, "{}", frames_of(&world, late) - before);
    assert!(frames_of(&world, victim) >= 177, "{}", frames_of(&world, victim));
}

/// Consent (RFC 7675): whoever keeps a viewer alive from elsewhere does not keep media flowing to an
/// address that says nothing any more.
#[test]
fn media_to_an_address_stops_without_consent_of_that_address() {
    let mut world = World::new();
    let viewer = world.join();
    world.run(seconds(1));
    world.clients[viewer].powered_off = true;
    let elsewhere = "10.66.0.1:9".parse().unwrap();
    let keep_alive = |world: &mut World, seconds: u32| {
        for _ in 0..2 * seconds {
            let check = check(world, viewer);
            deliver(world, elsewhere, &check);
            world.run(Duration::from_millis(500));
        }
        world.stats()["viewers"][0]["frames_sent"].as_u64().unwrap()
    };
    let early = keep_alive(&mut world, 20);
    let late = keep_alive(&mut world, 11);
    assert!(late > early, "it is kept alive from elsewhere");
    assert_eq!(keep_alive(&mut world, 20), late, "and without consent there is no media");
    assert_eq!(world.stats()["viewers"][0]["state"], "silent");
}

/// Once the handshake is over, whatever DTLS fails on is authentic, and the end.
#[test]
fn a_fatal_alert_ends_its_viewer_with_a_reason() {
    crypto::accept_master_tag(true);
    let mut world = World::with_crypto(Limits::default(), crypto::provider());
    let (viewer, bystander) = (world.join(), world.join());
    world.run(seconds(1));
    let source = world.clients[viewer].address;
    deliver(&mut world, source, &crypto::fatal_alert(false));
    assert_eq!(world.server.viewers(), 2, "one in plain text may be forged");
    deliver(&mut world, source, &crypto::fatal_alert(true));
    assert_eq!(world.server.viewers(), 1);
    assert!(world.clients[viewer].bye);
    assert_eq!(world.stats()["viewers_ended"]["failed"], 1);
    world.clients[viewer].powered_off = true;
    world.run(seconds(1));
    assert!(frames_of(&world, bystander) >= 57);
    crypto::accept_master_tag(false);
}

#[test]
fn forged_alerts_before_the_handshake_is_over_end_nothing() {
    let mut world = World::with_crypto(Limits::default(), crypto::provider());
    let viewer = world.join();
    let source = world.clients[viewer].address;
    // The first check makes the address known.
    let first = check(&world, viewer);
    deliver(&mut world, source, &first);
    for _ in 0..100 {
        deliver(&mut world, source, &crypto::fatal_alert(false));
    }
    let told = world.stats()["viewers"][0]["failure"].clone();
    assert!(told.as_str().is_some_and(|failure| failure.contains("DTLS")), "{told}");
    world.run(seconds(2));
    assert!(frames_of(&world, viewer) >= 57, "{}", frames_of(&world, viewer));
}

/// Against the real DTLS: records that anybody can make, from the address of a viewer.
#[test]
fn forged_dtls_records_end_no_viewer() {
    let mut world = World::new();
    let early = world.join();
    let source = world.clients[early].address;
    let first = check(&world, early);
    deliver(&mut world, source, &first);
    let mut random = fastrand::Rng::with_seed(7);
    let mut attack = |world: &mut World, source| {
        for kind in 20..=26 {
            for epoch in [0, 1, 2] {
                for length in [0, 1, 2, 12, 13, 60, 300, 1_200] {
                    let mut body: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
                    if kind == 21 && length == 2 {
                        body = vec![2, 40];
                    }
                    let mut record = vec![kind, 254, 253, 0, epoch];
                    record.extend([0, 0, 0, 0, 0, random.u8(..)]);
                    record.extend((length as u16).to_be_bytes());
                    record.extend(body);
                    deliver(world, source, &record);
                }
            }
        }
    };
    attack(&mut world, source);
    world.run(seconds(2));
    assert!(frames_of(&world, early) >= 50, "during the handshake: {}", frames_of(&world, early));
    let before = frames_of(&world, early);
    attack(&mut world, source);
    world.run(seconds(1));
    assert_eq!(world.server.viewers(), 1);
    assert!(frames_of(&world, early) - before >= 29, "after the handshake");
}

/// Every RTP sequence number begins far from its end: a roll-over that is lost with the first
/// packets makes a stream undecipherable for ever.
#[test]
fn sequence_numbers_begin_in_the_lower_half() {
    let mut world = World::with_crypto(Limits::default(), crypto::provider());
    for _ in 0..6 {
        let viewer = world.join();
        world.clients[viewer].sent_limit = 0;
    }
    world.run(seconds(1));
    let firsts: Vec<u16> =
        world.clients.iter().map(|host| host.first_sequence_number.unwrap()).collect();
    assert!(firsts.iter().all(|first| *first < 0x8000), "{firsts:?}");
    assert!(firsts.iter().any(|first| *first > 0x1000), "{firsts:?}");
}
