//! A UDP socket that sends many datagrams with one system call.
//!
//! A system call costs more than the packet that it sends, and each packet passes through the network stack
//! by itself. `sendmmsg` saves most of the former: a few calls send all viewers' packets of a frame.
//! Segmentation offload (`UDP_SEGMENT`, udp(7)) saves most of the latter: the packets of a large frame for
//! one viewer pass through the stack as one.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mio::net::UdpSocket;
use rustix::io::Errno;
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

use crate::webrtc::Transmit;

/// The most datagrams that are collected before they are sent.
pub const BATCH: usize = 256;
/// Limits of one message: 64 datagrams (`UDP_MAX_SEGMENTS`), and no more bytes than an IPv4 datagram holds.
const MAX_SEGMENTS: usize = 64;
const MAX_BYTES: usize = 65_000;
/// Size of the kernel's buffers: room for the reports of many viewers at once, and for their frames. The
/// kernel caps it at `net.core.rmem_max` and `wmem_max`.
const BUFFER_BYTES: usize = 8 << 20;

pub struct UdpEndpoint {
    socket: UdpSocket,
    /// Whether the kernel and the network card support segmentation offload.
    offload: bool,
    /// The segment size that the socket is set to, in bytes; 0 if messages are not segmented.
    segment: usize,
}

impl UdpEndpoint {
    pub fn bind(address: SocketAddr) -> io::Result<UdpEndpoint> {
        let socket = UdpSocket::bind(address)?;
        // Root may exceed the kernel's limit.
        let receive = sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, BUFFER_BYTES));
        let send = sockopt::set_socket_send_buffer_size_force(&socket, BUFFER_BYTES)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&socket, BUFFER_BYTES));
        if let Err(error) = receive.and(send) {
            log::debug!("the UDP buffers of {address} keep their default size: {error}");
        }
        // A router on the path may have a smaller MTU without reporting it: clear DF, so that it fragments.
        if address.is_ipv4()
            && let Err(error) = sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT)
        {
            log::debug!("datagrams from {address} cannot be fragmented on the path: {error}");
        }
        Ok(UdpEndpoint { socket, offload: true, segment: 0 })
    }

    pub fn socket(&mut self) -> &mut UdpSocket {
        &mut self.socket
    }

    /// Receives a datagram: its length and its source.
    pub fn receive(&self, datagram: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(datagram)
    }

    /// Sends all datagrams in order. Calls `failed` for each that the kernel does not take, and goes on.
    pub fn send(&mut self, transmits: &[Transmit], mut failed: impl FnMut(SocketAddr, io::Error)) {
        let mut unsent = transmits;
        while !unsent.is_empty() {
            let messages = messages(unsent, self.offload);
            let sent = self.send_messages(&messages, &mut failed);
            unsent = &unsent[sent..];
        }
    }

    /// Returns how many datagrams are sent or have failed: fewer than all if offload turned out to be
    /// unsupported, in which case the caller sends the rest without it.
    fn send_messages(
        &mut self,
        messages: &[Message],
        failed: &mut impl FnMut(SocketAddr, io::Error),
    ) -> usize {
        let mut done = 0;
        for alike in messages.chunk_by(|a, b| a.segment == b.segment) {
            let sent = match self.set_segment(alike[0].segment) {
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

    /// Sets the segment size of the socket. Returns false if that is unsupported.
    fn set_segment(&mut self, segment: usize) -> bool {
        if segment != self.segment {
            match set_udp_segment(self.socket.as_fd(), segment) {
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

    /// Returns how many messages are sent or have failed: fewer than all if the next one showed that offload
    /// is unsupported.
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
                // EIO: the network card computes no checksums; EINVAL: unsupported by the kernel or the route.
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

/// Datagrams that are sent as one message, which the kernel splits into segments of one size.
struct Message<'a> {
    datagrams: &'a [Transmit],
    /// Segment size in bytes; 0 for a single datagram that is not split.
    segment: usize,
}

/// Groups datagrams into messages: consecutive ones to the same destination and of the same size. The last of
/// a message may be shorter.
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
        // A single datagram fits any segment size that it does not exceed. Keeping the size saves a system call.
        let alone = if bytes <= segment { segment } else { 0 };
        segment = if count > 1 { bytes } else { alone };
        let (datagrams, after) = rest.split_at(count);
        messages.push(Message { datagrams, segment });
        rest = after;
    }
    messages
}

/// Sets `UDP_SEGMENT` (udp(7)), which rustix lacks.
#[allow(unsafe_code, reason = "a system call")]
fn set_udp_segment(socket: BorrowedFd, bytes: usize) -> io::Result<()> {
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
    fn datagrams_arrive_unchanged_with_and_without_offload() {
        let mut socket = UdpEndpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.socket().local_addr().unwrap();
        let receivers: [Receiver; 2] = std::array::from_fn(|_| {
            let receiver = Receiver::bind("127.0.0.1:0").unwrap();
            receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            receiver
        });
        // Single datagrams; runs with and without a shorter end; a run of more than one message.
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
    fn a_large_frame_is_one_message_and_single_datagrams_keep_its_segment_size() {
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
    fn a_datagram_that_cannot_be_sent_is_reported_and_the_rest_is_sent() {
        let mut socket = UdpEndpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.socket().local_addr().unwrap();
        let receiver = Receiver::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let good = transmit(address, &receiver, 10, 1);
        // There is no route from loopback.
        let nowhere: SocketAddr = "192.0.2.1:9".parse().unwrap();
        let bad = Transmit { destination: nowhere, ..good.clone() };
        let mut failures = Vec::new();
        socket.send(&[good.clone(), bad, good], |to, _| failures.push(to));
        assert_eq!(failures, [nowhere]);
        assert_eq!(received(&receiver, 2).len(), 2);
    }
}
