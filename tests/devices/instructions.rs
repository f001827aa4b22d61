//! How many instructions a binary for another kind of processor executes for each frame of the ball, for each picture of
//! a camera and for each viewer, counted in the emulator. The kernel's are not among them.
//! Not a check: `cargo test --test devices -- --ignored --nocapture instructions`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::process::Server;
use crate::support::socket_viewer::{SocketViewer, run_until};
use rustix::process::Signal;

const SHORT: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(20);
const MORE_VIEWERS: usize = 10;

/// Pictures of a camera in a second, few enough for the emulator to encode them all, and kbit/s for them: as many bits for
/// each as 2,500 kbit/s are at 30/s.
const CAMERA_RATE: u32 = 2;
const CAMERA_KBPS: u32 = 2_500 * CAMERA_RATE / 30;

/// What is shown.
enum Pictures {
    Ball,
    /// What a command of the shell writes, read with these flags.
    Camera {
        command: String,
        flags: &'static [&'static str],
    },
}

#[test]
#[ignore = "takes an emulator and a binary in BALLCAST_QEMU"]
fn instructions_for_each_frame_and_viewer() {
    let plugin = build_plugin();
    let one = per_frame(&plugin, 1, &Pictures::Ball);
    let more = per_frame(&plugin, MORE_VIEWERS, &Pictures::Ball);
    let per_viewer = (more - one) / (MORE_VIEWERS - 1) as f64;
    println!("{:.0} instructions to render and encode a frame", one - per_viewer);
    println!("{per_viewer:.0} instructions for each viewer of a frame");
}

/// The pictures come from a pipe, as the emulator has no V4L2. A pipe costs one copy more than the buffers of a camera.
#[test]
#[ignore = "takes an emulator and a binary in BALLCAST_QEMU"]
fn instructions_for_each_picture_of_a_camera() {
    let plugin = build_plugin();
    for (name, pixels, encoder, flags) in [
        ("JPEG", "yuvj422p", "-c:v mjpeg -q:v 4 -f image2", &[][..]),
        ("YUYV", "yuyv422", "-f image2 -c:v rawvideo", &["--raw", "1280x720@2:yuyv"]),
    ] {
        let camera = Pictures::Camera { command: noise(name, pixels, encoder), flags };
        let each = per_frame(&plugin, 1, &camera);
        println!("{each:.0} instructions for each {name} picture of 1280x720, with one viewer");
    }
}

/// A command that writes the pictures of a cheap sensor: noise in each sample, different in each picture.
fn noise(name: &str, pixels: &str, encoder: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("instructions-{name}"));
    std::fs::create_dir_all(&folder).unwrap();
    let source = format!("testsrc2=size=1280x720:rate=30,noise=alls=12:allf=t+u,format={pixels}");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", &source, "-frames:v", "30"]);
    ffmpeg.args(encoder.split_whitespace()).arg(folder.join("%02d"));
    assert!(ffmpeg.status().unwrap().success());
    let pause = 1.0 / f64::from(CAMERA_RATE);
    format!("while :; do for it in {}/*; do cat $it; sleep {pause}; done; done", folder.display())
}

fn build_plugin() -> PathBuf {
    let plugin = Path::new(env!("CARGO_TARGET_TMPDIR")).join("count.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/devices/instructions/count.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&plugin).arg(source);
    assert!(compiler.status().unwrap().success());
    plugin
}

/// The difference between a long and a short run: what is done once is in both.
fn per_frame(plugin: &Path, viewers: usize, pictures: &Pictures) -> f64 {
    let (short, short_frames) = count(plugin, viewers, SHORT, pictures);
    let (long, long_frames) = count(plugin, viewers, LONG, pictures);
    let frames = (long_frames - short_frames) as f64;
    let rate = frames / (LONG - SHORT).as_secs_f64();
    let each = (long - short) as f64 / frames;
    println!(
        "{viewers} viewers: {each:.0} instructions for each of {frames} frames, {rate:.1} frames/s"
    );
    each
}

/// The instructions and the frames of a run that ends so long after all viewers have their first frame.
fn count(plugin: &Path, viewers: usize, duration: Duration, pictures: &Pictures) -> (u64, usize) {
    let server = std::env::var("BALLCAST_QEMU").expect("BALLCAST_QEMU is an emulator and a binary");
    let (emulator, arguments) = server.split_once(' ').expect("an emulator and its arguments");
    let mut command = Command::new(emulator);
    command.arg("-plugin").arg(plugin).args(arguments.split_whitespace());
    let bitrate = CAMERA_KBPS.to_string();
    let mut camera = None;
    let mut flags = Vec::new();
    if let Pictures::Camera { command: line, flags: more } = pictures {
        let mut shell = Command::new("sh");
        let writer = shell.args(["-c", line]).stdout(Stdio::piped()).spawn().unwrap();
        let writer = camera.insert(writer);
        command.stdin(writer.stdout.take().unwrap());
        flags = [&["-", "--bitrate", &bitrate][..], more].concat();
    }
    let mut server = Server::start_command(command, "127.0.0.1", 0, &flags);
    if camera.is_some() {
        server.wait_for("the pictures come", |stats| stats["source"]["state"] == "running");
    }
    let mut viewers: Vec<SocketViewer> =
        (0..viewers).map(|_| SocketViewer::join(&server)).collect();
    run_until(&mut viewers, |all| all.iter().all(|viewer| !viewer.client.frames.is_empty()));
    viewers[0].client.frames.clear();
    let started = Instant::now();
    while started.elapsed() < duration {
        viewers.iter_mut().for_each(SocketViewer::handle_all);
        std::thread::sleep(Duration::from_millis(2));
    }
    let frames = viewers[0].client.frames.len();
    if let Some(mut camera) = camera {
        let source = &server.stats()["source"];
        assert_eq!((&source["state"], &source["frames_damaged"]), (&"running".into(), &0.into()));
        camera.kill().unwrap();
        camera.wait().unwrap();
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    let counted = server
        .log()
        .into_iter()
        .find_map(|line| line.strip_prefix("instructions ").map(|number| number.parse().unwrap()));
    (counted.expect("the plugin prints the number"), frames)
}
