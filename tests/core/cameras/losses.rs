//! Pictures of H.264 that are lost on their way to the kernel, and those that refer to them.

use ballcast::testing::media::Codec;

use super::*;

const KEYFRAME: &[u8] = &[
    0, 0, 0, 1, 0x67, 66, 0xc0, 10, 0xd9, 4, 0x7b, 1, 0x10, 0, 0, 0, 1, 0x68, 0xcb, 0x83, 0xcb,
    0x20, 0, 0, 0, 1, 0x65, 0x88, 0x84, 0x9a, 0x9a,
];
const DELTA: &[u8] = &[0, 0, 0, 1, 0x41, 0x9a, 0x38, 0x9a, 0x9a];

/// A camera that has sent a key frame and a picture that refers to it.
fn running() -> Rig {
    let (mut rig, _) = Rig::running(config(), vec![mode(CameraFormat::H264, SIZE, 25)]);
    rig.picture(KEYFRAME, false);
    rig.picture(DELTA, false);
    assert_eq!(shown(&mut rig), [true, false]);
    rig
}

/// Of each frame that is shown, whether it is a key frame.
fn shown(rig: &mut Rig) -> Vec<bool> {
    std::iter::from_fn(|| rig.source.poll_item())
        .map(|item| match item {
            SourceItem::Frame(frame) if frame.codec() == Codec::H264 => frame.is_keyframe(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn after_a_damaged_picture_of_h264_the_next_one_is_a_key_frame() {
    let mut rig = running();
    rig.picture(DELTA, true);
    rig.picture(DELTA, false);
    assert!(shown(&mut rig).is_empty(), "it refers to the damaged one");
    rig.picture(KEYFRAME, false);
    rig.picture(DELTA, false);
    assert_eq!(shown(&mut rig), [true, false]);
}

#[test]
fn after_a_picture_of_h264_that_the_kernel_has_dropped_the_next_one_is_a_key_frame() {
    let mut rig = running();
    rig.sequence += 1;
    rig.picture(DELTA, false);
    assert!(shown(&mut rig).is_empty(), "it refers to the lost one");
    rig.sequence += 1;
    rig.picture(KEYFRAME, false);
    rig.picture(DELTA, false);
    assert_eq!(shown(&mut rig), [true, false]);
    assert!(rig.source.is_running());
}

/// Each picture of another format is whole.
#[test]
fn a_raw_picture_after_one_that_the_kernel_has_dropped_is_shown() {
    let (mut rig, _) = Rig::running(config(), vec![yuyv()]);
    rig.raw_picture();
    rig.raw_picture();
    rig.sequence += 1;
    rig.raw_picture();
    assert_eq!(std::iter::from_fn(|| rig.source.poll_item()).count(), 3);
    assert_eq!(rig.source.counters().damaged, 0);
}
