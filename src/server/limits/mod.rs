//! Limits and rates, and the client that they count for.

pub mod admission;
pub mod client;
pub mod guesses;
pub mod rate_limit;
