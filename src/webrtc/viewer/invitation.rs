//! A media server is asked to watch: our offer, and the viewer that its answer makes of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::{FormatParams, PayloadParams};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::{Input, Rtc};

use super::{Connection, Viewer, ice};
use crate::media::Codec;
use crate::sdp::answer::StreamFormat;
use crate::sdp::h264_profile::Profile;
use crate::sdp::offer::{SdpError, Setup};
use crate::sdp::remote_answer::{AnswerError, OfferedFormat, RemoteAnswer};
use crate::webrtc::config::{self, LocalParameters};
use crate::webrtc::local_side::LocalSide;

/// Constrained baseline, level 3.1: what every receiver of WebRTC knows (RFC 7742, section 6.2).
const CONSTRAINED_BASELINE: u32 = 0x42_e0_1f;
/// The first of the payload types that are offered, each with that of its retransmissions; from 96 on
/// they are free to use (RFC 3551, section 3).
const FIRST_PAYLOAD_TYPE: u8 = 96;
/// By which number `playout-delay` is offered.
const PLAYOUT_DELAY: u8 = 1;
/// The stream, as the server's own viewers see it.
const STREAM: &str = "ballcast";

/// What is offered, the best first: the stream's own profile, where it has one, constrained baseline,
/// and VP8 where pictures are encoded here.
pub fn formats(stream_profile: Option<u32>, has_vp8: bool) -> Vec<OfferedFormat> {
    // One of a profile: str0m takes two for the same.
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
    mid: Mid,
    pending: SdpPendingOffer,
    formats: Vec<OfferedFormat>,
    local: LocalSide,
    random: [u32; 6],
    resend_packets: usize,
}

impl Invitation {
    /// Offers the video in these [`formats`]: the invitation, and the offer's SDP. `cname` names the
    /// source (RFC 7022), and the track.
    ///
    /// # Panics
    /// If there is no format.
    pub fn offer(
        formats: Vec<OfferedFormat>,
        cname: String,
        local: LocalParameters,
        now: Instant,
    ) -> (Invitation, String) {
        let params = formats.iter().map(payload_params).collect();
        let mut rtc = config::rtc_config(params, Some(PLAYOUT_DELAY), &local).build(now);
        let local_side = ice::local_side(&mut rtc, &local);
        let mut api = rtc.sdp_api();
        let (stream, direction) = (Some(STREAM.to_owned()), Direction::SendOnly);
        let mid = api.add_media(MediaKind::Video, direction, stream, Some(cname), None);
        let (offer, pending) = api.apply().expect("a media section was added");
        // What str0m does not say, of the one section, which is the end of it: there will be no more
        // candidates, and RTCP has no port of its own (RFC 9725, section 4.4.1).
        let announced = local_side.announced_candidates().map(|it| format!("a={it}\r\n"));
        let rest = ["a=end-of-candidates\r\n", "a=rtcp-mux-only\r\n"].map(str::to_owned);
        let sdp = [offer.to_sdp_string()].into_iter().chain(announced).chain(rest).collect();
        let (random, resend_packets) = (local.random, local.resend_packets);
        let invitation =
            Invitation { rtc, mid, pending, formats, local: local_side, random, resend_packets };
        (invitation, sdp)
    }

    /// The viewer, half-open, that the answer makes.
    ///
    /// # Errors
    /// Nothing can be sent after this answer.
    pub fn accept(self, answer: &str, now: Instant) -> Result<Viewer, AnswerError> {
        let answer = RemoteAnswer::parse(answer, &self.formats, PLAYOUT_DELAY)?;
        let accepted = catch_unwind(AssertUnwindSafe(|| self.connect(&answer, now)));
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
        let Invitation { mut rtc, mid, pending, local, random, resend_packets, .. } = self;
        let failed = |error: String| contradiction(&error);
        let sdp = answer.to_sdp(&mid.to_string(), PLAYOUT_DELAY);
        let understood = SdpAnswer::from_sdp_string(&sdp).map_err(|e| failed(e.to_string()))?;
        rtc.handle_input(Input::Timeout(now)).map_err(|e| failed(e.to_string()))?;
        rtc.sdp_api().accept_answer(pending, understood).map_err(|e| failed(e.to_string()))?;
        let cname = rtc.media(mid).map_or(String::new(), |media| media.cname().to_owned());
        let mut api = rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, None).ok_or(AnswerError::NoVideo)?;
        let format = StreamFormat {
            payload_type: answer.format.payload_type,
            rtx: answer.takes_rtx.then_some(answer.format.rtx),
            ssrc: *stream.ssrc(),
            rtx_ssrc: stream.rtx().map_or(0, |ssrc| *ssrc),
            cname,
        };
        let connection = Connection {
            rtc,
            codec: answer.format.codec,
            format,
            local: LocalSide { is_dtls_client: answer.peer.setup == Setup::Passive, ..local },
            random,
            resend_packets,
            is_invited: true,
        };
        Ok(Viewer::new(connection, answer.peer.credentials.clone(), now))
    }
}

fn payload_params(format: &OfferedFormat) -> PayloadParams {
    let OfferedFormat { codec, payload_type, rtx, profile_level_id } = *format;
    let format = match codec {
        Codec::H264 => FormatParams {
            level_asymmetry_allowed: Some(true),
            packetization_mode: Some(1),
            profile_level_id: Some(profile_level_id),
            ..FormatParams::default()
        },
        Codec::Vp8 => FormatParams::default(),
    };
    config::payload_params(codec, payload_type, Some(rtx), format)
}

fn contradiction(what: &str) -> AnswerError {
    AnswerError::Sdp(SdpError::Malformed(what.to_owned()))
}
