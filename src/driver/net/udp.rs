//! Datagrams to the kernel, many with one system call.
//!
//! A system call costs more than the packet that it sends, and each packet takes its way through
//! the network stack. `sendmmsg` saves most of the former: all viewers' packets of a frame leave
//! with a few calls. Segmentation offload (`UDP_SEGMENT`, udp(7)) saves most of the latter: the
//! packets that one viewer gets of a large frame take that way as one.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mio::net::UdpSocket;
use rustix::io::Errno;
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

use crate::webrtc::Transmit;

/// Datagrams that are collected before they are sent.
pub const BATCH: usize = 256;
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
        // A router on the way may have a smaller MTU, and tell nobody: it cuts what is too large.
        if address.is_ipv4()
            && let Err(error) = sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT)
        {
            log::debug!("datagrams of {address} are not cut on their way: {error}");
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
        let mut unsent = transmits;
        while !unsent.is_empty() {
            let messages = messages(unsent, self.offload);
            let sent = self.send_messages(&messages, &mut failed);
            unsent = &unsent[sent..];
        }
    }

    /// How many datagrams are done with: fewer than all if offload has turned out to be impossible,
    /// and the rest has to be sent without.
    fn send_messages(
        &mut self,
        messages: &[Message],
        failed: &mut impl FnMut(SocketAddr, io::Error),
    ) -> usize {
        let mut done = 0;
        for alike in messages.chunk_by(|a, b| a.segment == b.segment) {
            let sent = match self.prepare(alike[0].segment) {
                true => self.send_alike(alike, failed),
                false => 0,
            };
            done += alike[..sent].iter().map(|message| message.datagrams.len()).sum::<usize>();
            if sent < alike.len() {
                break;
            }
        }
        done
    }

    /// Sets the size of segments; false if that is impossible.
    fn prepare(&mut self, segment: usize) -> bool {
        if segment != self.segment {
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

    /// How many messages are done with; the next one showed that offload is impossible.
    fn send_alike(
        &mut self,
        alike: &[Message],
        failed: &mut impl FnMut(SocketAddr, io::Error),
    ) -> usize {
        let destination = |message: &Message| message.datagrams[0].destination;
        let addresses: Vec<SocketAddrAny> = alike.iter().map(|m| destination(m).into()).collect();
        let datagrams = alike.iter().flat_map(|message| message.datagrams);
        let slices: Vec<IoSlice> = datagrams.map(|t| IoSlice::new(&t.contents)).collect();
        let mut controls: Vec<SendAncillaryBuffer> =
            alike.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let mut rest = &slices[..];
        let places = alike.iter().zip(&addresses).zip(&mut controls);
        let mut headers: Vec<MMsgHdr> = places
            .map(|((message, to), control)| {
                let (parts, after) = rest.split_at(message.datagrams.len());
                rest = after;
                MMsgHdr::new_with_addr(to, parts, control)
            })
            .collect();
        let mut sent = 0;
        while sent < headers.len() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmmsg(&self.socket, &mut headers[sent..], flags) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                // EIO: no checksums by the card; EINVAL: not by this kernel or route.
                Err(error @ (Errno::IO | Errno::INVAL)) if self.segment != 0 => {
                    self.give_up_offload(&error.into());
                    break;
                }
                Err(error) => {
                    failed(destination(&alike[sent]), error.into());
                    sent += 1;
                }
            }
        }
        sent
    }
}

/// Datagrams that the kernel takes as one, and cuts into segments of one size.
struct Message<'a> {
    datagrams: &'a [Transmit],
    /// 0 if nothing is cut.
    segment: usize,
}

/// Puts datagrams that follow each other to one address, and are of one size but for the last, which
/// may be shorter, into one message each.
fn messages(transmits: &[Transmit], offload: bool) -> Vec<Message<'_>> {
    let mut messages = Vec::with_capacity(transmits.len());
    let (mut rest, mut segment) = (transmits, 0);
    while let [first, ..] = rest {
        let bytes = first.contents.len();
        let most = if offload { MAX_SEGMENTS.min(MAX_BYTES / bytes.max(1)) } else { 1 };
        let most = most.clamp(1, rest.len());
        let joins = |pair: &[Transmit]| {
            let [before, next] = pair else { return false };
            next.destination == before.destination
                && before.contents.len() == bytes
                && next.contents.len() <= bytes
        };
        let count = 1 + rest[..most].windows(2).take_while(|pair| joins(pair)).count();
        // A datagram alone may go under any size that it does not exceed, which saves a system call.
        let alone = if bytes <= segment { segment } else { 0 };
        segment = if count > 1 { bytes } else { alone };
        let (datagrams, after) = rest.split_at(count);
        messages.push(Message { datagrams, segment });
        rest = after;
    }
    messages
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

    fn transmit(from: SocketAddr, to: &Receiver, bytes: usize, fill: u8) -> Transmit {
        let destination = to.local_addr().unwrap();
        Transmit { source: from, destination, contents: vec![fill; bytes] }
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
        // Alone, in runs with and without a shorter end, more than one message takes, and alone again.
        let sizes = [&[100][..], &[1_000; 5], &[1_000, 1_000, 500], &[1_000; 70], &[7], &[800]];
        let sizes = sizes.concat();
        let transmits: Vec<Transmit> = receivers
            .iter()
            .flat_map(|to| {
                let numbered = sizes.iter().enumerate();
                numbered.map(move |(fill, bytes)| transmit(address, to, *bytes, fill as u8))
            })
            .collect();
        for offload in [true, false] {
            socket.offload = offload;
            socket.send(&transmits, |to, error| panic!("{to}: {error}"));
            for receiver in &receivers {
                let to = receiver.local_addr().unwrap();
                let mine = transmits.iter().filter(|t| t.destination == to);
                let sent: Vec<Vec<u8>> = mine.map(|t| t.contents.clone()).collect();
                assert_eq!(received(receiver, sent.len()), sent);
            }
        }
    }

    #[test]
    fn a_large_frame_is_one_message_and_single_datagrams_go_with_it() {
        let receiver = Receiver::bind("127.0.0.1:0").unwrap();
        let from = "127.0.0.1:1".parse().unwrap();
        let sizes = [30, 1_000, 1_000, 400, 30, 1_000, 1_000, 400];
        let transmits = sizes.map(|bytes| transmit(from, &receiver, bytes, 0));
        let shape = |offload| -> Vec<(usize, usize)> {
            let messages = messages(&transmits, offload);
            messages.iter().map(|message| (message.datagrams.len(), message.segment)).collect()
        };
        assert_eq!(shape(true), [(1, 0), (3, 1_000), (1, 1_000), (3, 1_000)]);
        assert_eq!(shape(false), [(1, 0); 8]);
    }

    #[test]
    fn what_cannot_be_sent_is_told_and_the_rest_is_sent() {
        let mut socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.socket().local_addr().unwrap();
        let receiver = Receiver::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let good = transmit(address, &receiver, 10, 1);
        // No route leads there from loopback.
        let nowhere: SocketAddr = "192.0.2.1:9".parse().unwrap();
        let bad = Transmit { destination: nowhere, ..good.clone() };
        let mut failures = Vec::new();
        socket.send(&[good.clone(), bad, good], |to, _| failures.push(to));
        assert_eq!(failures, [nowhere]);
        assert_eq!(received(&receiver, 2).len(), 2);
    }
}
