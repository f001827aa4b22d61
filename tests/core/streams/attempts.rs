//! How often a stream is opened that fails again and again, and how slow one may be.

use std::time::{Duration, Instant};

use ballcast::testing::server::Input;
use ballcast::testing::source::{
    Source, SourceCommand, SourceEvent, SourceKind, SourceStatus, StreamConfig,
};

use super::{unit, world, y4m_picture};
use crate::support::world::World;

const SECOND: Duration = Duration::from_secs(1);
const B_SLICE: &[u8] = &[0, 0, 0, 1, 0x01, 0x9e, 0x38, 0x81];

#[test]
fn a_file_with_b_frames_is_a_failure_with_pauses_whatever_it_begins_with() {
    let bytes = [&unit(1, true)[..], B_SLICE, B_SLICE].concat();
    let mut world = world(SourceKind::File);
    let viewer = world.join();
    world.source_commands = vec![SourceCommand::Read];
    let mut openings = 0;
    for _ in 0..2_000 {
        for command in std::mem::take(&mut world.source_commands) {
            match command {
                SourceCommand::Open => {
                    openings += 1;
                    world.input(Input::Source(SourceEvent::Opened));
                }
                SourceCommand::Read => world.input(Input::Source(SourceEvent::Bytes(&bytes))),
                _ => {}
            }
        }
        world.run(Duration::from_millis(20));
        let source = world.stats()["source"].clone();
        assert_eq!(source["state"], "failed", "{source}");
        assert!(source["sentence"].as_str().unwrap().contains("B-frames"), "{source}");
    }
    // After 1, 2, 4, 8, 10 and 10 s.
    assert!((4..=6).contains(&openings), "{openings} openings in 40 s");
    assert!(super::numbers(&world, viewer).iter().all(|number| *number != 1), "no picture flashes");
}

#[test]
fn writers_of_a_named_pipe_that_fail_are_not_read_ten_times_a_second_and_the_next_is_at_once() {
    let mut world = world(SourceKind::Fifo);
    let mut openings = 0;
    for _ in 0..400 {
        world.input(Input::Source(SourceEvent::Bytes(b"no video at all")));
        world.input(Input::Source(SourceEvent::Ended));
        while !std::mem::take(&mut world.source_commands).contains(&SourceCommand::Open) {
            world.run(Duration::from_millis(25));
        }
        openings += 1;
        world.input(Input::Source(SourceEvent::Opened));
        if openings == 20 {
            break;
        }
    }
    let elapsed = world.stats()["source"]["missing_s"].as_f64().unwrap();
    assert!(elapsed > 15.0, "{openings} openings in {elapsed} s");
    super::write_group(&mut world, 1..10);
    assert_eq!(world.stats()["source"]["state"], "running");
    world.input(Input::Source(SourceEvent::Ended));
    world.source_commands.clear();
    world.run(Duration::from_millis(125));
    assert_eq!(world.source_commands, [SourceCommand::Open], "after a good writer");
}

fn y4m(rate: &str, pictures: usize) -> Vec<u8> {
    let header = format!("YUV4MPEG2 W16 H16 F{rate}\n");
    [header.as_bytes(), &y4m_picture().repeat(pictures)].concat()
}

/// A source that sends a picture each so many seconds runs from its second picture on.
fn assert_runs(mut world: World, first: &[u8], next: &[u8], period: Duration, from: usize) {
    for number in 0..8 {
        world.input(Input::Source(SourceEvent::Bytes(if number == 0 { first } else { next })));
        let end = world.now + period;
        while world.now < end {
            world.run(SECOND / 4);
            let source = world.stats()["source"].clone();
            let runs = source["state"] == "running";
            assert!(runs || number < from, "picture {number}: {source}");
            let kills = world.source_commands.iter().any(|it| matches!(it, SourceCommand::Kill(_)));
            assert!(!kills, "picture {number}");
        }
    }
    world.run(period + SECOND);
    assert_eq!(world.stats()["source"]["state"], "silent", "it is overdue by its own rhythm");
}

#[test]
fn a_slow_source_runs_as_it_declares_or_as_it_was_measured_until_its_picture_is_overdue() {
    for kind in [SourceKind::Command, SourceKind::Fifo] {
        let picture = &y4m_picture();
        assert_runs(world(kind), &y4m("1:5", 1), picture, 5 * SECOND, 0);
        assert_runs(world(kind), &y4m("1:30", 1), picture, 30 * SECOND, 0);
        assert_runs(world(kind), &y4m("25:1", 1), picture, 3 * SECOND, 1);
        assert_runs(world(kind), &y4m("25:1", 1), picture, 7 * SECOND, 1);
    }
}

#[test]
fn the_interval_of_the_operator_counts_before_anything_is_measured() {
    let now = Instant::now();
    let interval = Some(60 * SECOND);
    let mut source =
        Source::new(StreamConfig { kind: SourceKind::Command, raw: None, interval }.into(), now);
    source.handle_timeout(now);
    source.handle_event(now, SourceEvent::Opened);
    let commands = |source: &mut Source| std::iter::from_fn(|| source.poll_command()).count();
    commands(&mut source);
    source.handle_timeout(now + 100 * SECOND);
    assert_eq!(commands(&mut source), 0, "it may start slowly, too");
    source.handle_event(now + 100 * SECOND, SourceEvent::Bytes(&y4m("25:1", 1)));
    source.handle_timeout(now + 219 * SECOND);
    assert_eq!((commands(&mut source), source.status()), (0, &SourceStatus::Running));
    source.handle_timeout(now + 221 * SECOND);
    assert_eq!(source.status(), &SourceStatus::Silent);
}
