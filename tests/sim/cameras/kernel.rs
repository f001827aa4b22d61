//! A driver and a kernel with cameras, as measured on real ones: what each call and event says.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ballcast::testing::media::{Matrix, Size};
use ballcast::testing::source::SourceKind;
use ballcast::testing::source::camera::{
    CameraCommand, CameraFormat, CameraMode, CameraScan, CameraStart, CameraStarted, CameraStep,
    CameraWish,
};
use ballcast::testing::source::parse::FrameRate;
use fastrand::Rng;

use super::CameraOptions;
use super::answer::{Answer, Filled};
use super::devices::{self, LINK};
use crate::source::stream::{SIZES, Stream};
use crate::source::{Format, SourceOptions};
use crate::tally::{Fault, Tally};

const NEVER: Duration = Duration::from_secs(1 << 20);
const FRAMES_PER_SECOND: u64 = 25;
/// What an answer takes when nothing is wrong.
const HEALED_LATENCY: Duration = Duration::from_millis(20);
/// udev sets the permissions of a new device within this time.
const UDEV: Duration = Duration::from_millis(600);

pub const EIO: i32 = 5;
pub const EBUSY: i32 = 16;
pub const ENODEV: i32 = 19;
pub const EINVAL: i32 = 22;
pub const ENOSPC: i32 = 28;

/// A camera that is plugged in.
#[derive(Debug, Clone)]
pub struct Plugged {
    pub number: u32,
    pub modes: Vec<CameraMode>,
    /// When it can be opened.
    pub permitted_at: Instant,
    /// Its H.264 has one key frame, at the start.
    pub has_far_keyframes: bool,
}

/// A stream of the camera.
struct Running {
    mode: CameraMode,
    stream: Stream,
    next_at: Instant,
    sequence: u32,
    /// It never brings a picture.
    is_mute: bool,
}

pub struct Kernel {
    options: CameraOptions,
    rng: Rng,
    is_faulty: bool,
    plugged: Option<Plugged>,
    plug_at: Instant,
    other_change_at: Instant,
    /// The camera is silent until then, or will be from then on.
    silent_until: Option<Instant>,
    silence_at: Instant,
    running: Option<Running>,
    /// What the driver does, and when it is done.
    job: Option<(Instant, CameraCommand)>,
    /// Since when the wanted camera can be shown, and nothing has gone wrong.
    ready_since: Option<Instant>,
    pictures: u64,
}

impl Kernel {
    pub fn new(options: &CameraOptions, mut rng: Rng, now: Instant) -> Kernel {
        let mut kernel = Kernel {
            options: options.clone(),
            is_faulty: true,
            plugged: None,
            plug_at: now + Duration::from_millis(rng.u64(..3_000)),
            other_change_at: now,
            silent_until: None,
            silence_at: now,
            running: None,
            job: None,
            ready_since: None,
            pictures: 0,
            rng,
        };
        kernel.other_change_at = now + kernel.draw(options.other_changes);
        kernel.silence_at = now + kernel.draw(options.silences);
        if kernel.rng.bool() {
            kernel.plug(now, 0);
        }
        kernel
    }

    pub fn plugged(&self) -> Option<&Plugged> {
        self.plugged.as_ref()
    }

    pub fn is_streaming(&self) -> bool {
        self.running.is_some()
    }

    /// Since when the wanted camera can be shown, and nothing has gone wrong.
    pub fn ready_since(&self) -> Option<Instant> {
        self.ready_since
    }

    /// Whether the operator wants the camera that is plugged in.
    pub fn is_wanted(&self) -> bool {
        let Some(plugged) = &self.plugged else { return false };
        match &self.options.config.wish {
            CameraWish::At(path) => {
                let own = PathBuf::from(format!("/dev/video{}", plugged.number));
                path == Path::new(LINK) || *path == own
            }
            _ => true,
        }
    }

    pub fn has_job(&self) -> bool {
        self.job.is_some()
    }

    pub fn next_at(&self) -> Instant {
        let picture = self.running.as_ref().filter(|it| !it.is_mute).map(|it| it.next_at);
        let picture = picture.map(|at| at.max(self.silent_until.unwrap_or(at)));
        let job = self.job.as_ref().map(|(at, _)| *at);
        let permitted = self.plugged.as_ref().map(|it| it.permitted_at);
        let plugging = [self.plug_at, self.other_change_at, self.silence_at];
        let times = [picture, job, permitted].into_iter().flatten().chain(plugging);
        times.min().expect("there are some")
    }

    /// From now on nothing goes wrong any more, and a camera is there.
    pub fn heal(&mut self, now: Instant) {
        self.is_faulty = false;
        (self.silent_until, self.silence_at) = (None, now + NEVER);
        (self.plug_at, self.other_change_at) = (now + NEVER, now + NEVER);
        let is_good = |it: &Plugged| !it.has_far_keyframes && it.number == 0;
        if !self.plugged.as_ref().is_some_and(is_good) {
            // Unplugged now, and plugged in again.
            self.plug_at = now;
        }
        if let Some(running) = &mut self.running {
            running.is_mute = false;
        }
        if let Some((at, _)) = &mut self.job {
            *at = now + self.options.latency.min(HEALED_LATENCY);
        }
    }

    /// The host was suspended for this long, and everything with it.
    pub fn suspended(&mut self, time: Duration) {
        let Kernel { plugged, plug_at, other_change_at, silent_until, silence_at, .. } = self;
        let others =
            [Some(plug_at), Some(other_change_at), silent_until.as_mut(), Some(silence_at)];
        let permitted = plugged.as_mut().map(|it| &mut it.permitted_at);
        let picture = self.running.as_mut().map(|it| &mut it.next_at);
        let job = self.job.as_mut().map(|(at, _)| at);
        let times = others.into_iter().chain([permitted, picture, job, self.ready_since.as_mut()]);
        times.flatten().for_each(|at| *at += time);
    }

    /// What has happened until now.
    pub fn step(&mut self, now: Instant, tally: &mut Tally) -> Vec<Answer> {
        let mut answers = Vec::new();
        if now >= self.plug_at {
            self.plug_at = now + self.draw(self.options.plugging);
            match self.plugged.take() {
                Some(_) => {
                    tally.fault(Fault::CameraUnplugged);
                    self.ready_since = None;
                    if self.running.take().is_some() {
                        // The device says so, and inotify does.
                        answers.push(Answer::Failed(CameraStep::Read, ENODEV));
                    }
                }
                None => {
                    let number = if self.is_faulty { [0, 0, 2][self.rng.usize(..3)] } else { 0 };
                    if number > 0 {
                        tally.fault(Fault::CameraRenumbered);
                    }
                    self.plug(now, number);
                }
            }
            if !self.is_faulty {
                let back = Duration::from_millis(500);
                self.plug_at = now + if self.plugged.is_some() { NEVER } else { back };
            }
            answers.push(Answer::DevicesChanged);
        }
        if let Some(plugged) = &mut self.plugged
            && now >= plugged.permitted_at
            && now < plugged.permitted_at + NEVER / 2
        {
            plugged.permitted_at = now + NEVER;
            let is_silent = self.silent_until.is_some_and(|until| now < until);
            let latency = self.options.latency;
            let is_hanging = self.job.as_ref().is_some_and(|(at, _)| *at > now + latency);
            // One that has started before may be mute.
            let is_new = self.running.is_none();
            let is_ready = self.is_wanted() && is_new && !is_silent && !is_hanging;
            self.ready_since = is_ready.then_some(now);
            answers.push(Answer::DevicesChanged);
        }
        if now >= self.other_change_at {
            self.other_change_at = now + self.draw(self.options.other_changes);
            answers.push(Answer::DevicesChanged);
        }
        if now >= self.silence_at {
            self.silence_at = now + self.draw(self.options.silences);
            if self.running.is_some() {
                tally.fault(Fault::CameraSilent);
            }
            self.silent_until = Some(now + Duration::from_millis(self.rng.u64(..9_000)));
            self.ready_since = None;
        }
        if let Some((_, job)) = self.job.take_if(|(at, _)| *at <= now) {
            answers.push(self.finish(now, job, tally));
        }
        answers.extend(self.fill(now, tally));
        answers
    }

    /// Begins to carry out a command.
    pub fn execute(&mut self, now: Instant, command: CameraCommand, tally: &mut Tally) {
        if command == CameraCommand::Stop {
            self.running = None;
        }
        let most = self.options.latency;
        let latency = match self.is_faulty {
            true if self.rng.f64() < self.options.hangs => {
                tally.fault(Fault::CameraHangs);
                self.ready_since = None;
                Duration::from_millis(self.rng.u64(8_000..40_000))
            }
            true => Duration::from_micros(self.rng.u64(1..=most.as_micros() as u64)),
            false => most.min(HEALED_LATENCY),
        };
        self.job = Some((now + latency, command));
    }

    /// Whether the camera can be opened now.
    pub fn is_permitted(&self, now: Instant) -> bool {
        // Beyond it, the change was told.
        self.plugged
            .as_ref()
            .is_some_and(|it| now >= it.permitted_at || it.permitted_at > now + UDEV)
    }

    fn plug(&mut self, now: Instant, number: u32) {
        let has_far_keyframes = self.is_faulty && self.rng.bool();
        let mode = |format, rate| {
            let [width, height] = SIZES[0].map(usize::from);
            CameraMode { format, size: Size { width, height }, rate: FrameRate::new(rate, 1) }
        };
        let mut modes = vec![mode(CameraFormat::Mjpeg, FRAMES_PER_SECOND)];
        if self.rng.bool() {
            modes.push(mode(CameraFormat::H264, FRAMES_PER_SECOND));
        }
        if self.rng.bool() {
            modes.push(mode(CameraFormat::I420, FRAMES_PER_SECOND));
        }
        let wait = self.rng.u64(..UDEV.as_millis() as u64);
        let permitted_at = now + Duration::from_millis(wait);
        self.plugged = Some(Plugged { number, modes, permitted_at, has_far_keyframes });
    }

    fn finish(&mut self, now: Instant, job: CameraCommand, tally: &mut Tally) -> Answer {
        match job {
            CameraCommand::Scan { path, .. } => {
                Answer::Scanned(self.scan(now, path.as_deref(), tally))
            }
            CameraCommand::Start(start) => self.start(now, &start, tally),
            CameraCommand::Stop | CameraCommand::Run(_) => {
                self.ready_since = self.ready_since.map(|_| now);
                Answer::Stopped
            }
        }
    }

    fn scan(&mut self, now: Instant, path: Option<&Path>, tally: &mut Tally) -> CameraScan {
        let is_permitted = self.is_permitted(now);
        if self.plugged.is_some() && !is_permitted {
            tally.fault(Fault::CameraForbidden);
        }
        devices::scan(path, self.plugged.as_ref(), is_permitted, self.options.has_other)
    }

    fn start(&mut self, now: Instant, start: &CameraStart, tally: &mut Tally) -> Answer {
        let Some(plugged) = self.plugged.clone() else {
            return Answer::Failed(CameraStep::Open, ENODEV);
        };
        let own = format!("/dev/video{}", plugged.number);
        if start.path != Path::new(LINK) && start.path != Path::new(&own) {
            return Answer::Failed(CameraStep::Open, ENODEV);
        }
        if self.is_faulty && self.rng.f64() < self.options.bad_starts {
            let (fault, step, error) = [
                (Fault::CameraBusy, CameraStep::SetFormat, EBUSY),
                (Fault::CameraNoBandwidth, CameraStep::StartStream, ENOSPC),
                (Fault::CameraFails, CameraStep::AllocateBuffers, EINVAL),
                (Fault::CameraFails, CameraStep::StartStream, EIO),
            ][self.rng.usize(..4)];
            tally.fault(fault);
            self.ready_since = None;
            return Answer::Failed(step, error);
        }
        let is_mute = self.is_faulty && self.rng.f64() < self.options.bad_starts / 4.0;
        if is_mute {
            tally.fault(Fault::CameraMute);
            self.ready_since = None;
        }
        let mut mode = start.mode;
        if mode.format == CameraFormat::I420 && self.rng.f64() < self.options.odd_modes {
            tally.fault(Fault::CameraOtherMode);
            let [width, height] = SIZES[1].map(usize::from);
            (mode.size, mode.rate) = (Size { width, height }, None);
        }
        let format = match mode.format {
            CameraFormat::H264 => Format::H264,
            CameraFormat::Mjpeg => Format::Mjpeg,
            CameraFormat::I420 | CameraFormat::Nv12 | CameraFormat::Yuyv => Format::Raw,
        };
        let is_far = plugged.has_far_keyframes && format == Format::H264;
        if is_far {
            tally.fault(Fault::CameraFarKeyframes);
            self.ready_since = None;
        }
        let options = SourceOptions {
            kind: SourceKind::Camera,
            format,
            group: if is_far { u32::MAX } else { 25 },
            repeats_sets: true,
            slices: 1,
            keyframe_bytes: 300,
            delta_bytes: 60,
            ..SourceOptions::draw(&mut Rng::with_seed(1))
        };
        self.running = Some(Running {
            mode,
            stream: Stream::of_size(&options, usize::from(mode != start.mode)),
            next_at: now + Duration::from_millis(self.rng.u64(30..200)),
            sequence: 0,
            is_mute,
        });
        Answer::Started(CameraStarted {
            mode,
            line_bytes: mode.size.width,
            matrix: Matrix::Bt601,
            is_full_range: false,
            refused: vec![],
        })
    }

    /// The buffers that have been filled.
    fn fill(&mut self, now: Instant, tally: &mut Tally) -> Option<Answer> {
        let is_silent = self.silent_until.is_some_and(|until| now < until);
        let running = self.running.as_mut().filter(|it| !it.is_mute && !is_silent)?;
        if now < running.next_at {
            return None;
        }
        if self.is_faulty && self.rng.f64() < self.options.fatal {
            tally.fault(Fault::CameraFails);
            (self.running, self.ready_since) = (None, None);
            let error = [EIO, EINVAL, ENODEV][self.rng.usize(..3)];
            return Some(Answer::Failed(CameraStep::Read, error));
        }
        // Several at an edge.
        let count = [1, 1, 1, 2][self.rng.usize(..4)];
        let mut filled = Vec::new();
        for _ in 0..count {
            // uvcvideo drops a picture with an error on the bus, and says nothing.
            let is_lost = self.is_faulty && self.rng.u8(..20) == 0;
            for _ in 0..u8::from(is_lost) {
                tally.fault(Fault::CameraLosesPicture);
                self.pictures += 1;
                running.sequence = running.sequence.wrapping_add(1);
                running.stream.next(self.pictures, false, &mut self.rng);
            }
            self.pictures += 1;
            running.sequence = running.sequence.wrapping_add(1);
            let written = running.stream.next(self.pictures, false, &mut self.rng);
            let mut data = written.bytes;
            let age = Duration::from_millis(self.rng.u64(1..30));
            let is_odd = self.is_faulty && self.rng.u8(..30) == 0;
            if is_odd {
                tally.fault(Fault::CameraOddTimes);
            }
            let captured = match is_odd {
                true => now + Duration::from_secs(self.rng.u64(..1_000)),
                false => now - age,
            };
            let fate = self.is_faulty && self.rng.f64() < self.options.damage;
            self.ready_since = self.ready_since.filter(|_| !fate && !is_lost);
            let is_marked = fate && self.rng.bool();
            // What is missing at the end of a slice is noticed by nobody but the decoder.
            let is_cut = fate && !is_marked && running.mode.format != CameraFormat::H264;
            if is_marked {
                tally.fault(Fault::CameraMarksDamage);
            }
            if is_cut {
                tally.fault(Fault::CameraCutsShort);
                data.truncate(data.len() / 8);
            }
            filled.push(Filled {
                number: self.pictures,
                keyframe: written.keyframe,
                data,
                captured,
                sequence: running.sequence,
                is_marked,
                is_cut,
            });
        }
        running.next_at = now + Duration::from_millis(1_000 / FRAMES_PER_SECOND) * count;
        Some(Answer::Pictures(filled))
    }

    pub fn mode(&self) -> Option<CameraMode> {
        self.running.as_ref().map(|running| running.mode)
    }

    /// A time with this mean.
    fn draw(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.rng.f64()).ln()).max(Duration::from_millis(1))
    }
}
