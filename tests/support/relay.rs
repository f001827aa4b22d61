//! A proxy between a page and a server on the same machine. It forwards TCP and UDP from a port of
//! its own, and can interrupt either of them.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const POLL_INTERVAL: Duration = Duration::from_millis(2);

pub struct Relay {
    pub address: SocketAddr,
    cuts: Arc<Cuts>,
}

#[derive(Default)]
struct Cuts {
    tcp: AtomicBool,
    udp: AtomicBool,
    ended: AtomicBool,
}

impl Relay {
    pub fn start(server: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = UdpSocket::bind(address).unwrap();
        let cuts = Arc::new(Cuts::default());
        let shared = cuts.clone();
        std::thread::spawn(move || relay_datagrams(&socket, server, &shared));
        let shared = cuts.clone();
        std::thread::spawn(move || relay_connections(&listener, server, &shared));
        Relay { address, cuts }
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Interrupts TCP or UDP, or ends the interruption. Datagrams are lost meanwhile; TCP data is
    /// delayed, because a kernel would retransmit it.
    pub fn cut(&self, tcp: bool, udp: bool) {
        self.cuts.tcp.store(tcp, Ordering::Relaxed);
        self.cuts.udp.store(udp, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cuts.ended.store(true, Ordering::Relaxed);
    }
}

fn relay_datagrams(front: &UdpSocket, server: SocketAddr, cuts: &Cuts) {
    front.set_nonblocking(true).unwrap();
    let mut peers: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut buffer = [0; 65_536];
    while !cuts.ended.load(Ordering::Relaxed) {
        let lost = cuts.udp.load(Ordering::Relaxed);
        while let Ok((length, peer)) = front.recv_from(&mut buffer) {
            let back = peers.entry(peer).or_insert_with(|| {
                let back = UdpSocket::bind("127.0.0.1:0").unwrap();
                back.set_nonblocking(true).unwrap();
                back.connect(server).unwrap();
                back
            });
            if !lost {
                let _ = back.send(&buffer[..length]);
            }
        }
        for (peer, back) in &peers {
            while let Ok(length) = back.recv(&mut buffer) {
                if !lost {
                    let _ = front.send_to(&buffer[..length], peer);
                }
            }
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn relay_connections(listener: &TcpListener, server: SocketAddr, cuts: &Arc<Cuts>) {
    listener.set_nonblocking(true).unwrap();
    while !cuts.ended.load(Ordering::Relaxed) {
        let Ok((front, _)) = listener.accept() else {
            std::thread::sleep(POLL_INTERVAL);
            continue;
        };
        let Ok(back) = TcpStream::connect(server) else { continue };
        for (from, to) in [(&front, &back), (&back, &front)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let cuts = cuts.clone();
            std::thread::spawn(move || copy(from, to, &cuts));
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, cuts: &Cuts) {
    from.set_nonblocking(false).unwrap();
    from.set_read_timeout(Some(POLL_INTERVAL)).unwrap();
    let mut buffer = [0; 65_536];
    while !cuts.ended.load(Ordering::Relaxed) {
        if cuts.tcp.load(Ordering::Relaxed) {
            std::thread::sleep(POLL_INTERVAL);
            continue;
        }
        match from.read(&mut buffer) {
            Ok(length) if length > 0 && to.write_all(&buffer[..length]).is_ok() => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
