//! The page in real Firefox, headless and without H.264, because its OpenH264 plug-in is not
//! downloaded.

mod support;

use support::firefox::Firefox;
use support::process::{Server, own_address};
use support::scripts::{DISCS, LIVE, check_frame_rate, follow};

#[test]
fn firefox_without_h264_plays_the_ball_in_vp8() {
    // Firefox ignores candidates with a loopback address.
    let server = Server::start_on(&own_address(), 0, &[]);
    let mut firefox = Firefox::start();
    firefox.navigate(&server.url());
    firefox.wait_for(LIVE);
    assert_eq!(server.stats()["viewers"][0]["codec"], "VP8");
    follow(&firefox.evaluate(DISCS));
    check_frame_rate(|script| firefox.evaluate(script));
    firefox.screenshot("firefox.png");

    let server = Server::start_on(&own_address(), 0, &["--stamp"]);
    firefox.navigate(&server.url());
    firefox.wait_for(LIVE);
    // The stamp is readable after VP8 encoding, and the latency is below a second.
    firefox.wait_for("window.ballcast.latencies.some((ms) => ms > 0 && ms < 1000)");
}
