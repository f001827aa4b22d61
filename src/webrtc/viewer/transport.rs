//! What str0m is told of a connection, whoever has made the offer.

use str0m::config::Fingerprint;
use str0m::media::{MediaKind, Mid};
use str0m::rtp::Ssrc;
use str0m::{Rtc, RtcError};

use crate::sdp::local::StreamFormat;
use crate::sdp::offer::{Peer, Setup};
use crate::webrtc::config::LocalParameters;

/// str0m's name for the one media section. That of an offer may be too long for it.
const MID: &str = "video";

/// This is the other end. Returns whether ours is the client of DTLS.
pub(super) fn set_peer(rtc: &mut Rtc, peer: &Peer, is_controlling: bool) -> Result<bool, RtcError> {
    let mut api = rtc.direct_api();
    api.set_ice_controlling(is_controlling);
    api.set_remote_ice_credentials(peer.credentials.clone());
    let (hash_func, bytes) = ("sha-256".to_owned(), peer.fingerprint.to_vec());
    api.set_remote_fingerprint(Fingerprint { hash_func, bytes });
    let is_dtls_client = peer.setup == Setup::Passive;
    api.start_dtls(is_dtls_client)?;
    Ok(is_dtls_client)
}

/// There is one video, in this format.
pub(super) fn declare_media(
    rtc: &mut Rtc,
    local: &LocalParameters,
    payload_type: u8,
    rtx: Option<u8>,
) -> StreamFormat {
    let [_, _, ssrc, rtx_ssrc, ..] = local.random;
    let mut api = rtc.direct_api();
    let cname = api.declare_media(Mid::from(MID), MediaKind::Video).cname().to_owned();
    // One more, should they be the same.
    let rtx_ssrc = rtx_ssrc.wrapping_add(u32::from(ssrc == rtx_ssrc));
    StreamFormat { payload_type, rtx, ssrc, rtx_ssrc, cname }
}

/// The video is sent like this.
pub(super) fn declare_stream(rtc: &mut Rtc, format: &StreamFormat) {
    let rtx = format.rtx.map(|_| Ssrc::from(format.rtx_ssrc));
    rtc.direct_api().declare_stream_tx(format.ssrc.into(), rtx, Mid::from(MID), None);
}
