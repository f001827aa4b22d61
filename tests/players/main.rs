//! Players, media servers and programs of others. They have to be installed first, so that the tests
//! are ignored unless asked for: `cargo test --test players -- --ignored whep_players`.

#![cfg(feature = "driver")]

mod media_servers;
mod other_programs;
#[path = "../support/mod.rs"]
mod support;
mod whep_players;
mod whip_servers;
