//! A response, as it comes.

use std::net::SocketAddr;
use std::time::Duration;

use ballcast::testing::http::Url;
use fastrand::Rng;

use super::Told;

/// What comes, how long after the request, in order.
pub struct Reply {
    pub told: Vec<(Duration, Told)>,
    /// What its head says, if it has one that can be read.
    pub head: Option<Head>,
}

/// What the head of a response says.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its length.
    pub bytes: usize,
    pub status: u16,
    pub location: Option<Url>,
    /// In seconds.
    pub retry_after: Option<u64>,
    /// What its body names, if it is an answer.
    pub candidates: Vec<SocketAddr>,
}

/// A response to be written.
pub struct Response {
    status: u16,
    headers: String,
    location: Option<Url>,
    retry_after: Option<u64>,
    body: Vec<u8>,
    is_chunked: bool,
}

impl Response {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Response {
        Response {
            status,
            headers: String::new(),
            location: None,
            retry_after: None,
            body: body.into(),
            is_chunked: false,
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Response {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    /// `written` leads to this URL.
    pub fn location(mut self, url: &Url, written: &str) -> Response {
        self.location = Some(url.clone());
        self.header("Location", written)
    }

    pub fn retry_after(mut self, seconds: u64) -> Response {
        self.retry_after = Some(seconds);
        self.header("Retry-After", &seconds.to_string())
    }

    pub fn chunked(mut self, is_chunked: bool) -> Response {
        self.is_chunked = is_chunked;
        self
    }

    /// Its bytes, and what its head says.
    pub fn write(self, rng: &mut Rng) -> (Vec<u8>, Head) {
        let Response { status, headers, body, .. } = self;
        let framing = match self.is_chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {}", body.len()),
        };
        let head = format!("HTTP/1.1 {status} Whatever\r\n{headers}{framing}\r\n\r\n");
        let candidates = candidates(&body);
        let body = match self.is_chunked {
            true => chunks(&body, rng),
            false => body,
        };
        let (location, retry_after) = (self.location, self.retry_after);
        let bytes = [head.as_bytes(), &body].concat();
        (bytes, Head { bytes: head.len(), status, location, retry_after, candidates })
    }
}

/// The addresses that an answer names.
fn candidates(answer: &[u8]) -> Vec<SocketAddr> {
    let text = String::from_utf8_lossy(answer);
    let values = text.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
    let address = |value: &str| {
        let parts: Vec<&str> = value.split(' ').collect();
        Some(SocketAddr::new(parts.get(4)?.parse().ok()?, parts.get(5)?.parse().ok()?))
    };
    values.filter_map(address).collect()
}

fn chunks(body: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(rng.usize(1..=rest.len()));
        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        bytes.extend([chunk, b"\r\n"].concat());
        rest = after;
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}
