//! The page in real Firefox, headless, as it is without the internet: it has no H.264.

mod support;

use support::ball;
use support::firefox::Firefox;
use support::process::Server;
use support::scripts::{DISCS, FRAME_RATE, LIVE, MOST_SKIPPED, centres};

#[test]
fn firefox_without_h264_plays_the_ball_in_vp8() {
    // Firefox takes no candidate of the loopback.
    let own = ballcast::host::addresses().unwrap().into_iter().find(|ip| !ip.is_loopback());
    let own = own.expect("this machine has a network address").to_string();
    let server = Server::start_on(&own, 0, &[]);
    let mut firefox = Firefox::start();
    firefox.navigate(&server.url());
    firefox.wait_for(LIVE);
    assert_eq!(server.stats()["viewers"][0]["codec"], "VP8");
    let seen = firefox.evaluate(DISCS);
    ball::follow(&centres(&seen), MOST_SKIPPED).unwrap();
    // The best of three measurements: noise only ever makes them worse.
    let rates: Vec<f64> = (0..3).map(|_| firefox.evaluate(FRAME_RATE).as_f64().unwrap()).collect();
    let best = rates.iter().copied().fold(0.0, f64::max);
    assert!((29.0..31.5).contains(&best), "{rates:?} frames/s");
    firefox.screenshot("firefox.png");

    let server = Server::start_on(&own, 0, &["--stamp"]);
    firefox.navigate(&server.url());
    firefox.wait_for(LIVE);
    // The stamp survives VP8, and no picture is held back for long.
    firefox.wait_for("window.ballcast.latencies.some((ms) => ms > 0 && ms < 1000)");
}
