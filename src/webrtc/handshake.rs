//! The certificate of the peer, as the DTLS handshake shows it before it is encrypted.
//!
//! dimpl takes certificates of ECDSA only, and asks for one. A client that has none of them sends an
//! empty list of certificates (OpenSSL, and GStreamer with it) or a fatal alert (BoringSSL); a server
//! finds no cipher suite that it has a key for and sends the same alert. All of this is in plain text,
//! and could be anybody's: it explains why a connection does not come up, and decides nothing.

use crate::work;

/// The headers of a record (RFC 6347, section 4.1) and of a handshake message (section 4.2.2).
const RECORD_HEADER_BYTES: usize = 13;
const MESSAGE_HEADER_BYTES: usize = 12;
/// Content types (RFC 5246, section 6.2.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// `fatal` and `handshake_failure` (RFC 5246, section 7.2).
const HANDSHAKE_FAILURE: [u8; 2] = [2, 40];
/// The type of a message with certificates, and that of none (RFC 5246, section 7.4.2).
const CERTIFICATE: u8 = 11;
const NO_CERTIFICATE: [u8; 3] = [0; 3];
/// `rsaEncryption` of a public key, in DER (RFC 3279, section 2.3.1).
const RSA_KEY: [u8; 11] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

/// Whether a datagram of a handshake shows that its sender has no certificate of ECDSA: one of RSA,
/// an empty list, or the alert that comes in place of one.
pub fn lacks_ecdsa_certificate(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    while let Some((header, contents)) = rest.split_first_chunk::<RECORD_HEADER_BYTES>() {
        work::step();
        let [content_type, _, _, epoch @ .., length_high, length_low] = header;
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        let Some((contents, next)) = contents.split_at_checked(length) else { return false };
        // The epoch is 0 as long as nothing is encrypted.
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
        // A fragment, as long as the last of these lengths says.
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
        // prime256v1, as every certificate of browsers has it.
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
