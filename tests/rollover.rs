//! A stream whose sequence numbers roll over, with real SRTP in real Chromium: the receiver has to
//! count the roll-overs (RFC 3711, section 3.3.1), and the picture goes on.
//!
//! Each frame is the ball's with filler data behind it (ITU-T H.264, 7.3.2.7), so that all 16 bits
//! of numbers are used up within seconds.

mod support;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ballcast::driver::{Driver, Endpoints};
use ballcast::media::{Codec, Frame, Size};
use ballcast::server::admission::Limits;
use ballcast::server::{Config, Server};
use ballcast::source::encode::Quality;
use ballcast::source::{BallSource, Source};
use ballcast::web::cors::AccessPolicy;
use support::chromium::Chromium;
use support::process::try_stats;
use support::scripts::{DISCS, LIVE, follow};

const FRAMES_PER_SECOND: u32 = 30;
/// Some 170 packets.
const FILLER_BYTES: usize = 190_000;
/// More than there are sequence numbers.
const PACKETS: u64 = 1 << 16;

struct Filled(BallSource);

impl Source for Filled {
    fn capture(&mut self, now: Instant, wall: SystemTime) -> io::Result<()> {
        self.0.capture(now, wall)
    }

    fn encode(&mut self, codec: Codec) -> io::Result<Frame> {
        const FILLER: [u8; 5] = [0, 0, 0, 1, 0x0c];
        const STOP: u8 = 0x80;
        let frame = self.0.encode(codec)?;
        let filler = [&FILLER[..], &vec![0xff; FILLER_BYTES], &[STOP]].concat();
        Ok(Frame::h264([frame.data(), &filler].concat(), frame.captured))
    }

    fn force_keyframe(&mut self, codec: Codec) {
        self.0.force_keyframe(codec);
    }
}

fn config(addresses: Vec<std::net::SocketAddr>, wall_clock: SystemTime) -> Config {
    let crypto = str0m::crypto::from_feature_flags();
    let certificate = crypto.dtls_provider.generate_certificate().unwrap();
    let mut entropy = [0; 32];
    fastrand::fill(&mut entropy);
    Config {
        entropy,
        crypto: Arc::new(crypto),
        certificate,
        addresses,
        access: AccessPolicy::default(),
        token: None,
        limits: Limits::default(),
        frames_per_second: FRAMES_PER_SECOND,
        bitrate: Some(FRAMES_PER_SECOND * FILLER_BYTES as u32 * 8),
        stamped: false,
        wall_clock,
    }
}

#[test]
fn the_picture_goes_on_when_sequence_numbers_roll_over() {
    let endpoints = Endpoints::bind(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], 0).unwrap();
    let address = endpoints.addresses()[0];
    // It ends with the process.
    std::thread::spawn(move || {
        let size = Size { width: 640, height: 480 };
        let ball = BallSource::new(size, FRAMES_PER_SECOND, Quality::Constant, false);
        let make_server = |addresses, now, wall| Server::new(config(addresses, wall), now);
        Driver::new(endpoints, make_server, Filled(ball)).unwrap().run().unwrap();
    });
    let mut chromium = Chromium::start();
    let tab = chromium.open(&format!("http://{address}/"));
    chromium.wait_for(&tab, LIVE);
    let end = Instant::now() + Duration::from_secs(60);
    let sent = || {
        let stats = try_stats(address).unwrap();
        assert_eq!(stats["viewers_served"], 1, "no reconnection");
        stats["viewers"][0]["packets_sent"].as_u64().unwrap()
    };
    while sent() <= PACKETS {
        assert!(Instant::now() < end, "{} packets in a minute", sent());
        std::thread::sleep(Duration::from_millis(100));
    }
    let before = sent();
    follow(&chromium.evaluate(&tab, DISCS));
    println!("{before} packets before, {} packets after 60 more frames", sent());
}
