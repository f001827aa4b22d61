//! One run: a server, its viewers and the network between them, in virtual time. This is a second
//! driver of the same core.

mod camera;
mod forged;
mod publish;
pub mod scenarios;
mod script;
mod server;
mod source;
mod users;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ballcast::testing::media::{Appearance, Codec};
use ballcast::testing::publish::TargetId;
use ballcast::testing::server::limits::admission::Limits;
use ballcast::testing::server::{Config, ConnId, Input, Server};
use ballcast::testing::source::SourceKind;
use ballcast::testing::web::access::AccessPolicy;
use fastrand::Rng;
use is::stun::TransId;

use self::camera::Camera;
use self::publish::Publishing;
use self::source::Pending;
use crate::browser::{Browser, HttpFault};
use crate::link::{Conditions, Link};
use crate::media_server::MediaServer;
use crate::options::Options;
use crate::rules::source::SourceRules;
use crate::rules::{RuleResult, Rules, rule};
use crate::source::{FarEnd, Format, SourceOptions, Step};
use crate::tally::Tally;
use crate::viewer::Viewer;

/// The user on a good network, in the runs that have one.
const HEALTHY: usize = 0;
const GOOD_DELAY: Duration = Duration::from_millis(10);
const PAGE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// On a good network, from the offer to the picture, including refusals and retries.
const PICTURE_WITHIN: Duration = Duration::from_secs(2);
/// This long after the faults were removed, no page may reconnect while the server still has its
/// viewer.
const RECOVERS_WITHIN: Duration = Duration::from_secs(6);
/// The numbers of frames that are encoded for a stream: above those of the frames that come with it.
const FIRST_ENCODED: u64 = 1 << 27;
/// More steps than this without progress of time are taken for an endless loop.
const MAX_STEPS_AT_ONE_INSTANT: usize = 20_000;

/// An entry of the event queue.
#[derive(Debug)]
enum Event {
    ToServer {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
        intact: bool,
    },
    ToViewer {
        viewer: usize,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    HttpBytes {
        connection: ConnId,
        bytes: Vec<u8>,
    },
    HttpFlushed(ConnId),
    /// The source has made the JPEG file that it was asked for, or has no picture.
    SnapshotMade(Option<usize>),
    HttpHalfClosed(ConnId),
    HttpCut(ConnId),
    Join(usize),
    /// The page checks whether it shows a picture, and reconnects if not.
    PageCheck(usize),
    /// Something happens at the far end of the stream from outside.
    FarEnd(Step),
    /// Something happens to the connection to a media server.
    Publish {
        id: TargetId,
        connection: u64,
        step: publish::Step,
    },
    ToMediaServer {
        index: usize,
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// What is said about the media servers is looked at.
    Inspect,
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
    Insider,
    RemoveFaults,
    Shutdown,
    /// The driver waits no longer after the shutdown.
    LastWords,
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
    /// It attacks with the credentials of its viewer, whose picture is its own affair.
    hostile: bool,
    /// The transaction of the server's last check of it, and where that came from.
    last_check: Option<(TransId, SocketAddr)>,
}

/// An accepted HTTP connection.
struct Connection {
    user: Option<usize>,
    closed: bool,
    /// The number of requests sent, up to the first that ends the connection.
    requests: usize,
    responses: usize,
    /// The bytes of it that have taken no step of work yet.
    bytes: u64,
    /// What has come while the server reads nothing of it, if that is so now.
    paused: Option<Vec<Event>>,
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
    /// Those with a response to the input that is being handled.
    answered: BTreeSet<ConnId>,
    next_connection: u64,
    rules: Rules,
    pub tally: Tally,
    trace: u64,
    verbose: bool,
    /// The number of the last frame that was encoded.
    frames: u64,
    last_encoded: BTreeMap<Codec, u64>,
    last_shown_at: Option<Instant>,
    /// The number of the last frame that came with the stream from outside.
    last_written: Option<u64>,
    far_end: Option<FarEnd>,
    camera: Option<Camera>,
    publishing: Vec<Publishing>,
    inspections: u64,
    /// What the server wants of the stream, and is not done yet.
    pending: VecDeque<Pending>,
    is_serving: bool,
    keyframe_forced: bool,
    huge_frame: bool,
    stalled_until: Option<Instant>,
    keyframe_requests_ignored_until: Option<Instant>,
    sends_fail_until: Option<Instant>,
    faults_removed: bool,
    faults_removed_at: Option<Instant>,
    suspended_until: Option<Instant>,
    /// Those of the server at the moment.
    addresses: Vec<SocketAddr>,
    addresses_changed_at: Option<Instant>,
    /// The datagram that is being handled is authentic: unchanged from what a viewer sent.
    authentic: bool,
    shut_down: bool,
    leaving: bool,
    /// Addresses that have sent a ClientHello.
    client_hellos: BTreeSet<SocketAddr>,
    steps_at_this_instant: usize,
    last_step_at: Instant,
}

fn new_rules(options: &Options, now: Instant) -> Rules {
    let of_source = options.source.as_ref();
    let of_stream = |it: &SourceOptions| SourceRules::new(it.kind, it.format == Format::H264);
    let of_camera = || SourceRules::new(SourceKind::Camera, false);
    let of_camera = options.camera.as_ref().map(|_| of_camera());
    let of_source = of_source.map(of_stream).or(of_camera);
    Rules::new(options.frames_per_second, of_source, now)
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
        connections_per_address: options.connections / 2,
        offers_per_second: options.offers_per_second,
        ..Limits::default()
    };
    let mut entropy = [0; 32];
    rng.fill(&mut entropy);
    Config {
        entropy,
        crypto: crate::crypto::provider(),
        certificate: crate::crypto::certificate(options.seed),
        addresses: options.server_addresses.clone(),
        access: AccessPolicy { names: vec!["camera".into()], ..AccessPolicy::default() },
        announced: Vec::new(),
        targets: options.targets.iter().map(MediaServer::target).collect(),
        stale_sessions: options.targets.iter().filter_map(MediaServer::left_session).collect(),
        token: None,
        limits,
        frames_per_second: options.frames_per_second,
        bitrate: None,
        source: options.source_config(),
        appearance: Appearance::default(),
        when_watched: options.camera.as_ref().is_some_and(|it| it.when_watched),
        stamped: false,
        title: None,
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
                hostile: false,
                last_check: None,
            })
            .collect();
        let rules = new_rules(&options, now);
        let targets = options.targets.iter();
        let publishing = targets.map(|it| Publishing::new(it, options.seed, now)).collect();
        let far_end = options.source.as_ref().map(|source| FarEnd::new(source, options.seed));
        let camera = options.camera.as_ref().map(|it| Camera::new(it, options.seed, now));
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
            answered: BTreeSet::new(),
            next_connection: 1,
            rules,
            tally: Tally::default(),
            trace: 0xcbf2_9ce4_8422_2325,
            verbose,
            frames: if options.has_source() { FIRST_ENCODED } else { 0 },
            last_encoded: BTreeMap::new(),
            last_shown_at: None,
            last_written: None,
            far_end,
            camera,
            publishing,
            inspections: 0,
            pending: VecDeque::new(),
            is_serving: false,
            keyframe_forced: false,
            huge_frame: false,
            stalled_until: None,
            keyframe_requests_ignored_until: None,
            sends_fail_until: None,
            faults_removed: false,
            faults_removed_at: None,
            suspended_until: None,
            addresses: options.server_addresses.clone(),
            addresses_changed_at: None,
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
        let Some(gap) = self.longest_gap() else { return Ok(()) };
        self.check_stream_is_seen()?;
        for (index, user) in self.honest_users() {
            let settled = |viewer: &&Viewer| viewer.created_at + PICTURE_WITHIN < self.now;
            let Some(viewer) = user.viewer.as_ref().filter(settled) else { continue };
            if self.may_wait(viewer.codec) {
                continue;
            }
            let last = viewer.decoded.last().copied();
            let fresh = last.is_some_and(|last| last + gap + Duration::from_millis(100) > self.now);
            let since = last.map(|last| self.now - last);
            rule!(fresh, "L3: user {index} has had no picture for {since:?}");
        }
        Ok(())
    }

    /// From one picture to the next on a good network, where there is any, with a frame lost.
    fn longest_gap(&self) -> Option<Duration> {
        let period = match &self.options.source {
            _ if self.options.has_source() && self.shows_words() => Duration::from_millis(500),
            None if self.camera.is_some() => camera::PERIOD,
            None => Duration::from_secs(1) / self.options.frames_per_second,
            Some(source) => Duration::from_secs(1) / source.frames_per_second,
        };
        Some(period * 2)
    }

    fn next_event_at(&self) -> Option<Instant> {
        let viewers = self.users.iter().filter(|user| !user.powered_off);
        let viewers = viewers.filter_map(|user| Some(user.viewer.as_ref()?.poll_timeout()));
        let queued = self.queue.peek().map(|Reverse(queued)| queued.at);
        let media_servers = self.next_media_server_event();
        let camera = self.next_camera_event();
        viewers.chain(queued).chain(media_servers).chain(camera).chain(self.deadline).min()
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
        self.step_media_servers();
        self.step_camera()?;
        let excused = self.stalled_until.is_some_and(|until| self.now <= until)
            || self.sends_fail_until.is_some_and(|until| self.now <= until)
            || self.keyframe_requests_ignored_until.is_some_and(|until| self.now <= until)
            || self.shut_down;
        self.check_source_time_limits()?;
        let states = self.server.viewer_states().collect();
        self.rules.check_time_limits(self.now, excused, &states)?;
        crate::log::errors().map_or(Ok(()), Err)
    }
}
