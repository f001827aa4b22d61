//! The page in real Chromium, headless: the time to the first frame, and the latency of each frame.
//! Server and browser may use all cores, as on a desktop machine.

use std::time::Duration;

use serde_json::Value;

use crate::figures::Spread;
use crate::report::Report;
use crate::support::chromium::{Chromium, Tab};
use crate::support::process::Server;
use crate::{Mode, say};

const LIVE: &str = "window.ballcast?.state === 'live'";
/// The page keeps the latencies of the last 11 minutes.
const LATENCIES: &str = "window.ballcast.latencies";

/// From `new RTCPeerConnection` to the first frame presented.
pub fn measure_first_frame(mode: Mode, report: &mut Report) {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    // The first load of a new browser starts processes and fills caches.
    first_frame_ms(&mut chromium, &server);
    let loads = mode.pick(50, 3);
    say(&format!("{loads} page loads"));
    let first_frames = (0..loads).map(|_| first_frame_ms(&mut chromium, &server)).collect();
    let first_frames = Spread::of(first_frames);
    let figure = "new RTCPeerConnection to first frame presented";
    report.add_distribution("browser-first-frame", figure, &first_frames, "ms");
    let p50 = first_frames.median;
    report.add("browser-first-frame-p50", "of these, the median", p50, "ms");
    let p95 = first_frames.quantile(0.95);
    report.add("browser-first-frame-p95", "the same, 95th percentile", p95, "ms");
}

fn first_frame_ms(chromium: &mut Chromium, server: &Server) -> f64 {
    let tab = open(chromium, server);
    let first_frame = chromium.evaluate(&tab, "window.ballcast.firstFrameMs").as_f64().unwrap();
    chromium.close(&tab);
    server.wait_for("the viewer of the tab is removed", |s| {
        s["viewers"].as_array().is_some_and(Vec::is_empty)
    });
    first_frame
}

/// From the capture to the presentation, by the stamp in the picture.
pub fn measure_latency(mode: Mode, report: &mut Report) {
    let server = Server::start(&["--stamp"]);
    let mut chromium = Chromium::start();
    let tab = open(&mut chromium, &server);
    let window = mode.pick(Duration::from_secs(60), Duration::from_secs(3));
    // The first seconds of a browser are not representative.
    std::thread::sleep(mode.pick(Duration::from_secs(3), Duration::from_secs(1)));
    let before = latencies(&mut chromium, &tab).len();
    let frames = "window.ballcast.frames";
    let shown_before = chromium.evaluate(&tab, frames).as_f64().unwrap();
    say(&format!("watching for {} s", window.as_secs()));
    std::thread::sleep(window);
    let shown = chromium.evaluate(&tab, frames).as_f64().unwrap() - shown_before;
    let latencies = Spread::of(latencies(&mut chromium, &tab)[before..].to_vec());
    let figure = format!("capture to presentation, {} s", window.as_secs());
    report.add_distribution("browser-latency", &figure, &latencies, "ms");
    report.add("browser-latency-p50", "of these, the median", latencies.median, "ms");
    let p99 = latencies.quantile(0.99);
    report.add("browser-latency-p99", "the same, 99th percentile", p99, "ms");
    let rate = shown / window.as_secs_f64();
    report.add("browser-frames", "frames presented per second", rate, "/s");
}

fn open(chromium: &mut Chromium, server: &Server) -> Tab {
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, LIVE);
    tab
}

fn latencies(chromium: &mut Chromium, tab: &Tab) -> Vec<f64> {
    let latencies = chromium.evaluate(tab, LATENCIES);
    latencies.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}
