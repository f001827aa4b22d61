//! A browser or a player asks: its offer, and the viewer that our answer makes of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use str0m::RtcError;
use str0m::config::Fingerprint;
use str0m::format::FormatParams;
use str0m::media::{MediaKind, Mid};
use str0m::rtp::Ssrc;

use super::{Connection, Viewer, ice};
use crate::sdp::answer::StreamFormat;
use crate::sdp::offer::{Format, Offer, OfferError, Peer, Setup};
use crate::webrtc::config::{self, LocalParameters};
use crate::webrtc::local_side::LocalSide;

/// str0m's name for the one media section. The offer's own mid may be too long for it.
const MID: &str = "video";

impl Viewer {
    /// Answers an offer: the viewer, half-open, and the answer's SDP.
    ///
    /// # Errors
    /// The offer makes str0m panic or fail.
    pub fn answer(
        offer: &Offer,
        local: LocalParameters,
        now: Instant,
    ) -> Result<(Viewer, String), OfferError> {
        let built = catch_unwind(AssertUnwindSafe(|| Viewer::build(offer, local, now)));
        let contradicts = |_| Err(OfferError::malformed("its parts contradict each other"));
        let mut viewer = built.unwrap_or_else(contradicts)?;
        viewer.drive(now, |_| Ok(()));
        let sdp = viewer.answer_to(offer);
        Ok((viewer, sdp))
    }

    fn build(offer: &Offer, local: LocalParameters, now: Instant) -> Result<Viewer, OfferError> {
        let [_, _, ssrc, rtx_ssrc, ..] = local.random;
        let Peer { credentials, fingerprint, setup } = &offer.peer;
        let Format { codec, payload_type, rtx, .. } = offer.format;
        let params = config::payload_params(codec, payload_type, rtx, FormatParams::default());
        let playout_delay = offer.playout_delay.map(|extension| extension.number);
        let mut rtc = config::rtc_config(vec![params], playout_delay, &local).build(now);
        let is_dtls_client = *setup == Setup::Passive;
        let mut api = rtc.direct_api();
        // The offerer controls (RFC 8445, section 6.1.1).
        api.set_ice_controlling(false);
        api.set_remote_ice_credentials(credentials.clone());
        let hash_func = "sha-256".to_owned();
        api.set_remote_fingerprint(Fingerprint { hash_func, bytes: fingerprint.to_vec() });
        let failed = |error: RtcError| OfferError::malformed(error.to_string());
        api.start_dtls(is_dtls_client).map_err(failed)?;
        let mid = Mid::from(MID);
        let cname = api.declare_media(mid, MediaKind::Video).cname().to_owned();
        let format = StreamFormat {
            payload_type,
            rtx,
            ssrc,
            // One more, should they be the same.
            rtx_ssrc: rtx_ssrc.wrapping_add(u32::from(ssrc == rtx_ssrc)),
            cname,
        };
        let rtx = format.rtx.map(|_| Ssrc::from(format.rtx_ssrc));
        api.declare_stream_tx(ssrc.into(), rtx, mid, None);
        let connection = Connection {
            codec,
            format,
            local: LocalSide { is_dtls_client, ..ice::local_side(&mut rtc, &local) },
            random: local.random,
            resend_packets: local.resend_packets,
            is_invited: false,
            rtc,
        };
        Ok(Viewer::new(connection, credentials.clone(), now))
    }
}
