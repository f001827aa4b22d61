//! Writes our own offers (RFC 9725, section 4.2): one video, to send in one of several formats.

use super::formats::FEEDBACK;
use super::h264_profile::H264;
use super::local::{self, Local, STREAM, TRACK, text};
use super::section::PLAYOUT_DELAY;
use crate::media::Codec;

/// The mid of the only section.
const MID: &str = "0";

/// A format of our own offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfferedFormat {
    pub codec: Codec,
    pub payload_type: u8,
    /// The payload type of its retransmissions (RFC 4588).
    pub rtx: u8,
    /// The profile-level-id of H.264 in packetization-mode 1 (RFC 6184, section 8.1).
    pub profile_level_id: u32,
}

/// Writes the offer's SDP with these formats, the best first, and with `playout-delay` by this number.
pub fn write(formats: &[OfferedFormat], playout_delay: u8, local: &Local) -> String {
    let mut offer = local.begin();
    offer.push(format!("a=group:BUNDLE {MID}"));
    offer.push(format!("a=msid-semantic: WMS {STREAM}"));
    let payload_types = formats.iter().flat_map(|format| [format.payload_type, format.rtx]);
    let list: String = payload_types.map(|payload_type| format!(" {payload_type}")).collect();
    offer.push(format!("m=video 9 UDP/TLS/RTP/SAVPF{list}"));
    local.transport(Some(MID), &mut offer);
    offer.push(format!("a=extmap:{playout_delay} {PLAYOUT_DELAY}"));
    offer.push("a=sendonly".into());
    offer.push(format!("a=msid:{STREAM} {TRACK}"));
    offer.push("a=rtcp-mux".into());
    // RTCP has no port of its own, whatever the answer says (RFC 9725, section 4.4.1).
    offer.push("a=rtcp-mux-only".into());
    for OfferedFormat { codec, payload_type, rtx, profile_level_id } in formats.iter().copied() {
        let h264 = H264 { profile_level_id, level_asymmetry_allowed: true };
        let parameters = (codec == Codec::H264).then(|| h264.to_string());
        local::format(codec, payload_type, Some(rtx), &FEEDBACK, parameters.as_deref(), &mut offer);
    }
    local.sources(&mut offer);
    text(offer)
}
