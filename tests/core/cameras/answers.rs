//! Commands that the kernel does not come back from.

use super::*;

const NO_ANSWER: &str = "The camera does not answer: unplug it, and plug it in again.";

/// Waits for an answer for ever, and returns after how many milliseconds the camera is said to give none.
fn wait_in_vain(rig: &mut Rig) -> u128 {
    let since = rig.now;
    while rig.sentence() != NO_ANSWER {
        assert_eq!(rig.command(), None, "one at a time");
        let due = rig.source.poll_timeout().expect("something is due");
        rig.wait(due - rig.now);
    }
    assert_eq!((rig.command(), rig.source.poll_timeout()), (None, None));
    let waited = (rig.now - since).as_millis();
    rig.wait(Duration::from_secs(1_000));
    assert_eq!((rig.sentence().as_str(), rig.command()), (NO_ANSWER, None));
    waited
}

#[test]
fn a_camera_that_never_starts_is_said_not_to_answer_and_shown_when_it_does() {
    let mut rig = Rig::new(config());
    assert!(matches!(rig.command(), Some(CameraCommand::Scan { .. })));
    assert_eq!(wait_in_vain(&mut rig), 10_000);
    rig.tell(CameraEvent::DevicesChanged);
    assert_eq!(rig.sentence(), NO_ANSWER, "that is no answer");
    let camera = device("Camera", vec![yuyv()]);
    rig.tell(CameraEvent::Scanned(found(vec![node(0, Ok(camera))])));
    assert_eq!(rig.sentence(), "The camera is starting.");
    assert!(matches!(rig.command(), Some(CameraCommand::Start(_))));
    assert_eq!(wait_in_vain(&mut rig), 10_000);
    rig.fail(CameraStep::StartStream, EIO);
    assert!(rig.sentence().starts_with("The camera cannot start its stream"), "{}", rig.sentence());
    rig.next_command();
    let camera = device("Camera", vec![yuyv()]);
    rig.tell(CameraEvent::Scanned(found(vec![node(0, Ok(camera))])));
    assert!(matches!(rig.command(), Some(CameraCommand::Start(_))));
    wait_in_vain(&mut rig);
    rig.started(yuyv());
    assert_eq!(rig.sentence(), "The camera is starting.");
    rig.raw_picture();
    assert!(rig.source.is_running());
}

#[test]
fn a_camera_that_never_stops_is_said_not_to_answer() {
    let (mut rig, _) = Rig::running(config(), vec![yuyv()]);
    rig.raw_picture();
    assert_eq!(rig.next_command().1, CameraCommand::Stop);
    assert_eq!(wait_in_vain(&mut rig), 10_000);
    rig.tell(CameraEvent::Stopped);
    assert_eq!(rig.sentence(), "The camera is starting.");
    assert!(matches!(rig.next_command().1, CameraCommand::Scan { .. }));
    rig.start(0, vec![yuyv()]);
    rig.raw_picture();
    assert!(rig.source.is_running());
}

/// Whoever comes next is told at once, and is told what comes of it.
#[test]
fn a_camera_that_does_not_answer_while_it_rests_is_said_not_to_when_somebody_watches() {
    let now = Instant::now();
    let mut rig = Rig { source: Source::while_watched(config().into(), now), now, sequence: 0 };
    rig.source.set_watched(rig.now, true);
    assert!(matches!(rig.command(), Some(CameraCommand::Scan { .. })));
    rig.source.set_watched(rig.now, false);
    rig.wait(Duration::from_secs(60));
    assert_eq!(*rig.source.status(), SourceStatus::Resting);
    assert_eq!(rig.source.poll_timeout(), None);
    rig.source.set_watched(rig.now, true);
    assert_eq!(rig.sentence(), NO_ANSWER);
    rig.tell(CameraEvent::Scanned(found(vec![])));
    assert_eq!(rig.sentence(), "No camera found: plug one in.");
}
