//! Fake cryptography for tests: messages have the structure and size of the real ones and forged ones
//! are rejected, but packets are readable, and it is fast and deterministic.
//!
//! DTLS is three messages (hello, reply, finished) with retransmission, a certificate in each
//! direction, an authenticated close_notify alert, and fatal alerts. The contract is that of the
//! real implementation (dimpl): what is not understood or not authentic is dropped without an
//! error; a fatal alert is an error, in plain text only before the peer has finished, and changes
//! nothing in the machine. SRTP is
//! the plain text and a 16-byte tag, so that a test can read every packet that the server sends, and
//! a flipped bit is still detected. STUN keeps its real HMAC.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::config::DtlsCert;
use str0m::crypto::dtls::{
    DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, KeyingMaterial,
    ProtocolVersion, SrtpProfile,
};
use str0m::crypto::{
    AeadAes256GcmCipher, CryptoError, CryptoProvider, Sha1HmacProvider, SrtpProvider,
    SupportedAeadAes128Gcm, SupportedAeadAes256Gcm, SupportedAes128CmSha1_80,
};

/// The crypto provider for the `Rtc` of both sides.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        srtp_provider: &NullSrtp,
        dtls_provider: &NullDtls,
        sha1_hmac_provider: &Hmac,
        ..str0m::crypto::from_feature_flags()
    })
}

thread_local! {
    static MASTER_TAG: Cell<bool> = const { Cell::new(false) };
    static PANICS: Cell<bool> = const { Cell::new(false) };
    static HMAC_PANICS: Cell<bool> = const { Cell::new(false) };
    static REAL: CryptoProvider = str0m::crypto::from_feature_flags();
}

/// The real HMAC, which can be made to panic.
#[derive(Debug)]
struct Hmac;

impl Sha1HmacProvider for Hmac {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        assert!(!HMAC_PANICS.get(), "a planted panic");
        REAL.with(|real| real.sha1_hmac_provider.sha1_hmac(key, payloads))
    }
}

/// Makes the HMAC of every STUN message panic on this thread, as long as this is set.
#[allow(dead_code, reason = "for the test of panics")]
pub fn plant_hmac_panic(planted: bool) {
    HMAC_PANICS.set(planted);
}

/// An SRTP tag that is valid for every key while [`accept_master_tag`] is on.
pub const MASTER_TAG_BYTES: [u8; TAG_BYTES] = [0xa5; TAG_BYTES];

/// Whether [`MASTER_TAG_BYTES`] is accepted on this thread. With it, a test can send packets like an
/// attacker who has the keys of a session.
#[allow(dead_code, reason = "the simulator has no attacker with session keys")]
pub fn accept_master_tag(accept: bool) {
    MASTER_TAG.set(accept);
}

/// A fatal alert in plain text, as anybody can forge it, or one that passes for authentic while
/// [`accept_master_tag`] is on.
#[allow(dead_code, reason = "the replay of the corpus has its own datagrams")]
pub fn fatal_alert(authentic: bool) -> Vec<u8> {
    const HANDSHAKE_FAILURE: u8 = 40;
    let rest: &[u8] = if authentic { &MASTER_TAG_BYTES } else { &[HANDSHAKE_FAILURE] };
    [&[ALERT, FATAL], rest].concat()
}

/// Makes code that str0m calls panic on this thread: the start of every DTLS handshake and the
/// decryption of every SRTP packet, as long as this is set.
#[allow(dead_code, reason = "the simulator changes our own source instead")]
pub fn plant_panic(planted: bool) {
    PANICS.set(planted);
}

fn panic_if_planted() {
    assert!(!PANICS.get(), "a planted panic");
}

/// A certificate is arbitrary bytes: only their SHA-256, the fingerprint, is used.
pub fn certificate(seed: u64) -> DtlsCert {
    DtlsCert {
        certificate: digest::<64>(&[b"certificate", &seed.to_be_bytes()]).to_vec(),
        private_key: Vec::new(),
    }
}

/// FNV-1a, extended to `N` bytes. It detects changed bytes and is not secure.
fn digest<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut mix = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    for part in parts {
        part.iter().copied().for_each(&mut mix);
        mix(0xff);
    }
    let mut bytes = [0; N];
    for (index, chunk) in bytes.chunks_mut(8).enumerate() {
        let word = (hash ^ index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = (word ^ (word >> 29)).to_be_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    bytes
}

// The first byte of a DTLS record is 20 to 63 (RFC 7983, section 7).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// The level of an alert (RFC 5246, section 7.2).
const FATAL: u8 = 2;
pub const HELLO: u8 = 1;
pub const REPLY: u8 = 2;
pub const FINISHED: u8 = 3;
const RANDOM_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// Two AES-256 keys and two salts of 12 bytes (RFC 7714, section 12).
const KEYING_BYTES: usize = 2 * 32 + 2 * 12;
/// Chromium's first retransmission timeout. It doubles each time (RFC 6347, section 4.2.4).
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(50);
const LAST_RETRANSMISSION: Duration = Duration::from_secs(3);
const NO_TIMEOUT: Duration = Duration::from_secs(1 << 30);

#[derive(Debug)]
struct NullDtls;

impl DtlsProvider for NullDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        Some(certificate(fastrand::u64(..)))
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        _: DtlsVersion,
        _: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        panic_if_planted();
        let mut random = [0; RANDOM_BYTES];
        fastrand::fill(&mut random);
        Ok(Box::new(Instance {
            certificate: cert.certificate.clone(),
            random,
            active: false,
            now,
            peer: None,
            connected: false,
            closing: false,
            flight: None,
            retransmit_at: None,
            wait: FIRST_RETRANSMISSION,
            packets: VecDeque::new(),
            events: VecDeque::new(),
        }))
    }
}

#[derive(Debug)]
enum Event {
    Certificate(Vec<u8>),
    Keys,
    Connected,
    Closed,
}

#[derive(Debug)]
struct Instance {
    certificate: Vec<u8>,
    random: [u8; RANDOM_BYTES],
    active: bool,
    now: Instant,
    peer: Option<Peer>,
    connected: bool,
    closing: bool,
    /// The message that is retransmitted until the peer answers it.
    flight: Option<Vec<u8>>,
    retransmit_at: Option<Instant>,
    wait: Duration,
    packets: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

#[derive(Debug, Clone)]
struct Peer {
    random: [u8; RANDOM_BYTES],
    certificate: Vec<u8>,
}

fn message_tag(kind: u8, body: &[u8]) -> [u8; TAG_BYTES] {
    digest(&[b"message", &[kind], body])
}

impl Instance {
    /// With a digest of it at its end: what was changed on the way is no message, as with a signature.
    fn message(&self, kind: u8, tail: &[u8]) -> Vec<u8> {
        let tag = message_tag(kind, &[&self.random, tail].concat());
        [&[HANDSHAKE, kind][..], &self.random, tail, &tag].concat()
    }

    fn send_flight(&mut self, message: Vec<u8>) {
        self.packets.push_back(message.clone());
        self.flight = Some(message);
        self.retransmit_at = Some(self.now + self.wait);
    }

    fn keys(&self) -> Option<[u8; KEYING_BYTES]> {
        let peer = self.peer.as_ref()?;
        let (client, server) =
            if self.active { (&self.random, &peer.random) } else { (&peer.random, &self.random) };
        Some(digest(&[b"keys", client, server]))
    }

    fn connect(&mut self) {
        let Some(peer) = self.peer.clone().filter(|_| !self.connected) else {
            return;
        };
        self.connected = true;
        (self.flight, self.retransmit_at) = (None, None);
        self.events.push_back(Event::Certificate(peer.certificate));
        self.events.push_back(Event::Keys);
        self.events.push_back(Event::Connected);
    }

    fn authentication_tag(&self, label: &[u8]) -> Option<[u8; TAG_BYTES]> {
        Some(digest(&[label, &self.keys()?]))
    }

    fn handshake(&mut self, kind: u8, bytes: &[u8]) -> Option<()> {
        let (body, tag) = bytes.split_last_chunk()?;
        if *tag != message_tag(kind, body) {
            return None;
        }
        let random: [u8; RANDOM_BYTES] = body.get(..RANDOM_BYTES)?.try_into().ok()?;
        let tail = &body[RANDOM_BYTES..];
        match kind {
            HELLO if !self.active => {
                let certificate = tail.to_vec();
                self.peer.get_or_insert(Peer { random, certificate });
                let reply = self.message(REPLY, &self.certificate);
                self.packets.push_back(reply);
            }
            REPLY if self.active => {
                let certificate = tail.to_vec();
                self.peer.get_or_insert(Peer { random, certificate });
                let tag = self.authentication_tag(b"finished")?;
                let finished = self.message(FINISHED, &tag);
                self.packets.push_back(finished);
                self.connect();
            }
            FINISHED
                if !self.active
                    && random == self.peer.as_ref()?.random
                    && tail == self.authentication_tag(b"finished")? =>
            {
                self.connect();
            }
            _ => return None,
        }
        Some(())
    }
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        self.active = active;
        if active {
            self.send_flight(self.message(HELLO, &self.certificate.clone()));
        }
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        match packet {
            [HANDSHAKE, kind, body @ ..] => {
                let _handled = self.handshake(*kind, body);
            }
            [ALERT, tag @ ..]
                if Some(tag)
                    == self.authentication_tag(b"close_notify").as_ref().map(|t| &t[..]) =>
            {
                self.events.push_back(Event::Closed);
            }
            [ALERT, FATAL, rest @ ..] => {
                let plain = rest.len() == 1 && !self.connected;
                if plain || rest == MASTER_TAG_BYTES && MASTER_TAG.get() {
                    return Err(DtlsImplError::ConnectionClosed);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let copy = |bytes: &[u8], buf: &'a mut [u8]| {
            buf[..bytes.len()].copy_from_slice(bytes);
            &buf[..bytes.len()]
        };
        if let Some(packet) = self.packets.pop_front() {
            return DtlsOutput::Packet(copy(&packet, buf));
        }
        match self.events.pop_front() {
            Some(Event::Certificate(der)) => DtlsOutput::PeerCert(copy(&der, buf)),
            Some(Event::Keys) => {
                let keys = self.keys().expect("connected means that the peer is known");
                DtlsOutput::KeyingMaterial(
                    KeyingMaterial::new(&keys),
                    SrtpProfile::AEAD_AES_256_GCM,
                )
            }
            Some(Event::Connected) => DtlsOutput::Connected,
            Some(Event::Closed) => DtlsOutput::CloseNotify,
            None => DtlsOutput::Timeout(self.retransmit_at.unwrap_or(self.now + NO_TIMEOUT)),
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.now = now;
        if let Some(flight) = self.flight.clone().filter(|_| self.retransmit_at <= Some(now)) {
            self.wait = (self.wait * 2).min(LAST_RETRANSMISSION);
            self.send_flight(flight);
        }
        Ok(())
    }

    fn send_application_data(&mut self, _: &[u8]) -> Result<usize, DtlsImplError> {
        Ok(0)
    }

    fn is_active(&self) -> bool {
        self.active
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.connected.then_some(ProtocolVersion::DTLS1_2)
    }

    fn is_closing(&self) -> bool {
        self.closing
    }

    fn is_closed(&self) -> bool {
        self.closing && self.packets.is_empty()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        let tag = self.authentication_tag(b"close_notify");
        if let Some(tag) = tag.filter(|_| self.connected && !self.closing) {
            self.packets.push_back([&[ALERT][..], &tag].concat());
        }
        (self.flight, self.retransmit_at) = (None, None);
        self.closing = true;
        Ok(())
    }
}

#[derive(Debug)]
struct NullSrtp;

impl SrtpProvider for NullSrtp {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        unreachable!("the handshake chooses AES-256-GCM")
    }

    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        unreachable!("the handshake chooses AES-256-GCM")
    }

    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        &NullSrtp
    }

    fn srtp_aes_128_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        self.srtp_aes_256_ecb_round(key, input, output);
    }

    fn srtp_aes_256_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        let block: [u8; 32] = digest(&[b"block", key, input]);
        let bytes = output.len().min(block.len());
        output[..bytes].copy_from_slice(&block[..bytes]);
    }
}

#[derive(Debug)]
struct NullCipher {
    key: [u8; 32],
}

impl SupportedAeadAes256Gcm for NullSrtp {
    fn create_cipher(&self, key: [u8; 32], _: bool) -> Box<dyn AeadAes256GcmCipher> {
        Box::new(NullCipher { key })
    }
}

impl NullCipher {
    fn seal(&self, iv: &[u8], aad: &[&[u8]], input: &[u8], output: &mut [u8]) {
        output[..input.len()].copy_from_slice(input);
        let tag = self.tag(iv, aad, input);
        output[input.len()..][..TAG_BYTES].copy_from_slice(&tag);
    }

    fn open(
        &self,
        iv: &[u8],
        aad: &[&[u8]],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let forged = || CryptoError::Other("the tag does not match".into());
        let bytes = input.len().checked_sub(TAG_BYTES).ok_or_else(forged)?;
        let (text, tag) = input.split_at(bytes);
        let master = MASTER_TAG.get() && tag == MASTER_TAG_BYTES;
        if !master && self.tag(iv, aad, text) != tag {
            return Err(forged());
        }
        output[..bytes].copy_from_slice(text);
        Ok(bytes)
    }

    fn tag(&self, iv: &[u8], aad: &[&[u8]], text: &[u8]) -> [u8; TAG_BYTES] {
        digest(&[&self.key, iv, &aad.concat(), text])
    }
}

impl AeadAes256GcmCipher for NullCipher {
    fn encrypt(
        &mut self,
        iv: &[u8; 12],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.seal(iv, &[aad], input, output);
        Ok(())
    }

    fn decrypt(
        &mut self,
        iv: &[u8; 12],
        aads: &[&[u8]],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CryptoError> {
        panic_if_planted();
        self.open(iv, aads, input, output)
    }
}
