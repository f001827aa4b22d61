//! System calls that fail: strace makes those of the real binary return errors, the first one, every
//! third or all of them for a while. The server stays alive, does not spin, says what is wrong once, and
//! serves all who ask in the end.
//!
//! TCP and UDP are read with `recvfrom`. TCP is written with `sendto`, the log with `write`. `read` is not
//! called any more once the server has started.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::support::process::{Server, WAIT_LIMIT, binary, request, try_stats};
use crate::support::socket_viewer::{SocketViewer, run_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const ERRORS: [&str; 7] =
    ["EINTR", "EAGAIN", "ENOBUFS", "EMFILE", "EPERM", "ECONNRESET", "ENETUNREACH"];

/// Which calls fail.
#[derive(Debug, Clone, Copy)]
enum When {
    First,
    EveryThird,
    /// Until strace is ended.
    Every,
}

const WHEN: [When; 3] = [When::First, When::EveryThird, When::Every];

/// Calls that may fail in a second in which nothing happens: some sockets are tried 64 times in 50 ms
/// each. A loop that spins makes 20,000 under strace.
const MOST_FAILED_CALLS: usize = 8_000;

/// A server whose system calls of one kind fail.
struct Faulty {
    server: Server,
    /// What strace writes.
    trace: PathBuf,
    what: String,
}

impl Faulty {
    /// The calls before `first` succeed.
    fn start(call: &str, first: u32, error: &str, when: When) -> Faulty {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let trace = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{number}"));
        let which = match when {
            When::First => format!("{first}"),
            When::EveryThird => format!("{first}+3"),
            When::Every => format!("{first}+"),
        };
        let mut strace = Command::new("strace");
        // With -D the server is the child, and strace goes with it; with -I2 it can be ended.
        strace.args(["-D", "-I2", "-qq", "-e", &format!("trace={call}"), "-o"]).arg(&trace);
        strace.args(["-e", &format!("inject={call}:error={error}:when={which}")]);
        strace.arg(binary());
        let server = Server::start_command(strace, "127.0.0.1", 0, &[]);
        Faulty { server, trace, what: format!("{call} {error} {when:?}") }
    }

    fn failed_calls(&self) -> usize {
        std::fs::read_to_string(&self.trace).unwrap().matches("(INJECTED)").count()
    }

    /// Ends strace, and with it what goes wrong.
    fn heal(&self) {
        kill_process(self.tracer().expect("strace runs"), Signal::TERM).unwrap();
        wait_until(&self.what, || self.tracer().is_none());
    }

    fn tracer(&self) -> Option<Pid> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.server.pid())).unwrap();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap();
        Pid::from_raw(tracer.trim().parse().unwrap())
    }

    /// Something that concerns each of the calls: requests, whose answers nobody waits for, and datagrams.
    fn poke(&self) {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..2 {
            let address = self.server.address;
            let connection = std::net::TcpStream::connect(address).and_then(|mut connection| {
                std::io::Write::write_all(&mut connection, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
                Ok(connection)
            });
            let refused = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            assert!(!connection.as_ref().is_err_and(|error| !refused.contains(&error.kind())));
            sender.send_to(b"nothing", address).unwrap();
            sleep(Duration::from_millis(40));
        }
    }

    /// A viewer plays, leaves, and is gone. Others whose answer was lost may be left.
    fn check_health(&self) {
        let mut viewers = [self.join()];
        run_until(&mut viewers, |w| w[0].client.frames.len() >= 20);
        let [viewer] = &mut viewers;
        viewer.client.close(Instant::now());
        viewer.step();
        wait_until(&self.what, || {
            let stats = try_stats(self.server.address);
            let has_left = |viewer: &Value| viewer["frames_sent"] == 0;
            stats.is_some_and(|stats| stats["viewers"].as_array().unwrap().iter().all(has_left))
        });
    }

    /// A viewer, whose offer may need some tries.
    fn join(&self) -> SocketViewer {
        let end = Instant::now() + WAIT_LIMIT;
        loop {
            if let Some(viewer) = SocketViewer::try_join(&self.server) {
                return viewer;
            }
            assert!(Instant::now() < end, "{}", self.what);
            sleep(Duration::from_millis(50));
        }
    }

    /// Without viewers there is nothing to do. A loop that spins would take all of the time, of which
    /// strace takes the larger part.
    fn check_idle(&self) {
        sleep(Duration::from_millis(300));
        let (cpu, failed) = (self.server.usage().cpu_s, self.failed_calls());
        sleep(Duration::from_secs(1));
        let (cpu, failed) = (self.server.usage().cpu_s - cpu, self.failed_calls() - failed);
        assert!(cpu <= 0.3, "{}: {cpu} s of CPU in an idle second", self.what);
        assert!(failed <= MOST_FAILED_CALLS, "{}: {failed} calls in an idle second", self.what);
    }

    /// Lines of the log at WARN. None is worse.
    fn warnings(&self) -> usize {
        let log = self.server.log();
        assert!(!log.iter().any(|line| line.contains(" ERROR]")), "{}: {log:?}", self.what);
        log.iter().filter(|line| line.contains(" WARN ")).count()
    }
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + WAIT_LIMIT;
    while !done() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(50));
    }
}

/// All errors at once, each with a server of its own.
fn check_call(call: &str, first: u32) {
    for when in WHEN {
        scope(|threads| {
            for error in ERRORS {
                // A datagram that the kernel denies to have is read with the next one. Where that goes
                // on, no handshake is fast enough, and no kernel does it.
                if (call, error) == ("recvfrom", "EAGAIN") && matches!(when, When::EveryThird) {
                    continue;
                }
                threads.spawn(move || check(call, first, error, when));
            }
        });
    }
}

fn check(call: &str, first: u32, error: &str, when: When) {
    let started = Instant::now();
    let faulty = Faulty::start(call, first, error, when);
    // To TCP these mean that the connection is gone, so that each has to end sometime.
    let ends_tcp = call == "recvfrom" && ["ECONNRESET", "ENETUNREACH"].contains(&error);
    if matches!(when, When::Every) || matches!(when, When::EveryThird) && ends_tcp {
        faulty.poke();
        // Nothing is sent to anybody but viewers.
        let _viewer = (call == "sendmmsg").then(|| {
            let mut viewer = faulty.join();
            (0..20).for_each(|_| viewer.step());
            viewer
        });
        // A write that a signal has interrupted is repeated at once: that does not happen all the time.
        if error != "EINTR" || !["sendto", "sendmmsg", "write"].contains(&call) {
            faulty.check_idle();
        }
        faulty.heal();
    }
    faulty.check_health();
    faulty.check_idle();
    let (failed, warnings) = (faulty.failed_calls(), faulty.warnings());
    println!("{}: {failed} failed, {warnings} warnings, {:.1?}", faulty.what, started.elapsed());
    assert!(failed > 0, "{}: none has failed", faulty.what);
    assert!(warnings <= 1, "{}: {warnings} warnings within a minute", faulty.what);
}

#[test]
fn the_server_survives_errors_of_accept4() {
    check_call("accept4", 1);
}

#[test]
fn the_server_survives_errors_of_recvfrom() {
    check_call("recvfrom", 1);
}

#[test]
fn the_server_survives_errors_of_sendto() {
    check_call("sendto", 1);
}

#[test]
fn the_server_survives_errors_of_sendmmsg() {
    check_call("sendmmsg", 1);
}

#[test]
fn the_server_survives_errors_of_epoll_wait() {
    check_call("epoll_wait", 1);
}

/// The first one prints the URL.
#[test]
fn the_server_survives_errors_of_write() {
    check_call("write", 2);
}

#[test]
fn connections_are_all_served_when_accept_fails() {
    scope(|threads| {
        for error in ["ECONNABORTED", "EMFILE", "ENFILE", "ENOBUFS", "EPERM"] {
            threads.spawn(move || {
                for when in [When::First, When::EveryThird] {
                    serve_ten(error, when);
                }
            });
        }
    });
}

fn serve_ten(error: &str, when: When) {
    let faulty = Faulty::start("accept4", 1, error, when);
    let asked = Instant::now();
    let address: SocketAddr = faulty.server.address;
    scope(|clients| {
        for _ in 0..10 {
            clients.spawn(|| assert_eq!(request(address, "GET", "/", &[], b"").status, 200));
        }
    });
    println!("{}: all served within {:?}", faulty.what, asked.elapsed());
    let expected = usize::from(error != "ECONNABORTED");
    assert_eq!(faulty.warnings(), expected, "{}: one line a minute", faulty.what);
}

#[test]
fn requests_are_answered_when_waiting_reading_and_writing_are_interrupted() {
    scope(|threads| {
        for call in ["recvfrom", "sendto", "epoll_wait"] {
            threads.spawn(move || {
                let faulty = Faulty::start(call, 1, "EINTR", When::EveryThird);
                for _ in 0..20 {
                    let address = faulty.server.address;
                    let response = request(address, "GET", "/static/ballcast.js", &[], b"");
                    assert_eq!(response.status, 200, "{call}");
                    assert!(response.body.len() > 10_000, "{call}");
                }
            });
        }
    });
}
