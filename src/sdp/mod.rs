//! Offers read, answers written (RFC 8866, RFC 8829).

pub mod answer;
mod error;
mod h264_profile;
pub mod ice;
pub mod offer;
mod sections;
