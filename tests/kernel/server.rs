//! The server in a guest, as it is reached from outside.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::camera::Camera;
use crate::guest::{Guest, Job};
use crate::support::process::{WAIT_LIMIT, binary, try_stats};

const POLL_EVERY: Duration = Duration::from_millis(20);

pub struct GuestServer {
    pub job: Job,
    port: u16,
}

/// The command for a server, without its flags.
pub fn program() -> String {
    format!("/programs/{}", binary().file_name().unwrap().to_str().unwrap())
}

impl GuestServer {
    /// Starts it with these words of the shell as its flags, and waits until it serves.
    pub fn start(guest: &mut Guest, port: u16, flags: &str) -> GuestServer {
        GuestServer::start_as(guest, "", port, flags)
    }

    /// The same, with a command in front that changes what it may do.
    pub fn start_as(guest: &mut Guest, before: &str, port: u16, flags: &str) -> GuestServer {
        let program = program();
        let job =
            guest.start(&format!("{before} {program} --port {port} --announce 127.0.0.1 {flags}"));
        let server = GuestServer { job, port };
        server.wait_for("the server serves", |_| true);
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    pub fn log(&self) -> String {
        self.job.output()
    }

    /// Waits until the statistics fulfil a condition.
    pub fn wait_for(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + WAIT_LIMIT;
        let mut last = None;
        loop {
            if let Some(stats) = try_stats(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))) {
                if condition(&stats) {
                    return stats;
                }
                last = Some(stats);
            }
            assert!(Instant::now() < end, "{what}: {last:?}\n{}", self.log());
            std::thread::sleep(POLL_EVERY);
        }
    }

    pub fn stats(&self) -> Value {
        self.wait_for("there are statistics", |_| true)
    }

    /// Waits until it has a picture.
    pub fn wait_for_picture(&self) -> Value {
        self.wait_for("there is a picture", |stats| stats["source"]["sentence"].is_null())
    }

    /// Waits until it says why there is none, in a sentence that has this in it.
    pub fn wait_for_sentence(&self, words: &str) {
        self.wait_for(words, |stats| {
            stats["source"]["sentence"].as_str().is_some_and(|sentence| sentence.contains(words))
        });
    }

    /// Writes a line to a camera. Returns after how many milliseconds `/health` answers what this pattern matches, as
    /// measured in the guest, and that answer.
    pub fn react(
        &self,
        guest: &mut Guest,
        camera: &Camera,
        line: &str,
        pattern: &str,
    ) -> (u64, String) {
        self.react_to(guest, &camera.fifo, line, ("/health", pattern))
    }

    /// The same for a line in any file, and the answer at a path.
    pub fn react_to(
        &self,
        guest: &mut Guest,
        file: &str,
        line: &str,
        (path, pattern): (&str, &str),
    ) -> (u64, String) {
        let port = self.port;
        let command = format!("python3 /share/react.py {port} {path} '{pattern}' {file} '{line}'");
        let answer = guest.run(&command);
        let (milliseconds, answer) = answer.split_once(' ').unwrap_or_else(|| panic!("{answer}"));
        println!("   {line}: {milliseconds} ms");
        (milliseconds.parse().unwrap(), answer.to_owned())
    }

    pub fn descriptors(&self, guest: &mut Guest) -> usize {
        guest.run(&format!("ls /proc/{}/fd | wc -l", self.job.pid)).parse().unwrap()
    }

    pub fn resident_kb(&self, guest: &mut Guest) -> u64 {
        let line = guest.run(&format!("grep VmRSS /proc/{}/status", self.job.pid));
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}
