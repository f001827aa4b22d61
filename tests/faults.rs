//! System calls that fail: strace makes those of the real binary return errors, some or many of them.
//! The server stays alive, serves all who ask in the end, does not spin, and says what is wrong once.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::process::{Server, WAIT_LIMIT, request, try_stats};
use support::socket_viewer::{SocketViewer, run_until};

/// Which calls fail: the first, every third, or the first ten.
const WHEN: [&str; 3] = ["1", "3+3", "1..10"];

/// A server whose system calls of one kind fail.
fn start(call: &str, error: &str, when: &str) -> Server {
    let mut strace = Command::new("strace");
    // With -D the server is the child, and strace goes with it.
    strace.args(["-D", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    strace.args(["-e", &format!("inject={call}:error={error}:when={when}")]);
    strace.arg(env!("CARGO_BIN_EXE_ballcast"));
    Server::start_command(strace, "127.0.0.1", 0, &[])
}

/// CPU seconds that a process has used (proc(5)).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// Without viewers there is nothing to do. A loop that spins would take all of the time.
fn check_idle(server: &Server, what: &str) {
    std::thread::sleep(Duration::from_millis(300));
    let before = cpu_seconds(server.pid());
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_seconds(server.pid()) - before;
    assert!(used <= 0.3, "{what}: {used} s of CPU in an idle second");
}

/// Waits until something comes about. TCP is read with `recvfrom` too, so that a request may fail.
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + WAIT_LIMIT;
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A viewer, whose offer may need some tries.
fn join(server: &Server, what: &str) -> SocketViewer {
    let mut joined = None;
    let end = Instant::now() + WAIT_LIMIT;
    while joined.is_none() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
        joined = SocketViewer::try_join(server);
    }
    joined.unwrap()
}

#[test]
fn connections_are_all_served_when_accept_fails() {
    for error in ["ECONNABORTED", "EMFILE", "ENFILE", "ENOBUFS", "EPERM"] {
        for when in WHEN {
            let what = format!("accept4 {error} {when}");
            let server = start("accept4", error, when);
            let asked = Instant::now();
            let address = server.address;
            let clients: Vec<_> = (0..10)
                .map(|_| std::thread::spawn(move || request(address, "GET", "/", &[], b"").status))
                .collect();
            for client in clients {
                assert_eq!(client.join().unwrap(), 200, "{what}");
            }
            println!("{what}: all served within {:?}", asked.elapsed());
            check_idle(&server, &what);
            let warnings = server.log().iter().filter(|line| line.contains("WARN")).count();
            let expected = usize::from(error != "ECONNABORTED");
            assert_eq!(warnings, expected, "{what}: one line a minute");
        }
    }
}

#[test]
fn viewers_keep_their_picture_when_datagrams_cannot_be_read_or_sent() {
    for call in ["recvfrom", "sendmmsg"] {
        for error in ["EINTR", "ENOBUFS", "EPERM", "ECONNRESET", "ENETUNREACH"] {
            for when in WHEN {
                // To TCP these mean that the connection is gone, so that each has to end sometime.
                let ends_tcp = call == "recvfrom" && ["ECONNRESET", "ENETUNREACH"].contains(&error);
                if ends_tcp && when.contains('+') {
                    continue;
                }
                let what = format!("{call} {error} {when}");
                let server = start(call, error, when);
                let mut viewers = [join(&server, &what)];
                run_until(&mut viewers, |w| w[0].client.frames.len() >= 20);
                let [viewer] = &mut viewers;
                viewer.client.close(Instant::now());
                viewer.step();
                println!("{what}: {} frames", viewer.client.frames.len());
                let none = serde_json::json!([]);
                wait_until(&what, || {
                    try_stats(server.address).is_some_and(|s| s["viewers"] == none)
                });
                check_idle(&server, &what);
            }
        }
    }
}

#[test]
fn requests_are_answered_when_reading_writing_and_waiting_are_interrupted() {
    for (call, error) in [("read", "EINTR"), ("write", "EINTR"), ("epoll_wait", "EINTR")] {
        // Not the first read: the program reads its own libraries and files.
        for when in ["40+3", "40..80"] {
            let what = format!("{call} {error} {when}");
            let server = start(call, error, when);
            for _ in 0..40 {
                let response = request(server.address, "GET", "/static/ballcast.js", &[], b"");
                assert_eq!(response.status, 200, "{what}");
                assert!(response.body.len() > 10_000, "{what}");
            }
            check_idle(&server, &what);
        }
    }
}
