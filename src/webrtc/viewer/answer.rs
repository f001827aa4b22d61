//! Answers the offer of a browser or a player.

use std::time::Instant;

use str0m::rtp::Extension;

use super::Viewer;
use super::connection::ConnectionParts;
use crate::containment::contain;
use crate::sdp::offer::{Offer, OfferError, PayloadFormat};
use crate::webrtc::config::{self, LocalParameters};
use crate::webrtc::playout_delay;

impl Viewer {
    /// Answers an offer. Returns the viewer, half-open, and the answer's SDP.
    ///
    /// # Errors
    /// The offer makes str0m panic or fail.
    pub fn answer(
        offer: &Offer,
        local: LocalParameters,
        now: Instant,
    ) -> Result<(Viewer, String), OfferError> {
        let built = contain(|| Viewer::build(offer, &local, now));
        let contradicts = |_| Err(OfferError::malformed("its parts contradict each other"));
        let mut viewer = built.unwrap_or_else(contradicts)?;
        viewer.drive(now, |_| Ok(()));
        let sdp = viewer.answer_to(offer);
        Ok((viewer, sdp))
    }

    fn build(offer: &Offer, local: &LocalParameters, now: Instant) -> Result<Viewer, OfferError> {
        let PayloadFormat { codec, payload_type, rtx, .. } = offer.format;
        let params = config::payload_params(codec, payload_type, rtx);
        let playout_delay = offer.playout_delay.map(|it| (it.number, playout_delay::none()));
        let orientation = offer.video_orientation.filter(|_| local.sends_orientation);
        let orientation = orientation.map(|it| (it.number, Extension::VideoOrientation));
        let extensions = playout_delay.into_iter().chain(orientation);
        let is_ice_lite = !offer.peer.is_checkable();
        let config = config::rtc_config(vec![params], extensions, local);
        let config = config.set_ice_lite(is_ice_lite);
        let format = (codec, payload_type, rtx);
        let mut parts = ConnectionParts::build(config, local, format, false, now);
        parts.local.is_ice_lite = is_ice_lite;
        parts.connect(&offer.peer).map_err(|error| OfferError::malformed(error.to_string()))?;
        Ok(Viewer::new(parts, offer.peer.credentials.clone(), now))
    }
}
