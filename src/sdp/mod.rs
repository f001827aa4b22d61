//! Offers read, answers written (RFC 8866, RFC 8829).

pub mod answer;
pub mod offer;
