//! A browser or a player asks: its offer, and the viewer that our answer makes of it.

use std::time::Instant;

use str0m::RtcError;

use super::{Viewer, ViewerConnection, ice, transport};
use crate::containment::contain;
use crate::sdp::offer::{Offer, OfferError, PayloadFormat};
use crate::webrtc::config::{self, LocalParameters};
use crate::webrtc::local_side::LocalSide;
use crate::webrtc::playout_delay;

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
        let built = contain(|| Viewer::build(offer, local, now));
        let contradicts = |_| Err(OfferError::malformed("its parts contradict each other"));
        let mut viewer = built.unwrap_or_else(contradicts)?;
        viewer.drive(now, |_| Ok(()));
        let sdp = viewer.answer_to(offer);
        Ok((viewer, sdp))
    }

    fn build(offer: &Offer, local: LocalParameters, now: Instant) -> Result<Viewer, OfferError> {
        let PayloadFormat { codec, payload_type, rtx, .. } = offer.format;
        let params = config::payload_params(codec, payload_type, rtx);
        let playout_delay = offer.playout_delay.map(|it| (it.number, playout_delay::none()));
        let is_ice_lite = !offer.peer.is_checkable();
        let config = config::rtc_config(vec![params], playout_delay, &local);
        let mut rtc = config.set_ice_lite(is_ice_lite).build(now);
        let failed = |error: RtcError| OfferError::malformed(error.to_string());
        // The offerer controls (RFC 8445, section 6.1.1).
        let is_dtls_client = transport::set_peer(&mut rtc, &offer.peer, false).map_err(failed)?;
        let format = transport::declare_media(&mut rtc, &local, payload_type, rtx);
        transport::declare_stream(&mut rtc, &format);
        let connection = ViewerConnection {
            codec,
            format,
            local: LocalSide { is_dtls_client, is_ice_lite, ..ice::local_side(&mut rtc, &local) },
            random: local.random,
            resend_packets: local.resend_packets,
            is_invited: false,
            rtc,
        };
        Ok(Viewer::new(connection, offer.peer.credentials.clone(), now))
    }
}
