//! Rotated and mirrored sources: what is told to those who get the frames as they are.

use std::time::Duration;

use ballcast::testing::media::{Appearance, Orientation, Rotation, Size};
use ballcast::testing::server::Input;
use ballcast::testing::source::{SourceEvent, SourceKind, StreamConfig};
use str0m::rtp::VideoOrientation;

use super::write_group;
use crate::support::world::World;

fn world(rotation: Rotation, is_mirrored: bool) -> World {
    let mut world = World::configured(|config| {
        config.source =
            Some(StreamConfig { kind: SourceKind::Stdin, raw: None, interval: None }.into());
        let orientation = Orientation { rotation, is_mirrored };
        config.appearance = Appearance { orientation, has_clock: false };
    });
    world.input(Input::Timeout);
    world.input(Input::Source(SourceEvent::Opened));
    world
}

/// The orientations of all frames that a viewer has received since the last call.
fn orientations(world: &mut World, viewer: usize) -> Vec<Option<VideoOrientation>> {
    world.clients[viewer].client.frames.drain(..).map(|frame| frame.orientation).collect()
}

#[test]
fn frames_that_are_passed_on_tell_their_rotation_and_pictures_of_our_own_are_upright() {
    for (rotation, told) in [
        (Rotation::Deg90, VideoOrientation::Deg270),
        (Rotation::Deg180, VideoOrientation::Deg180),
        (Rotation::Deg270, VideoOrientation::Deg90),
    ] {
        let mut world = world(rotation, true);
        write_group(&mut world, 1..4);
        let viewer = world.join();
        world.run(Duration::from_millis(500));
        write_group(&mut world, 4..8);
        let seen = orientations(&mut world, viewer);
        assert!(seen.len() >= 7 && seen.iter().all(|it| *it == Some(told)), "{seen:?}");
        let stats = world.stats();
        assert_eq!(stats["source"]["rotation"], rotation.degrees());
        assert_eq!(stats["source"]["mirrored"], true);

        // The stream is silent, and the viewer gets text.
        world.run(Duration::from_secs(10));
        let stats = world.stats();
        assert_eq!(stats["source"]["state"], "silent");
        assert_eq!(
            (&stats["source"]["rotation"], &stats["source"]["mirrored"]),
            (&0.into(), &false.into())
        );
        let seen = orientations(&mut world, viewer);
        assert!(seen.len() > 1 && seen.iter().all(Option::is_none), "{seen:?}");
        let size = Size { width: 640, height: 480 };
        let shown = Orientation { rotation, is_mirrored: true }.size(size);
        assert_eq!(world.encodes.last().map(|(size, _)| *size), Some(shown));
    }
}

#[test]
fn the_header_extension_is_accepted_only_if_frames_are_rotated() {
    for (rotation, is_mirrored, is_accepted) in [
        (Rotation::Deg0, true, false),
        (Rotation::Deg0, false, false),
        (Rotation::Deg270, false, true),
    ] {
        let mut world = world(rotation, is_mirrored);
        write_group(&mut world, 1..4);
        let viewer = world.join();
        let answer = world.clients[viewer].client.answer();
        let extension = "urn:3gpp:video-orientation";
        assert_eq!(answer.contains(extension), is_accepted, "{rotation:?}: {answer}");
        world.run(Duration::from_millis(500));
        let seen = orientations(&mut world, viewer);
        assert_eq!(seen.iter().any(Option::is_some), is_accepted, "{seen:?}");
    }
}
