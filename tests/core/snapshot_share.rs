//! What files of pictures may cost the video, however many ask for them, in virtual time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::support::world::World;
use ballcast::testing::media::SnapshotError;
use ballcast::testing::server::{ConnId, Input};
use ballcast::testing::web::snapshot::{WIDTHS, width_of_file};

const PERIOD: Duration = Duration::from_millis(34);

/// Sends a request on a connection of its own.
fn ask(world: &mut World, host: u8, target: &str) -> ConnId {
    let id = world.connect(SocketAddr::from(([10, 3, 0, host], 4_000)));
    let request = format!("GET {target} HTTP/1.1\r\nHost: camera\r\n\r\n");
    world.input(Input::Received(id, request.as_bytes()));
    id
}

fn ask_for_width(world: &mut World, host: u8, width: usize) -> ConnId {
    ask(world, host, &format!("/snapshot.jpg?width={width}"))
}

fn text(world: &mut World, id: ConnId) -> String {
    String::from_utf8(world.take_sent(id)).unwrap()
}

/// 0 if there is no answer yet.
fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
}

/// Asks for a width, and returns what the answer has as its body, or the reason of a refusal.
fn ask_for(world: &mut World, host: u8, width: usize) -> String {
    let id = ask_for_width(world, host, width);
    world.run(PERIOD);
    let answer = text(world, id);
    world.input(Input::Disconnected(id));
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    match body.split_once("\"reason\":\"") {
        Some((_, reason)) => reason.split_once('"').unwrap().0.to_owned(),
        None => body.to_owned(),
    }
}

#[test]
fn one_client_has_ten_files_encoded_a_second() {
    let mut world = World::new();
    let mut answers = (0..40).map(|_| ask_for(&mut world, 2, 640));
    assert!(answers.any(|answer| answer == "snapshot-rate"));
}

#[test]
fn files_have_few_widths_at_least_what_is_asked_for_and_never_more_than_the_picture() {
    let mut world = World::new();
    world.snapshot = Some(|width, _| match width {
        Some(width) if width > 1_000 => Err(SnapshotError::TooWide { picture_width: 1_000 }),
        width => Ok(format!("{width:?}").into_bytes()),
    });
    for (asked, answered) in [
        (16, "Some(160)"),
        (160, "Some(160)"),
        (162, "Some(320)"),
        (640, "Some(640)"),
        (958, "Some(960)"),
        (962, "None"),
        (1_000, "None"),
        (1_002, "snapshot-width"),
        (3_840, "snapshot-width"),
    ] {
        assert_eq!(ask_for(&mut world, 1, asked), answered, "{asked}");
        world.run(Duration::from_millis(500));
    }
    let widths: BTreeSet<_> = (8..=1_920).map(|half| width_of_file(2 * half)).collect();
    assert_eq!(widths.len(), 8);
}

/// Files of 30 ms each at 30 pictures a second, and ever more requests for all widths.
#[test]
fn the_video_keeps_its_frames_whoever_asks_for_pictures() {
    let mut world = World::new();
    let viewer = world.join();
    world.run(Duration::from_secs(1));
    world.snapshot_cost = Duration::from_millis(30);
    let streams = [1, 2].map(|host| ask(&mut world, host, "/stream.mjpg"));
    let (start, begun) = (world.now, (world.captures, world.snapshots.len()));
    let (mut waiting, mut answered, mut refused, mut parts) = (Vec::new(), 0, 0, 0);
    let mut slowest = Duration::ZERO;
    while world.now < start + Duration::from_secs(20) {
        for (index, width) in WIDTHS.into_iter().enumerate() {
            let host = 10 + (index % 4) as u8;
            waiting.push((ask_for_width(&mut world, host, width), world.now));
        }
        world.run(Duration::from_millis(50));
        waiting.retain(|(id, since)| {
            let answer = text(&mut world, *id);
            match status(&answer) {
                0 => return true,
                200 => answered += 1,
                _ => refused += 1,
            }
            slowest = slowest.max(world.now - *since);
            world.input(Input::Disconnected(*id));
            false
        });
        for id in streams {
            parts += text(&mut world, id).matches("image/jpeg").count();
            world.input(Input::Flushed(id));
        }
    }
    let seconds = (world.now - start).as_secs_f64();
    let rate = |count: usize| count as f64 / seconds;
    let (frames, files) = (world.captures - begun.0, world.snapshots.len() - begun.1);
    let frames = rate(frames as usize);
    assert!(frames >= 27.0, "{frames} pictures a second");
    let files = rate(files);
    assert!((2.5..=3.5).contains(&files), "{files} files a second of 30 ms");
    assert!(answered > 100 && parts > 10, "{answered} answered, {refused} refused, {parts} parts");
    assert!(slowest < Duration::from_secs(6), "{slowest:?}");
    assert!(world.clients[viewer].client.frames.len() as f64 >= 27.0 * seconds);
}

#[test]
fn two_files_are_never_made_between_two_pictures() {
    let mut world = World::new();
    world.join();
    world.run(Duration::from_secs(1));
    world.snapshot_cost = Duration::from_millis(1);
    for width in WIDTHS {
        ask_for_width(&mut world, 1, width);
    }
    let mut made_of = Vec::new();
    for _ in 0..400 {
        let before = world.snapshots.len();
        world.run(Duration::from_millis(1));
        made_of.extend((before..world.snapshots.len()).map(|_| world.captures));
    }
    assert_eq!((world.snapshots.len(), made_of.len()), (8, 7), "the first is made at once");
    assert!(made_of.windows(2).all(|pair| pair[0] < pair[1]), "{made_of:?}");
}

#[test]
fn whoever_would_wait_too_long_for_a_picture_is_told_when_to_ask_again() {
    let mut world = World::new();
    world.snapshot_cost = Duration::from_millis(400);
    let ids: Vec<ConnId> = WIDTHS.map(|width| ask_for_width(&mut world, 1, width)).into();
    let answers: Vec<String> = ids.iter().map(|id| text(&mut world, *id)).collect();
    let refused: Vec<&String> = answers.iter().filter(|answer| status(answer) == 503).collect();
    assert_eq!(refused.len(), 6, "a first one is made, and a second one in time");
    assert!(refused[0].contains("\"snapshot-rate\""), "{}", refused[0]);
    assert!(refused[0].contains("\r\nRetry-After: 8\r\n"), "{}", refused[0]);
    world.run(Duration::from_secs(5));
    assert_eq!(status(&text(&mut world, ids[1])), 200);
}

#[test]
fn a_wish_that_nobody_has_any_more_costs_nothing() {
    let mut world = World::new();
    world.snapshot = None;
    ask(&mut world, 1, "/snapshot.jpg");
    let gone = ask_for_width(&mut world, 2, 320);
    let stays = ask_for_width(&mut world, 3, 640);
    world.input(Input::Disconnected(gone));
    for width in [None, Some(640)] {
        assert_eq!(world.snapshots.last(), Some(&width));
        let made = Ok("JPEG".into());
        world.input(Input::Snapshot { width, made, cost: Duration::ZERO });
    }
    assert_eq!(status(&text(&mut world, stays)), 200);
}
