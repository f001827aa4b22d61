//! A stream of video from outside: its bytes come in, frames and pictures go out, and it is opened,
//! watched over, and begun again when it fails. Pure.
//!
//! A [`Source`] is told what has happened to the stream ([`SourceEvent`]) and that time has passed, and says
//! what it wants ([`SourceCommand`]) and what it has ([`SourceItem`]). Descriptors and processes are the
//! driver's, which decides nothing: whether a stream that has ended is opened again, and when a
//! command is killed, is decided here.
mod arrivals;
mod attempt;
mod cause;
mod deliveries;
mod file;
mod flood;
mod groups;
mod journal;
mod ledger;
mod missing;
pub mod parse;
mod restarts;
mod rhythm;
mod status;
mod watch;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::arrivals::Arrivals;
use self::attempt::Attempt;
pub use self::cause::{Exit, LeftOut, SourceCause, SourceFailure};
use self::file::Playback;
use self::flood::Flood;
use self::groups::Groups;
use self::journal::Journal;
pub use self::missing::NoSignal;
use self::parse::{Info, Parser, StreamError, StreamFormat};
use self::restarts::{Ending, Restarts};
use self::rhythm::Rhythm;
pub use self::status::SourceStatus;
use self::watch::Watch;
use crate::foreign::Foreign;
use crate::media::{Frame, Jpeg, Picture, PixelFormat, Samples, Size};

/// How long a command may still run that has closed its output.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
/// After the end of standard input: viewers see why.
const GIVE_UP_AFTER: Duration = Duration::from_secs(2);

/// Where the bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Standard input: it is there from the start, and when it ends, it ends for good.
    Stdin,
    /// A named pipe, which other programs open for writing, one after the other.
    Fifo,
    /// A file, which is played at its frame rate, over and over.
    File,
    /// What a command writes to its standard output.
    Command,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEvent<'a> {
    /// [`SourceCommand::Open`] is done.
    Opened,
    /// The next bytes of the stream, at most 64 KiB.
    Bytes(&'a [u8]),
    /// There are no more bytes for now.
    Dry,
    /// There are no more bytes. Of a command, this is not its end.
    Ended,
    /// It could not be opened or read.
    Failed(SourceFailure),
    /// No process of the command is left: how it ended, and what it wrote to standard error.
    Exited(Exit, Option<Foreign>),
}

/// What is to be done to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceCommand {
    /// Open it, or start the command. Answered by [`SourceEvent::Opened`] or [`SourceEvent::Failed`].
    Open,
    /// Of a file alone: read on. Answered by [`SourceEvent::Bytes`] or [`SourceEvent::Ended`]. What is no file is
    /// read whenever there is something.
    Read,
    /// Let go of the descriptor.
    Close,
    /// Send this signal to all processes of the command.
    Kill(Signal),
    /// There is nothing to be shown any more, ever.
    GiveUp,
}

/// How a command is asked to end, each time more firmly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Terminate,
    Kill,
}

/// What a source is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceConfig {
    pub kind: SourceKind,
    pub raw: Option<RawPictures>,
    /// The longest time from one picture to the next, if the source is slower than it says.
    pub interval: Option<Duration>,
}

/// Pictures without headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawPictures {
    pub size: Size,
    pub pixels: PixelFormat,
    /// At least 1.
    pub frames_per_second: u32,
}

/// What there is to show.
#[derive(Debug)]
pub enum SourceItem {
    /// A picture that is encoded already.
    Frame(Frame),
    /// A picture, and when it was taken.
    Picture(Picture, Instant),
    /// The same, still to be converted.
    Samples(Samples, Instant),
    /// The same, as JPEG.
    Jpeg(Jpeg, Instant),
}

/// One stream from outside, for the life of the process.
pub struct Source {
    config: SourceConfig,
    parser: Parser,
    arrivals: Arrivals,
    rhythm: Rhythm,
    watch: Watch,
    flood: Flood,
    journal: Journal,
    restarts: Restarts,
    status: SourceStatus,
    status_since: Instant,
    attempt: Attempt,
    /// In this attempt or an earlier one.
    last_item: Option<Instant>,
    /// The next one has not come in time.
    is_overdue: bool,
    /// Something is left of the command.
    has_process: bool,
    ending: Option<Ending>,
    /// When it is opened again.
    open_at: Option<Instant>,
    give_up_at: Option<Instant>,
    /// Pictures of the group under way were not shown.
    is_cut: bool,
    file: Playback,
    groups: Groups,
    commands: VecDeque<SourceCommand>,
    items: VecDeque<SourceItem>,
}

impl Source {
    /// A source that is opened as soon as its time-out is handled.
    pub fn new(config: SourceConfig, now: Instant) -> Source {
        Source {
            parser: parser(&config),
            config,
            arrivals: Arrivals::default(),
            rhythm: Rhythm::new(config.interval),
            watch: Watch::default(),
            flood: Flood::default(),
            journal: Journal::default(),
            restarts: Restarts::default(),
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

    pub fn handle_event(&mut self, now: Instant, event: SourceEvent) {
        match event {
            SourceEvent::Opened => self.opened(now),
            SourceEvent::Bytes(bytes) => self.take_bytes(now, bytes),
            SourceEvent::Dry => self.run_dry(now),
            SourceEvent::Ended => self.ended(now),
            SourceEvent::Failed(failure) => self.failed(now, failure),
            SourceEvent::Exited(exit, words) => self.exited(now, exit, words),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if due(&mut self.open_at) {
            self.commands.push_back(SourceCommand::Open);
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
            if self.attempt.is_blamed {
                self.attempt.failed = true;
            } else if !self.attempt.failed {
                self.fail(now, SourceCause::Hangs, None);
            }
            self.ending = Some(Ending::begin(now));
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
            self.give_up_at,
            self.overdue_at(),
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

    /// What is to be done to the stream, in order.
    pub fn poll_command(&mut self) -> Option<SourceCommand> {
        self.commands.pop_front()
    }

    /// What there is to show, in order.
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

    /// Whether the stream is encoded already, as far as is known.
    pub fn is_encoded(&self) -> bool {
        self.info().format == Some(StreamFormat::H264)
    }

    pub fn info(&self) -> &Info {
        self.parser.info()
    }

    pub fn counters(&self) -> parse::ParserCounters {
        self.parser.counters()
    }

    /// From one picture to the next, as they have come lately.
    pub fn period(&self) -> Option<Duration> {
        self.rhythm.slow_period(self.told_period()).or(self.arrivals.period())
    }

    /// The bytes of memory that are kept for the picture under way.
    pub fn buffered_bytes(&self) -> usize {
        self.parser.buffered_bytes()
    }

    /// How often it was begun again after a failure.
    pub fn restarts(&self) -> u64 {
        self.restarts.count
    }

    /// How long the group of pictures was that ended with the last key frame.
    pub fn group_length(&self) -> Option<Duration> {
        self.groups.length()
    }
}

/// What happens to the stream.
impl Source {
    fn opened(&mut self, now: Instant) {
        self.parser = parser(&self.config);
        self.attempt = Attempt::opened(now);
        self.rhythm.restart();
        self.is_cut = false;
        self.watch.reopen(now, self.config.kind == SourceKind::File);
        match self.config.kind {
            SourceKind::Command => self.has_process = true,
            SourceKind::File => self.read_on(now),
            SourceKind::Stdin | SourceKind::Fifo => {}
        }
    }

    fn take_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.file.is_reading = false;
        let pushed = self.parser.push(bytes);
        self.take_items(now, pushed);
    }

    fn run_dry(&mut self, now: Instant) {
        if !self.attempt.is_open() {
            return;
        }
        let dried = self.parser.run_dry();
        self.take_items(now, dried);
    }

    fn ended(&mut self, now: Instant) {
        self.file.is_reading = false;
        self.attempt.ended_at = Some(now);
        let finished = match self.parser.finish() {
            // How the command ends says more.
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
            // Its exit tells more; should it run on, it is ended.
            SourceKind::Command => {}
        }
    }

    fn failed(&mut self, now: Instant, failure: SourceFailure) {
        self.file.is_reading = false;
        self.fail(now, SourceCause::Failed(self.config.kind, failure), None);
        self.commands.push_back(SourceCommand::Close);
        if self.has_process {
            // It is started again when it is gone.
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
        self.try_again(now);
    }

    fn fail(&mut self, now: Instant, cause: SourceCause, words: Option<Foreign>) {
        self.attempt.failed = true;
        self.set_status(now, SourceStatus::Failed { cause, words });
    }

    fn try_again(&mut self, now: Instant) {
        self.open_at = Some(now + self.restarts.pause_after(self.attempt.good_for()));
        self.attempt = Attempt::default();
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

    /// A command that is not ended yet, and has to be then.
    fn hangs_at(&self) -> Option<Instant> {
        if !self.has_process || self.ending.is_some() {
            return None;
        }
        let Attempt { opened_at, last_item, ended_at, .. } = self.attempt;
        let told = self.told_period();
        let shows = last_item.map(|last| last + self.rhythm.hangs_after(told));
        let limit = shows.or(opened_at.map(|opened| opened + self.rhythm.starts_within(told)));
        limit.into_iter().chain(ended_at.map(|ended| ended + ENDS_WITHIN)).min()
    }
}

fn parser(config: &SourceConfig) -> Parser {
    // A size that is not shown was refused by the command line.
    config.raw.and_then(|raw| Parser::raw(raw.size, raw.pixels).ok()).unwrap_or_default()
}
