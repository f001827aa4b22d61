//! Our end of a viewer's connection, as our answers or our offer describe it.

use std::net::{IpAddr, SocketAddr};

use str0m::net::Protocol;
use str0m::{Candidate, IceCreds};

use crate::sdp::answer::{self, Local, StreamFormat};
use crate::sdp::offer::Offer;

pub struct LocalSide {
    /// Names the session in our answers (RFC 8866, section 5.2).
    pub session: u64,
    /// How many answers there were.
    pub answers: u64,
    pub is_dtls_client: bool,
    pub fingerprint: String,
    pub candidates: Candidates,
    /// Addresses of others that lead to our port.
    pub announced: Vec<IpAddr>,
    pub credentials: IceCreds,
}

impl LocalSide {
    /// The answer to one more offer.
    pub fn answer(&mut self, offer: &Offer, stream: &StreamFormat) -> String {
        self.answers += 1;
        let local = Local {
            session: self.session,
            version: self.answers,
            is_client: self.is_dtls_client,
            credentials: &self.credentials,
            candidates: &self.candidates(),
            fingerprint: &self.fingerprint,
            stream,
        };
        answer::write(offer, &local)
    }

    /// Each `candidate:…`.
    pub fn candidates(&self) -> Vec<String> {
        let own = self.candidates.0.iter().map(Candidate::to_sdp_string);
        own.chain(self.announced_candidates()).collect()
    }

    /// Those of others that lead to our port.
    pub fn announced_candidates(&self) -> impl Iterator<Item = String> {
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
