//! An SDP offer (RFC 8866, RFC 8829) read with our own needs in mind.
//!
//! An [`Offer`] that exists is one that we can answer with video: it has one payload type for it,
//! video_index by value, and a [`Peer`] to reach. What else the browser wrote is left behind: other
//! codecs, candidates (`.local` names or a stranger's address; the browser's checks teach us where
//! it is), and feedback for a bandwidth estimation that we do not do.

use std::fmt;

use str0m::IceCreds;

use super::sections::{Description, SdpSection};
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
    /// Of [`FEEDBACK`], what is offered.
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

/// Who is at the other end of the transport, and how it is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub credentials: IceCreds,
    pub ice_lite: bool,
    /// SHA-256 of its certificate.
    pub fingerprint: [u8; 32],
    pub setup: Setup,
}

/// Which end of DTLS the peer wants to be (RFC 8842, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// The client, or either: we are the server.
    Active,
    /// The server.
    Passive,
}

/// What an answer has to repeat of an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// `audio`, `video`, `application` or another.
    pub media: String,
    pub protocol: String,
    /// The first of its formats.
    pub format: String,
    pub mid: Option<String>,
    /// What that format is.
    pub rtpmap: Option<String>,
    /// The offer itself has given it up: port 0, and not because another's port is used.
    pub refused: bool,
}

/// A payload type of an offer, in a codec of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    pub codec: Codec,
    pub payload_type: u8,
    /// The payload type that retransmissions of it use (RFC 4588).
    pub rtx: Option<u8>,
    /// What the answer says of it in a=fmtp.
    pub parameters: Option<String>,
}

/// A header extension of an offer (RFC 8285).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    pub number: u8,
    /// The offer says which way it goes, so the answer has to (section 7).
    pub directed: bool,
}

/// Why there is no video for an offer. The text is for the person who wrote the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferError {
    /// Not an SDP at all, or one without something that every WebRTC offer has.
    Malformed(String),
    NoVideo,
    /// The offer has video, but does not ask to receive any.
    NotReceiving,
    /// Video in these codecs only, none of which is ours.
    NoCodec(Vec<String>),
}

impl fmt::Display for OfferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OfferError::Malformed(what) => {
                write!(f, "The sdp field is not an offer that can be answered: {what}.")
            }
            OfferError::NoVideo => f.write_str(
                "The offer has no video. Call pc.addTransceiver('video', \
                 {direction: 'recvonly'}) before createOffer().",
            ),
            OfferError::NotReceiving => f.write_str(
                "The offer's video is sendonly or inactive, so there is nothing to send to. \
                 Use the direction recvonly.",
            ),
            OfferError::NoCodec(offered) => write!(
                f,
                "The browser offers video as {}, and this server has H.264 \
                 (packetization-mode 1) and VP8. Use Chrome, Edge, Firefox or Safari with their \
                 usual settings.",
                if offered.is_empty() { "no codec at all".to_owned() } else { offered.join(", ") },
            ),
        }
    }
}

/// The repair that we know: resending, and a new key frame (RFC 4585, section 4.2; RFC 5104).
pub const FEEDBACK: [&str; 3] = ["ccm fir", "nack", "nack pli"];
pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

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

pub(super) fn lacks(attribute: &str) -> OfferError {
    OfferError::Malformed(format!("its m=video has no a={attribute}"))
}

pub(super) fn unreadable(attribute: &str) -> OfferError {
    OfferError::Malformed(format!("its m=video has no a={attribute} that can be read"))
}
