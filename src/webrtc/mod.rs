//! What a viewer is sent: its connection, and how frames are cut for it.

pub mod payload;
pub mod rtp;
pub mod transport;
pub mod viewer;
