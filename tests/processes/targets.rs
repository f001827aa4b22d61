//! Connections to media servers, and the lookups of their names, as the driver makes and ends them. No
//! thread and no descriptor is left of any of them, and nothing is told of what was given up.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::processes::{alone, descriptors, threads};
use ballcast::testing::driver::publish::TargetClient;
use ballcast::testing::os_error::OsError;
use ballcast::testing::publish::{PublishCause, PublishCommand, PublishEvent, PublishFailure};
use bytes::Bytes;
use mio::{Events, Poll, Token, Waker};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

const CONNECTION: Token = Token(4);
const LOOKUP: Token = Token(5);
const WAIT_LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// What is open for one target, and a loop that does for it what the driver's does.
struct Loop {
    client: TargetClient,
    poll: Poll,
    buffer: Vec<u8>,
    writable: bool,
    readable: bool,
    lookup: bool,
    bytes: Vec<u8>,
}

impl Loop {
    fn new() -> Loop {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), LOOKUP).unwrap());
        Loop {
            client: TargetClient::new(CONNECTION, waker),
            poll,
            buffer: vec![0; 16 * 1_024],
            writable: false,
            readable: false,
            lookup: false,
            bytes: Vec::new(),
        }
    }

    fn execute(&mut self, command: PublishCommand) -> Option<PublishEvent<'static>> {
        self.client.execute(command, self.poll.registry())
    }

    fn resolve(&mut self, name: &str) -> Option<PublishEvent<'static>> {
        self.execute(PublishCommand::Resolve(name.into()))
    }

    fn connect(&mut self, address: SocketAddr) {
        assert_eq!(self.execute(PublishCommand::Connect(address)), None);
    }

    fn send(&mut self, bytes: impl Into<Bytes>) {
        assert_eq!(self.execute(PublishCommand::Send(bytes.into())), None);
    }

    fn close(&mut self) {
        assert_eq!(self.execute(PublishCommand::Close), None);
    }

    /// What happens next but bytes, which are kept. `None` if nothing does for this long.
    fn next_within(&mut self, limit: Duration) -> Option<PublishEvent<'static>> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            let mut events = Events::with_capacity(8);
            self.poll.poll(&mut events, Some(Duration::from_millis(2))).unwrap();
            for event in &events {
                self.lookup |= event.token() == LOOKUP;
                self.writable |= event.token() == CONNECTION && event.is_writable();
                self.readable |= event.token() == CONNECTION && !event.is_writable();
                self.readable |= event.is_readable() || event.is_read_closed();
            }
            if std::mem::take(&mut self.writable)
                && let Some(event) = self.client.write()
            {
                return Some(event);
            }
            while self.readable {
                match self.client.read(&mut self.buffer) {
                    Some(PublishEvent::Received(bytes)) => self.bytes.extend(bytes),
                    Some(event) => return Some(without_bytes(event)),
                    None => self.readable = false,
                }
            }
            if std::mem::take(&mut self.lookup)
                && let Some(event) = self.client.take_lookup()
            {
                return Some(event);
            }
        }
        None
    }

    fn next(&mut self) -> PublishEvent<'static> {
        self.next_within(WAIT_LIMIT).expect("something happens")
    }

    fn failure(&mut self) -> PublishFailure {
        match self.next() {
            PublishEvent::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until this holds, while nothing happens but that bytes come.
    fn wait_until(&mut self, what: &str, done: impl Fn(&Loop) -> bool) {
        let end = Instant::now() + WAIT_LIMIT;
        while !done(self) {
            assert!(Instant::now() < end, "{what}");
            assert_eq!(self.next_within(Duration::from_millis(5)), None, "{what}");
        }
    }
}

/// An event that borrows nothing.
fn without_bytes(event: PublishEvent) -> PublishEvent<'static> {
    match event {
        PublishEvent::Resolved(addresses) => PublishEvent::Resolved(addresses),
        PublishEvent::Connected => PublishEvent::Connected,
        PublishEvent::Received(bytes) => panic!("{bytes:?}"),
        PublishEvent::Ended => PublishEvent::Ended,
        PublishEvent::Failed(failure) => PublishEvent::Failed(failure),
    }
}

fn lookup_threads() -> usize {
    threads(std::process::id(), "lookup")
}

/// A media server that listens, and a connection to it that is made.
fn connected() -> (Loop, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut target = Loop::new();
    target.connect(listener.local_addr().unwrap());
    assert_eq!(target.next(), PublishEvent::Connected);
    let (peer, _) = listener.accept().unwrap();
    (target, peer)
}

/// A server that makes no connection: its queue of those that it has not accepted is full, so that what
/// the kernel is sent for one more is dropped.
fn silent_server() -> (SocketAddr, OwnedFd, Vec<TcpStream>) {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&listener, 0).unwrap();
    let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
    let limit = Duration::from_millis(200);
    let filling = std::iter::from_fn(|| TcpStream::connect_timeout(&address, limit).ok());
    let filling = filling.collect();
    (address, listener, filling)
}

#[test]
fn a_name_that_the_host_knows_is_resolved_to_its_addresses() {
    let _alone = alone();
    let mut target = Loop::new();
    assert_eq!(target.resolve("localhost"), None);
    let PublishEvent::Resolved(addresses) = target.next() else { panic!() };
    assert!(addresses.iter().all(IpAddr::is_loopback) && !addresses.is_empty(), "{addresses:?}");
    assert_eq!(target.next_within(PAUSE), None, "it is told once");
}

#[test]
fn a_name_that_nobody_knows_is_one_clause() {
    let _alone = alone();
    let mut target = Loop::new();
    assert_eq!(target.resolve("name.invalid"), None);
    let failure = target.failure();
    assert_eq!(failure.cause, PublishCause::NameUnknown);
    let why = failure.words.unwrap().to_string();
    assert!(!why.is_empty() && !why.contains(['\n', ':']) && !why.ends_with('.'), "{why}");
    assert_eq!(target.next_within(PAUSE), None, "it is told once");
}

#[test]
fn a_lookup_that_is_given_up_tells_nothing() {
    let _alone = alone();
    let mut target = Loop::new();
    assert_eq!(target.resolve("name.invalid"), None);
    target.close();
    assert_eq!(target.next_within(PAUSE), None);
    target.wait_until("its thread ends", |_| lookup_threads() == 0);
    // The next lookup is not mistaken for it.
    assert_eq!(target.resolve("localhost"), None);
    assert!(matches!(target.next(), PublishEvent::Resolved(_)));
}

#[test]
fn a_hundred_lookups_and_connections_leave_no_thread_and_no_descriptor() {
    let _alone = alone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut target = Loop::new();
    let before = descriptors();
    for round in 0..100 {
        assert_eq!(target.resolve("localhost"), None);
        if round % 2 == 0 {
            assert!(matches!(target.next(), PublishEvent::Resolved(_)));
        }
        target.connect(address);
        // The lookup that was not waited for is told of, too, as it was not given up.
        while target.next() != PublishEvent::Connected {}
        target.close();
        listener.accept().unwrap();
        target.wait_until("all is let go of", |_| descriptors() == before && lookup_threads() == 0);
    }
}

#[test]
fn a_connection_is_made_written_read_and_ended() {
    let _alone = alone();
    let (mut target, mut peer) = connected();
    target.send("POST /whip");
    target.send(" HTTP/1.1\r\n");
    let mut request = [0; 21];
    peer.read_exact(&mut request).unwrap();
    assert_eq!(&request, b"POST /whip HTTP/1.1\r\n");
    peer.write_all(b"HTTP/1.1 201 Created\r\n").unwrap();
    target.wait_until("an answer", |target| target.bytes.len() == 22);
    drop(peer);
    assert_eq!(target.next(), PublishEvent::Ended);
    assert_eq!(target.next_within(PAUSE), None, "it is told once");
}

#[test]
fn what_the_kernel_does_not_take_at_once_follows_in_order() {
    let _alone = alone();
    let (mut target, mut peer) = connected();
    let sent: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    sent.chunks(3_000_000).for_each(|part| target.send(part.to_vec()));
    let thread = std::thread::spawn(move || {
        let mut received = vec![0; 20_000_000];
        peer.read_exact(&mut received).unwrap();
        (received, peer)
    });
    target.wait_until("all is read", |_| thread.is_finished());
    let (received, _peer) = thread.join().unwrap();
    assert!(received == sent);
}

#[test]
fn the_peer_may_send_no_more_and_still_read() {
    let _alone = alone();
    let (mut target, mut peer) = connected();
    peer.write_all(b"last").unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(target.next(), PublishEvent::Ended);
    assert_eq!(target.bytes, b"last");
    target.send("DELETE");
    let mut request = [0; 6];
    peer.read_exact(&mut request).unwrap();
    assert_eq!(&request, b"DELETE");
}

#[test]
fn a_connection_that_is_reset_has_failed_once() {
    let _alone = alone();
    let (mut target, peer) = connected();
    set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    drop(peer);
    assert_eq!(target.failure().cause, PublishCause::ConnectionReset);
    assert!(!target.client.has_connection());
    target.send("too late");
    assert_eq!(target.next_within(PAUSE), None, "it is told once");
}

#[test]
fn a_connection_that_cannot_be_made_has_a_reason() {
    let _alone = alone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut target = Loop::new();
    let report = target.execute(PublishCommand::Connect(address));
    let failure = match report {
        Some(PublishEvent::Failed(failure)) => failure,
        _ => target.failure(),
    };
    assert_eq!(failure.cause, PublishCause::ConnectionRefused);
    assert!(!target.client.has_connection());
    // Which interface is meant?
    let nowhere = "[fe80::1]:80".parse().unwrap();
    let Some(PublishEvent::Failed(failure)) = target.execute(PublishCommand::Connect(nowhere))
    else {
        panic!()
    };
    assert!(matches!(failure.cause, PublishCause::Unreachable(OsError::Number(_))), "{failure:?}");
    assert_eq!(target.next_within(PAUSE), None);
}

#[test]
fn an_address_of_this_device_is_only_connected_to_if_the_command_line_leads_there() {
    let _alone = alone();
    for ip in ballcast::testing::driver::net::addresses::addresses().unwrap() {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut target = Loop::new();
        let report = target.execute(PublishCommand::ConnectElsewhere(address));
        assert_eq!(
            report,
            Some(PublishEvent::Failed(PublishCause::LeadsToThisDevice.into())),
            "{address}"
        );
        assert!(!target.client.has_connection());
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "{address}");
        target.connect(address);
        assert_eq!(target.next(), PublishEvent::Connected);
    }
    // An address of documentation (RFC 5737) is nobody's; whether there is a way to it does not matter.
    let mut target = Loop::new();
    let elsewhere = PublishCommand::ConnectElsewhere("192.0.2.1:80".parse().unwrap());
    let report = target.execute(elsewhere);
    assert_ne!(report, Some(PublishEvent::Failed(PublishCause::LeadsToThisDevice.into())));
}

#[test]
fn a_connection_may_be_given_up_while_it_is_made() {
    let _alone = alone();
    let (silent, _listener, _filling) = silent_server();
    let before = descriptors();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut target = Loop::new();
    target.connect(silent);
    assert_eq!(target.next_within(PAUSE), None, "nobody accepts it");
    assert!(target.client.has_connection());
    // What is sent now would wait for it.
    target.send("POST");
    target.close();
    assert_eq!(target.next_within(PAUSE), None);
    // A late word of it, with the token that the next one has.
    target.connect(silent);
    (target.writable, target.readable) = (true, true);
    assert_eq!(target.next_within(PAUSE), None, "this one is not made");
    target.close();
    target.connect(listener.local_addr().unwrap());
    assert_eq!(target.next(), PublishEvent::Connected);
    drop((target, listener));
    assert_eq!(descriptors(), before);
}

#[test]
fn word_of_an_old_connection_does_not_harm_the_next_one() {
    let _alone = alone();
    let (mut target, old) = connected();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (&old).write_all(b"late").unwrap();
    target.close();
    target.connect(listener.local_addr().unwrap());
    (target.writable, target.readable, target.lookup) = (true, true, true);
    assert_eq!(target.next(), PublishEvent::Connected);
    let (mut peer, _) = listener.accept().unwrap();
    (target.writable, target.readable, target.lookup) = (true, true, true);
    assert_eq!(target.next_within(PAUSE), None);
    peer.write_all(b"new").unwrap();
    target.wait_until("bytes", |target| target.bytes == b"new");
}
