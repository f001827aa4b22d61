//! One run: a server, its viewers and the network between them, in virtual time. This is a second
//! driver of the same core.

pub mod scenarios;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ballcast::media::{Codec, Frame};
use ballcast::server::admission::Limits;
use ballcast::server::{Config, ConnId, Input, Output, Server};
use ballcast::web::cors::AccessPolicy;
use fastrand::Rng;
use is::stun::{StunMessage, TransId};

use crate::browser::{Browser, HttpFault};
use crate::crypto::{FINISHED, HELLO};
use crate::link::{Arrival, Conditions, Link};
use crate::options::Options;
use crate::rules::{RuleResult, Rules, SentFrame, rule};
use crate::tally::{Fault, Happening, Tally};
use crate::viewer::Viewer;
use crate::wire::{self, Wire};

pub const SERVER: &str = "10.0.0.254:8080";
/// More outputs than this in one drain are taken for an endless loop.
const MAX_OUTPUTS: usize = 20_000;
const HUGE_FRAME_BYTES: usize = 150_000;
/// The message type of a STUN binding request.
const BINDING_REQUEST_START: &[u8] = &[0, 1];
/// The user on a good network, in the runs that have one.
const HEALTHY: usize = 0;
const GOOD_DELAY: Duration = Duration::from_millis(10);
const PAGE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// On a good network, from the offer to the picture, including refusals and retries.
const PICTURE_WITHIN: Duration = Duration::from_secs(2);
/// This long after the faults were removed, no page may reconnect while the server still has its
/// viewer.
const RECOVERS_WITHIN: Duration = Duration::from_secs(6);
const RECONNECTS_AFTER: Duration = Duration::from_secs(4);
/// More steps than this without progress of time are taken for an endless loop.
const MAX_STEPS_AT_ONE_INSTANT: usize = 20_000;

/// An entry of the event queue.
#[derive(Debug)]
enum Event {
    ToServer {
        from: SocketAddr,
        bytes: Vec<u8>,
        intact: bool,
    },
    ToViewer {
        viewer: usize,
        bytes: Vec<u8>,
    },
    HttpBytes {
        connection: ConnId,
        bytes: Vec<u8>,
    },
    HttpFlushed(ConnId),
    HttpHalfClosed(ConnId),
    HttpCut(ConnId),
    Join(usize),
    /// The page checks whether it shows a picture, and reconnects if not.
    PageCheck(usize),
    Script(Script),
}

/// Scheduled faults, their removal, and the shutdown.
#[derive(Debug, Clone, Copy)]
enum Script {
    LinkDown,
    PortChange,
    Vanish,
    Leave,
    Restart,
    SendFailure,
    Forgery,
    PliStorm,
    BadHttp,
    SourceStall,
    SourceHuge,
    Suspend,
    Addresses,
    RemoveFaults,
    Shutdown,
}

struct Queued {
    at: Instant,
    order: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        self.order == other.order
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A simulated user: a browser with at most one viewer at a time, and the network path to it.
struct User {
    viewer: Option<Viewer>,
    up: Link,
    down: Link,
    /// Nothing is sent and nothing is received.
    powered_off: bool,
    offers: u64,
    browser: Browser,
    pli_storm_until: Option<Instant>,
}

/// An accepted HTTP connection.
struct Connection {
    user: Option<usize>,
    closed: bool,
    /// The number of requests sent, up to the first that ends the connection.
    requests: usize,
    responses: usize,
}

pub struct Run {
    pub options: Options,
    pub now: Instant,
    start: Instant,
    rng: Rng,
    server: Server,
    users: Vec<User>,
    queue: BinaryHeap<Reverse<Queued>>,
    order: u64,
    deadline: Option<Instant>,
    connections: BTreeMap<ConnId, Connection>,
    next_connection: u64,
    rules: Rules,
    pub tally: Tally,
    trace: u64,
    verbose: bool,
    frames: u64,
    keyframe_forced: bool,
    huge_frame: bool,
    stalled_until: Option<Instant>,
    keyframe_requests_ignored_until: Option<Instant>,
    sends_fail_until: Option<Instant>,
    faults_removed: bool,
    faults_removed_at: Option<Instant>,
    suspended_until: Option<Instant>,
    /// The datagram that is being handled is authentic: unchanged from what a viewer sent.
    authentic: bool,
    shut_down: bool,
    leaving: bool,
    /// Addresses that have sent a ClientHello.
    client_hellos: BTreeSet<SocketAddr>,
    steps_at_this_instant: usize,
    last_step_at: Instant,
}

/// The result of a run.
pub struct Outcome {
    pub trace: u64,
    pub tally: Tally,
    pub failure: Option<String>,
}

fn config(options: &Options, rng: &mut Rng) -> Config {
    let limits = Limits {
        viewers: options.max_viewers,
        half_open: options.half_open,
        viewers_per_address: options.viewers_per_address,
        connections: options.connections,
        offers_per_second: options.offers_per_second,
        ..Limits::default()
    };
    let mut entropy = [0; 32];
    rng.fill(&mut entropy);
    Config {
        entropy,
        crypto: crate::crypto::provider(),
        certificate: crate::crypto::certificate(options.seed),
        addresses: vec![SERVER.parse().unwrap()],
        access: AccessPolicy { names: vec!["camera".into()], ..AccessPolicy::default() },
        token: None,
        limits,
        frames_per_second: options.frames_per_second,
        bitrate: None,
        stamped: false,
        wall_clock: UNIX_EPOCH + Duration::from_secs(784_111_777),
    }
}

impl Run {
    pub fn new(options: Options, verbose: bool) -> Run {
        crate::log::begin();
        // str0m's own generator: SSRCs, transaction ids, tie breakers.
        fastrand::seed(options.seed);
        let now = Instant::now();
        let mut rng = Rng::with_seed(options.seed);
        let server = Server::new(config(&options, &mut rng), now);
        let users = (0..options.viewers)
            .map(|index| {
                let healthy = options.healthy && index == HEALTHY;
                if healthy { Conditions::perfect(GOOD_DELAY) } else { options.path.clone() }
            })
            .map(|path| User {
                viewer: None,
                up: Link::new(path.clone()),
                down: Link::new(path),
                powered_off: false,
                offers: 0,
                browser: Browser::default(),
                pli_storm_until: None,
            })
            .collect();
        let rules = Rules::new(options.frames_per_second);
        Run {
            now,
            start: now,
            rng,
            server,
            users,
            queue: BinaryHeap::new(),
            order: 0,
            deadline: None,
            connections: BTreeMap::new(),
            next_connection: 1,
            rules,
            tally: Tally::default(),
            trace: 0xcbf2_9ce4_8422_2325,
            verbose,
            frames: 0,
            keyframe_forced: false,
            huge_frame: false,
            stalled_until: None,
            keyframe_requests_ignored_until: None,
            sends_fail_until: None,
            faults_removed: false,
            faults_removed_at: None,
            suspended_until: None,
            authentic: false,
            shut_down: false,
            leaving: false,
            client_hellos: BTreeSet::new(),
            steps_at_this_instant: 0,
            last_step_at: now,
            options,
        }
    }

    /// Runs until the end.
    pub fn run(mut self) -> Outcome {
        let failure = self.run_until_end().err();
        self.tally.add(&crate::log::happenings());
        Outcome { trace: self.trace, tally: self.tally, failure }
    }

    fn run_until_end(&mut self) -> RuleResult {
        self.plan();
        // A suspended host moves the end.
        while self.now < self.end() {
            self.advance(self.end() - self.now)?;
        }
        self.check_viewers_have_picture()?;
        self.leave_all()?;
        self.request_statistics()
    }

    /// Some refusals are sent to nobody and only counted in the statistics.
    fn request_statistics(&mut self) -> RuleResult {
        let request = "GET /stats HTTP/1.1\r\nHost: camera\r\nConnection: close\r\n\r\n";
        let from = SocketAddr::from(([10, 7, 0, 1], 1_000));
        self.connect(None, from, request.into(), true, HttpFault::None)?;
        self.advance(Duration::from_secs(30))
    }

    /// Advances virtual time and handles everything that is due until then.
    fn advance(&mut self, time: Duration) -> RuleResult {
        let end = self.now + time;
        while let Some(next) = self.next_event_at().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.step()?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn end(&self) -> Instant {
        self.start + self.options.length
    }

    /// After the faults have been removed, every viewer must have a picture.
    fn check_viewers_have_picture(&mut self) -> RuleResult {
        let Options { max_viewers, half_open, viewers_per_address, connections, .. } = self.options;
        let users = self.users.len();
        let room = max_viewers >= 2 * users && half_open >= users && connections >= 2 * users;
        if self.shut_down || !room || viewers_per_address < 2 {
            return Ok(());
        }
        let gap = Duration::from_secs(2) / self.options.frames_per_second;
        for (index, user) in self.users.iter().enumerate().filter(|(_, p)| !p.powered_off) {
            let settled = |viewer: &&Viewer| viewer.created_at + PICTURE_WITHIN < self.now;
            let Some(viewer) = user.viewer.as_ref().filter(settled) else { continue };
            let last = viewer.decoded.last().copied();
            let fresh = last.is_some_and(|last| last + gap + Duration::from_millis(100) > self.now);
            let since = last.map(|last| self.now - last);
            rule!(fresh, "L3: user {index} has had no picture for {since:?}");
        }
        Ok(())
    }

    fn next_event_at(&self) -> Option<Instant> {
        let viewers = self.users.iter().filter(|user| !user.powered_off);
        let viewers = viewers.filter_map(|user| Some(user.viewer.as_ref()?.poll_timeout()));
        let queued = self.queue.peek().map(|Reverse(queued)| queued.at);
        viewers.chain(queued).chain(self.deadline).min()
    }

    fn step(&mut self) -> RuleResult {
        self.steps_at_this_instant =
            if self.now == self.last_step_at { self.steps_at_this_instant + 1 } else { 0 };
        self.last_step_at = self.now;
        rule!(self.steps_at_this_instant < MAX_STEPS_AT_ONE_INSTANT, "S10: time does not advance");
        if self.deadline.is_some_and(|deadline| deadline <= self.now) {
            self.input(Input::Timeout)?;
        }
        while self.queue.peek().is_some_and(|Reverse(queued)| queued.at <= self.now) {
            let Some(Reverse(queued)) = self.queue.pop() else { break };
            self.handle_event(queued.event)?;
        }
        for index in 0..self.users.len() {
            let now = self.now;
            let user = &mut self.users[index];
            if let Some(viewer) = user.viewer.as_mut().filter(|_| !user.powered_off)
                && viewer.poll_timeout() <= now
            {
                if user.pli_storm_until.is_some_and(|until| now < until) {
                    viewer.request_keyframe(now);
                }
                viewer.handle_timeout(now);
            }
            self.send_from(index);
        }
        let excused = self.stalled_until.is_some_and(|until| self.now <= until)
            || self.sends_fail_until.is_some_and(|until| self.now <= until)
            || self.keyframe_requests_ignored_until.is_some_and(|until| self.now <= until)
            || self.shut_down;
        let states = self.server.viewer_states().collect();
        self.rules.check_time_limits(self.now, excused, &states)?;
        crate::log::errors().map_or(Ok(()), |line| Err(format!("S13: {line}")))
    }
}

/// The script: scheduled faults.
impl Run {
    fn plan(&mut self) {
        let options = self.options.clone();
        for user in 0..options.viewers {
            let at = if self.rng.bool() { 0 } else { self.rng.u64(..10_000) };
            self.after(Duration::from_millis(at), Event::Join(user));
            self.after(PAGE_CHECK_INTERVAL, Event::PageCheck(user));
        }
        for (script, mean) in [
            (Script::LinkDown, options.link_down),
            (Script::PortChange, options.port_change),
            (Script::Vanish, options.vanish),
            (Script::Leave, options.leave),
            (Script::Restart, options.restart),
            (Script::SendFailure, options.send_failure),
            (Script::Forgery, options.forgery),
            (Script::PliStorm, options.pli_storm),
            (Script::BadHttp, options.bad_http),
            (Script::SourceStall, options.source_stall),
            (Script::SourceHuge, options.source_huge),
            (Script::Suspend, options.suspend),
            (Script::Addresses, options.addresses),
        ] {
            if let Some(mean) = mean {
                self.schedule(script, mean);
            }
        }
        self.after(options.length.mul_f64(0.75), Event::Script(Script::RemoveFaults));
        if options.shutdown {
            let at = options.length.mul_f64(0.76 + 0.2 * self.rng.f64());
            self.after(at, Event::Script(Script::Shutdown));
        }
    }

    fn schedule(&mut self, script: Script, mean: Duration) {
        let wait = mean.mul_f64(-(1.0 - self.rng.f64()).ln());
        self.after(wait, Event::Script(script));
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Queued { at, order: self.order, event }));
    }

    fn handle_event(&mut self, event: Event) -> RuleResult {
        match event {
            Event::ToServer { from, bytes, intact } => {
                let wire = wire::read(&bytes);
                if intact {
                    self.note_arrival(from, &wire);
                }
                // Only a STUN request is certainly authentic when it arrives unchanged.
                let authentic = intact && wire == Wire::Stun { request: true };
                self.datagram(from, &bytes, authentic).map(drop)
            }
            Event::ToViewer { viewer, bytes } => {
                let now = self.now;
                let user = &mut self.users[viewer];
                if let Some(viewer) = user.viewer.as_mut().filter(|_| !user.powered_off) {
                    viewer.handle_datagram(now, SERVER.parse().unwrap(), &bytes);
                }
                Ok(())
            }
            Event::HttpBytes { connection, bytes } if self.is_open(connection) => {
                self.input(Input::Received(connection, &bytes))
            }
            Event::HttpFlushed(connection) if self.is_open(connection) => {
                self.input(Input::Flushed(connection))
            }
            Event::HttpHalfClosed(connection) if self.is_open(connection) => {
                self.input(Input::HalfClosed(connection))
            }
            Event::HttpCut(connection) if self.is_open(connection) => {
                self.tally.fault(Fault::HttpCut);
                self.set_closed(connection)?;
                self.input(Input::Disconnected(connection))
            }
            Event::HttpBytes { .. }
            | Event::HttpFlushed(_)
            | Event::HttpHalfClosed(_)
            | Event::HttpCut(_) => Ok(()),
            Event::Join(user) => self.join(user),
            Event::PageCheck(user) => self.check_page(user),
            Event::Script(script) => self.apply_script(script),
        }
    }

    fn apply_script(&mut self, script: Script) -> RuleResult {
        let options = self.options.clone();
        let mut user = self.rng.usize(..self.users.len());
        if self.options.healthy && user == HEALTHY {
            user = self.users.len() - 1;
        }
        let mean = match script {
            Script::RemoveFaults => return self.remove_faults(),
            Script::Shutdown => return self.shutdown(),
            _ if self.faults_removed => return Ok(()),
            Script::LinkDown => {
                let seconds = [0.1, 0.5, 2.0, 4.5, 8.0, 30.0][self.rng.usize(..6)];
                let until = self.now + Duration::from_secs_f64(seconds);
                self.users[user].up.conditions.down_until = Some(until);
                if self.rng.bool() {
                    self.users[user].down.conditions.down_until = Some(until);
                }
                options.link_down
            }
            Script::PortChange => {
                self.change_address(user);
                options.port_change
            }
            Script::Vanish => {
                if self.users[user].viewer.is_some() {
                    self.tally.fault(Fault::Vanished);
                    self.users[user].powered_off = true;
                    let back = Duration::from_secs(self.rng.u64(11..20));
                    self.after(back, Event::Join(user));
                }
                options.vanish
            }
            Script::Leave => {
                self.leave(user);
                let back = Duration::from_secs(self.rng.u64(1..10));
                self.after(back, Event::Join(user));
                options.leave
            }
            Script::Restart => {
                self.tally.fault(Fault::Restarted);
                let sends_close_notify = self.rng.bool();
                // Some users reload several times.
                for _ in 0..[1, 1, 1, 3][self.rng.usize(..4)] {
                    if sends_close_notify {
                        self.leave(user);
                    }
                    self.users[user].viewer = None;
                    self.join(user)?;
                }
                options.restart
            }
            Script::SendFailure => {
                let ms = self.rng.u64(1..300);
                self.sends_fail_until = Some(self.now + Duration::from_millis(ms));
                options.send_failure
            }
            Script::Forgery => {
                self.send_forged_datagram(user)?;
                options.forgery
            }
            Script::PliStorm => {
                self.tally.fault(Fault::PliStorm);
                self.users[user].pli_storm_until = Some(self.now + Duration::from_secs(3));
                options.pli_storm
            }
            Script::BadHttp => {
                self.send_malformed_request()?;
                options.bad_http
            }
            Script::SourceStall => {
                self.tally.fault(Fault::SourceStalled);
                let until = self.now + Duration::from_millis(self.rng.u64(50..3_000));
                // The source either delivers nothing, or ignores requests for key frames.
                if self.rng.bool() {
                    self.stalled_until = Some(until);
                } else {
                    self.keyframe_requests_ignored_until = Some(until);
                }
                options.source_stall
            }
            Script::SourceHuge => {
                self.huge_frame = true;
                options.source_huge
            }
            Script::Suspend => {
                let seconds = [1, 3, 8, 60, 3_600][self.rng.usize(..5)];
                self.suspend_for(Duration::from_secs(seconds))?;
                options.suspend
            }
            Script::Addresses => {
                self.tally.fault(Fault::HostAddresses);
                let mut addresses: Vec<SocketAddr> = vec![SERVER.parse().unwrap()];
                if self.rng.bool() {
                    addresses.push("10.0.1.254:8080".parse().unwrap());
                }
                self.input(Input::Addresses(&addresses))?;
                options.addresses
            }
        };
        if let Some(mean) = mean {
            self.schedule(script, mean);
        }
        Ok(())
    }

    /// The host is suspended: everything that falls due meanwhile is handled late, all at once.
    fn suspend_for(&mut self, shift: Duration) -> RuleResult {
        self.tally.fault(Fault::HostSuspended);
        let until = self.now + shift;
        // Scheduled faults, joins and page checks, and the end of the run, are put off by the same
        // time.
        let queue = std::mem::take(&mut self.queue);
        self.queue = queue
            .into_iter()
            .map(|Reverse(mut queued)| {
                if matches!(queued.event, Event::Script(_) | Event::Join(_) | Event::PageCheck(_)) {
                    queued.at += shift;
                }
                Reverse(queued)
            })
            .collect();
        self.start += shift;
        self.suspended_until = Some(until);
        self.rules.suspended(shift);
        self.now = until;
        self.stalled_until = Some(until + Duration::from_millis(1));
        // After a suspension a driver's first input is a timeout.
        self.input(Input::Timeout)
    }

    /// The process is killed and started again: its connections are lost, and it has no viewers.
    fn restart_server(&mut self) -> RuleResult {
        self.server = Server::new(config(&self.options, &mut self.rng), self.now);
        self.deadline = None;
        self.rules = Rules::new(self.options.frames_per_second);
        let open = self.connections.values_mut().filter(|connection| !connection.closed);
        open.for_each(|connection| connection.closed = true);
        Ok(())
    }

    fn remove_faults(&mut self) -> RuleResult {
        self.faults_removed = true;
        self.faults_removed_at = Some(self.now);
        self.sends_fail_until = self.sends_fail_until.map(|until| until.min(self.now));
        self.stalled_until = None;
        self.keyframe_requests_ignored_until = None;
        for user in &mut self.users {
            for link in [&mut user.up, &mut user.down] {
                *link = Link::new(Conditions::perfect(GOOD_DELAY));
            }
            user.pli_storm_until = None;
        }
        Ok(())
    }

    fn shutdown(&mut self) -> RuleResult {
        let opening = |user: &User| {
            user.viewer.as_ref().is_some_and(|viewer| viewer.is_answered() && !viewer.connected)
        };
        if self.users.iter().any(opening) {
            self.tally.happened(Happening::ShutdownInHandshake);
        }
        self.input(Input::Shutdown)?;
        self.shut_down = true;
        rule!(self.server.viewers() == 0, "L5: viewers are left after the shutdown");
        Ok(())
    }

    /// All viewers leave; the server must have no viewers, connections or timers left.
    fn leave_all(&mut self) -> RuleResult {
        self.leaving = true;
        for user in 0..self.users.len() {
            self.leave(user);
        }
        self.advance(Duration::from_secs(30))?;
        rule!(self.server.viewers() == 0, "L5: viewers are left after all have gone");
        rule!(self.server.connections() == 0, "L5: connections are left after all have gone");
        rule!(self.deadline.is_none(), "L5: a timer is left");
        let open = self.connections.values().filter(|connection| !connection.closed).count();
        rule!(open == 0, "S12: {open} connections were never closed");
        Ok(())
    }
}

/// The simulated users.
impl Run {
    fn join(&mut self, index: usize) -> RuleResult {
        let watches = self.users[index].viewer.is_some() && !self.users[index].powered_off;
        if self.leaving || watches {
            return Ok(());
        }
        let user = &mut self.users[index];
        user.powered_off = false;
        user.offers += 1;
        if user.offers > 1 {
            self.tally.happened(Happening::SecondOffer);
        }
        let port = 5_000 + user.offers as u16;
        let address = SocketAddr::from(([10, 1, index as u8, 1], port));
        let is_vp8 = self.options.vp8.is_some_and(|every| index.is_multiple_of(every));
        let codec = if is_vp8 { Codec::Vp8 } else { Codec::H264 };
        let (viewer, sdp) = Viewer::new(address, codec, self.options.check_interval, self.now);
        user.viewer = Some(viewer);
        let body = serde_json::json!({"type": "offer", "sdp": sdp}).to_string();
        let request = format!(
            "POST /offer HTTP/1.1\r\nHost: camera\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let fault = if self.faults_removed || self.options.bad_http.is_none() {
            HttpFault::None
        } else {
            HttpFault::draw(&mut self.rng)
        };
        self.connect(Some(index), address, request.into_bytes(), false, fault)
    }

    /// Sends a request on a new connection.
    fn connect(
        &mut self,
        user: Option<usize>,
        from: SocketAddr,
        request: Vec<u8>,
        ends: bool,
        fault: HttpFault,
    ) -> RuleResult {
        let id = ConnId(self.next_connection);
        self.next_connection += 1;
        let pipelined = usize::from(fault == HttpFault::Pipelined && !ends);
        let connection = Connection { user, closed: false, requests: 1 + pipelined, responses: 0 };
        self.connections.insert(id, connection);
        if let Some(index) = user {
            self.users[index].browser = Browser::new(id);
        }
        self.input(Input::Connected(id, from))?;
        let (pieces, cut) = fault.split_request(request, &mut self.rng, &mut self.tally);
        let mut at = self.now;
        for piece in pieces {
            at += Duration::from_micros(self.rng.u64(100..20_000));
            self.at(at, Event::HttpBytes { connection: id, bytes: piece });
        }
        let end = at + Duration::from_millis(self.rng.u64(100..3_000));
        let last = if cut { Event::HttpCut(id) } else { Event::HttpHalfClosed(id) };
        self.at(end, last);
        Ok(())
    }

    /// A page whose viewer was closed or has had no picture for [`RECONNECTS_AFTER`] reconnects.
    fn check_page(&mut self, index: usize) -> RuleResult {
        if self.leaving {
            return Ok(());
        }
        self.after(PAGE_CHECK_INTERVAL, Event::PageCheck(index));
        let user = &self.users[index];
        let Some(viewer) = user.viewer.as_ref().filter(|_| !user.powered_off) else {
            return Ok(());
        };
        let seen = viewer.decoded.last().copied().or(viewer.answered).unwrap_or(viewer.created_at);
        if viewer.closed || self.now - seen > RECONNECTS_AFTER {
            let recovered =
                self.faults_removed_at.is_some_and(|at| self.now - at > RECOVERS_WITHIN);
            let known = self.server.viewer_at(viewer.mapped);
            let excused = !recovered || self.shut_down || viewer.closed;
            rule!(
                excused || known.is_none(),
                "L3: user {index} reconnects, and the server has {known:?}"
            );
            self.leave(index);
            self.join(index)?;
        }
        Ok(())
    }

    fn leave(&mut self, index: usize) {
        let now = self.now;
        let user = &mut self.users[index];
        if let Some(viewer) = user.viewer.as_mut().filter(|_| !user.powered_off) {
            viewer.close(now);
        }
        self.send_from(index);
        self.users[index].viewer = None;
    }

    /// A NAT binding expires, or a phone changes networks.
    fn change_address(&mut self, index: usize) {
        let user = &mut self.users[index];
        if let Some(viewer) = &mut user.viewer {
            let port = viewer.mapped.port().wrapping_add(1_000);
            let other_network = self.rng.bool();
            let network = if other_network { 2 } else { 1 };
            self.tally.fault(if other_network {
                Fault::AddressChanged
            } else {
                Fault::PortChanged
            });
            viewer.mapped = SocketAddr::from(([10, network, index as u8, 1], port));
        }
    }

    fn send_from(&mut self, index: usize) {
        let now = self.now;
        let user = &mut self.users[index];
        let Some(viewer) = &mut user.viewer else { return };
        let (from, outgoing) = (viewer.mapped, std::mem::take(&mut viewer.outgoing));
        if user.powered_off {
            return;
        }
        let mut arrivals = Vec::new();
        for transmit in outgoing {
            let bytes = transmit.contents.to_vec();
            arrivals.extend(user.up.send(now, bytes, &mut self.rng, &mut self.tally));
        }
        for Arrival { at, bytes, intact } in arrivals {
            self.at(at, Event::ToServer { from, bytes, intact });
        }
    }

    fn is_open(&self, id: ConnId) -> bool {
        self.connections.get(&id).is_some_and(|connection| !connection.closed)
    }

    fn set_closed(&mut self, id: ConnId) -> RuleResult {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Err(format!("S12: {id:?} was never accepted"));
        };
        rule!(!connection.closed, "S12: {id:?} is closed twice");
        connection.closed = true;
        Ok(())
    }
}

/// Forged datagrams and malformed requests.
impl Run {
    fn send_forged_datagram(&mut self, index: usize) -> RuleResult {
        let stranger = SocketAddr::from(([10, 9, 9, self.rng.u8(..)], 9));
        let victim = self.users[index].viewer.as_ref().map(|viewer| viewer.mapped);
        let (from, fault) = match victim.filter(|_| self.rng.bool()) {
            Some(victim) => (victim, None),
            None => (stranger, Some(Fault::Stranger)),
        };
        let mut bytes = vec![0; self.rng.usize(1..1_400)];
        self.rng.fill(&mut bytes);
        if let Some(check) = self.forged_check(index).filter(|_| self.rng.u8(..4) == 0) {
            bytes = check;
        }
        let (kind, first): (Fault, &[u8]) = match self.rng.u8(..4) {
            0 => (Fault::ForgedStun, &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]),
            1 => (Fault::ForgedDtls, &[22, 254, 253]),
            2 => (Fault::ForgedRtp, &[0x80, 108]),
            _ => (Fault::ForgedRtcp, &[0x81, 206, 0, 2]),
        };
        if bytes.starts_with(BINDING_REQUEST_START) {
            self.tally.fault(Fault::ForgedStun);
        } else {
            let prefix = first.len().min(bytes.len());
            bytes[..prefix].copy_from_slice(&first[..prefix]);
            self.tally.fault(kind);
        }
        if let Some(fault) = fault {
            self.tally.fault(fault);
        }
        // First handle what is due anyway, so that it is not taken for an effect of the datagram.
        self.input(Input::Timeout)?;
        let before = (self.server.viewers(), self.server.viewer_at(from));
        let sent = self.datagram(from, &bytes, false)?;
        let after = (self.server.viewers(), self.server.viewer_at(from));
        rule!(before == after, "S6: a forged datagram changed {before:?} to {after:?}");
        rule!(
            sent == 0 || victim == Some(from),
            "S5: a datagram from an unknown address was answered"
        );
        Ok(())
    }

    /// A connectivity check with the USERNAME of another viewer, which is not secret, and a wrong
    /// password.
    fn forged_check(&mut self, victim: usize) -> Option<Vec<u8>> {
        let others = self.users.iter().enumerate().filter(|(index, _)| *index != victim);
        let mut usernames = others.filter_map(|(_, user)| user.viewer.as_ref()?.username.clone());
        let username = usernames.next()?;
        let check = StunMessage::binding_request(&username, TransId::new(), true, 1, 1, true);
        let crypto = str0m::crypto::from_feature_flags();
        let hmac = |key: &[u8], parts: &[&[u8]]| crypto.sha1_hmac_provider.sha1_hmac(key, parts);
        let mut bytes = vec![0; 512];
        let length = check.to_bytes(Some(b"a guess"), &mut bytes, hmac).ok()?;
        bytes.truncate(length);
        Some(bytes)
    }

    fn send_malformed_request(&mut self) -> RuleResult {
        let from = SocketAddr::from(([10, 8, 0, self.rng.u8(..4)], 1_000));
        let (request, ends) = crate::browser::malformed_request(&mut self.rng, &mut self.tally);
        let fault = HttpFault::draw(&mut self.rng);
        self.connect(None, from, request, ends, fault)
    }
}

/// The server's inputs and outputs.
impl Run {
    /// A datagram arrives. Returns how many datagrams the server sends.
    fn datagram(
        &mut self,
        from: SocketAddr,
        bytes: &[u8],
        authentic: bool,
    ) -> Result<usize, String> {
        let destination = SERVER.parse().unwrap();
        self.authentic = authentic;
        self.rules.note_datagram(self.server.viewer_at(from), authentic, self.now);
        self.input_counting(Input::Datagram { source: from, destination, contents: bytes })
    }

    /// Records what follows from an unchanged datagram, before the server handles it.
    fn note_arrival(&mut self, from: SocketAddr, wire: &Wire) {
        let now = self.now;
        let viewer = self.server.viewer_at(from);
        let states: BTreeMap<_, _> = self.server.viewer_states().collect();
        let is = |wanted| viewer.filter(|viewer| states.get(viewer) == Some(&wanted));
        match wire {
            Wire::Stun { request: true } => {
                let moved = |viewer: &Viewer| viewer.connected && viewer.mapped == from;
                let known = self.users.iter().filter_map(|p| p.viewer.as_ref()).any(moved);
                if !self.rules.is_verified(from) && known {
                    self.tally.happened(Happening::AddressChange);
                }
                self.rules.note_verified(from);
            }
            Wire::Rtcp { pli, ssrc, index } => {
                let is_new = self.rules.is_new_srtcp_packet(*ssrc, *index);
                if let (Some(stream), Some(viewer), true) = (*pli, is("live"), is_new) {
                    self.rules.keyframe_requested(viewer, stream, now, &mut self.tally);
                }
            }
            Wire::Dtls { handshake: Some(FINISHED) } => {
                if let Some(viewer) = is("half-open") {
                    self.rules.connected(viewer, now);
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

    fn input(&mut self, input: Input) -> RuleResult {
        self.input_counting(input).map(drop)
    }

    /// Gives the server an input and handles all its outputs. Returns how many datagrams it sent.
    fn input_counting(&mut self, input: Input) -> Result<usize, String> {
        self.add_to_trace(&format!("{:?}", std::mem::discriminant(&input)));
        if self.verbose {
            let text = format!("{input:?}");
            println!("{:>12?} in  {}", self.now - self.start, &text[..text.len().min(160)]);
        }
        let source = match &input {
            Input::Datagram { source, .. } => Some(*source),
            _ => None,
        };
        self.server.handle_input(self.now, input);
        // This datagram may be the one that made its source address a viewer's.
        let viewer = source.and_then(|from| self.server.viewer_at(from));
        self.rules.note_datagram(viewer, self.authentic, self.now);
        let mut sent = 0;
        let mut capture = None;
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
                    self.after_drain(capture, failed)?;
                    return Ok(sent);
                }
                Output::Transmit(transmit) => {
                    sent += 1;
                    let to = transmit.destination;
                    let fails = self.sends_fail_until.is_some_and(|until| self.now < until);
                    self.transmit(to, transmit.contents, fails)?;
                    if fails {
                        failed.push(to);
                    }
                }
                Output::Send(id, bytes) => self.respond(id, &bytes)?,
                Output::Finish(_) => {}
                Output::Close(id) => self.set_closed(id)?,
                Output::ForceKeyframe(codec) => {
                    self.keyframe_forced |= codec == Codec::H264;
                    self.rules.forced_keyframe(codec, self.now)?;
                }
                Output::Capture(codecs) => {
                    rule!(capture.is_none(), "S11: two captures in one drain");
                    rule!(codecs.is_sorted_by(|a, b| a < b), "S11: a codec twice");
                    capture = Some(codecs);
                }
            }
        }
        Err("S10: the outputs do not end".into())
    }

    fn after_drain(&mut self, capture: Option<Vec<Codec>>, failed: Vec<SocketAddr>) -> RuleResult {
        for destination in failed {
            self.tally.fault(Fault::SendFailed);
            self.tally.happened(Happening::FailedSend);
            self.input(Input::TransmitFailed { destination })?;
        }
        if let Some(codecs) = capture {
            self.rules.captured(self.now, self.server.viewers())?;
            if self.stalled_until.is_none_or(|until| self.now > until) {
                self.deliver_picture(&codecs)?;
            } else if self.options.reports_stall {
                self.input(Input::CaptureFailed)?;
            }
        }
        Ok(())
    }

    fn deliver_picture(&mut self, codecs: &[Codec]) -> RuleResult {
        self.frames += 1;
        let huge = std::mem::take(&mut self.huge_frame);
        if huge {
            self.tally.fault(Fault::SourceHuge);
        }
        if codecs.len() > 1 {
            self.tally.happened(Happening::TwoCodecs);
        }
        for codec in codecs {
            let (frame, bytes) = match codec {
                Codec::H264 => self.h264_frame(huge),
                Codec::Vp8 => self.vp8_frame(huge),
            };
            self.rules.source_delivered(frame);
            self.input(Input::Frame(bytes))?;
        }
        self.check_healthy_viewer()
    }

    fn sent_frame(&self, codec: Codec, keyframe: bool) -> SentFrame {
        SentFrame { codec, number: self.frames, keyframe, captured: self.now }
    }

    fn h264_frame(&mut self, huge: bool) -> (SentFrame, Frame) {
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
        data.extend_from_slice(&[0, 0, 0, 1, if keyframe { 0x65 } else { 0x41 }]);
        data.extend_from_slice(&number);
        data.resize(data.len() + bytes, 0x9a);
        (self.sent_frame(Codec::H264, keyframe), Frame::h264(data, self.now))
    }

    /// The VP8 source makes key frames only.
    fn vp8_frame(&self, huge: bool) -> (SentFrame, Frame) {
        let bytes = if huge { HUGE_FRAME_BYTES } else { self.options.keyframe_bytes };
        let mut data = [&wire::VP8_HEADER[..], &wire::number_bytes(self.frames)].concat();
        data.resize(data.len() + bytes, 0x9a);
        (self.sent_frame(Codec::Vp8, true), Frame::vp8(data, self.now))
    }

    /// The viewer on a good network must be sent every frame, whatever faults the others have.
    fn check_healthy_viewer(&mut self) -> RuleResult {
        let past = |until: Option<Instant>, wait| until.is_none_or(|until| self.now > until + wait);
        // The key frame after a failed send may have to wait for the rate limit.
        let fine = past(self.sends_fail_until, PICTURE_WITHIN)
            && past(self.keyframe_requests_ignored_until, PICTURE_WITHIN)
            && past(self.suspended_until, RECOVERS_WITHIN);
        let Some(viewer) = self.users[HEALTHY].viewer.as_ref().filter(|_| fine) else {
            return Ok(());
        };
        let settled = viewer.decoded.first().is_some_and(|at| *at + PICTURE_WITHIN < self.now);
        let id = self.server.viewer_at(viewer.mapped);
        if let Some(id) = id.filter(|_| self.options.healthy && settled && !viewer.closed) {
            let last = self.rules.last_frame(id);
            rule!(last == Some(self.frames), "L6: {id} had frame {last:?}, not {}", self.frames);
        }
        Ok(())
    }

    fn transmit(&mut self, to: SocketAddr, bytes: Vec<u8>, fails: bool) -> RuleResult {
        let wire = wire::read(&bytes);
        self.add_to_trace(&format!("{to} {} {wire:?}", bytes.len()));
        rule!(bytes.len() + 48 <= 1_280, "{} bytes do not fit IPv6's smallest MTU", bytes.len());
        let viewer = self.server.viewer_at(to);
        let now = self.now;
        self.rules.transmitted(now, to, viewer, &wire, fails, &mut self.tally)?;
        if fails {
            return Ok(());
        }
        let now = self.now;
        let index = self
            .users
            .iter()
            .position(|user| user.viewer.as_ref().is_some_and(|viewer| viewer.mapped == to));
        let Some(index) = index else { return Ok(()) };
        let link = &mut self.users[index].down;
        let arrivals = link.send(now, bytes, &mut self.rng, &mut self.tally);
        for Arrival { at, bytes, .. } in arrivals {
            self.at(at, Event::ToViewer { viewer: index, bytes });
        }
        Ok(())
    }

    fn respond(&mut self, id: ConnId, bytes: &[u8]) -> RuleResult {
        self.add_to_trace(&format!("{id:?} {}", bytes.len()));
        rule!(self.is_open(id), "S9: {id:?} is answered and is closed");
        if let Some(connection) = self.connections.get_mut(&id) {
            let begins = bytes.starts_with(b"HTTP/1.1 ") && !bytes.starts_with(b"HTTP/1.1 100");
            connection.responses += usize::from(begins);
            let (responses, requests) = (connection.responses, connection.requests);
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
                self.tally.refused(&reason);
                user.viewer = None;
                let wait = Duration::from_millis(self.rng.u64(500..3_000));
                self.after(wait, Event::Join(index));
            }
        }
        Ok(())
    }

    /// Adds an event to the trace, which is a hash of all inputs and outputs and their times.
    fn add_to_trace(&mut self, text: &str) {
        let micros = (self.now - self.start).as_micros() as u64;
        for byte in text.bytes().chain(micros.to_be_bytes()) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
