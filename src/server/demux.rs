//! Finds the viewer a datagram belongs to, by its source address or by our ICE user fragment.

use std::net::SocketAddr;
use std::time::Instant;

use is::stun::StunMessage;

use crate::server::Server;
use crate::webrtc::AddressPair;
use crate::webrtc::ViewerId;

impl Server {
    /// Hands a datagram to its viewer. Drops and counts one that belongs to no viewer.
    pub(crate) fn handle_datagram(&mut self, now: Instant, pair: AddressPair, contents: &[u8]) {
        // The first byte tells the protocol (RFC 7983, section 7), the second one tells RTCP from RTP
        // (RFC 5761, section 4), which no viewer sends.
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

    /// A binding request names its viewer by our user fragment, and a response by the transaction of our
    /// request. Any other message has to come from an address that a viewer owns.
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
            self.viewers.with_check(message.trans_id(), pair.remote)?
        } else {
            self.viewers.at(pair.remote)?
        };
        let entry = self.viewers.get_mut(id)?;
        let authentic = entry.viewer.authenticate(now, pair, contents)?;
        if is_response {
            if !entry.viewer.admits_response(now, pair.remote, message.mapped_address()?) {
                return None;
            }
            if entry.viewer.has_moved(now, pair.remote) {
                self.with_viewer(now, id, |viewer| viewer.drop_selected_pair(now));
            }
            self.viewers.complete_check(message.trans_id());
        } else {
            let mut admitted = false;
            self.with_viewer(now, id, |viewer| admitted = viewer.admits_address(now, pair.remote));
            if !admitted {
                return None;
            }
            self.viewers.claim_address(pair.remote, id);
        }
        self.with_viewer(now, id, |viewer| viewer.handle_stun(now, authentic, is_response));
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
