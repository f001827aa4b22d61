//! The hardware encoder of a board, as a kernel module (`encoder/fake_encoder.c`).

use std::process::Command;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::Value;

use crate::bench::Bench;
use crate::camera::LINK;
use crate::guest::{share, sources};
use crate::media::{STATIC, YUYV, static_i420};
use crate::server::GuestServer;
use crate::support::chromium::Tab;
use crate::support::marker::DRAW;
use crate::support::process::WAIT_LIMIT;
use crate::support::scripts::LIVE;

const DEVICE: &str = "/dev/video11";
/// The module writes samples as they are. With less, parts of a picture are those of an older one.
const BITRATE_KBPS: u32 = 8_000;
const PARAMETERS: &str = "/sys/module/fake_encoder/parameters";
/// From a fault of the encoder to the encoder of software, at most, in milliseconds; what an emulated processor may need in
/// addition.
const SOFTWARE_WITHIN_MS: u64 = 1_000;
const BUSY_FACTOR: u64 = 3;
/// After the first failure, the encoder is not tried for this long.
const PAUSE: Duration = Duration::from_secs(30);
/// What `/stats` says then.
const SOFTWARE: (&str, &str) = ("/stats", "\"encoder\":\"openh264\"");

/// Starts a server with a camera and the encoder.
fn start(bench: &mut Bench, mode: &str) -> GuestServer {
    load(bench);
    bench.camera(&[mode]);
    bench.serve(&format!("{LINK} --encoder {DEVICE} --bitrate {BITRATE_KBPS}"))
}

/// Loads the module, anew.
fn load(bench: &mut Bench) {
    let folder = format!("encoder-{}", bench.suite);
    let mut build = Command::new(sources().join("encoder/build"));
    build.arg(bench.suite).arg(share().join(&folder));
    assert!(build.status().unwrap().success());
    bench.guest.run(&format!(
        "[ -e {PARAMETERS} ] && rmmod fake_encoder
        modprobe videobuf2-v4l2 && modprobe videobuf2-vmalloc || exit
        [ -e /sys/module/v4l2_mem2mem ] || insmod /share/{folder}/v4l2-mem2mem.ko || exit
        insmod /share/{folder}/fake_encoder.ko && udevadm settle"
    ));
}

fn parameter(bench: &mut Bench, name: &str) -> u32 {
    bench.guest.run(&format!("cat {PARAMETERS}/{name}")).parse().unwrap()
}

fn uses_hardware(server: &GuestServer) {
    let stats = server.wait_for("an encoder is told", |stats| !stats["encoder"].is_null());
    let encoder = stats["encoder"].as_str().unwrap();
    assert!(encoder.contains("fake_encoder"), "{encoder}");
}

/// The samples of the next picture that the page is given, as I420 without padding, in base64.
const NEXT_PICTURE: &str = "(async () => {
    const [track] = document.querySelector('video').srcObject.getVideoTracks();
    const reader = new MediaStreamTrackProcessor({ track: track.clone() }).readable.getReader();
    const { value: frame } = await reader.read();
    const samples = new Uint8Array(frame.allocationSize());
    await frame.copyTo(samples);
    const told = `${frame.format} ${frame.visibleRect.width}x${frame.visibleRect.height}`;
    frame.close();
    reader.cancel();
    return [told, btoa(samples.reduce((text, sample) => text + String.fromCharCode(sample), ''))];
})()";
/// What the encoder is given is what a viewer's decoder has, sample for sample.
pub fn static_picture(bench: &mut Bench) {
    let server = start(bench, STATIC);
    let tab = bench.watch(&server);
    uses_hardware(&server);
    is_identical(bench, &tab);
    assert_eq!(bench.connects(&tab), 1);
}

fn is_identical(bench: &mut Bench, tab: &Tab) {
    let expected = static_i420();
    let end = Instant::now() + WAIT_LIMIT;
    loop {
        let (told, samples): (String, String) =
            serde_json::from_value(bench.evaluate(tab, NEXT_PICTURE)).unwrap();
        let samples = BASE64.decode(samples.as_bytes()).unwrap();
        let different = samples.iter().zip(&expected).filter(|(a, b)| a != b).count();
        if samples.len() == expected.len() && different == 0 {
            println!("   {told}: {} samples are identical", samples.len());
            return;
        }
        // It may be one of before the first whole one.
        assert!(Instant::now() < end, "{told}: {different} of {} samples differ", samples.len());
    }
}

pub fn moving_pictures(bench: &mut Bench) {
    let server = start(bench, YUYV);
    let tab = bench.watch(&server);
    uses_hardware(&server);
    bench.follow(&tab);
    assert_eq!(parameter(bench, "undated"), 0);
    // The bitrate is spread over the pictures that the camera makes, which are fewer than those of the ball.
    let picture_bits = parameter(bench, "picture_bits");
    let of_the_ball = BITRATE_KBPS * 1_000 / 30;
    println!("   {picture_bits} bits for each picture; of the ball, {of_the_ball}");
    assert!(picture_bits > of_the_ball * 5 / 4);
}

/// An encoder whose first frame has the time stamp of no picture, as that of a Raspberry Pi can have.
pub fn misdated(bench: &mut Bench) {
    load(bench);
    bench.guest.run(&format!("echo 1 >{PARAMETERS}/misdated"));
    bench.camera(&[YUYV]);
    let server = bench.serve(&format!("{LINK} --encoder {DEVICE} --bitrate {BITRATE_KBPS}"));
    let tab = bench.watch(&server);
    uses_hardware(&server);
    bench.follow(&tab);
}

/// Who joins is given a key frame that was asked for, and who watched already goes on.
pub fn another_viewer(bench: &mut Bench) {
    let server = start(bench, YUYV);
    let first = bench.watch(&server);
    bench.follow(&first);
    let before = parameter(bench, "forced");
    let second = bench.watch(&server);
    bench.follow(&second);
    let after = parameter(bench, "forced");
    println!("   {before} key frames were asked for before, {after} after");
    assert!(after > before);
    assert_eq!(bench.connects(&first), 1);
}

/// The camera of a Raspberry Pi whose board has an encoder: a stand-in for rpicam-vid makes the H.264.
pub fn raspberry_pi(bench: &mut Bench) {
    load(bench);
    let pictures = DRAW.replace("r=30", "r=8");
    let environment =
        format!("env PATH=/share:$PATH \"RPICAM_PICTURES={pictures},scale=W:H:flags=neighbor\"");
    let server = bench.serve_by(&environment, "--camera --camera-size 160x120@8");
    let tab = bench.watch(&server);
    bench.follow(&tab);
    let stats = server.stats();
    println!("   {}", stats["source"]);
    assert_eq!(stats["source"]["format"], "H.264", "{stats}");
    assert_eq!(stats["source"]["restarts"], 0, "{stats}");
}

/// An encoder that makes no key frame when asked, or cannot be asked, begins anew for who joins.
pub fn deaf(bench: &mut Bench) {
    for way in [1, 2] {
        let server = start(bench, YUYV);
        bench.guest.run(&format!("echo {way} >{PARAMETERS}/deaf"));
        let first = bench.watch(&server);
        bench.follow(&first);
        let second = bench.watch(&server);
        bench.follow(&second);
        uses_hardware(&server);
        assert_eq!(bench.connects(&first), 1);
        bench.clear();
    }
}

/// Each time that it takes over, the encoder of software begins with a key frame.
pub fn errors_again(bench: &mut Bench) {
    let server = start(bench, YUYV);
    bench.watch(&server);
    let file = format!("{PARAMETERS}/errors");
    for pause in [Duration::ZERO, PAUSE] {
        std::thread::sleep(pause);
        server.wait_for("the hardware encodes", |stats| {
            stats["encoder"].as_str().is_some_and(|name| name.contains("fake_encoder"))
        });
        let before = server.stats()["keyframes"].as_u64().unwrap();
        let (_, answer) = server.react_to(&mut bench.guest, &file, "1", SOFTWARE);
        let stats: Value = serde_json::from_str(&answer).unwrap();
        println!("   {before} key frames before, then {}", stats["keyframes"]);
        assert!(stats["keyframes"].as_u64() > Some(before));
        let fault = stats["hardware_encoder_fault"].as_str();
        assert_eq!(fault, Some("The hardware encoder has reported an error."));
    }
}

pub fn errors(bench: &mut Bench) {
    fault(bench, "errors", "1000");
}

pub fn stall(bench: &mut Bench) {
    fault(bench, "stall", "1");
}

/// What is no H.264.
pub fn noise(bench: &mut Bench) {
    fault(bench, "noise", "1000");
}

/// The encoder of software takes over, and no viewer loses its connection.
fn fault(bench: &mut Bench, name: &str, value: &str) {
    let server = start(bench, YUYV);
    let tab = bench.watch(&server);
    uses_hardware(&server);
    let file = format!("{PARAMETERS}/{name}");
    let (took, _) = server.react_to(&mut bench.guest, &file, value, SOFTWARE);
    assert!(took <= SOFTWARE_WITHIN_MS * BUSY_FACTOR, "{took} ms");
    bench.chromium().wait_for(&tab, &format!("{LIVE} && !window.ballcast.error"));
    bench.follow(&tab);
}
