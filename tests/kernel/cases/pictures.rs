//! Each format of a camera in Chromium: pictures whole, in order, none twice.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::Bench;
use crate::camera::LINK;
use crate::media::{DISTANT, H264, MJPEG, YUYV};
use crate::support::chromium::Tab;
use crate::support::process::WAIT_LIMIT;

pub fn mjpeg(bench: &mut Bench) {
    numbered(bench, MJPEG, "MJPEG");
}

pub fn yuyv(bench: &mut Bench) {
    numbered(bench, YUYV, "YUYV");
}

pub fn h264(bench: &mut Bench) {
    numbered(bench, H264, "H.264");
}

fn numbered(bench: &mut Bench, mode: &str, format: &str) {
    bench.camera(&[mode]);
    let server = bench.serve(LINK);
    let tab = bench.watch(&server);
    bench.follow(&tab);
    let log = server.log();
    assert!(log.contains(&format!("is shown: {format} ")), "{log}");
}

/// A camera's H.264 for whose key frames a viewer would wait too long gives way to another format.
pub fn distant_key_frames(bench: &mut Bench) {
    bench.camera(&[DISTANT, MJPEG]);
    let server = bench.serve(LINK);
    server.job.wait_for_output("is shown: H.264 ");
    server.job.wait_for_output("is shown: MJPEG ");
    let tab = bench.watch(&server);
    bench.follow(&tab);
    let log = server.log();
    assert!(!log.contains("Another program"), "{log}");
}

/// The kernel's own test driver, which has no USB in it.
pub fn vivid_yuyv(bench: &mut Bench) {
    vivid(bench, "yuyv");
}

pub fn vivid_nv12(bench: &mut Bench) {
    vivid(bench, "nv12");
}

fn vivid(bench: &mut Bench, format: &str) {
    bench.guest.run(
        "modprobe vivid n_devs=1 node_types=0x1 && udevadm settle
        v4l2-ctl -d /dev/video0 -c test_pattern=0,osd_text_mode=2",
    );
    let server =
        bench.serve(&format!("/dev/video0 --camera-size 320x180 --camera-format {format}"));
    let tab = bench.watch(&server);
    has_colour_bars(bench, &tab);
    let frames = bench.evaluate(&tab, "window.ballcast.frames").as_u64().unwrap();
    bench.chromium().wait_for(&tab, &format!("window.ballcast.frames > {frames} + 10"));
    bench.guest.end(&server.job);
    bench.guest.run("rmmod vivid && udevadm settle");
}

/// The colours of eight bars of the same width, of the picture that is shown, a byte each for red, green, blue.
const BARS: &str = "(() => {
    const canvas = new OffscreenCanvas(320, 180);
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(document.querySelector('video'), 0, 0, 320, 180);
    return Array.from({ length: 8 }, (_, bar) => [...context.getImageData(bar * 40 + 20, 90, 1, 1).data].slice(0, 3));
})()";
/// White, yellow, cyan, green, magenta, red, blue, black: which of red, green and blue is in it.
const COLOURS: [[bool; 3]; 8] = [
    [true, true, true],
    [true, true, false],
    [false, true, true],
    [false, true, false],
    [true, false, true],
    [true, false, false],
    [false, false, true],
    [false, false, false],
];
/// The colours have 75 % of what is possible. The range of the samples would be seen, and is not that of the matrix.
const FULL: i64 = 191;
const TOLERANCE: i64 = 24;

/// Waits until the page shows the bars: the first picture may be older than the setting of the driver.
fn has_colour_bars(bench: &mut Bench, tab: &Tab) {
    let end = Instant::now() + WAIT_LIMIT;
    loop {
        let bars = bench.evaluate(tab, BARS);
        if are_colour_bars(&bars) {
            println!("   bars: {bars}");
            return;
        }
        assert!(Instant::now() < end, "these are no colour bars: {bars}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn are_colour_bars(bars: &Value) -> bool {
    let bars: Vec<[i64; 3]> = serde_json::from_value(bars.clone()).unwrap();
    bars.iter().zip(COLOURS).all(|(bar, colour)| {
        bar.iter()
            .zip(colour)
            .all(|(sample, is_in)| (sample - if is_in { FULL } else { 0 }).abs() <= TOLERANCE)
    })
}
