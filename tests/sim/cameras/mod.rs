//! Cameras: the source with a driver and a kernel that say what real ones say, in virtual time.
//!
//! One seed draws the cameras that are plugged in and out, what they offer, their faults, other programs that use
//! them, when somebody watches, and how long each answer takes. In the last quarter all faults are removed, and the
//! camera that is there must be shown.

mod answer;
mod devices;
mod kernel;
mod rules;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use ballcast::testing::source::camera::{
    CameraCommand, CameraConfig, CameraFormat, CameraWish, ModeWish,
};
use ballcast::testing::source::{Source, SourceCommand, SourceEvent, SourceItem};
use ballcast::testing::work::steps_of;
use fastrand::Rng;

pub use self::answer::Answer;
pub use self::kernel::Kernel;
pub use self::rules::CameraRules;
use crate::rules::{RuleResult, rule};
use crate::tally::Tally;
use crate::wire;

const LENGTH: Duration = Duration::from_secs(120);
const HEALED_AFTER: Duration = Duration::from_secs(80);
/// The most steps of work for an event, beside one for each byte.
const STEPS: u64 = 512;

/// What the operator and the viewers do.
#[derive(Debug, Clone)]
pub struct CameraOptions {
    pub config: CameraConfig,
    pub when_watched: bool,
    /// The time that a picture takes to encode.
    pub encoding: Duration,
    /// The probabilities of faults: for each start, and for each picture.
    pub bad_starts: f64,
    pub damage: f64,
    pub fatal: f64,
    /// The probability that a command is not answered for long.
    pub hangs: f64,
    /// The probability that a start gives another mode than the one that was asked for.
    pub odd_modes: f64,
    /// There is another camera, whose name is not the wanted one.
    pub has_other: bool,
    /// The mean times between plugging, silences, and changes of other devices.
    pub plugging: Duration,
    pub silences: Duration,
    pub other_changes: Duration,
    /// The longest answer of a driver.
    pub latency: Duration,
}

impl CameraOptions {
    pub fn draw(rng: &mut Rng) -> CameraOptions {
        let share = |rng: &mut Rng, most: f64| if rng.bool() { rng.f64() * most } else { 0.0 };
        let seconds = |rng: &mut Rng, some: [u64; 3]| Duration::from_secs(some[rng.usize(..3)]);
        let wish = match rng.u8(..4) {
            0 => CameraWish::At("/dev/video0".into()),
            1 => CameraWish::At(devices::LINK.into()),
            2 => CameraWish::Named("TEST".into()),
            _ => CameraWish::First,
        };
        let format = [None, None, None, Some(CameraFormat::Mjpeg)][rng.usize(..4)];
        let has_other = matches!(wish, CameraWish::Named(_)) && rng.bool();
        CameraOptions {
            config: CameraConfig {
                wish,
                mode: ModeWish { format, ..ModeWish::default() },
                controls: vec![("brightness".into(), 7)],
            },
            when_watched: rng.u8(..4) == 0,
            encoding: Duration::from_millis([3, 3, 30, 60][rng.usize(..4)]),
            bad_starts: share(rng, 0.7),
            damage: share(rng, 0.3),
            fatal: share(rng, 0.01),
            hangs: share(rng, 0.1),
            odd_modes: share(rng, 0.5),
            has_other,
            plugging: seconds(rng, [4, 15, 60]),
            silences: seconds(rng, [8, 30, 300]),
            other_changes: seconds(rng, [1, 10, 300]),
            latency: Duration::from_millis([1, 50, 400, 5_000][rng.usize(..4)]),
        }
    }
}

/// Plays one seed. Returns the hash of all commands, items and states.
pub fn play(seed: u64, tally: &mut Tally) -> Result<u64, String> {
    let mut rng = Rng::with_seed(seed ^ 0x510e_527f_ade6_82d1);
    let options = CameraOptions::draw(&mut rng);
    let start = Instant::now();
    let source = match options.when_watched {
        true => Source::while_watched(options.config.clone().into(), start),
        false => Source::new(options.config.clone().into(), start),
    };
    let mut play = Play {
        kernel: Kernel::new(&options, rng.fork(), start),
        rules: CameraRules::new(&options, start),
        options,
        rng,
        source,
        now: start,
        start,
        is_watched: false,
        watched_at: start,
        trace: DefaultHasher::new(),
    };
    play.run(tally)?;
    Ok(play.trace.finish())
}

struct Play {
    options: CameraOptions,
    rng: Rng,
    source: Source,
    kernel: Kernel,
    rules: CameraRules,
    start: Instant,
    now: Instant,
    is_watched: bool,
    /// When that changes next.
    watched_at: Instant,
    trace: DefaultHasher,
}

impl Play {
    fn run(&mut self, tally: &mut Tally) -> RuleResult {
        let (end, healed_at) = (self.start + LENGTH, self.start + HEALED_AFTER);
        let mut is_healed = false;
        loop {
            let own = self.source.poll_timeout().unwrap_or(end);
            let next = own.min(self.kernel.next_at()).min(self.watched_at);
            let next = if is_healed { next } else { next.min(healed_at) };
            if next >= end {
                self.now = end;
                return self.rules.check_end(self.now, &self.source, &self.kernel);
            }
            self.now = next.max(self.now);
            if !is_healed && self.now >= healed_at {
                is_healed = true;
                self.kernel.heal(self.now);
                self.rules.heal(self.now);
                self.options.encoding = Duration::from_millis(3);
                (self.is_watched, self.watched_at) = (true, end);
                self.source.set_watched(self.now, true);
                self.rules.watched(self.now, true, true);
            } else if self.now >= self.watched_at {
                self.is_watched = !self.is_watched;
                self.watched_at = self.now + Duration::from_millis(self.rng.u64(100..30_000));
                self.source.set_watched(self.now, self.is_watched);
                self.rules.watched(self.now, self.is_watched, self.is_watched);
            }
            for answer in self.kernel.step(self.now, tally) {
                self.tell(&answer, tally)?;
            }
            self.source.handle_timeout(self.now);
            self.serve(tally)?;
            let after = self.source.poll_timeout();
            rule!(after.is_none_or(|at| at > self.now), "C7: a timer is due that was served");
            self.rules.check_state(self.now, &self.source, &self.kernel)?;
        }
    }

    fn tell(&mut self, answer: &Answer, tally: &mut Tally) -> RuleResult {
        self.rules.told(self.now, answer, &self.kernel);
        let (now, event, bytes) = (self.now, answer.event(), answer.bytes());
        let (steps, ()) = steps_of(|| self.source.handle_event(now, SourceEvent::Camera(event)));
        rule!(steps <= STEPS + bytes as u64, "S14: {steps} steps for {bytes} bytes of a camera");
        self.rules.check_told(self.now, answer, &self.source)?;
        self.serve(tally)
    }

    /// Carries out what the source wants, and takes what it shows.
    fn serve(&mut self, tally: &mut Tally) -> RuleResult {
        loop {
            if let Some(command) = self.source.poll_command() {
                let SourceCommand::Camera(command) = command else {
                    return Err(format!("C1: {command:?} of a camera"));
                };
                format!("{command:?}").hash(&mut self.trace);
                self.rules.executed(self.now, &command, &self.kernel)?;
                self.kernel.execute(self.now, command, tally);
            } else if let Some(item) = self.source.poll_item() {
                self.show(item)?;
            } else {
                (self.now - self.start).hash(&mut self.trace);
                self.source.status().name().hash(&mut self.trace);
                return Ok(());
            }
        }
    }

    fn show(&mut self, item: SourceItem) -> RuleResult {
        let (number, captured) = match &item {
            SourceItem::Frame(frame) => {
                let codec = ballcast::testing::media::Codec::H264;
                (wire::number_of_frame(codec, frame.data()), frame.captured)
            }
            SourceItem::Picture(picture, at) => (wire::digits(&picture.y.samples), *at),
            SourceItem::Samples(samples, at) => (wire::digits(&samples.planes[0]), *at),
            // SOI, and a comment with the number.
            SourceItem::Jpeg(jpeg, at) => (jpeg.data.get(6..).and_then(wire::digits), *at),
        };
        number.hash(&mut self.trace);
        let size = match &item {
            SourceItem::Picture(picture, _) => Some(picture.size()),
            SourceItem::Samples(samples, _) => Some(samples.size),
            SourceItem::Frame(_) | SourceItem::Jpeg(..) => None,
        };
        self.rules.shown(self.now, number, size, captured)?;
        let is_picture = !matches!(item, SourceItem::Frame(_));
        if is_picture && self.is_watched {
            self.source.note_outcome(self.now, None);
            self.source.note_encoded(self.now, self.options.encoding);
        }
        Ok(())
    }
}

/// What is under way in the driver.
fn is_job(command: &CameraCommand) -> bool {
    !matches!(command, CameraCommand::Run(_))
}
