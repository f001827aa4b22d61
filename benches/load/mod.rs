//! The load generator: N viewers with real sockets, real DTLS and SRTP, in a process of its own.
//!
//! ICE and DTLS are str0m's client. Media goes past it: each packet is decrypted with the session's
//! keys, counted, and held against the other viewers' packets of the same frame. So a viewer costs
//! the generator a small part of what it costs a server.

pub mod generator;
mod offers;
mod srtp;
mod stream;
mod tap;
mod timeline;
mod viewer;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::figures::Spread;
use crate::machine::{Core, spawn_on};

/// The first argument that makes this executable the load generator.
pub const ARGUMENT: &str = "--load";
/// An answer takes as long as one turn of the generator's loop.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// The generator's process, seen from the one that commands it. It ends with this.
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
        self.tell(&format!("join {count} {per_second}"));
    }

    /// `count` viewers join, and all who should be there see frames. Fails when some do not.
    pub fn join_and_wait(&mut self, count: usize, per_second: usize) {
        self.join(count, per_second);
        let count = self.wait_for_all();
        assert!(count["failures"].as_object().is_none_or(|f| f.is_empty()), "{count}");
    }

    /// Waits until nobody is on the way any more; the count then.
    pub fn wait_for_all(&mut self) -> Value {
        let mut progress = (Instant::now(), Value::Null);
        loop {
            let count = self.ask("count");
            if count["planned"] == 0 && count["viewers"] == count["with_frames"] {
                return count;
            }
            if count != progress.1 {
                progress = (Instant::now(), count);
            } else if progress.0.elapsed() > PATIENCE {
                return count;
            }
            std::thread::sleep(POLL);
        }
    }

    pub fn churn(&mut self, count: usize, at_once: usize) {
        self.tell(&format!("churn {count} {at_once}"));
    }

    /// The oldest `count` viewers say goodbye.
    pub fn leave(&mut self, count: usize) {
        self.tell(&format!("leave {count}"));
    }

    /// The oldest `count` viewers fall silent.
    pub fn vanish(&mut self, count: usize) {
        self.tell(&format!("vanish {count}"));
    }

    pub fn mark(&mut self) {
        self.tell("mark");
    }

    pub fn count(&mut self) -> Value {
        self.ask("count")
    }

    pub fn report(&mut self) -> Report {
        Report(self.ask("report"))
    }

    fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").expect("the load generator lives");
    }

    fn ask(&mut self, line: &str) -> Value {
        self.tell(line);
        let answer = self.answers.recv_timeout(PATIENCE);
        serde_json::from_str(&answer.expect("the load generator answers")).unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It ends with its standard input.
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

/// What happened in one window.
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

    /// Nothing is missing, for anybody.
    pub fn is_flawless(&self) -> bool {
        ["lost", "broken", "skipped", "undecryptable", "own_drops"]
            .iter()
            .all(|name| self.number(name) == 0.0)
    }

    /// What is wrong, in words, if something is.
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
