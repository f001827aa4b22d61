//! A binary for another kind of processor, in an emulator of it: it plays in real Chromium on this
//! machine, and its command line works.
//! The emulator translates system calls, so that what the kernel itself does is not tested here, and
//! no time that it takes says anything about a device.

use std::process::{Command, Output};

use crate::support::chromium::Chromium;
use crate::support::process::{Server, request};
use crate::support::scripts::{DISCS, LIVE, follow, offer_only};
use rustix::process::Signal;

/// The emulator and its arguments, and the binary.
fn emulated() -> Command {
    let words = std::env::var("BALLCAST_QEMU").expect("BALLCAST_QEMU is an emulator and a binary");
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().expect("BALLCAST_QEMU begins with the emulator"));
    command.args(words);
    command
}

fn run(arguments: &[&str]) -> Output {
    emulated().args(arguments).output().unwrap()
}

/// A server with so few frames that an emulator on a busy machine encodes them all.
fn start() -> Server {
    Server::start_command(emulated(), "127.0.0.1", 0, &["--fps", "10"])
}

/// Opens the page after a script, and follows the ball for 60 frames.
fn the_ball_moves(script: &str, codec: &str) {
    let mut server = start();
    let mut chromium = Chromium::start();
    let tab = chromium.open_blank();
    chromium.prepare(&tab, script);
    chromium.navigate(&tab, &server.url());
    chromium.wait_for(&tab, LIVE);
    let frames = follow(&chromium.evaluate(&tab, DISCS));
    let stats = server.stats();
    assert_eq!(stats["viewers"][0]["codec"], codec, "{stats}");
    println!(
        "{codec}: frames {} to {} of the ball, {} frames/s on the page",
        frames[0],
        frames[frames.len() - 1],
        chromium.evaluate(&tab, "window.ballcast.fps"),
    );
    chromium.close(&tab);
    server.wait_for("the viewer is gone", |stats| stats["viewers"] == serde_json::json!([]));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
#[ignore = "takes an emulator and a binary in BALLCAST_QEMU"]
fn the_page_plays_the_ball_in_h264() {
    the_ball_moves("", "H264");
}

#[test]
#[ignore = "takes an emulator and a binary in BALLCAST_QEMU"]
fn the_page_plays_the_ball_in_vp8() {
    the_ball_moves(&offer_only("^video.VP8$"), "VP8");
}

#[test]
#[ignore = "takes an emulator and a binary in BALLCAST_QEMU"]
fn a_snapshot_is_a_jpeg_and_a_wrong_path_is_refused() {
    let server = start();
    let snapshot = request(server.address, "GET", "/snapshot.jpg", &[], b"");
    assert_eq!(snapshot.status, 200, "{}", snapshot.head);
    assert!(snapshot.body.starts_with(b"\xff\xd8") && snapshot.body.ends_with(b"\xff\xd9"));
    let refused = request(server.address, "GET", "/nothing", &[], b"");
    assert_eq!((refused.status, &refused.json()["reason"]), (404, &"not-found".into()));
}

#[test]
#[ignore = "takes an emulator and a binary in BALLCAST_QEMU"]
fn help_is_on_standard_output() {
    let help = run(&["--help"]);
    assert!(help.status.success() && help.stderr.is_empty());
    assert!(String::from_utf8(help.stdout).unwrap().contains("Usage: ballcast"));
}

#[test]
#[ignore = "takes an emulator and a binary in BALLCAST_QEMU"]
fn a_wrong_flag_is_one_sentence_and_exit_code_2() {
    let output = run(&["--fps", "0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let sentence = String::from_utf8(output.stderr).unwrap();
    assert_eq!(sentence.lines().count(), 1);
    assert!(sentence.contains("--fps") && sentence.contains("1 to 120"), "{sentence}");
}
