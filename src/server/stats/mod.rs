//! What `/stats` tells: a plain struct, and its JSON.

pub mod metrics;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::foreign::Foreign;
use crate::media::{EncoderName, Orientation};
use crate::publish::{PublisherStatus, TargetId};
use crate::server::config::Config;
use crate::server::http::Http;
use crate::server::http::snapshots::SnapshotCounters;
use crate::server::limits::admission::Admission;
use crate::server::publish::{Publishing, TargetEntry};
use crate::server::video::{Video, VideoCounters};
use crate::server::viewers::{ViewerEntry, ViewerTable};
use crate::source::parse::{self, Info, StreamFormat};
use crate::source::{NoSignal, Source};
use crate::web::reason::Reason;
use crate::webrtc::viewer::Viewer;
use crate::webrtc::{EndReason, Reception, ViewerCounters, ViewerId};

/// Datagrams since the start.
#[derive(Debug, Default, Clone, Copy)]
pub struct DatagramCounters {
    /// Of no viewer, or not authentic.
    pub dropped: u64,
    /// Not sent.
    pub failed: u64,
}

/// The parts of the server that are looked at.
pub(crate) struct Parts<'a> {
    pub(crate) config: &'a Config,
    pub(crate) started: Instant,
    pub(crate) datagrams: DatagramCounters,
    pub(crate) video: &'a Video,
    pub(crate) viewers: &'a ViewerTable,
    pub(crate) http: &'a Http,
    pub(crate) admission: &'a Admission,
    pub(crate) publishing: &'a Publishing,
}

/// Who may read the statistics, including text from a command, a media server or a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readers {
    /// There is no token.
    Everybody,
    TokenHolders,
}

/// The state of everything at one moment.
#[derive(Debug, Default)]
pub struct Statistics {
    pub uptime: Duration,
    pub stamped: bool,
    /// The ball's, if there is no source.
    pub frames_per_second: Option<u32>,
    /// The encoder of H.264, once there is one.
    pub encoder: Option<EncoderName>,
    pub video: VideoCounters,
    pub pictures: SnapshotCounters,
    pub datagrams: DatagramCounters,
    /// Refused requests, by why.
    pub refusals: BTreeMap<Reason, u64>,
    /// Viewers that have connected, and that have ended, by why. Without media servers, as are those below.
    pub viewers_served: u64,
    pub viewers_ended: BTreeMap<EndReason, u64>,
    /// What all viewers were sent, also those that have ended.
    pub sent: ViewerCounters,
    /// Why there is no picture, if there is none.
    pub problem: Option<String>,
    pub viewers: Vec<ViewerStatistics>,
    pub connections: usize,
    /// Connections with a stream of pictures.
    pub mjpeg_clients: usize,
    /// The source in place of the ball, if there is one.
    pub source: Option<SourceStatistics>,
    /// The media servers that are published to.
    pub targets: Vec<TargetStatistics>,
}

#[derive(Debug)]
pub struct SourceStatistics {
    /// See [`source::Status::name`](crate::source::SourceStatus::name).
    pub state: &'static str,
    /// Why there is nothing to show.
    pub missing: Option<NoSignal>,
    pub info: Info,
    /// How viewers have to show the frames, see `Video::viewers_orientation`.
    pub orientation: Orientation,
    /// From one picture to the next, and from one key frame to the next.
    pub period: Option<Duration>,
    pub group_length: Option<Duration>,
    pub counters: parse::ParserCounters,
    /// Pictures that came whole, and could not be decoded or encoded.
    pub undecodable: u64,
    pub restarts: u64,
}

impl SourceStatistics {
    fn new(source: &Source, video: &Video, readers: Readers, now: Instant) -> SourceStatistics {
        let mut missing = source.no_signal(now);
        if readers == Readers::Everybody
            && let Some(missing) = &mut missing
        {
            missing.detail = None;
        }
        SourceStatistics {
            state: source.status().name(),
            missing,
            info: source.info().clone(),
            period: source.period(),
            group_length: source.group_length(),
            counters: source.counters(),
            undecodable: video.counters().damaged,
            orientation: video.viewers_orientation(),
            restarts: source.restarts(),
        }
    }

    fn to_json(&self) -> Value {
        let SourceStatistics { info, counters, missing, .. } = self;
        let retry_in = missing.as_ref().and_then(|missing| missing.retry_in);
        json!({
            "state": self.state,
            "sentence": missing.as_ref().map(|missing| &missing.sentence),
            "detail": missing.as_ref().and_then(|missing| missing.detail.as_ref()),
            "missing_s": missing.as_ref().map(|missing| missing.duration.as_secs_f64()),
            "retry_in_s": retry_in.map(|wait| wait.as_secs_f64()),
            "format": info.format.map(StreamFormat::name),
            "size": info.size.map(|size| size.to_string()),
            "rotation": self.orientation.rotation.degrees(),
            "mirrored": self.orientation.is_mirrored,
            "frames_per_second": self.period.map(|period| 1.0 / period.as_secs_f64()),
            "group_s": self.group_length.map(|length| length.as_secs_f64()),
            "frames_in": counters.items,
            "bytes_in": counters.bytes,
            "frames_skipped": counters.skipped,
            "frames_damaged": counters.damaged + counters.oversized + self.undecodable,
            "restarts": self.restarts,
        })
    }
}

#[derive(Debug)]
pub struct TargetStatistics {
    /// Host and port, or the place on the command line, from 1, where everybody may read this.
    pub server: String,
    /// See [`publish::Status`](crate::publish::PublisherStatus).
    pub state: &'static str,
    pub live: Option<Duration>,
    /// Why it has no picture: a sentence for everybody, and one with text from others for token holders.
    pub sentence: Option<String>,
    pub detail: Option<String>,
    pub retry_in: Option<Duration>,
    /// Sessions that were live, and what was sent in all of them.
    pub sessions: u64,
    pub counters: ViewerCounters,
    /// The statistics of the live session.
    pub reception: Reception,
}

impl TargetStatistics {
    fn new(
        id: TargetId,
        entry: &TargetEntry,
        viewer: Option<&Viewer>,
        readers: Readers,
        now: Instant,
    ) -> TargetStatistics {
        let PublisherStatus { state, live_since, problem, retry_at } = entry.publisher().status();
        let server = match readers {
            Readers::Everybody => format!("media server {}", id.0 + 1),
            Readers::TokenHolders => entry.name(),
        };
        let sentence = |why: String| format!("{server} has no picture: {why}.");
        let detail = problem.as_ref().filter(|_| readers == Readers::TokenHolders);
        let mut counters = entry.sent();
        counters += viewer.map(|viewer| viewer.stream().counters).unwrap_or_default();
        TargetStatistics {
            state,
            live: live_since.map(|since| now.saturating_duration_since(since)),
            detail: detail.map(|problem| sentence(problem.detail())),
            sentence: problem.map(|problem| sentence(problem.cause.to_string())),
            server,
            retry_in: retry_at.map(|at| at.saturating_duration_since(now)),
            sessions: entry.publisher().sessions,
            counters,
            reception: viewer.map(|viewer| viewer.stream().reception).unwrap_or_default(),
        }
    }

    fn to_json(&self) -> Value {
        let TargetStatistics { server, counters, reception, .. } = self;
        json!({
            "server": server,
            "state": self.state,
            "live_s": self.live.map(|live| live.as_secs_f64()),
            "sentence": self.sentence,
            "detail": self.detail,
            "retry_in_s": self.retry_in.map(|wait| wait.as_secs_f64()),
            "sessions": self.sessions,
            "frames_sent": counters.frames,
            "packets_sent": counters.packets,
            "bytes_sent": counters.bytes,
            "keyframes_sent": counters.keyframes,
            "keyframe_requests": counters.keyframe_requests,
            "packets_resent": counters.resends,
            "drops": counters.drops,
            "round_trip_ms": reception.round_trip.map(milliseconds),
            "loss": reception.loss,
            "jitter_ms": reception.jitter.map(milliseconds),
        })
    }
}

#[derive(Debug)]
pub struct ViewerStatistics {
    pub id: ViewerId,
    pub state: &'static str,
    pub codec: &'static str,
    pub address: String,
    pub age: Duration,
    pub counters: ViewerCounters,
    pub reception: Reception,
    /// What has gone wrong with its connection last.
    pub failure: Option<Foreign>,
}

impl ViewerStatistics {
    fn new(id: ViewerId, entry: &ViewerEntry, now: Instant) -> ViewerStatistics {
        let viewer = &entry.viewer;
        ViewerStatistics {
            id,
            state: viewer.state().name(),
            codec: viewer.codec().name(),
            address: entry.address(),
            age: viewer.age(now),
            counters: viewer.stream().counters,
            reception: viewer.stream().reception,
            failure: viewer.failure().cloned(),
        }
    }

    fn to_json(&self) -> Value {
        let ViewerStatistics { counters, reception, .. } = self;
        json!({
            "id": self.id.0,
            "state": self.state,
            "codec": self.codec,
            "address": self.address,
            "age_s": self.age.as_secs_f64(),
            "frames_sent": counters.frames,
            "packets_sent": counters.packets,
            "keyframes_sent": counters.keyframes,
            "keyframe_requests": counters.keyframe_requests,
            "packets_resent": counters.resends,
            "packets_repeated": counters.repeats,
            "drops": counters.drops,
            "round_trip_ms": reception.round_trip.map(milliseconds),
            "loss": reception.loss,
            "jitter_ms": reception.jitter.map(milliseconds),
            "failure": self.failure.as_ref().map(Foreign::to_string),
        })
    }
}

impl Statistics {
    pub(crate) fn new(now: Instant, parts: &Parts) -> Statistics {
        let Parts { config, video, viewers, http, .. } = parts;
        let readers = match config.token {
            Some(_) => Readers::TokenHolders,
            None => Readers::Everybody,
        };
        let target = |(id, target): (TargetId, &TargetEntry)| {
            let viewer = target.viewer().and_then(|id| viewers.get(id));
            TargetStatistics::new(id, target, viewer.map(|entry| &entry.viewer), readers, now)
        };
        let source =
            video.source().map(|source| SourceStatistics::new(source, video, readers, now));
        let watchers = viewers.iter().filter(|(_, entry)| entry.watcher().is_some());
        Statistics {
            uptime: now.saturating_duration_since(parts.started),
            stamped: config.stamped,
            frames_per_second: source.is_none().then_some(config.frames_per_second),
            encoder: video.encoder().cloned(),
            video: video.counters().clone(),
            pictures: http.snapshots.counters,
            datagrams: parts.datagrams,
            refusals: parts.admission.refusals().clone(),
            viewers_served: viewers.served(),
            viewers_ended: viewers.ended().clone(),
            sent: viewers.sent(),
            problem: video.problem(now),
            viewers: watchers.map(|(id, entry)| ViewerStatistics::new(id, entry, now)).collect(),
            connections: http.connections(),
            mjpeg_clients: http.snapshots.mjpeg_clients(),
            source,
            targets: parts.publishing.iter().map(target).collect(),
        }
    }

    pub fn to_json(&self) -> Value {
        let Statistics { video, pictures, .. } = self;
        let frames = video.frames.max(1) as f64;
        let refusals = self.refusals.iter().map(|(reason, count)| (reason.name(), count));
        let ended = self.viewers_ended.iter().map(|(reason, count)| (reason.name(), count));
        json!({
            "uptime_s": self.uptime.as_secs_f64(),
            "stamp": self.stamped,
            "frames_per_second": self.frames_per_second,
            "encoder": self.encoder.as_ref().map(EncoderName::to_string),
            "hardware_encoder_fault": self.encoder.as_ref().and_then(EncoderName::fault).map(|it| it.to_string()),
            "frames": video.frames,
            "keyframes": video.keyframes,
            "frames_left_out": video.left_out,
            "encode_mean_ms": milliseconds(video.encode_total) / frames,
            "encode_max_ms": milliseconds(video.encode_max),
            "jpegs_made": pictures.made,
            "snapshots_sent": pictures.sent,
            "mjpeg_parts_sent": pictures.parts_sent,
            "mjpeg_clients": self.mjpeg_clients,
            "source": self.source.as_ref().map(SourceStatistics::to_json),
            "targets": self.targets.iter().map(TargetStatistics::to_json).collect::<Vec<_>>(),
            "viewers": self.viewers.iter().map(ViewerStatistics::to_json).collect::<Vec<_>>(),
            "viewers_served": self.viewers_served,
            "viewers_ended": ended.collect::<BTreeMap<_, _>>(),
            "connections": self.connections,
            "datagrams_dropped": self.datagrams.dropped,
            "transmits_failed": self.datagrams.failed,
            "refusals": refusals.collect::<BTreeMap<_, _>>(),
        })
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
