//! A media server is asked to watch: our offer, and the viewer that its answer makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use str0m::{Input, Rtc, RtcError};

use super::{Viewer, ViewerConnection, ice, transport};
use crate::containment::contain;
use crate::media::Codec;
use crate::sdp::h264_profile::Profile;
use crate::sdp::local::StreamFormat;
use crate::sdp::local_offer::OfferedFormat;
use crate::sdp::offer::SdpError;
use crate::sdp::remote_answer::{AnswerError, RemoteAnswer};
use crate::webrtc::config::{self, LocalParameters};
use crate::webrtc::local_side::LocalSide;
use crate::webrtc::playout_delay;

/// Constrained baseline, level 3.1: what every receiver of WebRTC knows (RFC 7742, section 6.2).
const CONSTRAINED_BASELINE: u32 = 0x42_e0_1f;
/// The first of the payload types that are offered, each with that of its retransmissions; from 96 on
/// they are free to use (RFC 3551, section 3).
const FIRST_PAYLOAD_TYPE: u8 = 96;
/// By which number `playout-delay` is offered.
const PLAYOUT_DELAY: u8 = 1;

/// What is offered, the best first: the stream's own profile, where it has one, constrained baseline,
/// and VP8 where pictures are encoded here.
pub fn formats(stream_profile: Option<u32>, has_vp8: bool) -> Vec<OfferedFormat> {
    // Constrained baseline is offered in any case.
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

/// An offer that has not been answered yet.
pub struct Invitation {
    rtc: Rtc,
    formats: Vec<OfferedFormat>,
    /// The stream in the best of them.
    stream: StreamFormat,
    takes_playout_delay: Arc<AtomicBool>,
    local: LocalSide,
    random: [u32; 6],
    resend_packets: usize,
}

impl Invitation {
    /// Offers the video in these [`formats`]: the invitation, and the offer's SDP.
    ///
    /// # Panics
    /// If there is no format.
    pub fn offer(
        formats: Vec<OfferedFormat>,
        local: LocalParameters,
        now: Instant,
    ) -> (Invitation, String) {
        let params =
            |it: &OfferedFormat| config::payload_params(it.codec, it.payload_type, Some(it.rtx));
        let params = formats.iter().map(params).collect();
        let takes_playout_delay = Arc::new(AtomicBool::new(false));
        let extension = playout_delay::none_if(Arc::clone(&takes_playout_delay));
        let playout_delay = Some((PLAYOUT_DELAY, extension));
        let mut rtc = config::rtc_config(params, playout_delay, &local).build(now);
        let OfferedFormat { payload_type, rtx, .. } = formats[0];
        let stream = transport::declare_media(&mut rtc, &local, payload_type, Some(rtx));
        let (random, resend_packets) = (local.random, local.resend_packets);
        let mut local = ice::local_side(&mut rtc, &local);
        let sdp = local.offer(&formats, PLAYOUT_DELAY, &stream);
        let invitation =
            Invitation { rtc, formats, stream, takes_playout_delay, local, random, resend_packets };
        (invitation, sdp)
    }

    /// The viewer, half-open, that the answer makes.
    ///
    /// # Errors
    /// Nothing can be sent after this answer.
    pub fn accept(self, answer: &str, now: Instant) -> Result<Viewer, AnswerError> {
        let answer = RemoteAnswer::parse(answer, &self.formats, PLAYOUT_DELAY)?;
        let accepted = contain(|| self.connect(&answer, now));
        let contradicts = |_| Err(contradiction("its parts contradict each other"));
        let mut viewer = accepted.unwrap_or_else(contradicts)?;
        for (address, _) in &answer.candidates {
            // It may be an agent that makes no checks (ICE-lite): its answers to ours have to do.
            viewer.learnt_addresses.admit(now, *address, None);
        }
        viewer.drive(now, |rtc| rtc.handle_input(Input::Timeout(now)));
        Ok(viewer)
    }

    fn connect(self, answer: &RemoteAnswer, now: Instant) -> Result<Viewer, AnswerError> {
        let Invitation {
            mut rtc, stream, takes_playout_delay, local, random, resend_packets, ..
        } = self;
        takes_playout_delay.store(answer.takes_playout_delay, Ordering::Relaxed);
        let failed = |error: RtcError| contradiction(&error.to_string());
        rtc.handle_input(Input::Timeout(now)).map_err(failed)?;
        // The offerer controls (RFC 8445, section 6.1.1).
        let is_dtls_client = transport::set_peer(&mut rtc, &answer.peer, true).map_err(failed)?;
        let OfferedFormat { codec, payload_type, rtx, .. } = answer.format;
        let rtx = answer.takes_rtx.then_some(rtx);
        let format = StreamFormat { payload_type, rtx, ..stream };
        transport::declare_stream(&mut rtc, &format);
        for (address, priority) in &answer.candidates {
            let candidate = ice::remote_candidate(*address, *priority, "host");
            rtc.add_remote_candidate(candidate.map_err(failed)?);
        }
        let connection = ViewerConnection {
            rtc,
            codec,
            format,
            local: LocalSide { is_dtls_client, ..local },
            random,
            resend_packets,
            is_invited: true,
        };
        Ok(Viewer::new(connection, answer.peer.credentials.clone(), now))
    }
}

fn contradiction(what: &str) -> AnswerError {
    AnswerError::Sdp(SdpError::Malformed(what.to_owned()))
}
