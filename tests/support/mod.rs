//! Code that several test programs share.
#![allow(dead_code, reason = "each test program uses its own part of this")]

pub mod ball;
#[cfg(feature = "driver")]
pub mod browser;
#[cfg(feature = "driver")]
pub mod chromium;
pub mod client;
pub mod crypto;
pub mod cuts;
pub mod dear_offers;
#[cfg(feature = "driver")]
pub mod filled;
#[cfg(feature = "driver")]
pub mod firefox;
pub mod jpegs;
#[cfg(feature = "driver")]
pub mod marker;
#[cfg(feature = "driver")]
pub mod process;
#[cfg(feature = "driver")]
pub mod processes;
#[cfg(feature = "driver")]
pub mod program;
#[cfg(feature = "driver")]
pub mod relay;
#[cfg(feature = "driver")]
pub mod scripts;
#[cfg(feature = "driver")]
pub mod site;
#[cfg(feature = "driver")]
pub mod socket_viewer;
#[cfg(feature = "driver")]
pub mod usage;
pub mod whep;
pub mod world;
