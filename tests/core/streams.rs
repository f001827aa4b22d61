//! A stream from outside, in virtual time: what of it reaches the viewers, and what they see while
//! there is nothing.

mod attempts;
mod chaos;
mod files;
mod law;
mod orientation;

use std::time::{Duration, Instant};

use crate::support::world::World;
use ballcast::testing::media::{Codec, Size};
use ballcast::testing::os_error::OsError;
use ballcast::testing::server::Input;
use ballcast::testing::source::{
    Exit, Signal, Source, SourceCommand, SourceEvent, SourceFailure, SourceItem, SourceKind,
    StreamConfig,
};

/// Of 64x48 pixels, as x264 makes them.
const PARAMETER_SETS: &[u8] = &[
    0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x0a, 0xd9, 0x04, 0x7b, 0x01, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 3,
    0xc8, 0xf1, 0x22, 0x64, 0x80, 0, 0, 0, 1, 0x68, 0xcb, 0x83, 0xcb, 0x20,
];
/// Slices that begin a picture: an IDR picture, and one that refers to the picture before. The byte
/// after each is the picture's own.
const IDR_SLICE: &[u8] = &[0, 0, 0, 1, 0x65, 0x88, 0x84];
const SLICE: &[u8] = &[0, 0, 0, 1, 0x41, 0x9a, 0x84];
/// The end of the sequence, which ends a picture at once.
const END: &[u8] = &[0, 0, 0, 1, 0x0a];
const PERIOD: Duration = Duration::from_millis(40);
const KILLED: SourceEvent = SourceEvent::Exited(Exit::Signal(9, Some("SIGKILL")), None);

fn unit(number: u8, keyframe: bool) -> Vec<u8> {
    [&open_unit(number, keyframe), END].concat()
}

/// The same, which ends where the next one begins.
fn open_unit(number: u8, keyframe: bool) -> Vec<u8> {
    let number = [0x80 | number, 0x55];
    if keyframe { [PARAMETER_SETS, IDR_SLICE, &number].concat() } else { [SLICE, &number].concat() }
}

fn world(kind: SourceKind) -> World {
    let mut world = World::with_source(StreamConfig { kind, raw: None, interval: None }.into());
    world.input(Input::Timeout);
    assert_eq!(std::mem::take(&mut world.source_commands), [SourceCommand::Open]);
    world.input(Input::Source(SourceEvent::Opened));
    world
}

/// Pictures of a group, 25 a second.
fn write_group(world: &mut World, pictures: std::ops::Range<u8>) {
    for number in pictures.clone() {
        let bytes = unit(number, number == pictures.start);
        world.input(Input::Source(SourceEvent::Bytes(&bytes)));
        world.run(PERIOD);
    }
}

/// The numbers of the pictures that a viewer got, in order.
fn numbers(world: &World, viewer: usize) -> Vec<u8> {
    let frames = world.clients[viewer].client.frames.iter();
    frames.map(|frame| frame.data[frame.data.len() - 2] & 0x7f).collect()
}

/// A picture of yuv4mpeg2, in 16x16.
fn y4m_picture() -> Vec<u8> {
    [b"FRAME\n", &[100; 16 * 16 * 3 / 2][..]].concat()
}

#[test]
fn a_viewer_gets_each_picture_once_and_in_order() {
    let mut world = world(SourceKind::Stdin);
    let viewer = world.join();
    world.run(Duration::from_secs(1));
    write_group(&mut world, 1..26);
    let got = numbers(&world, viewer);
    assert!(got.ends_with(&(1..26).collect::<Vec<u8>>()), "{got:?}");
}

#[test]
fn who_comes_in_the_middle_of_a_group_is_given_all_of_it_at_once() {
    let mut world = world(SourceKind::Fifo);
    write_group(&mut world, 1..21);
    let viewer = world.join();
    world.run(Duration::from_millis(30));
    assert_eq!(numbers(&world, viewer), (1..21).collect::<Vec<u8>>());
    let first = &world.clients[viewer].client.frames[0];
    assert!(
        first
            .data
            .windows(5)
            .any(|unit| unit == [0, 0, 0, 1, 0x65] || unit[1..] == [0, 0, 1, 0x65])
    );
    for number in 21..26 {
        world.input(Input::Source(SourceEvent::Bytes(&unit(number, false))));
        world.run(PERIOD);
    }
    assert_eq!(numbers(&world, viewer), (1..26).collect::<Vec<u8>>());
}

#[test]
fn a_request_for_a_key_frame_is_answered_from_the_group_and_time_never_goes_back() {
    let mut world = world(SourceKind::Fifo);
    write_group(&mut world, 1..6);
    let viewer = world.join();
    world.run(Duration::from_secs(1));
    for number in 6..9 {
        world.input(Input::Source(SourceEvent::Bytes(&unit(number, false))));
        world.run(PERIOD);
    }
    let now = world.now;
    let kind = str0m::media::KeyframeRequestKind::Pli;
    world.clients[viewer].client.request_keyframe(kind, now);
    world.run(Duration::from_millis(50));
    let frames = &world.clients[viewer].client.frames;
    assert_eq!(numbers(&world, viewer)[8..], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(frames.windows(2).all(|pair| pair[1].timestamp > pair[0].timestamp));
    assert!(world.forced_keyframes.is_empty(), "a pipe cannot be asked");
}

#[test]
fn who_could_not_be_sent_a_picture_is_given_the_group_again() {
    let mut world = world(SourceKind::Fifo);
    write_group(&mut world, 1..6);
    let viewer = world.join();
    world.run(Duration::from_secs(1));
    for number in 6..10 {
        world.transmit_fails = number == 6;
        world.input(Input::Source(SourceEvent::Bytes(&unit(number, false))));
        world.run(PERIOD);
    }
    // The viewer itself has missed nothing that it knows of, and asks for nothing.
    let got = numbers(&world, viewer);
    assert!(got[5..].ends_with(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), "{got:?}");
}

#[test]
fn while_nothing_comes_viewers_see_words_twice_a_second() {
    let mut world = world(SourceKind::Command);
    let viewer = world.join();
    world.run(Duration::from_millis(100));
    assert_eq!(world.clients[viewer].client.frames.len(), 1, "at once");
    world.run(Duration::from_secs(4));
    let words = world.clients[viewer].client.frames.len();
    assert!((8..=10).contains(&words), "{words}");
    assert!(
        world
            .encodes
            .iter()
            .all(|encode| *encode == (Size { width: 640, height: 480 }, vec![Codec::H264]))
    );
    write_group(&mut world, 1..26);
    let got = numbers(&world, viewer);
    assert!(got.ends_with(&(1..26).collect::<Vec<u8>>()), "{got:?}");
    world.run(Duration::from_secs(4));
    assert!(world.clients[viewer].client.frames.len() > got.len(), "words again");
    let last = world.encodes.last().unwrap();
    assert_eq!(
        last.0,
        Size { width: 640, height: 480 },
        "pictures of 64x48 have no room for words"
    );
}

#[test]
fn nothing_is_encoded_and_everything_is_read_while_nobody_watches() {
    let mut world = world(SourceKind::Fifo);
    let header = b"YUV4MPEG2 W16 H16 F25:1\n".to_vec();
    world.input(Input::Source(SourceEvent::Bytes(&header)));
    for _ in 0..10 {
        world.input(Input::Source(SourceEvent::Bytes(&y4m_picture())));
        world.run(PERIOD);
    }
    assert_eq!(world.encodes.len(), 10);
    assert!(world.encodes.iter().all(|(_, codecs)| codecs.is_empty()));
    let viewer = world.join();
    world.input(Input::Source(SourceEvent::Bytes(&y4m_picture())));
    world.run(Duration::from_millis(10));
    world.input(Input::Source(SourceEvent::Bytes(&y4m_picture())));
    world.run(Duration::from_millis(10));
    assert_eq!(world.encodes.last().unwrap().1, [Codec::H264]);
    assert!(!world.clients[viewer].client.frames.is_empty());
}

#[test]
fn a_command_is_started_again_after_longer_and_longer_pauses() {
    let mut world = world(SourceKind::Command);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        world.input(Input::Source(SourceEvent::Ended));
        world.input(Input::Source(SourceEvent::Exited(Exit::Status(1), None)));
        let failed = world.now;
        world.source_commands.clear();
        while !world.source_commands.contains(&SourceCommand::Open) {
            world.run(Duration::from_millis(100));
        }
        pauses.push((world.now - failed).as_millis() / 1_000);
        world.input(Input::Source(SourceEvent::Opened));
    }
    assert_eq!(pauses, [1, 2, 4, 8, 10, 10, 10]);
}

#[test]
fn a_command_that_hangs_is_ended_more_and_more_firmly() {
    let mut world = world(SourceKind::Command);
    world.run(Duration::from_secs(16));
    let kills = [Signal::Interrupt, Signal::Terminate, Signal::Kill].map(SourceCommand::Kill);
    assert_eq!(world.source_commands[..3], kills);
    world.input(Input::Source(KILLED));
    world.source_commands.clear();
    world.run(Duration::from_secs(2));
    assert!(world.source_commands.contains(&SourceCommand::Open));
    // Once it has shown something, it has less time.
    world.input(Input::Source(SourceEvent::Opened));
    write_group(&mut world, 1..10);
    world.source_commands.clear();
    world.run(Duration::from_secs(6));
    assert_eq!(world.source_commands, [SourceCommand::Kill(Signal::Interrupt)]);
}

#[test]
fn standard_input_that_ends_is_given_up_and_a_named_pipe_is_opened_again() {
    let mut stdin = world(SourceKind::Stdin);
    write_group(&mut stdin, 1..5);
    stdin.input(Input::Source(SourceEvent::Ended));
    stdin.run(Duration::from_secs(3));
    assert_eq!(stdin.source_commands, [SourceCommand::Close, SourceCommand::GiveUp]);
    let mut fifo = world(SourceKind::Fifo);
    write_group(&mut fifo, 1..5);
    fifo.input(Input::Source(SourceEvent::Ended));
    fifo.run(Duration::from_secs(1));
    assert_eq!(fifo.source_commands, [SourceCommand::Close, SourceCommand::Open]);
}

#[test]
fn a_named_pipe_without_a_writer_is_silent_and_viewers_see_words() {
    let mut world = world(SourceKind::Fifo);
    let viewer = world.join();
    write_group(&mut world, 1..11);
    world.input(Input::Source(SourceEvent::Ended));
    world.run(Duration::from_millis(500));
    assert_eq!(
        std::mem::take(&mut world.source_commands),
        [SourceCommand::Close, SourceCommand::Open]
    );
    world.input(Input::Source(SourceEvent::Opened));
    let frames = world.clients[viewer].client.frames.len();
    world.run(Duration::from_secs(4));
    assert_eq!(world.stats()["source"]["state"], "silent");
    assert!(world.clients[viewer].client.frames.len() > frames + 2, "words");
    write_group(&mut world, 1..11);
    assert_eq!(world.stats()["source"]["state"], "running");
    assert!(numbers(&world, viewer).ends_with(&(1..11).collect::<Vec<u8>>()));
}

#[test]
fn who_writes_next_in_another_format_begins_with_a_key_frame() {
    let mut world = world(SourceKind::Fifo);
    let viewer = world.join();
    let write_pictures = |world: &mut World| {
        world.input(Input::Source(SourceEvent::Bytes(b"YUV4MPEG2 W16 H16 F25:1\n")));
        for _ in 0..5 {
            world.input(Input::Source(SourceEvent::Bytes(&y4m_picture())));
            world.run(PERIOD);
        }
    };
    let next_writer = |world: &mut World| {
        world.input(Input::Source(SourceEvent::Ended));
        world.run(Duration::from_millis(150));
        world.input(Input::Source(SourceEvent::Opened));
    };
    write_pictures(&mut world);
    for _ in 0..3 {
        next_writer(&mut world);
        write_group(&mut world, 1..6);
        assert!(numbers(&world, viewer).ends_with(&[1, 2, 3, 4, 5]));
        next_writer(&mut world);
        let (forced, frames) =
            (world.forced_keyframes.len(), world.clients[viewer].client.frames.len());
        write_pictures(&mut world);
        assert_eq!(world.forced_keyframes.len(), forced + 1);
        assert_eq!(world.clients[viewer].client.frames.len(), frames + 5);
    }
}

#[test]
fn a_viewer_without_h264_is_ended_when_that_is_all_there_is_and_then_told_so() {
    let mut world = world(SourceKind::Fifo);
    world.codec = Codec::Vp8;
    let (connected, half_open) = (world.join(), world.join());
    world.clients[half_open].powered_off = true;
    world.run(Duration::from_secs(1));
    assert!(!world.clients[connected].client.frames.is_empty(), "words");
    write_group(&mut world, 1..3);
    assert!(world.clients[connected].client.closed);
    let stats = world.stats();
    assert_eq!(stats["viewers_ended"]["no-codec"], 2, "{stats}");
    let (status, problem) = world.try_join().unwrap_err();
    assert_eq!((status, &problem["reason"]), (422, &"no-codec".into()));
    assert!(problem["detail"].as_str().unwrap().starts_with("The camera sends H.264"));
}

#[test]
fn the_answer_has_the_profile_of_the_stream_and_a_connection_keeps_its_own() {
    /// Main, as x264 makes it, and a picture of it.
    const MAIN: &[u8] = &[
        0, 0, 0, 1, 0x67, 0x4d, 0x40, 0x0b, 0xd9, 2, 0xcd, 0xe2, 0x24, 0xff, 0xc0, 5, 0, 6, 0xc4,
        0, 0, 3, 0, 4, 0, 0, 3, 0, 0xf0, 0x3c, 0x50, 0xa9, 0x20, 0, 0, 0, 1, 0x68, 0xcb, 0x83,
        0xcb, 0x20, 0, 0, 0, 1, 0x65, 0x88, 0x84, 0x81, 0x55, 0, 0, 0, 1, 0x0a,
    ];
    let offer = include_str!("../offers/chromium-156.sdp");
    let mut world = world(SourceKind::Fifo);
    let answered = |world: &mut World, host: u8, sdp: &str| {
        let body = serde_json::json!({"type": "offer", "sdp": sdp}).to_string();
        let (_, answer) = world.post_offer(([10, 1, 0, host], 1).into(), &body);
        let answer = answer["sdp"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let media = answer.lines().find(|line| line.starts_with("m=video")).unwrap();
        media.rsplit_once("SAVPF ").unwrap().1.to_owned()
    };
    // Nothing is known yet.
    assert_eq!(answered(&mut world, 1, offer), "108 109");
    world.input(Input::Source(SourceEvent::Bytes(MAIN)));
    world.run(PERIOD);
    assert_eq!(world.stats()["source"]["state"], "running");
    let other = offer.replacen("o=- ", "o=- 7", 1);
    assert_ne!(offer, other);
    assert_eq!(answered(&mut world, 2, &other), "116 117");
    for (host, sdp, kept) in [(1, offer, "108 109"), (2, &other, "116 117")] {
        assert_eq!(answered(&mut world, host, sdp), kept, "a further offer of a connection");
    }
    assert_eq!(world.server.viewers(), 2);
}

#[test]
fn a_stream_that_browsers_cannot_decode_is_refused_with_the_flag_that_mends_it() {
    let mut world = world(SourceKind::Command);
    world.input(Input::Source(SourceEvent::Bytes(b"YUV4MPEG2 W16 H16 F25:1 C422\n")));
    world.run(Duration::from_millis(10));
    assert_eq!(world.source_commands, [SourceCommand::Kill(Signal::Interrupt)]);
    let stats = world.stats();
    let source = &stats["source"];
    assert_eq!(source["state"], "failed");
    assert!(source["sentence"].as_str().unwrap().contains("-pix_fmt yuv420p"), "{source}");
}

#[test]
fn a_command_that_shows_a_picture_while_it_is_ended_is_gone_when_it_is_gone() {
    let mut world = world(SourceKind::Command);
    world.run(Duration::from_secs(11));
    assert_eq!(
        std::mem::take(&mut world.source_commands),
        [SourceCommand::Kill(Signal::Interrupt)]
    );
    world.input(Input::Source(SourceEvent::Bytes(&unit(1, true))));
    world.run(PERIOD);
    assert_eq!(world.stats()["source"]["state"], "running");
    world.input(Input::Source(KILLED));
    let stats = world.stats();
    assert_eq!(stats["source"]["state"], "failed");
    assert_eq!(stats["source"]["sentence"], "The command was killed by signal SIGKILL.");
}

#[test]
fn a_command_whose_output_cannot_be_read_is_ended_before_it_is_started_again() {
    let mut world = world(SourceKind::Command);
    world.input(Input::Source(SourceEvent::Bytes(&unit(1, true))));
    // The picture may be complete, and is not shown any more.
    world.input(Input::Source(SourceEvent::Failed(SourceFailure::Read(OsError::Number(5)))));
    world.run(Duration::from_millis(1_500));
    assert_eq!(world.stats()["source"]["state"], "failed");
    assert_eq!(
        world.source_commands,
        [SourceCommand::Close, SourceCommand::Kill(Signal::Interrupt)]
    );
    world.source_commands.clear();
    world.input(Input::Source(SourceEvent::Exited(Exit::Signal(2, Some("SIGINT")), None)));
    world.run(Duration::from_millis(1_100));
    assert_eq!(world.source_commands, [SourceCommand::Open]);
}

#[test]
fn a_picture_that_comes_with_a_failure_is_not_shown_among_words() {
    let mut world = world(SourceKind::Command);
    let viewer = world.join();
    world.run(Duration::from_secs(1));
    let before = world.clients[viewer].client.frames.len();
    let b_slice: &[u8] = &[0, 0, 0, 1, 0x01, 0x9e, 0x38, 0x81];
    world
        .input(Input::Source(SourceEvent::Bytes(&[&unit(1, true)[..], b_slice, b_slice].concat())));
    assert_eq!(world.stats()["source"]["state"], "failed");
    world.run(Duration::from_millis(50));
    assert!(numbers(&world, viewer)[before..].iter().all(|number| *number != 1));
}

#[test]
fn a_picture_is_not_waited_for_once_the_source_has_shown_that_it_writes_whole_ones() {
    let mut now = Instant::now();
    let mut source = Source::new(
        StreamConfig { kind: SourceKind::Stdin, raw: None, interval: None }.into(),
        now,
    );
    source.handle_timeout(now);
    source.handle_event(now, SourceEvent::Opened);
    let mut write = |source: &mut Source, number: u16| {
        now += PERIOD;
        source.handle_event(
            now,
            SourceEvent::Bytes(&open_unit((number % 30) as u8, number.is_multiple_of(30))),
        );
        source.handle_event(now, SourceEvent::Paused);
        std::iter::from_fn(|| source.poll_item()).count()
    };
    let at_once: Vec<usize> = (0..1_000).map(|number| write(&mut source, number)).collect();
    // One period late until then.
    assert_eq!(at_once[..2], [0, 1]);
    let trusted = at_once.iter().position(|items| *items == 2).expect("it is trusted in the end");
    assert!((500..600).contains(&trusted), "{trusted} pictures");
    assert!(at_once[2..].iter().enumerate().all(|(n, items)| *items == 1 || n + 2 == trusted));
}

#[test]
fn how_a_command_ends_is_what_viewers_are_told() {
    let mut world = world(SourceKind::Command);
    world.input(Input::Source(SourceEvent::Ended));
    world.input(Input::Source(SourceEvent::Paused));
    world.input(Input::Source(SourceEvent::Exited(Exit::Status(3), None)));
    world.input(Input::Source(SourceEvent::Paused));
    let source = &world.stats()["source"];
    assert_eq!(source["sentence"], "The command exited with status 3.");
    assert_eq!((&source["missing_s"], &source["retry_in_s"]), (&0.0.into(), &1.0.into()));
}

#[test]
fn the_statistics_tell_the_rate_and_the_groups_of_a_stream() {
    let mut world = world(SourceKind::Fifo);
    (0..4).for_each(|_| write_group(&mut world, 1..26));
    let source = &world.stats()["source"];
    assert_eq!(source["state"], "running");
    assert_eq!(source["sentence"], serde_json::Value::Null);
    assert!((0.99..1.01).contains(&source["group_s"].as_f64().unwrap()), "{source}");
    assert!((24.0..26.0).contains(&source["frames_per_second"].as_f64().unwrap()), "{source}");
}
