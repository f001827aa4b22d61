//! Proxies that the operator trusts: who asks through them, and for which host.
//!
//! `X-Forwarded-For`, which nginx, Caddy, HAProxy, Traefik and Apache write, or `Forwarded` (RFC 7239)
//! where it is missing. Each proxy adds the address that it was asked from at the right end, so that
//! the right-most one that is no trusted proxy is the client; what is left of it, the client itself
//! may have written. `X-Forwarded-Host` is whom the client asked for. X-Forwarded-Proto tells nothing
//! that matters: pages of a host are its own over either scheme.

use std::net::IpAddr;

use crate::http::{Authority, Head, WHITE_SPACE};
use crate::work;

/// Who asks, and for whom: as the connection tells, or the trusted proxy that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    pub address: IpAddr,
    /// Whether this is the address of one client. A proxy may keep to itself who asks.
    pub is_told: bool,
    /// Whom the client believes that it is talking to.
    pub host: Authority,
}

/// The addresses of proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(pub Vec<Network>);

/// An address, or all that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// `ADDR` or `ADDR/BITS`.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = if bits.is_empty() && !text.contains('/') { most } else { bits.parse().ok()? };
        (bits <= most).then_some(Network { address, bits })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differ >= self.bits
    }
}

impl TrustedProxies {
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Who asks in this request of a connection from `peer`. What a peer that is not trusted says of
    /// itself counts for nothing.
    pub fn visitor(&self, peer: IpAddr, head: &Head) -> Visitor {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return Visitor { address: peer, is_told: true, host: head.host.clone() };
        }
        let client = self.client(head);
        Visitor {
            address: client.unwrap_or(peer),
            is_told: client.is_some(),
            host: forwarded_host(head).unwrap_or_else(|| head.host.clone()),
        }
    }

    /// The right-most address that is no proxy's; the left-most of all if there is none, as for a
    /// client on the proxy's own machine.
    fn client(&self, head: &Head) -> Option<IpAddr> {
        let hops = match head.header("x-forwarded-for") {
            Some(list) => list.rsplit(',').map(address).collect(),
            None => forwarded(head, "for").map(|hop| address(hop?)).collect::<Vec<_>>(),
        };
        let mut client = None;
        for hop in hops {
            work::step();
            client = Some(hop?);
            if client.is_some_and(|client| !self.trusts(client)) {
                break;
            }
        }
        client
    }
}

fn forwarded_host(head: &Head) -> Option<Authority> {
    let host = match head.header("x-forwarded-host") {
        Some(list) => list.rsplit(',').next()?,
        None => forwarded(head, "host").next()??,
    };
    Authority::parse(unquoted(host))
}

/// A parameter of each hop in `Forwarded`, the nearest hop first.
fn forwarded<'a>(
    head: &'a Head,
    name: &'static str,
) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
    let hops = head.header("forwarded").into_iter().flat_map(|list| list.rsplit(','));
    hops.map(move |hop| {
        let mut parameters = hop.split(';').filter_map(|parameter| parameter.split_once('='));
        let named =
            parameters.find(|(key, _)| key.trim_matches(WHITE_SPACE).eq_ignore_ascii_case(name));
        named.map(|(_, value)| value)
    })
}

/// An address with or without a port. IPv6 is in brackets where it has one (RFC 7239, section 6).
fn address(hop: &str) -> Option<IpAddr> {
    let hop = unquoted(hop);
    let address = match hop.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None if hop.matches(':').count() == 1 => hop.split_once(':')?.0,
        None => hop,
    };
    address.parse().ok().map(|address: IpAddr| address.to_canonical())
}

fn unquoted(text: &str) -> &str {
    let text = text.trim_matches(WHITE_SPACE);
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or(text)
}
