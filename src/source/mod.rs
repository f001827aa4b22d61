//! The source of the video: a stream of bytes that is opened, parsed, monitored and reopened when it fails, or
//! a [`camera`]. Pure.
//!
//! A [`Source`] takes events ([`SourceEvent`]) and time, and returns commands ([`SourceCommand`]) and frames or
//! pictures ([`SourceItem`]). The driver owns descriptors and processes, and decides nothing: this module
//! decides when a stream is reopened, and when a command is killed.

mod arrivals;
mod attempt;
pub mod camera;
mod camera_events;
mod cause;
mod contract;
mod deliveries;
mod demand;
mod file;
mod flood;
mod groups;
mod journal;
mod ledger;
mod no_signal;
pub mod parse;
mod restarts;
mod rhythm;
mod status;
mod watch;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::arrivals::Arrivals;
use self::attempt::Attempt;
use self::camera::Camera;
#[cfg(feature = "testing")]
pub use self::cause::LeftOut;
pub use self::cause::{Exit, SourceCause, SourceFailure};
pub use self::contract::{
    RawPictures, Signal, SourceCommand, SourceConfig, SourceEvent, SourceItem, SourceKind,
    StreamConfig,
};
use self::demand::Demand;
use self::file::Playback;
use self::flood::Flood;
use self::groups::Groups;
use self::journal::Journal;
pub use self::no_signal::NoSignal;
use self::parse::{Info, Parser, StreamError, StreamFormat};
use self::restarts::{Ending, Restarts};
use self::rhythm::Rhythm;
pub use self::status::SourceStatus;
use self::watch::Watch;
use crate::foreign::Foreign;

/// How long a command may run after it has closed its output.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
/// The time between the end of standard input and the exit, in which viewers see the reason.
const GIVE_UP_AFTER: Duration = Duration::from_secs(2);

/// One source, for the life of the process.
pub struct Source {
    /// Of the stream. That of a camera is [`SourceKind::Camera`], or the command that shows it.
    config: StreamConfig,
    /// In place of a stream.
    camera: Option<Camera>,
    parser: Parser,
    arrivals: Arrivals,
    rhythm: Rhythm,
    watch: Watch,
    flood: Flood,
    journal: Journal,
    restarts: Restarts,
    demand: Demand,
    status: SourceStatus,
    status_since: Instant,
    attempt: Attempt,
    /// The time of the last item, of this attempt or an earlier one.
    last_item: Option<Instant>,
    /// The next item is overdue.
    is_overdue: bool,
    /// A process of the command may still run.
    has_process: bool,
    ending: Option<Ending>,
    /// When the stream is opened again.
    open_at: Option<Instant>,
    give_up_at: Option<Instant>,
    /// Pictures of the current group were dropped.
    is_cut: bool,
    file: Playback,
    groups: Groups,
    commands: VecDeque<SourceCommand>,
    items: VecDeque<SourceItem>,
}

impl Source {
    /// A source that is opened at its first timeout.
    pub fn new(config: SourceConfig, now: Instant) -> Source {
        let (config, camera, rhythm) = match config {
            SourceConfig::Stream(stream) => (stream, None, Rhythm::of_stream(stream.interval)),
            SourceConfig::Camera(it) => (CAMERA, Some(Camera::new(it, now)), Rhythm::of_camera()),
        };
        Source {
            parser: parser(&config),
            config,
            camera,
            arrivals: Arrivals::default(),
            rhythm,
            watch: Watch::default(),
            flood: Flood::default(),
            journal: Journal::default(),
            restarts: Restarts::default(),
            demand: Demand::default(),
            status: SourceStatus::Starting,
            status_since: now,
            attempt: Attempt::default(),
            last_item: None,
            is_overdue: false,
            has_process: false,
            ending: None,
            open_at: Some(now),
            give_up_at: None,
            is_cut: false,
            file: Playback::default(),
            groups: Groups::default(),
            commands: VecDeque::new(),
            items: VecDeque::new(),
        }
    }

    /// A source that is opened while somebody watches, and rests while nobody does.
    pub fn while_watched(config: SourceConfig, now: Instant) -> Source {
        Source {
            demand: Demand::while_watched(),
            status: SourceStatus::Resting,
            open_at: None,
            ..Source::new(config, now)
        }
    }

    /// Somebody watches, or nobody does.
    pub fn set_watched(&mut self, now: Instant, is_watched: bool) {
        if self.demand.set_watched(now, is_watched) {
            self.wake(now);
        }
    }

    /// Somebody asks for one picture.
    pub fn note_asked(&mut self, now: Instant) {
        if self.demand.note_asked(now) {
            self.wake(now);
        }
    }

    pub fn handle_event(&mut self, now: Instant, event: SourceEvent) {
        match event {
            SourceEvent::Opened => self.opened(now),
            SourceEvent::Bytes(bytes) => self.take_bytes(now, bytes),
            SourceEvent::Paused => self.handle_pause(now),
            SourceEvent::Ended => self.ended(now),
            SourceEvent::Failed(failure) => self.failed(now, failure),
            SourceEvent::Exited(exit, words) => self.exited(now, exit, words),
            SourceEvent::Camera(event) => self.handle_camera(now, event),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if self.demand.take_rest(now) {
            self.rest(now);
        }
        self.check_answer(now);
        if due(&mut self.open_at) {
            self.open(now);
        }
        if due(&mut self.give_up_at) {
            self.commands.push_back(SourceCommand::GiveUp);
        }
        if due(&mut self.file.read_at) {
            self.file.reads = 0;
        }
        if self.overdue_at().is_some_and(|at| at <= now) {
            self.become_silent(now);
        }
        if self.fruitless_at().is_some_and(|at| at <= now) {
            self.blame_fruitless(now);
        }
        if self.hangs_at().is_some_and(|at| at <= now) {
            self.end_hanging(now);
        }
        if let Some(signal) = self.ending.as_mut().and_then(|ending| ending.take_due(now)) {
            self.commands.push_back(SourceCommand::Kill(signal));
        }
        self.play_file(now);
    }

    /// When `handle_timeout` is next due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [
            self.open_at,
            self.demand.rests_at(),
            self.give_up_at,
            self.overdue_at(),
            self.unanswered_at(),
            self.fruitless_at(),
            self.hangs_at(),
            self.ending.as_ref().map(Ending::at),
            self.file.next_at.filter(|_| !self.file.ready.is_empty()),
            self.file.read_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next command to the driver.
    pub fn poll_command(&mut self) -> Option<SourceCommand> {
        self.commands.pop_front()
    }

    /// The next frame or picture.
    pub fn poll_item(&mut self) -> Option<SourceItem> {
        self.items.pop_front()
    }

    pub fn status(&self) -> &SourceStatus {
        &self.status
    }

    fn is_starting(&self) -> bool {
        self.status == SourceStatus::Starting
    }

    pub fn is_running(&self) -> bool {
        self.status == SourceStatus::Running
    }

    /// Whether the stream is already encoded, as far as is known.
    pub fn is_encoded(&self) -> bool {
        self.info().format == Some(StreamFormat::H264)
    }

    pub fn info(&self) -> &Info {
        self.parser.info()
    }

    pub fn counters(&self) -> parse::ParserCounters {
        self.parser.counters()
    }

    /// The recent time between two pictures.
    pub fn period(&self) -> Option<Duration> {
        self.rhythm.slow_period(self.told_period()).or(self.arrivals.period())
    }

    /// The bytes of memory that hold the incomplete picture.
    #[cfg(feature = "testing")]
    pub fn buffered_bytes(&self) -> usize {
        self.parser.buffered_bytes()
    }

    /// How often the source was restarted after a failure.
    pub fn restarts(&self) -> u64 {
        self.restarts.count
    }

    /// The time between the last two key frames.
    pub fn group_length(&self) -> Option<Duration> {
        self.groups.length()
    }
}

/// Handlers of the events.
impl Source {
    fn opened(&mut self, now: Instant) {
        self.begin(now, parser(&self.config));
        match self.config.kind {
            SourceKind::Command => self.has_process = true,
            SourceKind::File => self.read_on(now),
            SourceKind::Stdin | SourceKind::Fifo | SourceKind::Camera => {}
        }
    }

    /// Begins an attempt, whose bytes go to this parser.
    fn begin(&mut self, now: Instant, parser: Parser) {
        self.parser = parser;
        self.attempt = Attempt::opened(now);
        self.rhythm.restart();
        self.is_cut = false;
        self.watch.reopen(now, self.config.kind == SourceKind::File);
    }

    fn take_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.file.is_reading = false;
        let pushed = self.parser.push(bytes);
        self.take_items(now, pushed);
    }

    fn handle_pause(&mut self, now: Instant) {
        if !self.attempt.is_open() {
            return;
        }
        let dried = self.parser.handle_pause();
        self.take_items(now, dried);
    }

    fn ended(&mut self, now: Instant) {
        self.file.is_reading = false;
        self.attempt.ended_at = Some(now);
        let finished = match self.parser.finish() {
            // The exit of the command tells more.
            Err(StreamError::Empty) if self.has_process => Ok(()),
            finished => finished,
        };
        self.commands.push_back(SourceCommand::Close);
        self.take_items(now, finished);
        self.end_fruitless(now);
        match self.config.kind {
            SourceKind::Stdin => {
                if !self.attempt.failed && !self.attempt.is_blamed {
                    self.fail(now, SourceCause::StdinEnded, None);
                }
                self.give_up_at = Some(now + GIVE_UP_AFTER);
            }
            SourceKind::Fifo => {
                let pause = self.restarts.pause_before_writer(self.attempt.is_good());
                self.open_at = Some(now + pause);
            }
            SourceKind::File => self.play_file(now),
            // Its exit tells more. If it keeps running, it is ended. The bytes of a camera do not end.
            SourceKind::Command | SourceKind::Camera => {}
        }
    }

    fn failed(&mut self, now: Instant, failure: SourceFailure) {
        self.file.is_reading = false;
        self.fail(now, SourceCause::Failed(self.config.kind, failure), None);
        self.commands.push_back(SourceCommand::Close);
        if self.has_process {
            // It is started again once it has exited.
            self.attempt.ended_at = Some(now);
            self.ending.get_or_insert(Ending::begin(now));
        } else {
            self.try_again(now);
        }
    }

    fn exited(&mut self, now: Instant, exit: Exit, words: Option<Foreign>) {
        self.has_process = false;
        let is_as_usual = self.ending.take().is_some() || exit == Exit::Status(0);
        if self.attempt.ended_at.is_none() {
            self.commands.push_back(SourceCommand::Close);
        }
        self.end_fruitless(now);
        let is_said = self.attempt.failed || self.attempt.is_blamed && is_as_usual;
        if !is_said {
            self.fail(now, SourceCause::Exited(exit), words);
        }
        let pause = self.attempt.is_put_to_rest.then_some(Duration::ZERO);
        self.try_again_after(now, pause);
    }

    fn fail(&mut self, now: Instant, cause: SourceCause, words: Option<Foreign>) {
        self.attempt.failed = true;
        if self.attempt.is_put_to_rest || self.demand.is_resting() {
            return;
        }
        self.set_status(now, SourceStatus::Failed { cause, words });
    }

    fn try_again(&mut self, now: Instant) {
        self.try_again_after(now, None);
    }

    /// Opens it again after this pause, or after that of a failure.
    fn try_again_after(&mut self, now: Instant, pause: Option<Duration>) {
        let pause = pause.unwrap_or_else(|| self.restarts.pause_after(self.attempt.good_for()));
        self.open_at = (!self.demand.is_resting()).then_some(self.earliest_opening(now + pause));
        self.attempt = Attempt::default();
    }

    /// The time of an opening that is wanted at `at`.
    fn earliest_opening(&self, at: Instant) -> Instant {
        self.camera.as_ref().map_or(at, |camera| camera.earliest_scan(at))
    }

    /// Ends what runs, as nobody watches.
    fn rest(&mut self, now: Instant) {
        self.set_status(now, SourceStatus::Resting);
        self.open_at = None;
        let stop = self.camera.as_mut().and_then(|camera| camera.rest(now));
        // A camera that is looked for or started ends by itself, and may be wanted again before.
        self.attempt.is_put_to_rest = self.camera.is_none() || self.has_process || stop.is_some();
        self.commands.extend(stop.map(SourceCommand::Camera));
        if self.has_process {
            self.ending.get_or_insert(Ending::begin(now));
        }
    }

    /// Begins again, as somebody watches.
    fn wake(&mut self, now: Instant) {
        self.set_status(now, SourceStatus::Starting);
        self.check_answer(now);
        // What still runs is opened again when it has ended.
        let is_closed = self.camera.as_ref().is_none_or(Camera::is_closed);
        if is_closed && !self.has_process {
            self.open_at = Some(self.earliest_opening(now));
        }
    }

    fn set_status(&mut self, now: Instant, status: SourceStatus) {
        if self.status == status {
            return;
        }
        self.status = status;
        self.status_since = now;
        let Some(sentence) = self.sentence() else { return };
        if !self.is_starting() && self.journal.is_news(now, &sentence) {
            let more = match &self.status {
                SourceStatus::Failed { cause: SourceCause::Exited(_), words: Some(_) } => {
                    " RUST_LOG=debug logs what it writes."
                }
                _ => "",
            };
            log::warn!("no signal: {sentence}{more}");
        }
    }

    fn open(&mut self, now: Instant) {
        let Some(camera) = &mut self.camera else {
            return self.commands.push_back(SourceCommand::Open);
        };
        // The command of the last attempt may have been the camera's.
        self.config = CAMERA;
        self.commands.extend(camera.scan(now).map(SourceCommand::Camera));
    }

    /// When a running command or camera hangs, and has to be ended.
    fn hangs_at(&self) -> Option<Instant> {
        let is_camera_running = self.camera.as_ref().is_some_and(Camera::is_running);
        if !self.has_process && !is_camera_running || self.ending.is_some() {
            return None;
        }
        let Attempt { opened_at, last_item, ended_at, .. } = self.attempt;
        let told = self.told_period();
        let shows = last_item.map(|last| last + self.rhythm.hangs_after(told));
        let limit = shows.or(opened_at.map(|opened| opened + self.rhythm.starts_within(told)));
        limit.into_iter().chain(ended_at.map(|ended| ended + ENDS_WITHIN)).min()
    }

    fn end_hanging(&mut self, now: Instant) {
        if let Some(stop) = self.camera.as_mut().and_then(|camera| camera.stop(now)) {
            return self.commands.push_back(SourceCommand::Camera(stop));
        }
        if self.attempt.is_blamed {
            self.attempt.failed = true;
        } else if !self.attempt.failed {
            self.fail(now, SourceCause::Hangs, None);
        }
        self.ending = Some(Ending::begin(now));
    }
}

/// A camera has no stream to configure.
const CAMERA: StreamConfig = StreamConfig { kind: SourceKind::Camera, raw: None, interval: None };

fn parser(config: &StreamConfig) -> Parser {
    // The command line has rejected invalid sizes.
    config.raw.and_then(|raw| Parser::raw(raw.size, raw.pixels).ok()).unwrap_or_default()
}
