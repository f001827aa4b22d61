//! Why an SDP is of no use.

use std::fmt;

use super::h264_profile::H264Error;
use super::ice::CHECKED_UFRAG_BYTES;

/// Why an SDP cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SdpError {
    /// Not an SDP at all, or one without something that every one of WebRTC has: what, in a clause
    /// whose subject is the SDP.
    Malformed(String),
    /// There is more of something than any browser has; what, and the most that is read.
    TooLarge(&'static str, usize),
}

/// Why there is no video for an offer. The text is for the person who wrote the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferError {
    Sdp(SdpError),
    NoVideo,
    /// The offer has video, but does not ask to receive any.
    NotReceiving,
    /// Video in these codecs only, none of which is ours.
    NoCodec(Vec<String>),
    /// Video without H.264, and the source has nothing else.
    NoH264,
    /// Video in H.264, but in no form that can be sent, and in nothing else that can.
    UnusableH264(H264Error),
    /// Its sender is an ICE-lite agent, which makes no connectivity checks (RFC 8445, section 2.5),
    /// and we send none to an address that has not sent one.
    IceLite,
}

impl OfferError {
    /// It is no offer that can be answered: why, in a clause whose subject is the offer.
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

/// A user fragment that no check of ours has room for.
pub(super) fn ufrag_too_long() -> SdpError {
    SdpError::TooLarge("characters in its a=ice-ufrag", CHECKED_UFRAG_BYTES)
}
