//! Proxies that the operator trusts: who asks through them, and for which host.
//!
//! `X-Forwarded-For`, which nginx, Caddy, HAProxy, Traefik and Apache write, or `Forwarded` (RFC 7239).
//! Each proxy adds the address that it was asked from at the right end, so that the right-most one
//! that is no trusted proxy is the client; what is left of it, the client itself may have written.
//! `X-Forwarded-Host`, or `host=` in `Forwarded`, is whom the client asked for. X-Forwarded-Proto tells
//! nothing that matters: pages of a host are its own over either scheme.
//!
//! A proxy writes one of the two families and often passes the other one on as the client wrote it.
//! Nothing tells them apart, so neither is preferred: the address counts only where both name the same
//! one, and every host that either names has to be ours ([`AccessPolicy`](super::access::AccessPolicy)).

use std::net::IpAddr;

use ipnet::IpNet;

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
    /// What the trusted proxy wrote that the request came through; `None` without one.
    pub proxied: Option<Proxied>,
}

/// The hosts that a request of a trusted proxy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxied {
    /// In the Host header: the client's, or the proxy's own name for this server.
    pub host: Authority,
    /// In `X-Forwarded-Host`, and in `Forwarded`; `None` if one of them cannot be read.
    pub forwarded_hosts: Option<[Option<Authority>; 2]>,
}

/// The addresses and networks of proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(pub Vec<IpNet>);

impl TrustedProxies {
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// Who asks in this request of a connection from `peer`. What a peer that is not trusted says of
    /// itself counts for nothing.
    ///
    /// Clients whose `X-Forwarded-For` and `Forwarded` contradict each other are one client at the
    /// address of the proxy: one of the two is forged, and must not give its sender a second share of
    /// anything.
    pub fn visitor(&self, peer: IpAddr, head: &Head) -> Visitor {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            let host = head.host.clone();
            return Visitor { address: peer, is_told: true, host, proxied: None };
        }
        let mut clients = claims(head).map(|hops| self.client(hops));
        let (address, is_told) = match (clients.next().flatten(), clients.next()) {
            (Some(client), None) => (client, true),
            (client, Some(other)) if client != other => (peer, true),
            (Some(client), Some(_)) => (client, true),
            (None, _) => (peer, false),
        };
        let forwarded_hosts = forwarded_hosts(head);
        let forwarded = forwarded_hosts.iter().flatten().flatten().next();
        let host = forwarded.unwrap_or(&head.host).clone();
        let proxied = Proxied { host: head.host.clone(), forwarded_hosts };
        Visitor { address, is_told, host, proxied: Some(proxied) }
    }

    /// The first address that is no proxy's, of hops with the nearest first; the last of all if there
    /// is none, as for a client on the proxy's own machine. `None` if a hop before it is no address.
    fn client(&self, hops: Vec<Option<IpAddr>>) -> Option<IpAddr> {
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

/// The hops of each header that tells who asks, the nearest first.
fn claims(head: &Head) -> impl Iterator<Item = Vec<Option<IpAddr>>> {
    let list = head.header("x-forwarded-for");
    let listed = list.map(|list| list.rsplit(',').map(address).collect());
    let nearest = forwarded(head, "for").next().flatten();
    let forwarded = nearest.map(|_| forwarded(head, "for").map(|hop| address(hop?)).collect());
    listed.into_iter().chain(forwarded)
}

/// The host of the nearest hop in each header that names one. `None` if one of them cannot be read: a
/// browser may have been made to ask for a host that no server has.
fn forwarded_hosts(head: &Head) -> Option<[Option<Authority>; 2]> {
    let nearest = |name| head.header(name).and_then(|list| list.rsplit(',').next());
    let listed = nearest("x-forwarded-host").map(|host| host.trim_matches(WHITE_SPACE));
    let mut hosts = [None, None];
    if let Some(host) = listed.filter(|host| !host.is_empty()) {
        hosts[0] = Some(Authority::parse(host)?);
    }
    for pair in nearest("forwarded").into_iter().flat_map(|hop| hop.split(';')) {
        let pair = pair.trim_matches(WHITE_SPACE);
        if pair.is_empty() {
            continue;
        }
        // RFC 7239, section 4: nothing else is between the semicolons, and no name comes twice.
        let (name, value) = pair.split_once('=')?;
        if name.eq_ignore_ascii_case("host") {
            let host = Authority::parse(unquoted(value))?;
            if hosts[1].replace(host).is_some() {
                return None;
            }
        }
    }
    Some(hosts)
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
