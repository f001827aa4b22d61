//! Datagrams to the kernel, many with one system call.
//!
//! A system call costs more than the packet that it sends, and each packet takes its way through
//! the network stack. `sendmmsg` saves most of the former: all viewers' packets of a frame leave
//! with a few calls. Segmentation offload (`UDP_SEGMENT`, udp(7)) saves most of the latter: the
//! packets that one viewer gets of a large frame take that way as one.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mio::net::UdpSocket;
use rustix::net::sockopt;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

use crate::webrtc::transport::Transmit;

/// Transmits that are collected before they are sent.
pub const BATCH: usize = 64;
/// What the kernel takes as one: 64 datagrams (`UDP_MAX_SEGMENTS`), and no more bytes than one
/// datagram of IPv4 can hold.
const MAX_SEGMENTS: usize = 64;
const MAX_BYTES: usize = 65_000;
/// Room for many viewers' reports at once, and for their frames. The kernel allows less if
/// `net.core.rmem_max` and `wmem_max` are lower.
const BUFFER_BYTES: usize = 8 << 20;

pub struct Socket {
    socket: UdpSocket,
    /// Whether the kernel and the network card can cut datagrams apart.
    offload: bool,
    /// The size of the datagrams that the socket is set to; 0 for no cutting.
    segment: usize,
}

impl Socket {
    pub fn bind(address: SocketAddr) -> io::Result<Socket> {
        let socket = UdpSocket::bind(address)?;
        // Root may go beyond the kernel's limit.
        let receive = sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, BUFFER_BYTES));
        let send = sockopt::set_socket_send_buffer_size_force(&socket, BUFFER_BYTES)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&socket, BUFFER_BYTES));
        if let Err(error) = receive.and(send) {
            log::debug!("the buffers of {address} keep their size: {error}");
        }
        Ok(Socket { socket, offload: true, segment: 0 })
    }

    pub fn socket(&mut self) -> &mut UdpSocket {
        &mut self.socket
    }

    /// A datagram, and where it is from.
    pub fn receive(&self, datagram: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(datagram)
    }

    /// Sends all in order. What the kernel does not take is left out, and its destination told.
    pub fn send(&mut self, transmits: &[Transmit], mut failed: impl FnMut(SocketAddr, io::Error)) {
        for alike in transmits.chunk_by(|a, b| segment_of(a) == segment_of(b)) {
            let segment = segment_of(&alike[0]);
            let mut unsent = alike;
            if self.prepare(segment) {
                let at_once = MAX_SEGMENTS.min(MAX_BYTES / segment.max(1)) * segment;
                let mut datagrams = Vec::with_capacity(alike.len());
                for transmit in alike {
                    let parts = transmit.contents.chunks(at_once.max(transmit.datagram_bytes));
                    datagrams.extend(parts.map(|part| (transmit.destination, part)));
                }
                match self.send_datagrams(&datagrams, &mut failed) {
                    None => continue,
                    Some(destination) => {
                        // This network card cannot. What was sent for this viewer is sent again,
                        // which its stream takes for a duplicate.
                        let first = alike.iter().position(|t| t.destination == destination);
                        unsent = &alike[first.unwrap_or(0)..];
                    }
                }
            }
            self.prepare(0);
            let datagrams: Vec<(SocketAddr, &[u8])> = unsent
                .iter()
                .flat_map(|t| t.datagrams().map(|datagram| (t.destination, datagram)))
                .collect();
            self.send_datagrams(&datagrams, &mut failed);
        }
    }

    /// Sets the size of segments; false if datagrams have to be sent one by one.
    fn prepare(&mut self, segment: usize) -> bool {
        if segment != self.segment && (self.offload || segment == 0) {
            match set_segment(self.socket.as_fd(), segment) {
                Ok(()) => self.segment = segment,
                Err(error) => self.give_up_offload(&error),
            }
        }
        segment == self.segment
    }

    fn give_up_offload(&mut self, error: &io::Error) {
        log::debug!("no segmentation offload: {error}");
        self.offload = false;
    }

    /// Whose datagram it was at which segmentation turned out to be impossible.
    fn send_datagrams(
        &mut self,
        datagrams: &[(SocketAddr, &[u8])],
        failed: &mut impl FnMut(SocketAddr, io::Error),
    ) -> Option<SocketAddr> {
        let addresses: Vec<SocketAddrAny> = datagrams.iter().map(|(to, _)| (*to).into()).collect();
        let slices: Vec<[IoSlice; 1]> =
            datagrams.iter().map(|(_, bytes)| [IoSlice::new(bytes)]).collect();
        let mut controls: Vec<SendAncillaryBuffer> =
            datagrams.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let places = addresses.iter().zip(&slices).zip(&mut controls);
        let mut messages: Vec<MMsgHdr> =
            places.map(|((to, slice), c)| MMsgHdr::new_with_addr(to, slice, c)).collect();
        let mut sent = 0;
        while sent < messages.len() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmmsg(&self.socket, &mut messages[sent..], flags) {
                Ok(count) => sent += count,
                Err(error) => {
                    let (error, to) = (io::Error::from(error), datagrams[sent].0);
                    if error.kind() == ErrorKind::Interrupted {
                        continue;
                    }
                    // EIO: no checksums by the card; EINVAL: not by this kernel or route.
                    let offload = self.segment != 0 && matches!(error.raw_os_error(), Some(5 | 22));
                    if offload {
                        self.give_up_offload(&error);
                        return Some(to);
                    }
                    failed(to, error);
                    sent += 1;
                }
            }
        }
        None
    }
}

/// The size of the segments that a transmit has to be cut into; 0 if it is one datagram.
fn segment_of(transmit: &Transmit) -> usize {
    if transmit.contents.len() > transmit.datagram_bytes { transmit.datagram_bytes } else { 0 }
}

/// rustix does not know this option of udp(7).
#[allow(unsafe_code, reason = "a system call")]
fn set_segment(socket: BorrowedFd, bytes: usize) -> io::Result<()> {
    let value = bytes as libc::c_int;
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is borrowed and open, and the kernel reads `length` bytes of `value`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const value).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Receiver;
    use std::time::Duration;

    use super::*;

    fn received(receiver: &Receiver, count: usize) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2_048];
        let mut datagrams = Vec::new();
        while datagrams.len() < count {
            let (bytes, _) = receiver.recv_from(&mut buffer).unwrap();
            datagrams.push(buffer[..bytes].to_vec());
        }
        datagrams
    }

    fn transmit(from: SocketAddr, to: &Receiver, bytes: usize, datagram_bytes: usize) -> Transmit {
        let contents = (0..bytes).map(|n| (n / datagram_bytes) as u8).collect();
        let destination = to.local_addr().unwrap();
        Transmit { source: from, destination, contents, datagram_bytes }
    }

    #[test]
    fn datagrams_arrive_as_they_were_with_offload_and_without() {
        let mut socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.socket().local_addr().unwrap();
        let receivers: [Receiver; 2] = std::array::from_fn(|_| {
            let receiver = Receiver::bind("127.0.0.1:0").unwrap();
            receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            receiver
        });
        let transmits: Vec<Transmit> = receivers
            .iter()
            .flat_map(|to| {
                [(100, 100), (5_000, 1_000), (4_500, 1_000), (70_000, 1_000), (7, 7)]
                    .map(|(bytes, datagram)| transmit(address, to, bytes, datagram))
            })
            .collect();
        for offload in [true, false] {
            socket.offload = offload;
            socket.send(&transmits, |to, error| panic!("{to}: {error}"));
            for receiver in &receivers {
                let mine =
                    transmits.iter().filter(|t| t.destination == receiver.local_addr().unwrap());
                let sent: Vec<Vec<u8>> =
                    mine.flat_map(|t| t.datagrams().map(<[u8]>::to_vec)).collect();
                assert_eq!(received(receiver, sent.len()), sent);
            }
        }
    }

    #[test]
    fn what_cannot_be_sent_is_told_and_the_rest_is_sent() {
        let mut socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.socket().local_addr().unwrap();
        let receiver = Receiver::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let good = transmit(address, &receiver, 10, 10);
        // No route leads there from loopback.
        let nowhere: SocketAddr = "192.0.2.1:9".parse().unwrap();
        let bad = Transmit { destination: nowhere, ..good.clone() };
        let mut failures = Vec::new();
        socket.send(&[good.clone(), bad, good], |to, _| failures.push(to));
        assert_eq!(failures, [nowhere]);
        assert_eq!(received(&receiver, 2).len(), 2);
    }
}
