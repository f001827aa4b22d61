//! One viewer of the load generator: str0m's client for ICE and DTLS, and separate handling of media.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::config::DtlsCert;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::rtp::Extension;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use super::srtp::{self, Session};
use super::stream::Stream;
use super::tap;

/// Browsers send a receiver report about once a second.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// The delay for a deadline that str0m returns in the past.
const SMALLEST_WAIT: Duration = Duration::from_millis(1);
/// The id of the playout-delay extension in Chromium's offers.
const PLAYOUT_DELAY_ID: u8 = 5;

pub struct Viewer {
    pub socket: UdpSocket,
    pub stream: Stream,
    pub session: Option<Session>,
    /// The planned time of its join.
    pub due: Instant,
    pub connected: Option<Instant>,
    pub first_frame: Option<Instant>,
    /// The timestamp of the frame whose packets come, and when its first one came.
    pub under_way: Option<(u32, Instant)>,
    /// Whether it received frames before the mark.
    pub watching: bool,
    /// The offset of its RTP timestamps from the timeline's.
    pub offset: Option<u32>,
    /// The payload types of RTX, one bit each.
    pub rtx_types: u128,
    /// The source address of media, and the destination of reports.
    pub remote: Option<SocketAddr>,
    /// Why it cannot connect.
    pub failed: Option<String>,
    rtc: Rtc,
    pending: Option<SdpPendingOffer>,
    local: SocketAddr,
    deadline: Instant,
    report_at: Option<Instant>,
    closing: bool,
}

impl Viewer {
    /// A viewer with a new socket, and the SDP of its offer.
    pub fn new(certificate: &DtlsCert, due: Instant, now: Instant) -> io::Result<(Viewer, String)> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        // VP8 first, as browsers offer it. The server selects a codec that it supports.
        let mut rtc = RtcConfig::new()
            .set_rtp_mode(true)
            .set_dtls_cert(certificate.clone())
            .clear_codecs()
            .enable_vp8(true)
            .enable_h264(true)
            .set_extension(PLAYOUT_DELAY_ID, Extension::PlayoutDelay)
            .build(now);
        rtc.add_local_candidate(Candidate::host(local, Protocol::Udp).map_err(io::Error::other)?);
        let mut api = rtc.sdp_api();
        api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) =
            api.apply().ok_or_else(|| io::Error::other("there is no change to offer"))?;
        let viewer = Viewer {
            socket,
            stream: Stream::new(),
            session: None,
            due,
            connected: None,
            first_frame: None,
            under_way: None,
            watching: false,
            offset: None,
            rtx_types: 0,
            failed: None,
            rtc,
            pending: Some(pending),
            remote: None,
            local,
            deadline: now,
            report_at: None,
            closing: false,
        };
        Ok((viewer, offer.to_sdp_string()))
    }

    pub fn accept(&mut self, answer: &str, now: Instant) {
        for line in answer.lines() {
            let rtpmap = line.strip_prefix("a=rtpmap:").and_then(|rest| rest.split_once(' '));
            if let Some((number, name)) = rtpmap
                && name.starts_with("rtx/")
                && let Ok(number @ 0..128) = number.parse::<u32>()
            {
                self.rtx_types |= 1 << number;
            }
        }
        let accepted = SdpAnswer::from_sdp_string(answer).map_err(|e| e.to_string());
        let accepted = accepted.and_then(|answer| {
            let pending = self.pending.take().ok_or("answered twice")?;
            self.rtc.sdp_api().accept_answer(pending, answer).map_err(|e| e.to_string())
        });
        if let Err(error) = accepted {
            self.failed = Some(error);
            return;
        }
        self.handle_timeout(now);
    }

    /// Handles a datagram other than media.
    pub fn handle_datagram(&mut self, source: SocketAddr, datagram: &[u8], now: Instant) {
        if let Ok(receive) = Receive::new(Protocol::Udp, source, self.local, datagram) {
            // An error of str0m means that the server sent something invalid. It shows as a loss.
            let _ = self.rtc.handle_input(Input::Receive(now, receive));
            self.drain(now);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.report_at.is_some_and(|at| at <= now) {
            self.report(now);
        }
        if self.deadline <= now {
            let _ = self.rtc.handle_input(Input::Timeout(now));
            self.drain(now);
        }
    }

    pub fn poll_timeout(&self) -> Instant {
        self.report_at.map_or(self.deadline, |at| at.min(self.deadline))
    }

    pub fn is_up(&self) -> bool {
        self.connected.is_some()
    }

    /// Sends close_notify, as a browser's `pc.close()` does.
    pub fn close(&mut self, now: Instant) {
        self.closing = true;
        let _ = self.rtc.close();
        self.drain(now);
    }

    fn report(&mut self, now: Instant) {
        self.report_at = Some(now + REPORT_EVERY);
        let (highest, lost) = self.stream.reception();
        if let Some(session) = self.session.as_mut().filter(|_| self.stream.ssrc != 0) {
            let report = session.receiver_report(self.stream.ssrc, highest, lost);
            if let Some(remote) = self.remote {
                self.send(remote, &report);
            }
        }
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => {
                    // `report` sends the receiver reports instead of str0m.
                    if self.closing || !srtp::is_media(&transmit.contents) {
                        self.send(transmit.destination, &transmit.contents);
                    }
                }
                Ok(Output::Event(Event::Connected)) => {
                    self.connected = Some(now);
                    self.report_at = Some(now + REPORT_EVERY);
                }
                Ok(Output::Event(_)) => {}
                Ok(Output::Timeout(at)) => {
                    self.deadline = at.max(now + SMALLEST_WAIT);
                    break;
                }
                Err(error) => {
                    self.failed = Some(error.to_string());
                    self.deadline = now + REPORT_EVERY;
                    break;
                }
            }
        }
        if let Some(keying) = tap::take() {
            self.session = Session::new(&keying);
            if self.session.is_none() {
                self.failed = Some(format!("{:?} is not supported here", keying.profile));
            }
        }
    }

    /// A datagram that the kernel does not accept counts as lost.
    fn send(&self, destination: SocketAddr, datagram: &[u8]) {
        while let Err(error) = self.socket.send_to(datagram, destination) {
            if error.kind() != ErrorKind::Interrupted {
                return;
            }
        }
    }
}
