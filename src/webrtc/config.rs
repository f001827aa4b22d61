//! What a viewer's `Rtc` is built with.

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
/// Packets kept for retransmission whatever the bitrate is.
const MIN_RESEND_PACKETS: usize = 64;

/// What our end of a connection is made of, beside what the other end says.
pub struct LocalParameters<'a> {
    pub crypto: &'a Arc<CryptoProvider>,
    pub certificate: &'a DtlsCert,
    /// Our ICE user fragment and password, from a cryptographic source.
    pub credentials: IceCreds,
    /// Our UDP addresses, all of which become candidates, the best first.
    pub addresses: Vec<SocketAddr>,
    /// Addresses of others that lead to us, at the same port. They are in our descriptions alone.
    pub announced: &'a [IpAddr],
    /// Random, as the numbers of the session and the stream have to be (RFC 3550, section 5.1).
    pub random: [u32; 6],
    /// Packets kept for retransmission, see [`resend_packets`].
    pub resend_packets: usize,
}

/// How many packets are kept for retransmission: a second of a stream of this bitrate, in bits per
/// second, and at least 64.
pub fn resend_packets(bitrate: u32) -> usize {
    (bitrate as usize / 8 / MAX_PAYLOAD_BYTES).max(MIN_RESEND_PACKETS)
}

/// In RTP mode, and with these payload types.
pub fn rtc_config(
    formats: Vec<PayloadParams>,
    playout_delay: Option<(u8, Extension)>,
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
    if let Some((number, extension)) = playout_delay {
        config = config.set_extension(number, extension);
    }
    config.set_max_stun_rto(CHECK_INTERVAL);
    *config.codec_config() = CodecConfig::new_from_payload_params(formats);
    config
}

/// A payload type of a codec, with repair (NACK, PLI, FIR) and without bandwidth estimation, which a
/// stream of one rendition has no use for.
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

/// In the lower half of the 16 bits: should the number roll over while the first packets are lost, a
/// receiver could not tell how often it has (RFC 3711, section 3.3.1; libwebrtc begins there, too).
pub fn first_sequence_number(random: u32) -> u16 {
    (random & 0x7fff) as u16
}
