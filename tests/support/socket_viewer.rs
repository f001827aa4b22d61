//! A viewer with str0m as its client and a real UDP socket.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ballcast::media::Codec;

use super::client::Client;
use super::process::{Response, Server, WAIT_LIMIT, try_post_offer};

/// A viewer with a real UDP socket.
pub struct SocketViewer {
    pub client: Client,
    socket: UdpSocket,
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
        let response = try_post_offer(server, headers, &change(sdp))?;
        match response.status {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            200 => {
                client.accept(response.json()["sdp"].as_str().unwrap(), now);
                Ok(Ok(SocketViewer { client, socket }))
            }
            _ => Ok(Err(response)),
        }
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
