//! A viewer with str0m as its client and a real UDP socket.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use ballcast::media::Codec;

use super::client::Client;
use super::process::{Server, WAIT_LIMIT};

/// A viewer with a real UDP socket.
pub struct SocketViewer {
    pub client: Client,
    socket: UdpSocket,
}

impl SocketViewer {
    pub fn join(server: &Server) -> SocketViewer {
        SocketViewer::try_join(server).expect("the server answers")
    }

    /// `None` if the server does not answer.
    pub fn try_join(server: &Server) -> Option<SocketViewer> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let now = Instant::now();
        let (mut client, sdp) = Client::new(socket.local_addr().unwrap(), Codec::H264, now);
        let response = server.try_post_offer(&sdp).ok().filter(|response| response.status != 0)?;
        assert_eq!(response.status, 200, "{}", response.json());
        client.accept(response.json()["sdp"].as_str().unwrap(), now);
        Some(SocketViewer { client, socket })
    }

    /// Sends what is due, waits up to 20 ms for a datagram, and handles it.
    pub fn step(&mut self) {
        self.send();
        let wait = self.client.poll_timeout().saturating_duration_since(Instant::now());
        let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(20));
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut datagram = [0; 2_048];
        match self.socket.recv_from(&mut datagram) {
            Ok((bytes, source)) => {
                self.client.handle_datagram(Instant::now(), source, &datagram[..bytes]);
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
            }
        }
        self.client.handle_timeout(Instant::now());
        self.send();
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
