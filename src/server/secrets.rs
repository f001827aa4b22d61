//! Values that must be unpredictable, from one generator that is seeded with the configured entropy.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use str0m::IceCreds;

pub struct Secrets(ChaCha20Rng);

impl Secrets {
    pub fn new(entropy: [u8; 32]) -> Secrets {
        Secrets(ChaCha20Rng::from_seed(entropy))
    }

    /// 48 and 144 random bits.
    pub fn ice_credentials(&mut self) -> IceCreds {
        IceCreds { ufrag: self.ice_characters(8), pass: self.ice_characters(24) }
    }

    /// The hexadecimal digits of this many random bytes.
    pub fn hexadecimal(&mut self, bytes: usize) -> String {
        (0..bytes).map(|_| format!("{:02x}", self.0.next_u32() as u8)).collect()
    }

    /// A strong ETag (RFC 9110, section 8.8.3), of 64 random bits.
    pub fn etag(&mut self) -> String {
        format!("\"{}\"", self.hexadecimal(8))
    }

    /// The seed of another generator.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        seed
    }

    pub fn numbers<const N: usize>(&mut self) -> [u32; N] {
        std::array::from_fn(|_| self.0.next_u32())
    }

    /// Characters of ICE (RFC 8839, section 5.4), 6 random bits each.
    fn ice_characters(&mut self, count: usize) -> String {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut bytes = vec![0; count];
        self.0.fill_bytes(&mut bytes);
        let characters = bytes.iter().map(|byte| ALPHABET[usize::from(byte & 63)]);
        characters.map(char::from).collect()
    }
}
