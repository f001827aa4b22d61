//! Commands and connections as the driver makes and ends them. These tests count the descriptors and
//! the children of their own process, in which nothing else may run.

#![cfg(feature = "driver")]

mod source;
#[path = "../support/mod.rs"]
mod support;
mod targets;
