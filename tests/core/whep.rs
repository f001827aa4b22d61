//! WHEP: each request and its answer, from the core in virtual time; and viewers that connect with WHEP.

use std::time::Duration;

use ballcast::testing::server::limits::admission::Limits;

use crate::support::whep::{CHROMIUM, FRAGMENT, Player, SDP, ask, created, players, whep_cases};
use crate::support::world::World;

const SECOND: Duration = Duration::from_secs(1);

fn with_core(viewers: usize) -> [Player; 2] {
    players(|| {
        let limits = Limits { offers_per_second: 1_000, ..Limits::for_viewers(viewers) };
        Box::new(World::with_limits(limits))
    })
}

whep_cases!(with_core);

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
