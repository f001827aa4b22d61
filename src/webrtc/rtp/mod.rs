//! Media on the wire: RTP (RFC 3550), its protection (RFC 3711, RFC 7714) and its repair (RFC 4585,
//! RFC 4588).
//!
//! A frame is packetised once. Its payloads stay in the one [`History`] that all viewers share for a
//! second; what is each viewer's own is a [`Stream`]: numbers and keys, some hundred bytes.

mod history;
mod rtcp;
mod srtp;
mod stream;

pub use history::{History, OutgoingFrame};
pub use srtp::Keying;
pub use stream::{Feedback, Stream, StreamFormat};
