//! The load generator's process: one thread, one epoll, a socket for each viewer.
//!
//! It reads commands from its standard input, one per line, and answers some of them with one line of
//! JSON:
//!
//! | command | effect |
//! |---|---|
//! | `join COUNT PER_SECOND` | viewers join at a constant rate |
//! | `leave COUNT` | the oldest viewers send close_notify and leave |
//! | `vanish COUNT` | the oldest viewers stop without a close_notify |
//! | `churn COUNT AT_ONCE` | viewers join, receive a frame and leave, up to `AT_ONCE` at a time |
//! | `count` | answers with the number of viewers |
//! | `mark` | starts a new window |
//! | `report` | answers with the results since the mark |
//! | `trace` | notes each frame of each viewer from now on |
//! | `traced` | answers with them, see [`Trace`] |
//!
//! It exits at the end of its standard input.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use serde_json::{Value, json};
use str0m::config::DtlsCert;

use super::offers::{CONNECTIONS, Offers};
use super::srtp;
use super::stream::PacketOutcome;
use super::tap;
use super::timeline::{Histogram, Timeline};
use super::trace::Trace;
use super::viewer::Viewer;
use crate::machine;

const STDIN: u64 = 0;
const FIRST_CONNECTION: u64 = 1;
const FIRST_VIEWER: u64 = FIRST_CONNECTION + CONNECTIONS as u64;
const EVENTS_AT_ONCE: usize = 512;
/// How many datagrams to read from one viewer before the others.
const READS_A_TURN: usize = 32;
/// How many joins to start before sockets are read again.
const JOINS_A_TURN: usize = 4;
/// A viewer that is not connected after this time has failed.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
const DATAGRAM_BYTES: usize = 2_048;
const COMMAND_BYTES: usize = 4_096;

/// Runs until the end of the standard input.
pub fn run(server: SocketAddr, frames_per_second: u32) -> io::Result<()> {
    tap::install();
    Generator::new(server, frames_per_second)?.run()
}

/// Viewers that will join at a constant rate.
struct JoinPlan {
    left: usize,
    next: Instant,
    every: Duration,
}

/// Viewers that join, receive a frame and leave.
#[derive(Default)]
struct Churn {
    left: usize,
    at_once: usize,
    /// The slots of the current ones.
    current: BTreeSet<usize>,
}

/// The results of all viewers since the mark.
struct Window {
    since: Instant,
    own_cpu_s: f64,
    connect_ms: Vec<f64>,
    first_frame_ms: Vec<f64>,
    late: Histogram,
    undecryptable: u64,
    server_reports: u64,
    churned: u64,
    failures: BTreeMap<String, u64>,
}

impl Window {
    fn new(now: Instant) -> Window {
        Window {
            since: now,
            own_cpu_s: machine::Usage::of_self().cpu_s,
            connect_ms: Vec::new(),
            first_frame_ms: Vec::new(),
            late: Histogram::new(),
            undecryptable: 0,
            server_reports: 0,
            churned: 0,
            failures: BTreeMap::new(),
        }
    }
}

struct Generator {
    epoll: OwnedFd,
    frames_per_second: u32,
    certificate: DtlsCert,
    offers: Offers,
    viewers: Vec<Option<Viewer>>,
    free: Vec<usize>,
    /// The slots of the viewers, in the order in which they joined.
    order: VecDeque<usize>,
    timers: BTreeSet<(Instant, usize)>,
    plans: Vec<JoinPlan>,
    churn: Churn,
    timeline: Timeline,
    window: Window,
    trace: Option<Trace>,
    commands: Vec<u8>,
    done: bool,
}

impl Generator {
    fn new(server: SocketAddr, frames_per_second: u32) -> io::Result<Generator> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let stdin = epoll::EventData::new_u64(STDIN);
        epoll::add(&epoll, io::stdin(), stdin, epoll::EventFlags::IN)?;
        let certificate = str0m::crypto::from_feature_flags()
            .dtls_provider
            .generate_certificate()
            .ok_or_else(|| io::Error::other("no certificate"))?;
        Ok(Generator {
            epoll,
            frames_per_second,
            certificate,
            offers: Offers::new(server),
            viewers: Vec::new(),
            free: Vec::new(),
            order: VecDeque::new(),
            timers: BTreeSet::new(),
            plans: Vec::new(),
            churn: Churn::default(),
            timeline: Timeline::default(),
            window: Window::new(Instant::now()),
            trace: None,
            commands: Vec::new(),
            done: false,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        while !self.done {
            self.wait(&mut events)?;
            for event in events.drain(..) {
                match event.data.u64() {
                    STDIN => self.read_commands()?,
                    token @ FIRST_CONNECTION..FIRST_VIEWER => {
                        self.read_answer((token - FIRST_CONNECTION) as usize);
                    }
                    token => self.read_viewer((token - FIRST_VIEWER) as usize),
                }
            }
            self.fire_timers();
            self.start_joins()?;
            let epoll = &self.epoll;
            self.offers.send(|opened| {
                let data = epoll::EventData::new_u64(FIRST_CONNECTION + opened.slot as u64);
                // If this fails, the viewer fails later, and that is reported.
                let _ = epoll::add(epoll, opened.socket, data, epoll::EventFlags::IN);
            })?;
        }
        Ok(())
    }

    fn wait(&self, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let joins = self.plans.iter().map(|plan| plan.next);
        let churn = (self.churn.left > 0 && self.churn.current.len() < self.churn.at_once)
            .then(Instant::now);
        let next = joins.chain(timer).chain(churn).min();
        let wait = next.map(|at| at.saturating_duration_since(Instant::now()));
        let wait = wait.map(|wait| Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: wait.subsec_nanos().into(),
        });
        match epoll::wait(&self.epoll, spare_capacity(events), wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn fire_timers(&mut self) {
        let now = Instant::now();
        while let Some(&(at, slot)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, slot));
            self.with_viewer(slot, now, |viewer| viewer.handle_timeout(now));
        }
    }
}

/// Viewers.
impl Generator {
    fn start_joins(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let mut due = Vec::new();
        for plan in &mut self.plans {
            while plan.left > 0 && plan.next <= now && due.len() < JOINS_A_TURN {
                due.push(plan.next);
                plan.next += plan.every;
                plan.left -= 1;
            }
        }
        self.plans.retain(|plan| plan.left > 0);
        for due in due {
            self.join(due, now)?;
        }
        let churn = &self.churn;
        let room = churn.at_once.saturating_sub(churn.current.len()).min(churn.left);
        for _ in 0..room.min(JOINS_A_TURN) {
            let slot = self.join(now, now)?;
            self.churn.left -= 1;
            self.churn.current.insert(slot);
        }
        Ok(())
    }

    fn join(&mut self, due: Instant, now: Instant) -> io::Result<usize> {
        let (viewer, offer) = Viewer::new(&self.certificate, due, now)?;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.viewers.push(None);
            self.viewers.len() - 1
        });
        let data = epoll::EventData::new_u64(FIRST_VIEWER + slot as u64);
        epoll::add(&self.epoll, &viewer.socket, data, epoll::EventFlags::IN)?;
        self.offers.post(slot, &offer);
        self.viewers[slot] = Some(viewer);
        self.order.push_back(slot);
        Ok(slot)
    }

    fn read_answer(&mut self, connection: usize) {
        let Some((slot, outcome)) = self.offers.read(connection) else { return };
        let now = Instant::now();
        self.with_viewer(slot, now, |viewer| match outcome {
            Ok(answer) => viewer.accept(&answer, now),
            Err(reason) => viewer.failed = Some(reason),
        });
    }

    /// Handles an event of a viewer other than media, and updates its timer.
    fn with_viewer(&mut self, slot: usize, now: Instant, change: impl FnOnce(&mut Viewer)) {
        let Some(viewer) = self.viewers.get_mut(slot).and_then(Option::as_mut) else { return };
        self.timers.remove(&(viewer.poll_timeout(), slot));
        let was_up = viewer.is_up();
        change(viewer);
        if viewer.is_up() && !was_up {
            self.window.connect_ms.push(since_ms(viewer.due, now));
        }
        if !viewer.is_up() && now > viewer.due + CONNECT_LIMIT {
            viewer.failed.get_or_insert_with(|| "it never connected".into());
        }
        match viewer.failed.take() {
            Some(reason) => {
                *self.window.failures.entry(reason).or_default() += 1;
                self.drop_viewer(slot);
            }
            None => {
                self.timers.insert((viewer.poll_timeout(), slot));
            }
        }
    }

    fn drop_viewer(&mut self, slot: usize) {
        let Some(viewer) = self.viewers.get_mut(slot).and_then(Option::take) else { return };
        self.timers.remove(&(viewer.poll_timeout(), slot));
        if viewer.offset.is_some() {
            self.timeline.release();
        }
        self.order.retain(|known| *known != slot);
        self.churn.current.remove(&slot);
        self.free.push(slot);
    }

    fn leave(&mut self, slot: usize) {
        let now = Instant::now();
        if let Some(viewer) = self.viewers.get_mut(slot).and_then(Option::as_mut) {
            self.timers.remove(&(viewer.poll_timeout(), slot));
            viewer.close(now);
        }
        self.drop_viewer(slot);
    }
}

/// Datagrams.
impl Generator {
    fn read_viewer(&mut self, slot: usize) {
        let mut datagram = [0; DATAGRAM_BYTES];
        for _ in 0..READS_A_TURN {
            let Some(viewer) = self.viewers.get_mut(slot).and_then(Option::as_mut) else { return };
            let (bytes, source) = match viewer.socket.recv_from(&mut datagram) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // Nothing more for now.
                Err(_) => return,
            };
            let now = Instant::now();
            let datagram = &mut datagram[..bytes];
            viewer.remote = Some(source);
            if !srtp::is_media(datagram) {
                self.with_viewer(slot, now, |viewer| {
                    viewer.handle_datagram(source, datagram, now);
                });
            } else if self.handle_media(slot, datagram, now) {
                // A frame is sent in one batch, so there is most likely nothing more to read.
                return;
            }
        }
    }

    /// Handles RTP or RTCP. Returns whether it was the last packet of a frame.
    fn handle_media(&mut self, slot: usize, datagram: &mut [u8], now: Instant) -> bool {
        let Some(viewer) = self.viewers[slot].as_mut() else { return false };
        let window = &mut self.window;
        let Some(session) = viewer.session.as_mut() else {
            window.undecryptable += 1;
            return false;
        };
        if srtp::is_rtcp(datagram) {
            let opened = session.open_rtcp(datagram);
            *(if opened { &mut window.server_reports } else { &mut window.undecryptable }) += 1;
            return false;
        }
        let Some(packet) = session.open_rtp(datagram) else {
            window.undecryptable += 1;
            return false;
        };
        if viewer.rtx_types & 1 << packet.payload_type != 0 {
            viewer.stream.counters.retransmitted += 1;
            return false;
        }
        let outcome = viewer.stream.handle_packet(&packet, now);
        if viewer.under_way.is_none_or(|(timestamp, _)| timestamp != packet.timestamp) {
            viewer.under_way = Some((packet.timestamp, now));
        }
        if let (Some(trace), Some((_, began))) = (&mut self.trace, viewer.under_way)
            && outcome == PacketOutcome::Frame
        {
            trace.add(viewer.due, began, now, packet.payload);
        }
        if let Some(offset) = viewer.offset {
            let timestamp = packet.timestamp.wrapping_sub(offset);
            let tick = self.timeline.tick_of(timestamp, now);
            if outcome == PacketOutcome::Frame {
                window.late.add(now - tick);
                self.timeline.add_payload(timestamp, packet.payload, now);
            }
        } else if outcome == PacketOutcome::Frame {
            viewer.offset = self.timeline.anchor(packet.timestamp, packet.payload, now);
        }
        if outcome == PacketOutcome::Frame && viewer.first_frame.is_none() {
            viewer.first_frame = Some(now);
            window.first_frame_ms.push(since_ms(viewer.due, now));
            if self.churn.current.contains(&slot) {
                window.churned += 1;
                self.leave(slot);
            }
        }
        packet.marker
    }
}

/// Commands.
impl Generator {
    fn read_commands(&mut self) -> io::Result<()> {
        let mut chunk = [0; COMMAND_BYTES];
        let bytes = rustix::io::read(io::stdin(), &mut chunk)?;
        self.done |= bytes == 0;
        self.commands.extend(&chunk[..bytes]);
        while let Some(end) = self.commands.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.commands.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut words = line.split_whitespace();
            let command = words.next().unwrap_or_default();
            let numbers: Vec<usize> = words.filter_map(|word| word.parse().ok()).collect();
            self.run_command(command, &numbers)?;
        }
        Ok(())
    }

    fn run_command(&mut self, command: &str, numbers: &[usize]) -> io::Result<()> {
        let now = Instant::now();
        match (command, numbers) {
            ("join", &[count, per_second]) => {
                let every = Duration::from_secs(1) / per_second.max(1) as u32;
                self.plans.push(JoinPlan { left: count, next: now, every });
            }
            ("leave" | "vanish", &[count]) => {
                let leaving: Vec<usize> = self.order.iter().take(count).copied().collect();
                for slot in leaving {
                    if command == "leave" {
                        self.leave(slot);
                    } else {
                        self.drop_viewer(slot);
                    }
                }
            }
            ("churn", &[count, at_once]) => {
                self.churn = Churn { left: count, at_once, current: BTreeSet::new() };
            }
            ("count", []) => answer(&self.count())?,
            ("mark", []) => {
                self.window = Window::new(now);
                for viewer in self.viewers.iter_mut().flatten() {
                    viewer.stream.mark();
                    viewer.watching = viewer.first_frame.is_some();
                }
            }
            ("report", []) => answer(&self.report(now))?,
            ("trace", []) => self.trace = Some(Trace::default()),
            ("traced", []) => answer(&self.trace.take().unwrap_or_default().into_json())?,
            _ => return Err(io::Error::other(format!("no such command: {command} {numbers:?}"))),
        }
        Ok(())
    }

    fn count(&self) -> Value {
        let viewers = || self.viewers.iter().flatten();
        let planned: usize = self.plans.iter().map(|plan| plan.left).sum();
        json!({
            "planned": planned + self.churn.left,
            "viewers": viewers().count(),
            "up": viewers().filter(|viewer| viewer.is_up()).count(),
            "with_frames": viewers().filter(|viewer| viewer.first_frame.is_some()).count(),
            "failures": self.window.failures,
        })
    }

    fn report(&self, now: Instant) -> Value {
        let window = &self.window;
        let seconds = (now - window.since).as_secs_f64();
        let all = || self.viewers.iter().flatten();
        let sum = |of: &dyn Fn(&Viewer) -> i64| all().map(of).sum::<i64>();
        // Frames and gaps are only of viewers that were connected during the whole window.
        let watching = || all().filter(|viewer| viewer.watching);
        let frames: Vec<u64> = watching().map(|viewer| viewer.stream.counters.frames).collect();
        let gap_ms = |viewer: &Viewer| {
            let silent = viewer.stream.last_frame.map_or(Duration::ZERO, |last| now - last);
            silent.max(viewer.stream.counters.longest_gap).as_secs_f64() * 1e3
        };
        let period = Duration::from_secs(1) / self.frames_per_second;
        let mut report = self.count();
        let more = json!({
            "seconds": seconds,
            "own_cpu": (machine::Usage::of_self().cpu_s - window.own_cpu_s) / seconds,
            "connect_ms": window.connect_ms,
            "first_frame_ms": window.first_frame_ms,
            "churned": window.churned,
            "frames": frames,
            "packets": sum(&|v| v.stream.counters.packets as i64),
            "bytes": sum(&|v| v.stream.counters.bytes as i64),
            "lost": sum(&|v| v.stream.counters.lost),
            "duplicates": sum(&|v| v.stream.counters.duplicates as i64),
            "resent": sum(&|v| v.stream.counters.retransmitted as i64),
            "broken": sum(&|v| v.stream.counters.broken as i64),
            "skipped": sum(&|v| v.stream.skipped(self.frames_per_second) as i64),
            "undecryptable": window.undecryptable,
            "server_reports": window.server_reports,
            "longest_gap_ms": watching().map(gap_ms).fold(0.0, f64::max),
            "late_frames": window.late.count(),
            "late_p50_ms": window.late.quantile_ms(0.5),
            "late_p99_ms": window.late.quantile_ms(0.99),
            "late_most_ms": window.late.most_ms(),
            "later_than_period": window.late.above(period),
            "own_drops": machine::udp_drops(&self.ports()),
        });
        if let (Some(report), Value::Object(more)) = (report.as_object_mut(), more) {
            report.extend(more);
        }
        report
    }

    fn ports(&self) -> BTreeSet<u16> {
        let address = |viewer: &Viewer| viewer.socket.local_addr().ok();
        self.viewers.iter().flatten().filter_map(address).map(|a| a.port()).collect()
    }
}

fn since_ms(start: Instant, now: Instant) -> f64 {
    now.saturating_duration_since(start).as_secs_f64() * 1e3
}

fn answer(value: &Value) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{value}")?;
    stdout.flush()
}
