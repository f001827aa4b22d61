//! What must hold of a camera, whatever it and the kernel do.

use std::path::Path;
use std::time::{Duration, Instant};

use ballcast::testing::media::Size;
use ballcast::testing::source::camera::{
    CameraCause, CameraCommand, CameraFormat, CameraMode, CameraScan, CameraStep, CameraWish,
};
use ballcast::testing::source::{Source, SourceCause, SourceStatus};

use super::answer::Answer;
use super::devices::{EACCES, OTHER};
use super::kernel::{ENODEV, Kernel};
use super::{CameraOptions, is_job};
use crate::rules::{RuleResult, rule};

const SLACK: Duration = Duration::from_millis(20);
/// Without pictures for so long, the camera is silent.
const SILENT_AFTER: Duration = Duration::from_millis(1_000);
/// After a change of the devices, udev may still be at work.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);
const SCANS_APART: Duration = Duration::from_millis(90);
/// A camera that has been missing for so long is looked for less often than this.
const PATIENT_AFTER: Duration = Duration::from_secs(10);
const PATIENT_SCANS_APART: Duration = Duration::from_millis(4_900);
/// After the faults, or a change of the devices, until there are pictures: the longest pause between attempts, a
/// silent stream that is restarted, and the answers of the driver.
const SHOWN_WITHIN: Duration = Duration::from_secs(18);
const RESTS_AFTER: Duration = Duration::from_secs(10);
/// A command that is under way for so long is not answered.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// A camera that is plugged in and well is shown within this time, beside what the driver takes for three commands.
const BACK_WITHIN: Duration = Duration::from_millis(700);
/// A camera that is missing is said to be after this time, beside the same.
const MISSING_WITHIN: Duration = Duration::from_millis(2_500);

pub struct CameraRules {
    options: CameraOptions,
    last_scan: Option<CameraScan>,
    scanned_at: Option<Instant>,
    /// When the command was given that is under way.
    asked_at: Option<Instant>,
    /// When one was answered that took long.
    answered_at: Option<Instant>,
    is_open: bool,
    changed_at: Option<Instant>,
    absent_since: Option<Instant>,
    last_good: Option<Instant>,
    /// Pictures that may not be shown.
    bad: Vec<u64>,
    last_number: u64,
    last_captured: Option<Instant>,
    /// The camera's H.264 was given up, since the devices have changed.
    has_refused_h264: bool,
    started: Option<CameraMode>,
    /// Which the driver has given.
    size: Option<Size>,
    /// Nobody may watch since then.
    unwatched_since: Option<Instant>,
    /// Nobody is known to watch, or somebody is, since then.
    is_viewed: (bool, Instant),
    is_resting: bool,
    resumed_at: Option<Instant>,
    healed_at: Option<Instant>,
    last_shown: Option<Instant>,
}

impl CameraRules {
    pub fn new(options: &CameraOptions, now: Instant) -> CameraRules {
        CameraRules {
            options: options.clone(),
            last_scan: None,
            scanned_at: None,
            asked_at: None,
            answered_at: None,
            is_open: false,
            changed_at: None,
            absent_since: Some(now),
            last_good: None,
            bad: Vec::new(),
            last_number: 0,
            last_captured: None,
            has_refused_h264: false,
            started: None,
            size: None,
            unwatched_since: Some(now - 2 * RESTS_AFTER),
            is_viewed: (false, now - 2 * RESTS_AFTER),
            is_resting: options.when_watched,
            resumed_at: None,
            healed_at: None,
            last_shown: None,
        }
    }

    pub fn heal(&mut self, now: Instant) {
        self.healed_at = Some(now);
    }

    /// Somebody watches, or somebody may: a client whose request is under way.
    pub fn watched(&mut self, now: Instant, is_watched: bool, may_be: bool) {
        self.unwatched_since = (!may_be).then_some(self.unwatched_since.unwrap_or(now));
        if self.is_viewed.0 != is_watched {
            self.is_viewed = (is_watched, now);
        }
    }

    /// When somebody was last known to begin to watch, or to end.
    pub fn viewed_since(&self) -> Instant {
        self.is_viewed.1
    }

    /// The host was suspended until then.
    pub fn suspended(&mut self, until: Instant) {
        self.resumed_at = Some(until);
    }

    /// The source has given a command.
    pub fn executed(
        &mut self,
        now: Instant,
        command: &CameraCommand,
        kernel: &Kernel,
    ) -> RuleResult {
        rule!(
            self.asked_at.is_none() && !kernel.has_job(),
            "C1: {command:?}, and another one is under way"
        );
        self.asked_at = is_job(command).then_some(now);
        match command {
            CameraCommand::Scan { .. } => {
                rule!(!self.is_open, "C1: a scan, and a camera is open");
                let is_wanted = !self.options.when_watched
                    || self.unwatched_since.is_none_or(|at| now <= at + RESTS_AFTER + SLACK);
                rule!(is_wanted, "C10: nobody watches, and it is looked for");
                let apart = self.scanned_at.map(|at| now - at);
                rule!(apart.is_none_or(|it| it >= SCANS_APART), "C7: two scans {apart:?} apart");
                let waits =
                    |since: Option<Instant>| since.is_none_or(|at| now > at + PATIENT_AFTER);
                let is_patient = !self.options.when_watched
                    && self.absent_since.is_some()
                    && waits(self.absent_since);
                rule!(
                    !is_patient
                        || !waits(self.changed_at)
                        || apart.is_none_or(|it| it >= PATIENT_SCANS_APART),
                    "C7: nothing has changed, and there are two scans {apart:?} apart"
                );
                self.scanned_at = Some(now);
            }
            CameraCommand::Start(start) => {
                let scan = self.last_scan.take().ok_or("C2: a start without a scan")?;
                let node = scan.nodes.iter().find(|node| node.path == start.path);
                let device = node.and_then(|node| node.device.as_ref().ok());
                let is_there =
                    device.is_some_and(|it| it.captures && it.modes.contains(&start.mode));
                rule!(is_there, "C2: {start:?} was not found");
                rule!(start.path != Path::new(OTHER), "C2: {start:?} has another name");
                let is_wanted = match &self.options.config.wish {
                    CameraWish::First | CameraWish::Named(_) => true,
                    CameraWish::At(path) => *path == start.path,
                };
                rule!(is_wanted, "C2: {start:?} is not wanted");
                let format = self.options.config.mode.format;
                rule!(format.is_none_or(|it| it == start.mode.format), "C2: another format");
                rule!(start.controls == [(7, 7)], "C2: controls {:?}", start.controls);
                let is_refused = self.has_refused_h264 && start.mode.format == CameraFormat::H264;
                rule!(!is_refused, "C9: a mode is chosen again that did not suit");
                (self.is_open, self.started) = (true, Some(start.mode));
            }
            CameraCommand::Stop => {
                rule!(self.is_open, "C1: nothing is open, and it is stopped");
                let is_h264 = self.started.is_some_and(|it| it.format == CameraFormat::H264);
                let has_far = kernel.plugged().is_some_and(|it| it.has_far_keyframes);
                let is_fresh = self.last_good.is_some_and(|at| now < at + SILENT_AFTER);
                let is_watched = self.unwatched_since.is_none_or(|at| now < at + RESTS_AFTER);
                if is_h264 && has_far && is_fresh && is_watched {
                    self.has_refused_h264 = true;
                }
            }
            CameraCommand::Run(line) => return Err(format!("C2: {line}")),
        }
        Ok(())
    }

    /// The source is about to be told.
    pub fn told(&mut self, now: Instant, answer: &Answer, kernel: &Kernel) {
        let is_answer = !matches!(answer, Answer::Pictures(_) | Answer::DevicesChanged);
        if is_answer && self.asked_at.is_some_and(|at| now > at + self.options.latency) {
            self.answered_at = Some(now);
        }
        match answer {
            Answer::Scanned(scan) => {
                self.asked_at = None;
                self.has_refused_h264 &= scan.nodes.iter().any(|it| it.path != Path::new(OTHER));
                self.last_scan = Some(scan.clone());
            }
            Answer::Started(started) => {
                self.size = Some(started.mode.size);
                self.asked_at = None;
                self.last_good = Some(now);
            }
            Answer::Stopped => (self.asked_at, self.is_open) = (None, false),
            Answer::Failed(step, error) => {
                self.has_refused_h264 &= *error != ENODEV;
                self.asked_at = self.asked_at.filter(|_| *step == CameraStep::Read);
                self.is_open = false;
            }
            Answer::DevicesChanged => {
                self.changed_at = Some(now);
            }
            Answer::Pictures(filled) => {
                for filled in filled {
                    if filled.is_marked || filled.is_cut {
                        self.bad.push(filled.number);
                    } else {
                        self.last_good = Some(now);
                    }
                }
            }
        }
        self.absent_since = match kernel.is_wanted() {
            true => None,
            false => self.absent_since.or(Some(now)),
        };
    }

    /// The source was told.
    pub fn check_told(&mut self, now: Instant, answer: &Answer, source: &Source) -> RuleResult {
        let resting = *source.status() == SourceStatus::Resting;
        if let Answer::Failed(CameraStep::Read, ENODEV) = answer {
            rule!(resting || is_failed(source), "C4: it is unplugged, and {:?}", source.status());
        }
        let is_new = self.changed_at.is_some_and(|at| now < at + SETTLES_WITHIN);
        if let Answer::Scanned(scan) = answer {
            let denied = scan.nodes.iter().any(|node| {
                node.device == Err(ballcast::testing::os_error::OsError::Number(EACCES))
            });
            let says_so = matches!(
                source.status(),
                SourceStatus::Failed { cause: SourceCause::Camera(CameraCause::NoPermission), .. }
            );
            rule!(
                !(denied && is_new && says_so),
                "C6: udev is at work, and a lack of permission is said"
            );
        }
        Ok(())
    }

    /// `size` is that of a raw picture.
    pub fn shown(
        &mut self,
        now: Instant,
        number: Option<u64>,
        size: Option<Size>,
        captured: Instant,
    ) -> RuleResult {
        rule!(size.is_none() || size == self.size, "C14: {size:?}, and it has {:?}", self.size);
        let Some(number) = number else { return Err("C8: a picture without a number".into()) };
        rule!(!self.bad.contains(&number), "C8: picture {number} is shown, and is damaged");
        rule!(number > self.last_number, "C8: picture {number} after {}", self.last_number);
        let last = self.last_captured.replace(captured);
        rule!(
            last.is_none_or(|last| captured > last),
            "C8: the time of picture {number} goes back"
        );
        rule!(captured <= now + Duration::from_millis(10), "C8: picture {number} is of the future");
        self.last_number = number;
        self.last_shown = Some(now);
        Ok(())
    }

    pub fn check_state(&mut self, now: Instant, source: &Source, kernel: &Kernel) -> RuleResult {
        let is_running = *source.status() == SourceStatus::Running;
        let late = |since: Option<Instant>| since.is_some_and(|at| now > at + SILENT_AFTER + SLACK);
        rule!(!is_running || !late(self.last_good), "C5: it passes for running, and is silent");
        rule!(!is_running || self.is_open, "C5: it passes for running, and is closed");
        let rested = self.unwatched_since.is_some_and(|at| now > at + RESTS_AFTER + SLACK);
        if self.options.when_watched && rested {
            let is_resting = *source.status() == SourceStatus::Resting;
            rule!(is_resting, "C10: nobody watches, and it is {:?}", source.status());
            let is_stopping = self.asked_at.is_some();
            rule!(!kernel.is_streaming() || is_stopping, "C10: nobody watches, and it streams");
        }
        self.check_rest(now, source)?;
        self.check_answers(now, source)?;
        self.check_presence(now, source, kernel)
    }

    /// It does not rest while somebody watches, and for 10 s after that.
    fn check_rest(&mut self, now: Instant, source: &Source) -> RuleResult {
        let is_resting = *source.status() == SourceStatus::Resting;
        let was_resting = std::mem::replace(&mut self.is_resting, is_resting);
        let (is_viewed, since) = self.is_viewed;
        rule!(!(is_resting && is_viewed), "C10: somebody watches, and it rests");
        let is_early = is_resting && !was_resting && now < since + RESTS_AFTER;
        rule!(!is_early, "C10: it rests {:?} after the last viewer", now - since);
        Ok(())
    }

    /// A camera that does not answer is said not to, and no other is.
    fn check_answers(&self, now: Instant, source: &Source) -> RuleResult {
        if self.is_resting {
            return Ok(());
        }
        let waits = self.asked_at.map(|at| now - at).unwrap_or_default();
        let is_said = cause(source) == Some(&CameraCause::NoAnswer);
        let is_late = waits > ANSWERS_WITHIN + SLACK;
        rule!(is_said || !is_late, "C11: no answer for {waits:?}, and {:?}", source.status());
        rule!(!is_said || waits >= ANSWERS_WITHIN, "C11: it waits {waits:?}, and is said to hang");
        Ok(())
    }

    /// A camera that is there and well is shown, and one that is not is said to be missing.
    fn check_presence(&self, now: Instant, source: &Source, kernel: &Kernel) -> RuleResult {
        let (is_viewed, viewed_since) = self.is_viewed;
        if self.options.when_watched && !is_viewed {
            return Ok(());
        }
        let since_all = if self.options.when_watched { Some(viewed_since) } else { None };
        let since_all = since_all.max(self.resumed_at);
        let driver = 3 * self.options.latency;
        let late = |since: Instant, limit: Duration| {
            since_all.is_none_or(|at| now > at + limit + driver) && now > since + limit + driver
        };
        let is_running = *source.status() == SourceStatus::Running;
        let is_ready = kernel.ready_since().is_some_and(|at| late(at, BACK_WITHIN));
        rule!(is_running || !is_ready, "C12: it is well, and {:?}", source.status());
        let lately = self.changed_at.max(self.answered_at);
        let absent = self.absent_since.max(self.absent_since.and(lately));
        let is_missing = absent.is_some_and(|at| late(at, MISSING_WITHIN)) && !self.is_open;
        let is_missing = is_missing && self.asked_at.is_none();
        let sentence = source.no_signal(now).map(|it| it.sentence).unwrap_or_default();
        let is_said = ["plug one in", "plug it in", "to be plugged in"];
        let is_said = is_said.iter().any(|words| sentence.contains(words));
        rule!(is_said || !is_missing, "C13: there is no camera, and {sentence}");
        Ok(())
    }

    /// In the end a camera that is well is shown.
    pub fn check_end(&self, now: Instant, source: &Source, kernel: &Kernel) -> RuleResult {
        let Some(healed_at) = self.healed_at else { return Ok(()) };
        let is_due = now > healed_at + SHOWN_WITHIN;
        let shown = self.last_shown.is_some_and(|at| now < at + SILENT_AFTER);
        rule!(
            !is_due || shown,
            "C3: the camera is well, and {:?}, in {:?}",
            source.status(),
            kernel.mode()
        );
        Ok(())
    }
}

fn cause(source: &Source) -> Option<&CameraCause> {
    match source.status() {
        SourceStatus::Failed { cause: SourceCause::Camera(cause), .. } => Some(cause),
        _ => None,
    }
}

fn is_failed(source: &Source) -> bool {
    matches!(source.status(), SourceStatus::Failed { .. })
}
