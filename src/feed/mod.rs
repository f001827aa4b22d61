//! A stream of video from outside: its bytes come in, frames and pictures go out, and it is opened,
//! watched over, and begun again when it fails. Pure.
//!
//! A [`Feed`] is told what has happened to the stream ([`Event`]) and that time has passed, and says
//! what it wants ([`Command`]) and what it has ([`Item`]). Descriptors and processes are the
//! driver's, which decides nothing: whether a stream that has ended is opened again, and when a
//! command is killed, is decided here.
mod arrivals;
mod cause;
mod file;
mod groups;
mod missing;
mod restarts;
mod status;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::arrivals::Arrivals;
pub use self::cause::{Cause, Exit, Failure};
use self::file::Playback;
use self::groups::Groups;
pub use self::missing::Missing;
use self::restarts::{Ending, Restarts};
pub use self::status::Status;
use crate::foreign::Foreign;
use crate::media::{Frame, Picture, PixelFormat, Samples, Size};
use crate::pipe::{self, Format, Info, Jpeg, Parser, StreamError};

/// A stream without pictures for so long is silent.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// A command that shows nothing for so long hangs, as camera stacks do without ending.
const HANGS_AFTER: Duration = Duration::from_secs(5);
/// And one that has just begun.
const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// How long a command may still run that has closed its output.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
/// A pause after which the picture under way is taken for complete.
const FLUSH_AFTER: Duration = Duration::from_millis(3);
/// Before a named pipe is opened again whose writer has gone.
const REOPEN_AFTER: Duration = Duration::from_millis(100);
/// After the end of standard input: viewers see why.
const GIVE_UP_AFTER: Duration = Duration::from_secs(2);

/// Where the bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// [`Command::Open`] is done.
    Opened,
    /// The next bytes of the stream, at most 64 KiB.
    Bytes(&'a [u8]),
    /// There are no more bytes for now.
    Dry,
    /// There are no more bytes. Of a command, this is not its end.
    Ended,
    /// It could not be opened or read.
    Failed(Failure),
    /// No process of the command is left: how it ended, and what it wrote to standard error.
    Exited(Exit, Option<&'a Foreign>),
}

/// What is to be done to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Open it, or start the command. Answered by [`Event::Opened`] or [`Event::Failed`].
    Open,
    /// Of a file alone: read on. Answered by [`Event::Bytes`] or [`Event::Ended`]. What is no file is
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

/// What a feed is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    pub kind: Kind,
    pub raw: Option<RawPictures>,
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
pub enum Item {
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
pub struct Feed {
    config: Config,
    parser: Parser,
    arrivals: Arrivals,
    restarts: Restarts,
    status: Status,
    status_since: Instant,
    attempt: Attempt,
    /// In this attempt or an earlier one.
    last_item: Option<Instant>,
    /// Something is left of the command.
    has_process: bool,
    ending: Option<Ending>,
    /// When it is opened again.
    open_at: Option<Instant>,
    give_up_at: Option<Instant>,
    flush_at: Option<Instant>,
    file: Playback,
    groups: Groups,
    commands: VecDeque<Command>,
    items: VecDeque<Item>,
}

/// From one opening to the next.
struct Attempt {
    opened_at: Option<Instant>,
    first_item: Option<Instant>,
    last_item: Option<Instant>,
    /// Its end is known, and said.
    failed: bool,
    /// There are no more bytes.
    ended_at: Option<Instant>,
}

impl Attempt {
    fn new() -> Attempt {
        Attempt {
            opened_at: None,
            first_item: None,
            last_item: None,
            failed: false,
            ended_at: None,
        }
    }
}

impl Feed {
    /// A feed that is opened as soon as its time-out is handled.
    pub fn new(config: Config, now: Instant) -> Feed {
        Feed {
            parser: parser(&config),
            config,
            arrivals: Arrivals::default(),
            restarts: Restarts::default(),
            status: Status::Starting,
            status_since: now,
            attempt: Attempt::new(),
            last_item: None,
            has_process: false,
            ending: None,
            open_at: Some(now),
            give_up_at: None,
            flush_at: None,
            file: Playback::default(),
            groups: Groups::default(),
            commands: VecDeque::new(),
            items: VecDeque::new(),
        }
    }

    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Opened => self.opened(now),
            Event::Bytes(bytes) => self.take_bytes(now, bytes),
            Event::Dry => self.run_dry(now),
            Event::Ended => self.ended(now),
            Event::Failed(failure) => self.failed(now, failure),
            Event::Exited(exit, words) => self.exited(now, exit, words),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if due(&mut self.flush_at) {
            let flushed = self.parser.flush();
            self.take_items(now, flushed);
        }
        if due(&mut self.open_at) {
            self.commands.push_back(Command::Open);
        }
        if due(&mut self.give_up_at) {
            self.commands.push_back(Command::GiveUp);
        }
        if due(&mut self.file.read_at) {
            self.file.reads = 0;
        }
        if self.silent_at().is_some_and(|at| at <= now) {
            self.set_status(now, Status::Silent);
        }
        if self.hangs_at().is_some_and(|at| at <= now) {
            if !self.attempt.failed {
                self.fail(now, Cause::Hangs, None);
            }
            self.ending = Some(Ending::begin(now));
        }
        if let Some(signal) = self.ending.as_mut().and_then(|ending| ending.take_due(now)) {
            self.commands.push_back(Command::Kill(signal));
        }
        self.play_file(now);
    }

    /// When `handle_timeout` is next due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [
            self.flush_at,
            self.open_at,
            self.give_up_at,
            self.silent_at(),
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
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// What there is to show, in order.
    pub fn poll_item(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    pub fn status(&self) -> &Status {
        &self.status
    }

    pub fn is_running(&self) -> bool {
        self.status == Status::Running
    }

    /// Whether the stream is encoded already, as far as is known.
    pub fn is_encoded(&self) -> bool {
        self.info().format == Some(Format::H264)
    }

    pub fn info(&self) -> &Info {
        self.parser.info()
    }

    pub fn counters(&self) -> pipe::Counters {
        self.parser.counters()
    }

    /// From one picture to the next, as they have come lately.
    pub fn period(&self) -> Option<Duration> {
        self.arrivals.period()
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
impl Feed {
    fn opened(&mut self, now: Instant) {
        self.parser = parser(&self.config);
        self.attempt = Attempt { opened_at: Some(now), ..Attempt::new() };
        match self.config.kind {
            Kind::Command => self.has_process = true,
            Kind::File => self.read_on(now),
            Kind::Stdin | Kind::Fifo => {}
        }
    }

    fn take_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.file.is_reading = false;
        let pushed = self.parser.push(bytes);
        let waits = pushed.is_ok() && self.is_encoded() && self.config.kind != Kind::File;
        self.flush_at = waits.then(|| now + FLUSH_AFTER);
        self.take_items(now, pushed);
    }

    fn run_dry(&mut self, now: Instant) {
        let Attempt { opened_at: Some(_), ended_at: None, .. } = self.attempt else { return };
        let complete = self.parser.counters().items;
        let dried = self.parser.run_dry();
        if self.parser.counters().items > complete {
            self.flush_at = None;
        }
        self.take_items(now, dried);
    }

    fn ended(&mut self, now: Instant) {
        self.file.is_reading = false;
        self.flush_at = None;
        self.attempt.ended_at = Some(now);
        let finished = match self.parser.finish() {
            // How the command ends says more.
            Err(StreamError::Empty) if self.has_process => Ok(()),
            finished => finished,
        };
        self.commands.push_back(Command::Close);
        self.take_items(now, finished);
        match self.config.kind {
            Kind::Stdin => {
                if !self.attempt.failed {
                    self.fail(now, Cause::StdinEnded, None);
                }
                self.give_up_at = Some(now + GIVE_UP_AFTER);
            }
            Kind::Fifo => self.open_at = Some(now + REOPEN_AFTER),
            Kind::File => self.play_file(now),
            // Its exit tells more; should it run on, it is ended.
            Kind::Command => {}
        }
    }

    fn failed(&mut self, now: Instant, failure: Failure) {
        self.flush_at = None;
        self.file.is_reading = false;
        self.fail(now, Cause::Failed(self.config.kind, failure), None);
        self.commands.push_back(Command::Close);
        if self.has_process {
            // It is started again when it is gone.
            self.attempt.ended_at = Some(now);
            self.ending.get_or_insert(Ending::begin(now));
        } else {
            self.try_again(now);
        }
    }

    fn exited(&mut self, now: Instant, exit: Exit, words: Option<&Foreign>) {
        self.has_process = false;
        self.ending = None;
        self.flush_at = None;
        if self.attempt.ended_at.is_none() {
            self.commands.push_back(Command::Close);
        }
        if !self.attempt.failed {
            self.fail(now, Cause::Exited(exit), words.cloned());
        }
        self.try_again(now);
    }

    fn fail(&mut self, now: Instant, cause: Cause, words: Option<Foreign>) {
        self.attempt.failed = true;
        self.set_status(now, Status::Failed { cause, words });
    }

    fn try_again(&mut self, now: Instant) {
        let Attempt { first_item, last_item, .. } = self.attempt;
        let good_for =
            last_item.zip(first_item).map_or(Duration::ZERO, |(last, first)| last - first);
        self.open_at = Some(now + self.restarts.pause_after(good_for));
        self.attempt = Attempt::new();
    }

    fn set_status(&mut self, now: Instant, status: Status) {
        if self.status == status {
            return;
        }
        match &status {
            Status::Failed { cause: cause @ Cause::Exited(_), words: Some(_) } => {
                log::warn!("no signal: {cause} RUST_LOG=debug logs what it writes.");
            }
            Status::Failed { cause, .. } => log::warn!("no signal: {cause}"),
            Status::Silent => log::warn!("no signal: nothing comes"),
            Status::Starting | Status::Running => {}
        }
        self.status = status;
        self.status_since = now;
    }

    /// Without pictures until then, it is silent. A named pipe may have been opened again meanwhile.
    fn silent_at(&self) -> Option<Instant> {
        let last = self.last_item.filter(|_| self.is_running());
        Some(last? + SILENT_AFTER)
    }

    /// A command that is not ended yet, and has to be then.
    fn hangs_at(&self) -> Option<Instant> {
        if !self.has_process || self.ending.is_some() {
            return None;
        }
        let Attempt { opened_at, last_item, ended_at, .. } = self.attempt;
        let shows = last_item.map(|last| last + HANGS_AFTER);
        let limit = shows.or(opened_at.map(|opened| opened + STARTS_WITHIN));
        limit.into_iter().chain(ended_at.map(|ended| ended + ENDS_WITHIN)).min()
    }
}

/// What comes of the stream.
impl Feed {
    fn take_items(&mut self, now: Instant, parsed: Result<(), StreamError>) {
        while let Some(item) = self.parser.poll() {
            if self.config.kind == Kind::File {
                self.file.ready.push_back(item);
            } else {
                self.deliver(now, item);
            }
        }
        if let Err(error) = parsed
            && !self.attempt.failed
        {
            let words = error.words();
            self.fail(now, Cause::Stream(error), words);
            if self.has_process && self.ending.is_none() {
                self.ending = Some(Ending::begin(now));
            }
            if self.config.kind == Kind::File && self.attempt.ended_at.is_none() {
                // A film may have gigabytes.
                self.attempt.ended_at = Some(now);
                self.commands.push_back(Command::Close);
            }
        }
        self.play_file(now);
    }

    fn deliver(&mut self, now: Instant, item: pipe::Item) {
        if !self.is_running() {
            let Info { size, profile_level_id, .. } = self.info();
            let size = size.map_or(String::new(), |size| format!(" {size}"));
            let profile =
                profile_level_id.map_or(String::new(), |id| format!(", profile {id:06x}"));
            let format = self.info().format.map_or("", Format::name);
            log::info!("the picture is {format}{size}{profile}");
            self.set_status(now, Status::Running);
            // A command that is being ended may go on: its end is still to come.
            self.attempt.failed = false;
        }
        self.attempt.first_item.get_or_insert(now);
        self.attempt.last_item = Some(now);
        self.last_item = Some(now);
        let captured = self.arrivals.time_of_next(now);
        if let pipe::Item::AccessUnit(unit) = &item {
            self.groups.note_picture(now, unit.keyframe);
        }
        self.items.push_back(match item {
            pipe::Item::AccessUnit(unit) => Item::Frame(Frame::h264(unit.data, captured)),
            pipe::Item::Picture(picture) => Item::Picture(picture, captured),
            pipe::Item::Samples(samples) => Item::Samples(samples, captured),
            pipe::Item::Jpeg(jpeg) => Item::Jpeg(jpeg, captured),
        });
    }
}

fn parser(config: &Config) -> Parser {
    // A size that is not shown was refused by the command line.
    config.raw.and_then(|raw| Parser::raw(raw.size, raw.pixels).ok()).unwrap_or_default()
}
