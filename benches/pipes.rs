//! Streams that ffmpeg makes, and a writer that puts them into a pipe, picture by picture.

use std::collections::HashMap;
use std::fs;
use std::io::{PipeWriter, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ballcast::testing::media::{Jpeg, Picture};
use ballcast::testing::source::parse::{ParsedItem, Parser};

use crate::load::tail_of;
use crate::machine::{Core, clock_ns, spawn_on};

pub const FRAMES_PER_SECOND: u32 = 30;
/// From one key frame to the next.
pub const GROUP_PICTURES: u32 = 60;
/// ffmpeg's buffer, in which it writes what is larger.
const WRITE_BYTES: usize = 32 << 10;
/// How much of a stream a push takes, as a read of a pipe.
const PUSH_BYTES: usize = 64 << 10;
/// The NAL unit between two pictures (ITU-T H.264, 7.3.2.4), after its start code.
const DELIMITER: [u8; 6] = [0, 0, 0, 1, 9, 0xf0];

/// What ffmpeg makes of a moving picture of 1280×720, so many pictures of it.
pub fn make(name: &str, pictures: u32, output: &str) -> Vec<u8> {
    let source = format!("testsrc2=size=1280x720:rate={FRAMES_PER_SECOND}");
    make_from(&source, name, pictures, output)
}

/// The same of a source, as a graph of filters.
pub fn make_from(source: &str, name: &str, pictures: u32, output: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", source]);
    command.args(["-frames:v", &pictures.to_string()]).args(output.split_whitespace());
    let status = command.arg(&path).status().expect("ffmpeg runs");
    assert!(status.success(), "ffmpeg makes {name}");
    fs::read(path).unwrap()
}

/// 4 Mbit/s, without delay, in groups of 2 s.
pub fn h264(pictures: u32) -> Vec<u8> {
    let output = format!(
        "-pix_fmt yuv420p -c:v libx264 -preset ultrafast -tune zerolatency -profile:v baseline \
         -g {GROUP_PICTURES} -sc_threshold 0 -b:v 4M -maxrate 4M -bufsize 1M -f h264"
    );
    make("bench.h264", pictures, &output)
}

pub fn y4m(pictures: u32) -> Vec<u8> {
    make("bench.y4m", pictures, "-pix_fmt yuv420p -f yuv4mpegpipe")
}

pub fn mjpeg(pictures: u32) -> Vec<u8> {
    make("bench.mjpeg", pictures, "-pix_fmt yuvj420p -c:v mjpeg -q:v 3 -f mjpeg")
}

/// Whether there is an ffmpeg with x264.
pub fn can_make() -> bool {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "quiet", "-encoders"]).stdin(Stdio::null());
    let encoders = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&encoders).contains("libx264")
}

/// The access units of a byte stream, with all that is in front of each.
pub fn access_units(stream: &[u8]) -> Vec<&[u8]> {
    let mut cuts = Vec::new();
    let mut slice_seen = true;
    for code in memchr::memmem::find_iter(stream, &[0, 0, 1]) {
        let Some([header, second]) = stream.get(code + 3..code + 5) else { continue };
        let kind = header & 0x1f;
        let is_slice = matches!(kind, 1 | 5);
        if slice_seen && (!is_slice || second & 0x80 != 0) {
            cuts.push(if code > 0 && stream[code - 1] == 0 { code - 1 } else { code });
            slice_seen = false;
        }
        slice_seen |= is_slice;
    }
    cuts.push(stream.len());
    cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect()
}

/// What is written at the time of one picture.
#[derive(Clone)]
pub struct Chunk {
    bytes: Vec<u8>,
    tail: u64,
    pub keyframe: bool,
}

/// One chunk for each access unit, with a delimiter after each if so wanted.
pub fn chunks_of_h264(stream: &[u8], delimited: bool) -> Vec<Chunk> {
    let chunk = |unit: &&[u8]| {
        let mut bytes = unit.to_vec();
        bytes.extend(DELIMITER.iter().take(if delimited { DELIMITER.len() } else { 0 }));
        let keyframe = memchr::memmem::find(unit, &[0, 0, 1, 0x65]).is_some();
        Chunk { bytes, tail: tail_of(unit), keyframe }
    };
    access_units(stream).iter().map(chunk).collect()
}

/// The header of yuv4mpeg2 on its own, and one chunk for each picture.
pub fn chunks_of_y4m(stream: &[u8]) -> (Vec<u8>, Vec<Chunk>) {
    let header = memchr::memchr(b'\n', stream).expect("yuv4mpeg2 has a header") + 1;
    let (header, pictures) = stream.split_at(header);
    let size = "FRAME\n".len() + 1280 * 720 * 3 / 2;
    (header.to_vec(), chunks_of_pictures(pictures.chunks_exact(size)))
}

/// One chunk for each of these pictures.
pub fn chunks_of_pictures<'a>(pictures: impl IntoIterator<Item = &'a [u8]>) -> Vec<Chunk> {
    let chunk = |bytes: &[u8]| Chunk { bytes: bytes.to_vec(), tail: 0, keyframe: false };
    pictures.into_iter().map(chunk).collect()
}

/// Parses a stream as it would come out of a pipe.
pub fn parse(stream: &[u8], mut take: impl FnMut(ParsedItem)) {
    let mut parser = Parser::new();
    for piece in stream.chunks(PUSH_BYTES) {
        parser.push(piece).unwrap();
        while let Some(item) = parser.poll() {
            take(item);
        }
    }
    parser.finish().unwrap();
    while let Some(item) = parser.poll() {
        take(item);
    }
}

pub fn pictures_of(stream: &[u8]) -> Vec<Picture> {
    let mut pictures = Vec::new();
    parse(stream, |item| match item {
        ParsedItem::Picture(picture) => pictures.push(picture),
        ParsedItem::Samples(samples) => pictures.push(samples.into_picture()),
        other => panic!("{other:?}"),
    });
    pictures
}

pub fn jpegs_of(stream: &[u8]) -> Vec<Jpeg> {
    let mut jpegs = Vec::new();
    parse(stream, |item| match item {
        ParsedItem::Jpeg(jpeg) => jpegs.push(jpeg),
        other => panic!("{other:?}"),
    });
    jpegs
}

/// When each picture was written, as [`clock_ns`], and whether it is a key frame.
#[derive(Default)]
pub struct Written {
    by_tail: HashMap<u64, Vec<u64>>,
    keyframes: HashMap<u64, bool>,
    pub pictures: u64,
}

impl Written {
    /// When the picture was written that was complete at a viewer then.
    pub fn before(&self, tail: u64, complete: u64) -> Option<u64> {
        self.by_tail.get(&tail)?.iter().rev().copied().find(|at| *at <= complete)
    }

    pub fn is_keyframe(&self, tail: u64) -> bool {
        self.keyframes.get(&tail).copied().unwrap_or(false)
    }
}

/// A thread that writes pictures into a pipe at their times, over and over, until it is dropped.
pub struct Writer {
    written: Arc<Mutex<Written>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub fn start(mut pipe: PipeWriter, header: &[u8], chunks: Vec<Chunk>) -> Writer {
        pipe.write_all(header).unwrap();
        let written = Arc::new(Mutex::new(Written::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (log, stopped) = (Arc::clone(&written), Arc::clone(&stop));
        let write = move || {
            let start = Instant::now();
            for (number, chunk) in (0..).zip(chunks.iter().cycle()) {
                let due = start + Duration::from_secs(1) * number / FRAMES_PER_SECOND;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let begun = clock_ns(Instant::now());
                for block in chunk.bytes.chunks(WRITE_BYTES) {
                    if pipe.write_all(block).is_err() {
                        return;
                    }
                }
                let mut log = log.lock().unwrap();
                log.by_tail.entry(chunk.tail).or_default().push(begun);
                log.keyframes.insert(chunk.tail, chunk.keyframe);
                log.pictures += 1;
            }
        };
        let thread = spawn_on(Core::Load, || std::thread::spawn(write));
        Writer { written, stop, thread: Some(thread) }
    }

    pub fn pictures(&self) -> u64 {
        self.written.lock().unwrap().pictures
    }

    pub fn with_written<T>(&self, read: impl FnOnce(&Written) -> T) -> T {
        read(&self.written.lock().unwrap())
    }
}

impl Drop for Writer {
    /// The server that reads the pipe still runs, or the pipe is broken: the thread ends soon.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
