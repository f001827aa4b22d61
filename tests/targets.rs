//! Connections to media servers, and the lookups of their names, as the driver makes and ends them. No
//! process and no descriptor is left of any of them, and nothing is told of what was given up.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use ballcast::driver::children::reap;
use ballcast::driver::publish::TargetClient;
use ballcast::os_error::OsError;
use ballcast::publish::{PublishCause, PublishCommand, PublishEvent, PublishFailure};
use bytes::Bytes;
use mio::{Events, Poll, Token};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use rustix::process::{Pid, Signal, kill_process};
use support::process::binary;
use support::processes::{Process, alone, children, descriptors};

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
        Loop::with_program(&binary())
    }

    /// With another program in the place of this one.
    fn with_program(program: &Path) -> Loop {
        Loop {
            client: TargetClient::new(program, CONNECTION, LOOKUP),
            poll: Poll::new().unwrap(),
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
            reap(|pid, _| self.client.note_reaped(pid));
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
                && let Some(event) = self.client.read_lookup()
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

    /// Why a name is not resolved.
    fn lookup_failure(&mut self) -> String {
        why_unresolved(&self.failure())
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

fn why_unresolved(failure: &PublishFailure) -> String {
    assert_eq!(failure.cause, PublishCause::NameUnknown);
    failure.words.as_ref().unwrap().to_string()
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

/// A shell script that takes the place of the program.
fn script(name: &str, text: &str) -> PathBuf {
    let file = format!("targets-{}-{name}", std::process::id());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(file);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_name_that_the_host_knows_is_resolved_to_its_addresses() {
    let _alone = alone();
    let mut target = Loop::new();
    assert_eq!(target.resolve("localhost"), None);
    let PublishEvent::Resolved(addresses) = target.next() else { panic!() };
    assert!(addresses.iter().all(IpAddr::is_loopback) && !addresses.is_empty(), "{addresses:?}");
    assert_eq!(target.next_within(PAUSE), None, "it is told once");
    assert_eq!(children(), []);
}

#[test]
fn a_name_that_nobody_knows_is_one_clause() {
    let _alone = alone();
    let mut target = Loop::new();
    assert_eq!(target.resolve("name.invalid"), None);
    let why = target.lookup_failure();
    assert!(!why.is_empty() && !why.contains(['\n', ':']) && !why.ends_with('.'), "{why}");
    assert_eq!(target.next_within(PAUSE), None, "it is told once");
}

#[test]
fn a_lookup_that_is_given_up_is_killed_with_all_its_processes_and_tells_nothing() {
    let _alone = alone();
    let hangs = script("hangs", "echo 192.0.2.1; sleep 1000 & sleep 1000");
    let mut target = Loop::with_program(&hangs);
    assert_eq!(target.resolve("camera"), None);
    assert_eq!(target.next_within(PAUSE), None);
    let [Process { pid, group, .. }] = children()[..] else { panic!() };
    assert_eq!(pid, group, "a signal of the terminal does not reach it");
    target.close();
    target.wait_until("it is reaped", |_| children().is_empty());
    let of_group = |process: &Process| process.group == group && !process.is_zombie;
    assert!(!support::processes::processes().any(|process| of_group(&process)));
    // The next one is not mistaken for it, nor does it wait.
    assert_eq!(target.resolve("camera"), None);
    assert_eq!(target.resolve("camera"), None);
    drop(target);
    assert_eq!(children(), [], "the end of the program leaves none");
    std::fs::remove_file(hangs).unwrap();
}

#[test]
fn a_lookup_that_somebody_kills_or_that_says_nothing_has_failed() {
    let _alone = alone();
    let hangs = script("is-killed", "exec sleep 1000");
    let mut target = Loop::with_program(&hangs);
    assert_eq!(target.resolve("camera"), None);
    kill_process(Pid::from_raw(children()[0].pid).unwrap(), Signal::KILL).unwrap();
    assert_eq!(target.lookup_failure(), "the resolver has ended without an answer");
    std::fs::remove_file(hangs).unwrap();
}

#[test]
fn a_program_that_writes_for_ever_is_ended() {
    let _alone = alone();
    let endless = script("endless", "exec yes no");
    let mut target = Loop::with_program(&endless);
    assert_eq!(target.resolve("camera"), None);
    let reason = target.lookup_failure();
    assert!(reason.starts_with('n'), "{reason}");
    target.wait_until("it is reaped", |_| children().is_empty());
    std::fs::remove_file(endless).unwrap();
}

#[test]
fn a_lookup_has_no_standard_input_and_none_of_our_descriptors() {
    let _alone = alone();
    let lists = script("lists", "echo $(readlink /proc/$$/fd/0) $(ls /proc/$$/fd) $#: $*");
    let mut target = Loop::with_program(&lists);
    assert_eq!(target.resolve("camera"), None);
    let reason = target.lookup_failure();
    // Those that the test itself was started with are not ours.
    let mut alike = std::process::Command::new(&lists);
    let output = alike.args(["--resolve", "camera"]).stdin(Stdio::null()).output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(
        line.starts_with("/dev/null 0 1 ") && line.ends_with(" 2: --resolve camera\n"),
        "{line}"
    );
    assert_eq!(reason, line.trim_end());
    std::fs::remove_file(lists).unwrap();
}

#[test]
fn a_program_that_cannot_be_started_is_named() {
    let _alone = alone();
    let before = descriptors();
    let mut target = Loop::with_program(Path::new("/nowhere/exe"));
    let Some(PublishEvent::Failed(failure)) = target.resolve("camera") else { panic!() };
    let reason = why_unresolved(&failure);
    assert!(reason.starts_with("/nowhere/exe cannot be started: No such"), "{reason}");
    drop(target);
    assert_eq!(descriptors(), before);
}

#[test]
fn a_hundred_lookups_and_connections_leave_no_zombie_and_no_descriptor() {
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
        target.wait_until("all is let go of", |_| descriptors() == before && children().is_empty());
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
    for ip in ballcast::driver::net::addresses::addresses().unwrap() {
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

#[test]
fn the_program_resolves_a_name_for_itself() {
    let _alone = alone();
    let resolve = |arguments: &[&str]| {
        let output = std::process::Command::new(binary()).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, addresses, log) = resolve(&["--resolve", "localhost"]);
    assert_eq!((code, log.as_str()), (Some(0), ""));
    assert!(addresses.lines().all(|line| line.parse::<IpAddr>().unwrap().is_loopback()));
    let (code, addresses, log) = resolve(&["--resolve", "name.invalid"]);
    assert_eq!((code, addresses.as_str(), log.lines().count()), (Some(1), "", 1), "{log}");
    assert_eq!(resolve(&["--resolve"]).0, Some(2));
    assert!(!ballcast::cli::HELP.contains("--resolve"));
}
