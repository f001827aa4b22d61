//! The sockets: what viewers, browsers and the host's network are reached by.

pub mod addresses;
pub mod connections;
pub mod endpoints;
pub mod following;
pub mod tcp;
pub mod udp;
