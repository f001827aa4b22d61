//! The unit that limits apply to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::work;

/// An IPv4 address, or an IPv6 host: by its address where it is on a network that this server is on,
/// and by the /64 network that it draws its addresses from otherwise (RFC 4291, section 2.5.4).
///
/// All hosts of one local network share a /64, so that there the network alone would make them one
/// client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    address: IpAddr,
    /// It is a proxy that does not tell who asks: how much it may have at a time has no limit of its
    /// own, how often it may ask has.
    pub is_many: bool,
}

/// Clients that one host can be at will: all IPv6 hosts of a network that this server is on, by its
/// /64, or all of IPv4 loopback, by 127.0.0.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbourhood(IpAddr);

impl Client {
    /// The neighbourhood that the client is one of. An IPv4 host has one address, and an IPv6 host
    /// elsewhere is a client together with its network.
    pub fn neighbourhood(self) -> Option<Neighbourhood> {
        match self.address {
            IpAddr::V4(address) => {
                address.is_loopback().then_some(Neighbourhood(Ipv4Addr::new(127, 0, 0, 0).into()))
            }
            IpAddr::V6(address) => {
                let network = network(address);
                (address != network).then_some(Neighbourhood(network.into()))
            }
        }
    }

    /// Who is at an address, for a server that is at these.
    pub fn at(address: IpAddr, own: impl IntoIterator<Item = IpAddr>) -> Client {
        Client { address: Client::counted(address, own), is_many: false }
    }

    /// Whether it is a proxy that does not tell who asks.
    pub fn of_many(self, is_many: bool) -> Client {
        Client { is_many, ..self }
    }

    fn counted(address: IpAddr, own: impl IntoIterator<Item = IpAddr>) -> IpAddr {
        let IpAddr::V6(address) = address.to_canonical() else {
            return address.to_canonical();
        };
        let network = network(address);
        let is_on_link = own.into_iter().any(|own| match own {
            IpAddr::V6(own) => self::network(own) == network,
            IpAddr::V4(_) => false,
        });
        let is_link_local = address.is_unicast_link_local() || address.is_loopback();
        if is_on_link || is_link_local { address } else { network }.into()
    }
}

/// What makes room: of things in the order of their age, the oldest of the client that has most of
/// them, and how many it has. Of several such clients, the one whose first is oldest.
pub(crate) fn oldest_of_largest<K: Ord>(
    things: impl IntoIterator<Item = (K, Client)>,
) -> Option<(usize, K)> {
    let mut of_client: BTreeMap<Client, (usize, K)> = BTreeMap::new();
    for (thing, client) in things {
        work::step();
        of_client.entry(client).or_insert((0, thing)).0 += 1;
    }
    let most = of_client.values().map(|(count, _)| *count).max()?;
    of_client.into_values().filter(|(count, _)| *count == most).min()
}

/// The /64.
fn network(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        let own = ["10.0.0.254", "fd00::20"].map(|own| own.parse().unwrap());
        Client::at(address.parse().unwrap(), own)
    }

    #[test]
    fn ipv4_addresses_are_told_apart_and_are_the_same_when_mapped() {
        assert_ne!(client("10.0.0.1"), client("10.0.0.2"));
        assert_eq!(client("10.0.0.1"), client("::ffff:10.0.0.1"));
    }

    #[test]
    fn an_ipv6_host_elsewhere_is_its_network() {
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff::2"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
    }

    #[test]
    fn ipv6_hosts_of_our_own_network_are_told_apart() {
        assert_ne!(client("fd00::1"), client("fd00::2"));
        assert_ne!(client("fe80::1"), client("fe80::2"));
    }

    #[test]
    fn clients_that_one_host_can_be_are_neighbours() {
        let neighbourhood = |address| client(address).neighbourhood();
        for (one, other) in
            [("fd00::1", "fd00::2"), ("fe80::1", "fe80::2"), ("127.0.0.1", "127.9.9.9")]
        {
            assert!(neighbourhood(one).is_some());
            assert_eq!(neighbourhood(one), neighbourhood(other));
        }
        assert_ne!(neighbourhood("fd00::1"), neighbourhood("fe80::1"));
        assert_eq!(neighbourhood("10.0.0.1"), None);
        assert_eq!(neighbourhood("2001:db8:0:1::1"), None, "it is a client as a whole");
    }
}
