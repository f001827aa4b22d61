//! The page for everybody: keyboard, screen reader, contrast, reduced motion, forced colours.

use std::fs::File;
use std::io::BufReader;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{check_stage, open_with};
use crate::support::chromium::{Chromium, Tab};
use crate::support::process::Server;
use crate::support::scripts::{LIVE, offer_only};

pub(super) fn focused(chromium: &mut Chromium, tab: &Tab) -> Value {
    chromium.evaluate(tab, "document.activeElement.id")
}

#[test]
fn every_control_can_be_used_with_the_keyboard_and_shows_its_focus() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, LIVE);
    let outline = "getComputedStyle(document.activeElement).outlineStyle !== 'none'
        && parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2";
    for id in ["figures-toggle", "full-screen"] {
        chromium.press(&tab, "Tab");
        assert_eq!(focused(&mut chromium, &tab), id);
        assert_eq!(chromium.evaluate(&tab, outline), true, "{id}: the focus is visible");
    }
    chromium.screenshot(&tab, "focus.png");
    let full = "document.fullscreenElement?.id ?? null";
    for (key, element) in [("Enter", json!("page")), ("f", Value::Null), ("f", json!("page"))] {
        chromium.press(&tab, key);
        chromium.wait_for(&tab, &format!("({full}) === {element}"));
    }
    chromium.press(&tab, "f");
    chromium.evaluate(&tab, "document.activeElement.blur()");

    let refused = open_with(&mut chromium, &offer_only("VP9|AV1"), &server.url());
    check_stage(&mut chromium, &refused, "no-codec", &[]);
    chromium.press(&refused, "Tab");
    assert_eq!(focused(&mut chromium, &refused), "again");
    chromium.press(&refused, "Enter");
    chromium.wait_for(&refused, "window.ballcast.connects === 2");
}

/// The contrast of each text with its background (WCAG 2.2, 1.4.3): the lower one of a black and a
/// white picture behind it.
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
fn every_text_has_enough_contrast_in_both_colour_schemes() {
    let server = Server::start(&["--stamp"]);
    let mut chromium = Chromium::start();
    for scheme in ["light", "dark"] {
        let tab = chromium.open_blank();
        chromium.set_colour_scheme(&tab, scheme);
        chromium.navigate(&tab, &server.url());
        chromium.wait_for(&tab, "window.ballcast?.fps > 0");
        check_contrasts(&mut chromium, &tab, &format!("{scheme}, live"), 14);
        chromium.prepare(&tab, &offer_only("VP9|AV1"));
        chromium.navigate(&tab, &server.url());
        check_stage(&mut chromium, &tab, "no-codec", &[]);
        chromium.wait_for(&tab, "document.getAnimations().length === 0");
        check_contrasts(&mut chromium, &tab, &format!("{scheme}, failed"), 10);
    }
}

/// A page script with which the device never answers, so that the page stays in its first state.
const NO_ANSWER: &str = "window.fetch = () => new Promise(() => {});";

#[test]
fn there_are_no_animations_with_prefers_reduced_motion() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    for (preference, moves) in [("no-preference", true), ("reduce", false)] {
        let tab = chromium.open_blank();
        chromium.set_preference(&tab, "prefers-reduced-motion", preference);
        chromium.prepare(&tab, NO_ANSWER);
        chromium.navigate(&tab, &server.url());
        chromium.wait_for(&tab, "document.querySelector('#status')?.innerText.length > 0");
        let animations = chromium.evaluate(&tab, "document.getAnimations().length > 0");
        assert_eq!(animations, moves, "{preference}");
    }
}

/// Records all texts that a screen reader announces.
const RECORD_ANNOUNCEMENTS: &str = "
    window.announcements = [];
    addEventListener('DOMContentLoaded', () => {
        const status = document.querySelector('[role=status][aria-live=polite]');
        new MutationObserver(() => window.announcements.push(status.textContent))
            .observe(status, { childList: true });
    });";

#[test]
fn a_screen_reader_announces_each_state_once() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = open_with(&mut chromium, RECORD_ANNOUNCEMENTS, &server.url());
    chromium.wait_for(&tab, LIVE);
    chromium.wait_for(&tab, "window.ballcast.frames > 30");
    let announced = chromium.evaluate(&tab, "window.announcements");
    assert_eq!(announced.as_array().unwrap().last(), Some(&json!("Live")), "{announced}");
    assert!(announced.as_array().unwrap().len() <= 2, "{announced}");
    let without_label = "[...document.querySelectorAll('button, video')]
        .filter((e) => !e.getAttribute('aria-label') && !e.textContent.trim()).length";
    assert_eq!(chromium.evaluate(&tab, without_label), 0, "every control has a label");
    server.signal(Signal::TERM);
    chromium
        .wait_for(&tab, "window.ballcast.stage === 'unreachable' && window.ballcast.connects > 2");
    let announced = chromium.evaluate(&tab, "window.announcements").as_array().unwrap().clone();
    let distinct = announced.iter().enumerate().all(|(n, text)| !announced[..n].contains(text));
    assert!(distinct && announced.len() <= 4, "retries are not announced: {announced:?}");
}

/// The colours of a row of pixels of a screenshot, from `x` on.
fn row(screenshot: &std::path::Path, x: usize, y: usize, count: usize) -> Vec<Vec<u8>> {
    let decoder = png::Decoder::new(BufReader::new(File::open(screenshot).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let bytes = info.color_type.samples();
    let start = y * info.line_size + x * bytes;
    pixels[start..start + count * bytes].chunks_exact(bytes).map(<[u8]>::to_vec).collect()
}

/// Browsers replace all colours then, and leave backgrounds out.
#[test]
fn the_dot_beside_live_is_seen_with_forced_colours() {
    let server = Server::start(&[]);
    let mut chromium = Chromium::start();
    let tab = chromium.open_blank();
    chromium.set_preference(&tab, "forced-colors", "active");
    chromium.navigate(&tab, &server.url());
    chromium.wait_for(&tab, LIVE);
    assert_eq!(chromium.evaluate(&tab, "matchMedia('(forced-colors: active)').matches"), true);
    let place =
        "(() => { const { x, y, height } = document.querySelector('.live').getBoundingClientRect();
        return [Math.round(x), Math.round(y + height / 2)]; })()";
    let place = chromium.evaluate(&tab, place);
    let [x, y] = [0, 1].map(|at| place[at].as_u64().unwrap() as usize);
    let shot = chromium.screenshot(&tab, "forced-colours.png");
    // The padding, and then the dot.
    let colours = row(&shot, x + 4, y, 16);
    assert!(colours.iter().any(|colour| *colour != colours[0]), "{colours:?}");
}
