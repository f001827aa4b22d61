//! Parses offers (RFC 8866, RFC 8829).
//!
//! An [`Offer`] that exists can be answered with video: it has a format for it, and a [`Peer`]. Everything
//! else is ignored: other codecs, candidates (`.local` names, or a stranger's address; the browser's
//! connectivity checks give its addresses), and the feedback of bandwidth estimations that we do not do.

pub use super::description::{Peer, Section, Setup};
pub use super::error::{OfferError, SdpError};
pub use super::formats::PayloadFormat;
pub use super::section::{Extension, PLAYOUT_DELAY, VIDEO_ORIENTATION};

use super::description::Description;
use super::error::unreadable;
use super::h264_profile::{H264Error, Profile};
use super::section::SdpSection;
use crate::foreign::Foreign;
use crate::media::Codec;

/// The offered codecs that a refusal names, at most.
const MAX_NAMES: usize = 12;
const NAME_MAX_CHARS: usize = 40;

/// An offer to receive video in a format that we have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub session_key: SessionKey,
    pub format: PayloadFormat,
    /// The other formats of the same codec in the same section.
    alternatives: Vec<PayloadFormat>,
    /// Why some H.264 of the offer cannot be sent, if that is so.
    h264_error: Option<H264Error>,
    /// The m-lines, in order.
    pub sections: Vec<Section>,
    /// The index of the section that gets the video.
    pub video_index: usize,
    /// The mids that share the video's transport, in order; empty without BUNDLE (RFC 9143).
    pub bundle: Vec<String>,
    /// Whether one-byte and two-byte header extensions may be mixed (RFC 8285, section 6).
    pub extmap_allow_mixed: bool,
    pub peer: Peer,
    /// The header extension `playout-delay`.
    pub playout_delay: Option<Extension>,
    /// The header extension `urn:3gpp:video-orientation`.
    pub video_orientation: Option<Extension>,
}

/// Identifies an RTCPeerConnection across its offers: by the origin of its session (RFC 8829, section 5.2.1)
/// and its certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    session: String,
    fingerprint: [u8; 32],
}

impl Offer {
    /// Parses an offer. The work is proportional to the length of the text.
    ///
    /// # Errors
    /// The offer is malformed, exceeds a limit, or cannot be answered with video.
    pub fn parse(sdp: &str) -> Result<Offer, OfferError> {
        let description = Description::read(sdp)?;
        let Description { session, sections, .. } = &description;
        let is_video =
            |section: &SdpSection| section.is_video() && !description.is_refused(section);
        let videos = || sections.iter().filter(|section| is_video(section));
        if videos().next().is_none() {
            let mut others = sections.iter().filter(|section| !description.is_refused(section));
            return Err(match others.any(|section| section.media == "video") {
                true => OfferError::malformed("its m=video has no profile of RTP over DTLS"),
                false => OfferError::NoVideo,
            });
        }
        let of_session = session.direction.unwrap_or("sendrecv");
        let receives = |section: &SdpSection| {
            matches!(section.direction.unwrap_or(of_session), "recvonly" | "sendrecv")
        };
        if !videos().any(&receives) {
            return Err(OfferError::NotReceiving);
        }
        let numbered = sections.iter().enumerate();
        let wanted: Vec<(usize, &SdpSection)> =
            numbered.filter(|(_, section)| is_video(section) && receives(section)).collect();
        let formats = |codec| {
            let mut found = wanted.iter();
            found.find_map(|(index, section)| best(section.formats.of(codec)).zip(Some(*index)))
        };
        let h264_error =
            wanted.iter().filter_map(|(_, section)| section.formats.h264_error()).max();
        let Some(((format, alternatives), video_index)) = Codec::ALL.into_iter().find_map(formats)
        else {
            return Err(match h264_error {
                Some(error) => OfferError::UnusableH264(error),
                None => OfferError::NoCodec(codec_names(videos())),
            });
        };
        let video = &sections[video_index];
        if video.has_unreadable_mid() {
            return Err(unreadable("mid").into());
        }
        if session.ice_lite {
            return Err(OfferError::IceLite);
        }
        let peer = description.peer(video)?;
        Ok(Offer {
            session_key: SessionKey {
                session: session.origin().to_owned(),
                fingerprint: peer.fingerprint,
            },
            sections: sections.iter().map(|section| description.section(section)).collect(),
            video_index,
            extmap_allow_mixed: session.extmap_allow_mixed || video.extmap_allow_mixed,
            peer,
            playout_delay: video.playout_delay(),
            video_orientation: video.video_orientation(),
            bundle: description.bundle_of(video).iter().map(|mid| (*mid).to_owned()).collect(),
            format,
            alternatives,
            h264_error,
        })
    }

    /// Chooses the best format for an H.264 stream with this profile_level_id.
    pub fn prefer_profile(&mut self, profile_level_id: u32) {
        let Some(stream) = Profile::of(profile_level_id) else { return };
        self.choose(|format| format.profile.map_or(u8::MAX, |profile| profile.rank_for(stream)));
    }

    /// Chooses the format with this payload type, if there is one: a connection keeps its format.
    pub fn prefer_payload_type(&mut self, payload_type: u8) {
        self.choose(|format| u8::from(format.payload_type != payload_type));
    }

    /// Chooses the format of the lowest rank; of equals the current one, then the first.
    fn choose(&mut self, rank: impl Fn(&PayloadFormat) -> u8) {
        let best = self.alternatives.iter_mut().min_by_key(|format| rank(format));
        if let Some(best) = best.filter(|best| rank(best) < rank(&self.format)) {
            std::mem::swap(&mut self.format, best);
        }
    }

    /// Why this offer gets no video if the source is H.264 only, and `format` is not H.264.
    pub fn lacks_h264(&self) -> OfferError {
        self.h264_error.map_or(OfferError::NoH264, OfferError::UnusableH264)
    }

    /// The section that gets the video.
    pub fn video(&self) -> &Section {
        &self.sections[self.video_index]
    }
}

/// The best format for an unknown stream, and the others.
fn best(mut formats: Vec<PayloadFormat>) -> Option<(PayloadFormat, Vec<PayloadFormat>)> {
    let rank = |index: &usize| formats[*index].profile.map_or(0, Profile::rank);
    let best = (0..formats.len()).min_by_key(rank)?;
    Some((formats.remove(best), formats))
}

/// The names of the first offered codecs, each once.
fn codec_names<'a>(videos: impl Iterator<Item = &'a SdpSection<'a>>) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    for name in videos.flat_map(|section| section.formats.codec_names()) {
        if names.len() < MAX_NAMES && !names.contains(&name) {
            names.push(name);
        }
    }
    let shown = names.iter().filter_map(|name| Foreign::new(name, NAME_MAX_CHARS));
    shown.map(|name| name.to_string()).collect()
}
