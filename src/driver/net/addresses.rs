//! The host's side of things: its addresses, its names, and word of their change.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use if_addrs::Interface;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

/// The addresses at which clients on the local network, or on this host, can reach us: IPv4
/// first, loopback last. Those of containers and virtual machines are left out, and link-local
/// ones, which a browser cannot use (IPv6 needs a scope, and ICE refuses IPv4's).
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let mut interfaces = if_addrs::get_if_addrs()?;
    interfaces.retain(|interface| !interface.is_link_local() && !is_virtual(&interface.name));
    let mut addresses: Vec<IpAddr> = interfaces.iter().map(Interface::ip).collect();
    addresses.sort_by_key(|address| (address.is_loopback(), address.is_ipv6()));
    addresses.dedup();
    Ok(addresses)
}

/// Whether all of these addresses, but for the loopback, are those of a container: then others reach
/// them only from this machine, if the bridge at the other end leads nowhere else.
pub fn are_of_container(addresses: &[SocketAddr]) -> bool {
    let addresses = addresses.iter().map(SocketAddr::ip).filter(|ip| !ip.is_loopback());
    let addresses: Vec<IpAddr> = addresses.collect();
    if addresses.is_empty() {
        return false;
    }
    let mut interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.retain(|interface| addresses.contains(&interface.ip()));
    !interfaces.is_empty() && interfaces.iter().all(|interface| is_end_of_pair(&interface.name))
}

/// Whether this is one end of a pair (veth(4)), as containers have it: made of nothing, and neither of a
/// type of its own, as a VLAN or a tunnel, nor the end of a program.
fn is_end_of_pair(interface: &str) -> bool {
    let folder = Path::new("/sys/class/net").join(interface);
    let made_of_nothing =
        folder.canonicalize().is_ok_and(|path| path.starts_with("/sys/devices/virtual"));
    let has_type =
        fs::read_to_string(folder.join("uevent")).is_ok_and(|it| it.contains("DEVTYPE="));
    made_of_nothing && !has_type && !folder.join("tun_flags").exists()
}

/// Interfaces behind which there are containers and virtual machines, not people.
fn is_virtual(interface: &str) -> bool {
    const PREFIXES: [&str; 8] =
        ["docker", "br-", "veth", "virbr", "lxc", "cni", "flannel", "podman"];
    PREFIXES.iter().any(|prefix| interface.starts_with(prefix))
        || Path::new("/sys/class/net").join(interface).join("bridge").exists()
}

/// Where the resolver is configured (resolv.conf(5)).
const RESOLVER: &str = "/etc/resolv.conf";

/// The names that a Host header may carry: the host's own, that name in mDNS, and in the search
/// domains of the network, as home routers give them (`camera.lan`, `camera.fritz.box`).
pub fn names() -> Vec<String> {
    let name = gethostname::gethostname().to_string_lossy().to_lowercase();
    names_of(&name, &fs::read_to_string(RESOLVER).unwrap_or_default())
}

fn names_of(name: &str, resolver: &str) -> Vec<String> {
    let short = name.split('.').next().unwrap_or_default();
    // A machine without a name of its own may be called by the one that leads every machine to itself.
    if short.is_empty() || short == "localhost" {
        return Vec::new();
    }
    let mut names = vec![name.to_owned(), short.to_owned(), format!("{short}.local")];
    names.extend(search_domains(resolver).map(|domain| format!("{short}.{domain}")));
    names.sort();
    names.dedup();
    names
}

/// The domains in which names are looked up that have none.
fn search_domains(resolver: &str) -> impl Iterator<Item = String> {
    let lines = resolver.lines().map(str::split_ascii_whitespace);
    let lists = lines
        .filter_map(|mut words| matches!(words.next(), Some("search" | "domain")).then_some(words));
    lists.flatten().filter_map(|domain| {
        let domain = domain.trim_matches('.').to_lowercase();
        (!domain.is_empty()).then_some(domain)
    })
}

/// Tells when an address comes or goes: a subscription to the kernel's notices (rtnetlink(7)).
/// What exactly has changed is read again.
pub struct AddressWatch {
    socket: OwnedFd,
}

const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;

impl AddressWatch {
    pub fn new() -> io::Result<AddressWatch> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            // NETLINK_ROUTE is protocol 0.
            None,
        )?;
        let groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(AddressWatch { socket })
    }

    /// Reads the notices away, so that the next one is an event again.
    pub fn clear(&mut self) {
        let mut notice = [0; 4096];
        loop {
            match rustix::net::recv(&self.socket, &mut notice, RecvFlags::empty()) {
                // Too many notices at once are an error that is as good as a notice (ENOBUFS).
                Ok(_) | Err(rustix::io::Errno::INTR | rustix::io::Errno::NOBUFS) => {}
                Err(_) => return,
            }
        }
    }
}

impl Source for AddressWatch {
    fn register(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).register(to, token, interest)
    }

    fn reregister(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).reregister(to, token, interest)
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).deregister(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_and_bridges_are_virtual_and_network_cards_are_not() {
        for name in ["docker0", "br-8fd3a1c2b4e5", "veth12ab34c", "virbr0", "lxcbr0", "podman1"] {
            assert!(is_virtual(name), "{name}");
        }
        for name in ["lo", "eth0", "enp3s0", "wlan0", "wlp2s0", "usb0", "tailscale0", "end0"] {
            assert!(!is_virtual(name), "{name}");
        }
    }

    #[test]
    fn the_host_has_its_own_names_and_those_of_the_search_domains() {
        let resolver = "# comment\nnameserver 192.168.1.1\nsearch fritz.box. Lan\ndomain home\n";
        let names = names_of("camera", resolver);
        for name in ["camera", "camera.local", "camera.fritz.box", "camera.lan", "camera.home"] {
            assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
        }
        assert!(!names.iter().any(|known| known == "camera."), "{names:?}");
        let names = names_of("camera.example.org", "");
        assert_eq!(names, ["camera", "camera.example.org", "camera.local"]);
        for nameless in ["", "localhost", "localhost.localdomain"] {
            assert!(names_of(nameless, "search lan").is_empty());
        }
    }

    #[test]
    fn loopback_is_the_last_of_the_addresses() {
        let addresses = addresses().unwrap();
        let first_loopback = addresses.iter().position(IpAddr::is_loopback).unwrap();
        assert!(addresses[first_loopback..].iter().all(IpAddr::is_loopback));
    }
}
