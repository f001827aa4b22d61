//! What a supervised command can do to the process that supervises it: leave processes behind, and write to
//! standard error without end. The real binary, and processes that leave their group, session and parents.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::process::{Server, binary, wait_until};
use crate::support::processes::{DAEMONS, alone, marked};
use rustix::process::Signal;

/// A server with a command, and what all its processes have in their environment.
fn start(line: &str) -> (Server, String) {
    let mark = format!("t{}", fastrand::u64(..));
    let mut ballcast = Command::new(binary());
    ballcast.env("BALLCAST_TEST_MARK", &mark).env("RUST_LOG", "debug");
    let server = Server::start_command(ballcast, "127.0.0.1", 0, &["--exec", line]);
    (server, format!("BALLCAST_TEST_MARK={mark}"))
}

#[test]
fn no_process_is_left_that_has_left_its_session_or_lost_its_parent() {
    let _alone = alone();
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let (mut server, mark) = start(&format!("{{ {DAEMONS} }} >/dev/null; sleep 1000"));
        // The server, its supervisor, the shell, a sleep of its own, and a shell and a sleep for each daemon.
        wait_until("all run", || marked(&mark).len() >= 10);
        let asked = Instant::now();
        server.signal(signal);
        let status = server.wait();
        if signal == Signal::KILL {
            wait_until("all are gone", || marked(&mark).is_empty());
        } else {
            assert!(status.success());
            assert_eq!(marked(&mark), [0; 0], "{signal:?}");
        }
        println!("{signal:?}: all gone after {:?}", asked.elapsed());
    }
}

#[test]
fn a_command_is_started_again_when_all_that_it_has_left_behind_is_gone() {
    let _alone = alone();
    let (server, mark) = start(&format!("{{ {DAEMONS} }} >/dev/null; sleep 0.5"));
    wait_until("all run", || marked(&mark).len() >= 9);
    let former = marked(&mark);
    // It is asked to end 1 s after its output is at its end, three times, 2 s apart.
    let stats = server.wait_for("it is started again", |stats| stats["source"]["restarts"] == 1);
    let (pid, now) = (server.pid() as i32, marked(&mark));
    let left: Vec<&i32> = now.iter().filter(|other| former.contains(other)).collect();
    assert_eq!(left, [&pid], "{stats}");
}

#[test]
fn standard_error_without_end_costs_next_to_nothing_and_its_last_words_are_told() {
    let _alone = alone();
    let (server, _) = start("timeout 3 yes >&2; echo the last words >&2; exit 3");
    std::thread::sleep(Duration::from_millis(500));
    let before = server.usage().cpu_s;
    std::thread::sleep(Duration::from_secs(2));
    let cpu_s = server.usage().cpu_s - before;
    println!("{cpu_s} s of CPU in 2 s");
    // Debug assertions and a busy machine are in it. Without a bound it is 0.8 and more.
    assert!(cpu_s < 0.2, "{cpu_s} s of CPU in 2 s");
    let stats = server.wait_for("it has failed", |stats| stats["source"]["state"] == "failed");
    let sentence = stats["source"]["sentence"].as_str().unwrap();
    assert!(sentence.contains("status 3"), "{sentence}");
    server.wait_for_log("the last words");
}
