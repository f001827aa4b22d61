//! What the page shows when the video fails, and how it recovers: real Chromium and the real
//! server. Screenshots are saved under the target directory's `tmp/screenshots`.

mod accessibility;
mod frames;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::chromium::{Chromium, Tab};
use crate::support::process::{Server, try_stats};
use crate::support::relay::Relay;
use crate::support::scripts::{LIVE, offer_only};
use accessibility::focused;
use rustix::process::Signal;
use serde_json::{Value, json};

const FADED_IN: &str = "getComputedStyle(document.querySelector('.message')).opacity === '1'";

/// How soon the video has to be back, and the factor that a busy machine may add.
const BACK_WITHIN: Duration = Duration::from_secs(2);
const BUSY_FACTOR: u32 = 3;

/// Samples the number of viewers of a server continuously, also across restarts of the server.
struct PeakViewers {
    stop: Arc<AtomicBool>,
    most: JoinHandle<usize>,
}

impl PeakViewers {
    fn start(address: SocketAddr) -> PeakViewers {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let most = std::thread::spawn(move || {
            let mut most = 0;
            while !stopped.load(Ordering::Relaxed) {
                let viewers = try_stats(address).map_or(0, |stats| viewers(&stats));
                most = most.max(viewers);
                std::thread::sleep(Duration::from_millis(10));
            }
            most
        });
        PeakViewers { stop, most }
    }

    /// Ends the sampling and returns the highest number of viewers at a time.
    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.most.join().unwrap()
    }
}

fn viewers(stats: &Value) -> usize {
    stats["viewers"].as_array().unwrap().len()
}

/// A page script that changes the SDP of the answer.
fn with_answer(change: &str) -> String {
    format!(
        "const originalFetch = window.fetch;
        window.fetch = async (url, options) => {{
            const response = await originalFetch(url, options);
            if (url !== 'offer' || !response.ok) return response;
            const {{ type, sdp }} = await response.json();
            return new Response(JSON.stringify({{ type, sdp: sdp{change} }}));
        }};"
    )
}

/// Waits until a stage has failed, checks what the page says about it, and saves screenshots.
fn check_stage(chromium: &mut Chromium, tab: &Tab, stage: &str, words: &[&str]) {
    let failed = format!("window.ballcast?.error && window.ballcast.stage === '{stage}'");
    chromium.wait_for(tab, &failed);
    let shown = "[document.querySelector('#page').dataset.stage,
                  document.querySelector('#status').innerText]";
    let shown = chromium.evaluate(tab, shown);
    assert_eq!(shown[0], stage);
    let sentence = shown[1].as_str().unwrap();
    assert!(words.iter().all(|word| sentence.contains(word)), "{stage}: {sentence}");
    chromium.wait_for(tab, FADED_IN);
    for (device, width, height) in [("desktop", 1280, 800), ("phone", 390, 844)] {
        chromium.set_viewport(tab, width, height, device == "phone");
        chromium.screenshot(tab, &format!("stage-{stage}-{device}.png"));
    }
}

/// Waits until the video plays again, and prints how long that took.
fn wait_for_picture(chromium: &mut Chromium, tab: &Tab, since: Instant, what: &str) {
    chromium.wait_for(tab, LIVE);
    let shown = chromium.evaluate(tab, "window.ballcast.frames").as_u64().unwrap();
    chromium.wait_for(tab, &format!("{LIVE} && window.ballcast.frames > {shown} + 10"));
    let took = since.elapsed();
    eprintln!("{what}: the video is back after {took:?}");
    assert!(took < BACK_WITHIN * BUSY_FACTOR, "{what}: {took:?}");
}

/// A page script that changes the port of the server's UDP candidates.
fn with_port(port: u16) -> String {
    with_answer(&format!(".replace(/(a=candidate:.* udp \\S+ \\S+) \\d+/g, '$1 {port}')"))
}

fn open_with(chromium: &mut Chromium, script: &str, url: &str) -> Tab {
    let tab = chromium.open_blank();
    chromium.prepare(&tab, script);
    chromium.navigate(&tab, url);
    tab
}

#[test]
fn each_failed_stage_is_named() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let stages = [
        ("udp-blocked", with_port(9), ["127.0.0.1:9", "non-proxied UDP"]),
        ("dtls", with_answer(".replace(/(a=fingerprint:\\S+ )..:../, '$100:00')"), ["DTLS", "VPN"]),
        (
            "no-picture",
            with_answer(".replace('a=sendonly', 'a=inactive')"),
            ["no picture", "camera"],
        ),
    ];
    let peak = PeakViewers::start(server.address);
    let tabs = stages.map(|(stage, script, words)| {
        (open_with(&mut chromium, &script, &server.url()), stage, words)
    });
    for (tab, stage, words) in &tabs {
        chromium.bring_to_front(tab);
        check_stage(&mut chromium, tab, stage, words);
    }
    // The pages keep trying, and each of them is never more than one viewer.
    for (tab, _, _) in &tabs[..2] {
        chromium.wait_for(tab, "window.ballcast.connects > 2");
    }
    assert_eq!(peak.stop(), tabs.len());

    let no_codec = open_with(&mut chromium, &offer_only("VP9|AV1"), &server.url());
    check_stage(&mut chromium, &no_codec, "no-codec", &["H.264", "This browser is Chrome 1"]);
}

#[test]
fn a_page_that_a_full_server_refused_connects_when_a_viewer_leaves() {
    let server = Server::start(&["--max-viewers", "1"]);
    let mut chromium = Chromium::start();
    let first = chromium.open(&server.url());
    chromium.wait_for(&first, LIVE);
    let second = chromium.open(&server.url());
    check_stage(&mut chromium, &second, "refused", &["All places (1) are taken"]);
    chromium.close(&first);
    wait_for_picture(&mut chromium, &second, Instant::now(), "a viewer left");
}

#[test]
fn the_page_reconnects_after_a_restart_or_crash_of_the_server() {
    let mut chromium = Chromium::start();
    for (signal, what) in [(Signal::TERM, "restart"), (Signal::KILL, "crash")] {
        let mut server = Server::start(&[]);
        let port = server.address.port();
        let tab = chromium.open(&server.url());
        chromium.wait_for(&tab, LIVE);
        let peak = PeakViewers::start(server.address);
        // Restart the server at once, and after a while.
        for late in [false, true] {
            server.signal(signal);
            server.wait();
            if late {
                check_stage(&mut chromium, &tab, "unreachable", &["does not answer", "is running"]);
                std::thread::sleep(Duration::from_secs(1));
            }
            server = Server::start_on("127.0.0.1", port, &[]);
            let started = Instant::now();
            server.wait_for("the page is a viewer", |stats| viewers(stats) == 1);
            wait_for_picture(&mut chromium, &tab, started, what);
        }
        assert_eq!(peak.stop(), 1, "one page is one viewer");
        chromium.close(&tab);
    }
}

#[test]
fn after_a_network_interruption_the_connection_recovers_or_is_replaced() {
    let server = Server::start(&[]);
    let relay = Relay::start(server.address);
    let mut chromium = Chromium::start();
    let tab = open_with(&mut chromium, &with_port(relay.address.port()), &relay.url());
    chromium.wait_for(&tab, LIVE);
    let peak = PeakViewers::start(server.address);
    // An interruption that a connection survives, and a longer one.
    for seconds in [2, 9] {
        relay.cut(true, true);
        check_stage(&mut chromium, &tab, "stopped", &["The picture stopped", "network"]);
        std::thread::sleep(Duration::from_secs(seconds));
        relay.cut(false, false);
        wait_for_picture(
            &mut chromium,
            &tab,
            Instant::now(),
            &format!("an interruption of {seconds} s"),
        );
    }
    // A firewall that blocks UDP for a while.
    relay.cut(false, true);
    chromium.wait_for(&tab, "window.ballcast.stage === 'udp-blocked'");
    relay.cut(false, false);
    wait_for_picture(&mut chromium, &tab, Instant::now(), "UDP allowed again");
    assert_eq!(peak.stop(), 1, "one page is one viewer");
}

#[test]
fn the_video_returns_after_sleep_and_in_a_tab_that_was_in_the_background() {
    let mut server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, LIVE);
    let peak = PeakViewers::start(server.address);

    chromium.signal(Signal::STOP);
    server.wait_for("the viewer of the suspended browser is removed", |stats| viewers(stats) == 0);
    chromium.signal(Signal::CONT);
    let woken = Instant::now();
    server.wait_for("the page is a viewer again", |stats| viewers(stats) == 1);
    wait_for_picture(&mut chromium, &tab, woken, "sleep");

    let front = chromium.open_blank();
    chromium.bring_to_front(&front);
    chromium.wait_for(&tab, "document.hidden");
    let connects = chromium.evaluate(&tab, "window.ballcast.connects");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(
        chromium.evaluate(&tab, "window.ballcast.connects"),
        connects,
        "a hidden page does not reconnect"
    );
    chromium.bring_to_front(&tab);
    wait_for_picture(&mut chromium, &tab, Instant::now(), "background");

    chromium.bring_to_front(&front);
    chromium.set_lifecycle(&tab, "frozen");
    std::thread::sleep(Duration::from_secs(2));
    chromium.set_lifecycle(&tab, "active");
    chromium.bring_to_front(&tab);
    wait_for_picture(&mut chromium, &tab, Instant::now(), "frozen");
    assert_eq!(chromium.evaluate(&tab, "window.ballcast.connects"), connects);
    assert_eq!(peak.stop(), 1, "one page is one viewer");

    let port = server.address.port();
    chromium.bring_to_front(&front);
    server.signal(Signal::TERM);
    server.wait();
    chromium.wait_for(&tab, "window.ballcast.stage === 'unreachable'");
    let _server = Server::start_on("127.0.0.1", port, &[]);
    chromium.bring_to_front(&tab);
    wait_for_picture(
        &mut chromium,
        &tab,
        Instant::now(),
        "a server restart while another tab is in front",
    );
}

#[test]
fn a_page_is_one_viewer_however_often_it_reloads_or_reconnects() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, LIVE);
    let peak = PeakViewers::start(server.address);
    for n in 0..20 {
        chromium.navigate(&tab, &server.url());
        // Reload at once, and then at later and later points of the connection setup.
        std::thread::sleep(Duration::from_millis(10 * n));
    }
    chromium.wait_for(&tab, LIVE);
    for n in 0..5 {
        chromium.evaluate(&tab, &format!("location.hash = '{n}'"));
        std::thread::sleep(Duration::from_millis(20 * n));
    }
    chromium.wait_for(&tab, &format!("{LIVE} && window.ballcast.connects > 5"));
    assert_eq!(peak.stop(), 1, "one page is one viewer");

    // Leave the page and go back: browsers restore it from the back/forward cache.
    chromium.navigate(&tab, &format!("{}stats", server.url()));
    server.wait_for("the viewer of the page is removed", |stats| viewers(stats) == 0);
    chromium.evaluate(&tab, "history.back()");
    chromium.wait_for(&tab, "window.ballcast !== undefined");
    wait_for_picture(&mut chromium, &tab, Instant::now(), "back in the history");

    let other = chromium.open(&server.url());
    chromium.wait_for(&other, LIVE);
    assert_eq!(viewers(&server.stats()), 2, "two pages are two viewers");
    chromium.close(&other);
    server.wait_for("one viewer remains", |stats| viewers(stats) == 1);
    chromium.bring_to_front(&tab);
    wait_for_picture(&mut chromium, &tab, Instant::now(), "another tab is closed");
}

/// Emulates Safari in Low Power Mode: only a user gesture starts the video, neither the autoplay
/// attribute nor a script.
const WITHOUT_AUTOPLAY: &str = "
    new MutationObserver(() => document.querySelector('video')?.removeAttribute('autoplay'))
        .observe(document, { childList: true, subtree: true });
    const { play } = HTMLMediaElement.prototype;
    HTMLMediaElement.prototype.play = function () {
        if (navigator.userActivation.isActive) return play.call(this);
        return Promise.reject(new DOMException('A user gesture is required.', 'NotAllowedError'));
    };";

#[test]
fn a_browser_that_does_not_start_video_shows_a_large_play_button() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    for by_keyboard in [false, true] {
        let tab = open_with(&mut chromium, WITHOUT_AUTOPLAY, &server.url());
        chromium.wait_for(&tab, "document.querySelector('#play')?.hidden === false");
        let size = "document.querySelector('#play').getBoundingClientRect().width";
        assert!(chromium.evaluate(&tab, size).as_f64() >= Some(88.0), "the button is large");
        chromium.wait_for(&tab, FADED_IN);
        chromium.screenshot(&tab, "stage-play.png");
        if by_keyboard {
            chromium.press(&tab, "Tab");
            assert_eq!(focused(&mut chromium, &tab), "play");
            chromium.press(&tab, "Enter");
        } else {
            chromium.click(&tab, "#play");
        }
        chromium.wait_for(&tab, LIVE);
        // The first frame may come before play() is done.
        chromium.wait_for(&tab, "document.querySelector('#play').hidden");
        assert_eq!(chromium.evaluate(&tab, "window.ballcast.connects"), 1);
    }
}

/// Records the Authorization header of each offer.
const RECORD_AUTHORIZATION: &str = "window.authorizations = [];
    const originalFetch = window.fetch;
    window.fetch = (path, options) => {
        if (path === 'offer') window.authorizations.push(options.headers.Authorization ?? null);
        return originalFetch(path, options);
    };";

#[test]
fn the_token_in_the_url_is_sent_and_a_refused_one_is_not_retried() {
    let server = Server::start(&["--stamp", "--token", "open+sesame/c"]);
    let mut chromium = Chromium::start();
    let tab = open_with(&mut chromium, RECORD_AUTHORIZATION, &server.url());
    check_stage(&mut chromium, &tab, "refused", &["This server requires a token", "#token="]);
    for event in [
        "dispatchEvent(new Event('online'))",
        "document.dispatchEvent(new Event('visibilitychange'))",
    ] {
        chromium.evaluate(&tab, event);
    }
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(
        chromium.evaluate(&tab, "window.authorizations"),
        json!([null]),
        "only the user retries"
    );
    chromium.click(&tab, "#again");
    chromium
        .wait_for(&tab, "window.authorizations.length === 2 && window.ballcast.state === 'failed'");
    // A token with characters that a header cannot contain is not sent.
    chromium.evaluate(&tab, "location.hash = '#token=a%0Ab'");
    chromium
        .wait_for(&tab, "window.authorizations.length === 3 && window.ballcast.state === 'failed'");
    chromium.evaluate(&tab, "location.hash = '#token=open-sesame'");
    chromium
        .wait_for(&tab, "window.authorizations.length === 4 && window.ballcast.state === 'failed'");
    check_stage(&mut chromium, &tab, "refused", &["The token is wrong"]);
    chromium.evaluate(&tab, "location.hash = '#token=open%2Bsesame/c'");
    chromium.wait_for(&tab, LIVE);
    let authorizations = chromium.evaluate(&tab, "window.authorizations");
    let expected = json!([null, null, null, "Bearer open-sesame", "Bearer open+sesame/c"]);
    assert_eq!(authorizations, expected);
    chromium.wait_for(&tab, "window.ballcast.latencies.length > 0");
    let document = chromium.evaluate(&tab, "document.documentElement.outerHTML + document.title");
    assert!(!document.as_str().unwrap().contains("sesame"), "the token is not in the document");
}
