//! The server's inputs and outputs, the source's frames and the trace.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ballcast::testing::media::{AccessUnit, Codec, Frame};
use ballcast::testing::publish::PublishEvent;
use ballcast::testing::server::{ConnId, Input, Output};
use ballcast::testing::source::SourceEvent;
use ballcast::testing::source::camera::CameraEvent;
use ballcast::testing::work::steps_of;
use is::stun::StunMessage;

use super::source::Pending;
use super::{Event, Run};
use crate::crypto::{FINISHED, HELLO, REPLY};
use crate::link::Arrival;
use crate::rules::{Origin, RuleResult, SentFrame, rule};
use crate::source::stream::{DELTA, IDR};
use crate::tally::{Fault, Happening};
use crate::viewer::Viewer;
use crate::wire::{self, Wire};

/// More outputs than this in one drain are taken for an endless loop.
const MAX_OUTPUTS: usize = 20_000;
/// The steps of work that an input may take beyond one for each of its bytes: as much as looking at
/// each connection and each viewer that is half-open.
const MAX_STEPS: u64 = 512;
/// And of the bytes of a stream: those of the parser (`src/pipe/mod.rs`).
const STREAM_STEPS: u64 = 1_024;
const STREAM_STEPS_PER_BYTE: u64 = 10;
/// A large frame.
const LEAVES_WITHIN: Duration = Duration::from_millis(20);
const HUGE_FRAME_BYTES: usize = 150_000;

impl Run {
    /// A datagram arrives. Returns how many datagrams the server sends.
    pub(super) fn datagram(
        &mut self,
        from: SocketAddr,
        destination: SocketAddr,
        bytes: &[u8],
        authentic: bool,
    ) -> Result<usize, String> {
        if !self.addresses.contains(&destination) {
            return Ok(0);
        }
        self.authentic = authentic;
        self.rules.note_datagram(self.server.viewer_at(from), authentic, self.now);
        self.input_counting(Input::Datagram { source: from, destination, contents: bytes })
    }

    /// Records what follows from an unchanged datagram, before the server handles it.
    pub(super) fn note_arrival(&mut self, from: SocketAddr, wire: &Wire) {
        let now = self.now;
        let viewer = self.server.viewer_at(from);
        let media_server = self.media_server_at(from).map(|(_, codec)| codec);
        if let Some(viewer) = viewer.filter(|_| media_server.is_some()) {
            self.rules.note_media_server(viewer);
        }
        let states: BTreeMap<_, _> = self.server.viewer_states().collect();
        let is = |wanted| viewer.filter(|viewer| states.get(viewer) == Some(&wanted));
        match wire {
            Wire::Stun { request: true } => {
                let moved = |viewer: &Viewer| viewer.is_connected() && viewer.mapped == from;
                let known = self.users.iter().filter_map(|p| p.viewer.as_ref()).any(moved);
                if !self.rules.is_verified(from) && known {
                    self.tally.happened(Happening::AddressChange);
                }
                self.rules.note_stun(from, true, now);
            }
            // A media server may make no checks of its own (ICE-lite), and answers ours.
            Wire::Stun { request: false } => {
                self.rules.note_stun(from, media_server.is_some(), now);
            }
            Wire::Rtcp { pli, ssrc, index } => {
                let is_new = self.rules.is_new_srtcp_packet(*ssrc, *index);
                if let (Some(stream), Some(viewer), true) = (*pli, is("live"), is_new) {
                    self.rules.keyframe_requested(viewer, stream, now, &mut self.tally);
                }
            }
            Wire::Dtls { handshake: Some(FINISHED | REPLY) } => {
                if let Some(viewer) = is("half-open") {
                    let users = self.users.iter().filter_map(|user| user.viewer.as_ref());
                    let user = users.into_iter().find(|viewer| viewer.mapped == from);
                    let codec = user.map(|viewer| viewer.codec).or(media_server);
                    self.rules.connected(viewer, codec, now);
                }
            }
            Wire::Dtls { handshake: Some(HELLO) } if !self.client_hellos.insert(from) => {
                self.tally.happened(Happening::DtlsRetransmit);
            }
            Wire::Dtls { handshake: None } => {
                if let Some(viewer) = is("live") {
                    self.rules.note_close_notify(viewer, now);
                }
            }
            _ => {}
        }
    }

    pub(super) fn input(&mut self, input: Input) -> RuleResult {
        self.input_counting(input).map(drop)
    }

    /// Gives the server an input and handles all its outputs. Returns how many datagrams it sent.
    pub(super) fn input_counting(&mut self, input: Input) -> Result<usize, String> {
        self.add_to_trace(&format!("{:?}", std::mem::discriminant(&input)));
        self.answered.clear();
        if self.verbose {
            let text = format!("{input:?}");
            println!("{:>12?} in  {}", self.now - self.start, &text[..text.len().min(160)]);
        }
        let source = match &input {
            Input::Datagram { source, .. } => Some(*source),
            _ => None,
        };
        let received = match &input {
            Input::Received(id, bytes) => {
                let connection = self.connections.get_mut(id);
                connection.map(|connection| {
                    connection.bytes += bytes.len() as u64;
                    (*id, connection.bytes)
                })
            }
            // The next of the requests that came together.
            Input::Flushed(id) => self.connections.get(id).map(|it| (*id, it.bytes)),
            _ => None,
        };
        let mut most_steps = MAX_STEPS;
        let bytes = match (&input, received) {
            // What came in pieces may be read with the last of them.
            (_, Some((_, bytes))) => bytes,
            (Input::Datagram { contents, .. }, _) => contents.len() as u64,
            (Input::Publish(id, PublishEvent::Received(_)), _) => self.publishing[id.0].unread,
            (Input::Source(SourceEvent::Bytes(bytes)), _) => {
                most_steps += STREAM_STEPS;
                STREAM_STEPS_PER_BYTE * bytes.len() as u64
            }
            (Input::Source(SourceEvent::Camera(CameraEvent::Pictures(buffers))), _) => {
                most_steps += STREAM_STEPS;
                let bytes = buffers.iter().map(|buffer| buffer.data.len() as u64);
                STREAM_STEPS_PER_BYTE * bytes.sum::<u64>()
            }
            _ => 0,
        };
        let target = match &input {
            Input::Publish(id, _) => Some(*id),
            _ => None,
        };
        let (steps, ()) = steps_of(|| self.server.handle_input(self.now, input));
        rule!(
            steps <= most_steps + bytes,
            "S14: {steps} steps of work for an input of {bytes} bytes"
        );
        self.check_source_state()?;
        if let Some((id, _)) = received
            && let Some(connection) = self.connections.get_mut(&id)
        {
            connection.bytes -= steps.min(connection.bytes);
        }
        if let Some(id) = target {
            let target = &mut self.publishing[id.0];
            target.unread -= steps.min(target.unread);
        }
        // This datagram may be the one that made its source address a viewer's.
        let viewer = source.and_then(|from| self.server.viewer_at(from));
        self.rules.note_datagram(viewer, self.authentic, self.now);
        let mut sent = 0;
        let (mut capture, mut snapshots) = (None, Vec::new());
        let mut failed = Vec::new();
        for _ in 0..MAX_OUTPUTS {
            let output = self.server.poll_output();
            if self.verbose && !matches!(output, Output::Timeout(_)) {
                let text = format!("{output:?}");
                println!("{:>12?} out {}", self.now - self.start, &text[..text.len().min(160)]);
            }
            match output {
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    let moves = deadline.is_none_or(|deadline| deadline > self.now);
                    rule!(moves, "S10: the deadline is not in the future");
                    self.after_drain(capture, snapshots, failed)?;
                    return Ok(sent);
                }
                Output::Transmit(transmit) => {
                    sent += 1;
                    let (from, to) = (transmit.source, transmit.destination);
                    let fails = self.sends_fail_until.is_some_and(|until| self.now < until)
                        || !self.addresses.contains(&from);
                    self.transmit(from, to, transmit.contents, fails)?;
                    if fails {
                        failed.push(to);
                    }
                }
                Output::Send(id, bytes) => self.respond(id, &bytes)?,
                Output::Finish(_) => {}
                Output::Pause(id) => self.pause(id)?,
                Output::Resume(id) => self.resume(id)?,
                Output::Close(id) => self.set_closed(id)?,
                Output::ForceKeyframe(codec) => {
                    self.keyframe_forced |= codec == Codec::H264;
                    self.rules.forced_keyframe(codec, self.now)?;
                }
                Output::Source(command) => self.pending.push_back(Pending::Execute(command)),
                Output::Publish(id, command) => self.execute_publish(id, command)?,
                Output::KeepSession(id, session) => self.keep_session(id, session.as_ref())?,
                Output::Encode { picture, captured, codecs, is_reported } => {
                    self.want_encode(picture, captured, codecs, is_reported)?;
                }
                Output::Capture(codecs) => {
                    rule!(!self.options.has_source(), "S11: the ball, in place of a stream");
                    rule!(capture.is_none(), "S11: two captures in one drain");
                    rule!(codecs.is_sorted_by(|a, b| a < b), "S11: a codec twice");
                    capture = Some(codecs);
                }
                Output::Snapshot { width } => {
                    rule!(!snapshots.contains(&width), "S11: a JPEG file twice");
                    snapshots.push(width);
                }
            }
        }
        Err("S10: the outputs do not end".into())
    }

    pub(super) fn after_drain(
        &mut self,
        capture: Option<Vec<Codec>>,
        snapshots: Vec<Option<usize>>,
        failed: Vec<SocketAddr>,
    ) -> RuleResult {
        for destination in failed {
            self.tally.fault(Fault::SendFailed);
            self.tally.happened(Happening::FailedSend);
            self.rules.note_failed_send(destination);
            self.input(Input::TransmitFailed { destination })?;
        }
        let is_wanted = !snapshots.is_empty();
        for width in snapshots {
            let wait = Duration::from_millis(self.rng.u64(1..1_000));
            self.after(wait, Event::SnapshotMade(width));
        }
        if let Some(codecs) = capture {
            if codecs.is_empty() {
                rule!(is_wanted, "S11: a picture that nobody wants");
                return Ok(());
            }
            let watching = self.server.viewer_states().filter(|(_, state)| *state == "live");
            self.rules.captured(self.now, watching.count())?;
            if self.stalled_until.is_none_or(|until| self.now > until) {
                self.deliver_picture(&codecs, Origin::Picture, self.now)?;
            } else if self.options.reports_stall {
                self.input(Input::CaptureFailed)?;
            }
        }
        self.serve_source()
    }

    /// Each codec's frame of a picture that was taken at this time.
    pub(super) fn deliver_picture(
        &mut self,
        codecs: &[Codec],
        origin: Origin,
        captured: Instant,
    ) -> RuleResult {
        self.frames += 1;
        let before = self.last_shown_at.replace(self.now);
        let huge = std::mem::take(&mut self.huge_frame);
        if huge {
            self.tally.fault(Fault::SourceHuge);
        }
        if codecs.len() > 1 {
            self.tally.happened(Happening::TwoCodecs);
        }
        for codec in codecs {
            let (keyframe, data) = match codec {
                Codec::H264 => self.h264_frame(huge),
                Codec::Vp8 => (true, self.vp8_frame(huge)),
            };
            let last = self.last_encoded.insert(*codec, self.frames);
            let previous = match self.options.has_source() {
                true => last,
                false => self.frames.checked_sub(1),
            };
            let (number, taken) = (self.frames, self.now);
            self.rules.source_delivered(SentFrame {
                codec: *codec,
                number,
                keyframe,
                captured: taken,
                previous,
                origin,
            });
            self.input(Input::Frame(match codec {
                Codec::H264 => Frame::h264(AccessUnit::parse(&data), captured),
                Codec::Vp8 => Frame::vp8(data, captured),
            }))?;
        }
        // Pictures from outside may come so soon after each other that one has not left yet.
        let soon = before.is_some_and(|at| self.now < at + LEAVES_WITHIN);
        if soon && self.options.has_source() { Ok(()) } else { self.check_healthy_viewer() }
    }

    /// Whether it is a key frame, and its bytes.
    fn h264_frame(&mut self, huge: bool) -> (bool, Vec<u8>) {
        let ignores_requests =
            self.keyframe_requests_ignored_until.is_some_and(|until| self.now <= until);
        let keyframe = !ignores_requests && std::mem::take(&mut self.keyframe_forced);
        let bytes = match keyframe {
            _ if huge => HUGE_FRAME_BYTES,
            true => self.options.keyframe_bytes,
            false => self.options.delta_bytes,
        };
        let number = wire::number_bytes(self.frames);
        let mut data = Vec::new();
        if keyframe {
            // Before a large slice the parameter sets are in a packet of their own.
            data.extend_from_slice(&[0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1e, 0x8c]);
            data.extend_from_slice(&[&[0, 0, 0, 1, 0x68], &number[..]].concat());
        }
        let [header, _] = if keyframe { IDR } else { DELTA };
        data.extend_from_slice(&[&[0, 0, 0, 1], header, &number].concat());
        data.resize(data.len() + bytes - wire::SLICE_HEADER_BYTES, 0x9a);
        (keyframe, data)
    }

    /// The VP8 source makes key frames only.
    fn vp8_frame(&self, huge: bool) -> Vec<u8> {
        let bytes = if huge { HUGE_FRAME_BYTES } else { self.options.keyframe_bytes };
        let mut data = [&wire::VP8_HEADER[..], &wire::number_bytes(self.frames)].concat();
        data.resize(data.len() + bytes, 0x9a);
        data
    }

    /// The viewer on a good network must be sent every frame, whatever faults the others have.
    fn check_healthy_viewer(&mut self) -> RuleResult {
        if let Some((id, _)) = self.settled_healthy_viewer() {
            let last = self.rules.last_frame(id);
            rule!(last == Some(self.frames), "L6: {id} had frame {last:?}, not {}", self.frames);
        }
        Ok(())
    }

    pub(super) fn transmit(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
        fails: bool,
    ) -> RuleResult {
        let wire = self.read_wire(to, &bytes);
        self.add_to_trace(&format!("{to} {} {wire:?}", bytes.len()));
        rule!(bytes.len() + 48 <= 1_280, "{} bytes do not fit IPv6's smallest MTU", bytes.len());
        let viewer = self.server.viewer_at(to);
        let now = self.now;
        if !self.is_check_of_candidate(to, &wire)? {
            self.rules.transmitted(now, to, viewer, &wire, fails, &mut self.tally)?;
        }
        if fails {
            return Ok(());
        }
        if let Some((index, _)) = self.media_server_at(to) {
            self.carry_to_media_server(index, from, to, bytes);
            return Ok(());
        }
        let now = self.now;
        let index = self
            .users
            .iter()
            .position(|user| user.viewer.as_ref().is_some_and(|viewer| viewer.mapped == to));
        let Some(index) = index else { return Ok(()) };
        let user = &mut self.users[index];
        if wire == (Wire::Stun { request: true })
            && let Ok(check) = StunMessage::parse(&bytes)
        {
            user.last_check = Some((check.trans_id(), from));
        }
        let link = &mut user.down;
        let arrivals = link.send(now, bytes, &mut self.rng, &mut self.tally);
        for Arrival { at, bytes, .. } in arrivals {
            self.at(at, Event::ToViewer { viewer: index, from, bytes });
        }
        Ok(())
    }

    pub(super) fn respond(&mut self, id: ConnId, bytes: &[u8]) -> RuleResult {
        self.add_to_trace(&format!("{id:?} {}", bytes.len()));
        rule!(self.is_open(id), "S9: {id:?} is answered and is closed");
        if let Some(connection) = self.connections.get_mut(&id) {
            let begins = bytes.starts_with(b"HTTP/1.1 ") && !bytes.starts_with(b"HTTP/1.1 100");
            connection.responses += usize::from(begins);
            rule!(!begins || self.answered.insert(id), "S28: two answers of {id:?} to one input");
            let (responses, requests) = (connection.responses, connection.requests);
            if bytes.windows(10).any(|word| word == b"image/jpeg") {
                self.tally.happened(Happening::LateSnapshot);
                rule!(responses == 2, "S9: the picture comes before the answer to the offer");
            }
            rule!(responses <= requests, "S9: {responses} responses to {requests} requests");
        }
        let slow =
            !self.faults_removed && self.options.bad_http.is_some() && self.rng.u8(..20) == 0;
        let wait = if slow { 12_000 } else { self.rng.u64(1..50) };
        self.after(Duration::from_millis(wait), Event::HttpFlushed(id));
        let user = self.connections.get(&id).and_then(|connection| connection.user);
        let Some(index) = user else {
            return crate::browser::note_refusals(bytes, &mut self.tally);
        };
        let now = self.now;
        let user = &mut self.users[index];
        let Some((status, body)) = user.browser.receive(id, bytes)? else {
            return Ok(());
        };
        match (status, &mut user.viewer) {
            (200, Some(viewer)) if !viewer.is_answered() => {
                let answer = body["sdp"].as_str().ok_or("S9: an answer without an SDP")?;
                viewer.accept_answer(answer, now);
                self.send_from(index);
            }
            (200, _) => {}
            (status, _) => {
                let reason = body["reason"].as_str().unwrap_or("none").to_owned();
                if status == 503 {
                    self.tally.happened(Happening::CapRefusal);
                }
                let full = self.server.viewers() >= self.options.max_viewers;
                rule!(full || reason != "viewers", "S7: refused, and there is room");
                self.tally.refused(&reason);
                user.viewer = None;
                let wait = Duration::from_millis(self.rng.u64(500..3_000));
                self.after(wait, Event::Join(index));
            }
        }
        Ok(())
    }

    /// Adds an event to the trace, which is a hash of all inputs and outputs and their times.
    pub(super) fn add_to_trace(&mut self, text: &str) {
        let micros = (self.now - self.start).as_micros() as u64;
        for byte in text.bytes().chain(micros.to_be_bytes()) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
