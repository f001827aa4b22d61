//! The real driver and core with video of 2 Mbit/s, which the built-in source cannot produce: each
//! frame is 8,300 bytes of filler that contain the frame's number.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ballcast::testing::cli::{self, CliCommand, Environment};
use ballcast::testing::driver::encode::{EncodePictures, Encoded, PictureError};
use ballcast::testing::driver::{Driver, Endpoints};
use ballcast::testing::media::{
    AccessUnit, Appearance, Codec, Frame, SnapshotError, SourcePicture,
};
use ballcast::testing::server::{Config, Server};
use ballcast::testing::web::access::AccessPolicy;
use bytes::Bytes;

/// The first argument with which this executable is that server. The others are ballcast's flags.
pub const ARGUMENT: &str = "--serve-large";
/// At 30 frames a second.
const BITRATE: u32 = 2_000_000;
const FRAME_BYTES: usize = 8_300;

const SPS_AND_PPS: &[u8] =
    &[0, 0, 0, 1, 0x67, 0x42, 0xe0, 0x1f, 0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80];
const IDR: &[u8] = &[0, 0, 0, 1, 0x65];
const DELTA: &[u8] = &[0, 0, 0, 1, 0x41];

/// Serves until a signal ends it, as the program does.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let flags = match cli::parse(arguments.iter().map(Into::into), Environment::default()) {
        Ok(CliCommand::Serve(flags)) => flags,
        other => return Err(format!("{other:?}")),
    };
    let endpoints = Endpoints::bind(&flags.bind, flags.port).map_err(|error| error.to_string())?;
    let addresses = endpoints.addresses();
    let crypto = Arc::new(str0m::crypto::from_feature_flags());
    let certificate = crypto.dtls_provider.generate_certificate();
    let certificate = certificate.ok_or("no certificate")?;
    let make_server = |addresses, now, wall_clock| {
        let mut entropy = [0; 32];
        fastrand::fill(&mut entropy);
        let config = Config {
            entropy,
            crypto,
            certificate,
            addresses,
            access: AccessPolicy::default(),
            announced: Vec::new(),
            targets: Vec::new(),
            stale_sessions: BTreeMap::new(),
            token: None,
            limits: flags.limits(),
            frames_per_second: flags.frames_per_second,
            bitrate: Some(BITRATE),
            source: None,
            appearance: Appearance::default(),
            when_watched: false,
            stamped: false,
            title: None,
            wall_clock,
        };
        Server::new(config, now)
    };
    let source = FixedSizeSource::default();
    let mut driver =
        Driver::new(endpoints, make_server, source).map_err(|error| error.to_string())?;
    println!("http://{}/", addresses[0]);
    io::stdout().flush().map_err(|error| error.to_string())?;
    driver.run().map_err(|error| error.to_string())
}

/// A source of frames of one size, each different from the others.
#[derive(Default)]
pub struct FixedSizeSource {
    number: u32,
    keyframe_wanted: bool,
    captured: Option<Instant>,
}

impl FixedSizeSource {
    /// The next frame as it would come from an encoder.
    pub fn frame(&mut self, keyframe: bool, now: Instant) -> Frame {
        self.number += 1;
        let start = if keyframe { [SPS_AND_PPS, IDR].concat() } else { DELTA.to_vec() };
        let mut data = start;
        data.resize(FRAME_BYTES, 0xa5);
        // The number is in each part of a frame that becomes a packet, without a start code.
        for chunk in data.chunks_mut(256).skip(1) {
            let digits = self.number.to_be_bytes();
            for (byte, digit) in chunk.iter_mut().zip(digits.iter().flat_map(|d| [d >> 4, d & 15]))
            {
                *byte = 0xb0 | digit;
            }
        }
        Frame::h264(AccessUnit::parse(&data), now)
    }
}

impl EncodePictures for FixedSizeSource {
    fn renewed(&self) -> FixedSizeSource {
        FixedSizeSource { number: self.number, ..FixedSizeSource::default() }
    }

    fn capture(&mut self, now: Instant, _: SystemTime) -> io::Result<()> {
        self.captured = Some(now);
        Ok(())
    }

    fn show(&mut self, _: SourcePicture, _: Instant) {}

    fn encode(&mut self, codec: Codec) -> Result<Encoded, PictureError> {
        assert_eq!(codec, Codec::H264, "the load generator offers nothing else");
        let keyframe = std::mem::take(&mut self.keyframe_wanted);
        let captured = self.captured.expect("a capture comes before its frames");
        Ok(Encoded::Frame(self.frame(keyframe, captured)))
    }

    fn snapshot(&mut self, _: Option<usize>) -> Result<Bytes, SnapshotError> {
        Err(SnapshotError::NoPictures)
    }

    fn force_keyframe(&mut self, _: Codec) {
        self.keyframe_wanted = true;
    }
}
