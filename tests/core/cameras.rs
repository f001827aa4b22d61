//! A camera of V4L2 as the source, with a driver that says what kernels say.

mod answers;
mod losses;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ballcast::testing::foreign::Foreign;
use ballcast::testing::media::{Matrix, Size};
use ballcast::testing::os_error::OsError;
use ballcast::testing::source::camera::{
    CameraBuffer, CameraCommand, CameraConfig, CameraControl, CameraDevice, CameraEvent,
    CameraFormat, CameraMode, CameraNode, CameraScan, CameraStart, CameraStarted, CameraStep,
    CameraWish, ModeWish,
};
use ballcast::testing::source::parse::FrameRate;
use ballcast::testing::source::{
    Exit, Signal, Source, SourceCommand, SourceEvent, SourceItem, SourceKind, SourceStatus,
    StreamConfig,
};

const SIZE: Size = Size { width: 64, height: 48 };
const PERIOD: Duration = Duration::from_millis(40);
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

fn mode(format: CameraFormat, size: Size, rate: u64) -> CameraMode {
    CameraMode { format, size, rate: FrameRate::new(rate, 1) }
}

fn yuyv() -> CameraMode {
    mode(CameraFormat::Yuyv, SIZE, 25)
}

fn node(number: u32, device: Result<CameraDevice, OsError>) -> CameraNode {
    let path = PathBuf::from(format!("/dev/video{number}"));
    CameraNode { path, links: vec![format!("usb-Test_{number}-index0")], device }
}

fn device(name: &str, modes: Vec<CameraMode>) -> CameraDevice {
    let controls = vec![CameraControl {
        id: 7,
        name: "brightness".into(),
        least: 0,
        most: 255,
        step: 1,
        default: 128,
        value: Some(128),
        menu: vec![],
    }];
    CameraDevice { name: Foreign::new(name, 32), captures: true, modes, controls }
}

/// The second node of a USB camera.
fn metadata() -> CameraDevice {
    CameraDevice { captures: false, ..device("Camera", vec![]) }
}

fn found(nodes: Vec<CameraNode>) -> CameraScan {
    CameraScan { nodes, ..CameraScan::default() }
}

fn config() -> CameraConfig {
    CameraConfig { wish: CameraWish::First, mode: ModeWish::default(), controls: vec![] }
}

struct Rig {
    source: Source,
    now: Instant,
    sequence: u32,
}

impl Rig {
    fn new(config: CameraConfig) -> Rig {
        let now = Instant::now();
        Rig { source: Source::new(config.into(), now), now, sequence: 0 }
    }

    /// A camera with these modes that runs in the one that was chosen.
    fn running(config: CameraConfig, modes: Vec<CameraMode>) -> (Rig, CameraStart) {
        let mut rig = Rig::new(config);
        assert!(matches!(rig.command(), Some(CameraCommand::Scan { .. })));
        let start = rig.start(0, modes);
        (rig, start)
    }

    fn start(&mut self, number: u32, modes: Vec<CameraMode>) -> CameraStart {
        self.tell(CameraEvent::Scanned(found(vec![node(number, Ok(device("Camera", modes)))])));
        let Some(CameraCommand::Start(start)) = self.command() else { panic!("it is started") };
        self.started(start.mode);
        start
    }

    fn started(&mut self, mode: CameraMode) {
        self.tell(CameraEvent::Started(CameraStarted {
            mode,
            line_bytes: 2 * mode.size.width,
            matrix: Matrix::Bt601,
            is_full_range: false,
            refused: vec![],
        }));
    }

    fn tell(&mut self, event: CameraEvent) {
        self.source.handle_event(self.now, SourceEvent::Camera(event));
    }

    fn fail(&mut self, step: CameraStep, error: i32) {
        self.tell(CameraEvent::Failed(step, OsError::Number(error)));
    }

    /// The next command about cameras, if one is due.
    fn command(&mut self) -> Option<CameraCommand> {
        self.source.handle_timeout(self.now);
        match self.source.poll_command()? {
            SourceCommand::Camera(command) => Some(command),
            other => panic!("{other:?}"),
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.source.handle_timeout(self.now);
    }

    /// Lets time pass until the next command, and returns both.
    fn next_command(&mut self) -> (Duration, CameraCommand) {
        let since = self.now;
        loop {
            if let Some(command) = self.command() {
                return (self.now - since, command);
            }
            self.now = self.source.poll_timeout().expect("something is due");
            assert!(self.now < since + Duration::from_secs(60), "nothing happens");
        }
    }

    fn picture(&mut self, data: &[u8], is_damaged: bool) {
        self.wait(PERIOD);
        self.sequence += 1;
        let captured = self.now - Duration::from_millis(5);
        let buffer = CameraBuffer { data, captured, sequence: self.sequence, is_damaged };
        self.tell(CameraEvent::Pictures(&[buffer]));
    }

    fn raw_picture(&mut self) {
        self.picture(&[128; SIZE.width * SIZE.height * 2], false);
    }

    fn sentence(&self) -> String {
        self.source.no_signal(self.now).map_or(String::new(), |missing| missing.sentence)
    }
}

#[test]
fn a_camera_is_found_started_and_shown_with_the_times_of_the_kernel() {
    let mut rig = Rig::new(CameraConfig { controls: vec![("brightness".into(), 9)], ..config() });
    let scan = Some(CameraCommand::Scan { path: None, size: None, with_controls: true });
    assert_eq!(rig.command(), scan);
    assert_eq!(rig.sentence(), "The camera is starting.");
    let nodes = vec![node(0, Ok(metadata())), node(1, Ok(device("Camera", vec![yuyv()])))];
    rig.tell(CameraEvent::Scanned(found(nodes)));
    let path = PathBuf::from("/dev/video1");
    let start = CameraStart { path, mode: yuyv(), controls: vec![(7, 9)] };
    assert_eq!(rig.command(), Some(CameraCommand::Start(start)));
    rig.tell(CameraEvent::Started(CameraStarted {
        mode: yuyv(),
        line_bytes: 2 * SIZE.width + 6,
        matrix: Matrix::Bt601,
        is_full_range: false,
        refused: vec![],
    }));
    assert!(!rig.source.is_running(), "it has shown nothing");
    rig.picture(&[128; (2 * SIZE.width + 6) * SIZE.height], false);
    assert!(rig.source.is_running());
    let Some(SourceItem::Samples(samples, captured)) = rig.source.poll_item() else {
        panic!("a picture")
    };
    assert_eq!((samples.size, rig.now - captured), (SIZE, Duration::from_millis(5)));
    rig.picture(&[128; 100], false);
    rig.picture(&[128; (2 * SIZE.width + 6) * SIZE.height], true);
    assert!(rig.source.poll_item().is_none(), "one is short, one is marked as damaged");
    assert_eq!(rig.source.counters().damaged, 2);
}

/// The kernel may report first that the node is gone.
#[test]
fn a_camera_whose_node_is_gone_is_said_to_be_unplugged_at_once() {
    let (mut rig, _) = Rig::running(config(), vec![yuyv()]);
    rig.raw_picture();
    rig.tell(CameraEvent::DevicesChanged);
    rig.fail(CameraStep::Read, ENODEV);
    assert!(rig.sentence().contains("unplugged"), "{}", rig.sentence());
    let (pause, command) = rig.next_command();
    assert!(matches!(command, CameraCommand::Scan { .. }) && pause < PERIOD * 5, "{pause:?}");
    rig.tell(CameraEvent::Scanned(found(vec![])));
    assert!(rig.sentence().contains("unplugged"), "{}", rig.sentence());
}

/// Whatever was said before it was there.
#[test]
fn a_camera_that_starts_and_sends_no_picture_is_said_to_be_silent() {
    let (mut rig, _) = Rig::running(config(), vec![yuyv()]);
    rig.raw_picture();
    rig.fail(CameraStep::Read, ENODEV);
    for _ in 0..2 {
        rig.next_command();
        rig.start(0, vec![yuyv()]);
        rig.wait(Duration::from_millis(1_900));
        assert!(rig.sentence().contains("unplugged"), "{}", rig.sentence());
        rig.wait(Duration::from_millis(200));
        assert_eq!(rig.sentence(), "The camera sends no pictures.");
        rig.fail(CameraStep::Read, ENODEV);
    }
    rig.next_command();
    rig.start(0, vec![yuyv()]);
    rig.raw_picture();
    assert_eq!(rig.sentence(), "");
}

#[test]
fn an_unplugged_camera_is_said_at_once_and_back_at_once_under_another_number() {
    let (mut rig, _) = Rig::running(config(), vec![yuyv()]);
    rig.raw_picture();
    rig.fail(CameraStep::Read, ENODEV);
    assert_eq!(rig.sentence(), "The camera is unplugged: waiting for it to be plugged in again.");
    rig.wait(Duration::from_millis(3_000));
    while rig.command().is_some() {
        rig.tell(CameraEvent::Scanned(found(vec![])));
    }
    // Until udev is done, it cannot be opened, which is not worth a sentence.
    rig.tell(CameraEvent::DevicesChanged);
    let error = OsError::Number(EACCES);
    for _ in 0..5 {
        assert!(matches!(rig.command(), Some(CameraCommand::Scan { .. })));
        rig.tell(CameraEvent::Scanned(found(vec![node(1, Err(error))])));
        assert!(rig.sentence().contains("unplugged"), "{}", rig.sentence());
        rig.wait(Duration::from_millis(100));
    }
    assert!(matches!(rig.command(), Some(CameraCommand::Scan { .. })));
    assert_eq!(rig.start(1, vec![yuyv()]).path, PathBuf::from("/dev/video1"));
    rig.raw_picture();
    assert!(rig.source.is_running());
}

#[test]
fn each_failure_has_its_sentence_and_the_camera_is_tried_again() {
    for (step, error, words) in [
        (CameraStep::SetFormat, EBUSY, "Another program uses the camera"),
        (CameraStep::StartStream, ENOSPC, "The USB bus has no bandwidth left"),
        (CameraStep::Open, EACCES, "add the user that runs Ballcast to the group video"),
        (CameraStep::Read, EIO, "The camera cannot be read: Input/output error"),
        (CameraStep::AllocateBuffers, EINVAL, "cannot be given memory for its pictures"),
    ] {
        let mut rig = Rig::new(config());
        let mut pauses = Vec::new();
        // udev may be at work at the start.
        rig.now += Duration::from_secs(3);
        for _ in 0..3 {
            let (pause, command) = rig.next_command();
            assert!(matches!(command, CameraCommand::Scan { .. }), "{command:?}");
            pauses.push(pause.as_secs());
            let camera = device("Camera", vec![yuyv()]);
            rig.tell(CameraEvent::Scanned(found(vec![node(0, Ok(camera))])));
            assert!(matches!(rig.command(), Some(CameraCommand::Start(_))));
            rig.fail(step, error);
            assert!(rig.sentence().contains(words), "{}", rig.sentence());
        }
        assert_eq!(pauses, [0, 1, 2], "{words}");
    }
}

#[test]
fn without_a_camera_there_is_a_sentence_until_one_comes() {
    for (wish, nodes, sentence) in [
        (CameraWish::First, vec![], "No camera found: plug one in."),
        (CameraWish::First, vec![node(0, Ok(metadata()))], "No camera found: plug one in."),
        (
            CameraWish::Named("logi".into()),
            vec![node(0, Ok(device("Other", vec![yuyv()])))],
            "No camera of that name found",
        ),
        (
            CameraWish::At("/dev/video0".into()),
            vec![node(0, Ok(metadata()))],
            "The device is no camera",
        ),
        (
            CameraWish::First,
            vec![node(0, Err(OsError::Number(EACCES)))],
            "No permission to open the camera",
        ),
    ] {
        let mut rig = Rig::new(CameraConfig { wish: wish.clone(), ..config() });
        rig.now += Duration::from_secs(3);
        assert!(matches!(rig.command(), Some(CameraCommand::Scan { .. })));
        rig.tell(CameraEvent::Scanned(found(nodes)));
        assert!(rig.sentence().starts_with(sentence), "{}", rig.sentence());
        rig.wait(Duration::from_millis(500));
        rig.tell(CameraEvent::DevicesChanged);
        assert!(matches!(rig.command(), Some(CameraCommand::Scan { .. })));
        let camera = device("A LOGITECH camera", vec![yuyv()]);
        rig.tell(CameraEvent::Scanned(found(vec![node(3, Ok(camera))])));
        assert!(matches!(rig.command(), Some(CameraCommand::Start(_))), "{wish:?}");
    }
}

#[test]
fn a_change_during_a_scan_is_followed_by_another_scan() {
    let mut rig = Rig::new(config());
    assert!(rig.command().is_some());
    rig.tell(CameraEvent::DevicesChanged);
    assert_eq!(rig.command(), None, "one at a time");
    rig.tell(CameraEvent::Scanned(found(vec![])));
    let (pause, command) = rig.next_command();
    assert!(matches!(command, CameraCommand::Scan { .. }));
    assert!(pause <= Duration::from_millis(100), "{pause:?}");
}

#[test]
fn a_silent_camera_is_said_after_a_second_and_restarted_after_five() {
    let (mut rig, _) = Rig::running(config(), vec![yuyv()]);
    (0..50).for_each(|_| rig.raw_picture());
    rig.wait(Duration::from_millis(900));
    assert!(rig.source.is_running());
    rig.wait(Duration::from_millis(200));
    assert_eq!(rig.sentence(), "The camera sends no pictures.");
    let (pause, command) = rig.next_command();
    assert_eq!(command, CameraCommand::Stop);
    assert!((3..=5).contains(&pause.as_secs()), "{pause:?}");
    rig.tell(CameraEvent::Stopped);
    let (pause, command) = rig.next_command();
    assert!(matches!(command, CameraCommand::Scan { .. }) && pause.as_secs() <= 1);
    rig.start(0, vec![yuyv()]);
    rig.raw_picture();
    assert!(rig.source.is_running());
}

#[test]
fn a_camera_whose_pictures_are_all_damaged_says_so() {
    let (mut rig, _) = Rig::running(config(), vec![yuyv()]);
    (0..200).for_each(|_| rig.picture(&[128; 100], false));
    assert!(rig.sentence().starts_with("The pictures of the camera are damaged"));
    (0..200).for_each(|_| rig.raw_picture());
    assert!(rig.source.is_running());
}

#[test]
fn h264_with_distant_key_frames_gives_way_to_another_format() {
    let modes = vec![mode(CameraFormat::H264, SIZE, 25), yuyv()];
    let (mut rig, start) = Rig::running(config(), modes.clone());
    assert_eq!(start.mode.format, CameraFormat::H264);
    let delta = [0, 0, 0, 1, 0x41, 0x9a, 1, 2, 3];
    let command = loop {
        rig.picture(&delta, false);
        if let Some(command) = rig.command() {
            break command;
        }
    };
    assert_eq!(command, CameraCommand::Stop);
    rig.tell(CameraEvent::Stopped);
    assert!(matches!(rig.command(), Some(CameraCommand::Scan { .. })), "at once");
    assert_eq!(rig.start(0, modes.clone()).mode.format, CameraFormat::Yuyv);
    let wanted = ModeWish { format: Some(CameraFormat::H264), ..ModeWish::default() };
    let (mut rig, _) = Rig::running(CameraConfig { mode: wanted, ..config() }, modes);
    (0..100).for_each(|_| rig.picture(&delta, false));
    assert_eq!(rig.command(), None, "it is kept where it is asked for");
}

#[test]
fn a_size_that_takes_too_long_to_encode_gives_way_to_a_smaller_one() {
    let large = Size { width: 320, height: 240 };
    let modes = vec![mode(CameraFormat::Yuyv, large, 25), yuyv()];
    let slow = Duration::from_millis(60);
    let command_after = |wish: ModeWish| {
        let (mut rig, start) = Rig::running(CameraConfig { mode: wish, ..config() }, modes.clone());
        assert_eq!(start.mode.size, large);
        (0..200).find_map(|_| {
            rig.picture(&[128; 320 * 240 * 2], false);
            rig.source.note_encoded(rig.now, slow);
            rig.command()
        })
    };
    assert_eq!(command_after(ModeWish::default()), Some(CameraCommand::Stop));
    let wish = ModeWish { size: Some(large), ..ModeWish::default() };
    assert_eq!(command_after(wish), None, "it is kept where it is asked for");
}

#[test]
fn the_camera_of_a_raspberry_pi_is_shown_by_its_program() {
    let mut rig = Rig::new(config());
    assert!(rig.command().is_some());
    let scan =
        CameraScan { pi_program: Some("rpicam-vid"), ..found(vec![node(0, Ok(metadata()))]) };
    rig.tell(CameraEvent::Scanned(scan));
    let Some(CameraCommand::Run(line)) = rig.command() else { panic!("it is run") };
    assert!(line.starts_with("rpicam-vid ") && line.contains("--codec yuv420"), "{line}");
    rig.source.handle_event(rig.now, SourceEvent::Opened);
    let picture = vec![128; 1_280 * 720 * 3 / 2];
    rig.source.handle_event(rig.now, SourceEvent::Bytes(&picture));
    assert!(rig.source.is_running());
    assert!(matches!(rig.source.poll_item(), Some(SourceItem::Samples(..))));
    rig.source.handle_event(rig.now, SourceEvent::Ended);
    rig.source.handle_event(rig.now, SourceEvent::Exited(Exit::Status(1), None));
    assert!(matches!(rig.source.status(), SourceStatus::Failed { .. }));
    assert_eq!(rig.source.poll_command(), Some(SourceCommand::Close));
    let (_, command) = rig.next_command();
    assert!(matches!(command, CameraCommand::Scan { .. }), "a USB camera may have come");
}

#[test]
fn a_camera_rests_while_nobody_watches_and_is_started_for_the_first_viewer() {
    let now = Instant::now();
    let source = Source::while_watched(config().into(), now);
    let mut rig = Rig { source, now, sequence: 0 };
    assert_eq!((rig.command(), rig.source.poll_timeout()), (None, None));
    assert_eq!(rig.sentence(), "The camera rests while nobody watches.");
    rig.tell(CameraEvent::DevicesChanged);
    assert_eq!(rig.command(), None);
    for viewer in 0..3 {
        rig.source.set_watched(rig.now, true);
        assert_eq!(rig.sentence(), "The camera is starting.");
        assert!(matches!(rig.command(), Some(CameraCommand::Scan { .. })), "{viewer}: at once");
        rig.start(0, vec![yuyv()]);
        rig.raw_picture();
        rig.source.set_watched(rig.now, false);
        (0..249).for_each(|_| rig.raw_picture());
        assert!(rig.source.is_running(), "for ten seconds");
        rig.raw_picture();
        assert_eq!(rig.command(), Some(CameraCommand::Stop));
        assert_eq!(*rig.source.status(), SourceStatus::Resting);
        rig.raw_picture();
        if viewer == 1 {
            // The next one comes before it is closed.
            rig.source.set_watched(rig.now, true);
            assert_eq!(rig.command(), None);
            rig.raw_picture();
            assert!(!rig.source.is_running(), "it is being closed");
            rig.source.set_watched(rig.now, false);
            rig.source.set_watched(rig.now, true);
        }
        rig.tell(CameraEvent::Stopped);
        if viewer == 1 {
            assert!(matches!(rig.command(), Some(CameraCommand::Scan { .. })), "at once");
            rig.source.set_watched(rig.now, false);
            rig.wait(Duration::from_secs(10));
            let scan = found(vec![node(0, Ok(device("Camera", vec![yuyv()])))]);
            rig.tell(CameraEvent::Scanned(scan));
        }
        assert_eq!((rig.command(), rig.source.poll_timeout()), (None, None), "{viewer}");
        assert_eq!(rig.source.restarts(), 0);
    }
}

#[test]
fn a_command_rests_while_nobody_watches() {
    let now = Instant::now();
    let config = StreamConfig::new(SourceKind::Command);
    let mut source = Source::while_watched(config.into(), now);
    let at = |seconds| now + Duration::from_secs(seconds);
    let commands = |source: &mut Source, now| {
        source.handle_timeout(now);
        std::iter::from_fn(|| source.poll_command()).collect::<Vec<_>>()
    };
    assert_eq!(commands(&mut source, now), []);
    for begin in [0, 100] {
        source.set_watched(at(begin), true);
        assert_eq!(commands(&mut source, at(begin)), [SourceCommand::Open]);
        source.handle_event(at(begin), SourceEvent::Opened);
        source.handle_event(at(begin + 1), SourceEvent::Bytes(b"YUV4MPEG2 W16 H16 F1:5\nFRAME\n"));
        source.handle_event(at(begin + 1), SourceEvent::Bytes(&[7; 384]));
        assert!(source.is_running());
        source.set_watched(at(begin + 1), false);
        let kill = [SourceCommand::Kill(Signal::Interrupt)];
        assert_eq!(commands(&mut source, at(begin + 11)), kill);
        source.handle_event(at(begin + 11), SourceEvent::Exited(Exit::Signal(2, None), None));
        assert_eq!(*source.status(), SourceStatus::Resting);
        assert_eq!(commands(&mut source, at(begin + 12)), [SourceCommand::Close]);
        assert_eq!(source.poll_timeout(), None);
    }
}
