//! One viewer of the load: str0m's client for ICE and DTLS, the media beside it.

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

/// Browsers report on what they receive once a second.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A deadline that str0m returns in the past is put off by this much.
const SMALLEST_WAIT: Duration = Duration::from_millis(1);
/// The id of the playout-delay extension in Chromium's offers.
const PLAYOUT_DELAY_ID: u8 = 5;

pub struct Viewer {
    pub socket: UdpSocket,
    pub stream: Stream,
    pub session: Option<Session>,
    /// When it was meant to join.
    pub due: Instant,
    pub connected: Option<Instant>,
    pub first_frame: Option<Instant>,
    /// Whether it was up at the mark.
    pub watching: bool,
    /// The offset of its RTP timestamps from the timeline's.
    pub offset: Option<u32>,
    /// The payload types of packets that are sent again, one bit each.
    pub repair: u128,
    /// Where media comes from, and reports go.
    pub remote: Option<SocketAddr>,
    /// Why it will never be up.
    pub failed: Option<String>,
    rtc: Rtc,
    pending: Option<SdpPendingOffer>,
    local: SocketAddr,
    deadline: Instant,
    report_at: Option<Instant>,
    closing: bool,
}

impl Viewer {
    /// A viewer with a socket of its own, and its offer's SDP.
    pub fn new(certificate: &DtlsCert, due: Instant, now: Instant) -> io::Result<(Viewer, String)> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        // VP8 first, as browsers offer; a server chooses what it has.
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
            api.apply().ok_or_else(|| io::Error::other("an offer with media is one"))?;
        let viewer = Viewer {
            socket,
            stream: Stream::new(),
            session: None,
            due,
            connected: None,
            first_frame: None,
            watching: false,
            offset: None,
            repair: 0,
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
                self.repair |= 1 << number;
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

    /// Everything but media.
    pub fn handle_datagram(&mut self, source: SocketAddr, datagram: &[u8], now: Instant) {
        if let Ok(receive) = Receive::new(Protocol::Udp, source, self.local, datagram) {
            // What str0m does not like is the server's fault, and shows in what is missing then.
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

    /// close_notify, as a browser's `pc.close()`.
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
                    // The reports are our own, one a second.
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
                self.failed = Some(format!("{:?} is not for this", keying.profile));
            }
        }
    }

    /// A datagram that the kernel does not take is lost, as on any network.
    fn send(&self, destination: SocketAddr, datagram: &[u8]) {
        while let Err(error) = self.socket.send_to(datagram, destination) {
            if error.kind() != ErrorKind::Interrupted {
                return;
            }
        }
    }
}
