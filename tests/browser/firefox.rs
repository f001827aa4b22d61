//! The page in real Firefox, headless and without H.264, because its OpenH264 plug-in is not
//! downloaded.

use crate::support::firefox::Firefox;
use crate::support::marker;
use crate::support::process::{Server, own_address};
use crate::support::scripts::{
    DISCS, LIVE, PRINTER_INTERFACE, check_frame_rate, follow, width_of_img,
};
use crate::support::site;

/// Firefox ignores candidates with a loopback address.
fn start(flags: &[&str]) -> Server {
    Server::start_on(&own_address(), 0, flags)
}

fn ffmpeg(output: &str) -> String {
    format!("exec ffmpeg -v error {} {output}", marker::input("320x240"))
}

#[test]
fn firefox_without_h264_plays_the_ball_in_vp8() {
    let server = start(&[]);
    let mut firefox = Firefox::start();
    firefox.navigate(&server.url());
    firefox.wait_for(LIVE);
    assert_eq!(server.stats()["viewers"][0]["codec"], "VP8");
    follow(&firefox.evaluate(DISCS));
    check_frame_rate(|script| firefox.evaluate(script));
    firefox.screenshot("firefox.png");

    let server = start(&["--stamp"]);
    firefox.navigate(&server.url());
    firefox.wait_for(LIVE);
    // The stamp is readable after VP8 encoding, and the latency is below a second.
    firefox.wait_for("window.ballcast.latencies.some((ms) => ms > 0 && ms < 1000)");
}

#[test]
fn firefox_without_h264_plays_pictures_from_outside_in_vp8() {
    let server = start(&["--exec", &ffmpeg("-pix_fmt yuv420p -f yuv4mpegpipe -")]);
    let mut firefox = Firefox::start();
    firefox.navigate(&server.url());
    firefox.wait_for(LIVE);
    firefox.wait_for("document.querySelector('video').videoWidth === 320");
    assert_eq!(server.stats()["viewers"][0]["codec"], "VP8");
    marker::follow(|script| firefox.evaluate(script));
}

/// The page shows why there is no picture, whether the stream was known to be H.264 before or not.
#[test]
fn firefox_without_h264_says_so_where_the_source_has_nothing_else() {
    const NO_H264: &str = "window.ballcast.stage === 'no-codec' && \
                           document.body.innerText.includes('The camera sends H.264')";
    let h264 = ffmpeg("-pix_fmt yuv420p -c:v libx264 -preset ultrafast -bf 0 -g 30 -f h264 -");
    let mut firefox = Firefox::start();
    let server = start(&["--exec", &h264]);
    server.wait_for("the stream runs", |stats| stats["source"]["state"] == "running");
    firefox.navigate(&server.url());
    firefox.wait_for(NO_H264);
    let sentence = firefox.evaluate("window.ballcast.error");
    println!("{sentence}");
    assert!(sentence.as_str().unwrap().contains("This browser is Firefox"));
    firefox.screenshot("firefox-no-h264.png");

    let server = start(&["--exec", &format!("sleep 4; {h264}")]);
    firefox.navigate(&server.url());
    firefox.wait_for(LIVE);
    assert_eq!(server.stats()["source"]["state"], "starting");
    firefox.wait_for(NO_H264);
    assert_eq!(server.stats()["viewers_ended"]["no-codec"], 1);
}

#[test]
fn the_web_interface_of_a_printer_on_another_port_plays_in_firefox() {
    let server = start(&[]);
    let address = own_address();
    let port = site::serve(&address, "<video muted autoplay></video>").port();
    let mut firefox = Firefox::start();
    firefox.navigate(&format!("http://{address}:{port}/"));
    let played = firefox.evaluate(&PRINTER_INTERFACE.replace("URL", &server.url()));
    assert_eq!(played, "it plays");
}

#[test]
fn an_img_of_a_page_on_another_port_shows_pictures_in_firefox() {
    let address = own_address();
    let server = start(&[]);
    let port = site::serve(&address, "<p>A printer</p>").port();
    let elsewhere = site::serve("127.0.0.1", "<p>Another site</p>").port();
    let mut firefox = Firefox::start();
    for (page, width) in [(format!("{address}:{port}"), 640), (format!("localhost:{elsewhere}"), 0)]
    {
        firefox.navigate(&format!("http://{page}/"));
        for path in ["snapshot.jpg", "stream.mjpg", "?action=stream"] {
            let url = format!("{}{path}", server.url());
            assert_eq!(firefox.evaluate(&width_of_img(&url)), width, "{page} shows {url}");
        }
    }
}
