//! A source that has delivered bytes for 5 s either shows pictures, or does not run and says why.

use std::time::{Duration, SystemTime};

use ballcast::testing::media::{Codec, Damage, SnapshotError};
use ballcast::testing::server::Input;
use ballcast::testing::source::{SourceEvent, SourceKind};
use serde_json::Value;

use super::{IDR_SLICE, PARAMETER_SETS, PERIOD, SLICE, unit, world};
use crate::support::jpegs;
use crate::support::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// Writes pictures, 25 a second.
fn write(world: &mut World, seconds: u32, mut picture: impl FnMut(u32) -> Vec<u8>) {
    for number in 0..seconds * 25 {
        world.input(Input::Source(SourceEvent::Bytes(&picture(number))));
        world.run(PERIOD);
    }
}

fn source(world: &mut World) -> Value {
    world.stats()["source"].clone()
}

/// The source does not run, and all that people and programs read says the same.
fn assert_fails(world: &mut World, words: &str) {
    let source = source(world);
    assert_eq!(source["state"], "failed", "{source}");
    let sentence = source["sentence"].as_str().unwrap();
    assert!(sentence.contains(words), "{sentence}");
    assert_eq!(world.server.problem(world.now).as_deref(), Some(sentence));
}

fn jpeg() -> Vec<u8> {
    const BASELINE: u8 = 0xc0;
    jpegs::file(&[
        &jpegs::flat_quantiser(),
        &jpegs::grey_frame(BASELINE, [64, 48]),
        &jpegs::one_code(0),
        &jpegs::one_code(0x10),
        &jpegs::grey_scan(0, 63),
        &[0; 200],
    ])
}

#[test]
fn h264_that_nothing_can_be_shown_of_says_what_it_lacks_after_five_seconds() {
    let idr = || [IDR_SLICE, &[0x81, 0x55]].concat();
    let delta = || [SLICE, &[0x82, 0x55]].concat();
    let without_sets = |number: u32| if number.is_multiple_of(25) { idr() } else { delta() };
    let without_key_frames = |_: u32| [PARAMETER_SETS, &delta()].concat();
    for kind in [SourceKind::Stdin, SourceKind::Fifo, SourceKind::Command] {
        let mut world = world(kind);
        write(&mut world, 4, without_sets);
        assert_eq!(source(&mut world)["state"], "starting");
        write(&mut world, 2, without_sets);
        assert_fails(&mut world, "-bsf:v dump_extra");
        let mut world = super::world(kind);
        write(&mut world, 6, without_key_frames);
        assert_fails(&mut world, "-g 30");
    }
}

#[test]
fn bytes_that_came_once_are_named_too() {
    let mut world = world(SourceKind::Fifo);
    world.input(Input::Source(SourceEvent::Bytes(PARAMETER_SETS)));
    world.run(4 * SECOND);
    assert_eq!(source(&mut world)["state"], "starting");
    world.run(2 * SECOND);
    assert_fails(&mut world, "but no picture");
}

#[test]
fn a_stream_of_which_nearly_all_is_left_out_has_failed_until_most_is_good() {
    let mut world = world(SourceKind::Fifo);
    write(&mut world, 2, |_| jpeg());
    assert_eq!(source(&mut world)["state"], "running");
    let cut = |number: u32| {
        let mut jpeg = jpeg();
        jpeg.truncate(if number.is_multiple_of(25) { jpeg.len() } else { 100 });
        jpeg
    };
    write(&mut world, 8, cut);
    assert_fails(&mut world, "damaged");
    write(&mut world, 1, |_| jpeg());
    assert_fails(&mut world, "damaged");
    write(&mut world, 4, |_| jpeg());
    assert_eq!(source(&mut world)["state"], "running");
}

#[test]
fn pictures_that_cannot_be_shown_are_a_failure_while_somebody_watches() {
    let mut world = world(SourceKind::Fifo);
    world.damage = Some(Damage::DecodeKeyframe);
    write(&mut world, 10, |_| jpeg());
    assert_eq!(source(&mut world)["state"], "running", "nothing is decoded");
    let viewer = world.join();
    write(&mut world, 1, |_| jpeg());
    assert_eq!(source(&mut world)["state"], "running");
    let encodes = world.encodes.len();
    write(&mut world, 4, |_| jpeg());
    assert_fails(&mut world, "cannot be decoded on this device");
    assert!(world.clients[viewer].client.frames.len() >= 4, "viewers see words");
    let tried = world.encodes[encodes..].iter().filter(|(size, _)| size.width == 64).count();
    assert!(tried <= 25 + 6, "{tried} pictures were tried");
    world.damage = None;
    write(&mut world, 6, |_| jpeg());
    assert_eq!(source(&mut world)["state"], "running");
    let shown = world.clients[viewer].client.frames.len();
    write(&mut world, 2, |_| jpeg());
    assert!(world.clients[viewer].client.frames.len() >= shown + 45);
    assert!(world.encodes.iter().all(|(_, codecs)| codecs.len() < 2 || codecs == &Codec::ALL));
}

#[test]
fn every_fifth_picture_that_cannot_be_shown_is_left_out_and_the_stream_runs() {
    let mut world = world(SourceKind::Fifo);
    world.join();
    for second in 0..50 {
        world.damage = (second % 5 == 0).then_some(Damage::Decode);
        world.input(Input::Source(SourceEvent::Bytes(&jpeg())));
        world.run(PERIOD);
    }
    let source = source(&mut world);
    assert_eq!(source["state"], "running");
    assert!((9..=10).contains(&source["frames_damaged"].as_u64().unwrap()), "{source}");
}

#[test]
fn a_stream_that_loses_its_key_frame_says_so_and_not_that_nothing_comes() {
    let mut world = world(SourceKind::Command);
    write(&mut world, 1, |number| unit(number as u8 % 100, number == 0));
    let cut_off: &[u8] = &[0, 0, 0, 1, 0x65, 0x80];
    world.input(Input::Source(SourceEvent::Bytes(cut_off)));
    write(&mut world, 3, |number| unit(number as u8 % 100, false));
    assert_fails(&mut world, "key frame");
    write(&mut world, 1, |number| unit(number as u8 % 100, number == 0));
    assert_eq!(source(&mut world)["state"], "running");
}

#[test]
fn more_pictures_than_any_camera_has_are_a_failure_and_not_sent_to_all() {
    let mut world = world(SourceKind::Fifo);
    let viewer = world.join();
    world.run(SECOND);
    let burst: Vec<u8> =
        (0..2_000).flat_map(|number: u32| unit(5, number.is_multiple_of(30))).collect();
    let before = world.clients[viewer].client.frames.len();
    world.input(Input::Source(SourceEvent::Bytes(&burst)));
    world.run(PERIOD);
    let sent = world.clients[viewer].client.frames.len() - before;
    assert!(sent <= 241, "{sent} frames");
    assert_fails(&mut world, "more than 240 pictures a second");
    write(&mut world, 4, |number| unit(number as u8 % 100, number.is_multiple_of(25)));
    assert_eq!(source(&mut world)["state"], "running");
}

const SNAPSHOT: &[u8] = b"GET /snapshot.jpg HTTP/1.1\r\nHost: camera\r\n\r\n";

fn snapshot(world: &mut World) -> String {
    let id = world.connect("10.2.0.1:4000".parse().unwrap());
    world.input(Input::Received(id, SNAPSHOT));
    String::from_utf8(world.take_sent(id)).unwrap()
}

#[test]
fn a_snapshot_has_the_time_at_which_it_was_taken_and_there_is_none_without_a_picture() {
    let mut world = world(SourceKind::Fifo);
    let answer = snapshot(&mut world);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("Waiting for a program to write a picture."), "{answer}");
    write(&mut world, 1, |_| jpeg());
    world.input(Input::WallClock(SystemTime::UNIX_EPOCH + 1_000 * SECOND));
    world.input(Input::Source(SourceEvent::Bytes(&jpeg())));
    world.run(SECOND + SECOND / 2);
    let answer = snapshot(&mut world);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let header = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    assert_eq!(header("X-Timestamp: ").split_once('.').unwrap().1.len(), 6, "{answer}");
    let time: f64 = header("X-Timestamp: ").parse().unwrap();
    assert!((time - 1_000.0).abs() < 0.1, "{answer}");
    assert!(
        ["Thu, 01 Jan 1970 00:16:39 GMT", "Thu, 01 Jan 1970 00:16:40 GMT"]
            .contains(&header("Last-Modified: ")),
        "{answer}"
    );
    world.run(SECOND);
    let answer = snapshot(&mut world);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("The program that writes to the stream sends no pictures."),
        "{answer}"
    );
    assert!(answer.contains("\r\nRetry-After: "), "{answer}");
}

#[test]
fn who_takes_snapshots_of_pictures_that_cannot_be_shown_learns_why_and_when_they_are_good() {
    let mut world = world(SourceKind::Fifo);
    world.snapshot = Some(|_, _| Err(SnapshotError::Damaged(Damage::EncodeJpeg)));
    for _ in 0..10 {
        write(&mut world, 1, |_| jpeg());
        assert!(snapshot(&mut world).starts_with("HTTP/1.1 503 "));
    }
    assert_fails(&mut world, "cannot be encoded on this device");
    assert!(snapshot(&mut world).contains("cannot be encoded on this device"));
    world.snapshot = Some(|_, _| Ok(b"JPEG".to_vec()));
    let mut answers = 0;
    while !snapshot(&mut world).starts_with("HTTP/1.1 200 ") {
        write(&mut world, 1, |_| jpeg());
        answers += 1;
        assert!(answers < 10);
    }
    assert_eq!(source(&mut world)["state"], "running");
}

#[test]
fn key_frames_of_which_no_file_can_be_made_are_no_reason_to_take_the_stream_from_viewers() {
    let mut world = world(SourceKind::Fifo);
    world.snapshot = Some(|_, _| Err(SnapshotError::Damaged(Damage::DecodeKeyframe)));
    for second in 0..12 {
        // A stream that loses its key frame for some seconds, while files are asked for.
        let is_good = !(3..6).contains(&second);
        let idr = |number: u32| is_good && number == 0;
        write(&mut world, 1, |number| unit(number as u8 % 100, idr(number)));
        assert!(snapshot(&mut world).starts_with("HTTP/1.1 503 "));
        world.input(Input::PictureDamaged(Damage::DecodeKeyframe));
    }
    assert_eq!(source(&mut world)["state"], "running");
}

#[test]
fn who_writes_h264_after_jpegs_that_cannot_be_shown_is_shown() {
    let mut world = world(SourceKind::Fifo);
    world.join();
    world.damage = Some(Damage::Decode);
    write(&mut world, 4, |_| jpeg());
    assert_fails(&mut world, "JPEG data is damaged");
    world.input(Input::Source(SourceEvent::Ended));
    world.run(SECOND);
    world.input(Input::Source(SourceEvent::Opened));
    write(&mut world, 2, |number| unit(number as u8 % 100, number.is_multiple_of(25)));
    assert_eq!(source(&mut world)["state"], "running");
}
