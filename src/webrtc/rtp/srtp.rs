//! SRTP (RFC 3711) with AES-GCM (RFC 7714) or AES-CM and HMAC-SHA1, as DTLS has chosen (RFC 5764).
//! The ciphers are those of str0m's cryptography; what is done with them is here.

use str0m::crypto::dtls::SrtpProfile;
use str0m::crypto::{
    AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80Cipher, CryptoProvider,
    Sha1HmacProvider,
};

/// The salt of AES-CM; that of AES-GCM is two bytes shorter, and filled with zeros.
const MASTER_SALT_BYTES: usize = 14;
const GCM_SALT_BYTES: usize = 12;
const GCM_TAG_BYTES: usize = 16;
const SHA1_KEY_BYTES: usize = 20;
const SHA1_TAG_BYTES: usize = 10;
const BLOCK_BYTES: usize = 16;

const RTCP_HEADER_BYTES: usize = 8;
/// The flag "encrypted" and the packet's index, which follow an RTCP packet (RFC 3711, section 3.4).
const RTCP_INDEX_BYTES: usize = 4;
const ENCRYPTED: u32 = 1 << 31;

/// The sources of one viewer whose packets are told apart; a browser has one for each kind of media.
const MAX_SOURCES: usize = 8;

/// The labels of RFC 3711, section 4.3.2; those of RTCP are three higher.
const LABEL_KEY: u8 = 0;
const LABEL_AUTHENTICATION: u8 = 1;
const LABEL_SALT: u8 = 2;
const RTCP_LABELS: u8 = 3;

/// What a DTLS handshake leaves for SRTP (RFC 5764, section 4.2).
pub struct Keying {
    pub profile: SrtpProfile,
    /// The client's key, the server's, the client's salt, the server's.
    pub material: Vec<u8>,
    /// Whether we were the client.
    pub is_client: bool,
}

impl Keying {
    /// What we send with, and what we receive RTCP with; `None` if DTLS has chosen something else
    /// than it was offered.
    pub fn into_ends(self, crypto: &CryptoProvider) -> Option<(Sealer, Opener)> {
        let (key_bytes, salt_bytes) = match self.profile {
            SrtpProfile::AEAD_AES_256_GCM => (32, GCM_SALT_BYTES),
            SrtpProfile::AEAD_AES_128_GCM => (16, GCM_SALT_BYTES),
            SrtpProfile::AES128_CM_SHA1_80 => (16, MASTER_SALT_BYTES),
            _ => return None,
        };
        let part = |start: usize, bytes| self.material.get(start..start + bytes);
        let master = |end: usize| {
            Some(Master {
                profile: self.profile,
                key: part(end * key_bytes, key_bytes)?,
                salt: part(2 * key_bytes + end * salt_bytes, salt_bytes)?,
                crypto,
            })
        };
        let (ours, theirs) = if self.is_client { (0, 1) } else { (1, 0) };
        let (ours, theirs) = (master(ours)?, master(theirs)?);
        let sealer =
            Sealer { rtp: ours.cipher(0)?, rtcp: ours.cipher(RTCP_LABELS)?, next_rtcp_index: 0 };
        Some((sealer, Opener { rtcp: theirs.cipher(RTCP_LABELS)?, seen: Vec::new() }))
    }
}

struct Master<'a> {
    profile: SrtpProfile,
    key: &'a [u8],
    salt: &'a [u8],
    crypto: &'a CryptoProvider,
}

impl Master<'_> {
    /// The cipher of RTP, or with [`RTCP_LABELS`] that of RTCP.
    fn cipher(&self, labels: u8) -> Option<Cipher> {
        let srtp = self.crypto.srtp_provider;
        let mut salt = [0; MASTER_SALT_BYTES];
        self.derive(labels + LABEL_SALT, &mut salt[..self.salt.len()]);
        let algorithm = match self.profile {
            SrtpProfile::AEAD_AES_256_GCM => {
                let key = self.derived(labels + LABEL_KEY);
                Algorithm::Gcm256(srtp.aead_aes_256_gcm().create_cipher(key, true))
            }
            SrtpProfile::AEAD_AES_128_GCM => {
                let key = self.derived(labels + LABEL_KEY);
                Algorithm::Gcm128(srtp.aead_aes_128_gcm().create_cipher(key, true))
            }
            SrtpProfile::AES128_CM_SHA1_80 => {
                let key = self.derived(labels + LABEL_KEY);
                Algorithm::CmSha1 {
                    cipher: srtp.aes_128_cm_sha1_80().create_cipher(key, true),
                    hmac: self.crypto.sha1_hmac_provider,
                    hmac_key: self.derived(labels + LABEL_AUTHENTICATION),
                }
            }
            _ => return None,
        };
        Some(Cipher { algorithm, salt })
    }

    fn derived<const N: usize>(&self, label: u8) -> [u8; N] {
        let mut key = [0; N];
        self.derive(label, &mut key);
        key
    }

    /// The key stream of AES in counter mode over the salt and the label (RFC 3711, section 4.3.3).
    fn derive(&self, label: u8, derived: &mut [u8]) {
        let mut block = [0; BLOCK_BYTES];
        block[..self.salt.len()].copy_from_slice(self.salt);
        block[7] ^= label;
        for (counter, part) in (0_u16..).zip(derived.chunks_mut(BLOCK_BYTES)) {
            block[14..].copy_from_slice(&counter.to_be_bytes());
            // Some implementations fill a second block.
            let mut stream = [0; 2 * BLOCK_BYTES];
            let srtp = self.crypto.srtp_provider;
            match self.key.len() {
                16 => srtp.srtp_aes_128_ecb_round(self.key, &block, &mut stream),
                _ => srtp.srtp_aes_256_ecb_round(self.key, &block, &mut stream),
            }
            part.copy_from_slice(&stream[..part.len()]);
        }
    }
}

struct Cipher {
    algorithm: Algorithm,
    salt: [u8; MASTER_SALT_BYTES],
}

enum Algorithm {
    Gcm128(Box<dyn AeadAes128GcmCipher>),
    Gcm256(Box<dyn AeadAes256GcmCipher>),
    CmSha1 {
        cipher: Box<dyn Aes128CmSha1_80Cipher>,
        hmac: &'static dyn Sha1HmacProvider,
        hmac_key: [u8; SHA1_KEY_BYTES],
    },
}

impl Cipher {
    /// The nonce of a packet: SSRC and index, under the salt. `index` has 48 bits. The layouts of
    /// RFC 7714, sections 8.1 and 9.1, are one, if the index of RTCP is put at the end.
    fn gcm_nonce(&self, ssrc: u32, index: u64) -> [u8; GCM_SALT_BYTES] {
        let mut nonce = [0; GCM_SALT_BYTES];
        nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
        nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
        nonce.iter_mut().zip(self.salt).for_each(|(byte, salt)| *byte ^= salt);
        nonce
    }

    /// The first counter block of AES-CM (RFC 3711, section 4.1.1).
    fn cm_counter(&self, ssrc: u32, index: u64) -> [u8; BLOCK_BYTES] {
        let mut counter = [0; BLOCK_BYTES];
        counter[4..8].copy_from_slice(&ssrc.to_be_bytes());
        counter[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
        counter.iter_mut().zip(self.salt).for_each(|(byte, salt)| *byte ^= salt);
        counter
    }

    fn tag_bytes(&self) -> usize {
        if self.tags_with_hmac() { SHA1_TAG_BYTES } else { GCM_TAG_BYTES }
    }

    /// The tag of AES-GCM comes before the index of an RTCP packet, that of HMAC after it.
    fn tags_with_hmac(&self) -> bool {
        matches!(self.algorithm, Algorithm::CmSha1 { .. })
    }

    /// Encrypts `text` into `sealed`, which has room for the tag behind it and no more. AES-GCM
    /// vouches for `associated` too, HMAC for what is `around` the text.
    fn seal(
        &mut self,
        (ssrc, index): (u32, u64),
        associated: &[u8],
        around: [&[u8]; 2],
        text: &[u8],
        sealed: &mut [u8],
    ) {
        let (nonce, counter) = (self.gcm_nonce(ssrc, index), self.cm_counter(ssrc, index));
        let encrypted = match &mut self.algorithm {
            Algorithm::Gcm128(cipher) => cipher.encrypt(&nonce, associated, text, sealed),
            Algorithm::Gcm256(cipher) => cipher.encrypt(&nonce, associated, text, sealed),
            Algorithm::CmSha1 { cipher, hmac, hmac_key } => {
                let (encrypted, tag) = sealed.split_at_mut(text.len());
                let done = cipher.encrypt(&counter, text, encrypted);
                let full = hmac.sha1_hmac(hmac_key, &[around[0], encrypted, around[1]]);
                tag.copy_from_slice(&full[..SHA1_TAG_BYTES]);
                done
            }
        };
        encrypted.expect("a cipher takes any packet of ours");
    }
}

/// Protects what we send.
pub struct Sealer {
    rtp: Cipher,
    rtcp: Cipher,
    next_rtcp_index: u32,
}

impl Sealer {
    /// How much longer a packet gets.
    pub fn tag_bytes(&self) -> usize {
        self.rtp.tag_bytes()
    }

    /// Seals an RTP packet: `packet` begins with its header, and has room for `payload` and the tag
    /// and no more. `index` is the sequence number with its rollovers.
    pub fn seal_rtp(&mut self, ssrc: u32, index: u64, payload: &[u8], packet: &mut [u8]) {
        let header_bytes = packet.len() - payload.len() - self.tag_bytes();
        let (header, sealed) = packet.split_at_mut(header_bytes);
        let rollovers = ((index >> 16) as u32).to_be_bytes();
        self.rtp.seal((ssrc, index), header, [header, &rollovers], payload, sealed);
    }

    /// Seals a compound RTCP packet.
    pub fn seal_rtcp(&mut self, compound: &[u8]) -> Vec<u8> {
        let index = self.next_rtcp_index;
        self.next_rtcp_index += 1;
        let trailer = (ENCRYPTED | index).to_be_bytes();
        let (header, body) = compound.split_at(RTCP_HEADER_BYTES);
        let mut sealed = vec![0; body.len() + self.rtcp.tag_bytes()];
        let place = (ssrc_of(header), u64::from(index));
        let associated = [header, &trailer].concat();
        self.rtcp.seal(place, &associated, [header, &trailer], body, &mut sealed);
        if self.rtcp.tags_with_hmac() {
            let (text, tag) = sealed.split_at(body.len());
            [header, text, &trailer, tag].concat()
        } else {
            [header, &sealed, &trailer].concat()
        }
    }
}

/// The sender's, from the header of an RTCP packet.
fn ssrc_of(header: &[u8]) -> u32 {
    u32::from_be_bytes([header[4], header[5], header[6], header[7]])
}

/// Checks and opens the RTCP that we receive.
pub struct Opener {
    rtcp: Cipher,
    /// What has come from each source: indices are counted by SSRC (RFC 3711, section 3.2.3). The
    /// source that was heard first is the first to be forgotten.
    seen: Vec<(u32, Window)>,
}

impl Opener {
    /// The plain compound packet; `None` if it is not sealed with the viewer's key, or not new.
    pub fn open_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let tag_bytes = self.rtcp.tag_bytes();
        let body_bytes =
            packet.len().checked_sub(RTCP_HEADER_BYTES + RTCP_INDEX_BYTES + tag_bytes)?;
        let (header, rest) = packet.split_at(RTCP_HEADER_BYTES);
        let (sealed, trailer, tag) = if self.rtcp.tags_with_hmac() {
            let (text, rest) = rest.split_at(body_bytes);
            let (trailer, tag) = rest.split_at(RTCP_INDEX_BYTES);
            (text, trailer, tag)
        } else {
            let (sealed, trailer) = rest.split_at(body_bytes + tag_bytes);
            (sealed, trailer, [].as_slice())
        };
        let word = u32::from_be_bytes(trailer.try_into().ok()?);
        let index = word & !ENCRYPTED;
        let ssrc = ssrc_of(header);
        let known = self.seen.iter().find(|(source, _)| *source == ssrc);
        if word & ENCRYPTED == 0 || known.is_some_and(|(_, window)| !window.is_new(index)) {
            return None;
        }
        let (nonce, counter) = (
            self.rtcp.gcm_nonce(ssrc, u64::from(index)),
            self.rtcp.cm_counter(ssrc, u64::from(index)),
        );
        let mut compound = header.to_vec();
        compound.resize(RTCP_HEADER_BYTES + body_bytes, 0);
        let body = &mut compound[RTCP_HEADER_BYTES..];
        let associated: [&[u8]; 2] = [header, trailer];
        match &mut self.rtcp.algorithm {
            Algorithm::Gcm128(cipher) => {
                cipher.decrypt(&nonce, &associated, sealed, body).ok()?;
            }
            Algorithm::Gcm256(cipher) => {
                cipher.decrypt(&nonce, &associated, sealed, body).ok()?;
            }
            Algorithm::CmSha1 { cipher, hmac, hmac_key } => {
                let full = hmac.sha1_hmac(hmac_key, &[header, sealed, trailer]);
                // All of it is compared, so that the time tells nothing.
                let differing = full.iter().zip(tag).fold(0, |all, (a, b)| all | (a ^ b));
                if differing != 0 {
                    return None;
                }
                cipher.decrypt(&counter, sealed, body).ok()?;
            }
        }
        self.note(ssrc, index);
        Some(compound)
    }

    fn note(&mut self, ssrc: u32, index: u32) {
        if let Some((_, window)) = self.seen.iter_mut().find(|(source, _)| *source == ssrc) {
            return window.note(index);
        }
        if self.seen.len() == MAX_SOURCES {
            self.seen.remove(0);
        }
        let mut window = Window::default();
        window.note(index);
        self.seen.push((ssrc, window));
    }
}

/// Which packets have come already (RFC 3711, section 3.3.2): the newest, and the 63 before it.
#[derive(Debug, Default)]
struct Window {
    /// One more than the newest index; 0 before there is one.
    end: u32,
    /// The lowest bit is the newest.
    seen: u64,
}

impl Window {
    fn is_new(&self, index: u32) -> bool {
        index >= self.end
            || self.end - 1 - index < u64::BITS && self.seen >> (self.end - 1 - index) & 1 == 0
    }

    fn note(&mut self, index: u32) {
        if index >= self.end {
            let step = index + 1 - self.end;
            self.seen = self.seen.checked_shl(step).unwrap_or(0) | 1;
            self.end = index + 1;
        } else {
            self.seen |= 1 << (self.end - 1 - index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: [(SrtpProfile, usize); 3] = [
        (SrtpProfile::AEAD_AES_256_GCM, 2 * 32 + 2 * 12),
        (SrtpProfile::AEAD_AES_128_GCM, 2 * 16 + 2 * 12),
        (SrtpProfile::AES128_CM_SHA1_80, 2 * 16 + 2 * 14),
    ];

    fn ends(profile: SrtpProfile, bytes: usize, is_client: bool) -> (Sealer, Opener) {
        let material = (0..bytes).map(|n| n as u8).collect();
        let crypto = str0m::crypto::from_feature_flags();
        Keying { profile, material, is_client }.into_ends(&crypto).unwrap()
    }

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER_PERMISSIVE.decode(text.replace(' ', "").as_bytes()).unwrap()
    }

    #[test]
    fn keys_are_derived_as_in_the_rfcs_example() {
        // RFC 3711, appendix B.3.
        let crypto = str0m::crypto::from_feature_flags();
        let (key, salt) =
            (hex("e1f97a0d3e018be0d64fa32c06de4139"), hex("0ec675ad498afeebb6960b3aabe6"));
        let profile = SrtpProfile::AES128_CM_SHA1_80;
        let master = Master { profile, key: &key, salt: &salt, crypto: &crypto };
        let session_key: [u8; 16] = master.derived(LABEL_KEY);
        assert_eq!(session_key[..], hex("c61e7a93744f39ee10734afe3ff7a087"));
        let session_salt: [u8; 14] = master.derived(LABEL_SALT);
        assert_eq!(session_salt[..], hex("30cbbc08863d8c85d49db34a9ae1"));
        let hmac_key: [u8; 20] = master.derived(LABEL_AUTHENTICATION);
        assert_eq!(hmac_key[..], hex("cebe321f6ff7716b6fd4ab49af256a156d38baa4"));
    }

    /// The ciphers of one session key, as an RFC's example gives it.
    fn sealer(algorithm: impl Fn() -> Algorithm, salt: &str) -> Sealer {
        let mut padded = [0; MASTER_SALT_BYTES];
        let salt = hex(salt);
        padded[..salt.len()].copy_from_slice(&salt);
        let cipher = || Cipher { algorithm: algorithm(), salt: padded };
        Sealer { rtp: cipher(), rtcp: cipher(), next_rtcp_index: 0 }
    }

    #[test]
    fn packets_are_sealed_as_in_the_rfcs_examples() {
        // RFC 7714, section 16.1.1: AEAD_AES_128_GCM, RTP.
        let srtp = str0m::crypto::from_feature_flags().srtp_provider;
        let key: [u8; 16] = hex("000102030405060708090a0b0c0d0e0f").try_into().unwrap();
        let gcm = || Algorithm::Gcm128(srtp.aead_aes_128_gcm().create_cipher(key, true));
        let mut sealer = sealer(gcm, "517569642070726f2071756f");
        let header = hex("8040f17b8041f8d35501a0b2");
        let payload =
            hex("47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573");
        let sealed =
            hex("f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d\
             7f27beb16a9152cf765ee4390cce");
        let mut packet = header.clone();
        packet.resize(header.len() + payload.len() + GCM_TAG_BYTES, 0);
        sealer.seal_rtp(0x5501_a0b2, 0xf17b, &payload, &mut packet);
        assert_eq!(packet[..12], header);
        assert_eq!(packet[12..], sealed);
    }

    #[test]
    fn rtcp_opens_for_the_other_end_once_and_unharmed_only() {
        let compound: Vec<u8> = (0x80..0x80 + 40).collect();
        for (profile, bytes) in PROFILES {
            let (mut sealer, _) = ends(profile, bytes, true);
            let (_, mut opener) = ends(profile, bytes, false);
            let sealed: Vec<Vec<u8>> = (0..3).map(|_| sealer.seal_rtcp(&compound)).collect();
            for index in 0..sealed[0].len() {
                let mut harmed = sealed[0].clone();
                harmed[index] ^= 1;
                assert_eq!(opener.open_rtcp(&harmed), None, "{profile:?} {index}");
                assert_eq!(opener.open_rtcp(&sealed[0][..index]), None, "{profile:?}");
            }
            for packet in [2, 0, 1] {
                assert_eq!(opener.open_rtcp(&sealed[packet]).as_ref(), Some(&compound));
                assert_eq!(opener.open_rtcp(&sealed[packet]), None, "{profile:?}: a replay");
            }
            assert_eq!(ends(profile, bytes, true).1.open_rtcp(&sealed[0]), None, "our own key");
        }
    }

    #[test]
    fn each_source_counts_its_own_packets() {
        let (profile, bytes) = PROFILES[0];
        let (_, mut opener) = ends(profile, bytes, false);
        for source in 0..20_u8 {
            // Each source begins at the same index.
            let (mut sealer, _) = ends(profile, bytes, true);
            let sealed = sealer.seal_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, source]);
            assert!(opener.open_rtcp(&sealed).is_some(), "source {source}");
            assert!(opener.open_rtcp(&sealed).is_none(), "source {source}");
        }
        assert_eq!(opener.seen.len(), MAX_SOURCES);
    }

    #[test]
    fn what_is_too_old_to_tell_is_a_replay() {
        let mut window = Window::default();
        window.note(100);
        assert!(window.is_new(101) && !window.is_new(100));
        assert!(window.is_new(37) && !window.is_new(36));
        window.note(37);
        assert!(!window.is_new(37));
        window.note(u32::MAX >> 1);
        assert!(!window.is_new(100) && !window.is_new(37));
    }

    #[test]
    fn a_profile_that_was_not_offered_or_too_little_material_is_no_session() {
        let crypto = str0m::crypto::from_feature_flags();
        for (profile, bytes) in PROFILES {
            let keying = Keying { profile, material: vec![0; bytes - 1], is_client: false };
            assert!(keying.into_ends(&crypto).is_none());
        }
    }
}
