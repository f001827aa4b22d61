//! The load generator: N viewers with real sockets, real DTLS and SRTP, in a process of its own.
//!
//! str0m's client does ICE and DTLS. Media does not go through str0m: each packet is decrypted with
//! the keys of the session, counted, and compared with the other viewers' packets of the same frame.
//! So a viewer needs much less CPU time in the generator than in a server.

pub mod generator;
mod offers;
mod srtp;
mod stream;
mod tap;
mod timeline;
mod trace;
mod viewer;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
pub use trace::{Arrival, tail_of};

use crate::figures::Spread;
use crate::machine::{Core, spawn_on};

/// The first argument with which this executable is the load generator.
pub const ARGUMENT: &str = "--load";
/// The longest wait for an answer, which takes one turn of the generator's loop.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// The generator's process, as the benchmark controls it. Dropping this ends the process.
pub struct Load {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Load {
    pub fn start(server: SocketAddr, frames_per_second: u32) -> Load {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([ARGUMENT, &server.to_string(), &frames_per_second.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn_on(Core::Load, || command.spawn()).unwrap();
        let (sender, answers) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        Load { stdin: child.stdin.take(), child, answers }
    }

    pub fn join(&mut self, count: usize, per_second: usize) {
        self.send(&format!("join {count} {per_second}"));
    }

    /// `count` viewers join. Waits until all viewers receive frames, and panics if some do not.
    pub fn join_and_wait(&mut self, count: usize, per_second: usize) {
        self.join(count, per_second);
        let count = self.wait_for_all();
        assert!(count["failures"].as_object().is_none_or(|f| f.is_empty()), "{count}");
    }

    /// Waits until no viewer is still connecting, and returns the count.
    pub fn wait_for_all(&mut self) -> Value {
        let mut progress = (Instant::now(), Value::Null);
        loop {
            let count = self.ask("count");
            if count["planned"] == 0 && count["viewers"] == count["with_frames"] {
                return count;
            }
            if count != progress.1 {
                progress = (Instant::now(), count);
            } else if progress.0.elapsed() > ANSWER_TIMEOUT {
                return count;
            }
            std::thread::sleep(POLL);
        }
    }

    pub fn churn(&mut self, count: usize, at_once: usize) {
        self.send(&format!("churn {count} {at_once}"));
    }

    /// The oldest `count` viewers send close_notify and leave.
    pub fn leave(&mut self, count: usize) {
        self.send(&format!("leave {count}"));
    }

    /// The oldest `count` viewers stop without a close_notify.
    pub fn vanish(&mut self, count: usize) {
        self.send(&format!("vanish {count}"));
    }

    pub fn mark(&mut self) {
        self.send("mark");
    }

    pub fn count(&mut self) -> Value {
        self.ask("count")
    }

    pub fn report(&mut self) -> Report {
        Report(self.ask("report"))
    }

    /// Notes each frame of each viewer, from now to `traced`.
    pub fn trace(&mut self) {
        self.send("trace");
    }

    pub fn traced(&mut self) -> Vec<Arrival> {
        trace::from_json(&self.ask("traced"))
    }

    fn send(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").expect("the load generator runs");
    }

    fn ask(&mut self, line: &str) -> Value {
        self.send(line);
        let answer = self.answers.recv_timeout(ANSWER_TIMEOUT);
        serde_json::from_str(&answer.expect("the load generator answers")).unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It exits at the end of its standard input.
        self.stdin = None;
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The results of one window.
#[derive(Debug)]
pub struct Report(pub Value);

impl Report {
    pub fn number(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or(f64::NAN)
    }

    pub fn spread(&self, name: &str) -> Spread {
        let values = self.0[name].as_array().map(Vec::as_slice).unwrap_or_default();
        Spread::of(values.iter().filter_map(Value::as_f64).collect())
    }

    /// Frames a second of the viewer that got fewest.
    pub fn least_frame_rate(&self) -> f64 {
        self.spread("frames").least / self.number("seconds")
    }

    /// Whether no viewer misses a packet or a frame.
    pub fn is_flawless(&self) -> bool {
        ["lost", "broken", "skipped", "undecryptable", "own_drops"]
            .iter()
            .all(|name| self.number(name) == 0.0)
    }

    /// A description of the flaws, if there are any.
    pub fn flaws(&self) -> Option<String> {
        let names = ["lost", "broken", "skipped", "undecryptable", "duplicates", "own_drops"];
        let flaws: Vec<String> = names
            .iter()
            .filter(|name| self.number(name) != 0.0)
            .map(|name| format!("{name} {}", self.number(name)))
            .collect();
        (!flaws.is_empty()).then(|| flaws.join(", "))
    }
}
