//! TCP connections, and what their requests ask of the server.

pub mod connections;
pub mod file_share;
pub mod requests;
pub mod snapshots;
