//! The bound sockets: TCP and UDP on the same port of each address, as the host's addresses come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::addresses::{self, AddressWatch};
use super::udp::{BATCH, UdpEndpoint};
use crate::driver::tokens::{Tokens, WATCH, datagrams_of, listener_of};
use crate::webrtc::Transmit;

/// Ports to try when any free one will do: the kernel's choice may be taken on another address.
const FREE_PORT_TRIES: usize = 16;
/// The kernel's receive buffer for a connection that is not read: more than the largest request.
const RECEIVE_BUFFER_BYTES: usize = 128 * 1_024;

/// TCP and UDP on one address.
struct BoundAddress {
    address: SocketAddr,
    listener: TcpListener,
    udp: UdpEndpoint,
}

/// All bound sockets, and the datagrams that wait to be sent.
pub struct Endpoints {
    /// By the tokens of their listeners.
    bound: BTreeMap<Token, BoundAddress>,
    tokens: Tokens,
    /// The addresses that were asked for; none for the host's own.
    wanted: Vec<IpAddr>,
    /// The port of all endpoints.
    port: u16,
    watch: Option<AddressWatch>,
    /// Datagrams to send with the next system calls.
    transmits: Vec<Transmit>,
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
                "Port {} on {} is in use by another program. Stop that program, or choose another \
                 port with --port.",
                address.port(),
                address.ip()
            ),
            BindError::PortDenied(port) => write!(
                f,
                "Permission denied for port {port}. Choose a port above 1023 with --port, or grant \
                 the program CAP_NET_BIND_SERVICE."
            ),
            BindError::NoAddress => f.write_str(
                "There is no address to serve on. Connect this device to a network, or name one of \
                 its addresses with --bind.",
            ),
            BindError::Interfaces(error) => {
                write!(f, "The network interfaces cannot be read: {error}.")
            }
        }
    }
}

impl BoundAddress {
    fn bind(address: SocketAddr) -> io::Result<BoundAddress> {
        let listener = TcpListener::bind(address)?;
        // Accepted connections inherit the size. By default the kernel buffers megabytes for each that is
        // paused.
        if let Err(error) = set_socket_recv_buffer_size(&listener, RECEIVE_BUFFER_BYTES) {
            log::debug!("connections to {address} keep the default receive buffer: {error}");
        }
        let address = listener.local_addr()?;
        let udp = UdpEndpoint::bind(address)?;
        Ok(BoundAddress { address, listener, udp })
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.listener, token, Interest::READABLE)?;
        registry.register(self.udp.socket(), datagrams_of(token), Interest::READABLE)
    }
}

impl Endpoints {
    /// Binds TCP and UDP on `port` of each address in `wanted`, or of the host's own addresses if there is
    /// none. Port 0 is any port that is free on all of them. An address that cannot be bound is skipped with
    /// a warning.
    ///
    /// # Errors
    /// The port is taken or denied on an address, or no address could be bound.
    pub fn bind(wanted: &[IpAddr], port: u16) -> Result<Endpoints, BindError> {
        let addresses = expand(wanted).map_err(BindError::Interfaces)?;
        let tries = if port == 0 { FREE_PORT_TRIES } else { 1 };
        let mut result = Err(BindError::NoAddress);
        for _ in 0..tries {
            result = bind_all(&addresses, port);
            if !matches!(result, Err(BindError::PortTaken(_))) {
                break;
            }
        }
        let bound = result?;
        let port = bound.first().map_or(port, |endpoint| endpoint.address.port());
        let mut tokens = Tokens::of_endpoints();
        let bound = bound.into_iter().map_while(|endpoint| Some((tokens.take()?, endpoint)));
        Ok(Endpoints {
            bound: bound.collect(),
            tokens,
            wanted: wanted.to_vec(),
            port,
            watch: None,
            transmits: Vec::with_capacity(BATCH),
        })
    }

    /// The bound addresses, in the order in which they were bound.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.values().map(|endpoint| endpoint.address).collect()
    }

    /// Registers all sockets with the poll. If the wanted addresses depend on the host's, watches these, too.
    ///
    /// # Errors
    /// A socket cannot be registered.
    pub(crate) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        for (token, endpoint) in &mut self.bound {
            endpoint.register(registry, *token)?;
        }
        if !follows_host(&self.wanted) {
            return Ok(());
        }
        let watch = AddressWatch::new().and_then(|mut watch| {
            registry.register(&mut watch, WATCH, Interest::READABLE)?;
            Ok(watch)
        });
        match watch {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => {
                log::warn!("cannot follow address changes; new addresses need a restart: {error}");
            }
        }
        Ok(())
    }

    /// Accepts a connection.
    ///
    /// # Errors
    /// `WouldBlock`: none is waiting, or the listener is closed.
    pub(crate) fn accept(&self, token: Token) -> io::Result<(TcpStream, SocketAddr)> {
        self.bound.get(&token).ok_or(ErrorKind::WouldBlock)?.listener.accept()
    }

    /// Receives a datagram: its length, its source, and its destination.
    ///
    /// # Errors
    /// `WouldBlock`: none is waiting, or the socket is closed.
    pub(crate) fn receive(
        &self,
        token: Token,
        datagram: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, SocketAddr)> {
        let endpoint = self.bound.get(&listener_of(token)).ok_or(ErrorKind::WouldBlock)?;
        let (bytes, source) = endpoint.udp.receive(datagram)?;
        Ok((bytes, source, endpoint.address))
    }

    /// Queues a datagram. Returns true if the batch is full and should be [sent](Endpoints::send).
    pub(crate) fn push(&mut self, transmit: Transmit) -> bool {
        self.transmits.push(transmit);
        self.transmits.len() == BATCH
    }

    /// Sends all queued datagrams in order. Calls `failed` with the destination of each that the kernel did
    /// not take, and with the error unless its source address is gone.
    pub(crate) fn send(&mut self, mut failed: impl FnMut(SocketAddr, Option<io::Error>)) {
        for batch in self.transmits.chunk_by(|a, b| a.source == b.source) {
            let mut endpoints = self.bound.values_mut();
            match endpoints.find(|endpoint| endpoint.address == batch[0].source) {
                Some(endpoint) => endpoint.udp.send(batch, |to, error| failed(to, Some(error))),
                None => batch.iter().for_each(|transmit| failed(transmit.destination, None)),
            }
        }
        self.transmits.clear();
    }

    /// Binds addresses that are new on the host and closes those that are gone. Returns the tokens of the
    /// closed sockets, or `None` if nothing has changed.
    pub(crate) fn follow_host(&mut self, registry: &Registry) -> Option<Vec<Token>> {
        if let Some(watch) = &mut self.watch {
            watch.clear();
        }
        let wanted = expand(&self.wanted).ok()?;
        let mut closed = Vec::new();
        self.bound.retain(|token, endpoint| {
            let ip = endpoint.address.ip();
            let is_wanted = wanted.contains(&ip);
            if !is_wanted {
                log::info!("no longer serving on {ip}: the address was removed");
                self.tokens.put_back(*token);
                closed.extend([*token, datagrams_of(*token)]);
            }
            is_wanted
        });
        let mut any_new = false;
        for ip in wanted {
            if self.bound.values().any(|endpoint| endpoint.address.ip() == ip) {
                continue;
            }
            match self.add(SocketAddr::new(ip, self.port), registry) {
                Ok(address) => {
                    log::info!("now also serving on http://{address}/");
                    any_new = true;
                }
                Err(error) => warn_skipped(ip, &error),
            }
        }
        (any_new || !closed.is_empty()).then_some(closed)
    }

    fn add(&mut self, address: SocketAddr, registry: &Registry) -> io::Result<SocketAddr> {
        let mut endpoint = BoundAddress::bind(address)?;
        let token = self.tokens.take().ok_or(ErrorKind::OutOfMemory)?;
        if let Err(error) = endpoint.register(registry, token) {
            self.tokens.put_back(token);
            return Err(error);
        }
        self.bound.insert(token, endpoint);
        Ok(address)
    }
}

/// Whether the addresses to bind change with the host's.
fn follows_host(wanted: &[IpAddr]) -> bool {
    wanted.is_empty() || wanted.iter().any(IpAddr::is_unspecified)
}

/// The addresses to bind: the host's own if `wanted` is empty. An unspecified address stands for all of the
/// host's addresses of its family.
fn expand(wanted: &[IpAddr]) -> io::Result<Vec<IpAddr>> {
    if wanted.is_empty() {
        return addresses::addresses();
    }
    let mut expanded = Vec::new();
    for address in wanted {
        if address.is_unspecified() {
            let is_of_family = |a: &IpAddr| a.is_ipv4() == address.is_ipv4();
            expanded.extend(addresses::addresses()?.into_iter().filter(is_of_family));
        } else {
            expanded.push(*address);
        }
    }
    let mut seen = BTreeSet::new();
    expanded.retain(|address| seen.insert(*address));
    Ok(expanded)
}

fn bind_all(addresses: &[IpAddr], mut port: u16) -> Result<Vec<BoundAddress>, BindError> {
    let mut endpoints = Vec::new();
    for ip in addresses {
        let address = SocketAddr::new(*ip, port);
        match BoundAddress::bind(address) {
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
            Err(error) => warn_skipped(*ip, &error),
        }
    }
    if endpoints.is_empty() {
        return Err(BindError::NoAddress);
    }
    Ok(endpoints)
}

fn warn_skipped(ip: IpAddr, error: &io::Error) {
    log::warn!("skipping {ip}: bind failed: {error}");
}

#[cfg(test)]
mod tests {
    use std::net::{TcpStream as Client, UdpSocket};
    use std::time::Duration;

    use mio::Poll;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Repeats a call until it does not block.
    fn wait_for<T>(mut call: impl FnMut() -> io::Result<T>) -> T {
        loop {
            match call() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                result => return result.unwrap(),
            }
        }
    }

    #[test]
    fn an_endpoint_accepts_and_receives_under_its_tokens() {
        let mut endpoints = Endpoints::bind(&[LOOPBACK, LOOPBACK], 0).unwrap();
        let [address] = endpoints.addresses()[..] else { panic!("an address is bound once") };
        endpoints.register(Poll::new().unwrap().registry()).unwrap();
        let token = Tokens::of_endpoints().take().unwrap();
        assert_eq!(endpoints.accept(token).unwrap_err().kind(), ErrorKind::WouldBlock);
        let client = Client::connect(address).unwrap();
        let (_, peer) = wait_for(|| endpoints.accept(token));
        assert_eq!(peer, client.local_addr().unwrap());

        let client = UdpSocket::bind((LOOPBACK, 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.send_to(b"ping", address).unwrap();
        let source = client.local_addr().unwrap();
        let received = wait_for(|| endpoints.receive(datagrams_of(token), &mut [0; 8]));
        assert_eq!(received, (4, source, address));

        let gone: SocketAddr = "192.0.2.1:9".parse().unwrap();
        let answer = |from| Transmit { source: from, destination: source, contents: vec![7] };
        assert!(!endpoints.push(answer(gone)) && !endpoints.push(answer(address)));
        let mut failures = Vec::new();
        endpoints.send(|to, error| failures.push((to, error.is_none())));
        assert_eq!(failures, [(source, true)]);
        assert_eq!(client.recv(&mut [0; 8]).unwrap(), 1);
        endpoints.send(|to, _| panic!("{to}: all was sent"));
    }

    #[test]
    fn addresses_that_come_are_bound_and_those_that_go_are_closed() {
        let other: IpAddr = "127.0.0.2".parse().unwrap();
        let mut endpoints = Endpoints::bind(&[LOOPBACK], 0).unwrap();
        let poll = Poll::new().unwrap();
        endpoints.register(poll.registry()).unwrap();
        assert_eq!(endpoints.follow_host(poll.registry()), None);
        endpoints.wanted = vec![LOOPBACK, other];
        assert_eq!(endpoints.follow_host(poll.registry()), Some(vec![]));
        let addresses = endpoints.addresses();
        assert_eq!(addresses[1], SocketAddr::new(other, addresses[0].port()));
        endpoints.wanted = vec![other];
        let first = Tokens::of_endpoints().take().unwrap();
        let closed = endpoints.follow_host(poll.registry());
        assert_eq!(closed, Some(vec![first, datagrams_of(first)]));
        assert_eq!(endpoints.addresses(), addresses[1..]);
        let error = endpoints.accept(first).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "its token is free");
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_that_names_it() {
        let holder = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        let error = Endpoints::bind(&[LOOPBACK], port).err().unwrap().to_string();
        assert!(error.starts_with(&format!("Port {port} on 127.0.0.1 is in use")), "{error}");
    }
}
