//! What the page says and does when there is no picture, and how it gets the picture back: real
//! Chromium and the real server. Screenshots are kept under the target directory's
//! `tmp/screenshots`.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::chromium::{Chromium, Tab};
use support::process::{Server, try_stats};
use support::relay::Relay;
use support::scripts::LIVE;

const FADED_IN: &str = "getComputedStyle(document.querySelector('.message')).opacity === '1'";

/// How soon the picture has to be back, and what a busy machine may take.
const BACK_WITHIN: Duration = Duration::from_secs(2);
const NOISE: u32 = 3;

/// Samples how many viewers a server has, all the time, and whatever becomes of it.
struct Census {
    ends: Arc<AtomicBool>,
    most: JoinHandle<usize>,
}

impl Census {
    fn begin(address: SocketAddr) -> Census {
        let ends = Arc::new(AtomicBool::new(false));
        let ended = ends.clone();
        let most = std::thread::spawn(move || {
            let mut most = 0;
            while !ended.load(Ordering::Relaxed) {
                let viewers = try_stats(address).map_or(0, |stats| viewers(&stats));
                most = most.max(viewers);
                std::thread::sleep(Duration::from_millis(10));
            }
            most
        });
        Census { ends, most }
    }

    /// The most viewers that there were at a time.
    fn end(self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        self.most.join().unwrap()
    }
}

fn viewers(stats: &Value) -> usize {
    stats["viewers"].as_array().unwrap().len()
}

/// A page whose answer arrives changed.
fn with_answer(change: &str) -> String {
    format!(
        "const ask = window.fetch;
        window.fetch = async (url, options) => {{
            const response = await ask(url, options);
            if (url !== '/offer' || !response.ok) return response;
            const {{ type, sdp }} = await response.json();
            return new Response(JSON.stringify({{ type, sdp: sdp{change} }}));
        }};"
    )
}

/// A page of a browser that has none of the server's codecs.
const WITHOUT_CODECS: &str = "
    const add = RTCPeerConnection.prototype.addTransceiver;
    RTCPeerConnection.prototype.addTransceiver = function (...them) {
        const transceiver = add.apply(this, them);
        const { codecs } = RTCRtpReceiver.getCapabilities('video');
        transceiver.setCodecPreferences(codecs.filter((codec) => /VP9|AV1/.test(codec.mimeType)));
        return transceiver;
    };";

/// Waits for a stage that failed, checks what the page says about it, and keeps pictures of it.
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

/// Waits for the picture, and says how long that took.
fn wait_for_picture(chromium: &mut Chromium, tab: &Tab, since: Instant, what: &str) {
    chromium.wait_for(tab, LIVE);
    let shown = chromium.evaluate(tab, "window.ballcast.frames").as_u64().unwrap();
    chromium.wait_for(tab, &format!("{LIVE} && window.ballcast.frames > {shown} + 10"));
    let took = since.elapsed();
    eprintln!("{what}: the picture is back after {took:?}");
    assert!(took < BACK_WITHIN * NOISE, "{what}: {took:?}");
}

/// A page whose answer names another port.
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
fn each_stage_that_fails_is_told_apart_and_named() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let stages = [
        ("udp-blocked", with_port(9), ["127.0.0.1:9", "firewall"]),
        ("dtls", with_answer(".replace(/(a=fingerprint:\\S+ )..:../, '$100:00')"), ["DTLS", "VPN"]),
        (
            "no-picture",
            with_answer(".replace('a=sendonly', 'a=inactive')"),
            ["no picture", "camera"],
        ),
    ];
    let census = Census::begin(server.address);
    let tabs = stages.map(|(stage, script, words)| {
        (open_with(&mut chromium, &script, &server.url()), stage, words)
    });
    for (tab, stage, words) in &tabs {
        chromium.bring_to_front(tab);
        check_stage(&mut chromium, tab, stage, words);
    }
    // They try on and on, and each is one viewer.
    for (tab, _, _) in &tabs[..2] {
        chromium.wait_for(tab, "window.ballcast.connects > 2");
    }
    assert_eq!(census.end(), tabs.len());

    let no_codec = open_with(&mut chromium, WITHOUT_CODECS, &server.url());
    check_stage(&mut chromium, &no_codec, "no-codec", &["H.264", "This browser is Chrome 1"]);
}

#[test]
fn a_full_server_says_so_and_has_room_when_somebody_leaves() {
    let server = Server::start(&["--max-viewers", "1"]);
    let mut chromium = Chromium::start();
    let first = chromium.open(&server.url());
    chromium.wait_for(&first, LIVE);
    let second = chromium.open(&server.url());
    check_stage(&mut chromium, &second, "refused", &["All places (1) are taken"]);
    chromium.close(&first);
    wait_for_picture(&mut chromium, &second, Instant::now(), "somebody left");
}

#[test]
fn a_server_that_ends_or_dies_is_missed_and_found_again() {
    let mut chromium = Chromium::start();
    for (signal, what) in [(Signal::TERM, "restart"), (Signal::KILL, "crash")] {
        let mut server = Server::start(&[]);
        let port = server.address.port();
        let tab = chromium.open(&server.url());
        chromium.wait_for(&tab, LIVE);
        let census = Census::begin(server.address);
        // At once, and after a while.
        for late in [false, true] {
            server.signal(signal);
            server.wait();
            if late {
                check_stage(
                    &mut chromium,
                    &tab,
                    "unreachable",
                    &["does not answer", "switched on"],
                );
                std::thread::sleep(Duration::from_secs(1));
            }
            server = Server::start_on("127.0.0.1", port, &[]);
            let started = Instant::now();
            server.wait_for("the page is a viewer", |stats| viewers(stats) == 1);
            wait_for_picture(&mut chromium, &tab, started, what);
        }
        assert_eq!(census.end(), 1, "one page is one viewer");
        chromium.close(&tab);
    }
}

#[test]
fn a_gap_in_the_network_heals_or_a_new_connection_follows_it() {
    let server = Server::start(&[]);
    let relay = Relay::start(server.address);
    let mut chromium = Chromium::start();
    let tab = open_with(&mut chromium, &with_port(relay.address.port()), &relay.url());
    chromium.wait_for(&tab, LIVE);
    let census = Census::begin(server.address);
    // Within what a connection survives, and beyond.
    for seconds in [2, 9] {
        relay.cut(true, true);
        check_stage(&mut chromium, &tab, "stopped", &["The picture stopped", "network"]);
        std::thread::sleep(Duration::from_secs(seconds));
        relay.cut(false, false);
        wait_for_picture(&mut chromium, &tab, Instant::now(), &format!("a gap of {seconds} s"));
    }
    // A firewall that comes and goes.
    relay.cut(false, true);
    chromium.wait_for(&tab, "window.ballcast.stage === 'udp-blocked'");
    relay.cut(false, false);
    wait_for_picture(&mut chromium, &tab, Instant::now(), "UDP let through");
    assert_eq!(census.end(), 1, "one page is one viewer");
}

#[test]
fn a_page_that_slept_or_was_in_the_background_comes_back() {
    let mut server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, LIVE);
    let census = Census::begin(server.address);

    chromium.signal(Signal::STOP);
    server.wait_for("the sleeper is forgotten", |stats| viewers(stats) == 0);
    chromium.signal(Signal::CONT);
    let woken = Instant::now();
    server.wait_for("it is a viewer again", |stats| viewers(stats) == 1);
    wait_for_picture(&mut chromium, &tab, woken, "sleep");

    let front = chromium.open_blank();
    chromium.bring_to_front(&front);
    chromium.wait_for(&tab, "document.hidden");
    let connects = chromium.evaluate(&tab, "window.ballcast.connects");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(chromium.evaluate(&tab, "window.ballcast.connects"), connects, "nothing is missed");
    chromium.bring_to_front(&tab);
    wait_for_picture(&mut chromium, &tab, Instant::now(), "background");

    chromium.bring_to_front(&front);
    chromium.set_lifecycle(&tab, "frozen");
    std::thread::sleep(Duration::from_secs(2));
    chromium.set_lifecycle(&tab, "active");
    chromium.bring_to_front(&tab);
    wait_for_picture(&mut chromium, &tab, Instant::now(), "frozen");
    assert_eq!(chromium.evaluate(&tab, "window.ballcast.connects"), connects);
    assert_eq!(census.end(), 1, "one page is one viewer");

    let port = server.address.port();
    chromium.bring_to_front(&front);
    server.signal(Signal::TERM);
    server.wait();
    chromium.wait_for(&tab, "window.ballcast.stage === 'unreachable'");
    let _server = Server::start_on("127.0.0.1", port, &[]);
    chromium.bring_to_front(&tab);
    wait_for_picture(&mut chromium, &tab, Instant::now(), "a restart behind another tab");
}

#[test]
fn a_page_is_one_viewer_however_often_it_is_loaded_or_asks() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, LIVE);
    let census = Census::begin(server.address);
    for n in 0..20 {
        chromium.navigate(&tab, &server.url());
        // At once, and further and further into the connection.
        std::thread::sleep(Duration::from_millis(10 * n));
    }
    chromium.wait_for(&tab, LIVE);
    for n in 0..5 {
        chromium.evaluate(&tab, &format!("location.hash = '{n}'"));
        std::thread::sleep(Duration::from_millis(20 * n));
    }
    chromium.wait_for(&tab, &format!("{LIVE} && window.ballcast.connects > 5"));
    assert_eq!(census.end(), 1, "one page is one viewer");

    // There and back: browsers keep the page as it was, and wake it.
    chromium.navigate(&tab, &format!("{}stats", server.url()));
    server.wait_for("the page has left", |stats| viewers(stats) == 0);
    chromium.evaluate(&tab, "history.back()");
    chromium.wait_for(&tab, "window.ballcast !== undefined");
    wait_for_picture(&mut chromium, &tab, Instant::now(), "back in the history");

    let other = chromium.open(&server.url());
    chromium.wait_for(&other, LIVE);
    assert_eq!(viewers(&server.stats()), 2, "two pages are two");
    chromium.close(&other);
    server.wait_for("one is left", |stats| viewers(stats) == 1);
    chromium.bring_to_front(&tab);
    wait_for_picture(&mut chromium, &tab, Instant::now(), "another tab is closed");
}

/// Safari in Low Power Mode: neither the attribute nor a script starts the video, a person does.
const WITHOUT_AUTOPLAY: &str = "
    new MutationObserver(() => document.querySelector('video')?.removeAttribute('autoplay'))
        .observe(document, { childList: true, subtree: true });
    const { play } = HTMLMediaElement.prototype;
    HTMLMediaElement.prototype.play = function () {
        if (navigator.userActivation.isActive) return play.call(this);
        return Promise.reject(new DOMException('Ask the person.', 'NotAllowedError'));
    };";

#[test]
fn a_browser_that_does_not_start_video_shows_a_large_play_button() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    for by_keyboard in [false, true] {
        let tab = open_with(&mut chromium, WITHOUT_AUTOPLAY, &server.url());
        chromium.wait_for(&tab, "document.querySelector('#play')?.hidden === false");
        let size = "document.querySelector('#play').getBoundingClientRect().width";
        assert!(chromium.evaluate(&tab, size).as_f64() >= Some(88.0), "it is large");
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
        assert_eq!(chromium.evaluate(&tab, "document.querySelector('#play').hidden"), true);
        assert_eq!(chromium.evaluate(&tab, "window.ballcast.connects"), 1);
    }
}

/// Keeps what the page shows to be let in.
const WATCHED: &str = "window.asked = [];
    const ask = window.fetch;
    window.fetch = (path, options) => {
        if (path === '/offer') window.asked.push(options.headers.Authorization ?? null);
        return ask(path, options);
    };";

#[test]
fn the_token_of_the_address_is_sent_and_nobody_guesses_on() {
    let server = Server::start(&["--stamp", "--token", "open+sesame/c"]);
    let mut chromium = Chromium::start();
    let tab = open_with(&mut chromium, WATCHED, &server.url());
    check_stage(&mut chromium, &tab, "refused", &["This server asks for a token", "#token="]);
    for event in [
        "dispatchEvent(new Event('online'))",
        "document.dispatchEvent(new Event('visibilitychange'))",
    ] {
        chromium.evaluate(&tab, event);
    }
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(chromium.evaluate(&tab, "window.asked"), json!([null]), "only a person asks again");
    chromium.click(&tab, "#again");
    chromium.wait_for(&tab, "window.asked.length === 2 && window.ballcast.state === 'failed'");
    // What no header can carry is not sent.
    chromium.evaluate(&tab, "location.hash = '#token=a%0Ab'");
    chromium.wait_for(&tab, "window.asked.length === 3 && window.ballcast.state === 'failed'");
    chromium.evaluate(&tab, "location.hash = '#token=open-sesame'");
    chromium.wait_for(&tab, "window.asked.length === 4 && window.ballcast.state === 'failed'");
    check_stage(&mut chromium, &tab, "refused", &["The token is not this server's"]);
    chromium.evaluate(&tab, "location.hash = '#token=open%2Bsesame/c'");
    chromium.wait_for(&tab, LIVE);
    let asked = chromium.evaluate(&tab, "window.asked");
    let shown = json!([null, null, null, "Bearer open-sesame", "Bearer open+sesame/c"]);
    assert_eq!(asked, shown);
    chromium.wait_for(&tab, "window.ballcast.latencies.length > 0");
    let document = chromium.evaluate(&tab, "document.documentElement.outerHTML + document.title");
    assert!(!document.as_str().unwrap().contains("sesame"), "it is written nowhere");
}

fn focused(chromium: &mut Chromium, tab: &Tab) -> Value {
    chromium.evaluate(tab, "document.activeElement.id")
}

#[test]
fn every_control_is_reached_seen_and_used_with_the_keyboard() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, LIVE);
    let outline = "getComputedStyle(document.activeElement).outlineStyle !== 'none'
        && parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2";
    for id in ["figures-toggle", "full-screen"] {
        chromium.press(&tab, "Tab");
        assert_eq!(focused(&mut chromium, &tab), id);
        assert_eq!(chromium.evaluate(&tab, outline), true, "{id}: the focus is seen");
    }
    chromium.screenshot(&tab, "focus.png");
    let full = "document.fullscreenElement?.id ?? null";
    for (key, element) in [("Enter", json!("page")), ("f", Value::Null), ("f", json!("page"))] {
        chromium.press(&tab, key);
        chromium.wait_for(&tab, &format!("({full}) === {element}"));
    }
    chromium.press(&tab, "f");
    chromium.evaluate(&tab, "document.activeElement.blur()");

    let refused = open_with(&mut chromium, WITHOUT_CODECS, &server.url());
    check_stage(&mut chromium, &refused, "no-codec", &[]);
    chromium.press(&refused, "Tab");
    assert_eq!(focused(&mut chromium, &refused), "again");
    chromium.press(&refused, "Enter");
    chromium.wait_for(&refused, "window.ballcast.connects === 2");
}

/// The least contrast of each text with what is behind it (WCAG 2.2, 1.4.3), on a picture that is black
/// and on one that is white.
const CONTRASTS: &str = "(() => {
    const colour = (text) => {
        const [red, green, blue, alpha = 1] = text.match(/[\\d.]+/g).map(Number);
        return { channels: [red, green, blue], alpha };
    };
    const over = (front, back, alpha) => front.map((c, i) => alpha * c + (1 - alpha) * back[i]);
    const luminance = (channels) => {
        const [red, green, blue] = channels.map((c) => (c / 255 <= 0.04045
            ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const contrast = (element, picture) => {
        const line = [];
        for (let e = element; e; e = e.parentElement) line.unshift(getComputedStyle(e));
        let back = picture;
        for (const style of line) {
            const { channels, alpha } = colour(style.backgroundColor);
            if (style.position === 'absolute') back = alpha < 1 ? picture : back;
            back = over(channels, back, alpha);
        }
        const opacity = line.reduce((product, style) => product * style.opacity, 1);
        const { channels, alpha } = colour(line.at(-1).color);
        const levels = [luminance(over(channels, back, alpha * opacity)), luminance(back)];
        return (Math.max(...levels) + 0.05) / (Math.min(...levels) + 0.05);
    };
    const texts = [...document.querySelectorAll('#status, #next, dt, dd, small, button, .live')];
    return texts.filter((e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
        .map((e) => [e.id || e.className || e.tagName,
            Math.min(contrast(e, [0, 0, 0]), contrast(e, [255, 255, 255]))]);
})()";

fn check_contrasts(chromium: &mut Chromium, tab: &Tab, what: &str, least_texts: usize) {
    let contrasts = chromium.evaluate(tab, CONTRASTS);
    let contrasts = contrasts.as_array().unwrap();
    assert!(contrasts.len() >= least_texts, "{what}: {contrasts:?}");
    let poor = contrasts.iter().filter(|text| text[1].as_f64() < Some(4.5));
    assert_eq!(poor.count(), 0, "{what}: {contrasts:?}");
}

#[test]
fn every_text_stands_out_in_light_and_in_darkness() {
    let server = Server::start(&["--stamp"]);
    let mut chromium = Chromium::start();
    for scheme in ["light", "dark"] {
        let tab = chromium.open_blank();
        chromium.set_colour_scheme(&tab, scheme);
        chromium.navigate(&tab, &server.url());
        chromium.wait_for(&tab, "window.ballcast?.fps > 0");
        check_contrasts(&mut chromium, &tab, &format!("{scheme}, live"), 14);
        chromium.prepare(&tab, WITHOUT_CODECS);
        chromium.navigate(&tab, &server.url());
        check_stage(&mut chromium, &tab, "no-codec", &[]);
        chromium.wait_for(&tab, "document.getAnimations().length === 0");
        check_contrasts(&mut chromium, &tab, &format!("{scheme}, failed"), 10);
    }
}

/// A device that takes its time: the page says that it asks, for as long as it may.
const SLOW: &str = "window.fetch = () => new Promise(() => {});";

#[test]
fn nothing_moves_for_those_who_prefer_that() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    for (preference, moves) in [("no-preference", true), ("reduce", false)] {
        let tab = chromium.open_blank();
        chromium.set_preference(&tab, "prefers-reduced-motion", preference);
        chromium.prepare(&tab, SLOW);
        chromium.navigate(&tab, &server.url());
        chromium.wait_for(&tab, "document.querySelector('#status')?.innerText.length > 0");
        let animations = chromium.evaluate(&tab, "document.getAnimations().length > 0");
        assert_eq!(animations, moves, "{preference}");
    }
}

/// All that a screen reader is given to say.
const HEARD: &str = "
    window.heard = [];
    addEventListener('DOMContentLoaded', () => {
        const status = document.querySelector('[role=status][aria-live=polite]');
        new MutationObserver(() => window.heard.push(status.textContent))
            .observe(status, { childList: true });
    });";

#[test]
fn a_screen_reader_hears_what_matters_once() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = open_with(&mut chromium, HEARD, &server.url());
    chromium.wait_for(&tab, LIVE);
    chromium.wait_for(&tab, "window.ballcast.frames > 30");
    let heard = chromium.evaluate(&tab, "window.heard");
    assert_eq!(heard.as_array().unwrap().last(), Some(&json!("Live")), "{heard}");
    assert!(heard.as_array().unwrap().len() <= 2, "{heard}");
    let unnamed = "[...document.querySelectorAll('button, video')]
        .filter((e) => !e.getAttribute('aria-label') && !e.textContent.trim()).length";
    assert_eq!(chromium.evaluate(&tab, unnamed), 0, "everything has a name");
    server.signal(Signal::TERM);
    chromium
        .wait_for(&tab, "window.ballcast.stage === 'unreachable' && window.ballcast.connects > 2");
    let heard = chromium.evaluate(&tab, "window.heard").as_array().unwrap().clone();
    let fresh = heard.iter().enumerate().all(|(n, said)| !heard[..n].contains(said));
    assert!(fresh && heard.len() <= 4, "retries are not said: {heard:?}");
}
