//! The binary: its command line, and what it does over real sockets, pipes and files.

#![cfg(feature = "driver")]

mod camera;
mod faults;
mod leftovers;
mod loopback;
mod packaging;
mod pictures;
mod pipes;
mod program;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
mod whep;
