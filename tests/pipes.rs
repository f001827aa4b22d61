//! Pictures from outside, with real ffmpeg, real sockets and real Chromium: streams of each format come
//! through a pipe, a named pipe, a file and a supervised command.

mod support;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::chromium::{Chromium, Tab};
use support::process::Server;
use support::scripts::LIVE;
use support::socket_viewer::{SocketViewer, run_until};

/// A white bar on black that goes 8 pixels to the right with each of 30 pictures a second, and begins
/// again after 280.
const BAR: &str = "-re -f lavfi -i \"nullsrc=s=320x240:r=30,\
                   geq=lum='if(between(X,mod(N*8,280),mod(N*8,280)+31),235,16)':cb=128:cr=128\"";
const BASELINE: &str = "-pix_fmt yuv420p -c:v libx264 -preset ultrafast -tune zerolatency \
                        -profile:v baseline -g 30 -flush_packets 1 -f h264 -";
const MAIN: &str = "-pix_fmt yuv420p -c:v libx264 -preset veryfast -bf 0 -tune zerolatency \
                    -profile:v main -g 60 -f h264 -";
const HIGH: &str = "-pix_fmt yuv420p -c:v libx264 -preset medium -bf 0 -tune zerolatency \
                    -profile:v high -g 30 -f h264 -";
const B_FRAMES: &str = "-pix_fmt yuv420p -c:v libx264 -bf 2 -g 30 -f h264 -";
const Y4M: &str = "-pix_fmt yuv420p -f yuv4mpegpipe -";
const MJPEG: &str = "-c:v mjpeg -q:v 3 -pix_fmt yuvj422p -huffman default -f mjpeg -";

fn ffmpeg(output: &str) -> String {
    format!("exec ffmpeg -v error {BAR} {output}")
}

fn exec(output: &str) -> Server {
    Server::start(&["--exec", &ffmpeg(output)])
}

/// What a command of the shell writes, on the standard input of a server.
fn start_on_stdin(command: &str, flags: &[&str]) -> (Server, Child) {
    let mut writer = Command::new("sh");
    writer.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut writer = writer.spawn().unwrap();
    let mut ballcast = Command::new(env!("CARGO_BIN_EXE_ballcast"));
    ballcast.stdin(writer.stdout.take().unwrap());
    (Server::start_command(ballcast, "127.0.0.1", 0, &[&["-"], flags].concat()), writer)
}

fn watch_frames(server: &Server, frames: usize) {
    let mut viewers = [SocketViewer::join(server)];
    run_until(&mut viewers, |viewers| viewers[0].client.frames.len() >= frames);
}

/// Where the bar is in each of 60 pictures that the page presents, one after the other.
const POSITIONS: &str = "new Promise((resolve) => {
    const video = document.querySelector('video');
    const canvas = new OffscreenCanvas(320, 240);
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const positions = [];
    const look = () => {
        context.drawImage(video, 0, 0, 320, 240);
        const { data } = context.getImageData(0, 120, 320, 1);
        const left = Array.from({ length: 320 }, (_, x) => data[x * 4]).findIndex((r) => r > 128);
        positions.push(left);
        if (positions.length < 60) video.requestVideoFrameCallback(look);
        else resolve(positions);
    };
    video.requestVideoFrameCallback(look);
})";

/// The bar moves from picture to picture, and never back.
fn check_bar(positions: &Value) {
    let positions: Vec<i64> = serde_json::from_value(positions.clone()).unwrap();
    assert!(positions.iter().all(|x| (0..290).contains(x)), "{positions:?}");
    let steps = positions.windows(2).map(|pair| (pair[1] - pair[0]).rem_euclid(280));
    let steps: Vec<i64> = steps.collect();
    // A picture or two may be skipped on a busy machine; the edge is sharp to some pixels.
    assert!(steps.iter().all(|step| (4..=60).contains(step)), "{steps:?}");
    let single = steps.iter().filter(|step| (5..=11).contains(*step)).count();
    assert!(single >= 40, "{steps:?}");
}

fn open_live(server: &Server, chromium: &mut Chromium) -> Tab {
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, LIVE);
    server.wait_for("the stream runs", |stats| stats["source"]["state"] == "running");
    chromium.wait_for(&tab, "document.querySelector('video')?.videoWidth === 320");
    tab
}

#[test]
fn a_stream_on_standard_input_reaches_a_viewer() {
    for (output, raw) in
        [(BASELINE, ""), (Y4M, ""), (MJPEG, ""), ("-pix_fmt yuv420p -f rawvideo -", "320x240@30")]
    {
        let flags: &[&str] = if raw.is_empty() { &[] } else { &["--raw", raw] };
        let (server, mut writer) = start_on_stdin(&ffmpeg(output), flags);
        watch_frames(&server, 40);
        let source = &server.stats()["source"];
        println!("{source}");
        assert_eq!((&source["state"], &source["size"]), (&"running".into(), &"320x240".into()));
        let _ = writer.kill();
        let _ = writer.wait();
    }
}

#[test]
fn chromium_plays_each_format_with_every_picture_in_order() {
    let mut chromium = Chromium::start();
    for output in [BASELINE, MAIN, HIGH, Y4M, MJPEG] {
        let server = exec(output);
        let tab = open_live(&server, &mut chromium);
        let positions = chromium.evaluate(&tab, POSITIONS);
        println!("{output}");
        check_bar(&positions);
        chromium.close(&tab);
    }
}

#[test]
fn a_writer_that_is_killed_and_one_that_hangs_come_back_to_the_same_viewer() {
    let server = exec(BASELINE);
    let mut chromium = Chromium::start();
    let tab = open_live(&server, &mut chromium);
    for signal in ["KILL", "STOP"] {
        let restarts = server.stats()["source"]["restarts"].as_u64().unwrap();
        let children =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.pid()));
        let children = children.unwrap();
        let ffmpeg = children.split_whitespace().find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name == "ffmpeg\n")
        });
        let ffmpeg = ffmpeg.unwrap_or_else(|| panic!("no ffmpeg among {children}"));
        let killed = Command::new("kill").args(["-s", signal, ffmpeg]).status().unwrap();
        assert!(killed.success());
        let asked = Instant::now();
        server.wait_for("it is noticed", |stats| stats["source"]["state"] != "running");
        server.wait_for("it is started again", |stats| {
            stats["source"]["restarts"].as_u64() > Some(restarts)
                && stats["source"]["state"] == "running"
        });
        println!("{signal}: running after {:?}", asked.elapsed());
        check_bar(&chromium.evaluate(&tab, POSITIONS));
    }
    assert_eq!(server.stats()["viewers_served"], 1, "the same connection");
}

#[test]
fn a_command_that_fails_is_a_picture_with_words_and_a_sentence() {
    let server = Server::start(&["--exec", "echo the camera is not there >&2; exit 3"]);
    let failed = |stats: &Value| stats["source"]["state"] == "failed";
    let stats = server.wait_for("it has failed", failed);
    let sentence = stats["source"]["sentence"].as_str().unwrap().to_owned();
    println!("{sentence}");
    assert!(sentence.contains("status 3") && sentence.contains("the camera is not there"));
    watch_frames(&server, 2);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, "document.querySelector('video')?.videoWidth === 640");
    let shown = "document.querySelector('[data-no-signal] #status')?.textContent";
    chromium.wait_for(&tab, &format!("{shown}?.includes('the camera is not there')"));
    let retry = "document.querySelector('#next').textContent.includes('tries again in')";
    chromium.wait_for(&tab, retry);
    assert_eq!(chromium.evaluate(&tab, "document.title"), "No picture · 127.0.0.1");
    assert_eq!(chromium.evaluate(&tab, "ballcast.state"), "live");
    std::thread::sleep(Duration::from_millis(500));
    chromium.screenshot(&tab, "no-signal.png");
}

#[test]
fn the_page_shows_the_picture_again_as_soon_as_it_comes() {
    let server = Server::start(&["--exec", &format!("sleep 8; {}", ffmpeg(BASELINE))]);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, "document.querySelector('[data-no-signal]') !== null");
    chromium
        .wait_for(&tab, "document.querySelector('[data-no-signal]') === null && ballcast.fps > 20");
    assert_eq!(chromium.evaluate(&tab, "ballcast.connects"), 1);
}

#[test]
fn b_frames_are_refused_with_the_flag_that_mends_it() {
    let server = exec(B_FRAMES);
    let stats = server.wait_for("it has failed", |stats| stats["source"]["state"] == "failed");
    let sentence = stats["source"]["sentence"].as_str().unwrap();
    assert!(sentence.contains("--low-latency") && sentence.contains("-bf 0"), "{sentence}");
}
