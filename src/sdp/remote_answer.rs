//! Parses the answers to our own offers.
//!
//! A [`RemoteAnswer`] that exists accepts the video in an offered format. The operator trusts the media
//! server with the stream, but its bytes may be a stranger's: only what was parsed is passed on.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::description::{Description, Peer};
use super::error::{SdpError, ufrag_too_long};
use super::local_offer::OfferedFormat;
use super::section::SdpSection;

/// The candidates of one server that are used.
pub const MAX_CANDIDATES: usize = 16;

/// An answer that accepts the video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteAnswer {
    pub peer: Peer,
    pub format: OfferedFormat,
    /// Whether it accepts the stream of retransmissions.
    pub takes_rtx: bool,
    /// Whether it accepts the header extension `playout-delay` by the offered number.
    pub takes_playout_delay: bool,
    /// The first UDP candidates, with their priorities.
    pub candidates: Vec<(SocketAddr, u32)>,
}

/// Why nothing can be sent after an answer. Displays as a clause about the answer ("its answer ...").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerError {
    Sdp(SdpError),
    /// The m-line is missing, has port 0, or does not receive.
    NoVideo,
    /// It accepts none of the offered formats.
    NoFormat,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnswerError::Sdp(SdpError::Malformed(what)) => write!(f, "is not usable: {what}"),
            AnswerError::Sdp(SdpError::TooLarge(what, most)) => {
                write!(f, "has too many {what}, at most {most} are accepted")
            }
            AnswerError::NoVideo => f.write_str("does not accept the video"),
            AnswerError::NoFormat => f.write_str("accepts none of the offered codecs"),
        }
    }
}

impl From<SdpError> for AnswerError {
    fn from(error: SdpError) -> AnswerError {
        AnswerError::Sdp(error)
    }
}

impl RemoteAnswer {
    /// Parses the answer to an offer of one m-line with these formats, the best first, and with
    /// `playout-delay` by this number. The work is proportional to the length of the text.
    ///
    /// # Errors
    /// Nothing can be sent after this answer.
    pub fn parse(
        sdp: &str,
        offered: &[OfferedFormat],
        playout_delay: u8,
    ) -> Result<RemoteAnswer, AnswerError> {
        let description = Description::read(sdp)?;
        let Description { session, sections, .. } = &description;
        let of_session = session.direction.unwrap_or("sendrecv");
        let takes = |section: &&SdpSection| {
            let direction = section.direction.unwrap_or(of_session);
            section.is_video()
                && !description.is_refused(section)
                && matches!(direction, "recvonly" | "sendrecv")
        };
        let video = sections.iter().find(takes).ok_or(AnswerError::NoVideo)?;
        let is_taken =
            |format: &&OfferedFormat| video.formats.lists(format.payload_type, format.codec.name());
        let format = *offered.iter().find(is_taken).ok_or(AnswerError::NoFormat)?;
        let peer = description.peer(video)?;
        if !peer.is_checkable() {
            // As the controlling agent we have to send checks.
            return Err(ufrag_too_long().into());
        }
        let candidates = session.candidates.iter().chain(&video.candidates);
        let extension = video.playout_delay();
        Ok(RemoteAnswer {
            peer,
            takes_rtx: video.formats.lists(format.rtx, "rtx"),
            takes_playout_delay: extension.is_some_and(|it| it.number == playout_delay),
            candidates: ordered(candidates.filter_map(|it| candidate(it))),
            format,
        })
    }
}

/// The first candidates, with distinct priorities: str0m defines no order for equal ones.
fn ordered(candidates: impl Iterator<Item = (SocketAddr, u32)>) -> Vec<(SocketAddr, u32)> {
    let mut ordered: Vec<(SocketAddr, u32)> = Vec::new();
    for (address, mut priority) in candidates.take(MAX_CANDIDATES) {
        while ordered.iter().any(|(_, taken)| *taken == priority) {
            priority = priority.wrapping_sub(1);
        }
        ordered.push((address, priority));
    }
    ordered
}

/// Parses the address and the priority of a UDP candidate (RFC 8839, section 5.1). Names, such as those of
/// mDNS, are not resolved.
fn candidate(text: &str) -> Option<(SocketAddr, u32)> {
    let mut parts = text.split_ascii_whitespace();
    let (_foundation, component, protocol) = (parts.next()?, parts.next()?, parts.next()?);
    let priority = parts.next()?.parse().ok()?;
    let ip: IpAddr = parts.next()?.parse().ok()?;
    let port = parts.next()?.parse().ok().filter(|port| *port != 0)?;
    let host = ip.to_canonical();
    let is_usable =
        !host.is_unspecified() && !host.is_multicast() && host != IpAddr::from([255; 4]);
    let is_udp = component == "1" && protocol.eq_ignore_ascii_case("udp");
    (is_udp && is_usable).then_some((SocketAddr::new(ip, port), priority))
}
