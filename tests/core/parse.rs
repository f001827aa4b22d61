//! Streams of video that ffmpeg makes while the test runs: as many pictures come out as went in,
//! however the bytes are cut, and they decode to the same.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use ballcast::testing::media::h264::nal_units;
use ballcast::testing::media::{AccessUnit, PixelFormat, Size};
use ballcast::testing::source::parse::{
    BUFFERED_MAX_BYTES, FrameRate, Info, ParsedItem, Parser, ParserCounters, StreamError,
    StreamFormat,
};
use ballcast::testing::work::steps_of;

const X264: &str = "-pix_fmt yuv420p -c:v libx264 -g 5";
const FRAMES: usize = 12;

/// What ffmpeg writes to stdout.
fn ffmpeg(arguments: &str, input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin"]);
    command.args(arguments.split_whitespace()).arg("-");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("ffmpeg is installed: apt-get install ffmpeg");
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        // It may stop to read before the end.
        scope.spawn(move || drop(stdin.write_all(input)));
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ffmpeg {arguments}: {said}");
        output.stdout
    })
}

/// A test picture of this size, encoded.
fn encoded(size: &str, arguments: &str) -> Vec<u8> {
    let source = format!("-f lavfi -i testsrc2=size={size}:rate=25 -frames:v {FRAMES}");
    ffmpeg(&format!("{source} {arguments}"), &[])
}

fn x264(size: &str, arguments: &str) -> Vec<u8> {
    encoded(size, &format!("{X264} {arguments} -f h264"))
}

#[derive(Debug, PartialEq)]
struct Reading {
    items: Vec<ParsedItem>,
    counters: ParserCounters,
    info: Info,
    error: Option<StreamError>,
}

/// Everything that comes out of a parser for bytes in pieces of these sizes, over and over.
fn read_by(mut parser: Parser, mut bytes: &[u8], sizes: &[usize]) -> Reading {
    let (mut items, mut result) = (Vec::new(), Ok(()));
    for size in sizes.iter().cycle() {
        if bytes.is_empty() || result.is_err() {
            break;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(*size));
        let (steps, pushed) = steps_of(|| parser.push(piece));
        assert!(steps <= 1_024 + 10 * piece.len() as u64, "{steps} steps, {} bytes", piece.len());
        assert!(parser.buffered_bytes() <= BUFFERED_MAX_BYTES);
        (result, bytes) = (pushed, rest);
        items.extend(std::iter::from_fn(|| parser.poll()));
    }
    let result = result.and_then(|()| parser.finish());
    items.extend(std::iter::from_fn(|| parser.poll()));
    if result.is_err() {
        assert_eq!(parser.push(b"more"), result, "it stays so");
    }
    let (counters, info) = (parser.counters(), parser.info().clone());
    Reading { items, counters, info, error: result.err() }
}

/// The same, and checks that it is the same however the bytes are cut.
fn read_with(parser: fn() -> Parser, bytes: &[u8]) -> Reading {
    let whole = read_by(parser(), bytes, &[bytes.len()]);
    for sizes in [&[1][..], &[7, 1, 100, 3, 4096, 2], &[64 << 10], &[4096], &[1333, 5, 1]] {
        let mut cut = read_by(parser(), bytes, sizes);
        if cut.error.is_some() {
            cut.counters.bytes = whole.counters.bytes;
        }
        assert!(cut == whole, "pieces of {sizes:?} make a difference");
    }
    whole
}

fn read(bytes: &[u8]) -> Reading {
    read_with(Parser::new, bytes)
}

impl Reading {
    fn units(&self) -> Vec<&AccessUnit> {
        let units = self.items.iter().map(|item| match item {
            ParsedItem::AccessUnit(unit) => unit,
            other => panic!("{other:?} in a stream of H.264"),
        });
        units.collect()
    }

    /// All of the stream was of use.
    fn assert_flawless(&self, format: StreamFormat) {
        let Reading { counters, error, info, .. } = self;
        assert_eq!((error, info.format), (&None, Some(format)));
        let flaws = [counters.skipped, counters.damaged, counters.oversized, counters.stray_bytes];
        assert_eq!(flaws, [0; 4]);
        assert_eq!(counters.items, self.items.len() as u64);
    }

    fn data(&self) -> Vec<u8> {
        let bytes = |item: &ParsedItem| match item {
            ParsedItem::AccessUnit(unit) => unit.data().to_vec(),
            ParsedItem::Jpeg(jpeg) => jpeg.data.clone(),
            ParsedItem::Picture(picture) => {
                [&picture.y, &picture.u, &picture.v].map(|plane| &plane.samples[..]).concat()
            }
            ParsedItem::Samples(samples) => samples.planes.concat(),
        };
        self.items.iter().flat_map(bytes).collect()
    }
}

/// The hash of each picture that a stream decodes to.
fn decoded(format: &str, stream: &[u8]) -> Vec<String> {
    let hashes =
        ffmpeg(&format!("-f {format} -i pipe:0 -fps_mode passthrough -f framemd5"), stream);
    let hashes = String::from_utf8(hashes).unwrap();
    let lines = hashes.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

fn kinds(unit: &AccessUnit) -> Vec<u8> {
    unit.nal_units().map(|unit| unit[0] & 0x1f).collect()
}

#[test]
fn each_picture_of_x264_is_one_access_unit() {
    for (arguments, profile_level_id, slices) in [
        ("-profile:v baseline", 0x42_c0_0a, 1),
        ("-profile:v main -bf 0", 0x4d_40_0a, 1),
        ("-profile:v high -bf 0 -x264-params cqm=jvt", 0x64_00_0a, 1),
        ("-tune zerolatency -x264-params slices=4:sliced-threads=0:aud=1", 0x64_00_0a, 3),
        (
            "-profile:v baseline -x264-params nal-hrd=cbr:filler=1 -b:v 200k -maxrate 200k \
             -bufsize 200k",
            0x42_c0_0c,
            1,
        ),
    ] {
        let stream = x264("64x48", arguments);
        let reading = read(&stream);
        reading.assert_flawless(StreamFormat::H264);
        let units = reading.units();
        assert_eq!(units.len(), FRAMES, "{arguments}");
        for (number, unit) in units.iter().enumerate() {
            let sets: &[u8] = if number % 5 == 0 { &[7, 8] } else { &[] };
            let slice = if number % 5 == 0 { 5 } else { 1 };
            assert_eq!(unit.is_keyframe(), number % 5 == 0);
            assert!(unit.nal_units().eq(nal_units(unit.data())), "as start codes delimit them");
            assert_eq!(kinds(unit), [sets, &vec![slice; slices]].concat(), "{arguments} {number}");
        }
        assert_eq!(reading.info.size, Some(Size { width: 64, height: 48 }));
        assert_eq!(reading.info.frame_rate, FrameRate::new(25, 1));
        assert_eq!(reading.info.profile_level_id, Some(profile_level_id), "{arguments}");
        assert!(!reading.info.reorders);
        let pictures = decoded("h264", &stream);
        assert_eq!(pictures.len(), FRAMES);
        assert_eq!(decoded("h264", &reading.data()), pictures, "{arguments}");
    }
}

#[test]
fn streams_that_browsers_do_not_decode_are_refused_with_the_flag_that_mends_it() {
    for (arguments, flag) in [
        ("-bf 2 -pix_fmt yuv420p", "-bf 0"),
        ("-bf 1 -x264-params open-gop=1 -pix_fmt yuv420p", "--low-latency"),
        ("-pix_fmt yuv422p", "-pix_fmt yuv420p"),
        ("-pix_fmt yuv444p", "-pix_fmt yuv420p"),
        ("-pix_fmt gray", "-pix_fmt yuv420p"),
        ("-pix_fmt yuv420p10", "-pix_fmt yuv420p"),
        ("-pix_fmt yuv420p -flags +ildct", "-vf yadif"),
        ("-pix_fmt yuv420p -qp 0 -bf 0", "-profile:v baseline"),
    ] {
        let reading = read(&encoded("64x48", &format!("-c:v libx264 {arguments} -f h264")));
        let sentence = reading.error.map(|error| error.to_string()).unwrap_or_default();
        assert!(sentence.contains(flag), "{arguments}: {sentence}");
    }
}

#[test]
fn other_containers_are_refused_by_name() {
    for (format, name) in [("mpegts", "MPEG-TS"), ("flv", "FLV"), ("matroska", "Matroska")] {
        let reading = read(&encoded("64x48", &format!("{X264} -f {format}")));
        let sentence = reading.error.map(|error| error.to_string()).unwrap_or_default();
        assert!(sentence.contains(name) && sentence.contains("-f h264"), "{format}: {sentence}");
    }
    let mp4 = encoded("64x48", &format!("{X264} -movflags frag_keyframe+empty_moov -f mp4"));
    assert_eq!(read(&mp4).error, Some(StreamError::Container("MP4")));
    let multipart = encoded("64x48", "-c:v mjpeg -f mpjpeg");
    assert_eq!(read(&multipart).error, Some(StreamError::Multipart));
}

#[test]
fn a_stream_that_is_joined_late_begins_with_its_next_key_frame() {
    let stream = x264("64x48", "-profile:v baseline -x264-params repeat-headers=1");
    let whole = read(&stream);
    // Into the first picture after the first key frame.
    let second = whole.units()[1].data();
    let at = stream.windows(second.len()).position(|window| window == second).unwrap();
    let late = read(&stream[at..]);
    assert_eq!(late.units(), whole.units()[5..]);
    assert_eq!(late.counters.skipped, 4);
    // With recovery points instead of IDR pictures, only the first picture is a key frame.
    let stream = x264("64x48", "-profile:v baseline -x264-params intra-refresh=1:keyint=4");
    let whole = read(&stream);
    whole.assert_flawless(StreamFormat::H264);
    let keyframes = whole.units().iter().filter(|unit| unit.is_keyframe()).count();
    assert_eq!((whole.units().len(), keyframes), (FRAMES, 1));
    let second = whole.units()[1].data();
    let at = stream.windows(second.len()).position(|window| window == second).unwrap();
    let late = read(&stream[at..]);
    assert_eq!((late.items.len(), late.counters.skipped), (0, FRAMES as u64 - 1));
}

#[test]
fn parameter_sets_that_come_only_once_are_before_each_key_frame() {
    let stream = x264("64x48", "-profile:v baseline");
    let is_set = |unit: &[u8]| matches!(unit[0] & 0x1f, 7 | 8);
    let once = nal_units(&stream).enumerate().filter(|(at, unit)| *at < 2 || !is_set(unit));
    let once: Vec<u8> = once.flat_map(|(_, unit)| [&[0, 0, 1], unit].concat()).collect();
    let reading = read(&once);
    reading.assert_flawless(StreamFormat::H264);
    assert_eq!(reading.items, read(&stream).items);
}

#[test]
fn the_size_may_change_at_a_key_frame() {
    let small = x264("64x48", "-profile:v baseline");
    let large = x264("96x80", "-profile:v main -bf 0");
    let reading = read(&[&small[..], &large].concat());
    reading.assert_flawless(StreamFormat::H264);
    assert_eq!(reading.units().len(), 2 * FRAMES);
    assert_eq!(reading.info.size, Some(Size { width: 96, height: 80 }));
    assert_eq!(reading.info.profile_level_id.map(|id| id >> 16), Some(77));
    let parts = [decoded("h264", &small), decoded("h264", &large)].concat();
    // ffmpeg scales what follows to the first size, so each part is decoded alone.
    let data = reading.data();
    let start = reading.units()[..FRAMES].iter().map(|unit| unit.data().len()).sum();
    let (first, second) = data.split_at(start);
    assert_eq!([decoded("h264", first), decoded("h264", second)].concat(), parts);
}

#[test]
fn a_source_that_writes_each_picture_at_once_is_not_waited_for_in_the_end() {
    let stream = x264("64x48", "-profile:v baseline -tune zerolatency -x264-params slices=2");
    let whole = read(&stream);
    let mut writes: Vec<&[u8]> = Vec::new();
    let mut rest = &stream[..];
    for unit in whole.units() {
        // The picture ends with the last slice.
        let slice = unit.nal_units().last().unwrap();
        let (picture, next) =
            rest.split_at(memchr::memmem::find(rest, slice).unwrap() + slice.len());
        writes.push(picture);
        rest = next;
    }
    let mut parser = Parser::new();
    let mut late = 0;
    for (number, write) in writes.iter().cycle().take(100 * FRAMES).enumerate() {
        parser.push(write).unwrap();
        parser.handle_pause().unwrap();
        let items = parser.counters().items;
        assert!(items >= number as u64);
        late = if items == number as u64 { number } else { late };
    }
    assert!((500..600).contains(&late), "after {late} pictures");
    assert_eq!(parser.counters().early_flushes, 0);
}

/// Three quarters of a stream come in the pieces of a network, with a pause after each.
#[test]
fn a_stream_that_comes_in_pieces_of_any_size_loses_no_picture() {
    for group in [25, 250, 10_000] {
        let arguments = format!("-tune zerolatency -b:v 1500k -x264-params keyint={group}");
        let stream = x264("320x240", &format!("-frames:v 1000 {arguments}"));
        for segments in [1_448, 2_896] {
            let mut parser = Parser::new();
            for segment in stream.chunks(segments) {
                parser.push(segment).unwrap();
                parser.handle_pause().unwrap();
            }
            parser.finish().unwrap();
            let counters = parser.counters();
            assert_eq!((counters.items, counters.skipped, counters.damaged), (1_000, 0, 0));
        }
    }
}

/// As GStreamer's `rtph264depay ! h264parse` sends it, which repeats the sets before each NAL unit of
/// a key frame.
#[test]
fn sets_sei_and_delimiters_between_the_slices_of_a_picture_make_no_difference() {
    let stream = x264("64x48", "-bf 0 -x264-params slices=3:sliced-threads=0");
    let whole = read(&stream);
    let key = whole.units()[0];
    let sets: Vec<&[u8]> = key.nal_units().take(2).collect();
    let sei: &[u8] = &[6, 5, 1, 2, 0x80];
    for between in [&sets[..], &[sei], &[&[9, 0xf0]], &[sets[0], sets[1], sei]] {
        let mut stuffed = Vec::new();
        for unit in nal_units(&stream) {
            let more = matches!(unit[0] & 0x1f, 1 | 5) && unit[1] & 0x80 == 0;
            for unit in between.iter().filter(|_| more).copied().chain([unit]) {
                stuffed.extend([&[0, 0, 0, 1], unit].concat());
            }
        }
        assert!(stuffed.len() > stream.len() + 2 * FRAMES);
        let reading = read(&stuffed);
        reading.assert_flawless(StreamFormat::H264);
        assert_eq!(reading.items, whole.items, "{between:02x?}");
    }
}

#[test]
fn b_frames_are_refused_even_if_there_is_no_key_frame_after_them() {
    for arguments in ["keyint=2:min-keyint=2:bframes=0", "keyint=250:bframes=0"] {
        let plain = x264("64x48", &format!("-x264-params {arguments}"));
        let b_frames = x264("64x48", "-g 250 -bf 2 -frames:v 40");
        // Into its second picture: two key frames or one, then B-frames.
        let second = memchr::memmem::find(&b_frames, &[0, 0, 1, 0x41]).unwrap();
        let stream = [&plain[..], &b_frames[..second], &b_frames].concat();
        assert_eq!(read(&stream).error, Some(StreamError::BFrames), "{arguments}");
        let stream = [&plain[..], &b_frames[second..]].concat();
        assert_eq!(read(&stream).error, Some(StreamError::BFrames), "{arguments}");
    }
}

#[test]
fn jpegs_come_out_with_huffman_tables() {
    let stream = encoded("64x48", "-c:v mjpeg -huffman default -f mjpeg");
    let reading = read(&stream);
    reading.assert_flawless(StreamFormat::Mjpeg);
    assert_eq!(reading.items.len(), FRAMES);
    assert_eq!(reading.info.size, Some(Size { width: 64, height: 48 }));
    assert_eq!(reading.data(), stream);
    // As a camera sends it: without tables, and with padding.
    let mut bare = Vec::new();
    for item in &reading.items {
        let ParsedItem::Jpeg(jpeg) = item else { panic!("{item:?}") };
        let tables = memchr::memmem::find(&jpeg.data, &[0xff, 0xc4, 0x01, 0xa2]).unwrap();
        bare.extend([&jpeg.data[..tables], &jpeg.data[tables + 420..], &[0; 33]].concat());
    }
    let restored = read(&bare);
    restored.assert_flawless(StreamFormat::Mjpeg);
    assert_eq!(restored.items.len(), FRAMES);
    assert_eq!(decoded("mjpeg", &restored.data()), decoded("mjpeg", &stream));
    // Tables of their own are kept.
    let optimal = encoded("64x48", "-c:v mjpeg -huffman optimal -f mjpeg");
    assert_eq!(read(&optimal).data(), optimal);
}

fn raw_66x50() -> Parser {
    Parser::raw(Size { width: 66, height: 50 }, PixelFormat::PICTURE).unwrap()
}

#[test]
fn pictures_of_yuv4mpeg_and_raw_are_those_of_ffmpeg() {
    let raw = encoded("66x50", "-pix_fmt yuv420p -f rawvideo");
    let y4m = encoded("66x50", "-pix_fmt yuv420p -f yuv4mpegpipe");
    let size = Size { width: 66, height: 50 };
    let reading = read(&y4m);
    reading.assert_flawless(StreamFormat::Y4m);
    assert_eq!(reading.items.len(), FRAMES);
    assert_eq!((reading.info.size, reading.info.frame_rate), (Some(size), FrameRate::new(25, 1)));
    assert_eq!(reading.data(), raw);
    let headerless = read_with(raw_66x50, &raw);
    headerless.assert_flawless(StreamFormat::Raw);
    assert_eq!(headerless.items, reading.items);
    let odd = Parser::raw(Size { width: 65, height: 50 }, PixelFormat::PICTURE).err();
    assert_eq!(odd, Some(StreamError::OddSize(65, 50)));
    for (arguments, flag) in [
        ("-pix_fmt yuv422p", "-pix_fmt yuv420p"),
        ("-pix_fmt yuv444p", "-pix_fmt yuv420p"),
        ("-pix_fmt gray", "-pix_fmt yuv420p"),
        ("-strict -1 -pix_fmt yuv420p10", "-pix_fmt yuv420p"),
        ("-pix_fmt yuv420p -vf interlace -field_order tt", "-vf yadif"),
        ("-pix_fmt yuv420p -vf scale=65:50", "-vf scale=64:50"),
    ] {
        let error = read(&encoded("66x50", &format!("{arguments} -f yuv4mpegpipe"))).error;
        let sentence = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(sentence.contains(flag), "{arguments}: {sentence}");
    }
}
