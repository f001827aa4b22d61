//! Cameras that go, come, and say nothing.

use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::camera::{Camera, LINK};
use crate::media::{H264, MJPEG};
use crate::server::GuestServer;
use crate::support::scripts::LIVE;

/// From the plug that is pulled to the words, to the picture after it is plugged in, and from the last picture of a silent
/// camera to the words: the most that users are told, in milliseconds.
const WORDS_WITHIN_MS: u64 = 200;
const PICTURE_WITHIN_MS: u64 = 1_500;
const SILENT_WITHIN_MS: u64 = 2_000;
/// What an emulated processor that is shared with others may need in addition, of which Python is a part.
const BUSY_FACTOR: u64 = 3;

const UNPLUGGED: &str = "unplugged";
const PICTURE: &str = "^ok$";
const NO_PICTURE: &str = "^(?!ok)";

const CYCLES: usize = 10;

/// Pulls the plug and puts it in again. Returns what both took in milliseconds.
fn replug(bench: &mut Bench, server: &GuestServer, camera: &Camera) -> (u64, u64) {
    let (words, _) = server.react(&mut bench.guest, camera, "unplug", UNPLUGGED);
    let (picture, _) = server.react(&mut bench.guest, camera, "plug", PICTURE);
    assert!(words <= WORDS_WITHIN_MS * BUSY_FACTOR, "{words} ms to the words");
    assert!(picture <= PICTURE_WITHIN_MS * BUSY_FACTOR, "{picture} ms to the picture");
    (words, picture)
}

pub fn mjpeg_camera(bench: &mut Bench) {
    watched(bench, MJPEG);
}

pub fn h264_camera(bench: &mut Bench) {
    watched(bench, H264);
}

/// The page says that the camera is unplugged, and shows the picture again, in one connection.
fn watched(bench: &mut Bench, mode: &str) {
    let camera = bench.camera(&[mode]);
    let server = bench.serve("--camera");
    let tab = bench.watch(&server);
    bench.follow(&tab);
    server.react(&mut bench.guest, &camera, "unplug", UNPLUGGED);
    bench.chromium().wait_for(&tab, &format!("window.ballcast.error?.includes('{UNPLUGGED}')"));
    bench.chromium().screenshot(&tab, "kernel-unplugged.png");
    server.react(&mut bench.guest, &camera, "plug", PICTURE);
    bench.chromium().wait_for(&tab, &format!("{LIVE} && !window.ballcast.error"));
    bench.follow(&tab);
}

/// As often as that, and no descriptor is lost.
pub fn ten_cycles(bench: &mut Bench) {
    let camera = bench.camera(&[MJPEG]);
    let server = bench.serve(LINK);
    server.wait_for_picture();
    replug(bench, &server, &camera);
    let before = server.descriptors(&mut bench.guest);
    let took: Vec<(u64, u64)> = (0..CYCLES).map(|_| replug(bench, &server, &camera)).collect();
    println!("   {CYCLES} cycles, milliseconds to words and to the picture: {took:?}");
    assert_eq!(server.descriptors(&mut bench.guest), before);
    let tab = bench.watch(&server);
    bench.follow(&tab);
}

/// The kernel notices at the next transfer.
pub fn dead_cable(bench: &mut Bench) {
    let camera = bench.camera(&[MJPEG]);
    let server = bench.serve("--camera");
    server.wait_for_picture();
    server.react(&mut bench.guest, &camera, "drop", UNPLUGGED);
    server.react(&mut bench.guest, &camera, "plug", PICTURE);
}

/// Another program keeps the number of the camera that has gone, so that it comes back as another one.
pub fn another_number(bench: &mut Bench) {
    let camera = bench.camera(&[MJPEG]);
    let server = bench.serve(LINK);
    server.wait_for_picture();
    let before = bench.guest.run(&format!("readlink {LINK}"));
    let other = bench.guest.start(&format!("sleep 60 <{LINK}"));
    bench.guest.run("sleep 0.2");
    replug(bench, &server, &camera);
    assert_ne!(bench.guest.run(&format!("udevadm settle; readlink {LINK}")), before);
    bench.guest.end(&other);
}

/// A camera that is plugged in after the start is taken.
pub fn no_camera_at_first(bench: &mut Bench) {
    let server = bench.serve("--camera");
    server.wait_for_sentence("plug one in");
    let began = Instant::now();
    bench.camera(&[MJPEG]);
    server.wait_for_picture();
    println!(
        "   the picture is there {:.1} s after the program of the camera was started",
        began.elapsed().as_secs_f64()
    );
    let tab = bench.watch(&server);
    bench.follow(&tab);
}

/// The kernel says nothing at all of a camera that sends nothing.
pub fn silent_camera(bench: &mut Bench) {
    let camera = bench.camera(&[MJPEG]);
    let server = bench.serve("--camera");
    let tab = bench.watch(&server);
    for _ in 0..2 {
        let (words, sentence) = server.react(&mut bench.guest, &camera, "silent", NO_PICTURE);
        println!("   {sentence}");
        assert!(words <= SILENT_WITHIN_MS * BUSY_FACTOR, "{words} ms to the words");
        bench.chromium().wait_for(&tab, "Boolean(window.ballcast.error)");
        // It is started again and again, and stays silent.
        std::thread::sleep(Duration::from_secs(4));
        let (picture, _) = server.react(&mut bench.guest, &camera, "talk", PICTURE);
        println!("   {picture} ms from the first picture to be had");
        bench.chromium().wait_for(&tab, &format!("{LIVE} && !window.ballcast.error"));
    }
    bench.follow(&tab);
}

/// Nor does it say anything of one that is silent from its start.
pub fn silent_from_the_start(bench: &mut Bench) {
    let camera = bench.camera(&[MJPEG]);
    let server = bench.serve(LINK);
    server.wait_for_picture();
    server.react(&mut bench.guest, &camera, "unplug", UNPLUGGED);
    camera.tell(&mut bench.guest, "silent");
    camera.tell(&mut bench.guest, "plug");
    server.wait_for_sentence("sends no pictures");
    let (picture, _) = server.react(&mut bench.guest, &camera, "talk", PICTURE);
    println!("   {picture} ms from the first picture to be had");
}
