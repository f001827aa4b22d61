//! Cameras of V4L2 (Video for Linux): which one is shown, in which mode, and what is done when it fails. Pure.
//!
//! A [`Camera`] takes the events of the driver, and returns what they mean for the source as a [`CameraChange`].
//! The driver decides nothing: [`contract`] lists what it tells, and what it is told.

mod cause;
mod contract;
mod controls;
mod modes;
mod pace;
mod raspberry_pi;
mod sequence;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use self::cause::CameraCause;
pub use self::contract::{
    CONTROLS_MAX, CameraBuffer, CameraCommand, CameraControl, CameraDevice, CameraEvent,
    CameraFormat, CameraMode, CameraNode, CameraScan, CameraStart, CameraStarted, CameraStep,
    MODES_MAX,
};
use self::controls::FoundControl;
use self::modes::RuledOut;
pub use self::modes::{ModeChoice, ModeWish, choose_mode, sizes_in_steps};
use self::pace::Pace;
use self::sequence::Sequence;
use super::RawPictures;
use crate::os_error::OsError;

/// After a change of the devices, udev sets their permissions and makes their links within this time. Until
/// then, nothing that fails is worth a sentence.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);
/// The pause between two scans in that time.
const SETTLING_PAUSE: Duration = Duration::from_millis(100);
/// The pause between two scans for a camera that is missing: changes of the devices are reported where the
/// kernel can watch them.
const MISSING_PAUSE: Duration = Duration::from_secs(5);
/// A command that the driver has not answered for this long hangs in the kernel: USB cameras may take 5 s for a
/// request (`uvcvideo`, `UVC_CTRL_CONTROL_TIMEOUT`).
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Which camera is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameraWish {
    /// The first that captures.
    First,
    /// The first whose name, or the name of a link to it, contains this, ignoring case.
    Named(String),
    /// The device at this path, which may be a link.
    At(PathBuf),
}

/// The configuration of a camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraConfig {
    pub wish: CameraWish,
    pub mode: ModeWish,
    /// Name and value, in order.
    pub controls: Vec<(String, i64)>,
}

/// What an event means for the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameraChange {
    /// Tell the driver.
    Do(CameraCommand),
    /// Pictures of this kind come.
    Started(CameraStarted),
    /// The command of the camera runs, and its standard output is a stream.
    Run { command: String, raw: Option<RawPictures> },
    /// There is no camera for this reason: [`Camera::scan`] is due after `pause`, or after the pause of a failure.
    Failed { cause: CameraCause, pause: Option<Duration> },
    /// The camera is closed, as it was asked for: [`Camera::scan`] is due.
    Closed { pause: Option<Duration> },
    /// [`Camera::scan`] is due now, if it was due later.
    Hurry,
    /// [`Camera::scan`] is due after this time, and nothing is wrong so far.
    Scan { pause: Duration },
}

/// One camera, for the life of the process.
#[derive(Debug)]
pub struct Camera {
    config: CameraConfig,
    began: Instant,
    phase: CameraPhase,
    /// When the last command was given.
    asked_at: Instant,
    /// When the last scan began.
    scanned_at: Option<Instant>,
    /// The devices have changed since the last scan began.
    has_changed: bool,
    changed_at: Option<Instant>,
    /// A camera was started before, so that one that is missing was unplugged.
    has_run: bool,
    ruled_out: RuledOut,
    /// Of the camera that was started last.
    controls: Vec<FoundControl>,
    pace: Pace,
    sequence: Sequence,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum CameraPhase {
    /// Nothing is open or under way.
    Closed,
    Scanning,
    Starting(ModeChoice),
    Running(ModeChoice),
    /// The next attempt begins as soon as the camera is closed, if `is_wanted`, or after the pause of a failure.
    Stopping {
        is_wanted: bool,
    },
}

impl Camera {
    pub fn new(config: CameraConfig, now: Instant) -> Camera {
        Camera {
            config,
            began: now,
            phase: CameraPhase::Closed,
            asked_at: now,
            scanned_at: None,
            has_changed: false,
            changed_at: None,
            has_run: false,
            ruled_out: RuledOut::default(),
            controls: Vec::new(),
            pace: Pace::default(),
            sequence: Sequence::default(),
        }
    }

    /// The command that begins an attempt. `None` while another one is under way.
    pub fn scan(&mut self, now: Instant) -> Option<CameraCommand> {
        if self.phase != CameraPhase::Closed {
            return None;
        }
        (self.phase, self.has_changed) = (CameraPhase::Scanning, false);
        (self.asked_at, self.scanned_at) = (now, Some(now));
        let path = match &self.config.wish {
            CameraWish::At(path) => Some(path.clone()),
            CameraWish::First | CameraWish::Named(_) => None,
        };
        let with_controls = !self.config.controls.is_empty();
        Some(CameraCommand::Scan { path, size: self.config.mode.size, with_controls })
    }

    /// The command that ends an attempt, if the camera is open.
    pub fn stop(&mut self, now: Instant) -> Option<CameraCommand> {
        self.close(now, false)
    }

    /// The same when nobody watches: the next attempt begins as soon as somebody does.
    pub fn rest(&mut self, now: Instant) -> Option<CameraCommand> {
        self.close(now, true)
    }

    pub fn is_running(&self) -> bool {
        matches!(self.phase, CameraPhase::Running(_))
    }

    /// When the next scan may begin, at the earliest: devices may change a thousand times a second.
    pub fn earliest_scan(&self, now: Instant) -> Instant {
        self.scanned_at.map_or(now, |at| now.max(at + SETTLING_PAUSE))
    }

    /// Whether nothing is open or under way.
    pub fn is_closed(&self) -> bool {
        self.phase == CameraPhase::Closed
    }

    /// When the command that is under way is overdue, if one is.
    pub fn answers_by(&self) -> Option<Instant> {
        let is_under_way = !self.is_closed() && !self.is_running();
        is_under_way.then_some(self.asked_at + ANSWERS_WITHIN)
    }

    /// Handles any event but pictures. A camera that `is_resting` is not started.
    pub fn handle_event(
        &mut self,
        now: Instant,
        event: CameraEvent,
        is_resting: bool,
    ) -> Option<CameraChange> {
        match event {
            CameraEvent::Scanned(_) if is_resting => {
                self.phase = CameraPhase::Closed;
                None
            }
            CameraEvent::Scanned(scan) => self.handle_scan(now, &scan),
            CameraEvent::Started(started) => self.handle_started(now, started),
            CameraEvent::Failed(step, error) => self.handle_failure(now, step, error),
            CameraEvent::Stopped => self.handle_stopped(),
            CameraEvent::DevicesChanged => self.note_changed_devices(now),
            CameraEvent::Pictures(_) => None,
        }
    }

    /// An attempt that waits begins now.
    fn note_changed_devices(&mut self, now: Instant) -> Option<CameraChange> {
        (self.has_changed, self.changed_at) = (true, Some(now));
        self.is_closed().then_some(CameraChange::Hurry)
    }

    fn handle_scan(&mut self, now: Instant, scan: &CameraScan) -> Option<CameraChange> {
        if self.phase != CameraPhase::Scanning {
            return None;
        }
        match choose_device(&self.config, scan) {
            Ok(Chosen::Device(node, device)) => Some(self.start(now, node, device)),
            Ok(Chosen::RaspberryPi { command, raw }) => {
                log::info!("the camera of the Raspberry Pi is shown: {command}");
                self.phase = CameraPhase::Closed;
                Some(CameraChange::Run { command, raw })
            }
            Err(cause) => Some(self.fail(now, cause)),
        }
    }

    fn handle_started(&mut self, now: Instant, started: CameraStarted) -> Option<CameraChange> {
        let CameraPhase::Starting(choice) = &self.phase else { return None };
        self.phase = CameraPhase::Running(choice.clone());
        self.has_run = true;
        controls::warn_of_refused(&self.controls, &started.refused);
        (self.pace, self.sequence) = (Pace::begin(now, started.mode.rate), Sequence::default());
        Some(CameraChange::Started(started))
    }

    fn handle_failure(
        &mut self,
        now: Instant,
        step: CameraStep,
        error: OsError,
    ) -> Option<CameraChange> {
        match std::mem::replace(&mut self.phase, CameraPhase::Closed) {
            CameraPhase::Stopping { is_wanted } => Some(closed(is_wanted)),
            // It streamed: the device that has changed is this one.
            _ if step == CameraStep::Read => Some(self.failed(CameraCause::at(step, error))),
            _ => Some(self.fail(now, CameraCause::at(step, error))),
        }
    }

    fn handle_stopped(&mut self) -> Option<CameraChange> {
        let CameraPhase::Stopping { is_wanted } = self.phase else { return None };
        self.phase = CameraPhase::Closed;
        Some(closed(is_wanted))
    }

    /// Records the number of a buffer. Returns whether pictures before it were lost.
    pub fn note_sequence(&mut self, number: u32) -> bool {
        self.sequence.note(number)
    }

    /// A key frame of H.264 came.
    pub fn note_keyframe(&mut self, now: Instant) {
        self.pace.note_keyframe(now);
    }

    /// The stream cannot be shown. Returns the command that ends the attempt.
    pub fn reject(&mut self, now: Instant) -> Option<CameraCommand> {
        let is_h264 = self.has_chosen_h264();
        self.ruled_out.h264 |= is_h264;
        self.close(now, is_h264)
    }

    /// Whether H.264 was chosen, and there is another format.
    fn has_chosen_h264(&self) -> bool {
        let CameraPhase::Running(choice) = &self.phase else { return false };
        let is_choice = self.config.mode.format.is_none() && !choice.is_only_one;
        is_choice && choice.mode.format == CameraFormat::H264
    }

    /// Buffers came, perhaps without a key frame. Returns the command that ends the attempt, if another mode is
    /// to be tried.
    pub fn check_keyframes(&mut self, now: Instant) -> Option<CameraCommand> {
        if !self.has_chosen_h264() || !self.pace.lacks_keyframes(now) {
            return None;
        }
        log::warn!(
            "the camera's H.264 has key frames more than 2 s apart, for which every viewer would have to wait: \
             another format is used; --camera-format h264 keeps it"
        );
        self.ruled_out.h264 = true;
        self.close(now, true)
    }

    /// A picture was encoded in this time. As [`check_keyframes`](Self::check_keyframes).
    pub fn note_encoded(&mut self, now: Instant, cost: Duration) -> Option<CameraCommand> {
        let CameraPhase::Running(choice) = &self.phase else { return None };
        let is_choice = self.config.mode.size.is_none();
        let slow = self.pace.note_encoded(now, cost)?;
        if !is_choice || !choice.has_smaller {
            return None;
        }
        let size = choice.mode.size;
        log::warn!(
            "encoding a picture of {size} takes {} ms here, and the camera brings one every {} ms: a smaller \
             size is used; --camera-size keeps it",
            slow.cost.as_millis(),
            slow.period.as_millis(),
        );
        self.ruled_out.areas_from = Some(size.width * size.height);
        self.close(now, true)
    }

    fn close(&mut self, now: Instant, is_wanted: bool) -> Option<CameraCommand> {
        if !self.is_running() {
            return None;
        }
        (self.phase, self.asked_at) = (CameraPhase::Stopping { is_wanted }, now);
        Some(CameraCommand::Stop)
    }

    fn fail(&mut self, now: Instant, cause: CameraCause) -> CameraChange {
        self.phase = CameraPhase::Closed;
        let cause = match cause {
            CameraCause::Missing | CameraCause::NotOfThatName if self.has_run => {
                CameraCause::Unplugged
            }
            cause => cause,
        };
        let is_recent = |at: Instant| now < at + SETTLES_WITHIN;
        let is_settling = self.changed_at.is_some_and(is_recent) && cause.may_settle();
        // At the start of the system, udev may be at work on a device that was there before.
        if is_settling || is_recent(self.began) && cause == CameraCause::NoPermission {
            return CameraChange::Scan { pause: SETTLING_PAUSE };
        }
        self.failed(cause)
    }

    fn failed(&mut self, cause: CameraCause) -> CameraChange {
        if matches!(cause, CameraCause::Missing | CameraCause::Unplugged) {
            // What did not suit on one camera or port may be good on another.
            self.ruled_out = RuledOut::default();
        }
        let pause = match cause {
            // Its node may be there again already.
            _ if self.has_changed => Some(SETTLING_PAUSE),
            _ => cause.waits_for_devices().then_some(MISSING_PAUSE),
        };
        CameraChange::Failed { cause, pause }
    }

    fn start(&mut self, now: Instant, node: &CameraNode, device: &CameraDevice) -> CameraChange {
        let choice = match modes::choose(&device.modes, self.config.mode, &self.ruled_out) {
            Ok(choice) => choice,
            Err(cause) => {
                self.phase = CameraPhase::Closed;
                return self.failed(cause);
            }
        };
        let name = device.name.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
        log::info!("the camera{name} at {} is shown: {}", node.path.display(), choice.reason);
        self.controls = controls::resolve(&self.config.controls, &device.controls);
        let start = CameraStart {
            path: node.path.clone(),
            mode: choice.mode,
            controls: self.controls.iter().map(|control| (control.id, control.value)).collect(),
        };
        (self.phase, self.asked_at) = (CameraPhase::Starting(choice), now);
        CameraChange::Do(CameraCommand::Start(start))
    }
}

fn closed(is_wanted: bool) -> CameraChange {
    CameraChange::Closed { pause: is_wanted.then_some(Duration::ZERO) }
}

/// What is shown.
#[derive(Debug)]
pub enum Chosen<'a> {
    Device(&'a CameraNode, &'a CameraDevice),
    RaspberryPi { command: String, raw: Option<RawPictures> },
}

/// Chooses among the devices that were found.
///
/// # Errors
/// Why there is none.
pub fn choose_device<'a>(
    config: &CameraConfig,
    scan: &'a CameraScan,
) -> Result<Chosen<'a>, CameraCause> {
    let is_wanted = |node: &CameraNode| match &config.wish {
        CameraWish::First | CameraWish::At(_) => true,
        CameraWish::Named(name) => is_named(node, name),
    };
    let described = |node: &'a CameraNode| Some((node, node.device.as_ref().ok()?));
    let captures =
        |(_, device): &(&CameraNode, &CameraDevice)| device.captures && !device.modes.is_empty();
    let mut wanted = scan.nodes.iter().filter(|node| is_wanted(node)).filter_map(described);
    if let Some((node, device)) = wanted.find(captures) {
        return Ok(Chosen::Device(node, device));
    }
    if config.wish == CameraWish::First
        && let Some(program) = scan.pi_program
    {
        let (command, raw) = raspberry_pi::command(program, scan.has_pi_encoder, config.mode);
        return Ok(Chosen::RaspberryPi { command, raw });
    }
    // A device that cannot be opened has told no name.
    let error = scan.nodes.iter().find_map(|node| node.device.as_ref().err());
    Err(match (&config.wish, error) {
        (_, Some(error)) => CameraCause::at(CameraStep::Open, *error),
        (CameraWish::At(_), None) if !scan.nodes.is_empty() => CameraCause::NoCapture,
        (CameraWish::Named(_), None) => CameraCause::NotOfThatName,
        (CameraWish::First | CameraWish::At(_), None) => CameraCause::Missing,
    })
}

fn is_named(node: &CameraNode, name: &str) -> bool {
    let name = name.to_lowercase();
    let contains = |text: &str| text.to_lowercase().contains(&name);
    let device = node.device.as_ref().ok();
    let own = device.and_then(|device| device.name.as_ref()).map(ToString::to_string);
    own.is_some_and(|own| contains(&own)) || node.links.iter().any(|link| contains(link))
}
