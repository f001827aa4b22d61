//! The configuration of an `Rtc`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use str0m::config::{CryptoProvider, DtlsCert};
use str0m::format::{Codec as RtcCodec, CodecConfig, CodecSpec, FormatParams, PayloadParams};
use str0m::media::{Frequency, Pt};
use str0m::rtp::Extension;
use str0m::{IceCreds, RtcConfig};

use super::payload::MAX_PAYLOAD_BYTES;
use crate::media::Codec;

/// The longest time between two of our connectivity checks of a pair.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How often str0m reports its statistics.
const STATS_INTERVAL: Duration = Duration::from_secs(1);
/// The longest time without a sender report (RFC 3550, section 6.2).
const SENDER_REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// The fewest packets kept for retransmission.
const MIN_RESEND_PACKETS: usize = 64;

/// The parameters of our end of a connection.
pub struct LocalParameters<'a> {
    pub crypto: &'a Arc<CryptoProvider>,
    pub certificate: &'a DtlsCert,
    /// Our ICE user fragment and password, from a cryptographic source.
    pub credentials: IceCreds,
    /// Our UDP addresses in order of preference. Each becomes a candidate.
    pub addresses: Vec<SocketAddr>,
    /// Extra addresses, such as that of a NAT, that lead to us at the same port. Only our descriptions
    /// contain them.
    pub announced: &'a [IpAddr],
    pub numbers: StreamNumbers,
    /// Packets kept for retransmission, see [`resend_packets`].
    pub resend_packets: usize,
    /// Viewers may have to rotate frames, and are told so in the header extension `urn:3gpp:video-orientation`
    /// (3GPP TS 26.114, section 7.4.5) if they offer it.
    pub sends_orientation: bool,
}

/// The numbers of one connection that have to be random (RFC 3550, section 5.1).
#[derive(Debug, Clone, Copy)]
pub struct StreamNumbers {
    /// Names the session in SDP (RFC 8866, section 5.2). Below 2^63.
    pub session: u64,
    pub ssrc: u32,
    /// Differs from `ssrc`.
    pub rtx_ssrc: u32,
    /// Below 2^15: if the number wrapped around while the first packets were lost, a receiver could not
    /// know that it has (RFC 3711, section 3.3.1; libwebrtc does the same).
    pub first_sequence_number: u16,
    /// Added to each RTP timestamp.
    pub timestamp_offset: u32,
}

impl StreamNumbers {
    pub fn new(random: [u32; 6]) -> StreamNumbers {
        let [session, session_low, ssrc, rtx_ssrc, sequence, timestamp_offset] = random;
        StreamNumbers {
            session: u64::from(session >> 1) << 32 | u64::from(session_low),
            ssrc,
            rtx_ssrc: rtx_ssrc.wrapping_add(u32::from(ssrc == rtx_ssrc)),
            first_sequence_number: (sequence & 0x7fff) as u16,
            timestamp_offset,
        }
    }
}

/// Returns how many packets to keep for retransmission: one second of a stream of `bitrate` bits per
/// second, and at least 64.
pub fn resend_packets(bitrate: u32) -> usize {
    (bitrate as usize / 8 / MAX_PAYLOAD_BYTES).max(MIN_RESEND_PACKETS)
}

/// A configuration in RTP mode with these payload types and header extensions.
pub fn rtc_config(
    formats: Vec<PayloadParams>,
    extensions: impl IntoIterator<Item = (u8, Extension)>,
    local: &LocalParameters,
) -> RtcConfig {
    let mut config = RtcConfig::new()
        .set_rtp_mode(true)
        .set_crypto_provider(Arc::clone(local.crypto))
        .set_dtls_cert(local.certificate.clone())
        .set_local_ice_credentials(local.credentials.clone())
        .set_stats_interval(Some(STATS_INTERVAL))
        .set_rtcp_report_interval_video(SENDER_REPORT_INTERVAL)
        .clear_extension_map();
    for (number, extension) in extensions {
        config = config.set_extension(number, extension);
    }
    config.set_max_stun_rto(CHECK_INTERVAL);
    *config.codec_config() = CodecConfig::new_from_payload_params(formats);
    config
}

/// A payload type with feedback for repair (NACK, PLI, FIR), and without bandwidth estimation, which a
/// stream of a single rendition does not need.
pub fn payload_params(codec: Codec, payload_type: u8, rtx: Option<u8>) -> PayloadParams {
    let spec = CodecSpec {
        codec: match codec {
            Codec::H264 => RtcCodec::H264,
            Codec::Vp8 => RtcCodec::Vp8,
        },
        clock_rate: Frequency::NINETY_KHZ,
        channels: None,
        format: FormatParams::default(),
    };
    let mut params = PayloadParams::new(payload_type.into(), rtx.map(Pt::from), spec);
    params.set_fb_nack(true);
    params.set_fb_pli(true);
    params.set_fb_fir(true);
    params.set_fb_remb(false);
    params.set_fb_transport_cc(false);
    params
}
