//! Offers read, answers written (RFC 8866, RFC 8829).

pub mod answer;
mod description;
mod error;
mod formats;
mod h264_profile;
pub mod ice;
pub mod offer;
mod section;
