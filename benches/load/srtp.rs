//! SRTP for a viewer: decrypts RTP and RTCP, and encrypts receiver reports. Only AES-GCM (RFC 7714),
//! with key derivation according to RFC 3711, section 4.3.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use str0m::crypto::SrtpProvider;
use str0m::crypto::dtls::SrtpProfile;

use super::tap::Keying;

const SALT_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const RTP_HEADER_BYTES: usize = 12;
const RTCP_HEADER_BYTES: usize = 8;
/// The E flag and the SRTCP index at the end of an SRTCP packet.
const RTCP_TRAILER_BYTES: usize = 4;
const ENCRYPTED: u32 = 1 << 31;
const RECEIVER_REPORT: u8 = 201;
/// Chromium's own SSRC when it sends no media.
const OWN_SSRC: u32 = 1;

// The labels of RFC 3711, section 4.3.2.
const LABEL_RTP_KEY: u8 = 0;
const LABEL_RTP_SALT: u8 = 2;
const LABEL_RTCP_KEY: u8 = 3;
const LABEL_RTCP_SALT: u8 = 5;

/// A decrypted RTP packet.
pub struct Packet<'a> {
    pub payload_type: u8,
    pub marker: bool,
    /// The packet index: sequence number and rollover counter.
    pub index: u64,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: &'a [u8],
}

pub struct Session {
    rtp: Cipher,
    rtcp: Cipher,
    own_rtcp: Cipher,
    own_rtcp_index: u32,
    /// The highest index of each SSRC: media and RTX.
    highest: Vec<(u32, u64)>,
}

impl Session {
    /// `None` if the handshake selected a profile that is not supported here.
    pub fn new(keying: &Keying) -> Option<Session> {
        let key_bytes = match keying.profile {
            SrtpProfile::AEAD_AES_128_GCM => 16,
            SrtpProfile::AEAD_AES_256_GCM => 32,
            _ => return None,
        };
        let (own, theirs) = if keying.is_client { (0, 1) } else { (1, 0) };
        let own = Master::of(keying, key_bytes, own)?;
        let theirs = Master::of(keying, key_bytes, theirs)?;
        Some(Session {
            rtp: theirs.cipher(LABEL_RTP_KEY, LABEL_RTP_SALT)?,
            rtcp: theirs.cipher(LABEL_RTCP_KEY, LABEL_RTCP_SALT)?,
            own_rtcp: own.cipher(LABEL_RTCP_KEY, LABEL_RTCP_SALT)?,
            own_rtcp_index: 0,
            highest: Vec::with_capacity(2),
        })
    }

    /// Decrypts an RTP packet in place. `None` if it is no RTP packet or is not authentic.
    pub fn open_rtp<'a>(&mut self, packet: &'a mut [u8]) -> Option<Packet<'a>> {
        let header_bytes = header_bytes(packet)?;
        let (header, sealed) = packet.split_at_mut_checked(header_bytes)?;
        let sequence = u16::from_be_bytes([header[2], header[3]]);
        let timestamp = word(&header[4..]);
        let ssrc = word(&header[8..]);
        let index = self.index_of(ssrc, sequence);
        let mut nonce = [0; SALT_BYTES];
        nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
        nonce[6..10].copy_from_slice(&((index >> 16) as u32).to_be_bytes());
        nonce[10..12].copy_from_slice(&sequence.to_be_bytes());
        let (payload_type, marker) = (header[1] & 0x7f, header[1] & 0x80 != 0);
        let payload = self.rtp.open(nonce, header, sealed)?;
        self.note_index(ssrc, index);
        Some(Packet { payload_type, marker, index, timestamp, ssrc, payload })
    }

    /// Decrypts an RTCP packet in place. Returns whether it is authentic.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> bool {
        let Some(sealed_to) = packet.len().checked_sub(RTCP_TRAILER_BYTES) else { return false };
        if sealed_to < RTCP_HEADER_BYTES + TAG_BYTES {
            return false;
        }
        let trailer = word(&packet[sealed_to..]);
        let mut header = [0; RTCP_HEADER_BYTES + RTCP_TRAILER_BYTES];
        header[..RTCP_HEADER_BYTES].copy_from_slice(&packet[..RTCP_HEADER_BYTES]);
        header[RTCP_HEADER_BYTES..].copy_from_slice(&packet[sealed_to..]);
        let nonce = rtcp_nonce(word(&packet[4..]), trailer & !ENCRYPTED);
        self.rtcp.open(nonce, &header, &mut packet[RTCP_HEADER_BYTES..sealed_to]).is_some()
    }

    /// An encrypted receiver report on one stream (RFC 3550, section 6.4.2).
    pub fn receiver_report(&mut self, ssrc: u32, highest: u64, lost: u32) -> Vec<u8> {
        let mut body = Vec::with_capacity(64);
        body.extend(ssrc.to_be_bytes());
        body.extend((lost & 0x7f_ffff).to_be_bytes());
        body.extend((highest as u32).to_be_bytes());
        // Jitter, LSR and DLSR are zero.
        body.extend([0; 12]);
        let mut packet = vec![0x81, RECEIVER_REPORT];
        packet.extend(((4 + body.len()) as u16 / 4).to_be_bytes());
        packet.extend(OWN_SSRC.to_be_bytes());

        let index = self.own_rtcp_index;
        self.own_rtcp_index += 1;
        let trailer = (index | ENCRYPTED).to_be_bytes();
        let header = [&packet[..], &trailer].concat();
        self.own_rtcp.seal(rtcp_nonce(OWN_SSRC, index), &header, &mut body);
        packet.extend(body);
        packet.extend(trailer);
        packet
    }

    /// RFC 3711, section 3.3.1.
    fn index_of(&self, ssrc: u32, sequence: u16) -> u64 {
        let sequence = u64::from(sequence);
        let known = self.highest.iter().find(|(known, _)| *known == ssrc);
        let Some(&(_, highest)) = known else { return sequence };
        let near = |index: &u64| index.abs_diff(highest);
        let rollover = highest >> 16;
        let candidates = [rollover.saturating_sub(1), rollover, rollover + 1];
        candidates.map(|r| r << 16 | sequence).into_iter().min_by_key(near).unwrap_or(sequence)
    }

    fn note_index(&mut self, ssrc: u32, index: u64) {
        match self.highest.iter_mut().find(|(known, _)| *known == ssrc) {
            Some((_, highest)) => *highest = index.max(*highest),
            None => self.highest.push((ssrc, index)),
        }
    }
}

/// Whether a datagram is RTP or RTCP, by its first byte (RFC 7983, section 7).
pub fn is_media(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(128..=191))
}

/// Whether media is RTCP (RFC 5761, section 4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram.get(1), Some(192..=223))
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn header_bytes(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let bare = RTP_HEADER_BYTES + 4 * usize::from(first & 0xf);
    let bytes = if first & 0x10 == 0 {
        bare
    } else {
        let extension = packet.get(bare..bare + 4)?;
        bare + 4 + 4 * usize::from(u16::from_be_bytes([extension[2], extension[3]]))
    };
    (packet.len() >= bytes + TAG_BYTES).then_some(bytes)
}

fn rtcp_nonce(ssrc: u32, index: u32) -> [u8; SALT_BYTES] {
    let mut nonce = [0; SALT_BYTES];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[8..12].copy_from_slice(&index.to_be_bytes());
    nonce
}

struct Cipher {
    key: LessSafeKey,
    salt: [u8; SALT_BYTES],
}

impl Cipher {
    fn open<'a>(
        &self,
        nonce: [u8; SALT_BYTES],
        header: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let opened = self.key.open_in_place(self.salted(nonce), Aad::from(header), sealed);
        opened.ok().map(|payload| &*payload)
    }

    fn seal(&self, nonce: [u8; SALT_BYTES], header: &[u8], body: &mut Vec<u8>) {
        let sealed = self.key.seal_in_place_append_tag(self.salted(nonce), Aad::from(header), body);
        sealed.expect("a report is far below GCM's limit");
    }

    fn salted(&self, mut nonce: [u8; SALT_BYTES]) -> Nonce {
        nonce.iter_mut().zip(self.salt).for_each(|(byte, salt)| *byte ^= salt);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// One direction's master key and salt.
struct Master<'a> {
    key: &'a [u8],
    salt: &'a [u8],
}

impl<'a> Master<'a> {
    /// Keys come before salts, the client's before the server's (RFC 5764, section 4.2).
    fn of(keying: &'a Keying, key_bytes: usize, side: usize) -> Option<Master<'a>> {
        let (keys, salts) = keying.material.split_at_checked(2 * key_bytes)?;
        let key = keys.chunks_exact(key_bytes).nth(side)?;
        let salt = salts.chunks_exact(SALT_BYTES).nth(side)?;
        Some(Master { key, salt })
    }

    fn cipher(&self, key_label: u8, salt_label: u8) -> Option<Cipher> {
        let mut key = vec![0; self.key.len()];
        self.derive(key_label, &mut key);
        let mut salt = [0; SALT_BYTES];
        self.derive(salt_label, &mut salt);
        let algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &key).ok()?);
        Some(Cipher { key, salt })
    }

    /// AES in counter mode over the salt and the label.
    fn derive(&self, label: u8, output: &mut [u8]) {
        let srtp: &dyn SrtpProvider = str0m::crypto::from_feature_flags().srtp_provider;
        let mut block = [0; 16];
        block[..SALT_BYTES].copy_from_slice(self.salt);
        block[7] ^= label;
        for (counter, part) in output.chunks_mut(16).enumerate() {
            block[14..].copy_from_slice(&(counter as u16).to_be_bytes());
            let mut stream = [0; 32];
            match self.key.len() {
                16 => srtp.srtp_aes_128_ecb_round(self.key, &block, &mut stream),
                _ => srtp.srtp_aes_256_ecb_round(self.key, &block, &mut stream),
            }
            part.copy_from_slice(&stream[..part.len()]);
        }
    }
}
