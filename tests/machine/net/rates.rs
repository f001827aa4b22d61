//! A link of 1 Mbit/s whose queue holds 300 ms, between router and browser.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use super::namespaces::{BROWSER_IPV4, Network, SERVER, SERVER_IPV4};
use super::{open_live, start_server, watch};
use crate::support::chromium::{Chromium, Tab};

const LINK_KBIT: u32 = 1_000;
/// Less than the ball takes: the picture may stop for so long that the page makes a new connection.
const LOW_KBIT: u32 = 50;
const CROSS_BYTES: usize = 1_200;
/// 20 % more than the link takes.
const CROSS_EVERY: Duration = Duration::from_millis(8);

pub fn slow_link(network: &Network) {
    let server = start_server(network, SERVER_IPV4, &["--stamp"]);
    let mut chromium = Chromium::start();
    network.set_rate(LINK_KBIT);
    let tab = open_live(&server, &mut chromium);
    sleep(Duration::from_secs(1));
    let seen = latencies(&mut chromium, &tab).len();
    let (rate, freeze) = watch(&mut chromium, &tab, 6);
    let usual = Spread::of(&latencies(&mut chromium, &tab)[seen..]);
    println!("1 Mbit/s: {rate:.1} frames/s, longest freeze {freeze:.3} s, latency {usual}");
    assert!(rate >= 28.0, "{rate:.1} frames/s");

    let full = fill_with_cross_traffic(network, &mut chromium, &tab);
    check_recovery("other traffic", &full, &usual, &mut chromium, &tab);
    assert!(full.median >= 100.0, "the queue was full: {full}");
    assert_eq!(server.stats()["viewers_served"], 1, "no reconnection");

    network.set_rate(LOW_KBIT);
    let full = latencies_within(&mut chromium, &tab, 3);
    network.set_rate(LINK_KBIT);
    check_recovery("a lower rate", &full, &usual, &mut chromium, &tab);
    println!("{} connections in all", server.stats()["viewers_served"]);
}

fn fill_with_cross_traffic(network: &Network, chromium: &mut Chromium, tab: &Tab) -> Spread {
    let socket = network.udp_socket(SERVER);
    let stop = AtomicBool::new(false);
    scope(|threads| {
        threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = socket.send_to(&[0; CROSS_BYTES], (BROWSER_IPV4, 9));
                sleep(CROSS_EVERY);
            }
        });
        sleep(Duration::from_secs(2));
        let full = latencies_within(chromium, tab, 3);
        stop.store(true, Ordering::Relaxed);
        full
    })
}

/// One second after the link has its rate for itself again.
fn check_recovery(what: &str, full: &Spread, usual: &Spread, chromium: &mut Chromium, tab: &Tab) {
    sleep(Duration::from_secs(1));
    let after = latencies_within(chromium, tab, 3);
    println!("a queue that is full of {what}: latency {full}; a second later {after}");
    assert!(after.count >= 6, "{what}: the picture is back: {after}");
    assert!(after.median <= usual.median + 30.0, "{what}: {after}, before {usual}");
}

/// From capture to presentation in ms, of every fifth frame that was presented so far.
fn latencies(chromium: &mut Chromium, tab: &Tab) -> Vec<f64> {
    let all = chromium.evaluate(tab, "window.ballcast.latencies");
    all.as_array().unwrap().iter().map(|ms| ms.as_f64().unwrap()).collect()
}

fn latencies_within(chromium: &mut Chromium, tab: &Tab, seconds: u64) -> Spread {
    let seen = latencies(chromium, tab).len();
    sleep(Duration::from_secs(seconds));
    Spread::of(&latencies(chromium, tab)[seen..])
}

struct Spread {
    count: usize,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Spread {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let count = sorted.len();
        Spread { count, median: at(count / 2), most: at(count.saturating_sub(1)) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Spread { count, median, most } = self;
        write!(f, "p50 {median:.0}, most {most:.0} ms of {count}")
    }
}
