//! Real networks: Ballcast in one network namespace, Chromium in another, and a router between
//! them that loses packets, has a small MTU or a low rate, or is cut off.
//!
//! ```text
//!  ballcast ── 10.77.1.0/24, fd77:1::/64 ── router ── 10.77.2.0/24, fd77:2::/64 ── Chromium
//! ```
//!
//! Run by name: `cargo test --test machine -- net`, or `… -- net loss` for the tests whose name
//! contains a word. It needs root, or a `sudo` that asks for no password.

mod floods;
mod https;
mod namespaces;
mod rates;
mod relayed;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::chromium::{Chromium, Tab};
use crate::support::process::{Server, binary, try_stats};
use crate::support::scripts::{DISCS, LIVE, follow};
use namespaces::Network;

/// Set for the program that runs inside the browser's namespace, to the name of the network.
const INSIDE: &str = "BALLCAST_TEST_NETWORK";

/// Its name and itself.
type Test = (&'static str, fn(&Network));

const TESTS: [Test; 14] = [
    ("the_ball_is_shown_across_a_router", plays),
    ("loss_is_repaired_before_it_is_seen", loss),
    ("a_link_that_was_down_brings_the_picture_back", link_down),
    ("a_small_mtu_without_icmp_plays", small_mtu),
    ("ipv6_alone_plays", ipv6),
    ("the_page_says_that_udp_is_blocked", udp_blocked),
    ("https_pages_show_what_is_said_of_them", https::pages),
    ("a_browser_that_changes_its_address_has_its_picture_back", browser_moves),
    ("a_server_whose_address_changes_goes_on_with_the_same_viewers", server_moves),
    ("an_address_that_comes_is_served_and_what_was_bound_stays", bind),
    ("latency_is_as_before_a_second_after_the_queue_was_full", rates::slow_link),
    ("a_source_behind_a_slow_link_loses_no_picture", relayed::slow_link),
    ("a_flood_of_datagrams_does_not_stop_the_picture", floods::datagrams),
    ("a_flood_of_requests_does_not_stop_the_picture", floods::requests),
];

pub fn run(words: &[String]) -> ExitCode {
    let this = std::env::current_exe().unwrap();
    match std::env::var(INSIDE) {
        Ok(name) => run_inside(&Network::named(&name), words),
        Err(_) if !rustix::process::geteuid().is_root() => {
            let mut root = Command::new("sudo");
            exit_code(root.args(["-n", "-E"]).arg(this).arg("net").args(words))
        }
        Err(_) => {
            let network = Network::create();
            let mut inside = network.command(namespaces::BROWSER, this);
            exit_code(inside.arg("net").args(words).env(INSIDE, network.name()))
        }
    }
}

fn exit_code(command: &mut Command) -> ExitCode {
    let succeeds = command.status().unwrap().success();
    if succeeds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_inside(network: &Network, words: &[String]) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS {
        if !words.is_empty() && !words.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        println!("test {name} ...");
        let started = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| test(network)));
        network.restore();
        let seconds = started.elapsed().as_secs_f32();
        println!("test {name} ... {} ({seconds:.0} s)", if done.is_ok() { "ok" } else { "FAILED" });
        *(if done.is_ok() { &mut passed } else { &mut failed }) += 1;
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start_server(network: &Network, bind: &str, flags: &[&str]) -> Server {
    let command: Command = network.command(namespaces::SERVER, binary());
    Server::start_command(command, bind, 0, flags)
}

fn open_live(server: &Server, chromium: &mut Chromium) -> Tab {
    let tab = chromium.open(&server.url());
    chromium.wait_for(&tab, LIVE);
    tab
}

/// What the browser presents in `seconds`: frames a second, and the longest freeze in seconds.
fn watch(chromium: &mut Chromium, tab: &Tab, seconds: u64) -> (f64, f64) {
    let begin = "(() => {
        const video = document.querySelector('video');
        const seen = window.seen = { longest: 0 };
        const count = (now, frame) => {
            const { last } = seen;
            if (last) seen.longest = Math.max(seen.longest, frame.presentationTime - last.presentationTime);
            seen.first ??= frame;
            seen.last = frame;
            if (seen === window.seen) video.requestVideoFrameCallback(count);
        };
        video.requestVideoFrameCallback(count);
    })()";
    chromium.evaluate(tab, begin);
    sleep(Duration::from_secs(seconds));
    let end = "(() => {
        const { first, last, longest } = window.seen;
        window.seen = null;
        const seconds = (last.presentationTime - first.presentationTime) / 1000;
        return [(last.presentedFrames - first.presentedFrames) / seconds, longest / 1000];
    })()";
    let measured = chromium.evaluate(tab, end);
    (measured[0].as_f64().unwrap(), measured[1].as_f64().unwrap())
}

/// The time until the page presents the second frame from now on; the first may be an old one.
fn until_next_frame(chromium: &mut Chromium, tab: &Tab) -> Duration {
    let started = Instant::now();
    let next = "new Promise((resolve) => {
        const video = document.querySelector('video');
        video.requestVideoFrameCallback(() => video.requestVideoFrameCallback(() => resolve(true)));
    })";
    chromium.evaluate(tab, next);
    started.elapsed()
}

fn plays(network: &Network) {
    let server = start_server(network, namespaces::SERVER_IPV4, &[]);
    let mut chromium = Chromium::start();
    let tab = open_live(&server, &mut chromium);
    follow(&chromium.evaluate(&tab, DISCS));
    // One end of a pair is all that the server has of a network.
    let log = server.log_so_far().join("\n");
    assert!(log.contains("looks like a container"), "{log}");
}

fn loss(network: &Network) {
    // Percent, frames a second at least, and the longest freeze in seconds at most: twice what is
    // measured and more, as a busy machine has freezes of its own.
    for (percent, least, longest) in
        [(1, 29.0, 0.4), (5, 28.5, 0.5), (10, 27.0, 0.8), (20, 24.0, 1.5)]
    {
        let server = start_server(network, namespaces::SERVER_IPV4, &[]);
        let mut chromium = Chromium::start();
        let tab = open_live(&server, &mut chromium);
        network.lose(percent);
        // The first report that tells of the loss.
        sleep(Duration::from_secs(3));
        let (rate, freeze) = watch(&mut chromium, &tab, 30);
        network.remove_filters();
        let stats = server.stats();
        println!("{percent} % lost: {rate:.1} frames/s, longest freeze {freeze:.3} s");
        assert!(rate >= least, "{percent} %: {rate:.1} frames/s");
        assert!(freeze <= longest, "{percent} %: a freeze of {freeze:.3} s");
        assert_eq!(stats["viewers_served"], 1, "no reconnection");
    }
}

fn link_down(network: &Network) {
    for seconds in [1, 4, 20] {
        let server = start_server(network, namespaces::SERVER_IPV4, &[]);
        let mut chromium = Chromium::start();
        let tab = open_live(&server, &mut chromium);
        sleep(Duration::from_secs(2));
        network.cut_off();
        sleep(Duration::from_secs(seconds));
        network.remove_filters();
        let back = until_next_frame(&mut chromium, &tab);
        println!("after {seconds} s: back within {:.2} s", back.as_secs_f32());
        let served = server.stats()["viewers_served"].as_u64().unwrap();
        // After 20 s a new connection is made, and Chromium's TCP waits for its next try.
        let limit = if seconds < 5 { 2.0 } else { 5.0 };
        assert!(back.as_secs_f32() <= limit, "after {seconds} s: {back:?}");
        assert!(seconds > 5 || served == 1, "after {seconds} s: the same connection");
    }
}

fn small_mtu(network: &Network) {
    for mtu in [1_280, 576] {
        network.set_mtu(mtu);
        network.block_icmp();
        let server = start_server(network, namespaces::SERVER_IPV4, &["--size", "1280x720"]);
        let mut chromium = Chromium::start();
        let tab = open_live(&server, &mut chromium);
        let (rate, _) = watch(&mut chromium, &tab, 3);
        println!("MTU {mtu}: {rate:.1} frames/s");
        assert!(rate >= 28.0, "MTU {mtu}: {rate:.1} frames/s");
        network.restore();
    }
}

fn ipv6(network: &Network) {
    let server = start_server(network, namespaces::SERVER_IPV6, &[]);
    let mut chromium = Chromium::start();
    let tab = open_live(&server, &mut chromium);
    follow(&chromium.evaluate(&tab, DISCS));
    let stats = server.stats();
    let address = stats["viewers"][0]["address"].as_str().unwrap().to_owned();
    assert!(address.starts_with("[fd77:2::"), "{address}");
}

fn udp_blocked(network: &Network) {
    let server = start_server(network, namespaces::SERVER_IPV4, &[]);
    let mut chromium = Chromium::start();
    network.block_udp();
    let tab = chromium.open(&server.url());
    let asked = Instant::now();
    chromium.wait_for(&tab, "window.ballcast?.stage === 'udp-blocked'");
    println!("said after {:?}", asked.elapsed());
    assert!(asked.elapsed() <= Duration::from_secs(10), "{:?}", asked.elapsed());
}

fn browser_moves(network: &Network) {
    let server = start_server(network, namespaces::SERVER_IPV4, &[]);
    let mut chromium = Chromium::start();
    let tab = open_live(&server, &mut chromium);
    network.move_browser();
    let moved = Instant::now();
    // A frame may still be under way.
    sleep(Duration::from_millis(100));
    let back = until_next_frame(&mut chromium, &tab);
    println!("back within {:.2} s", moved.elapsed().as_secs_f32());
    assert!(moved.elapsed() <= Duration::from_secs(6), "{back:?}");
}

/// As when a DHCP server hands out another address.
fn server_moves(network: &Network) {
    let server = start_server(network, "0.0.0.0", &[]);
    let mut chromium = Chromium::start();
    let tab = open_live(&server, &mut chromium);
    sleep(Duration::from_secs(1));
    let moved = Instant::now();
    network.move_server();
    // A frame may still be under way.
    sleep(Duration::from_millis(50));
    until_next_frame(&mut chromium, &tab);
    println!("back within {:.2} s", moved.elapsed().as_secs_f32());
    assert!(moved.elapsed() <= Duration::from_secs(4), "{:?}", moved.elapsed());
    let address = namespaces::MOVED_SERVER_IPV4.parse().unwrap();
    let stats = try_stats(SocketAddr::new(address, server.address.port())).unwrap();
    assert_eq!(stats["viewers_served"], 1, "the same connection");
}

fn bind(network: &Network) {
    let server = start_server(network, "0.0.0.0", &["--bind", namespaces::VIRTUAL_IPV4]);
    let port = server.address.port();
    let listens = |address: &str| network.listeners(port).contains(&format!("{address}:{port} "));
    let end = Instant::now() + Duration::from_secs(5);
    let wait_for = |address: &str, wanted: bool| {
        while listens(address) != wanted {
            assert!(Instant::now() < end, "{address} {wanted}: {}", network.listeners(port));
            sleep(Duration::from_millis(50));
        }
    };
    for address in [namespaces::SERVER_IPV4, namespaces::VIRTUAL_IPV4] {
        assert!(listens(address), "{address}");
    }
    network.add_server_address("10.77.1.9");
    wait_for("10.77.1.9", true);
    network.remove_server_address("10.77.1.9");
    wait_for("10.77.1.9", false);
    for address in [namespaces::SERVER_IPV4, namespaces::VIRTUAL_IPV4] {
        assert!(listens(address), "what was bound stays bound: {}", network.listeners(port));
    }
    assert!(!network.listeners(port).contains('['), "IPv6 was not asked for");
}
