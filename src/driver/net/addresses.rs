//! The addresses of this host, and a watch for their changes.

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

/// The addresses at which clients on the local network or on this host reach this program: IPv4 first,
/// loopback last.
///
/// Excludes addresses of containers and virtual machines, and link-local addresses, which a browser cannot
/// use: those of IPv6 need a scope, and ICE rejects those of IPv4.
///
/// # Errors
/// The interfaces cannot be read.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let mut interfaces = if_addrs::get_if_addrs()?;
    interfaces.retain(|interface| !interface.is_link_local() && !is_virtual(&interface.name));
    let mut addresses: Vec<IpAddr> = interfaces.iter().map(Interface::ip).collect();
    addresses.sort_by_key(|address| (address.is_loopback(), address.is_ipv6()));
    addresses.dedup();
    Ok(addresses)
}

/// Whether all of these addresses, except for loopback, belong to the network of a container. Other machines
/// cannot reach them unless the bridge at the other end is routed.
pub fn are_of_container(addresses: &[SocketAddr]) -> bool {
    let addresses = addresses.iter().map(SocketAddr::ip).filter(|ip| !ip.is_loopback());
    let addresses: Vec<IpAddr> = addresses.collect();
    if addresses.is_empty() {
        return false;
    }
    let mut interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.retain(|interface| addresses.contains(&interface.ip()));
    !interfaces.is_empty() && interfaces.iter().all(|interface| is_veth(&interface.name))
}

/// Whether this is one end of a veth(4) pair, as containers have it: a virtual device without a type of its
/// own (VLANs and tunnels have one) and without a program behind it (`tun_flags`).
fn is_veth(interface: &str) -> bool {
    let folder = Path::new("/sys/class/net").join(interface);
    let is_virtual_device =
        folder.canonicalize().is_ok_and(|path| path.starts_with("/sys/devices/virtual"));
    let has_type =
        fs::read_to_string(folder.join("uevent")).is_ok_and(|it| it.contains("DEVTYPE="));
    is_virtual_device && !has_type && !folder.join("tun_flags").exists()
}

/// Whether containers or virtual machines are behind this interface.
fn is_virtual(interface: &str) -> bool {
    const PREFIXES: [&str; 8] =
        ["docker", "br-", "veth", "virbr", "lxc", "cni", "flannel", "podman"];
    PREFIXES.iter().any(|prefix| interface.starts_with(prefix))
        || Path::new("/sys/class/net").join(interface).join("bridge").exists()
}

/// Becomes readable when an address is added or removed: a subscription to the kernel's notifications
/// (rtnetlink(7)). The notifications themselves are discarded; the addresses are read again.
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

    /// Discards all notifications, so that the next one is an event.
    pub fn clear(&mut self) {
        let mut notification = [0; 4096];
        loop {
            match rustix::net::recv(&self.socket, &mut notification, RecvFlags::empty()) {
                // ENOBUFS means that notifications were lost, which is as good as a notification.
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
    fn loopback_is_the_last_of_the_addresses() {
        let addresses = addresses().unwrap();
        let first_loopback = addresses.iter().position(IpAddr::is_loopback).unwrap();
        assert!(addresses[first_loopback..].iter().all(IpAddr::is_loopback));
    }
}
