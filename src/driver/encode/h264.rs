//! H.264 with openh264.

use std::io;
use std::time::Instant;

use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, EncodedBitStream, EncoderConfig, FrameRate, IntraFramePeriod, Profile,
    QpRange, RateControlMode, SpsPpsStrategy, UsageType, VuiConfig,
};
use openh264::formats::YUVSource;
use openh264_sys2::{
    ENCODER_OPTION, ENCODER_OPTION_FRAME_RATE, ENCODER_OPTION_TRACE_LEVEL, WELS_LOG_QUIET,
};

use super::codec::{Encode, Quality};
use crate::media::{AccessUnit, Frame, Picture};

/// The finest quantiser that openh264 uses for real-time video. At 12, the ball's flat colours take little more
/// (183 bytes a frame) than at 26 (71), and are at most 5 steps off instead of 23. Without rate control, the
/// quantiser is fixed at 26, so rate control is always on.
const FINEST_QUANTISER: u8 = 12;
const COARSEST_QUANTISER: u8 = 51;
/// The bitrate that determines the level of a stream of constant quality: level 3 at 640×480.
const NOMINAL_BITRATE: u32 = 2_000_000;
/// Key frames are made on request only.
const NO_PERIODIC_KEYFRAMES: u32 = 0;

/// An encoder of H.264, constrained baseline.
pub struct H264Encoder {
    openh264: openh264::encoder::Encoder,
}

impl H264Encoder {
    /// An encoder for pictures of one size, up to 3840×2160 or 2160×3840.
    pub fn new(frames_per_second: u32, quality: Quality) -> io::Result<H264Encoder> {
        let config = EncoderConfig::new()
            .profile(Profile::Baseline)
            .usage_type(UsageType::CameraVideoRealTime)
            .complexity(Complexity::Low)
            .num_threads(1)
            .skip_frames(false)
            .scene_change_detect(false)
            .adaptive_quantization(false)
            .background_detection(false)
            .sps_pps_strategy(SpsPpsStrategy::ConstantId)
            .intra_frame_period(IntraFramePeriod::from_num_frames(NO_PERIODIC_KEYFRAMES))
            .max_frame_rate(FrameRate::from_hz(frames_per_second as f32))
            .vui(VuiConfig::bt601())
            .rate_control_mode(RateControlMode::Bitrate);
        let config = match quality {
            Quality::Constant => config
                .qp(QpRange::new(FINEST_QUANTISER, FINEST_QUANTISER))
                .bitrate(BitRate::from_bps(NOMINAL_BITRATE)),
            Quality::Bitrate(bits_per_second) => config
                .qp(QpRange::new(FINEST_QUANTISER, COARSEST_QUANTISER))
                .bitrate(BitRate::from_bps(bits_per_second)),
        };
        let api = OpenH264API::from_source();
        let openh264 = openh264::encoder::Encoder::with_api_config(api, config);
        let mut openh264 = openh264.map_err(io::Error::other)?;
        // The crate sets the trace level only after the initialisation, at which openh264 warns on standard error that
        // it may exceed the bitrate.
        set_option(&mut openh264, ENCODER_OPTION_TRACE_LEVEL, WELS_LOG_QUIET as u32)?;
        Ok(H264Encoder { openh264 })
    }
}

/// Sets an option whose value is an `int` or a `float`, which has these bits.
#[allow(unsafe_code, reason = "only the raw interface of openh264 sets options at work")]
fn set_option(
    openh264: &mut openh264::encoder::Encoder,
    option: ENCODER_OPTION,
    mut value: u32,
) -> io::Result<()> {
    // SAFETY: openh264 takes these options at any time, and reads four aligned bytes, which outlive the call.
    let result = unsafe { openh264.raw_api().set_option(option, (&raw mut value).cast()) };
    if result == 0 { Ok(()) } else { Err(io::Error::other("openh264 rejects an option")) }
}

impl Encode for H264Encoder {
    fn encode(&mut self, picture: &Picture, captured: Instant) -> io::Result<Frame> {
        let stream = self.openh264.encode(picture).map_err(io::Error::other)?;
        Ok(Frame::h264(access_unit(&stream), captured))
    }

    /// No effect before the first picture, which is a key frame anyway.
    fn force_keyframe(&mut self) {
        self.openh264.force_intra_frame();
    }

    /// openh264 takes 60 for more.
    fn set_rate(&mut self, frames_per_second: u32) {
        let rate = (frames_per_second as f32).to_bits();
        if let Err(error) = set_option(&mut self.openh264, ENCODER_OPTION_FRAME_RATE, rate) {
            log::debug!("{frames_per_second} frames/s: {error}");
        }
    }
}

/// The NAL units that openh264 has made. It hands out each with its start code.
fn access_unit(stream: &EncodedBitStream) -> AccessUnit {
    let mut unit = AccessUnit::default();
    for layer in (0..stream.num_layers()).filter_map(|index| stream.layer(index)) {
        for nal_unit in (0..layer.nal_count()).filter_map(|index| layer.nal_unit(index)) {
            let start = nal_unit.iter().position(|byte| *byte != 0).unwrap_or(nal_unit.len());
            // The 1 that ends the start code.
            unit.push(nal_unit.get(start + 1..).unwrap_or_default());
        }
    }
    unit
}

impl YUVSource for Picture {
    fn dimensions(&self) -> (usize, usize) {
        (self.y.width, self.y.height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        (self.y.width, self.u.width, self.v.width)
    }

    fn y(&self) -> &[u8] {
        &self.y.samples
    }

    fn u(&self) -> &[u8] {
        &self.u.samples
    }

    fn v(&self) -> &[u8] {
        &self.v.samples
    }
}
