//! The way to one viewer: ICE finds the path, DTLS proves who is there and brings the keys. The only
//! file that drives str0m.
//!
//! `IceAgent` and `DtlsInstance` are machines without I/O, which ask that each change be followed by
//! a complete drain of their outputs; `drain` does that.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::config::DtlsCert;
use str0m::crypto::CryptoProvider;
use str0m::crypto::dtls::{DtlsInstance, DtlsOutput, DtlsVersion};
use str0m::ice::{IceAgent, IceAgentEvent, StunMessage, StunPacket};
use str0m::net::Protocol;
use str0m::{Candidate, IceCreds};

use crate::sdp::offer::{Peer, Setup};
use crate::webrtc::rtp::Keying;

/// A deadline in the past is put off by this much, so that the loop never spins.
const SMALLEST_WAIT: Duration = Duration::from_millis(1);
/// How often one drain may meet a deadline that is due already before it is put off.
const MAX_DUE_DEADLINES: usize = 8;
/// Larger than any DTLS record that a handshake has.
const RECORD_BYTES: usize = 2_048;
/// DTLS sends this much in a datagram, which leaves room in any network's MTU.
const DTLS_MTU: usize = 1_150;
/// Records that wait for ICE to choose a path: more than two flights.
const MAX_WAITING_RECORDS: usize = 16;

/// Datagrams from one of our addresses to one address of a viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// One datagram after the other.
    pub contents: Vec<u8>,
    /// What each of them holds; the last may hold less.
    pub datagram_bytes: usize,
}

impl Transmit {
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.contents.chunks(self.datagram_bytes.max(1))
    }
}

/// From where media goes, and where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

impl Path {
    pub fn transmit(self, contents: Vec<u8>) -> Transmit {
        let datagram_bytes = contents.len();
        Transmit { source: self.source, destination: self.destination, contents, datagram_bytes }
    }
}

pub enum Event {
    Transmit(Transmit),
    /// ICE has chosen where media goes; again when it changes its mind.
    PathChosen,
    /// The viewer has proved that the offer's certificate is its own.
    Secured(Keying),
    /// It said goodbye (DTLS close_notify).
    Closed,
    /// DTLS cannot go on, for instance because the certificate was not the offer's.
    Failed,
}

/// What str0m's machines compute with: what a program has installed, or else what it was built with.
pub fn crypto() -> CryptoProvider {
    CryptoProvider::get_default().cloned().unwrap_or_else(str0m::crypto::from_feature_flags)
}

/// What an answer says of our certificate (RFC 8122).
pub fn fingerprint(certificate: &DtlsCert) -> String {
    let hash = crypto().sha256_provider.sha256(&certificate.certificate);
    let bytes: Vec<String> = hash.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("sha-256 {}", bytes.join(":"))
}

/// The handshake's results, until all of them are there.
#[derive(Default)]
struct Handshake {
    connected: bool,
    is_peer: bool,
    keying: Option<Keying>,
}

pub struct Transport {
    ice: IceAgent,
    dtls: Box<dyn DtlsInstance>,
    is_client: bool,
    fingerprint: [u8; 32],
    handshake: Handshake,
    path: Option<Path>,
    /// Records that wait for a path.
    waiting: VecDeque<Vec<u8>>,
    dtls_deadline: Option<Instant>,
    deadline: Instant,
    events: VecDeque<Event>,
}

impl Transport {
    /// `credentials` are our own, from a cryptographic source; `addresses` become our candidates.
    pub fn new(
        peer: &Peer,
        credentials: IceCreds,
        certificate: &DtlsCert,
        addresses: &[SocketAddr],
        now: Instant,
    ) -> Result<Transport, String> {
        let crypto = crypto();
        let mut ice = IceAgent::with_hmac(credentials, crypto.sha1_hmac_provider);
        // The offerer controls, unless it is a lite one (RFC 8445, section 6.1.1).
        ice.set_controlling(peer.ice_lite);
        for address in addresses {
            match Candidate::host(*address, Protocol::Udp) {
                Ok(candidate) => {
                    ice.add_local_candidate(candidate);
                }
                Err(error) => log::debug!("{address} is no candidate: {error}"),
            }
        }
        ice.set_remote_credentials(peer.credentials.clone());
        let provider = crypto.dtls_provider;
        let mut dtls = provider
            .new_dtls(certificate, now, DtlsVersion::Dtls12, Some(DTLS_MTU))
            .map_err(|error| error.to_string())?;
        let is_client = peer.setup == Setup::Passive;
        dtls.set_active(is_client);
        dtls.handle_timeout(now).map_err(|error| error.to_string())?;
        if is_client {
            // An empty packet makes a client begin.
            let _ = dtls.handle_packet(&[]);
        }
        let mut transport = Transport {
            ice,
            dtls,
            is_client,
            fingerprint: peer.fingerprint,
            handshake: Handshake::default(),
            path: None,
            waiting: VecDeque::new(),
            dtls_deadline: None,
            deadline: now,
            events: VecDeque::new(),
        };
        transport.ice.handle_timeout(now);
        transport.drain(now);
        Ok(transport)
    }

    pub fn local_candidates(&self) -> Vec<String> {
        self.ice.local_candidates().map(|candidate| candidate.to_sdp_string()).collect()
    }

    /// Whether a STUN message proves that its sender holds the credentials.
    pub fn authenticates(&self, message: &StunMessage) -> bool {
        self.ice.accepts_message(message)
    }

    /// Whether it was authentic.
    ///
    /// `path` is ours: its source is where the message arrived.
    pub fn handle_stun(&mut self, now: Instant, path: Path, message: StunMessage) -> bool {
        let Path { source: destination, destination: source } = path;
        let packet = StunPacket { proto: Protocol::Udp, source, destination, message };
        let authentic = self.ice.handle_packet(now, packet);
        if authentic {
            self.ice.handle_timeout(now);
            self.drain(now);
        }
        authentic
    }

    /// Whether the machine could make something of it. It discards in silence what was forged in the
    /// form of a record, so this is less than proof.
    pub fn handle_dtls(&mut self, now: Instant, record: &[u8]) -> bool {
        // Before the record: the machine's clock is that of its last deadline.
        let handled = self.dtls.handle_timeout(now).and_then(|()| self.dtls.handle_packet(record));
        if let Err(error) = &handled {
            log::debug!("DTLS: {error}");
        }
        self.drain(now);
        handled.is_ok()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.deadline {
            self.fire(now);
            self.drain(now);
        }
    }

    /// Gives up the address that media goes to. ICE by itself stays with one for 15 s after it has
    /// last answered a check.
    pub fn forsake_path(&mut self, now: Instant) {
        let Some(path) = self.path else { return };
        let candidate = self.ice.remote_candidates().find(|c| c.addr() == path.destination);
        if let Some(candidate) = candidate {
            self.ice.invalidate_candidate(&candidate);
            self.ice.handle_timeout(now);
            self.drain(now);
        }
    }

    /// Begins ICE anew, with credentials that both sides have exchanged. Media goes on where it went
    /// until there is a new path.
    pub fn restart_ice(&mut self, now: Instant, local: IceCreds, remote: IceCreds) {
        self.ice.ice_restart(local, true);
        self.ice.set_remote_credentials(remote);
        self.ice.handle_timeout(now);
        self.drain(now);
    }

    /// Whether we are the client of DTLS.
    pub fn is_client(&self) -> bool {
        self.is_client
    }

    pub fn local_credentials(&self) -> &IceCreds {
        self.ice.local_credentials()
    }

    pub fn has_peer(&self, credentials: &IceCreds) -> bool {
        self.ice.remote_credentials() == Some(credentials)
    }

    /// Says goodbye (DTLS close_notify).
    pub fn close(&mut self, now: Instant) {
        if let Err(error) = self.dtls.close() {
            log::debug!("DTLS: {error}");
        }
        self.drain(now);
    }

    pub fn path(&self) -> Option<Path> {
        self.path
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    fn fire(&mut self, now: Instant) {
        self.ice.handle_timeout(now);
        if self.dtls_deadline.is_some_and(|deadline| now >= deadline)
            && let Err(error) = self.dtls.handle_timeout(now)
        {
            // A handshake that took too long.
            log::debug!("DTLS: {error}");
            self.events.push_back(Event::Failed);
        }
    }

    fn drain(&mut self, now: Instant) {
        for _ in 0..MAX_DUE_DEADLINES {
            self.drain_ice();
            self.drain_dtls();
            let ice = self.ice.poll_timeout();
            let next = [ice, self.dtls_deadline].into_iter().flatten().min();
            self.deadline = next.unwrap_or(now + SMALLEST_WAIT);
            if self.deadline > now {
                return;
            }
            self.fire(now);
        }
        self.deadline = now + SMALLEST_WAIT;
    }

    fn drain_ice(&mut self) {
        while let Some(event) = self.ice.poll_event() {
            if let IceAgentEvent::NominatedSend { source, destination, .. } = event {
                self.path = Some(Path { source, destination });
                self.events.push_back(Event::PathChosen);
            }
        }
        while let Some(check) = self.ice.poll_transmit() {
            let path = Path { source: check.source, destination: check.destination };
            self.events.push_back(Event::Transmit(path.transmit(check.contents.to_vec())));
        }
    }

    fn drain_dtls(&mut self) {
        let mut buffer = [0; RECORD_BYTES];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                DtlsOutput::Packet(record) => {
                    self.waiting.push_back(record.to_vec());
                    if self.waiting.len() > MAX_WAITING_RECORDS {
                        self.waiting.pop_front();
                    }
                }
                DtlsOutput::Connected => self.handshake.connected = true,
                DtlsOutput::KeyingMaterial(material, profile) => {
                    let material = material.as_ref().to_vec();
                    let is_client = self.is_client;
                    self.handshake.keying = Some(Keying { profile, material, is_client });
                }
                DtlsOutput::PeerCert(certificate) => {
                    let shown = crypto().sha256_provider.sha256(certificate);
                    self.handshake.is_peer = shown == self.fingerprint;
                    if !self.handshake.is_peer {
                        log::debug!("the certificate is not the offer's");
                        self.events.push_back(Event::Failed);
                    }
                }
                DtlsOutput::CloseNotify => {
                    self.events.push_back(Event::Closed);
                }
                DtlsOutput::Timeout(deadline) => {
                    self.dtls_deadline = Some(deadline);
                    break;
                }
                // No data channel is ever agreed on.
                DtlsOutput::ApplicationData(_) => {}
                other => {
                    log::debug!("DTLS: {other:?}");
                    self.events.push_back(Event::Failed);
                    break;
                }
            }
        }
        if let Some(path) = self.path {
            let records = self.waiting.drain(..);
            self.events.extend(records.map(|record| Event::Transmit(path.transmit(record))));
        }
        let Handshake { connected, is_peer, .. } = self.handshake;
        if connected
            && is_peer
            && let Some(keying) = self.handshake.keying.take()
        {
            self.events.push_back(Event::Secured(keying));
        }
    }
}
