//! A stream from outside: how soon a picture that was written into a pipe is at the viewers, and what
//! it costs. ffmpeg makes the streams before anything is measured.

use std::io::pipe;
use std::process::Command;
use std::time::{Duration, Instant};

use ballcast::testing::driver::encode::jpeg;
use ballcast::testing::driver::encode::{codec::Quality, encoder};
use ballcast::testing::media::{Codec, Picture};
use ballcast::testing::source::parse::ParsedItem;

use crate::figures::{Spread, short};
use crate::load::{Arrival, Load};
use crate::machine::{Core, Usage, spawn_on};
use crate::pipes::{self, Chunk, FRAMES_PER_SECOND, GROUP_PICTURES, Writer};
use crate::report::Report;
use crate::server::ball;
use crate::support::process::{Server, binary};
use crate::{Mode, say};

const VIEWERS: usize = 10;
/// What a source's pictures are encoded at without `--bitrate`.
const BITRATE: u32 = 2_500_000;
/// After this time the server knows how the stream is written.
const LEARNT_AFTER: Duration = Duration::from_secs(20);
/// A viewer is up to date with the first frame that was written less than this before.
const PERIOD_NS: u64 = 1_000_000_000 / FRAMES_PER_SECOND as u64;
/// For all viewers to have what was written last.
const ARRIVES_WITHIN: Duration = Duration::from_millis(100);
/// Until a viewer that has left is gone, and the ball's clock stops.
const GONE_WITHIN: Duration = Duration::from_millis(60);
/// How much each repetition of a parser reads.
const PARSED_BYTES: usize = 256 << 20;

/// Runs a measurement, if there is what makes the streams.
fn with_ffmpeg(report: &mut Report, measure: impl FnOnce(&mut Report)) {
    if pipes::can_make() {
        measure(report);
    } else {
        report.skip("ffmpeg with libx264 is not installed".into());
    }
}

/// The parsers and the decoder of JPEG alone.
pub fn measure_parse(mode: Mode, report: &mut Report) {
    with_ffmpeg(report, |report| {
        let mjpeg = pipes::mjpeg(raw_pictures(mode));
        measure_parsers(mode, report, [&h264(mode), &pipes::y4m(raw_pictures(mode)), &mjpeg]);
        measure_jpeg(mode, report, &mjpeg);
    });
}

/// H.264 that is passed on: how late it is, and the memory.
pub fn measure_pipe(mode: Mode, report: &mut Report) {
    with_ffmpeg(report, |report| measure_latency(mode, report, &h264(mode)));
}

/// How soon a newcomer sees the stream, beside the ball in the same run.
pub fn measure_join(mode: Mode, report: &mut Report) {
    with_ffmpeg(report, |report| measure_newcomers(mode, report, &h264(mode)));
}

/// yuv4mpeg2 with one viewer: what the process takes beyond the encoder's own work.
pub fn measure_encode(mode: Mode, report: &mut Report) {
    with_ffmpeg(report, |report| measure_encoding(mode, report, &pipes::y4m(raw_pictures(mode))));
}

fn h264(mode: Mode) -> Vec<u8> {
    pipes::h264(mode.pick(10 * FRAMES_PER_SECOND, GROUP_PICTURES))
}

fn raw_pictures(mode: Mode) -> u32 {
    mode.pick(GROUP_PICTURES, 10)
}

/// A server of its own core that reads a pipe, and the pipe's writer.
pub fn start(flags: &[&str], header: &[u8], chunks: Vec<Chunk>) -> (Server, Writer) {
    let (reader, writer) = pipe().unwrap();
    let mut command = Command::new(binary());
    command.stdin(reader);
    let server = spawn_on(Core::Measured, || {
        let flags = [flags, &["--max-viewers-per-address", "50", "-"]].concat();
        Server::start_command(command, "127.0.0.1", 0, &flags)
    });
    let writer = Writer::start(writer, header, chunks);
    server.wait_for("the stream runs", |stats| stats["source"]["state"] == "running");
    (server, writer)
}

/// Milliseconds from the writing of each picture to its first and its last packet at each viewer.
struct Latencies {
    first: Spread,
    last: Spread,
    last_of_keyframes: Spread,
    lost: f64,
}

fn latencies(load: &mut Load, writer: &Writer, window: Duration) -> Latencies {
    load.mark();
    load.trace();
    let before = writer.pictures();
    std::thread::sleep(window);
    let written = writer.pictures() - before;
    std::thread::sleep(ARRIVES_WITHIN);
    let arrivals = load.traced();
    let lost = load.report().number("lost");
    let expected = written as usize * VIEWERS;
    assert!(arrivals.len() >= expected, "{} of {expected} frames arrived", arrivals.len());
    let (mut first, mut last, mut last_of_keyframes) = (Vec::new(), Vec::new(), Vec::new());
    writer.with_written(|written| {
        for Arrival { first_packet, last_packet, tail, .. } in arrivals {
            let at = written.before(tail, last_packet).expect("each frame is a written picture");
            first.push(ms(first_packet.saturating_sub(at)));
            last.push(ms(last_packet - at));
            if written.is_keyframe(tail) {
                last_of_keyframes.push(ms(last_packet - at));
            }
        }
    });
    let [first, last, last_of_keyframes] = [first, last, last_of_keyframes].map(Spread::of);
    say(&format!(
        "write to first packet p50 {} p99 {}, to last p50 {} p99 {}, of key frames p50 {} ms",
        short(first.median),
        short(first.quantile(0.99)),
        short(last.median),
        short(last.quantile(0.99)),
        short(last_of_keyframes.median),
    ));
    Latencies { first, last, last_of_keyframes, lost }
}

fn ms(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

fn measure_latency(mode: Mode, report: &mut Report, h264: &[u8]) {
    let window = mode.pick(Duration::from_secs(15), Duration::from_millis(700));
    for delimited in [false, true] {
        let (server, writer) = start(&[], &[], pipes::chunks_of_h264(h264, delimited));
        let mut load = Load::start(server.address, FRAMES_PER_SECOND);
        load.join_and_wait(VIEWERS, VIEWERS);
        std::thread::sleep(mode.pick(LEARNT_AFTER, Duration::ZERO));
        let windows: Vec<Latencies> =
            (0..mode.pick(3, 1)).map(|_| latencies(&mut load, &writer, window)).collect();
        let of =
            |value: &dyn Fn(&Latencies) -> f64| Spread::of(windows.iter().map(value).collect());
        let keyframes = of(&|w| w.last_of_keyframes.median);
        if delimited {
            let figure = "the same, each written with the next delimiter, p50";
            report.add_spread("pipe-delimited-p50", figure, &of(&|w| w.last.median), "ms");
            let figure = "the same, p99";
            report.add_spread("pipe-delimited-p99", figure, &of(&|w| w.last.quantile(0.99)), "ms");
            report.note(format!("key frames p50 {}", short(keyframes.median)));
            return;
        }
        let figure = format!("picture written to last packet received, {VIEWERS} viewers, p50");
        report.add_spread("pipe-late-p50", &figure, &of(&|w| w.last.median), "ms");
        let figure = "the same, p99";
        report.add_spread("pipe-late-p99", figure, &of(&|w| w.last.quantile(0.99)), "ms");
        report.note(format!("key frames p50 {}", short(keyframes.median)));
        report.add_spread(
            "pipe-first-p50",
            "picture written to first packet received, p50",
            &of(&|w| w.first.median),
            "ms",
        );
        let figure = "the same, p99";
        report.add_spread("pipe-first-p99", figure, &of(&|w| w.first.quantile(0.99)), "ms");
        report.add_spread("pipe-lost", "packets lost", &of(&|w| w.lost), "");
        let resident = Usage::of(server.pid()).resident_kb as f64 / 1e3;
        let figure = format!("resident, 4 Mbit/s from a pipe, {VIEWERS} viewers");
        report.add("pipe-resident", &figure, resident, "MB");
    }
}

/// A viewer that joins and nobody else watches: milliseconds to its first frame, and until it is up to
/// date if the pictures are a writer's.
fn newcomer(load: &mut Load, watch: Duration, writer: Option<&Writer>) -> (f64, Option<f64>, f64) {
    load.mark();
    load.trace();
    load.join_and_wait(1, 1);
    std::thread::sleep(watch);
    let arrivals = load.traced();
    let lost = load.report().number("lost");
    load.leave(1);
    std::thread::sleep(GONE_WITHIN);
    let since_join = |arrival: &Arrival| ms(arrival.last_packet - arrival.joined);
    let first = arrivals.first().map_or(f64::NAN, since_join);
    let up_to_date = writer.map(|writer| {
        writer.with_written(|written| {
            let is_new = |a: &&Arrival| {
                let at = written.before(a.tail, a.last_packet);
                at.is_some_and(|at| a.last_packet - at < PERIOD_NS)
            };
            arrivals.iter().find(is_new).map_or(f64::NAN, since_join)
        })
    });
    (first, up_to_date, lost)
}

fn measure_newcomers(mode: Mode, report: &mut Report, h264: &[u8]) {
    let (rounds, joins) = mode.pick((3, 15), (1, 2));
    let (piped, writer) = start(&[], &[], pipes::chunks_of_h264(h264, false));
    let ball = ball();
    let mut loads = [piped.address, ball.address].map(|a| Load::start(a, FRAMES_PER_SECOND));
    let (mut ratios, mut up_to_date, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    let (mut pipe_all, mut ball_all) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (mut of_pipe, mut of_ball) = (Vec::new(), Vec::new());
        for join in 0..joins {
            // At another place of the group each time.
            let phase = Duration::from_secs(2) * join / joins;
            let watch = Duration::from_millis(400) + mode.pick(phase, Duration::ZERO);
            let (first, current, missed) = newcomer(&mut loads[0], watch, Some(&writer));
            of_pipe.push(first);
            up_to_date.extend(current);
            lost.push(missed);
            of_ball.push(newcomer(&mut loads[1], Duration::from_millis(200), None).0);
        }
        ratios.push(Spread::of(of_pipe.clone()).median / Spread::of(of_ball.clone()).median);
        pipe_all.append(&mut of_pipe);
        ball_all.append(&mut of_ball);
    }
    let [of_pipe, of_ball, up_to_date] = [pipe_all, ball_all, up_to_date].map(Spread::of);
    let group = GROUP_PICTURES / FRAMES_PER_SECOND;
    let figure = format!("join to first frame from a pipe with groups of {group} s");
    report.add_distribution("pipe-first-frame", &figure, &of_pipe, "ms");
    report.add_distribution("pipe-ball-first-frame", "the same with the ball", &of_ball, "ms");
    let figure = "the same, pipe relative to ball, p50";
    report.add_spread("pipe-first-frame-ratio", figure, &Spread::of(ratios), "times");
    report.add_distribution("pipe-up-to-date", "join to caught up", &up_to_date, "ms");
    let lost = Spread::of(lost);
    let figure = "packets lost by a new viewer, in the burst and after";
    report.add_spread("pipe-join-lost", figure, &lost, "");
}

fn measure_encoding(mode: Mode, report: &mut Report, y4m: &[u8]) {
    let window = mode.pick(Duration::from_secs(10), Duration::from_millis(500));
    let settle = mode.pick(Duration::from_secs(2), Duration::from_millis(300));
    let pictures = pipes::pictures_of(y4m);
    let (mut costs, mut alone, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..mode.pick(3, 1) {
        let (header, chunks) = pipes::chunks_of_y4m(y4m);
        let (server, writer) = start(&[], &header, chunks);
        let mut load = Load::start(server.address, FRAMES_PER_SECOND);
        load.join_and_wait(1, 1);
        std::thread::sleep(settle);
        let (before, written) = (Usage::of(server.pid()), writer.pictures());
        std::thread::sleep(window);
        let (after, written) = (Usage::of(server.pid()), writer.pictures() - written);
        let cost = (after.cpu_s - before.cpu_s) * 1e3 / written as f64;
        drop((load, writer, server));

        let encode = || {
            std::thread::scope(|scope| {
                scope.spawn(|| encode_for(&pictures, settle, window)).join().unwrap()
            })
        };
        let own = spawn_on(Core::Measured, encode);
        say(&format!("{} ms of CPU per picture, {} ms of it encoding", short(cost), short(own)));
        costs.push(cost);
        alone.push(own);
        ratios.push(cost / own);
    }
    let figure = "CPU per picture, yuv4mpeg2 of 1280x720 at 30/s, 1 viewer";
    report.add_spread("y4m-cpu", figure, &Spread::of(costs), "ms");
    let figure = "encoding only, same pictures and timing";
    report.add_spread("y4m-encode", figure, &Spread::of(alone), "ms");
    report.add_spread(
        "y4m-ratio",
        "the first relative to the second",
        &Spread::of(ratios),
        "times",
    );
}

/// CPU milliseconds that encoding a picture takes, at the times of the pictures: the caches are as
/// cold as a server's. The pictures of `settle` do not count.
fn encode_for(pictures: &[Picture], settle: Duration, window: Duration) -> f64 {
    let quality = Quality::Bitrate(BITRATE);
    let mut encoder = encoder(Codec::H264, FRAMES_PER_SECOND, quality).unwrap();
    let (start, mut spent, mut encoded) = (Instant::now(), Duration::ZERO, 0);
    for (number, picture) in (0..).zip(pictures.iter().cycle()) {
        let due = start + Duration::from_secs(1) * number / FRAMES_PER_SECOND;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let since = start.elapsed();
        if since > settle + window {
            break;
        }
        let before = crate::floor::cpu_time();
        std::hint::black_box(encoder.encode(picture, due).unwrap());
        if since > settle {
            spent += crate::floor::cpu_time() - before;
            encoded += 1;
        }
    }
    spent.as_secs_f64() * 1e3 / f64::from(encoded)
}

/// Bytes a second through the parsers alone.
fn measure_parsers(mode: Mode, report: &mut Report, [h264, y4m, mjpeg]: [&[u8]; 3]) {
    for (key, name, stream) in [
        ("parse-h264", "Annex B", h264),
        ("parse-y4m", "yuv4mpeg2", y4m),
        ("parse-mjpeg", "MJPEG", mjpeg),
    ] {
        let times = mode.pick((PARSED_BYTES / stream.len()).max(1), 1);
        let rates = (0..mode.pick(9, 1)).map(|_| {
            let (started, mut items) = (Instant::now(), 0);
            for _ in 0..times {
                pipes::parse(stream, |item: ParsedItem| {
                    std::hint::black_box(item);
                    items += 1;
                });
            }
            assert!(items > 0);
            (stream.len() * times) as f64 / 1e9 / started.elapsed().as_secs_f64()
        });
        let rates = spawn_on(Core::Measured, || Spread::of(rates.collect()));
        say(&format!("{name}: {rates} GB/s"));
        report.add_spread(key, &format!("parse {name}"), &rates, "GB/s");
    }
}

/// A picture of MJPEG, from its file to I420.
fn measure_jpeg(mode: Mode, report: &mut Report, mjpeg: &[u8]) {
    let jpegs = pipes::jpegs_of(mjpeg);
    let bytes: usize = jpegs.iter().map(|jpeg| jpeg.data.len()).sum();
    let times = (0..mode.pick(5, 1)).map(|_| {
        let started = Instant::now();
        for jpeg in &jpegs {
            std::hint::black_box(jpeg::decode(&jpeg.data).unwrap());
        }
        started.elapsed().as_secs_f64() * 1e3 / jpegs.len() as f64
    });
    let times = spawn_on(Core::Measured, || Spread::of(times.collect()));
    say(&format!("JPEG: {times} ms"));
    report.add_spread("jpeg-decode", "decode a JPEG of 1280x720 to I420", &times, "ms");
    report.note(format!("{} kB", short(bytes as f64 / 1e3 / jpegs.len() as f64)));
}
