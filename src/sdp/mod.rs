//! SDP (RFC 8866, RFC 8829): reads offers and writes answers; writes our own offers and reads the answers
//! to them.

pub(crate) mod answer;
mod description;
mod error;
mod formats;
pub mod h264_profile;
pub(crate) mod ice;
pub mod local;
pub mod local_offer;
pub mod offer;
pub mod remote_answer;
mod section;
