use super::*;
use crate::media::{Appearance, Layout, Matrix, PixelFormat, Size, SourcePicture};
use crate::source::{RawPictures, SourceCommand, SourceEvent, SourceKind, StreamConfig};
use crate::web::snapshot::NO_PICTURE;

const NOBODY: Audience = Audience { codecs: [false; Codec::ALL.len()], streams: false };
const PERIOD: Duration = Duration::from_millis(100);
const SIZE: Size = Size { width: 64, height: 48 };
const PICTURE_BYTES: usize = SIZE.width * SIZE.height * 3 / 2;

/// One viewer of this codec.
fn watched_in(codec: Codec) -> Audience {
    let mut audience = NOBODY;
    audience.codecs[codec as usize] = true;
    audience
}

fn outputs(outbox: &mut Outbox) -> Vec<Output> {
    std::iter::from_fn(|| outbox.pop()).collect()
}

fn ball(now: Instant) -> (Video, Outbox) {
    let mut outbox = Outbox::new();
    (Video::new(None, 10, Appearance::default(), now, &mut outbox), outbox)
}

/// Raw pictures on standard input, which is open.
fn raw(now: Instant) -> (Video, Outbox) {
    let mut outbox = Outbox::new();
    let pixels = PixelFormat { layout: Layout::I420, matrix: Matrix::Bt601, full_range: false };
    let raw = RawPictures { size: SIZE, pixels, frames_per_second: 10 };
    let config = StreamConfig { kind: SourceKind::Stdin, raw: Some(raw), interval: None };
    let mut video = Video::new(
        Some(Source::new(config.into(), now)),
        10,
        Appearance::default(),
        now,
        &mut outbox,
    );
    video.handle_source_timeout(now, &mut outbox);
    assert!(matches!(outputs(&mut outbox)[..], [Output::Source(SourceCommand::Open)]));
    video.handle_source(now, SourceEvent::Opened, &mut outbox);
    (video, outbox)
}

fn events(
    video: &mut Video,
    now: Instant,
    audience: Audience,
    outbox: &mut Outbox,
) -> Vec<VideoEvent> {
    std::iter::from_fn(|| video.poll_event(now, audience, outbox)).collect()
}

#[test]
fn the_clock_runs_while_somebody_watches_and_a_newcomer_gets_a_key_frame() {
    let now = Instant::now();
    let (mut video, mut outbox) = ball(now);
    assert!(video.clock_suits(NOBODY));
    let audience = watched_in(Codec::H264);
    video.note_viewer_joined(Codec::H264);
    video.update_clock(now, audience, &mut outbox);
    assert_eq!(outbox.next_deadline(), Some(now));
    assert!(video.tick(now, audience, &mut outbox).is_some());
    let [Output::ForceKeyframe(Codec::H264), Output::Capture(codecs)] = &outputs(&mut outbox)[..]
    else {
        panic!("a key frame, then a picture")
    };
    assert_eq!(codecs, &[Codec::H264]);
    assert_eq!(outbox.next_deadline(), Some(now + PERIOD));
    assert!(video.tick(now + PERIOD, audience, &mut outbox).is_some());
    assert!(matches!(outputs(&mut outbox)[..], [Output::Capture(_)]), "one key frame is enough");
    video.update_clock(now + PERIOD, NOBODY, &mut outbox);
    assert_eq!(outbox.next_deadline(), None);
}

#[test]
fn a_frame_goes_to_all_and_those_who_miss_it_make_the_next_one_a_key_frame() {
    let now = Instant::now();
    let (mut video, mut outbox) = ball(now);
    let audience = watched_in(Codec::Vp8);
    video.update_clock(now, audience, &mut outbox);
    video.handle_frame(now, &Frame::vp8(vec![0; 10], now));
    let mut fan_out = video.take_fan_out().unwrap();
    assert_eq!(fan_out.recipient(), Recipient::AllFrom(ViewerId(0), Codec::Vp8));
    fan_out.note_turn(ViewerId(3), true);
    assert_eq!(fan_out.recipient(), Recipient::AllFrom(ViewerId(4), Codec::Vp8));
    video.finish_fan_out(&fan_out);
    assert!(video.is_drained());
    video.tick(now, audience, &mut outbox);
    assert!(matches!(outputs(&mut outbox)[0], Output::ForceKeyframe(Codec::Vp8)));
}

#[test]
fn the_ball_has_failed_for_two_seconds_after_a_failed_capture() {
    let now = Instant::now();
    let (mut video, _) = ball(now);
    video.note_capture_failed(now);
    assert_eq!(video.problem(now).as_deref(), Some(NO_PICTURE));
    assert!(!video.has_failed(now + CAPTURE_RETRY));
    video.handle_frame(now, &Frame::vp8(vec![0; 10], now));
    assert_eq!(video.problem(now), None);
}

#[test]
fn of_pictures_that_come_at_once_the_newest_is_encoded() {
    let now = Instant::now();
    let (mut video, mut outbox) = raw(now);
    let audience = watched_in(Codec::H264);
    let bytes = vec![7; 3 * PICTURE_BYTES];
    video.handle_source(now, SourceEvent::Bytes(&bytes), &mut outbox);
    let [VideoEvent::Opened, VideoEvent::Restarted, VideoEvent::Captured(captured)] =
        events(&mut video, now, audience, &mut outbox)[..]
    else {
        panic!("it was opened, it has pictures, and one of them is taken")
    };
    assert!(!captured.is_no_signal);
    let [Output::Encode { picture: SourcePicture::Picture(picture), codecs, is_reported, .. }] =
        &outputs(&mut outbox)[..]
    else {
        panic!("one picture")
    };
    assert_eq!((picture.size(), &codecs[..], *is_reported), (SIZE, &[Codec::H264][..], true));
    assert_eq!(video.counters().left_out, 2);
    assert!(video.clock_suits(audience), "the source is the clock");
}

#[test]
fn while_a_source_has_no_picture_the_clock_shows_why() {
    let now = Instant::now();
    let (mut video, mut outbox) = raw(now);
    let audience = watched_in(Codec::H264);
    video.handle_source(now, SourceEvent::Ended, &mut outbox);
    events(&mut video, now, audience, &mut outbox);
    outputs(&mut outbox);
    video.update_clock(now, audience, &mut outbox);
    assert!(video.tick(now, audience, &mut outbox).is_some_and(|captured| captured.is_no_signal));
    let shown = outputs(&mut outbox);
    assert!(matches!(shown[..], [Output::Encode { is_reported: false, .. }]), "{shown:?}");
    assert!(video.problem(now).is_some());
}
