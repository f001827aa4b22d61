//! Our end of a connection, for our answers and our offers.

use std::net::{IpAddr, SocketAddr};

use str0m::net::Protocol;
use str0m::{Candidate, IceCreds};

use crate::sdp::answer;
use crate::sdp::local::{AnsweredFormat, Local};
use crate::sdp::local_offer::{self, OfferedFormat};
use crate::sdp::offer::Offer;

pub struct LocalSide {
    /// The id of the SDP session (RFC 8866, section 5.2).
    pub session: u64,
    /// How many descriptions were written.
    pub descriptions: u64,
    pub is_dtls_client: bool,
    pub is_ice_lite: bool,
    /// Answers accept the header extension `urn:3gpp:video-orientation`.
    pub sends_orientation: bool,
    pub fingerprint: String,
    pub candidates: Candidates,
    /// Extra addresses, such as that of a NAT, that lead to our port.
    pub announced: Vec<IpAddr>,
    pub credentials: IceCreds,
}

impl LocalSide {
    /// Writes the answer to another offer.
    pub fn answer(&mut self, offer: &Offer, stream: &AnsweredFormat) -> String {
        let setup = if self.is_dtls_client { "active" } else { "passive" };
        self.describe(setup, stream, |local| answer::write(offer, local))
    }

    /// Writes an offer of the stream in these formats.
    pub fn offer(
        &mut self,
        formats: &[OfferedFormat],
        playout_delay: u8,
        stream: &AnsweredFormat,
    ) -> String {
        self.describe("actpass", stream, |local| local_offer::write(formats, playout_delay, local))
    }

    fn describe(
        &mut self,
        setup: &'static str,
        stream: &AnsweredFormat,
        write: impl FnOnce(&Local) -> String,
    ) -> String {
        self.descriptions += 1;
        write(&Local {
            session: self.session,
            version: self.descriptions,
            setup,
            credentials: &self.credentials,
            is_ice_lite: self.is_ice_lite,
            sends_orientation: self.sends_orientation,
            candidates: &self.candidates(),
            fingerprint: &self.fingerprint,
            stream,
        })
    }

    /// Our candidates as `candidate:…`.
    pub fn candidates(&self) -> Vec<String> {
        let own = self.candidates.0.iter().map(Candidate::to_sdp_string);
        own.chain(self.announced_candidates()).collect()
    }

    /// Candidates of the announced addresses, at our port.
    fn announced_candidates(&self) -> impl Iterator<Item = String> {
        let port = self.candidates.0.first().map(|candidate| candidate.addr().port());
        let announced = self.announced.iter().zip(port.into_iter().cycle());
        announced.filter_map(|(address, port)| {
            let candidate = Candidate::host(SocketAddr::new(*address, port), Protocol::Udp);
            Some(candidate.ok()?.to_sdp_string())
        })
    }

    pub fn set_credentials(&mut self, credentials: IceCreds) {
        self.candidates.0.iter_mut().for_each(|candidate| candidate.set_ufrag(&credentials.ufrag));
        self.credentials = credentials;
    }
}

/// Our host candidates, one for each of our UDP addresses.
#[derive(Default)]
pub struct Candidates(pub Vec<Candidate>);

impl Candidates {
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.0.iter().any(|candidate| candidate.addr() == address)
    }
}
