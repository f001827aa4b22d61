//! The far end of a stream from outside: writers of pictures and commands that run, with everything
//! that goes wrong with them.

pub mod stream;
mod writer;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ballcast::testing::media::{PixelFormat, Size};
use ballcast::testing::source::{RawPictures, Signal, SourceConfig, SourceKind, StreamConfig};
use fastrand::Rng;

pub use self::stream::Format;
use self::stream::{SIZES, Stream};
use crate::tally::{Fault, Tally};

/// The most that is read at once.
pub const READ_BYTES: usize = 64 << 10;
const LARGE_KEYFRAME_BYTES: usize = 100_000;
const FOREVER: Duration = Duration::from_secs(1 << 20);

/// A stream from outside in place of the ball, and the faults of those who write it.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    pub kind: SourceKind,
    pub format: Format,
    pub frames_per_second: u32,
    /// The most frames in a group.
    pub group: u32,
    pub repeats_sets: bool,
    pub slices: usize,
    pub keyframe_bytes: usize,
    pub delta_bytes: usize,
    /// How long a writer goes on, on average.
    pub life: Duration,
    /// The probability that an opening comes to nothing.
    pub bad_starts: f64,
    /// The probabilities of faults, for each picture.
    pub damage: f64,
    pub cuts: f64,
    pub bursts: f64,
    pub stalls: f64,
    pub changes: f64,
    pub damaged_jpegs: f64,
    pub failed_encodes: f64,
}

impl SourceOptions {
    pub fn draw(rng: &mut Rng) -> SourceOptions {
        let share = |rng: &mut Rng, most: f64| if rng.bool() { rng.f64() * most } else { 0.0 };
        let mut options = SourceOptions {
            kind: [
                SourceKind::Stdin,
                SourceKind::Fifo,
                SourceKind::File,
                SourceKind::Command,
                SourceKind::Command,
            ][rng.usize(..5)],
            format: [
                Format::H264,
                Format::H264,
                Format::H264,
                Format::Y4m,
                Format::Raw,
                Format::Mjpeg,
            ][rng.usize(..6)],
            frames_per_second: [10, 15, 25, 30][rng.usize(..4)],
            group: [1, 5, 20, 30, 30, 200][rng.usize(..6)],
            repeats_sets: rng.bool(),
            slices: [1, 1, 1, 3][rng.usize(..4)],
            keyframe_bytes: [100, 600, 600, 5_000, 5_000, LARGE_KEYFRAME_BYTES][rng.usize(..6)],
            delta_bytes: [30, 150, 900][rng.usize(..3)],
            life: Duration::from_secs([3, 10, 60][rng.usize(..3)]),
            bad_starts: share(rng, 0.8),
            damage: share(rng, 0.02),
            cuts: share(rng, 0.8),
            bursts: share(rng, 0.1),
            stalls: share(rng, 0.01),
            changes: share(rng, 0.05),
            damaged_jpegs: share(rng, 0.2),
            failed_encodes: share(rng, 0.05),
        };
        if rng.u8(..6) == 0 {
            // A kind of pictures that no encoder takes.
            options.failed_encodes = 1.0;
        }
        if options.keyframe_bytes == LARGE_KEYFRAME_BYTES {
            // No camera makes more than some Mbit/s.
            options.group = options.group.max(30);
        }
        options
    }

    pub fn config(&self) -> SourceConfig {
        let [width, height] = SIZES[0].map(usize::from);
        let raw = RawPictures {
            size: Size { width, height },
            pixels: PixelFormat::PICTURE,
            frames_per_second: self.frames_per_second,
        };
        let raw = (self.format == Format::Raw).then_some(raw);
        StreamConfig { kind: self.kind, raw, interval: None }.into()
    }

    fn period(&self) -> Duration {
        Duration::from_secs(1) / self.frames_per_second
    }
}

/// Bytes that come at once.
#[derive(Debug, Default)]
pub struct Piece {
    wait: Duration,
    pub bytes: Vec<u8>,
    /// Pictures that begin in it.
    pub begins: Vec<Begun>,
    /// Pictures of which these are the last bytes.
    pub completes: Vec<u64>,
    /// The core cannot be expected to make the best of it.
    pub is_bad: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Begun {
    pub number: u64,
    pub keyframe: bool,
    pub is_damaged: bool,
    /// So many bytes of the piece tell that it has begun.
    head: usize,
}

/// What has happened to the stream.
#[derive(Debug)]
pub enum Told {
    Opened,
    Bytes(Piece),
    Ended,
    Failed,
    Exited,
}

/// What happens next at the far end, of this opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Write(u64),
    End(u64),
    Exit(u64),
}

/// What is told now, and what happens after which time.
pub type Turn = (Vec<Told>, Vec<(Duration, Step)>);

/// A command that runs.
struct Process {
    number: u64,
    /// It ignores the signals before this one.
    dies_on: Signal,
    dies_after: Duration,
    is_dying: bool,
}

/// How a writer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Leaves,
    /// It closes the stream, and the command runs on.
    Closes,
    Hangs,
    /// The command is gone, and something else still holds its output.
    LeavesOpen,
    ReadError,
    BFrame,
}

struct Writer {
    stream: Stream,
    pieces: VecDeque<Piece>,
    next_at: Instant,
    end: End,
    ends_at: Instant,
    is_bad: bool,
    /// Pictures in a row that came in one piece.
    whole_pictures: u32,
}

pub struct FarEnd {
    options: SourceOptions,
    rng: Rng,
    /// Faults happen.
    is_faulty: bool,
    opening: u64,
    is_open: bool,
    process: Option<Process>,
    writer: Option<Writer>,
    /// Of a file.
    unread: VecDeque<Piece>,
    /// The number of the last picture.
    pub pictures: u64,
}

impl FarEnd {
    pub fn new(options: &SourceOptions, seed: u64) -> FarEnd {
        FarEnd {
            options: options.clone(),
            rng: Rng::with_seed(seed ^ 0xbb67_ae85_84ca_a73b),
            is_faulty: true,
            opening: 0,
            is_open: false,
            process: None,
            writer: None,
            unread: VecDeque::new(),
            pictures: 0,
        }
    }

    pub fn open(&mut self, now: Instant, tally: &mut Tally) -> Turn {
        self.opening += 1;
        self.writer = None;
        self.unread.clear();
        let kind = self.options.kind;
        let bad_start =
            self.is_faulty && kind != SourceKind::Stdin && self.rng.f64() < self.options.bad_starts;
        let fate = if bad_start { self.rng.u8(..4) } else { u8::MAX };
        if fate == 0 {
            tally.fault(Fault::StreamOpenFails);
            return (vec![Told::Failed], vec![]);
        }
        self.is_open = true;
        if kind == SourceKind::Command {
            let signals = [Signal::Interrupt, Signal::Interrupt, Signal::Terminate, Signal::Kill];
            self.process = Some(Process {
                number: self.opening,
                dies_on: signals[self.rng.usize(..4)],
                dies_after: self.milliseconds(2_500),
                is_dying: false,
            });
        }
        let begins = match kind {
            SourceKind::File => return self.lay_out_file(fate, tally),
            SourceKind::Stdin | SourceKind::Fifo | SourceKind::Command if self.is_faulty => {
                self.milliseconds(2_000)
            }
            _ => self.milliseconds(300),
        };
        let mut steps = vec![(begins, Step::Write(self.opening))];
        self.writer = Some(self.new_writer(now + begins));
        match fate {
            // It never shows anything.
            1 => {
                tally.fault(Fault::StreamMute);
                self.writer = None;
                if kind == SourceKind::Fifo {
                    steps = vec![(self.milliseconds(8_000), Step::End(self.opening))];
                }
            }
            2 if kind == SourceKind::Command => {
                tally.fault(Fault::CommandDiesAtOnce);
                self.writer = None;
                steps = vec![(self.milliseconds(50), Step::Exit(self.opening))];
            }
            3 if self.options.format == Format::H264 => {
                tally.fault(Fault::StreamFruitless);
                if let Some(writer) = &mut self.writer {
                    writer.is_bad = true;
                    writer.pieces.extend((0..40).map(|_| Piece {
                        wait: Duration::from_millis(200),
                        bytes: stream::without_keyframes(600),
                        is_bad: true,
                        ..Piece::default()
                    }));
                }
            }
            2 | 3 => {
                tally.fault(Fault::StreamWrongFormat);
                let bytes = b"\x1a\x45\xdf\xa3 a film in a container".to_vec();
                if let Some(writer) = &mut self.writer {
                    writer.is_bad = true;
                    writer.pieces.push_back(Piece { bytes, is_bad: true, ..Piece::default() });
                }
            }
            _ => {}
        }
        (vec![Told::Opened], steps)
    }

    fn new_writer(&mut self, begins: Instant) -> Writer {
        let ends =
            [End::Leaves, End::Closes, End::Hangs, End::LeavesOpen, End::ReadError, End::BFrame];
        let end = match self.options.kind {
            SourceKind::Command => ends[self.rng.usize(..6)],
            // One stream for the whole run: it does not end in most of them.
            SourceKind::Stdin if self.rng.u8(..4) > 0 => End::Hangs,
            _ => [End::Leaves, End::Leaves, End::ReadError, End::BFrame][self.rng.usize(..4)],
        };
        let end = match end {
            End::BFrame if self.options.format != Format::H264 => End::Leaves,
            end => end,
        };
        let life = match (self.is_faulty, self.options.kind) {
            (false, _) => FOREVER,
            (true, SourceKind::Stdin) if end == End::Hangs => FOREVER,
            (true, _) => self.options.life.mul_f64(-(1.0 - self.rng.f64()).ln()),
        };
        Writer {
            stream: Stream::new(&self.options, &mut self.rng),
            pieces: VecDeque::new(),
            next_at: begins,
            end,
            ends_at: begins + life,
            is_bad: false,
            whole_pictures: 0,
        }
    }

    /// A step is due.
    pub fn step(&mut self, now: Instant, step: Step, tally: &mut Tally) -> Turn {
        match step {
            Step::Write(opening) if opening == self.opening && self.is_open => {
                self.write(now, tally)
            }
            Step::End(opening) if opening == self.opening && self.is_open => {
                self.end_writer(now, tally)
            }
            Step::Exit(number) if self.process.as_ref().is_some_and(|it| it.number == number) => {
                self.process = None;
                self.writer = None;
                let ends = std::mem::take(&mut self.is_open) && self.rng.bool();
                let told = if ends { vec![Told::Ended, Told::Exited] } else { vec![Told::Exited] };
                (told, vec![])
            }
            _ => (vec![], vec![]),
        }
    }

    fn close(&mut self) {
        (self.is_open, self.writer) = (false, None);
    }

    /// The driver has let go of the descriptor: most commands end then.
    pub fn closed(&mut self) -> Turn {
        self.close();
        let number = self.opening;
        let pipe_breaks = self.process.is_some() && self.rng.u8(..4) > 0;
        let wait = self.milliseconds(200);
        (vec![], pipe_breaks.then_some((wait, Step::Exit(number))).into_iter().collect())
    }

    pub fn kill(&mut self, signal: Signal, tally: &mut Tally) -> Turn {
        let firmness = |signal| match signal {
            Signal::Interrupt => 0,
            Signal::Terminate => 1,
            Signal::Kill => 2,
        };
        let Some(process) = self.process.as_mut().filter(|process| !process.is_dying) else {
            return (vec![], vec![]);
        };
        if firmness(signal) < firmness(process.dies_on) {
            tally.fault(Fault::CommandIgnoresSignal);
            return (vec![], vec![]);
        }
        process.is_dying = true;
        // Nothing survives SIGKILL for long.
        let after =
            if signal == Signal::Kill { process.dies_after / 10 } else { process.dies_after };
        (vec![], vec![(after, Step::Exit(process.number))])
    }

    /// From now on nothing goes wrong any more: what does now is ended, and begins again.
    pub fn mend(&mut self, now: Instant) -> Turn {
        self.is_faulty = false;
        let wait = self.milliseconds(500);
        // One that is about to end, or stalls, is no good either.
        let waits = |piece: &Piece| piece.wait > Duration::from_secs(1);
        let good = self.writer.as_ref().is_some_and(|writer| {
            !writer.is_bad && !writer.pieces.is_empty() && !writer.pieces.iter().any(waits)
        });
        if let Some(writer) =
            self.writer.as_mut().filter(|_| good || self.options.kind == SourceKind::Stdin)
        {
            writer.ends_at = now + FOREVER;
            return (vec![], vec![]);
        }
        match self.options.kind {
            SourceKind::Command => {
                self.writer = None;
                let number = self.process.as_ref().map(|process| process.number);
                (vec![], number.map(|number| (wait, Step::Exit(number))).into_iter().collect())
            }
            SourceKind::Fifo if self.is_open => {
                self.writer = None;
                (vec![], vec![(wait, Step::End(self.opening))])
            }
            _ => (vec![], vec![]),
        }
    }

    /// The host was suspended for this long, and whoever writes the stream with it.
    pub fn suspended(&mut self, time: Duration) {
        if let Some(writer) = &mut self.writer {
            writer.next_at += time;
            writer.ends_at += time;
        }
    }

    /// Whether the stream has to run in the end.
    pub fn is_mended(&self) -> bool {
        let good = |writer: &Writer| !writer.is_bad;
        let runs = self.options.kind != SourceKind::Stdin || self.writer.as_ref().is_some_and(good);
        runs && !self.is_faulty
    }

    pub fn longest_group(&self) -> Duration {
        self.options.period() * self.options.group
    }

    /// Whether a picture cannot be encoded.
    pub fn encode_fails(&mut self, tally: &mut Tally) -> bool {
        let fails = self.is_faulty && self.rng.f64() < self.options.failed_encodes;
        if fails {
            tally.fault(Fault::EncodeFails);
        }
        fails
    }

    fn milliseconds(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.rng.u64(..most * 1_000))
    }
}
