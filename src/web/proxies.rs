//! Proxies that the operator trusts: the client and the host of a request that comes through them.
//!
//! The client is in `X-Forwarded-For`, which nginx, Caddy, HAProxy, Traefik and Apache write, or in
//! `Forwarded` (RFC 7239). Each proxy appends the address of its peer, so the right-most address that is
//! not a trusted proxy is the client; the client itself may have written what is left of it. The host is
//! in `X-Forwarded-Host`, or in `host=` of `Forwarded`. X-Forwarded-Proto is ignored: the pages of a host
//! are its own over either scheme.
//!
//! A proxy writes one of the two families and often passes the other one on as the client wrote it.
//! Nothing tells which one is forged, so neither is preferred: an address counts only if both agree on it,
//! and every host in either has to be ours ([`AccessPolicy`](super::access::AccessPolicy)).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::http::{Authority, Head, WHITE_SPACE};
use crate::work;

/// The client of a request, and the host that it asks for: of the connection, or as a trusted proxy
/// forwards them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    pub address: IpAddr,
    /// Whether `address` is that of one client. A proxy may not forward its clients' addresses.
    pub is_told: bool,
    /// The host that the client asks for.
    pub host: Authority,
    /// The hosts of a request through a trusted proxy.
    pub proxied: Option<Proxied>,
}

/// The hosts in a request of a trusted proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxied {
    /// The Host header: the client's, or the proxy's own name for this server.
    pub host: Authority,
    /// The hosts in `X-Forwarded-Host` and in `Forwarded`; `None` if one of them is malformed.
    pub forwarded_hosts: Option<[Option<Authority>; 2]>,
}

/// The addresses and networks of the trusted proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(pub Vec<IpNet>);

impl TrustedProxies {
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// Finds the client of a request on a connection from `peer`. The forwarded headers of a peer that is not
    /// trusted are ignored.
    ///
    /// Clients whose `X-Forwarded-For` and `Forwarded` contradict each other count as one client at the
    /// address of the proxy: one of the two is forged, and must not give its sender a second share of any
    /// limit.
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

    /// The first address that is not a trusted proxy's, of hops with the nearest first; the last address if
    /// there is none, as for a client on the proxy's own machine. `None` if a hop before it is malformed.
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

/// The hops in each header that names clients, the nearest first.
fn claims(head: &Head) -> impl Iterator<Item = Vec<Option<IpAddr>>> {
    let list = head.header("x-forwarded-for");
    let listed = list.map(|list| list.rsplit(',').map(address).collect());
    let nearest = forwarded(head, "for").next().flatten();
    let forwarded = nearest.map(|_| forwarded(head, "for").map(|hop| address(hop?)).collect());
    listed.into_iter().chain(forwarded)
}

/// The host of the nearest hop in each header that names hosts. `None` if one of them is malformed: a page
/// may have made the browser ask for a host that no server has.
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
        // RFC 7239, section 4: there are only pairs between the semicolons, and no name twice.
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

/// Parses an address with or without a port. IPv6 with a port is in brackets (RFC 7239, section 6).
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
