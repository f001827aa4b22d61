//! An SDP offer (RFC 8866, RFC 8829) read with our own needs in mind.
//!
//! An [`Offer`] that exists is one that we can answer with video: it has one payload type for it,
//! chosen by value, and a [`Peer`] to reach. What else the browser wrote is left behind: other
//! codecs, candidates (`.local` names or a stranger's address; the browser's checks teach us where
//! it is), and feedback for a bandwidth estimation that we do not do.

pub use super::error::OfferError;
use super::error::lacks;
use super::sections::{Description, SdpSection};
pub use super::sections::{Extension, Format, PLAYOUT_DELAY, Peer, Section, Setup};
use crate::media::Codec;

/// An offer that asks for video in a form that we have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub session_key: SessionKey,
    pub format: Format,
    /// Each m-line, in order.
    pub sections: Vec<Section>,
    /// Which of them gets the video.
    pub video_index: usize,
    /// The mids that share one transport with the video, in order; empty where there is no BUNDLE
    /// (RFC 9143).
    pub bundle: Vec<String>,
    /// Header extensions may be of either kind in one stream (RFC 8285, section 6).
    pub extmap_allow_mixed: bool,
    pub peer: Peer,
    /// The kinds of RTCP feedback that are offered and that we know: repair and key frame requests.
    pub feedback: Vec<&'static str>,
    /// The header extension `playout-delay`.
    pub playout_delay: Option<Extension>,
}

/// What stays the same in all offers of one RTCPeerConnection: the name of its session (RFC 8829,
/// section 5.2.1), and its certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    session: String,
    fingerprint: [u8; 32],
}

impl Offer {
    pub fn parse(sdp: &str) -> Result<Offer, OfferError> {
        let description = Description::read(sdp)?;
        let Description { session, sections } = &description;
        let is_video = |lines: &SdpSection| lines.is_video() && !description.is_refused(lines);
        let videos = || sections.iter().filter(|lines| is_video(lines));
        if videos().next().is_none() {
            return Err(OfferError::NoVideo);
        }
        let of_session = session.direction().unwrap_or("sendrecv");
        let receives = |lines: &SdpSection| {
            matches!(lines.direction().unwrap_or(of_session), "recvonly" | "sendrecv")
        };
        if !videos().any(&receives) {
            return Err(OfferError::NotReceiving);
        }
        let numbered = sections.iter().enumerate();
        let wanted: Vec<(usize, &SdpSection)> =
            numbered.filter(|(_, lines)| is_video(lines) && receives(lines)).collect();
        let best = |codec| {
            let mut found = wanted.iter();
            found.find_map(|(index, lines)| Some((*index, lines.best_format(codec)?)))
        };
        let Some((video_index, format)) = Codec::ALL.into_iter().find_map(best) else {
            let mut names: Vec<String> = videos().flat_map(SdpSection::codec_names).collect();
            names.dedup();
            return Err(OfferError::NoCodec(names));
        };
        let video = &sections[video_index];
        let mid = video.mid().ok_or_else(|| lacks("mid"))?;
        let bundle = description.bundle_of(mid);
        let peer = description.peer(video, &bundle)?;
        Ok(Offer {
            session_key: SessionKey {
                session: session.origin().to_owned(),
                fingerprint: peer.fingerprint,
            },
            sections: sections.iter().map(|lines| description.section(lines)).collect(),
            video_index,
            extmap_allow_mixed: session.has("extmap-allow-mixed")
                || video.has("extmap-allow-mixed"),
            peer,
            feedback: video.feedback(format.payload_type),
            playout_delay: video.playout_delay(),
            bundle: bundle.into_iter().map(str::to_owned).collect(),
            format,
        })
    }

    /// The section that gets the video.
    pub fn video(&self) -> &Section {
        &self.sections[self.video_index]
    }
}
