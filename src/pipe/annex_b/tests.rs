//! The access units of streams that are made by hand.

use super::*;
use crate::media::h264::nal_units;
use crate::pipe::flushes::{FLUSH_PAUSE_PICTURES, TRUSTED_AFTER_PICTURES};

const SPS: &[u8] = &[0x67, 66, 0xc0, 10, 0xd9, 4, 0x7b, 1, 0x10];
const WIDER_SPS: &[u8] = &[0x67, 66, 0xc0, 10, 0xd9, 5, 0x7b, 1, 0x10];
const PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];
const IDR: &[u8] = &[0x65, 0x88, 0x84, 1, 2];
/// A further slice, `first_mb_in_slice` is 1.
const IDR_MORE: &[u8] = &[0x65, 0x42, 0x20, 1, 2];
const P: &[u8] = &[0x41, 0x9a, 0x38, 3];
const P_MORE: &[u8] = &[0x41, 0x46, 0x80, 3];
const B: &[u8] = &[0x01, 0x9e, 0x38, 3];
const SEI: &[u8] = &[0x06, 5, 1, 2, 0x80];
const DELIMITER: &[u8] = &[0x09, 0xf0];
const FILLER: &[u8] = &[0x0c, 0xff, 0x80];
const END: &[u8] = &[0x0a];

fn stream(units: &[&[u8]]) -> Vec<u8> {
    let mut stream = Vec::new();
    units.iter().for_each(|unit| write_unit(unit, &mut stream));
    stream
}

/// A parser, and what came out of it.
struct Reader(AnnexB, Output);

impl Reader {
    fn new() -> Reader {
        Reader(AnnexB::new(), Output::default())
    }

    fn push(&mut self, bytes: &[u8]) {
        self.1.counters.bytes += bytes.len() as u64;
        self.0.push(bytes, &mut self.1).unwrap();
    }

    fn flush(&mut self) {
        self.0.flush(&mut self.1).unwrap();
    }

    fn run_dry(&mut self) {
        self.0.run_dry(&mut self.1).unwrap();
    }

    /// The NAL units of each access unit so far.
    fn units(&mut self) -> Vec<Vec<Vec<u8>>> {
        let units = |item| match item {
            Item::AccessUnit(unit) => nal_units(&unit.data).map(<[u8]>::to_vec).collect(),
            other => panic!("{other:?}"),
        };
        self.1.items.drain(..).map(units).collect()
    }
}

/// The access units of a stream that ends, and how many pictures were skipped and damaged.
fn read(units: &[&[u8]]) -> (Vec<Vec<Vec<u8>>>, u64, u64) {
    let mut reader = Reader::new();
    reader.push(&stream(units));
    reader.0.finish(&mut reader.1).unwrap();
    let counters = reader.1.counters;
    (reader.units(), counters.skipped, counters.damaged)
}

#[test]
fn slices_of_a_picture_are_never_apart() {
    let (units, skipped, damaged) =
        read(&[SPS, PPS, IDR, IDR_MORE, IDR_MORE, P, P_MORE, DELIMITER, P, FILLER, P_MORE]);
    assert_eq!(units[0], [SPS, PPS, IDR, IDR_MORE, IDR_MORE]);
    assert_eq!(units[1..], [[P, P_MORE], [P, P_MORE]]);
    assert_eq!((skipped, damaged), (0, 0));
}

#[test]
fn parameter_sets_are_before_each_key_frame_once() {
    let key = vec![SPS, PPS, IDR];
    assert_eq!(read(&[SPS, PPS, IDR, IDR]).0, [key.clone(), key.clone()], "not repeated");
    let repeated = [SPS, PPS, IDR, SPS, PPS, P, DELIMITER, SPS, PPS, SEI, IDR, END];
    assert_eq!(read(&repeated).0, [key.clone(), vec![P], key]);
}

#[test]
fn parameter_sets_that_change_are_taken_over() {
    let pps: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x21];
    let (units, skipped, _) = read(&[SPS, PPS, IDR, pps, P, P, WIDER_SPS, P, pps, IDR, P]);
    let expected = [&[SPS, PPS, IDR][..], &[pps, P], &[P], &[WIDER_SPS, pps, IDR], &[P]];
    assert_eq!(units, expected);
    assert_eq!(skipped, 1, "the picture between the SPS and the key frame");
}

#[test]
fn nothing_comes_out_before_a_key_frame_with_known_parameter_sets() {
    let (units, skipped, damaged) =
        read(&[P, P_MORE, IDR, P, SPS, IDR, IDR_MORE, PPS, P, P, IDR, P]);
    assert_eq!(units, [&[SPS, PPS, IDR][..], &[P]]);
    assert_eq!((skipped, damaged), (6, 0));
}

#[test]
fn what_is_damaged_is_dropped_with_all_that_refers_to_it() {
    let key: &[&[u8]] = &[SPS, PPS, IDR];
    let other_pps: &[u8] = &[0x41, 0x99, 0x3c, 3];
    for damaged in [P_MORE, &[0x41][..], &[0x41, 0x80, 0, 2], other_pps, IDR_MORE] {
        let (units, skipped, count) = read(&[key, &[DELIMITER, damaged, P, IDR, P]].concat());
        assert_eq!(units, [key, key, &[P]], "{damaged:02x?}");
        assert_eq!((skipped, count), (1, 1), "{damaged:02x?}");
    }
}

/// What is lacking at the end of a stream, of which one picture is still under way.
fn lack_of(units: &[&[u8]]) -> Option<Lack> {
    let mut reader = Reader::new();
    reader.push(&stream(units));
    reader.0.lacks()
}

#[test]
fn a_stream_of_which_nothing_comes_out_says_what_it_lacks() {
    assert_eq!(lack_of(&[]), None);
    assert_eq!(lack_of(&[SPS, PPS, IDR, P, P]), None);
    for without_sets in [&[IDR, P, IDR, P, P][..], &[P, P, P], &[PPS, IDR, P, P], &[SPS, IDR, P]] {
        assert_eq!(lack_of(without_sets), Some(Lack::ParameterSets), "{without_sets:02x?}");
    }
    assert_eq!(lack_of(&[SPS, PPS, P, SEI, P, P]), Some(Lack::KeyFrame), "intra refresh");
    assert_eq!(lack_of(&[IDR, SPS, PPS, P, P]), Some(Lack::KeyFrame), "before its sets");
    assert_eq!(lack_of(&[SPS, PPS, IDR, P, P_MORE, IDR_MORE, P, P]), Some(Lack::KeyFrame));
    let cut_off: &[u8] = &[0x65, 0x80];
    let damaged: &[&[u8]] = &[SPS, PPS, IDR, P, cut_off, P, P];
    assert_eq!(lack_of(damaged), Some(Lack::IntactKeyFrame));
    let large = [IDR, &[7; ACCESS_UNIT_MAX_BYTES]].concat();
    assert_eq!(lack_of(&[SPS, PPS, &large, P, P]), Some(Lack::SmallerKeyFrame));
    assert_eq!(lack_of(&[SPS, PPS, SEI, DELIMITER, SEI]), Some(Lack::Picture));
    assert_eq!(lack_of(&[damaged, &[IDR, P, P]].concat()), None, "until it comes");
}

#[test]
fn b_slices_are_an_error() {
    let mut reader = Reader::new();
    reader.push(&stream(&[SPS, PPS, IDR, P, B]));
    let next = reader.0.push(&stream(&[P]), &mut reader.1);
    assert_eq!(next, Err(StreamError::BFrames));
    assert_eq!(reader.units().len(), 2);
}

#[test]
fn what_looks_like_an_error_once_is_damage_and_an_error_when_it_comes_again() {
    // Another profile, which no picture refers to.
    let extended: &[u8] = &[&[0x67, 88], &SPS[2..]].concat();
    let group: &[&[u8]] = &[SPS, PPS, IDR, P];
    let mut reader = Reader::new();
    reader.push(&stream(&[group, group, &[B, P, extended]].concat()));
    assert_eq!(reader.units().len(), 4);
    reader.push(&stream(&[group, &[extended], group, &[B, P], group].concat()));
    assert_eq!(reader.units().len(), 5, "and one under way");
    assert_eq!(reader.0.push(&stream(&[B, P]), &mut reader.1), Err(StreamError::BFrames));
    let mut reader = Reader::new();
    reader.push(&stream(&[group, group, &[extended, PPS, IDR, P], group].concat()));
    assert_eq!(reader.units().len(), 5, "and one under way");
    let again = reader.0.push(&stream(&[extended, PPS, IDR, P]), &mut reader.1);
    assert_eq!(again, Err(StreamError::Profile(88)));
}

#[test]
fn what_is_too_large_is_dropped_up_to_the_next_key_frame() {
    let large = [P, &[7; ACCESS_UNIT_MAX_BYTES]].concat();
    let mut reader = Reader::new();
    for piece in stream(&[SPS, PPS, IDR, &large, P, IDR, P, P]).chunks(64 << 10) {
        reader.push(piece);
        assert!(reader.0.bytes() <= super::super::BUFFERED_MAX_BYTES);
    }
    assert_eq!(reader.units(), [&[SPS, PPS, IDR][..], &[SPS, PPS, IDR], &[P]]);
    assert_eq!((reader.1.counters.oversized, reader.1.counters.skipped), (1, 1));
}

#[test]
fn a_flush_completes_the_picture_at_once() {
    let mut reader = Reader::new();
    reader.push(&stream(&[SPS, PPS, IDR]));
    assert!(reader.units().is_empty());
    reader.flush();
    assert_eq!(reader.units(), [[SPS, PPS, IDR]]);
    reader.flush();
    // The first zero byte of the next start code may come early.
    reader.push(&[0]);
    reader.push(&stream(&[P])[1..]);
    reader.flush();
    assert_eq!(reader.units(), [[P]]);
    reader.push(&stream(&[P, FILLER]));
    reader.flush();
    assert_eq!(reader.units(), [[P]]);
    assert_eq!(reader.1.counters.early_flushes, 0);
}

#[test]
fn a_flush_waits_for_as_many_slices_as_before() {
    let mut reader = Reader::new();
    reader.push(&stream(&[SPS, PPS, IDR, IDR_MORE, P]));
    reader.flush();
    assert_eq!(reader.units().len(), 1, "the second picture has one slice of two");
    reader.push(&stream(&[P_MORE]));
    reader.flush();
    assert_eq!(reader.units(), [[P, P_MORE]]);
}

#[test]
fn a_flush_waits_where_a_buffered_writer_would_pause() {
    let mut whole = stream(&[SPS, PPS, IDR]);
    whole.resize(4096, 7);
    let mut reader = Reader::new();
    reader.push(&whole);
    reader.flush();
    assert!(reader.units().is_empty());
    reader.push(&[7]);
    reader.flush();
    assert_eq!(reader.units().len(), 1);
}

#[test]
fn after_an_early_flush_there_is_nothing_until_a_key_frame_and_no_flush_for_a_while() {
    let picture: &[&[u8]] = &[P, P_MORE];
    // In the middle of a slice, and between two slices.
    for rest in [vec![9, 9], stream(&[P_MORE]), [vec![9], stream(&[P_MORE])].concat()] {
        let mut reader = Reader::new();
        reader.push(&stream(&[SPS, PPS, IDR, P]));
        reader.flush();
        assert_eq!(reader.units().len(), 2);
        reader.push(&rest);
        assert_eq!(reader.1.counters.early_flushes, 1);
        reader.push(&stream(picture));
        reader.push(&stream(&[IDR, IDR_MORE]));
        reader.flush();
        assert!(reader.units().is_empty(), "flushes pause");
        for _ in 0..FLUSH_PAUSE_PICTURES {
            reader.push(&stream(picture));
            assert_eq!(reader.units().len(), 1);
        }
        reader.flush();
        assert_eq!(reader.units(), [[P, P_MORE]], "flushes are back");
        reader.push(&stream(&[P_MORE]));
        assert_eq!(reader.0.flushes.pause, 2 * FLUSH_PAUSE_PICTURES);
    }
}

/// A source that writes each picture at once, and pauses after it.
fn trusting_reader() -> Reader {
    let mut reader = Reader::new();
    reader.push(&stream(&[SPS, PPS, IDR, IDR_MORE]));
    reader.flush();
    for number in 0..TRUSTED_AFTER_PICTURES {
        reader.units();
        reader.push(&stream(&[P, P_MORE]));
        reader.run_dry();
        assert!(reader.units().is_empty(), "picture {number} is waited for");
        reader.flush();
        assert_eq!(reader.units(), [[P, P_MORE]]);
    }
    reader
}

#[test]
fn a_source_that_writes_whole_pictures_is_not_waited_for() {
    let mut reader = trusting_reader();
    for _ in 0..3 {
        reader.push(&stream(&[P, P_MORE]));
        reader.run_dry();
        assert_eq!(reader.units(), [[P, P_MORE]]);
        reader.push(&stream(&[SPS, PPS, IDR]));
        reader.run_dry();
        assert!(reader.units().is_empty(), "a slice is missing");
        reader.push(&stream(&[IDR_MORE]));
        reader.run_dry();
        assert_eq!(reader.units(), [[SPS, PPS, IDR, IDR_MORE]]);
    }
    assert_eq!(reader.1.counters.early_flushes, 0);
}

#[test]
fn a_source_that_writes_blocks_of_a_picture_is_waited_for_there() {
    let mut reader = trusting_reader();
    let mut large = stream(&[P, P_MORE]);
    large.resize(3 * 4096 + 5, 7);
    for block in large.chunks(4096) {
        assert!(reader.units().is_empty());
        reader.push(block);
        reader.run_dry();
    }
    assert_eq!(reader.units().len(), 1, "and not after it");
    // With two pictures at once, it is unknown where the blocks of the second begin.
    reader.push(&stream(&[P, P_MORE, P, P_MORE]));
    reader.run_dry();
    assert_eq!(reader.units().len(), 1);
    reader.flush();
    reader.push(&stream(&[P, P_MORE]));
    reader.run_dry();
    assert_eq!(reader.units().len(), 2);
    assert_eq!(reader.1.counters.early_flushes, 0);
}

#[test]
fn a_source_that_pauses_within_pictures_is_never_trusted() {
    let (first, second) = (stream(&[P, P_MORE]), stream(&[P, P_MORE, DELIMITER]));
    let mut reader = trusting_reader();
    reader.0.flushes.note_dry(0);
    reader.0.flushes.note_more();
    for _ in 0..2 * TRUSTED_AFTER_PICTURES {
        // The last byte comes a moment late, and with it, now and then, what begins the next.
        for picture in [&first, &second] {
            let (start, rest) = picture.split_at(first.len() - 1);
            reader.push(start);
            reader.run_dry();
            assert!(reader.units().is_empty());
            reader.push(rest);
            reader.flush();
            assert_eq!(reader.units(), [[P, P_MORE]]);
        }
    }
    assert_eq!(reader.1.counters.early_flushes, 0);
}

#[test]
fn a_source_that_was_trusted_wrongly_has_to_earn_it_again() {
    let mut reader = trusting_reader();
    reader.push(&stream(&[P, P_MORE]));
    reader.run_dry();
    reader.push(&[1, 2]);
    assert_eq!(reader.1.counters.early_flushes, 1);
    reader.push(&stream(&[IDR, IDR_MORE]));
    reader.units();
    let mut waited = 0;
    loop {
        reader.push(&stream(&[P, P_MORE]));
        reader.run_dry();
        let before = reader.1.counters.items;
        reader.flush();
        if reader.1.counters.items == before && waited > FLUSH_PAUSE_PICTURES {
            break;
        }
        waited += 1;
    }
    assert!(waited >= FLUSH_PAUSE_PICTURES + 2 * TRUSTED_AFTER_PICTURES, "{waited} pictures");
}
