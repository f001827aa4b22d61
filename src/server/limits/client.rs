//! The unit that limits apply to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::work;

/// The unit that limits apply to: an IPv4 address, an IPv6 address on a network of this server, or any other
/// IPv6 /64 (RFC 4291, section 2.5.4), from which a host can draw addresses at will.
///
/// All hosts of a local network share a /64, which would make them one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    address: IpAddr,
    /// A proxy that does not forward the client's address: limits on how much it may have do not apply, rates
    /// do.
    pub is_many: bool,
}

/// All clients that one host can pose as: the addresses of an IPv6 /64 that this server is on, or 127.0.0.0/8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbourhood(IpAddr);

impl Client {
    /// The neighbourhood of the client. `None` for other IPv4 addresses, and for a /64, which is one client as a
    /// whole.
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

    /// The client at an address, for a server with these addresses.
    pub fn at(address: IpAddr, own: impl IntoIterator<Item = IpAddr>) -> Client {
        Client { address: Client::counted(address, own), is_many: false }
    }

    /// Sets whether it [stands for many](Self::is_many).
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

/// Selects what makes room. `things` are sorted by age. Returns the oldest one of the client with most of
/// them, and how many that client has. Among several such clients, the oldest thing decides.
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
