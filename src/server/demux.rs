//! Finds the viewer a datagram belongs to, by its source address or by our ICE user fragment.

use super::viewers::ViewerTable;
use crate::webrtc::{AddressPair, StunMessage, ViewerId};

/// The viewer that a datagram is for, as far as can be said before it is authenticated.
///
/// A binding request names its viewer by our user fragment, and a response by the transaction of our
/// request. Any other message has to come from an address that a viewer owns, and so does DTLS or SRTCP,
/// which is no STUN message.
pub(crate) fn find<'a>(
    viewers: &ViewerTable,
    pair: AddressPair,
    contents: &'a [u8],
) -> Option<(ViewerId, Option<StunMessage<'a>>)> {
    // The first byte tells the protocol (RFC 7983, section 7), the second one tells RTCP from RTP (RFC
    // 5761, section 4), which no viewer sends.
    match contents {
        [0..=3, ..] => {
            let message = StunMessage::parse(contents).ok()?;
            let id = if message.is_binding_request() {
                viewers.with_ufrag(message.split_username()?.0)?
            } else if message.is_successful_binding_response() {
                viewers.with_check(message.trans_id(), pair.remote)?
            } else {
                viewers.at(pair.remote)?
            };
            Some((id, Some(message)))
        }
        [20..=63, ..] | [128..=191, 192..=223, ..] => Some((viewers.at(pair.remote)?, None)),
        _ => None,
    }
}
