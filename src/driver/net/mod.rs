//! Sockets: TCP and UDP on the bound addresses, the connections of clients, and the host's addresses and
//! names.

pub mod addresses;
pub(crate) mod connections;
pub(crate) mod endpoints;
pub(crate) mod names;
pub(crate) mod tcp;
pub(crate) mod udp;
