//! Whole scenarios in virtual time: the input determines connections, viewers, frames, failures and
//! their order.
//!
//! `World` asserts after each server input what must always hold. In the end all clients are gone,
//! and the server must have no viewers, connections or timers left.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use arbitrary::{Arbitrary, Unstructured};
use ballcast::testing::media::{AccessUnit, Codec, Frame, SnapshotError};
use ballcast::testing::server::limits::admission::Limits;
use ballcast::testing::server::{ConnId, Input};
use str0m::media::KeyframeRequestKind;

use crate::Outcomes;
use crate::support::crypto;
use crate::support::world::World;

/// More than this add time, not coverage.
const MAX_STEPS: usize = 64;
const MAX_VIEWERS: usize = 5;
/// After this many captures `Wait` steps are skipped.
const MAX_CAPTURES: u64 = 300;
/// More than the longest timeout of the server.
const ALL_FREED_AFTER: Duration = Duration::from_secs(60);

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Wait {
        ms: u16,
    },
    Sleep {
        minutes: u8,
    },
    Connect {
        from: u8,
    },
    Send {
        connection: u8,
        request: Request<'a>,
    },
    Flush {
        connection: u8,
    },
    HalfClose {
        connection: u8,
    },
    Disconnect {
        connection: u8,
    },
    Join,
    Rejoin {
        viewer: u8,
    },
    HalfOpen {
        from: u8,
    },
    Leave {
        viewer: u8,
    },
    PowerOff {
        viewer: u8,
    },
    PowerOn {
        viewer: u8,
    },
    Move {
        viewer: u8,
        to: u8,
    },
    RequestKeyframe {
        viewer: u8,
        fir: bool,
    },
    Tamper {
        viewer: u8,
        tampering: Tampering,
    },
    Datagram {
        from: u8,
        contents: &'a [u8],
    },
    Frame {
        bytes: u16,
        kind: FrameKind,
    },
    SendsFail(bool),
    SourceIsDeaf(bool),
    Addresses {
        count: u8,
    },
    WallClock {
        seconds: u32,
    },
    SourceFails(bool),
    /// What becomes of the next wishes for a JPEG file.
    Snapshots {
        of: SnapshotKind,
    },
    /// An answer to such a wish, which may not have been made.
    Snapshot {
        width: u8,
        fails: bool,
    },
    Shutdown,
}

#[derive(Arbitrary, Debug)]
enum SnapshotKind {
    Made,
    Late,
    Failed,
}

#[derive(Arbitrary, Debug)]
enum Request<'a> {
    Page,
    Stats,
    Options,
    Pipelined,
    Snapshot { width: u8 },
    Stream,
    Head { length: u16 },
    Bytes(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Tampering {
    Drop,
    Duplicate,
    Reverse,
    Change { at: u16, xor: u8 },
    Cut { at: u16 },
}

#[derive(Arbitrary, Debug)]
enum FrameKind {
    Key,
    Delta,
    Empty,
    NoStartCode,
}

pub fn run(data: &[u8]) -> Outcomes {
    crypto::accept_master_tag(false);
    fastrand::seed(1);
    let mut input = Unstructured::new(data);
    let limits = Limits {
        viewers: 1 + usize::from(u8::arbitrary(&mut input).unwrap_or(7)) % 8,
        half_open: 4,
        connections: 4,
        connections_per_address: 3,
        ..Limits::default()
    };
    let mut scenario = Scenario {
        world: World::with_crypto(limits, crypto::provider()),
        connections: Vec::new(),
        lossy: false,
        outcomes: Outcomes::new(),
    };
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        let Ok(step) = Step::arbitrary(&mut input) else {
            break;
        };
        scenario.apply(&step);
        scenario.check_viewers();
    }
    scenario.end()
}

struct Scenario {
    world: World,
    connections: Vec<ConnId>,
    /// Something that was sent may have been lost.
    lossy: bool,
    outcomes: Outcomes,
}

impl Scenario {
    fn apply(&mut self, step: &Step) {
        let name = format!("{step:?}");
        let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        self.outcomes.insert(name.to_owned());
        self.lossy |= matches!(
            step,
            Step::PowerOff { .. } | Step::Rejoin { .. } | Step::Move { .. } | Step::SendsFail(_)
        );
        match step {
            Step::Wait { ms } => self.advance(Duration::from_millis(u64::from(*ms) % 3_000)),
            Step::Sleep { minutes } => self.suspend(Duration::from_secs(60 * u64::from(*minutes))),
            Step::Connect { from } => {
                let id = self.world.connect(address(*from));
                self.connections.push(id);
            }
            Step::Send { connection, request } => {
                if let Some(id) = self.connection(*connection) {
                    self.world.input(Input::Received(id, &request.bytes()));
                }
            }
            Step::Flush { connection } => self.connection_input(*connection, Input::Flushed),
            Step::HalfClose { connection } => self.connection_input(*connection, Input::HalfClosed),
            Step::Disconnect { connection } => {
                if let Some(id) = self.connection(*connection) {
                    self.connections.retain(|known| *known != id);
                    self.world.input(Input::Disconnected(id));
                }
            }
            Step::Join => self.join(),
            Step::Rejoin { viewer } => {
                if let Some(viewer) = self.viewer(*viewer) {
                    self.world.clients[viewer].powered_off = true;
                    self.join();
                }
            }
            Step::HalfOpen { from } => {
                let (_, sdp) = self.world.offer();
                let body = serde_json::json!({"type": "offer", "sdp": sdp}).to_string();
                let (status, _) = self.world.post_offer(address(*from), &body);
                self.outcomes.insert(format!("half-open {status}"));
            }
            Step::Leave { viewer } => {
                if let Some(viewer) = self.viewer(*viewer) {
                    let now = self.world.now;
                    let member = &mut self.world.clients[viewer];
                    member.client.close(now);
                    self.world.run(Duration::ZERO);
                    self.world.clients[viewer].powered_off = true;
                }
            }
            Step::PowerOff { viewer } => self.power(*viewer, true),
            Step::PowerOn { viewer } => self.power(*viewer, false),
            Step::Move { viewer, to } => {
                if let Some(viewer) = self.viewer(*viewer) {
                    let address =
                        SocketAddr::from(([10, 0, viewer as u8, 1], 5_000 + u16::from(*to)));
                    self.world.clients[viewer].address = address;
                }
            }
            Step::RequestKeyframe { viewer, fir } => {
                let kind = if *fir { KeyframeRequestKind::Fir } else { KeyframeRequestKind::Pli };
                if let Some(viewer) = self.viewer(*viewer) {
                    let now = self.world.now;
                    self.world.clients[viewer].client.request_keyframe(kind, now);
                }
            }
            Step::Tamper { viewer, tampering } => self.tamper(*viewer, tampering),
            Step::Datagram { from, contents } => self.world.input(Input::Datagram {
                source: address(*from),
                destination: "10.0.0.254:8080".parse().unwrap(),
                contents,
            }),
            Step::Frame { bytes, kind } => {
                let frame =
                    Frame::h264(AccessUnit::parse(&kind.data((*bytes).into())), self.world.now);
                self.world.input(Input::Frame(frame));
            }
            Step::SendsFail(fail) => self.world.transmit_fails = *fail,
            Step::SourceIsDeaf(deaf) => self.world.source_ignores_keyframe_requests = *deaf,
            Step::Addresses { count } => {
                let all: Vec<SocketAddr> =
                    (0..count % 9).map(|n| ([10, 0, 0, 254 - n], 8080).into()).collect();
                self.world.input(Input::Addresses(&all));
            }
            Step::WallClock { seconds } => {
                let wall = SystemTime::UNIX_EPOCH + Duration::from_secs((*seconds).into());
                self.world.input(Input::WallClock(wall));
            }
            Step::SourceFails(fails) => self.world.source_fails = *fails,
            Step::Snapshots { of } => {
                self.world.snapshot = match of {
                    SnapshotKind::Made => Some(|_, _| Ok(vec![b'J'; 20_000])),
                    SnapshotKind::Late => None,
                    SnapshotKind::Failed => Some(|_, _| Err(SnapshotError::NoPicture)),
                };
            }
            Step::Snapshot { width, fails } => {
                let made = if *fails { Err(SnapshotError::NoPictures) } else { Ok("J".into()) };
                let (width, cost) = (width_of(*width), Duration::from_millis(5));
                self.world.input(Input::Snapshot { width, made, cost });
            }
            Step::Shutdown => self.world.input(Input::Shutdown),
        }
    }

    fn advance(&mut self, duration: Duration) {
        if self.world.captures < MAX_CAPTURES {
            self.world.run(duration);
        }
    }

    /// The host is suspended: everything that falls due meanwhile is handled late, all at once.
    fn suspend(&mut self, duration: Duration) {
        self.world.now += duration;
        self.world.input(Input::Timeout);
    }

    fn join(&mut self) {
        if self.world.clients.len() >= MAX_VIEWERS {
            return;
        }
        // Every third viewer has no H.264.
        let is_vp8 = self.world.clients.len() % 3 == 2;
        self.world.codec = if is_vp8 { Codec::Vp8 } else { Codec::H264 };
        match self.world.try_join() {
            Ok(_) => self.outcomes.insert("joined".into()),
            Err((status, problem)) => {
                assert!(status == 503 || problem["reason"] == "no-source", "{problem}");
                let reason = problem["reason"].as_str().unwrap_or_default();
                self.outcomes.insert(format!("refused {reason}"))
            }
        };
    }

    fn connection(&self, index: u8) -> Option<ConnId> {
        let open: Vec<ConnId> =
            self.connections.iter().copied().filter(|id| !self.world.is_closed(*id)).collect();
        (!open.is_empty()).then(|| open[usize::from(index) % open.len()])
    }

    fn connection_input(&mut self, connection: u8, input: fn(ConnId) -> Input<'static>) {
        if let Some(id) = self.connection(connection) {
            self.world.input(input(id));
        }
    }

    fn viewer(&self, index: u8) -> Option<usize> {
        let count = self.world.clients.len();
        let viewer = (count > 0).then(|| usize::from(index) % count)?;
        (!self.world.clients[viewer].powered_off).then_some(viewer)
    }

    fn power(&mut self, index: u8, off: bool) {
        let count = self.world.clients.len();
        if count > 0 {
            let member = &mut self.world.clients[usize::from(index) % count];
            member.powered_off = off || member.client.closed;
        }
    }

    /// Changes, repeats, reorders or drops the next datagrams of a viewer.
    fn tamper(&mut self, viewer: u8, tampering: &Tampering) {
        let Some(viewer) = self.viewer(viewer) else {
            return;
        };
        let client = &mut self.world.clients[viewer].client;
        let at = client.poll_timeout().max(self.world.now);
        if at > self.world.now + Duration::from_secs(3) {
            return;
        }
        client.handle_timeout(at);
        let outgoing = &mut client.outgoing;
        match tampering {
            Tampering::Drop => outgoing.clear(),
            Tampering::Duplicate => outgoing.extend_from_within(..),
            Tampering::Reverse => outgoing.reverse(),
            Tampering::Change { at, xor } => {
                for sent in outgoing.iter_mut().filter(|sent| !sent.contents.is_empty()) {
                    let at = usize::from(*at) % sent.contents.len();
                    sent.contents[at] ^= xor;
                }
            }
            Tampering::Cut { at } => {
                outgoing.iter_mut().for_each(|sent| sent.contents.truncate((*at).into()));
            }
        }
    }

    fn check_viewers(&mut self) {
        let states: Vec<&str> = self.world.server.viewer_states().map(|(_, state)| state).collect();
        self.outcomes.extend(states.into_iter().map(str::to_owned));
        for member in &self.world.clients {
            let first = member.client.frames.first();
            let decodes = first.is_none_or(|frame| frame.is_keyframe());
            assert!(self.lossy || decodes, "the first frame is no key frame");
        }
    }

    fn end(mut self) -> Outcomes {
        let stats = self.world.stats();
        let refusals = stats["refusals"].as_object().cloned().unwrap_or_default();
        self.outcomes.extend(refusals.keys().map(|reason| format!("refused {reason}")));
        for member in &mut self.world.clients {
            member.powered_off = true;
        }
        self.world.run(ALL_FREED_AFTER);
        assert_eq!(self.world.server.viewers(), 0, "viewers are left");
        assert_eq!(self.world.server.connections(), 0, "connections are left");
        assert_eq!(self.world.deadline(), None, "a timer is left");
        for id in self.connections {
            assert!(self.world.is_closed(id), "{id:?} is not closed");
        }
        self.outcomes
    }
}

fn address(from: u8) -> SocketAddr {
    SocketAddr::from(([10, 2, from % 4, 1], 2_000 + u16::from(from)))
}

/// One of a few widths, so that many ask for the same.
fn width_of(width: u8) -> Option<usize> {
    (width > 99).then(|| 16 + 2 * (usize::from(width) % 12))
}

impl Request<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Request::Page => b"GET / HTTP/1.1\r\nHost: camera\r\n\r\n".to_vec(),
            Request::Stats => b"GET /stats HTTP/1.1\r\nHost: camera\r\n\r\n".to_vec(),
            Request::Options => b"OPTIONS * HTTP/1.1\r\nHost: camera\r\n\r\n".to_vec(),
            Request::Pipelined => b"HEAD / HTTP/1.1\r\nHost: camera\r\n\r\n".repeat(40),
            Request::Snapshot { width } => {
                let query =
                    width_of(*width).map_or(String::new(), |width| format!("?width={width}"));
                format!("GET /snapshot.jpg{query} HTTP/1.1\r\nHost: camera\r\n\r\n").into_bytes()
            }
            Request::Stream => b"GET /stream.mjpg HTTP/1.1\r\nHost: camera\r\n\r\n".to_vec(),
            Request::Head { length } => format!(
                "POST /offer HTTP/1.1\r\nHost: camera\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n"
            )
            .into_bytes(),
            Request::Bytes(bytes) => bytes.to_vec(),
        }
    }
}

impl FrameKind {
    fn data(&self, bytes: usize) -> Vec<u8> {
        let head: &[u8] = match self {
            FrameKind::Key => &[0, 0, 0, 1, 0x67, 0x42, 0, 0, 1, 0x68, 0xce, 0, 0, 1, 0x65, 0x88],
            FrameKind::Delta => &[0, 0, 0, 1, 0x41, 0x9a],
            FrameKind::Empty => return Vec::new(),
            FrameKind::NoStartCode => &[0x41],
        };
        let mut data = head.to_vec();
        data.resize(head.len() + bytes, 0x55);
        data
    }
}
