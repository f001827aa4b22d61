//! Offers over HTTP: a few persistent connections with one request at a time on each.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use serde_json::{Value, json};

/// Fewer than a server allows for one address, and more than a browser opens.
pub const CONNECTIONS: usize = 8;
/// How often to send a request. A connection that was closed while idle uses up one attempt.
const TRIES: usize = 3;

/// An answer, or why there is none.
pub type Outcome = Result<String, String>;

pub struct Offers {
    server: SocketAddr,
    slots: [Slot; CONNECTIONS],
    waiting: VecDeque<Request>,
}

#[derive(Default)]
struct Slot {
    stream: Option<TcpStream>,
    request: Option<Request>,
    received: Vec<u8>,
}

struct Request {
    viewer: usize,
    bytes: Vec<u8>,
    tries: usize,
}

/// A new socket of a slot, for the event loop to watch.
pub struct Opened<'a> {
    pub slot: usize,
    pub socket: BorrowedFd<'a>,
}

impl Offers {
    pub fn new(server: SocketAddr) -> Offers {
        Offers { server, slots: Default::default(), waiting: VecDeque::new() }
    }

    pub fn post(&mut self, viewer: usize, sdp: &str) {
        let body = json!({"type": "offer", "sdp": sdp}).to_string();
        let server = self.server;
        let head = format!(
            "POST /offer HTTP/1.1\r\nHost: {server}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.waiting.push_back(Request { viewer, bytes: (head + &body).into_bytes(), tries: 0 });
    }

    /// Sends waiting requests on free connections. Calls `opened` with each new socket.
    pub fn send(&mut self, mut opened: impl FnMut(Opened)) -> io::Result<()> {
        for (slot, connection) in self.slots.iter_mut().enumerate() {
            if connection.request.is_some() {
                continue;
            }
            let Some(mut request) = self.waiting.pop_front() else { return Ok(()) };
            request.tries += 1;
            if connection.stream.is_none() {
                let stream = TcpStream::connect(self.server)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                opened(Opened { slot, socket: stream.as_fd() });
                connection.stream = Some(stream);
            }
            let sent = connection.stream.as_mut().map(|stream| stream.write_all(&request.bytes));
            connection.request = Some(request);
            if !matches!(sent, Some(Ok(()))) {
                // An offer fits into the socket's buffer, so the connection is closed.
                connection.stream = None;
                self.waiting.extend(connection.request.take());
            }
        }
        Ok(())
    }

    /// Reads a slot's socket. Returns the viewer whose offer is answered, and the outcome.
    pub fn read(&mut self, slot: usize) -> Option<(usize, Outcome)> {
        let connection = &mut self.slots[slot];
        let stream = connection.stream.as_mut()?;
        let mut chunk = [0; 16_384];
        let ended = loop {
            match stream.read(&mut chunk) {
                Ok(0) => break true,
                Ok(bytes) => connection.received.extend(&chunk[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break true,
            }
        };
        let response = parse(&connection.received);
        if ended {
            connection.stream = None;
        } else {
            response.as_ref()?;
        }
        connection.received.clear();
        let request = connection.request.take()?;
        match response {
            Some(outcome) => Some((request.viewer, outcome)),
            None if request.tries < TRIES => {
                self.waiting.push_front(request);
                None
            }
            None => Some((request.viewer, Err("the connection was closed".into()))),
        }
    }
}

/// The answer's SDP once the response is complete.
fn parse(received: &[u8]) -> Option<Outcome> {
    let end = received.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&received[..end]).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    let body = received.get(end + 4..end + 4 + length)?;
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    Some(match document["sdp"].as_str() {
        Some(sdp) => Ok(sdp.to_owned()),
        None => {
            let status = head.split(' ').nth(1).unwrap_or_default();
            Err(document["reason"].as_str().unwrap_or(status).to_owned())
        }
    })
}
