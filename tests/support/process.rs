//! The real binary as a child process, and a plain HTTP client for it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::usage::Usage;

/// How long a test waits before it fails. Nothing takes this long unless it hangs.
pub const WAIT_LIMIT: Duration = Duration::from_secs(20);
/// How long a request may take that may fail.
const TRY_LIMIT: Duration = Duration::from_secs(3);
/// No log line is under way for longer.
const LOG_PAUSE: Duration = Duration::from_millis(500);

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + WAIT_LIMIT;
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The server that is tested: the one that was built with the tests, or the one at `BALLCAST_BINARY`.
pub fn binary() -> PathBuf {
    std::env::var_os("BALLCAST_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_ballcast").into(), PathBuf::from)
}

pub struct Server {
    child: Child,
    pub address: SocketAddr,
    log: Receiver<String>,
}

impl Server {
    /// Starts a server on the loopback address, on a free port.
    pub fn start(flags: &[&str]) -> Server {
        Server::start_on("127.0.0.1", 0, flags)
    }

    pub fn start_on(address: &str, port: u16, flags: &[&str]) -> Server {
        Server::start_command(Command::new(binary()), address, port, flags)
    }

    pub fn start_command(mut command: Command, address: &str, port: u16, flags: &[&str]) -> Server {
        let mut child = command
            .args(["--bind", address, "--port", &port.to_string()])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let authority = url.trim().strip_prefix("http://").and_then(|u| u.strip_suffix('/'));
        let Some(authority) = authority else {
            let _ = child.wait();
            panic!("no URL but '{url}': {:?}", log.iter().collect::<Vec<_>>());
        };
        Server { child, address: authority.parse().unwrap(), log }
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn usage(&self) -> Usage {
        Usage::of(self.pid())
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the process has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + WAIT_LIMIT;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the server does not end");
    }

    /// The log lines since the last call. They come through a pipe and a thread of their own, so
    /// this waits until no more have come for a moment.
    pub fn log(&self) -> Vec<String> {
        std::iter::from_fn(|| self.log.recv_timeout(LOG_PAUSE).ok()).collect()
    }

    /// The log lines since the last call that are here already.
    pub fn log_so_far(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    /// Waits for a log line that has this in it.
    pub fn wait_for_log(&self, words: &str) {
        let end = Instant::now() + WAIT_LIMIT;
        let mut others = Vec::new();
        while let Ok(line) = self.log.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if line.contains(words) {
                return;
            }
            others.push(line);
        }
        panic!("no '{words}' in the log: {others:#?}");
    }

    pub fn stats(&self) -> Value {
        let response = request(self.address, "GET", "/stats", &[], b"");
        assert_eq!(response.status, 200);
        serde_json::from_slice(&response.body).unwrap()
    }

    /// Waits until the statistics fulfil a condition.
    pub fn wait_for(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + WAIT_LIMIT;
        loop {
            let stats = self.stats();
            if condition(&stats) {
                return stats;
            }
            assert!(Instant::now() < end, "{what}: {stats}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn post_offer(&self, sdp: &str) -> Response {
        try_post_offer(self.address, &[], sdp).unwrap()
    }
}

/// Posts an offer, with headers of the caller's.
pub fn try_post_offer(
    address: SocketAddr,
    headers: &[(&str, &str)],
    sdp: &str,
) -> io::Result<Response> {
    let body = serde_json::json!({"type": "offer", "sdp": sdp}).to_string();
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    let bytes = request_bytes(address, "POST", "/offer", &headers, body.as_bytes());
    try_raw(address, &bytes, TRY_LIMIT)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of this machine other than the loopback address.
pub fn own_address() -> String {
    let own = ballcast::testing::driver::net::addresses::addresses()
        .unwrap()
        .into_iter()
        .find(|ip| !ip.is_loopback());
    own.expect("this machine has a network address").to_string()
}

pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Sends one request on a new connection.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    raw(address, &request_bytes(address, method, path, headers, body))
}

/// The same from this address of the loopback network.
pub fn request_from(
    source: IpAddr,
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let stream = connect_from(source, address);
    exchange(stream, &request_bytes(address, method, path, headers, body), WAIT_LIMIT).unwrap()
}

/// Connects from this address of the loopback network.
pub fn connect_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::new(source, 0)).unwrap();
    connect(&socket, &address).unwrap();
    TcpStream::from(socket)
}

fn request_bytes(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    let mut bytes = (head + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The statistics of a server, or `None` if it does not answer.
pub fn try_stats(address: SocketAddr) -> Option<Value> {
    let bytes = request_bytes(address, "GET", "/stats", &[], b"");
    let response = try_raw(address, &bytes, TRY_LIMIT).ok()?;
    serde_json::from_slice(&response.body).ok()
}

/// Sends bytes on a new connection and reads until the server closes it.
pub fn raw(address: SocketAddr, bytes: &[u8]) -> Response {
    try_raw(address, bytes, WAIT_LIMIT).unwrap()
}

fn try_raw(address: SocketAddr, bytes: &[u8], limit: Duration) -> io::Result<Response> {
    exchange(TcpStream::connect(address)?, bytes, limit)
}

fn exchange(mut stream: TcpStream, bytes: &[u8], limit: Duration) -> io::Result<Response> {
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(bytes)?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    let end = response.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(response.len());
    let head = String::from_utf8_lossy(&response[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = response.get(end + 4..).unwrap_or_default().to_vec();
    Ok(Response { status, head, body })
}
