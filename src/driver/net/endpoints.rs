//! The bound sockets: TCP and UDP on the same port of each address.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpListener;
use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::{addresses, udp};

/// Ports to try when any free one will do: the kernel's choice may be taken on another address.
const FREE_PORT_TRIES: usize = 16;

/// What the kernel keeps of a connection that is not read: more than the largest request.
const RECEIVE_BUFFER_BYTES: usize = 128 * 1_024;

/// TCP and UDP on one address.
pub struct Endpoint {
    pub address: SocketAddr,
    pub listener: TcpListener,
    pub udp: udp::Socket,
}

impl Endpoint {
    pub fn bind(address: SocketAddr) -> io::Result<Endpoint> {
        let listener = TcpListener::bind(address)?;
        // Its connections inherit this. Without it the kernel keeps megabytes of each that is paused.
        if let Err(error) = set_socket_recv_buffer_size(&listener, RECEIVE_BUFFER_BYTES) {
            log::debug!("connections of {address} keep the usual receive buffer: {error}");
        }
        let address = listener.local_addr()?;
        let udp = udp::Socket::bind(address)?;
        Ok(Endpoint { address, listener, udp })
    }
}

/// The bound sockets, before the server that will use them exists.
pub struct Endpoints {
    pub(crate) endpoints: Vec<Endpoint>,
    /// What was asked for: addresses, or none for the host's own.
    pub(crate) bind: Vec<IpAddr>,
}

/// Why nothing could be bound.
#[derive(Debug)]
pub enum BindError {
    PortTaken(SocketAddr),
    PortDenied(u16),
    NoAddress,
    Interfaces(io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::PortTaken(address) => write!(
                f,
                "Port {} of {} is taken by another program. End that, or choose another port \
                 with --port.",
                address.port(),
                address.ip()
            ),
            BindError::PortDenied(port) => write!(
                f,
                "This user may not use port {port}. Choose one above 1023 with --port, or grant \
                 the program CAP_NET_BIND_SERVICE."
            ),
            BindError::NoAddress => f.write_str(
                "There is no address to serve on. Connect this device to a network, or name an \
                 address of its own with --bind.",
            ),
            BindError::Interfaces(error) => {
                write!(f, "The network interfaces cannot be read: {error}.")
            }
        }
    }
}

impl Endpoints {
    /// Binds TCP and UDP on `port` of each address in `bind`, or of the host's own if there is
    /// none. What cannot be bound is logged and left out; a taken port is an error.
    pub fn bind(bind: &[IpAddr], port: u16) -> Result<Endpoints, BindError> {
        let addresses = expand(bind).map_err(BindError::Interfaces)?;
        let tries = if port == 0 { FREE_PORT_TRIES } else { 1 };
        let mut result = Err(BindError::NoAddress);
        for _ in 0..tries {
            result = bind_all(&addresses, port);
            if !matches!(result, Err(BindError::PortTaken(_))) {
                break;
            }
        }
        Ok(Endpoints { endpoints: result?, bind: bind.to_vec() })
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.endpoints.iter().map(|endpoint| endpoint.address).collect()
    }
}

/// Whether what was asked for changes as the host's addresses come and go.
pub(crate) fn follows_host(bind: &[IpAddr]) -> bool {
    bind.is_empty() || bind.iter().any(IpAddr::is_unspecified)
}

/// The addresses to bind: none means the host's, an unspecified one all of its family.
pub(crate) fn expand(bind: &[IpAddr]) -> io::Result<Vec<IpAddr>> {
    if bind.is_empty() {
        return addresses::addresses();
    }
    let mut addresses = Vec::new();
    for address in bind {
        if address.is_unspecified() {
            let family = |a: &IpAddr| a.is_ipv4() == address.is_ipv4();
            addresses.extend(addresses::addresses()?.into_iter().filter(family));
        } else {
            addresses.push(*address);
        }
    }
    let mut seen = BTreeSet::new();
    addresses.retain(|address| seen.insert(*address));
    Ok(addresses)
}

fn bind_all(addresses: &[IpAddr], mut port: u16) -> Result<Vec<Endpoint>, BindError> {
    let mut endpoints = Vec::new();
    for ip in addresses {
        let address = SocketAddr::new(*ip, port);
        match Endpoint::bind(address) {
            Ok(endpoint) => {
                port = endpoint.address.port();
                endpoints.push(endpoint);
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                return Err(BindError::PortTaken(address));
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(BindError::PortDenied(port));
            }
            Err(error) => log::warn!("skipping {ip}: bind failed: {error}"),
        }
    }
    if endpoints.is_empty() {
        return Err(BindError::NoAddress);
    }
    Ok(endpoints)
}
