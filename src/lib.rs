//! Live video from a small device to any browser on the local network.

#[cfg(feature = "driver")]
pub mod driver;
#[cfg(feature = "driver")]
pub mod flags;
#[cfg(feature = "driver")]
pub mod host;

pub mod frame_clock;
pub mod http;
pub mod keyframes;
pub mod limits;
pub mod media;
pub mod offer;
pub mod routes;
pub mod schedule;
pub mod server;
pub mod viewer;
