//! The pure core: bytes, requests, datagrams and frames in, and what the core has done about it, in
//! virtual time. It needs neither the feature `driver` nor a network.

mod cameras;
mod hostile;
mod http;
mod http_client;
mod neighbours;
mod offers;
mod pacing;
mod panics;
mod parse;
mod planted;
mod publish;
mod purity;
mod refusals;
mod snapshot_share;
mod snapshots;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod token;
mod viewers;
mod whep;
