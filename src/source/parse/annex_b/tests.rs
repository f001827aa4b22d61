//! The access units of streams that are made by hand.

use super::*;
use crate::source::parse::flushes::{
    DELIMITED_PICTURES, GROUP_MAX_PICTURES, TRUSTED_AFTER_PICTURES,
};

const SPS: &[u8] = &[0x67, 66, 0xc0, 10, 0xd9, 4, 0x7b, 1, 0x10];
const WIDER_SPS: &[u8] = &[0x67, 66, 0xc0, 10, 0xd9, 5, 0x7b, 1, 0x10];
const PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];
const IDR: &[u8] = &[0x65, 0x88, 0x84, 1, 2];
/// A further slice, `first_mb_in_slice` is 1.
const IDR_MORE: &[u8] = &[0x65, 0x42, 0x21, 1, 2];
const P: &[u8] = &[0x41, 0x9a, 0x38, 3];
const P_MORE: &[u8] = &[0x41, 0x46, 0x88, 3];
const B: &[u8] = &[0x01, 0x9e, 0x38, 3];
const SEI: &[u8] = &[0x06, 5, 1, 2, 0x80];
const DELIMITER: &[u8] = &[0x09, 0xf0];
/// In front of a slice, for scalable video.
const PREFIX: &[u8] = &[0x6e, 0x40, 0x80];
const FILLER: &[u8] = &[0x0c, 0xff, 0x80];
const END: &[u8] = &[0x0a];

fn stream(units: &[&[u8]]) -> Vec<u8> {
    let mut unit = AccessUnit::default();
    units.iter().for_each(|nal_unit| unit.push(nal_unit));
    unit.data().to_vec()
}

/// A parser, and what came out of it.
struct Reader(AnnexB, ParserOutput);

impl Reader {
    fn new() -> Reader {
        Reader(AnnexB::new(0, StreamError::Empty), ParserOutput::default())
    }

    fn push(&mut self, bytes: &[u8]) {
        self.1.counters.bytes += bytes.len() as u64;
        self.0.push(bytes, &mut self.1).unwrap();
    }

    fn handle_pause(&mut self) {
        self.0.handle_pause(&mut self.1).unwrap();
    }

    /// The NAL units of each access unit so far.
    fn units(&mut self) -> Vec<Vec<Vec<u8>>> {
        let units = |item| match item {
            ParsedItem::AccessUnit(unit) => unit.nal_units().map(<[u8]>::to_vec).collect(),
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
    for damaged in [P_MORE, &[0x41, 0x80, 0, 2][..], other_pps] {
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
    let unknown = Some(Lack::Format { after_text: false });
    assert_eq!(lack_of(&[]), unknown);
    assert_eq!(lack_of(&[P, &[0xff], P, P, &[0x05], P, P]), unknown);
    assert_eq!(lack_of(&[SPS, PPS, IDR]), None);
    assert_eq!(lack_of(&[SPS, PPS, IDR, P, P]), None);
    for without_sets in [&[IDR, P, IDR, P, P][..], &[P, P, P], &[PPS, IDR, P, P], &[SPS, IDR, P]] {
        assert_eq!(lack_of(without_sets), Some(Lack::ParameterSets), "{without_sets:02x?}");
    }
    assert_eq!(lack_of(&[SPS, PPS, P, SEI, P, P]), Some(Lack::KeyFrame), "intra refresh");
    assert_eq!(lack_of(&[IDR, SPS, PPS, P, P]), Some(Lack::KeyFrame), "before its sets");
    assert_eq!(lack_of(&[SPS, PPS, P_MORE, P_MORE]), Some(Lack::KeyFrame), "no first slice");
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

impl Reader {
    /// Writes a picture at once, and pauses after it. The access units that have come out by then.
    fn write(&mut self, units: &[&[u8]]) -> Vec<Vec<Vec<u8>>> {
        self.push(&stream(units));
        self.handle_pause();
        self.units()
    }

    /// Writes so many pictures, each at once, with a key frame each `group` pictures. How many came
    /// out before the next one had begun.
    fn write_pictures(&mut self, pictures: u32, group: u32) -> u32 {
        let mut at_once = 0;
        for number in 0..pictures {
            self.write(if number % group == 0 { KEY } else { PICTURE });
            at_once += u32::from(self.0.picture.is_none());
        }
        at_once
    }
}

const KEY: &[&[u8]] = &[SPS, PPS, IDR, IDR_MORE];
const PICTURE: &[&[u8]] = &[P, P_MORE];
const GROUP: u32 = 30;

/// The parser of a source that has written each picture at once for long enough.
fn trusting_reader() -> Reader {
    let mut reader = Reader::new();
    let pictures = TRUSTED_AFTER_PICTURES.next_multiple_of(GROUP);
    reader.write_pictures(pictures, GROUP);
    assert_eq!(reader.write_pictures(GROUP, GROUP), GROUP);
    reader
}

#[test]
fn a_source_that_writes_whole_pictures_is_not_waited_for_after_a_while() {
    let mut reader = Reader::new();
    let at_once = reader.write_pictures(TRUSTED_AFTER_PICTURES + 100, GROUP);
    assert_eq!(at_once, 100);
    // Some end where a block would.
    assert!(reader.write_pictures(20 * GROUP, GROUP) >= 20 * GROUP - 2);
    // The first zero byte of the next start code may come early.
    reader.push(&[0]);
    reader.push(&stream(KEY)[1..]);
    reader.handle_pause();
    assert_eq!(reader.units(), [KEY]);
    reader.push(&stream(&[P]));
    reader.handle_pause();
    assert!(reader.units().is_empty(), "a slice is missing");
    assert_eq!(reader.write(&[P_MORE]), [PICTURE]);
    assert_eq!(reader.1.counters.early_flushes, 0);
}

#[test]
fn a_source_with_rare_key_frames_is_always_waited_for() {
    for group in [GROUP_MAX_PICTURES + 1, u32::MAX] {
        assert_eq!(Reader::new().write_pictures(10 * GROUP_MAX_PICTURES, group), 0, "{group}");
    }
    let mut reader = Reader::new();
    assert!(reader.write_pictures(5 * GROUP_MAX_PICTURES, GROUP_MAX_PICTURES) > 0);
    // Key frames stop, come once, and come again.
    (0..GROUP_MAX_PICTURES).for_each(|_| drop(reader.write(PICTURE)));
    assert!(reader.write(PICTURE)[0] == PICTURE && reader.units().is_empty());
    assert_eq!(reader.write_pictures(GROUP, GROUP), 0, "after a long group");
    assert_eq!(reader.write_pictures(GROUP, GROUP), GROUP - 1, "its length is known then");
    assert_eq!(reader.write_pictures(GROUP, GROUP), GROUP);
}

#[test]
fn a_source_that_writes_blocks_of_a_picture_is_waited_for_there() {
    let mut reader = trusting_reader();
    let mut large = stream(KEY);
    large.resize(3 * 4096 + 5, 7);
    // Blocks of the picture, whichever start code it has.
    for start in [0, 1] {
        for block in large[start..].chunks(4096) {
            assert!(reader.units().is_empty());
            reader.push(block);
            reader.handle_pause();
        }
        assert_eq!(reader.units().len(), 1, "and not after it");
    }
    // Of the stream.
    let mut rest = 4096 - reader.0.read as usize % 4096;
    rest += if rest < 100 { 4096 } else { 0 };
    let mut picture = stream(PICTURE);
    picture.resize(rest, 7);
    reader.push(&picture);
    reader.handle_pause();
    assert!(reader.units().is_empty());
    // Of what has come since a pause, in which a picture ends and the next one begins.
    reader.push(&[stream(PICTURE), stream(&[P])].concat());
    reader.handle_pause();
    reader.push(&[[9; 4096 - 8].to_vec(), stream(&[P_MORE])].concat());
    reader.units();
    reader.handle_pause();
    assert!(reader.units().is_empty());
    assert_eq!(reader.1.counters.early_flushes, 0);
}

#[test]
fn two_pictures_at_once_come_out_at_once() {
    let mut reader = trusting_reader();
    assert_eq!(reader.write(&[PICTURE, PICTURE, KEY].concat()), [PICTURE, PICTURE, KEY]);
}

#[test]
fn a_source_that_pauses_within_a_picture_now_and_then_is_waited_for() {
    for late in [100, TRUSTED_AFTER_PICTURES - 10] {
        let mut reader = Reader::new();
        for _ in 0..5 {
            assert_eq!(reader.write_pictures(late, GROUP), 0);
            // The last byte comes a moment late, and with it what begins the next.
            let picture = stream(&[P, P_MORE, DELIMITER]);
            let (start, rest) = picture.split_at(picture.len() - 7);
            reader.push(start);
            reader.handle_pause();
            reader.push(rest);
            reader.handle_pause();
        }
        let counters = reader.1.counters;
        assert_eq!((counters.early_flushes, counters.skipped, counters.damaged), (0, 0, 0));
        assert_eq!(counters.items, u64::from(5 * (late + 1)) - 1);
    }
}

#[test]
fn a_source_that_pauses_within_its_key_frames_is_waited_for() {
    let mut reader = Reader::new();
    let key = stream(KEY);
    for _ in 0..10 {
        reader.push(&key[..key.len() - 1]);
        reader.handle_pause();
        reader.push(&key[key.len() - 1..]);
        reader.handle_pause();
        reader.units();
        for _ in 1..GROUP_MAX_PICTURES {
            assert_eq!(reader.write(PICTURE).len(), 1);
        }
    }
    let counters = reader.1.counters;
    assert_eq!((counters.early_flushes, counters.skipped), (0, 0));
    assert_eq!(counters.items, u64::from(10 * GROUP_MAX_PICTURES) - 1);
}

#[test]
fn a_source_that_was_trusted_wrongly_is_always_waited_for() {
    // In the middle of a slice, and between two slices.
    for rest in [vec![9, 9], stream(&[P_MORE]), [vec![9], stream(&[P_MORE])].concat()] {
        let mut reader = trusting_reader();
        assert_eq!(reader.write(PICTURE).len(), 1);
        reader.push(&rest);
        reader.push(&rest);
        assert_eq!(reader.1.counters.early_flushes, 1);
        assert_eq!(reader.0.lacks(), Some(Lack::KeyFrame));
        assert!(reader.write(PICTURE).is_empty());
        assert_eq!(reader.write_pictures(10 * TRUSTED_AFTER_PICTURES, GROUP), 0);
        let counters = reader.1.counters;
        assert_eq!((counters.skipped, counters.damaged, counters.early_flushes), (1, 0, 1));
    }
}

#[test]
fn a_delimiter_after_each_picture_ends_it_at_once() {
    let mut reader = Reader::new();
    reader.write(&[KEY, &[DELIMITER]].concat());
    for _ in 0..DELIMITED_PICTURES {
        reader.write(&[PICTURE, &[DELIMITER]].concat());
    }
    for _ in 0..GROUP_MAX_PICTURES {
        reader.push(&stream(&[P, P_MORE, DELIMITER]));
        assert_eq!(reader.units(), [PICTURE]);
    }
}

#[test]
fn what_comes_between_the_slices_of_a_picture_does_not_end_it() {
    let between: [&[&[u8]]; 5] = [&[SPS, PPS], &[SEI], &[DELIMITER], &[PREFIX], &[SPS, PPS, SEI]];
    for between in between {
        let mut reader = Reader::new();
        for _ in 0..3 * DELIMITED_PICTURES {
            let units: &[&[u8]] = &[&[SPS, PPS, IDR], between, &[IDR_MORE, P], between].concat();
            assert!(reader.write(units).len() <= 2);
            reader.write(&[between, &[P_MORE]].concat());
        }
        let counters = reader.1.counters;
        assert_eq!((counters.skipped, counters.damaged), (0, 0), "{between:02x?}");
        assert_eq!(counters.items, u64::from(6 * DELIMITED_PICTURES) - 1, "{between:02x?}");
    }
    let (units, ..) = read(&[SPS, PPS, IDR, SPS, PPS, IDR_MORE, SEI, P, SEI, P_MORE, SPS, PPS]);
    assert_eq!(units, [KEY, PICTURE]);
}

#[test]
fn a_picture_with_a_new_parameter_set_between_its_slices_is_damaged() {
    for set in [WIDER_SPS, &[0x68, 0xcb, 0x83, 0xcb, 0x21]] {
        let (units, skipped, damaged) = read(&[KEY, &[P, set, P_MORE, P], KEY, PICTURE].concat());
        assert_eq!(units, [KEY, KEY, PICTURE], "{set:02x?}");
        assert_eq!((skipped, damaged), (1, 1), "{set:02x?}");
    }
}

#[test]
fn a_slice_of_a_picture_whose_first_slice_is_lost_is_not_added_to_the_one_before() {
    let next_more: &[u8] = &[0x41, 0x46, 0x90, 3];
    for lost in [&[next_more][..], &[SEI, next_more], &[P_MORE, next_more]] {
        let (units, skipped, damaged) = read(&[KEY, &[P, P_MORE], lost, &[P], KEY].concat());
        let expected: &[&[u8]] = if lost[0] == P_MORE { &[P, P_MORE, P_MORE] } else { PICTURE };
        assert_eq!(units, [KEY, expected, KEY], "{lost:02x?}");
        assert_eq!((skipped, damaged), (1, 1), "{lost:02x?}");
    }
}

#[test]
fn b_slices_are_an_error_even_if_no_further_key_frame_comes() {
    // As x264 writes them: P, then B between it and the picture before.
    let (p, b): (&[u8], &[u8]) = (&[0x41, 0x9a, 0x38, 3], &[0x01, 0x9e, 0x48, 3]);
    let mut reader = Reader::new();
    reader.push(&stream(&[SPS, PPS, IDR, SPS, PPS, IDR, p, b]));
    let pushed = reader.0.push(&stream(&[b, b]), &mut reader.1);
    assert_eq!(pushed, Err(StreamError::BFrames));
    // Also where the stream was joined after its key frame.
    let mut reader = Reader::new();
    let pushed = reader.0.push(&stream(&[p, SPS, PPS, p, b, p]), &mut reader.1);
    assert_eq!(pushed, Err(StreamError::BFrames));
    // Damage that looks like them has other numbers.
    let damaged: &[u8] = &[0x01, 0x9e, 0x78, 3];
    let (units, ..) = read(&[KEY, KEY, &[P, damaged, P, P, damaged, P], KEY].concat());
    assert_eq!(units, [KEY, KEY, &[P], KEY]);
}
