//! Offers read and answers written, our own offers written and the answers to them read (RFC 8866,
//! RFC 8829).

pub mod answer;
mod description;
mod error;
mod formats;
pub mod h264_profile;
pub mod ice;
pub mod local;
pub mod local_offer;
pub mod offer;
pub mod remote_answer;
mod section;
