//! Why a connection fails: errors of str0m, and a peer without an ECDSA certificate.
//!
//! dimpl takes only ECDSA certificates, and asks for one. A client that has none sends an empty list of
//! certificates (OpenSSL, and GStreamer with it) or a fatal alert (BoringSSL). A server has no cipher
//! suite that fits its key, and sends the same alert. All of this is plain text that anybody can forge: it
//! explains why a connection does not come up, and decides nothing.

use str0m::RtcError;

use super::state::EndReason;
use crate::foreign::Foreign;
use crate::work;

/// The most that is kept of an error of str0m, which may quote the peer.
const ERROR_MAX_CHARS: usize = 200;
/// The headers of a record (RFC 6347, section 4.1) and of a handshake message (section 4.2.2).
const RECORD_HEADER_BYTES: usize = 13;
const MESSAGE_HEADER_BYTES: usize = 12;
/// Content types (RFC 5246, section 6.2.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// `fatal` and `handshake_failure` (RFC 5246, section 7.2).
const HANDSHAKE_FAILURE: [u8; 2] = [2, 40];
/// The type of a message with certificates, and an empty list of them (RFC 5246, section 7.4.2).
const CERTIFICATE: u8 = 11;
const NO_CERTIFICATE: [u8; 3] = [0; 3];
/// `rsaEncryption` of a public key, in DER (RFC 3279, section 2.3.1).
const RSA_KEY: [u8; 11] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

/// What is known about why a connection fails.
#[derive(Debug, Default)]
pub struct Failure {
    /// The last error of str0m, or the reason of [`connect_reason`](Self::connect_reason) once the peer
    /// has shown that it has no ECDSA certificate.
    last: Option<Foreign>,
    lacks_certificate: bool,
}

impl Failure {
    pub fn last(&self) -> Option<&Foreign> {
        self.last.as_ref()
    }

    /// Keeps an error of str0m.
    pub fn note_error(&mut self, error: &RtcError) {
        let error = Foreign::new(&error.to_string(), ERROR_MAX_CHARS);
        if let Some(error) = &error {
            log::debug!("str0m: {error}");
        }
        if !self.lacks_certificate {
            self.last = error;
        }
    }

    /// Looks at a datagram of a handshake. Returns whether it is the first to show that the peer has no
    /// ECDSA certificate.
    pub fn note_handshake(&mut self, datagram: &[u8]) -> bool {
        if self.lacks_certificate || !lacks_ecdsa_certificate(datagram) {
            return false;
        }
        self.lacks_certificate = true;
        self.last = Foreign::new(&self.connect_reason().to_string(), ERROR_MAX_CHARS);
        true
    }

    /// Why a viewer has not connected in time.
    pub fn connect_reason(&self) -> EndReason {
        match self.lacks_certificate {
            true => EndReason::Certificate,
            false => EndReason::ConnectTimeout,
        }
    }
}

/// Whether a datagram of a handshake shows that its sender has no ECDSA certificate: it has an RSA
/// certificate, an empty list, or the alert that replaces a certificate.
fn lacks_ecdsa_certificate(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    while let Some((header, contents)) = rest.split_first_chunk::<RECORD_HEADER_BYTES>() {
        work::step();
        let [content_type, _, _, epoch @ .., length_high, length_low] = header;
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        let Some((contents, next)) = contents.split_at_checked(length) else { return false };
        // The epoch is 0 until records are encrypted.
        let is_plain = epoch[..2] == [0, 0];
        if is_plain && *content_type == ALERT && contents == HANDSHAKE_FAILURE
            || is_plain && *content_type == HANDSHAKE && has_unusable_certificate(contents)
        {
            return true;
        }
        rest = next;
    }
    false
}

fn has_unusable_certificate(mut messages: &[u8]) -> bool {
    while let Some((header, contents)) = messages.split_first_chunk::<MESSAGE_HEADER_BYTES>() {
        work::step();
        // A fragment, whose length is the last of the fields.
        let [kind, .., high, middle, low] = header;
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        let Some((contents, next)) = contents.split_at_checked(length) else { return false };
        if *kind == CERTIFICATE
            && (contents == NO_CERTIFICATE || memchr::memmem::find(contents, &RSA_KEY).is_some())
        {
            return true;
        }
        messages = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content_type: u8, epoch: u8, contents: &[u8]) -> Vec<u8> {
        let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
        let header =
            [&[content_type, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1][..], &length].concat();
        [&header, contents].concat()
    }

    fn message(kind: u8, contents: &[u8]) -> Vec<u8> {
        let length = &u32::try_from(contents.len()).unwrap().to_be_bytes()[1..];
        [&[kind][..], length, &[0, 1, 0, 0, 0], length, contents].concat()
    }

    #[test]
    fn a_certificate_of_rsa_none_and_the_alert_show_that_there_is_none_of_ecdsa() {
        let rsa = [&[0, 1, 2][..], &RSA_KEY, &[5, 0]].concat();
        let hello = message(1, &[0; 40]);
        for contents in [message(CERTIFICATE, &rsa), message(CERTIFICATE, &NO_CERTIFICATE)] {
            assert!(lacks_ecdsa_certificate(&record(HANDSHAKE, 0, &contents)));
            let after = [record(HANDSHAKE, 0, &hello), record(HANDSHAKE, 0, &contents)].concat();
            assert!(lacks_ecdsa_certificate(&after), "in a further record");
            let after = record(HANDSHAKE, 0, &[hello.clone(), contents].concat());
            assert!(lacks_ecdsa_certificate(&after), "in a further message");
        }
        assert!(lacks_ecdsa_certificate(&record(ALERT, 0, &HANDSHAKE_FAILURE)));
    }

    #[test]
    fn other_messages_show_nothing() {
        // prime256v1, as in the certificate of every browser.
        let ecdsa = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        let empty = message(CERTIFICATE, &NO_CERTIFICATE);
        for datagram in [
            record(HANDSHAKE, 0, &message(CERTIFICATE, &ecdsa)),
            record(HANDSHAKE, 0, &message(1, &RSA_KEY)),
            record(HANDSHAKE, 1, &empty),
            record(ALERT, 1, &HANDSHAKE_FAILURE),
            record(ALERT, 0, &[2, 80]),
            record(ALERT, 0, &[1, 40]),
            record(23, 0, &empty),
        ] {
            assert!(!lacks_ecdsa_certificate(&datagram), "{datagram:?}");
        }
        let whole = record(HANDSHAKE, 0, &empty);
        for length in 0..whole.len() {
            assert!(!lacks_ecdsa_certificate(&whole[..length]), "cut off after {length} bytes");
        }
    }
}
