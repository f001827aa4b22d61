//! Our end of a viewer's connection, as its answers describe it.

use std::net::SocketAddr;

use str0m::net::Protocol;
use str0m::{Candidate, IceCreds, Rtc};

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
        self.candidates.0.iter().map(Candidate::to_sdp_string).collect()
    }

    pub fn set_credentials(&mut self, credentials: IceCreds) {
        self.candidates.0.iter_mut().for_each(|candidate| candidate.set_ufrag(&credentials.ufrag));
        self.credentials = credentials;
    }
}

/// Our host candidates, one for each of our UDP addresses.
#[derive(Default)]
pub struct Candidates(Vec<Candidate>);

impl Candidates {
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.0.iter().any(|candidate| candidate.addr() == address)
    }

    /// Our addresses are these: what is new becomes a candidate, what is gone is none any more.
    pub fn update(&mut self, rtc: &mut Rtc, addresses: &[SocketAddr]) {
        let gone = self.0.extract_if(.., |candidate| !addresses.contains(&candidate.addr()));
        for candidate in gone {
            rtc.direct_api().invalidate_candidate(&candidate);
        }
        for address in addresses {
            if self.contains(*address) {
                continue;
            }
            match Candidate::host(*address, Protocol::Udp) {
                Ok(candidate) => self.0.extend(rtc.add_local_candidate(candidate).cloned()),
                Err(error) => log::debug!("{address} is no candidate: {error}"),
            }
        }
    }
}
