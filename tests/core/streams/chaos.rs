//! A stream to which anything happens.

use super::*;

/// A driver that does what a source wants, and to which everything happens that can happen.
struct Chaos {
    source: Source,
    kind: SourceKind,
    rng: fastrand::Rng,
    now: Instant,
    is_open: bool,
    has_process: bool,
    needs_keyframe: bool,
    last_captured: Option<Instant>,
}

impl Chaos {
    fn new(kind: SourceKind, seed: u64) -> Chaos {
        let now = Instant::now();
        Chaos {
            source: Source::new(StreamConfig { kind, raw: None, interval: None }.into(), now),
            kind,
            rng: fastrand::Rng::with_seed(seed),
            now,
            is_open: false,
            has_process: false,
            needs_keyframe: true,
            last_captured: None,
        }
    }

    fn tell(&mut self, event: SourceEvent) {
        self.source.handle_event(self.now, event);
        self.serve();
    }

    fn serve(&mut self) {
        self.source.handle_timeout(self.now);
        assert!(self.source.poll_timeout().is_none_or(|at| at > self.now), "time moves on");
        while let Some(item) = self.source.poll_item() {
            let SourceItem::Frame(frame) = item else { panic!("it is H.264") };
            assert!(frame.is_keyframe() || !self.needs_keyframe, "a key frame comes first");
            assert!(self.last_captured.is_none_or(|last| frame.captured > last), "time goes on");
            self.needs_keyframe = false;
            self.last_captured = Some(frame.captured);
        }
        while let Some(command) = self.source.poll_command() {
            match command {
                SourceCommand::Open => {
                    assert!(!self.has_process, "no command is started beside another");
                    self.needs_keyframe = true;
                    if self.rng.u8(..4) == 0 {
                        self.source.handle_event(
                            self.now,
                            SourceEvent::Failed(SourceFailure::Open(OsError::Number(2))),
                        );
                    } else {
                        self.is_open = true;
                        self.has_process = self.kind == SourceKind::Command;
                        self.source.handle_event(self.now, SourceEvent::Opened);
                    }
                }
                SourceCommand::Close => self.is_open = false,
                SourceCommand::Kill(_) => assert!(self.has_process, "there is something to kill"),
                SourceCommand::Read => assert_eq!(self.kind, SourceKind::File),
                SourceCommand::GiveUp => assert_eq!(self.kind, SourceKind::Stdin),
                SourceCommand::Camera(_) => unreachable!("it is a stream"),
            }
        }
    }

    fn step(&mut self) {
        match self.rng.u8(..8) {
            0..=3 if self.is_open => {
                let bytes = match self.rng.u8(..8) {
                    0 => (0..self.rng.usize(1..300)).map(|_| self.rng.u8(..)).collect(),
                    1 | 2 => unit(self.rng.u8(..100), true),
                    _ => unit(self.rng.u8(..100), false),
                };
                self.tell(SourceEvent::Bytes(&bytes));
            }
            4 if self.is_open && self.rng.u8(..8) == 0 => {
                self.is_open = false;
                self.tell(SourceEvent::Ended);
            }
            5 if self.has_process && self.rng.u8(..4) == 0 => {
                (self.has_process, self.is_open) = (false, false);
                self.tell(SourceEvent::Exited(Exit::Unknown, None));
            }
            6 => {
                self.now = self.source.poll_timeout().unwrap_or(self.now);
                self.serve();
            }
            _ => {
                self.now += Duration::from_millis(self.rng.u64(..1_500));
                self.serve();
            }
        }
    }
}

#[test]
fn whatever_happens_to_a_stream_it_begins_with_a_key_frame_and_no_command_runs_twice() {
    for kind in [SourceKind::Stdin, SourceKind::Fifo, SourceKind::File, SourceKind::Command] {
        for seed in 0..300 {
            let mut chaos = Chaos::new(kind, seed);
            (0..300).for_each(|_| chaos.step());
        }
    }
}
