//! The HTTP side of a viewer, and malformed requests.

use ballcast::testing::server::ConnId;
use fastrand::Rng;
use serde_json::Value;

use crate::rules::RuleResult;
use crate::tally::{Fault, Tally};

/// How a request is delivered to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFault {
    None,
    /// The connection is lost after a random byte.
    Cut,
    /// In many small pieces.
    Dribbled,
    /// Followed by a second request in the same piece.
    Pipelined,
}

impl HttpFault {
    pub fn draw(rng: &mut Rng) -> HttpFault {
        match rng.u8(..6) {
            0 => HttpFault::Cut,
            1 => HttpFault::Dribbled,
            2 => HttpFault::Pipelined,
            _ => HttpFault::None,
        }
    }

    /// The pieces to send, and whether the connection is lost after them.
    pub fn split_request(
        self,
        request: Vec<u8>,
        rng: &mut Rng,
        tally: &mut Tally,
    ) -> (Vec<Vec<u8>>, bool) {
        match self {
            HttpFault::None => (vec![request], false),
            HttpFault::Cut => {
                let at = rng.usize(..=request.len());
                (vec![request[..at].to_vec()], true)
            }
            HttpFault::Dribbled => {
                tally.fault(Fault::HttpDribbled);
                let pieces = request.chunks(rng.usize(1..400)).map(<[u8]>::to_vec).collect();
                (pieces, false)
            }
            HttpFault::Pipelined => {
                tally.fault(Fault::HttpPipelined);
                let path = if rng.bool() { "/stats" } else { "/snapshot.jpg" };
                let second = format!("GET {path} HTTP/1.1\r\nHost: camera\r\n\r\n");
                // The connection may be lost while the second request waits for a picture.
                (vec![[request, second.into_bytes()].concat()], rng.u8(..4) == 0)
            }
        }
    }
}

/// Reads the responses of one connection.
#[derive(Debug, Default)]
pub struct Browser {
    connection: Option<ConnId>,
    unread: Vec<u8>,
    answered: bool,
}

impl Browser {
    pub fn new(connection: ConnId) -> Browser {
        Browser { connection: Some(connection), ..Browser::default() }
    }

    /// The first response of the connection, once it is complete.
    pub fn receive(&mut self, id: ConnId, bytes: &[u8]) -> Result<Option<(u16, Value)>, String> {
        if self.connection != Some(id) || self.answered {
            return Ok(None);
        }
        self.unread.extend_from_slice(bytes);
        let text = String::from_utf8_lossy(&self.unread).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return Ok(None);
        };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("S9: no response: {head}"))?;
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.and_then(|n| n.parse().ok()).unwrap_or(0);
        let Some(body) = body.as_bytes().get(..length) else {
            return Ok(None);
        };
        self.answered = true;
        let body = serde_json::from_slice(body)
            .map_err(|error| format!("S9: a body that is not JSON: {error}"))?;
        Ok(Some((status, body)))
    }
}

/// Counts the refusals in responses to requests that belong to no user.
pub fn note_refusals(bytes: &[u8], tally: &mut Tally) -> RuleResult {
    let text = String::from_utf8_lossy(bytes);
    if !text.starts_with("HTTP/1.1 ") {
        return Ok(());
    }
    if let Some((_, rest)) = text.split_once("\"reason\":\"")
        && let Some((reason, _)) = rest.split_once('"')
    {
        tally.refused(reason);
    }
    // This refusal is never sent, as the peer takes no answer. It is counted in the statistics.
    if text.contains("\"answer-late\":") {
        tally.refused("answer-late");
    }
    Ok(())
}

/// The indices of the requests below that are framing errors.
const FRAMING_ERRORS: [usize; 18] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 14, 15, 16, 17, 18, 19, 20, 21];

/// One of the requests below, each of which has its own refusal reason, and whether it is a framing
/// error: nothing after it on the connection is parsed.
pub fn malformed_request(rng: &mut Rng, tally: &mut Tally) -> (Vec<u8>, bool) {
    tally.fault(Fault::HttpMalformed);
    let offer = |headers: &str, body: &str| {
        format!(
            "POST /offer HTTP/1.1\r\nHost: camera\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let json = "Content-Type: application/json\r\n";
    let sdp = |lines: &str| {
        serde_json::json!({"type": "offer", "sdp": format!("v=0\r\n{lines}")}).to_string()
    };
    let requests = [
        "GET / HTTP/1.1\nHost: camera\n\n".into(),
        "GET / HTTP/1.1\r\nHost: camera\rX\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: camera\r\nA: \0\r\n\r\n".into(),
        "GET\r\n\r\n".into(),
        "GET /\u{e9} HTTP/1.1\r\nHost: camera\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: camera\r\n folded\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost : camera\r\n\r\n".into(),
        "GET / HTTP/1.1\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".into(),
        "GET / HTTP/2.0\r\nHost: camera\r\n\r\n".into(),
        "BREW / HTTP/1.1\r\nHost: camera\r\n\r\n".into(),
        "GET /nothing HTTP/1.1\r\nHost: camera\r\n\r\n".into(),
        "GET /offer HTTP/1.1\r\nHost: camera\r\n\r\n".into(),
        format!("GET /{} HTTP/1.1\r\nHost: camera\r\n\r\n", "a".repeat(9_000)),
        format!("GET / HTTP/1.1\r\nHost: camera\r\n{}\r\n", "A: b\r\n".repeat(70)),
        format!("GET / HTTP/1.1\r\nHost: camera\r\nA: {}\r\n\r\n", "b".repeat(17_000)),
        "POST /offer HTTP/1.1\r\nHost: camera\r\n\r\n".into(),
        "POST /offer HTTP/1.1\r\nHost: camera\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
        "POST /offer HTTP/1.1\r\nHost: camera\r\nContent-Length: +1\r\n\r\n".into(),
        "POST /offer HTTP/1.1\r\nHost: camera\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
            .into(),
        "POST /offer HTTP/1.1\r\nHost: camera\r\nTransfer-Encoding: gzip\r\n\r\n".into(),
        "POST /offer HTTP/1.1\r\nHost: camera\r\nContent-Length: 70000\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: camera\r\nExpect: miracles\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: cam".into(),
        "POST /offer HTTP/1.1\r\nHost: camera\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
            .into(),
        offer("Content-Type: text/plain\r\n", "x"),
        offer(&format!("{json}Origin: http://elsewhere.example\r\n"), "x"),
        offer(json, "nonsense"),
        offer(json, &sdp("")),
        offer(json, &sdp("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP9/90000\r\n")),
        offer(json, &sdp("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=sendonly\r\n")),
    ];
    let index = rng.usize(..requests.len());
    (requests[index].clone().into_bytes(), FRAMING_ERRORS.contains(&index))
}
