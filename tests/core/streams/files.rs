//! Files that are played.

use super::*;

#[test]
fn a_file_is_played_at_its_rate_over_and_over() {
    let mut world = world(SourceKind::File);
    assert_eq!(std::mem::take(&mut world.source_commands), [SourceCommand::Read]);
    let _ = world.join();
    for _ in 0..3 {
        let clip = [b"YUV4MPEG2 W16 H16 F10:1\n".to_vec(), y4m_picture().repeat(10)].concat();
        world.input(Input::Source(SourceEvent::Bytes(&clip)));
        while !world.source_commands.contains(&SourceCommand::Read) {
            world.run(Duration::from_millis(50));
        }
        world.input(Input::Source(SourceEvent::Ended));
        assert_eq!(
            world.source_commands,
            [SourceCommand::Read, SourceCommand::Close, SourceCommand::Open]
        );
        world.source_commands.clear();
        world.input(Input::Source(SourceEvent::Opened));
        assert_eq!(std::mem::take(&mut world.source_commands), [SourceCommand::Read]);
        assert_eq!(world.stats()["source"]["state"], "running");
    }
    let frames = world.encodes.iter().filter(|(size, _)| size.width == 16).count();
    assert_eq!(frames, 30);
}

#[test]
fn a_file_that_is_shorter_than_a_read_runs_from_its_first_picture_on() {
    let mut world = world(SourceKind::File);
    let clip = [b"YUV4MPEG2 W16 H16 F10:1\n".to_vec(), y4m_picture().repeat(2)].concat();
    world.source_commands = vec![SourceCommand::Read];
    for _ in 0..100 {
        for command in std::mem::take(&mut world.source_commands) {
            match command {
                SourceCommand::Open => world.input(Input::Source(SourceEvent::Opened)),
                SourceCommand::Read => {
                    world.input(Input::Source(SourceEvent::Bytes(&clip)));
                    world.input(Input::Source(SourceEvent::Ended));
                }
                _ => {}
            }
            assert_eq!(world.stats()["source"]["state"], "running");
        }
        world.run(Duration::from_millis(50));
    }
}

#[test]
fn a_film_that_cannot_be_shown_is_not_read_to_its_end() {
    let mut world = world(SourceKind::File);
    assert_eq!(std::mem::take(&mut world.source_commands), [SourceCommand::Read]);
    world.input(Input::Source(SourceEvent::Bytes(b"\x1a\x45\xdf\xa3 a film in a container")));
    assert_eq!(std::mem::take(&mut world.source_commands), [SourceCommand::Close]);
    world.run(Duration::from_millis(1_100));
    assert_eq!(world.source_commands, [SourceCommand::Open]);
    assert_eq!(world.stats()["source"]["state"], "failed");
}

#[test]
fn a_film_without_a_picture_is_read_in_turns_with_everything_else() {
    let mut world = world(SourceKind::File);
    // Only a key frame could be shown.
    let bytes = [PARAMETER_SETS, SLICE, &[0xaa; 60_000]].concat();
    let mut reads = 0;
    while std::mem::take(&mut world.source_commands) == [SourceCommand::Read] {
        reads += 1;
        assert!(reads < 100);
        world.input(Input::Source(SourceEvent::Bytes(&bytes)));
    }
    world.run(Duration::from_millis(2));
    assert_eq!(std::mem::take(&mut world.source_commands), [SourceCommand::Read], "after {reads}");
}
