//! A viewer with str0m as its client and a real UDP socket.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ballcast::testing::media::Codec;
use is::stun::{StunMessage, TransId};

use super::client::Client;
use super::process::{Response, Server, WAIT_LIMIT, try_post_offer};

/// A viewer with a real UDP socket.
pub struct SocketViewer {
    pub client: Client,
    socket: UdpSocket,
    credentials: Credentials,
}

/// What a connectivity check of a viewer carries.
#[derive(Clone)]
struct Credentials {
    server: SocketAddr,
    username: String,
    password: String,
}

/// Sends connectivity checks of a viewer from an address of its own.
pub struct CheckSender {
    socket: UdpSocket,
    credentials: Credentials,
}

impl SocketViewer {
    pub fn join(server: &Server) -> SocketViewer {
        SocketViewer::try_join(server).expect("the server answers")
    }

    /// As `join`, with something in its offer replaced.
    pub fn join_with(server: &Server, from: &str, to: &str) -> SocketViewer {
        let replace = |sdp: String| {
            assert!(sdp.contains(from), "{sdp}");
            sdp.replace(from, to)
        };
        let joined = SocketViewer::offer(own_ip(server), server.address, &[], replace);
        SocketViewer::answered(joined).expect("the server answers")
    }

    /// `None` if the server does not answer.
    pub fn try_join(server: &Server) -> Option<SocketViewer> {
        SocketViewer::answered(SocketViewer::offer(own_ip(server), server.address, &[], |sdp| sdp))
    }

    /// An error if the server does not answer, and what it answers if it refuses.
    pub fn try_join_from(
        own: IpAddr,
        server: SocketAddr,
        headers: &[(&str, &str)],
    ) -> io::Result<Result<SocketViewer, Response>> {
        SocketViewer::offer(own, server, headers, |sdp| sdp)
    }

    fn answered(joined: io::Result<Result<SocketViewer, Response>>) -> Option<SocketViewer> {
        let joined = joined.ok()?;
        Some(joined.unwrap_or_else(|refusal| panic!("{}", refusal.json())))
    }

    fn offer(
        own: IpAddr,
        server: SocketAddr,
        headers: &[(&str, &str)],
        change: impl FnOnce(String) -> String,
    ) -> io::Result<Result<SocketViewer, Response>> {
        let socket = UdpSocket::bind((own, 0))?;
        let now = Instant::now();
        let (mut client, sdp) = Client::new(socket.local_addr()?, Codec::H264, now);
        let sdp = change(sdp);
        let response = try_post_offer(server, headers, &sdp)?;
        match response.status {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            200 => {
                let document = response.json();
                let answer = document["sdp"].as_str().unwrap();
                client.accept(answer, now);
                let credentials = Credentials::new(server, &sdp, answer);
                Ok(Ok(SocketViewer { client, socket, credentials }))
            }
            _ => Ok(Err(response)),
        }
    }

    /// Sends checks of this viewer's.
    pub fn check(&self) -> CheckSender {
        let own = self.socket.local_addr().unwrap().ip();
        let socket = UdpSocket::bind((own, 0)).unwrap();
        CheckSender { socket, credentials: self.credentials.clone() }
    }

    /// Sends what is due, waits up to 20 ms for a datagram, and handles it.
    pub fn step(&mut self) {
        self.send();
        let wait = self.client.poll_timeout().saturating_duration_since(Instant::now());
        let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(20));
        self.receive(wait);
        self.client.handle_timeout(Instant::now());
        self.send();
    }

    /// Handles what has come already, and what is due.
    pub fn handle_all(&mut self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.receive_one() {}
        self.socket.set_nonblocking(false).unwrap();
        self.client.handle_timeout(Instant::now());
        self.send();
    }

    /// Waits for a datagram and handles it; whether one came.
    pub fn receive(&mut self, wait: Duration) -> bool {
        self.socket.set_read_timeout(Some(wait)).unwrap();
        self.receive_one()
    }

    fn receive_one(&mut self) -> bool {
        let mut datagram = [0; 2_048];
        match self.socket.recv_from(&mut datagram) {
            Ok((bytes, source)) => {
                self.client.handle_datagram(Instant::now(), source, &datagram[..bytes]);
                true
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
                false
            }
        }
    }

    pub fn send(&mut self) {
        for transmit in std::mem::take(&mut self.client.outgoing) {
            self.socket.send_to(&transmit.contents, transmit.destination).unwrap();
        }
    }
}

impl Credentials {
    fn new(server: SocketAddr, offer: &str, answer: &str) -> Credentials {
        let value = |sdp: &str, name: &str| {
            let value = sdp.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap().to_owned()
        };
        let [own, servers] = [offer, answer].map(|sdp| value(sdp, "a=ice-ufrag:"));
        let password = value(answer, "a=ice-pwd:");
        Credentials { server, username: format!("{servers}:{own}"), password }
    }
}

impl CheckSender {
    /// From a check to its answer, which the server sends as soon as it looks at its socket.
    pub fn time_to_answer(&self) -> Duration {
        let Credentials { server, username, password } = &self.credentials;
        let id = TransId::new();
        let check = StunMessage::binding_request(username, id, true, 1, 1, false);
        let crypto = str0m::crypto::from_feature_flags();
        let hmac = |key: &[u8], parts: &[&[u8]]| crypto.sha1_hmac_provider.sha1_hmac(key, parts);
        let mut bytes = [0; 512];
        let length = check.to_bytes(Some(password.as_bytes()), &mut bytes, hmac).unwrap();
        let started = Instant::now();
        self.socket.send_to(&bytes[..length], server).unwrap();
        self.socket.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
        loop {
            let mut answer = [0; 2_048];
            let length = self.socket.recv(&mut answer).expect("the server answers a check");
            // The server checks this address, too.
            let answer = StunMessage::parse(&answer[..length]);
            if answer.is_ok_and(|answer| answer.trans_id() == id && !answer.is_binding_request()) {
                return started.elapsed();
            }
        }
    }
}

/// Runs viewers until a condition is true.
pub fn run_until(viewers: &mut [SocketViewer], done: impl Fn(&[SocketViewer]) -> bool) {
    let end = Instant::now() + WAIT_LIMIT + Duration::from_secs(20);
    while !done(viewers) {
        assert!(Instant::now() < end, "{} frames", viewers[0].client.frames.len());
        viewers.iter_mut().for_each(SocketViewer::step);
    }
}

/// Where a viewer on the server's own host is.
fn own_ip(server: &Server) -> IpAddr {
    server.address.ip()
}
