//! A stream whose sequence numbers roll over, with real SRTP in real Chromium: the receiver has to
//! count the roll-overs (RFC 3711, section 3.3.1), and the picture goes on.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::support::chromium::Chromium;
use crate::support::filled;
use crate::support::process::try_stats;
use crate::support::scripts::{DISCS, LIVE, follow};

const FRAMES_PER_SECOND: u32 = 30;
/// Some 170 packets.
const FILLER_BYTES: usize = 190_000;
/// More than there are sequence numbers.
const PACKETS: u64 = 1 << 16;

#[test]
fn the_picture_goes_on_when_sequence_numbers_roll_over_and_a_late_viewer_begins_at_zero() {
    let address = filled::start(Ipv4Addr::LOCALHOST.into(), FRAMES_PER_SECOND, FILLER_BYTES);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&format!("http://{address}/"));
    chromium.wait_for(&tab, LIVE);
    let end = Instant::now() + Duration::from_secs(60);
    let sent = |viewer: usize| {
        let stats = try_stats(address).unwrap();
        assert_eq!(stats["viewers_served"], viewer + 1, "no reconnection");
        stats["viewers"][viewer]["packets_sent"].as_u64().unwrap()
    };
    while sent(0) <= PACKETS {
        assert!(Instant::now() < end, "{} packets in a minute", sent(0));
        std::thread::sleep(Duration::from_millis(100));
    }
    let before = sent(0);
    follow(&chromium.evaluate(&tab, DISCS));
    println!("{before} packets before, {} packets after 60 more frames", sent(0));

    let late = chromium.open(&format!("http://{address}/"));
    chromium.wait_for(&late, LIVE);
    follow(&chromium.evaluate(&late, DISCS));
    println!("{} packets to the late viewer", sent(1));
    assert!(
        sent(1) < PACKETS / 2,
        "its own numbers begin in the lower half, and have not rolled over"
    );
    chromium.bring_to_front(&tab);
    follow(&chromium.evaluate(&tab, DISCS));
}
