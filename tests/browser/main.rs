//! The pages in real browsers, on their own and behind real proxies. One browser runs at a time.

#![cfg(feature = "driver")]

mod chromium;
mod firefox;
mod orientation;
mod page;
mod proxies;
mod rollover;
#[path = "../support/mod.rs"]
mod support;
