//! Whose a datagram is: viewers are found by address, and by our own ICE user fragment.

use std::net::SocketAddr;
use std::time::Instant;

use is::stun::StunMessage;

use super::checks::TransactionId;
use crate::server::Server;
use crate::webrtc::AddressPair;
use crate::webrtc::ViewerId;

impl Server {
    /// Hands a datagram to its viewer. One that is nobody's is dropped and counted.
    pub(crate) fn handle_datagram(&mut self, now: Instant, pair: AddressPair, contents: &[u8]) {
        // The first byte tells what it is (RFC 7983, section 7), the second RTCP from RTP (RFC 5761,
        // section 4), which no viewer sends.
        let recipient = match contents {
            [0..=3, ..] => self.handle_stun(now, pair, contents),
            [20..=63, ..] | [128..=191, 192..=223, ..] => {
                self.viewers.at(pair.remote).inspect(|id| {
                    self.with_viewer(now, *id, |viewer| {
                        viewer.handle_datagram(now, pair, contents);
                    });
                })
            }
            _ => None,
        };
        if recipient.is_none() {
            self.datagrams.dropped += 1;
        }
    }

    /// A binding request names its viewer by our user fragment, a response by the transaction of our
    /// request; anything else comes from an address that is known.
    fn handle_stun(
        &mut self,
        now: Instant,
        pair: AddressPair,
        contents: &[u8],
    ) -> Option<ViewerId> {
        let message = StunMessage::parse(contents).ok()?;
        let is_response = message.is_successful_binding_response();
        let id = if message.is_binding_request() {
            self.viewers.with_ufrag(message.split_username()?.0)?
        } else if is_response {
            self.viewers.with_check(transaction_of(contents)?, pair.remote)?
        } else {
            self.viewers.at(pair.remote)?
        };
        let entry = self.viewers.get_mut(id)?;
        if !entry.viewer.authenticates(now, pair.local, contents) {
            return None;
        }
        if is_response {
            if !entry.viewer.admits_response(now, pair.remote, message.mapped_address()?) {
                return None;
            }
            if entry.viewer.has_moved(now, pair.remote) {
                self.with_viewer(now, id, |viewer| viewer.drop_selected_pair(now));
            }
            self.viewers.complete_check(transaction_of(contents)?);
        } else {
            let mut admitted = false;
            self.with_viewer(now, id, |viewer| admitted = viewer.admits_address(now, pair.remote));
            if !admitted {
                return None;
            }
            self.viewers.claim_address(pair.remote, id);
        }
        self.with_viewer(now, id, |viewer| viewer.handle_stun(now, pair, contents));
        Some(id)
    }

    pub(crate) fn transmit_failed(&mut self, destination: SocketAddr) {
        self.datagrams.failed += 1;
        let id = self.viewers.at(destination);
        if let Some(entry) = id.and_then(|id| self.viewers.get_mut(id)) {
            entry.viewer.shut_gate();
            self.video.request_keyframe(entry.viewer.codec());
        }
    }
}

/// The transaction of a datagram that may be STUN (RFC 8489, section 5).
fn transaction_of(datagram: &[u8]) -> Option<&TransactionId> {
    datagram.get(8..20)?.try_into().ok()
}

/// The transaction of one of our connectivity checks, if the datagram is one.
pub(crate) fn check_of(datagram: &[u8]) -> Option<TransactionId> {
    let is_request = matches!(datagram, [0, 1, ..]);
    transaction_of(datagram).filter(|_| is_request).copied()
}
