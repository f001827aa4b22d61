//! A viewer's ICE (RFC 8445): which STUN messages are its own, which addresses it has, where its
//! media goes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use str0m::net::{Protocol, Receive};
use str0m::{Candidate, IceCreds, Input, Rtc, RtcError};

use super::{Viewer, receive};
use crate::sdp::ice::CHECKED_UFRAG_BYTES;
use crate::webrtc::AddressPair;
use crate::webrtc::config::LocalParameters;
use crate::webrtc::effect::ViewerEffect;
use crate::webrtc::learnt_addresses::AddressVerdict;
use crate::webrtc::local_side::{Candidates, LocalSide};
use crate::webrtc::state::ViewerState;

impl Viewer {
    /// Whether a STUN message is for this viewer and authentic: by its integrity (RFC 8489, section
    /// 14.5), and a response by its transaction as well.
    ///
    /// `Rtc::accepts` says yes to anything from the selected pair, but decides by the message where
    /// the address is nobody's, which is what it is asked with here.
    pub fn authenticates(&self, now: Instant, local: SocketAddr, message: &[u8]) -> bool {
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let receive = Receive::new(Protocol::Udp, nobody, local, message);
        receive.is_ok_and(|receive| self.rtc.accepts(&Input::Receive(now, receive)))
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

    /// Whether an authentic response may come from this address, and tell that one of ours.
    pub fn admits_response(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        mapped: SocketAddr,
    ) -> bool {
        let addresses = &mut self.learnt_addresses;
        let admits = addresses.last_check(remote).is_some() && addresses.admit_mapped(mapped);
        if admits && self.is_invited {
            // All that comes from an agent that makes no checks (ICE-lite).
            addresses.note_response(now, remote);
        }
        admits
    }

    /// Takes in a STUN message that it authenticates.
    pub fn handle_stun(&mut self, now: Instant, pair: AddressPair, message: &[u8]) {
        let interrupted = self.activity.note_stun(now, pair);
        if interrupted && self.state == ViewerState::Live {
            // More was lost than can be resent, and Chromium would ask after 3 s only.
            self.effects.push(ViewerEffect::KeyframeRequested);
        }
        self.wake(now);
        // Our end of the pair that media went through is gone. The browser will nominate another,
        // but Chromium takes 5 s for that; until then any pair will do that it answers on.
        // Only a controlling agent chooses by itself, so this is one for the time of the response.
        let chooses = is_response(message) && !self.is_invited && self.has_lost_address();
        self.drive(now, |rtc| {
            if chooses {
                rtc.direct_api().set_ice_controlling(true);
            }
            let received = receive(rtc, now, pair, message);
            if chooses {
                rtc.direct_api().set_ice_controlling(false);
            }
            received
        });
    }

    /// Whether media goes out from an address that is not ours any more.
    fn has_lost_address(&self) -> bool {
        let selected = self.activity.selected();
        selected.is_some_and(|pair| !self.local.candidates.contains(pair.local))
    }

    /// Whether a viewer that answers a check from `remote` is no longer where its media goes.
    pub fn has_moved(&self, now: Instant, remote: SocketAddr) -> bool {
        self.activity.has_moved(now, remote)
    }

    /// Gives up the address that media goes to, for one that has answered a check of ours. ICE by
    /// itself keeps a pair for seconds after its last answered check.
    pub fn drop_selected_pair(&mut self, now: Instant) {
        if let Some(remote) = self.remote() {
            self.discard_candidate(now, remote);
        }
    }

    fn discard_candidate(&mut self, now: Instant, remote: SocketAddr) {
        self.drive(now, |rtc| {
            // A remote candidate is known by its kind and address; the rest is not compared.
            rtc.direct_api().invalidate_candidate(&remote_candidate(remote, 1, "prflx")?);
            rtc.handle_input(Input::Timeout(now))
        });
    }

    /// Our addresses have changed. Who watches is asked from the new ones whether it hears us there,
    /// and may choose one.
    pub fn set_addresses(&mut self, now: Instant, addresses: &[SocketAddr]) {
        let mut candidates = std::mem::take(&mut self.local.candidates);
        self.drive(now, |rtc| {
            update_candidates(rtc, &mut candidates, addresses);
            rtc.handle_input(Input::Timeout(now))
        });
        self.local.candidates = candidates;
    }

    /// An ICE restart (RFC 8445, section 9) with credentials that both sides have exchanged. Media
    /// goes on where it went until a check of the new session is answered from elsewhere.
    ///
    /// `DirectApi` has no restart: new credentials for both sides come nearest.
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

    /// Whether an ICE restart with this user fragment of the viewer's is possible.
    pub fn can_restart_with(&self, ufrag: &str) -> bool {
        self.local.is_ice_lite || ufrag.len() <= CHECKED_UFRAG_BYTES
    }

    /// Whether these are the ICE credentials that the viewer has sent last.
    pub fn has_remote_credentials(&self, credentials: &IceCreds) -> bool {
        self.remote_credentials == *credentials
    }
}

/// Of this kind (RFC 8839, section 5.1).
pub(super) fn remote_candidate(
    address: SocketAddr,
    priority: u32,
    kind: &str,
) -> Result<Candidate, RtcError> {
    let (ip, port) = (address.ip(), address.port());
    let text = format!("candidate:0 1 udp {priority} {ip} {port} typ {kind}");
    Ok(Candidate::from_sdp_string(&text)?)
}

/// Our end of a connection that is being made, and our candidates in it.
pub(super) fn local_side(rtc: &mut Rtc, local: &LocalParameters) -> LocalSide {
    let [session, session_low, ..] = local.random;
    let mut candidates = Candidates::default();
    update_candidates(rtc, &mut candidates, &local.addresses);
    LocalSide {
        session: u64::from(session >> 1) << 32 | u64::from(session_low),
        descriptions: 0,
        is_dtls_client: false,
        is_ice_lite: false,
        fingerprint: rtc.direct_api().local_dtls_fingerprint().to_string(),
        candidates,
        announced: local.announced.to_vec(),
        credentials: local.credentials.clone(),
    }
}

/// Our addresses are these: what is new becomes a candidate, what is gone is none any more.
fn update_candidates(rtc: &mut Rtc, candidates: &mut Candidates, addresses: &[SocketAddr]) {
    let gone = candidates.0.extract_if(.., |candidate| !addresses.contains(&candidate.addr()));
    for candidate in gone {
        rtc.direct_api().invalidate_candidate(&candidate);
    }
    for address in addresses {
        if candidates.contains(*address) {
            continue;
        }
        match Candidate::host(*address, Protocol::Udp) {
            Ok(candidate) => candidates.0.extend(rtc.add_local_candidate(candidate).cloned()),
            Err(error) => log::debug!("{address} is no candidate: {error}"),
        }
    }
}

/// Whether a STUN message is a success response to a binding request (RFC 8489, section 5).
fn is_response(message: &[u8]) -> bool {
    matches!(message, [1, 1, ..])
}
