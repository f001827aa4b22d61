//! A binary for another kind of processor, in an emulator of it. `BALLCAST_QEMU` names both, so that
//! the tests are ignored unless asked for:
//! `BALLCAST_QEMU='qemu-aarch64 -L /usr/aarch64-linux-gnu PATH' cargo test --test devices -- --ignored`.

#![cfg(feature = "driver")]

mod instructions;
mod qemu;
#[path = "../support/mod.rs"]
mod support;
