//! The bytes of a stream of video, in one piece, in several and byte by byte: the items, counters
//! and errors must be the same, and access units and JPEGs must be what their decoders expect.
//!
//! The first byte of the input says how the stream is read, so that a seed starts with NUL and
//! continues with the stream:
//!
//! - Its low six bits are the number of cut bytes that follow. A cut byte `c` stands for a piece of
//!   `c + 1` bytes; the bytes after the last cut are one piece.
//! - With [`RAW`], the stream is pictures of 16×16 without headers: I420, or with [`THREE_BYTES`], of
//!   three bytes a pixel.
//!
//! If there are cuts, there is one more run, in which the source pauses after each piece, and the cuts
//! begin again after the last. What comes out of it may be some pictures less, and must have the same
//! properties.

use ballcast::testing::media::h264::nal_units;
use ballcast::testing::media::{AccessUnit, Layout, PixelFormat, Size};
use ballcast::testing::source::parse::{
    BUFFERED_MAX_BYTES, Info, Lack, ParsedItem, Parser, ParserCounters, StreamError, StreamFormat,
};
use ballcast::testing::work::steps_of;

use crate::Outcomes;

pub const RAW: u8 = 0x40;
const THREE_BYTES: u8 = 0x80;

const CUTS_MASK: u8 = 0x3f;
const RAW_SIZE: Size = Size { width: 16, height: 16 };

/// The work for a push of so many bytes: `a + b × its bytes`. An SPS that ends with the push has
/// less than 1,000 syntax elements; one of a few bytes has up to 8 of them in each byte.
const WORK_BASE: u64 = 1_024;
const WORK_PER_BYTE: u64 = 10;

/// What waits for the caller after a push: the bytes of this push and of the picture under way, and
/// for each key frame of 7 bytes and more its parameter sets.
const PARAMETER_SETS_MAX_BYTES: usize = 512 + 1024 + 17 * 4;
const KEYFRAME_MIN_BYTES: usize = 7;
/// How a header of yuv4mpeg2 begins.
const Y4M: &[u8] = b"YUV4MPEG2";

pub fn run(data: &[u8]) -> Outcomes {
    let Some((&first, rest)) = data.split_first() else { return Outcomes::new() };
    let (cuts, bytes) = rest.split_at(rest.len().min(usize::from(first & CUTS_MASK)));
    let parser = || match first & RAW {
        0 => Parser::new(),
        _ => {
            let layout = if first & THREE_BYTES == 0 { Layout::I420 } else { Layout::Bgr24 };
            Parser::raw(RAW_SIZE, PixelFormat::usual(layout)).expect("an even size")
        }
    };
    let whole = read(parser(), &[], bytes, false);
    let mut outcomes = Outcomes::new();
    // A further header may change the size.
    let resizes = bytes.windows(Y4M.len()).filter(|it| *it == Y4M).count() > 1;
    check(&whole, resizes, &mut outcomes);
    let bytewise = read(parser(), &vec![0; bytes.len()], bytes, false);
    assert!(whole == bytewise, "whole {whole:?}\nand byte by byte {bytewise:?}");
    if !cuts.is_empty() {
        let cut = read(parser(), cuts, bytes, false);
        assert!(whole == cut, "whole {whole:?}\nand cut {cut:?}");
        let paused = read(parser(), cuts, bytes, true);
        check(&paused, resizes, &mut outcomes);
    }
    outcomes
}

#[derive(Debug, PartialEq)]
struct Reading {
    items: Vec<ParsedItem>,
    counters: ParserCounters,
    info: Info,
    error: Option<StreamError>,
    lacks: Option<Lack>,
    /// A pause completed a picture.
    flushed: bool,
}

fn read(mut parser: Parser, cuts: &[u8], bytes: &[u8], pauses: bool) -> Reading {
    let (mut rest, mut items, mut result) = (bytes, Vec::new(), Ok(()));
    let mut flushed = false;
    let lengths = cuts.iter().map(|cut| usize::from(*cut) + 1);
    let again = lengths.clone().cycle().take(if pauses { bytes.len() } else { 0 });
    for length in lengths.chain(again).chain([bytes.len()]) {
        let (piece, after) = rest.split_at(rest.len().min(length));
        rest = after;
        let before = parser.buffered_bytes();
        let (steps, pushed) = steps_of(|| parser.push(piece));
        let limit = WORK_BASE + WORK_PER_BYTE * piece.len() as u64;
        assert!(steps <= limit, "{steps} steps for {} bytes", piece.len());
        assert!(parser.buffered_bytes() <= BUFFERED_MAX_BYTES);
        result = pushed;
        if pauses && result.is_ok() {
            let items = parser.counters().items;
            result = parser.handle_pause();
            flushed |= parser.counters().items > items;
        }
        let complete = items.len();
        items.extend(std::iter::from_fn(|| parser.poll()));
        let waited: usize = items[complete..].iter().map(item_bytes).sum();
        let keyframes = 2 + piece.len() / KEYFRAME_MIN_BYTES;
        assert!(waited <= before + 4 * piece.len() + keyframes * PARAMETER_SETS_MAX_BYTES);
        if result.is_err() {
            break;
        }
    }
    match &result {
        Ok(()) => result = parser.finish(),
        Err(_) => assert_eq!(parser.push(&[0]), result, "an error that goes away"),
    }
    items.extend(std::iter::from_fn(|| parser.poll()));
    let mut counters = parser.counters();
    if result.is_err() {
        // Those of the push that failed are not all read.
        counters.bytes = 0;
    }
    let (info, lacks) = (parser.info().clone(), parser.lacks());
    Reading { items, counters, info, error: result.err(), lacks, flushed }
}

fn item_bytes(item: &ParsedItem) -> usize {
    match item {
        ParsedItem::AccessUnit(unit) => unit.data().len(),
        ParsedItem::Jpeg(jpeg) => jpeg.data.len(),
        ParsedItem::Picture(picture) => picture.y.samples.len() * 3 / 2,
        ParsedItem::Samples(samples) => samples.planes.iter().map(Vec::len).sum(),
    }
}

fn check(reading: &Reading, resizes: bool, outcomes: &mut Outcomes) {
    let Reading { items, counters, info, error, lacks, flushed } = reading;
    if *flushed {
        outcomes.insert("flushed".to_owned());
    }
    assert_eq!(counters.items, items.len() as u64);
    let mut former = None;
    for item in items {
        match item {
            ParsedItem::AccessUnit(unit) => {
                assert!(unit.is_keyframe() || former.is_some(), "the first one is a key frame");
                check_access_unit(unit);
                outcomes.insert(if unit.is_keyframe() { "key frame" } else { "frame" }.to_owned());
            }
            ParsedItem::Picture(picture) => {
                let size = picture.size();
                assert!(resizes || info.size == Some(size), "{:?} and {size}", info.size);
                for (plane, divisor) in [(&picture.y, 1), (&picture.u, 2), (&picture.v, 2)] {
                    let plane_size = (plane.width * divisor, plane.height * divisor);
                    assert_eq!(plane_size, (size.width, size.height));
                    assert_eq!(plane.samples.len(), plane.width * plane.height);
                }
                outcomes.insert("picture".to_owned());
            }
            ParsedItem::Samples(samples) => {
                assert!(resizes || info.size == Some(samples.size), "{:?}", info.size);
                let bytes = samples.planes.each_ref().map(Vec::len);
                assert_eq!(bytes, samples.format.layout.plane_bytes(samples.size));
                outcomes.insert("samples".to_owned());
            }
            ParsedItem::Jpeg(jpeg) => {
                assert!(jpeg.data.starts_with(&[0xff, 0xd8]) && jpeg.data.ends_with(&[0xff, 0xd9]));
                assert!(jpeg.data.len() >= 128);
                outcomes.insert("JPEG".to_owned());
            }
        }
        former = Some(item);
    }
    for (name, count) in [
        ("skipped", counters.skipped),
        ("damaged", counters.damaged),
        ("stray bytes", counters.stray_bytes),
        ("early flush", counters.early_flushes),
    ] {
        if count > 0 {
            outcomes.insert(name.to_owned());
        }
    }
    assert!(counters.early_flushes <= 1, "never again after the first");
    if let Some(lack) = lacks {
        outcomes.insert(format!("lacks {lack:?}"));
    }
    // A reason, if there is nothing to be seen.
    let may_lack = matches!(info.format, None | Some(StreamFormat::H264)) && error.is_none();
    assert!(!may_lack || !items.is_empty() || lacks.is_some(), "no picture without a reason");
    if let Some(format) = info.format {
        outcomes.insert(format!("format {format:?}"));
    }
    if let Some(error) = error {
        assert!(error.to_string().ends_with('.'), "a sentence");
        let name = format!("{error:?}");
        let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        outcomes.insert(format!("refused {name}"));
    }
}

/// Parameter sets, if it is a key frame, and slices of one picture.
fn check_access_unit(unit: &AccessUnit) {
    assert!(unit.data().starts_with(&[0, 0, 0, 1]));
    let slice_type = if unit.is_keyframe() { 5 } else { 1 };
    let is_slice = |nal: &&[u8]| nal[0] & 0x1f == slice_type;
    let units: Vec<&[u8]> = unit.nal_units().collect();
    assert_eq!(units, nal_units(unit.data()).collect::<Vec<_>>(), "as start codes delimit them");
    let sets = units.iter().take_while(|unit| !is_slice(unit)).count();
    let (sets, slices) = units.split_at(sets);
    assert!(sets.iter().all(|set| matches!(set[0] & 0x1f, 7 | 8)));
    let sps = sets.iter().filter(|set| set[0] & 0x1f == 7).count();
    assert_eq!(sps, usize::from(unit.is_keyframe()), "one SPS in a key frame");
    assert!(slices.iter().all(is_slice));
    // first_mb_in_slice is ue(v), and the single bit 1 is zero.
    let begins = |slice: &&[u8]| slice[1] & 0x80 != 0;
    assert!(begins(&slices[0]) && !slices[1..].iter().any(begins));
}
