//! A server in this process whose frames are the ball's with filler data behind them (ITU-T H.264,
//! 7.3.2.7), so that all 16 bits of sequence numbers are used up within seconds.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ballcast::testing::driver::encode::codec::Quality;
use ballcast::testing::driver::encode::{EncodePictures, Encoded, PictureEncoder, PictureError};
use ballcast::testing::driver::{Driver, Endpoints};
use ballcast::testing::media::{
    AccessUnit, Appearance, Codec, Frame, Size, SnapshotError, SourcePicture,
};
use ballcast::testing::server::limits::admission::Limits;
use ballcast::testing::server::{Config, Server};
use ballcast::testing::web::access::AccessPolicy;
use bytes::Bytes;

struct Filled {
    ball: PictureEncoder,
    filler_bytes: usize,
}

impl EncodePictures for Filled {
    fn renewed(&self) -> Filled {
        Filled { ball: self.ball.renewed(), filler_bytes: self.filler_bytes }
    }

    fn capture(&mut self, now: Instant, wall: SystemTime) -> io::Result<()> {
        self.ball.capture(now, wall)
    }

    fn show(&mut self, picture: SourcePicture, captured: Instant) {
        self.ball.show(picture, captured);
    }

    fn encode(&mut self, codec: Codec) -> Result<Encoded, PictureError> {
        const FILLER: [u8; 5] = [0, 0, 0, 1, 0x0c];
        const STOP: u8 = 0x80;
        let frame = self.ball.encode(codec)?.frame().expect("it is encoded by software");
        let filler = [&FILLER[..], &vec![0xff; self.filler_bytes], &[STOP]].concat();
        let stream = [frame.data(), &filler].concat();
        let unit = AccessUnit::parse(&stream);
        Ok(Encoded::Frame(Frame::h264(unit, frame.captured)))
    }

    fn snapshot(&mut self, width: Option<usize>) -> Result<Bytes, SnapshotError> {
        self.ball.snapshot(width)
    }

    fn force_keyframe(&mut self, codec: Codec) {
        self.ball.force_keyframe(codec);
    }
}

/// Starts a server that ends with the process, and returns its address.
pub fn start(ip: IpAddr, frames_per_second: u32, filler_bytes: usize) -> SocketAddr {
    let endpoints = Endpoints::bind(&[ip], 0).unwrap();
    let address = endpoints.addresses()[0];
    std::thread::spawn(move || {
        let size = Size { width: 640, height: 480 };
        let ball = PictureEncoder::new(size, frames_per_second, Quality::Constant, false);
        let bitrate = frames_per_second * filler_bytes as u32 * 8;
        let make_server = |addresses, now, wall| {
            Server::new(config(addresses, wall, frames_per_second, bitrate), now)
        };
        let source = Filled { ball, filler_bytes };
        Driver::new(endpoints, make_server, source).unwrap().run().unwrap();
    });
    address
}

fn config(
    addresses: Vec<SocketAddr>,
    wall_clock: SystemTime,
    frames_per_second: u32,
    bitrate: u32,
) -> Config {
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
        announced: Vec::new(),
        targets: Vec::new(),
        stale_sessions: BTreeMap::new(),
        token: None,
        limits: Limits::default(),
        frames_per_second,
        bitrate: Some(bitrate),
        source: None,
        appearance: Appearance::default(),
        when_watched: false,
        stamped: false,
        title: None,
        wall_clock,
    }
}
