//! Our offer to a media server, and the viewer that its answer makes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use str0m::{Input, RtcError};

use super::Viewer;
use super::connection::{ConnectionParts, remote_candidate};
use crate::containment::contain;
use crate::media::Codec;
use crate::sdp::h264_profile::Profile;
use crate::sdp::local_offer::OfferedFormat;
use crate::sdp::offer::SdpError;
use crate::sdp::remote_answer::{AnswerError, RemoteAnswer};
use crate::webrtc::config::{self, LocalParameters};
use crate::webrtc::playout_delay;

/// Constrained baseline, level 3.1, which every WebRTC receiver supports (RFC 7742, section 6.2).
const CONSTRAINED_BASELINE: u32 = 0x42_e0_1f;
/// The first payload type in the offer. Each format takes two, the second for its retransmissions. Those
/// from 96 on are dynamic (RFC 3551, section 3).
const FIRST_PAYLOAD_TYPE: u8 = 96;
/// The id of the header extension `playout-delay` in the offer.
const PLAYOUT_DELAY: u8 = 1;

/// The formats to offer, in order of preference: the profile of the source if it is H.264, constrained
/// baseline, and VP8 if pictures are encoded here.
pub fn formats(stream_profile: Option<u32>, has_vp8: bool) -> Vec<OfferedFormat> {
    // Constrained baseline is always in the offer.
    let own = stream_profile.filter(|id| {
        Profile::of(*id).is_some_and(|profile| profile != Profile::ConstrainedBaseline)
    });
    let h264 = own.into_iter().chain([CONSTRAINED_BASELINE]).map(|id| (Codec::H264, id));
    let vp8 = has_vp8.then_some((Codec::Vp8, 0));
    let payload_types = (FIRST_PAYLOAD_TYPE..).step_by(2);
    let numbered = payload_types.zip(h264.chain(vp8));
    let format = |(payload_type, (codec, profile_level_id))| OfferedFormat {
        codec,
        payload_type,
        rtx: payload_type + 1,
        profile_level_id,
    };
    numbered.map(format).collect()
}

/// An offer of ours that has not been answered yet.
pub struct PendingOffer {
    /// With the preferred format.
    parts: ConnectionParts,
    formats: Vec<OfferedFormat>,
    /// The offer names the CNAME, which str0m draws for each `Rtc`, so that the `Rtc` exists before the
    /// answer tells whether it may use the extension. Its extensions cannot be changed afterwards.
    takes_playout_delay: Arc<AtomicBool>,
}

impl PendingOffer {
    /// Offers the video in these [`formats`]. Returns the pending offer and its SDP.
    ///
    /// # Panics
    /// If `formats` is empty.
    pub fn new(
        formats: Vec<OfferedFormat>,
        local: LocalParameters,
        now: Instant,
    ) -> (PendingOffer, String) {
        let params =
            |it: &OfferedFormat| config::payload_params(it.codec, it.payload_type, Some(it.rtx));
        let params = formats.iter().map(params).collect();
        let takes_playout_delay = Arc::new(AtomicBool::new(false));
        let extension = playout_delay::none_if(Arc::clone(&takes_playout_delay));
        let config = config::rtc_config(params, [(PLAYOUT_DELAY, extension)], &local);
        let OfferedFormat { codec, payload_type, rtx, .. } = formats[0];
        let format = (codec, payload_type, Some(rtx));
        let mut parts = ConnectionParts::build(config, &local, format, true, now);
        let sdp = parts.local.offer(&formats, PLAYOUT_DELAY, &parts.format);
        (PendingOffer { parts, formats, takes_playout_delay }, sdp)
    }

    /// Takes the answer. Returns the viewer, half-open.
    ///
    /// # Errors
    /// Nothing can be sent after this answer.
    pub fn accept(self, answer: &str, now: Instant) -> Result<Viewer, AnswerError> {
        let answer = RemoteAnswer::parse(answer, &self.formats, PLAYOUT_DELAY)?;
        let accepted = contain(|| self.connect(&answer, now));
        let contradicts = |_| Err(contradiction("its parts contradict each other"));
        let mut viewer = accepted.unwrap_or_else(contradicts)?;
        for (address, _) in &answer.candidates {
            // An ICE-lite agent sends no checks, so that its responses to ours have to do.
            viewer.learnt_addresses.admit(now, *address, None);
        }
        viewer.drive(now, |rtc| rtc.handle_input(Input::Timeout(now)));
        Ok(viewer)
    }

    fn connect(self, answer: &RemoteAnswer, now: Instant) -> Result<Viewer, AnswerError> {
        let PendingOffer { mut parts, takes_playout_delay, .. } = self;
        takes_playout_delay.store(answer.takes_playout_delay, Ordering::Relaxed);
        let failed = |error: RtcError| contradiction(&error.to_string());
        parts.rtc.handle_input(Input::Timeout(now)).map_err(failed)?;
        let OfferedFormat { codec, payload_type, rtx, .. } = answer.format;
        parts.codec = codec;
        parts.format.payload_type = payload_type;
        parts.format.rtx = answer.takes_rtx.then_some(rtx);
        parts.connect(&answer.peer).map_err(failed)?;
        for (address, priority) in &answer.candidates {
            let candidate = remote_candidate(*address, *priority, "host");
            parts.rtc.add_remote_candidate(candidate.map_err(failed)?);
        }
        Ok(Viewer::new(parts, answer.peer.credentials.clone(), now))
    }
}

fn contradiction(what: &str) -> AnswerError {
    AnswerError::Sdp(SdpError::Malformed(what.to_owned()))
}
