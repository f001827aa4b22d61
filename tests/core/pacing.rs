//! Large pictures in virtual time: they leave evenly, in order, and what cannot be sent of them costs
//! nobody else anything.

use std::time::{Duration, Instant};

use crate::support::world::World;
use ballcast::testing::server::Input;
use ballcast::testing::source::{SourceEvent, SourceKind, StreamConfig};

const PARAMETER_SETS: &[u8] = &[
    0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x0a, 0xd9, 0x04, 0x7b, 0x01, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 3,
    0xc8, 0xf1, 0x22, 0x64, 0x80, 0, 0, 0, 1, 0x68, 0xcb, 0x83, 0xcb, 0x20,
];
const IDR_SLICE: &[u8] = &[0, 0, 0, 1, 0x65, 0x88, 0x84];
const SLICE: &[u8] = &[0, 0, 0, 1, 0x41, 0x9a, 0x84];
/// The end of the sequence.
const END: &[u8] = &[0, 0, 0, 1, 0x0a];
const PERIOD: Duration = Duration::from_millis(40);
/// Half of a period, but at most this.
const SPREAD: Duration = Duration::from_millis(15);
const BURST: usize = 20;

/// A picture of so many bytes that ends with its number.
fn picture(number: u8, keyframe: bool, bytes: usize) -> Vec<u8> {
    let head = if keyframe { [PARAMETER_SETS, IDR_SLICE].concat() } else { SLICE.to_vec() };
    [head, vec![0xaa; bytes], vec![0x80 | number, 0x55]].concat()
}

/// Writes a picture, which is complete at once.
fn write(world: &mut World, picture: &[u8]) {
    for bytes in [picture, END].concat().chunks(1 << 16) {
        world.input(Input::Source(SourceEvent::Bytes(bytes)));
    }
}

fn running() -> World {
    let mut world = World::with_source(
        StreamConfig { kind: SourceKind::Fifo, raw: None, interval: None }.into(),
    );
    world.input(Input::Timeout);
    world.input(Input::Source(SourceEvent::Opened));
    for number in 0..25 {
        write(&mut world, &picture(number, number == 0, 10));
        world.run(PERIOD);
    }
    world
}

fn numbers(world: &World, viewer: usize) -> Vec<u8> {
    let frames = world.clients[viewer].client.frames.iter();
    frames.map(|frame| frame.data[frame.data.len() - 2] & 0x7f).collect()
}

/// How many datagrams went to a viewer from then on, each time with the time since.
fn datagrams_since(world: &World, viewer: usize, start: Instant) -> Vec<(Duration, usize)> {
    let times: Vec<Instant> =
        world.clients[viewer].datagrams.iter().copied().filter(|at| *at >= start).collect();
    times.chunk_by(|a, b| a == b).map(|alike| (alike[0] - start, alike.len())).collect()
}

#[test]
fn a_picture_of_300_kb_leaves_evenly_within_half_a_period() {
    let mut world = running();
    let viewer = world.join();
    world.run(Duration::from_secs(1));
    write(&mut world, &picture(30, true, 300_000));
    let begun = world.now;
    world.run(PERIOD);
    assert_eq!(numbers(&world, viewer).last(), Some(&30));
    let left = datagrams_since(&world, viewer, begun);
    let large: Vec<_> = left.iter().filter(|(_, count)| *count >= 5).collect();
    let (first, last) = (large[0], large[large.len() - 1]);
    assert_eq!(first.1, BURST, "{left:?}");
    assert!(last.0 - first.0 <= SPREAD, "{left:?}");
    assert!(large.len() >= 15, "{left:?}");
    assert!(large[1..].iter().all(|(_, count)| *count <= BURST), "{left:?}");
}

#[test]
fn the_next_picture_does_not_overtake_one_that_is_leaving() {
    let mut world = running();
    let viewer = world.join();
    world.run(Duration::from_secs(1));
    let before = numbers(&world, viewer).len();
    for number in 30..40 {
        write(&mut world, &picture(number, number == 30, 100_000));
        world.run(Duration::from_millis(5));
    }
    world.run(PERIOD);
    assert_eq!(numbers(&world, viewer)[before..], (30..40).collect::<Vec<u8>>());
}

#[test]
fn a_group_leaves_over_a_fifth_of_a_second_and_newer_pictures_follow_it() {
    let mut world = World::with_source(
        StreamConfig { kind: SourceKind::Fifo, raw: None, interval: None }.into(),
    );
    world.input(Input::Timeout);
    world.input(Input::Source(SourceEvent::Opened));
    for number in 0..50 {
        write(&mut world, &picture(number, number == 0, 20_000));
        world.run(PERIOD);
    }
    let begun = world.now;
    let viewer = world.join();
    for number in 50..60 {
        write(&mut world, &picture(number, false, 20_000));
        world.run(PERIOD);
    }
    assert_eq!(numbers(&world, viewer), (0..60).collect::<Vec<u8>>());
    let left = datagrams_since(&world, viewer, begun);
    // The handshake leaves with the first of them.
    assert!(left.iter().all(|(_, count)| *count <= BURST + 10), "{left:?}");
    let of_group = |at: &Duration| *at < Duration::from_millis(230);
    let sent: usize = left.iter().filter(|(at, _)| of_group(at)).map(|(_, count)| count).sum();
    assert!(sent > 50 * 18, "the whole group by then: {left:?}");
}

#[test]
fn what_does_not_fit_the_socket_ends_the_picture_for_that_viewer_and_asks_for_nothing() {
    let mut world = running();
    let viewers = [world.join(), world.join()];
    world.run(Duration::from_secs(1));
    write(&mut world, &picture(30, true, 300_000));
    world.run(Duration::from_millis(8));
    world.transmit_fails = true;
    world.run(Duration::from_millis(2));
    world.transmit_fails = false;
    let begun = world.now;
    world.run(Duration::from_millis(30));
    for viewer in viewers {
        assert!(!numbers(&world, viewer).contains(&30));
        let left = datagrams_since(&world, viewer, begun);
        assert!(left.iter().all(|(_, count)| *count < 5), "the rest is not sent: {left:?}");
    }
    write(&mut world, &picture(31, false, 10));
    world.run(PERIOD);
    assert!(viewers.iter().all(|viewer| !numbers(&world, *viewer).contains(&31)));
    assert!(world.forced_keyframes.is_empty(), "a pipe cannot be asked");
    write(&mut world, &picture(32, true, 10));
    // The receiver asks for what it has missed first.
    world.run(Duration::from_secs(1));
    assert!(viewers.iter().all(|viewer| numbers(&world, *viewer).contains(&32)));
}
