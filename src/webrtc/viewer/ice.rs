//! A viewer's ICE (RFC 8445): authenticates STUN messages, limits the addresses of the viewer, and follows
//! it when it or we move.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use str0m::net::{Protocol, Receive};
use str0m::{IceCreds, Input};

use super::Viewer;
use super::connection::{remote_candidate, update_candidates};
use crate::sdp::ice::CHECKED_UFRAG_BYTES;
use crate::webrtc::effect::ViewerEffect;
use crate::webrtc::learnt_addresses::AddressVerdict;
use crate::webrtc::state::ViewerState;
use crate::webrtc::{AddressPair, StunMessage, TransId};

/// A STUN message that a viewer has authenticated, as str0m has parsed it.
pub struct AuthenticStun<'a> {
    pair: AddressPair,
    input: Input<'a>,
}

impl Viewer {
    /// Parses a STUN message for str0m, and checks that it is for this viewer and authentic: by its
    /// integrity (RFC 8489, section 14.5), and a response by its transaction as well.
    ///
    /// `Rtc::accepts` accepts everything from the selected pair, but decides by the message for an
    /// address that it does not know, which is why it is asked with one here.
    pub fn authenticate<'a>(
        &self,
        now: Instant,
        pair: AddressPair,
        message: &'a [u8],
    ) -> Option<AuthenticStun<'a>> {
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let receive = Receive::new(Protocol::Udp, unknown, pair.local, message).ok()?;
        let mut input = Input::Receive(now, receive);
        if !self.rtc.accepts(&input) {
            return None;
        }
        if let Input::Receive(_, receive) = &mut input {
            receive.source = pair.remote;
        }
        Some(AuthenticStun { pair, input })
    }

    /// Whether an authentic check may come from this address. A viewer has a few addresses at a
    /// time, and new ones now and then.
    pub fn admits_address(&mut self, now: Instant, remote: SocketAddr) -> bool {
        match self.learnt_addresses.admit(now, remote, self.remote()) {
            AddressVerdict::Known | AddressVerdict::New(None) => true,
            AddressVerdict::New(Some(dropped)) => {
                self.effects.push(ViewerEffect::AddressDropped(dropped));
                self.discard_candidate(now, dropped);
                true
            }
            AddressVerdict::TooMany => false,
        }
    }

    /// Whether an authentic response may come from `remote`, and may name our address `mapped`.
    pub fn admits_response(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        mapped: SocketAddr,
    ) -> bool {
        let addresses = &mut self.learnt_addresses;
        let admits = addresses.last_check(remote).is_some() && addresses.admit_mapped(mapped);
        if admits && self.is_media_server {
            // An ICE-lite agent sends no checks, only responses.
            addresses.note_response(now, remote);
        }
        admits
    }

    /// Handles an authentic STUN message.
    pub fn handle_stun(&mut self, now: Instant, message: AuthenticStun, is_response: bool) {
        let AuthenticStun { pair, input } = message;
        let interrupted = self.activity.note_stun(now, pair);
        if interrupted && self.state == ViewerState::Live {
            // More was lost than can be resent, and Chromium would request a key frame only after 3 s.
            self.effects.push(ViewerEffect::KeyframeRequested);
        }
        self.wake(now);
        // Our end of the selected pair is gone. The browser will nominate another pair, but Chromium
        // takes 5 s for that. Until then, use any pair that it responds on: only a controlling agent
        // selects a pair by itself, so take that role while the response is handled.
        let selects = is_response && !self.is_media_server && self.has_lost_address();
        self.drive(now, |rtc| {
            if selects {
                rtc.direct_api().set_ice_controlling(true);
            }
            let received = rtc.handle_input(input);
            if selects {
                rtc.direct_api().set_ice_controlling(false);
            }
            received
        });
    }

    /// Whether media leaves from an address that we have lost.
    fn has_lost_address(&self) -> bool {
        let selected = self.activity.selected();
        selected.is_some_and(|pair| !self.local.candidates.contains(pair.local))
    }

    /// Whether a viewer that responds to a check from `remote` has left the address that media goes to.
    pub fn has_moved(&self, now: Instant, remote: SocketAddr) -> bool {
        self.activity.has_moved(now, remote)
    }

    /// Gives up the address that media goes to, in favour of one that has responded to a check. ICE by
    /// itself keeps a pair for seconds after its last response.
    pub fn drop_selected_pair(&mut self, now: Instant) {
        if let Some(remote) = self.remote() {
            self.discard_candidate(now, remote);
        }
    }

    fn discard_candidate(&mut self, now: Instant, remote: SocketAddr) {
        self.drive(now, |rtc| {
            // A remote candidate is identified by its type and address; the rest is not compared.
            rtc.direct_api().invalidate_candidate(&remote_candidate(remote, 1, "prflx")?);
            rtc.handle_input(Input::Timeout(now))
        });
    }

    /// Replaces our addresses. ICE checks the paths from the new ones, and may select one.
    pub fn set_addresses(&mut self, now: Instant, addresses: &[SocketAddr]) {
        let mut candidates = std::mem::take(&mut self.local.candidates);
        self.drive(now, |rtc| {
            update_candidates(rtc, &mut candidates, addresses);
            rtc.handle_input(Input::Timeout(now))
        });
        self.local.candidates = candidates;
    }

    /// Restarts ICE (RFC 8445, section 9) with credentials that both sides have exchanged. Media keeps
    /// its path until a check of the new session is answered on another.
    ///
    /// `DirectApi` has no restart: setting new credentials for both sides comes nearest.
    pub fn restart_ice(&mut self, now: Instant, local: IceCreds, remote: IceCreds) {
        self.local.set_credentials(local.clone());
        self.remote_credentials = remote.clone();
        self.activity.note_ice_restart();
        self.drive(now, |rtc| {
            let mut api = rtc.direct_api();
            api.set_local_ice_credentials(local);
            api.set_remote_ice_credentials(remote);
            rtc.handle_input(Input::Timeout(now))
        });
    }

    /// Whether ICE can restart with this remote user fragment.
    pub fn can_restart_with(&self, ufrag: &str) -> bool {
        self.local.is_ice_lite || ufrag.len() <= CHECKED_UFRAG_BYTES
    }

    /// Whether the viewer's current ICE credentials are these.
    pub fn has_remote_credentials(&self, credentials: &IceCreds) -> bool {
        self.remote_credentials == *credentials
    }
}

/// The transaction of one of our connectivity checks, if the datagram is one.
pub(super) fn check_of(datagram: &[u8]) -> Option<TransId> {
    let message = StunMessage::parse(datagram).ok()?;
    message.is_binding_request().then(|| message.trans_id())
}
