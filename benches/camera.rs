//! What one picture of a USB camera costs before it is sent: 1280x720 with the noise of a real sensor, as JPEG and as
//! YUYV. The steps follow each other on one thread, so the duration of each is also the latency that it adds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ballcast::testing::driver::encode::finish::Finish;
use ballcast::testing::driver::encode::{codec::Quality, encoder, jpeg};
use ballcast::testing::media::{
    Appearance, Codec, Layout, Matrix, Orientation, Picture, PixelFormat, Rotation, Samples, Size,
};

use crate::figures::{Spread, short};
use crate::load::Load;
use crate::machine::{Core, Usage, spawn_on};
use crate::pipes::{self, Chunk, FRAMES_PER_SECOND};
use crate::report::Report;
use crate::{Mode, say, streams};

const SIZE: Size = Size { width: 1280, height: 720 };
/// What a source's pictures are encoded at without `--bitrate`.
const BITRATE: u32 = 2_500_000;
/// Pictures before those that count: the encoder settles at its bitrate.
const UNCOUNTED: usize = 30;

/// The picture of a cheap sensor: noise in each sample, different in each picture.
fn noisy(name: &str, pictures: u32, output: &str) -> Vec<u8> {
    let source = format!(
        "testsrc2=size={SIZE}:rate={FRAMES_PER_SECOND},noise=alls=12:allf=t+u,format=yuvj422p"
    );
    pipes::make_from(&source, name, pictures, output)
}

pub fn measure(mode: Mode, report: &mut Report) {
    if !pipes::can_make() {
        return report.skip("ffmpeg with libx264 is not installed".into());
    }
    let pictures = mode.pick(60, 4);
    let mjpeg = noisy("camera.mjpeg", pictures, "-c:v mjpeg -q:v 4 -f mjpeg");
    let jpegs: Vec<Vec<u8>> = pipes::jpegs_of(&mjpeg).into_iter().map(|jpeg| jpeg.data).collect();
    let yuyv = noisy("camera.yuyv", pictures, "-pix_fmt yuyv422 -f rawvideo");
    let buffers: Vec<&[u8]> = yuyv.chunks_exact(2 * SIZE.width * SIZE.height).collect();

    let convert = measure_mjpeg(mode, report, &jpegs);
    measure_yuyv(mode, report, &buffers);
    measure_conversions(mode, report, buffers[0], &convert);
    let raw = format!("{SIZE}@{FRAMES_PER_SECOND}:yuyv");
    let jpegs = pipes::chunks_of_pictures(jpegs.iter().map(Vec::as_slice));
    let buffers = pipes::chunks_of_pictures(buffers);
    measure_server(mode, report, "MJPEG", ["camera-mjpeg-1", "camera-mjpeg-10"], &[], jpegs);
    measure_server(
        mode,
        report,
        "YUYV",
        ["camera-yuyv-1", "camera-yuyv-10"],
        &["--raw", &raw],
        buffers,
    );
}

/// The whole server, with its pictures from a pipe, which costs a copy more than a camera's buffers.
fn measure_server(
    mode: Mode,
    report: &mut Report,
    name: &str,
    keys: [&'static str; 2],
    flags: &[&str],
    pictures: Vec<Chunk>,
) {
    let window = mode.pick(Duration::from_secs(5), Duration::from_millis(500));
    let (server, _writer) = streams::start(flags, &[], pictures);
    let mut load = Load::start(server.address, FRAMES_PER_SECOND);
    for (key, viewers, more) in [(keys[0], 1, 1), (keys[1], 10, 9)] {
        load.join_and_wait(more, viewers);
        std::thread::sleep(mode.pick(Duration::from_secs(2), Duration::ZERO));
        let share = || {
            let (started, before) = (Instant::now(), Usage::of(server.pid()));
            std::thread::sleep(window);
            let spent = Usage::of(server.pid()).cpu_s - before.cpu_s;
            spent / started.elapsed().as_secs_f64() * 100.0
        };
        let shares = Spread::of((0..mode.pick(3, 1)).map(|_| share()).collect());
        let resident = Usage::of(server.pid()).resident_kb as f64 / 1e3;
        let figure =
            format!("{name} of 1280x720 at {FRAMES_PER_SECOND}/s from a pipe, {viewers} viewers");
        say(&format!("{figure}: {shares} % of a core, {} MB resident", short(resident)));
        report.add_spread(key, &figure, &shares, "% of a core");
        report.note(format!("{} MB resident", short(resident)));
    }
}

/// Runs the steps of each picture at its time: the caches are as cold as a server's. Returns the milliseconds that
/// each step took.
fn paced<const N: usize>(
    mode: Mode,
    mut steps: impl FnMut(usize, &mut dyn FnMut()),
) -> [Spread; N] {
    let counted = mode.pick(180, 3);
    let uncounted = mode.pick(UNCOUNTED, 1);
    let mut spent: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    let start = Instant::now();
    for number in 0..uncounted + counted {
        let due = start + Duration::from_secs(1) * number as u32 / FRAMES_PER_SECOND;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let (mut since, mut step) = (Instant::now(), 0);
        let mut done = || {
            if number >= uncounted {
                spent[step].push(since.elapsed().as_secs_f64() * 1e3);
            }
            (since, step) = (Instant::now(), step + 1);
        };
        steps(number, &mut done);
    }
    spent.map(Spread::of)
}

fn add_core(report: &mut Report, key: &'static str, name: &str, steps: &[&Spread]) {
    let total: f64 = steps.iter().map(|step| step.median).sum();
    let share = total * f64::from(FRAMES_PER_SECOND) / 10.0;
    say(&format!("{name}: {} ms for each picture", short(total)));
    report.add(key, &format!("{name} at {FRAMES_PER_SECOND}/s, all steps"), share, "% of a core");
}

/// Returns a decoded picture.
fn measure_mjpeg(mode: Mode, report: &mut Report, jpegs: &[Vec<u8>]) -> Picture {
    let mut finish = clock();
    let steps = || {
        let mut encoder =
            encoder(Codec::H264, FRAMES_PER_SECOND, Quality::Bitrate(BITRATE)).unwrap();
        paced::<3>(mode, |number, done| {
            let picture = jpeg::decode(&jpegs[number % jpegs.len()]).unwrap();
            done();
            let picture = finish.finish(picture, Instant::now());
            done();
            black_box(encoder.encode(&picture, Instant::now()).unwrap());
            done();
        })
    };
    let [decode, mark, encode] = spawn_on(Core::Measured, steps);
    let bytes: usize = jpegs.iter().map(Vec::len).sum();
    report.add_spread("camera-mjpeg-decode", "camera's JPEG of 1280x720 to I420", &decode, "ms");
    report.note(format!("{} kB", short(bytes as f64 / 1e3 / jpegs.len() as f64)));
    report.add_spread("camera-clock", "the same, draw date and time", &mark.scaled(1e3), "µs");
    report.add_spread("camera-mjpeg-encode", "the same, encode", &encode, "ms");
    add_core(report, "camera-mjpeg-core", "camera's MJPEG", &[&decode, &mark, &encode]);
    jpeg::decode(&jpegs[0]).unwrap()
}

fn clock() -> Finish {
    Finish::new(Appearance { has_clock: true, ..Appearance::default() }, false)
}

fn measure_yuyv(mode: Mode, report: &mut Report, buffers: &[&[u8]]) {
    let steps = || {
        let mut encoder =
            encoder(Codec::H264, FRAMES_PER_SECOND, Quality::Bitrate(BITRATE)).unwrap();
        paced::<3>(mode, |number, done| {
            let format = PixelFormat::usual(Layout::Yuyv);
            let buffer = buffers[number % buffers.len()];
            let samples = Samples::from_buffer(SIZE, format, 2 * SIZE.width, buffer).unwrap();
            done();
            let picture = samples.into_picture();
            done();
            black_box(encoder.encode(&picture, Instant::now()).unwrap());
            done();
        })
    };
    let [copy, convert, encode] = spawn_on(Core::Measured, steps);
    let micros = |step: &Spread| step.scaled(1e3);
    report.add_spread("camera-yuyv-copy", "camera's YUYV out of its buffer", &micros(&copy), "µs");
    report.add_spread("camera-yuyv-convert", "the same, to I420", &micros(&convert), "µs");
    report.add_spread("camera-yuyv-encode", "the same, encode", &encode, "ms");
    add_core(report, "camera-yuyv-core", "camera's YUYV", &[&copy, &convert, &encode]);
}

/// Single conversions, one after the other.
fn measure_conversions(mode: Mode, report: &mut Report, yuyv: &[u8], picture: &Picture) {
    let limited = |layout| PixelFormat::usual(layout);
    let full = PixelFormat { full_range: true, ..limited(Layout::I420) };
    let bt709 = PixelFormat { matrix: Matrix::Bt709, ..limited(Layout::I420) };
    let half = picture.u.samples.iter().zip(&picture.v.samples).flat_map(|(u, v)| [*u, *v]);
    let nv12 = [picture.y.samples.clone(), half.collect(), vec![]];
    let planes = [&picture.y, &picture.u, &picture.v].map(|plane| plane.samples.clone());
    for (key, name, format, planes) in [
        ("convert-yuyv", "YUYV", limited(Layout::Yuyv), [yuyv.to_vec(), vec![], vec![]]),
        ("convert-nv12", "NV12", limited(Layout::Nv12), nv12),
        ("convert-full-range", "I420 of the full range", full, planes.clone()),
        ("convert-bt709", "I420 of BT.709", bt709, planes),
    ] {
        let samples = Samples { size: SIZE, format, planes };
        let spread = repeated(mode, || samples.clone(), Samples::into_picture);
        report.add_spread(key, &format!("convert {name} of 1280x720"), &spread, "µs");
    }
    for (key, name, rotation, is_mirrored) in [
        ("orient-90", "rotate 1280x720 by 90 degrees", Rotation::Deg90, false),
        ("orient-180", "rotate it by 180 degrees", Rotation::Deg180, false),
        ("orient-mirror", "mirror it", Rotation::Deg0, true),
    ] {
        let orientation = Orientation { rotation, is_mirrored };
        let spread = repeated(mode, || (), |()| picture.oriented(orientation));
        report.add_spread(key, name, &spread, "µs");
    }
}

/// Microseconds that a function takes for what `make` makes.
fn repeated<T, R>(mode: Mode, make: impl Fn() -> T, act: impl Fn(T) -> R) -> Spread {
    let times = || {
        let time = |_| {
            let input = black_box(make());
            let started = Instant::now();
            black_box(act(input));
            started.elapsed().as_secs_f64() * 1e6
        };
        (0..mode.pick(300, 3)).map(time).collect()
    };
    Spread::of(spawn_on(Core::Measured, times))
}
