//! Floods from another address than the viewers': those who watch see nothing of them, and who is new
//! gets in.
//!
//! `FLOOD_SECONDS=N` makes each as long as that.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use is::stun::{StunMessage, TransId};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
use serde_json::Value;

use super::namespaces::{BROWSER_IPV4, Network, OTHER_BROWSER_IPV4, SERVER_IPV4};
use super::{start_server, watch};
use crate::support::chromium::{Chromium, Tab};
use crate::support::dear_offers::{BODY_BYTES, dear_offers};
use crate::support::process::{Server, request};
use crate::support::scripts::LIVE;
use crate::support::socket_viewer::SocketViewer;

const TOKEN: &str = "open-sesame";
/// What a viewer that watches sees at least, and its longest freeze in seconds. Without a flood it is
/// 30 and 0.07; a busy machine has its own freezes.
const LEAST_RATE: f64 = 27.0;
const LONGEST_FREEZE: f64 = 0.5;
/// Viewers that come during a flood, half a second apart.
const NEWCOMERS: u32 = 3;
/// How long the quickest of them takes to its first frame, and the slowest. Without a flood it is 0.1 s.
/// Where the server has less than a core to itself, the kernel leaves out some of what is sent to it:
/// then a DTLS flight is sent again after 1 s, and once more after 2 s (RFC 9147, section 5.8.2).
const JOIN_LIMIT: Duration = Duration::from_secs(2);
const SLOWEST_JOIN_LIMIT: Duration = Duration::from_secs(10);

/// Connections that wait for the server, and those that are sent a byte each second.
const OPEN_CONNECTIONS: usize = 500;
const SLOW_CONNECTIONS: usize = 100;

/// A server, and a page that watches it.
struct Stand {
    server: Server,
    chromium: Chromium,
    tab: Tab,
    authorization: String,
    /// CPU time of the server in a second without a flood.
    quiet: f64,
}

impl Stand {
    fn new(network: &Network, flags: &[&str]) -> Stand {
        let server = start_server(network, SERVER_IPV4, flags);
        let mut chromium = Chromium::start();
        let tab = chromium.open_blank();
        let keep = "const Plain = RTCPeerConnection;
            RTCPeerConnection = class extends Plain {
                constructor(...options) { super(...options); window.connection = this; }
            };";
        chromium.prepare(&tab, keep);
        chromium.navigate(&tab, &format!("{}#token={TOKEN}", server.url()));
        chromium.wait_for(&tab, LIVE);
        network.add_browser_address(OTHER_BROWSER_IPV4);
        let authorization = format!("Bearer {TOKEN}");
        let mut stand = Stand { server, chromium, tab, authorization, quiet: 0.0 };
        let before = stand.server.usage().cpu_s;
        sleep(Duration::from_secs(2));
        stand.quiet = (stand.server.usage().cpu_s - before) / 2.0;
        stand
    }

    fn stats(&self) -> Value {
        let headers = [("Authorization", self.authorization.as_str())];
        request(self.server.address, "GET", "/stats", &headers, b"").json()
    }

    /// A connectivity check of the page as the server expects it, but for the password.
    fn forged_check(&mut self) -> Vec<u8> {
        let ufrags = "[connection.remoteDescription, connection.localDescription]
            .map(({ sdp }) => /ice-ufrag:(\\S+)/.exec(sdp)[1]).join(':')";
        let username = self.chromium.evaluate(&self.tab, ufrags);
        check_with_wrong_password(username.as_str().unwrap())
    }

    /// What a flood does to the page and to new viewers. `flood` runs until the time that it is told,
    /// and returns how many requests were answered, or else what it sent; `handled` tells how many
    /// the server has handled so far, if it counts them in its statistics.
    fn withstand(
        &mut self,
        what: &str,
        flood: impl FnOnce(SocketAddr, Instant) -> u64 + Send,
        handled: impl Fn(&Value) -> Option<u64>,
    ) {
        let server = self.server.address;
        let seconds = std::env::var("FLOOD_SECONDS").map_or(5, |seconds| seconds.parse().unwrap());
        let (handled_before, cpu_before) = (handled(&self.stats()), self.server.usage().cpu_s);
        let started = Instant::now();
        let end = started + Duration::from_secs(seconds);
        let headers = &[("Authorization", self.authorization.as_str())];
        let (seen, joined, sent) = scope(|threads| {
            let sender = threads.spawn(move || flood(server, end));
            let newcomers: Vec<_> = (0..NEWCOMERS)
                .map(|before| {
                    let wait =
                        Duration::from_secs(seconds) / 3 + before * Duration::from_millis(500);
                    threads.spawn(move || {
                        sleep(wait);
                        time_to_join(server, headers)
                    })
                })
                .collect();
            let seen = watch(&mut self.chromium, &self.tab, seconds - 1);
            let mut joined: Vec<Duration> =
                newcomers.into_iter().map(|newcomer| newcomer.join().unwrap()).collect();
            joined.sort_unstable();
            (seen, joined, sender.join().unwrap())
        });
        let cpu = self.server.usage().cpu_s - cpu_before;
        let handled =
            handled(&self.stats()).zip(handled_before).map(|(after, before)| after - before);
        let extra = cpu - self.quiet * started.elapsed().as_secs_f64();
        let count = handled.unwrap_or(sent);
        let (rate, freeze) = seen;
        println!(
            "{what}: {sent} sent, {count} handled, {:.1} µs of CPU each; {rate:.1} frames/s, longest \
             freeze {freeze:.3} s; new viewers have their first frame after {joined:.3?}",
            1e6 * extra / count.max(1) as f64,
        );
        assert!(count > 0, "{what}: nothing was handled");
        assert!(rate >= LEAST_RATE, "{what}: {rate:.1} frames/s");
        assert!(freeze <= LONGEST_FREEZE, "{what}: {freeze:.3} s");
        assert!(joined[0] <= JOIN_LIMIT, "{what}: {joined:?}");
        assert!(joined[joined.len() - 1] <= SLOWEST_JOIN_LIMIT, "{what}: {joined:?}");
    }
}

/// From the offer to the first frame. The viewer closes its connection then.
fn time_to_join(server: SocketAddr, headers: &[(&str, &str)]) -> Duration {
    let started = Instant::now();
    let own: IpAddr = BROWSER_IPV4.parse().unwrap();
    let joined = SocketViewer::try_join_from(own, server, headers).unwrap();
    let mut viewer = joined.unwrap_or_else(|refusal| panic!("{}", refusal.json()));
    while viewer.client.frames.is_empty() && started.elapsed() <= SLOWEST_JOIN_LIMIT {
        viewer.step();
    }
    let elapsed = started.elapsed();
    viewer.client.close(Instant::now());
    viewer.send();
    elapsed
}

fn check_with_wrong_password(username: &str) -> Vec<u8> {
    let check = StunMessage::binding_request(username, TransId::new(), true, 1, 1, false);
    let crypto = str0m::crypto::from_feature_flags();
    let hmac = |key: &[u8], parts: &[&[u8]]| crypto.sha1_hmac_provider.sha1_hmac(key, parts);
    let mut bytes = vec![0; 512];
    let length = check.to_bytes(Some(b"not the password"), &mut bytes, hmac).unwrap();
    bytes.truncate(length);
    bytes
}

pub fn datagrams(network: &Network) {
    let mut stand = Stand::new(network, &[]);
    let floods: [(&str, Vec<u8>); 4] = [
        ("random bytes", (0..200).map(|n: u32| (n * 7_919 % 251) as u8).collect()),
        ("ClientHellos from nowhere", [&[22, 254, 253][..], &[0; 200]].concat()),
        ("STUN with an unknown ufrag", check_with_wrong_password("nobo:dydy")),
        ("STUN with the ufrag of the page", stand.forged_check()),
    ];
    for (what, datagram) in floods {
        let send = |server, end| send_datagrams(server, end, &datagram);
        stand.withstand(what, send, |stats| stats["datagrams_dropped"].as_u64());
    }
    // A newcomer's goodbye may have been left out, too: then it goes when it is silent.
    let of_page = |stats: &Value| stats["viewers"].as_array().unwrap().len() == 1;
    stand.server.wait_for("the page's viewer alone", of_page);
}

/// As fast as one core sends.
fn send_datagrams(server: SocketAddr, end: Instant, datagram: &[u8]) -> u64 {
    let socket = UdpSocket::bind((OTHER_BROWSER_IPV4, 0)).unwrap();
    let mut sent = 0;
    while Instant::now() < end {
        for _ in 0..64 {
            sent += u64::from(socket.send_to(datagram, server).is_ok());
        }
    }
    sent
}

pub fn requests(network: &Network) {
    let mut stand = Stand::new(network, &["--token", TOKEN]);
    let refused = |stats: &Value| Some(stats["refusals"]["connections"].as_u64().unwrap_or(0));
    stand.withstand("connections that send nothing", open_connections, refused);
    stand.withstand("heads of a byte a second", send_slowly, |_| None);
    let address = stand.server.address;
    let offers: Vec<Vec<u8>> = dear_offers(BODY_BYTES)
        .iter()
        .filter(|(_, sdp)| sdp.len() <= BODY_BYTES)
        .map(|(_, sdp)| post_whep(address, TOKEN, sdp))
        .collect();
    let send = |server, end| send_requests(server, end, &offers);
    stand.withstand("offers of 64 kB", send, |_| None);
    let guess = [post_whep(address, "close-sesame", "v=0")];
    let send = |server, end| send_requests(server, end, &guess);
    stand.withstand("wrong tokens", send, |_| None);
}

fn post_whep(server: SocketAddr, token: &str, sdp: &str) -> Vec<u8> {
    let length = sdp.len();
    let head = format!(
        "POST /whep HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n"
    );
    (head + sdp).into_bytes()
}

fn open(server: SocketAddr) -> Option<TcpStream> {
    let socket = reset_socket();
    connect(&socket, &server).ok()?;
    Some(socket.into())
}

/// A socket of TCP at the other address, which ends with a reset so that its port is free again.
fn reset_socket() -> OwnedFd {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    let own: IpAddr = OTHER_BROWSER_IPV4.parse().unwrap();
    bind(&socket, &SocketAddr::new(own, 0)).unwrap();
    socket
}

/// As fast as one core asks for them, without waiting for an answer. The oldest make room for new ones.
fn open_connections(server: SocketAddr, end: Instant) -> u64 {
    let mut connections = VecDeque::new();
    let mut opened = 0;
    while Instant::now() < end {
        let socket = reset_socket();
        rustix::io::ioctl_fionbio(&socket, true).unwrap();
        if matches!(connect(&socket, &server), Ok(()) | Err(Errno::INPROGRESS)) {
            connections.push_back(socket);
            opened += 1;
        }
        if connections.len() > OPEN_CONNECTIONS {
            connections.pop_front();
        }
    }
    opened
}

/// What the server closes is opened again.
fn send_slowly(server: SocketAddr, end: Instant) -> u64 {
    let mut head = b"GET / HTTP/1.1\r\nHost: ".iter().chain([b'a'; 100].iter()).cycle();
    let mut connections: Vec<Option<TcpStream>> = (0..SLOW_CONNECTIONS).map(|_| None).collect();
    let mut sent = 0;
    let mut turn = Instant::now();
    while turn < end {
        let byte = *head.next().unwrap();
        for connection in &mut connections {
            let open = connection.get_or_insert_with(|| open(server).unwrap());
            match open.write_all(&[byte]) {
                Ok(()) => sent += 1,
                Err(_) => *connection = None,
            }
        }
        turn += Duration::from_secs(1);
        // Until the next byte is due, those that were closed are replaced.
        while Instant::now() < turn.min(end) {
            for connection in &mut connections {
                let open = connection.get_or_insert_with(|| open(server).unwrap());
                open.set_nonblocking(true).unwrap();
                let read = open.read(&mut [0; 1_024]);
                if !read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                    *connection = None;
                    sent += 1;
                }
            }
        }
    }
    sent
}

/// As fast as they are answered; how many were.
fn send_requests(server: SocketAddr, end: Instant, requests: &[Vec<u8>]) -> u64 {
    let mut answered = 0;
    for request in requests.iter().cycle() {
        if Instant::now() >= end {
            break;
        }
        let Some(mut connection) = open(server) else { continue };
        connection.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut first = [0; 1_024];
        let sent = connection.write_all(request);
        answered += u64::from(sent.is_ok() && connection.read(&mut first).is_ok_and(|n| n > 0));
    }
    answered
}
