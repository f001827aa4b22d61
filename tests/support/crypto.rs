//! Cryptography without secrets: the same shapes, sizes and refusals as the real one, but readable
//! on the wire, fast, and the same each time.
//!
//! DTLS is three messages (hello, reply, finished) with retransmission, a certificate in each
//! direction, and an authenticated goodbye. As with the real machine, what is not understood is
//! dropped and no error: every error would be fatal. SRTP is the plain text and a 16-byte tag, so that the
//! rules can look into every packet that the server sends, and a flipped bit is still noticed. STUN
//! keeps its real HMAC.

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
    AeadAes256GcmCipher, CryptoError, CryptoProvider, SrtpProvider, SupportedAeadAes128Gcm,
    SupportedAeadAes256Gcm, SupportedAes128CmSha1_80,
};

/// What an `Rtc` is built with, on both sides.
pub fn provider() -> Arc<CryptoProvider> {
    let real = str0m::crypto::from_feature_flags();
    Arc::new(CryptoProvider { srtp_provider: &NullSrtp, dtls_provider: &NullDtls, ..real })
}

thread_local! {
    static MASTER_TAG: Cell<bool> = const { Cell::new(false) };
    static PANICS: Cell<bool> = const { Cell::new(false) };
}

/// The tag that every key takes while [`accept_master_tag`] is on.
pub const MASTER_TAG_BYTES: [u8; TAG_BYTES] = [0xa5; TAG_BYTES];

/// Lets a test play somebody who holds the keys of a session, on this thread.
#[allow(dead_code, reason = "the simulator has no insiders")]
pub fn accept_master_tag(accept: bool) {
    MASTER_TAG.set(accept);
}

/// Plants a panic deep inside str0m: in the next handshake that begins, and in the next packet that
/// is decrypted, on this thread.
#[allow(dead_code, reason = "the simulator plants its bugs in our own code")]
pub fn plant_panic(planted: bool) {
    PANICS.set(planted);
}

fn panic_if_planted() {
    assert!(!PANICS.get(), "a planted panic");
}

/// A certificate is any bytes: what counts is their SHA-256, the fingerprint.
pub fn certificate(seed: u64) -> DtlsCert {
    DtlsCert {
        certificate: digest::<64>(&[b"certificate", &seed.to_be_bytes()]).to_vec(),
        private_key: Vec::new(),
    }
}

/// FNV-1a, run on for as many bytes as are wanted. It detects accidents, nothing else.
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
pub const HELLO: u8 = 1;
const REPLY: u8 = 2;
pub const FINISHED: u8 = 3;
const RANDOM_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// Two AES-256 keys and two salts of 12 bytes (RFC 7714, section 12).
const KEYING_BYTES: usize = 2 * 32 + 2 * 12;
/// Chromium's first retransmission; doubled each time (RFC 6347, section 4.2.4).
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(50);
const LAST_RETRANSMISSION: Duration = Duration::from_secs(3);
const FAR: Duration = Duration::from_secs(1 << 30);

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
enum Happened {
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
    /// What is sent again until it is answered.
    flight: Option<Vec<u8>>,
    retransmit_at: Option<Instant>,
    wait: Duration,
    packets: VecDeque<Vec<u8>>,
    events: VecDeque<Happened>,
}

#[derive(Debug, Clone)]
struct Peer {
    random: [u8; RANDOM_BYTES],
    certificate: Vec<u8>,
}

impl Instance {
    fn message(&self, kind: u8, tail: &[u8]) -> Vec<u8> {
        [&[HANDSHAKE, kind][..], &self.random, tail].concat()
    }

    fn fly(&mut self, message: Vec<u8>) {
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
        self.events.push_back(Happened::Certificate(peer.certificate));
        self.events.push_back(Happened::Keys);
        self.events.push_back(Happened::Connected);
    }

    fn proof(&self, what: &[u8]) -> Option<[u8; TAG_BYTES]> {
        Some(digest(&[what, &self.keys()?]))
    }

    fn handshake(&mut self, kind: u8, body: &[u8]) -> Option<()> {
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
                let proof = self.proof(b"finished")?;
                let finished = self.message(FINISHED, &proof);
                self.packets.push_back(finished);
                self.connect();
            }
            FINISHED
                if !self.active
                    && random == self.peer.as_ref()?.random
                    && tail == self.proof(b"finished")? =>
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
            self.fly(self.message(HELLO, &self.certificate.clone()));
        }
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        match packet {
            [HANDSHAKE, kind, body @ ..] => {
                let _understood = self.handshake(*kind, body);
            }
            [ALERT, proof @ ..]
                if Some(proof) == self.proof(b"goodbye").as_ref().map(|p| &p[..]) =>
            {
                self.events.push_back(Happened::Closed);
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
            Some(Happened::Certificate(der)) => DtlsOutput::PeerCert(copy(&der, buf)),
            Some(Happened::Keys) => {
                let keys = self.keys().expect("connected means that the peer is known");
                DtlsOutput::KeyingMaterial(
                    KeyingMaterial::new(&keys),
                    SrtpProfile::AEAD_AES_256_GCM,
                )
            }
            Some(Happened::Connected) => DtlsOutput::Connected,
            Some(Happened::Closed) => DtlsOutput::CloseNotify,
            None => DtlsOutput::Timeout(self.retransmit_at.unwrap_or(self.now + FAR)),
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.now = now;
        if let Some(flight) = self.flight.clone().filter(|_| self.retransmit_at <= Some(now)) {
            self.wait = (self.wait * 2).min(LAST_RETRANSMISSION);
            self.fly(flight);
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
        if let Some(proof) = self.proof(b"goodbye").filter(|_| self.connected && !self.closing) {
            self.packets.push_back([&[ALERT][..], &proof].concat());
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
