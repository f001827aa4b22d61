//! Selects and sorts the addresses that a peer is offered.

use std::net::{IpAddr, SocketAddr};

/// Returns the addresses at which a peer may reach the server, best first: those of the peer's family
/// before others, and longer common prefixes first. `None` is a peer whose address is unknown.
///
/// A loopback address works on this host only, so other peers get it only if there is no other.
pub fn addresses_towards(peer: Option<IpAddr>, own: &[SocketAddr]) -> Vec<SocketAddr> {
    let peer = peer.map(|peer| peer.to_canonical());
    let is_here = peer.is_some_and(|peer| peer.is_loopback());
    let mut addresses: Vec<SocketAddr> =
        own.iter().copied().filter(|address| is_here || !address.ip().is_loopback()).collect();
    if addresses.is_empty() {
        addresses = own.to_vec();
    }
    if let Some(peer) = peer {
        addresses.sort_by_key(|address| {
            let common = common_bits(address.ip(), peer);
            (common.is_none(), u32::MAX - common.unwrap_or(0))
        });
    }
    addresses
}

/// How many bits two addresses of one family begin with alike.
fn common_bits(one: IpAddr, other: IpAddr) -> Option<u32> {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            Some((one.to_bits() ^ other.to_bits()).leading_zeros())
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            Some((one.to_bits() ^ other.to_bits()).leading_zeros())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [&str; 6] =
        ["10.8.0.1", "192.168.1.20", "2001:db8::5", "fd00::5", "127.0.0.1", "::1"];

    fn towards(peer: Option<&str>, own: &[&str]) -> Vec<String> {
        let own: Vec<SocketAddr> =
            own.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 8080)).collect();
        let peer = peer.map(|peer| peer.parse().unwrap());
        addresses_towards(peer, &own).iter().map(|address| address.ip().to_string()).collect()
    }

    #[test]
    fn the_nearest_address_comes_first_and_loopback_is_for_this_host() {
        let lan = ["192.168.1.20", "10.8.0.1", "2001:db8::5", "fd00::5"];
        assert_eq!(towards(Some("192.168.1.7"), &OWN), lan);
        assert_eq!(towards(Some("::ffff:192.168.1.7"), &OWN), lan);
        assert_eq!(
            towards(Some("fd00::9"), &OWN),
            ["fd00::5", "2001:db8::5", "10.8.0.1", "192.168.1.20"]
        );
        let any = ["10.8.0.1", "192.168.1.20", "2001:db8::5", "fd00::5"];
        assert_eq!(towards(None, &OWN), any, "as they are");
        let here = towards(Some("127.0.0.1"), &OWN);
        assert_eq!((here.len(), here[0].as_str()), (6, "127.0.0.1"));
        let here = towards(Some("::1"), &OWN);
        assert_eq!((here.len(), here[0].as_str()), (6, "::1"));
    }

    #[test]
    fn a_server_on_loopback_alone_offers_that() {
        for peer in [Some("192.168.1.7"), Some("127.0.0.1"), None] {
            assert_eq!(towards(peer, &["127.0.0.1"]), ["127.0.0.1"]);
        }
    }
}
