//! Errors of SDP.

use std::fmt;

use super::h264_profile::H264Error;
use super::ice::CHECKED_UFRAG_BYTES;

/// Why an SDP cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SdpError {
    /// Not SDP at all, or without something that WebRTC requires. The text is a clause about the SDP ("it
    /// ...").
    Malformed(String),
    /// More of something than any browser sends: of what, and the limit.
    TooLarge(&'static str, usize),
}

/// Why an offer gets no video. Displays as a sentence for the author of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferError {
    Sdp(SdpError),
    NoVideo,
    /// There is video, but not to receive it.
    NotReceiving,
    /// Video in these codecs only, none of which this server has.
    NoCodec(Vec<String>),
    /// Video without H.264, while the source is H.264 only.
    NoH264,
    /// Video in H.264, but in no form that can be sent, and in no other codec.
    UnusableH264(H264Error),
    /// The peer is an ICE-lite agent, which sends no connectivity checks (RFC 8445, section 2.5), and we send
    /// none to an address that has not sent one.
    IceLite,
}

impl OfferError {
    /// A malformed offer. `what` is a clause about the offer ("it ...").
    pub fn malformed(what: impl Into<String>) -> OfferError {
        OfferError::Sdp(SdpError::Malformed(what.into()))
    }
}

impl From<SdpError> for OfferError {
    fn from(error: SdpError) -> OfferError {
        OfferError::Sdp(error)
    }
}

impl fmt::Display for OfferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OfferError::Sdp(SdpError::Malformed(what)) => {
                write!(f, "The SDP is not a valid offer: {what}.")
            }
            OfferError::NoVideo => f.write_str(
                "The offer has no video. Call pc.addTransceiver('video', \
                 {direction: 'recvonly'}) before createOffer().",
            ),
            OfferError::NotReceiving => f.write_str(
                "The offer's video is sendonly or inactive, so it receives nothing. Use \
                 the direction recvonly.",
            ),
            OfferError::NoCodec(offered) => write!(
                f,
                "The browser offers only {}, and this server sends H.264 \
                 (packetization-mode 1) or VP8. Use Chrome, Edge, Firefox or Safari with default \
                 settings.",
                if offered.is_empty() { "no codec".to_owned() } else { offered.join(", ") },
            ),
            OfferError::NoH264 => f.write_str(
                "The camera sends H.264, which this browser does not offer. Use Chrome, Edge or \
                 Safari, or Firefox once it has its H.264 plug-in.",
            ),
            OfferError::UnusableH264(error) => write!(
                f,
                "The offer {error}. This server sends H.264 in packetization-mode 1 only: an \
                 a=fmtp line of the offer needs packetization-mode=1 and a profile-level-id such as \
                 42e01f (RFC 6184, section 8.1).",
            ),
            OfferError::IceLite => f.write_str(
                "The offer comes from an ICE-lite agent (a=ice-lite), which waits for connectivity \
                 checks. This server sends none to an address that has not sent one. Use full \
                 ICE.",
            ),
            OfferError::Sdp(SdpError::TooLarge(what, most)) => {
                write!(f, "The offer has too many {what}: at most {most} are accepted.")
            }
        }
    }
}

pub(super) fn lacks(attribute: &str) -> SdpError {
    SdpError::Malformed(format!("its m=video has no a={attribute}"))
}

pub(super) fn unreadable(attribute: &str) -> SdpError {
    SdpError::Malformed(format!("its m=video has no valid a={attribute}"))
}

/// A user fragment that does not fit into a connectivity check of ours.
pub(super) fn ufrag_too_long() -> SdpError {
    SdpError::TooLarge("characters in its a=ice-ufrag", CHECKED_UFRAG_BYTES)
}
