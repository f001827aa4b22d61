//! What the events of a camera mean for the source.

use std::time::{Duration, Instant};

use super::camera::{Camera, CameraBuffer, CameraCause, CameraChange, CameraCommand, CameraEvent};
use super::parse::Parser;
use super::{Source, SourceCause, SourceCommand, SourceKind, SourceStatus, StreamConfig};

impl Source {
    pub(super) fn handle_camera(&mut self, now: Instant, event: CameraEvent) {
        let CameraEvent::Pictures(buffers) = event else {
            let is_resting = self.demand.is_resting();
            let camera = self.camera.as_mut();
            let change = camera.and_then(|camera| camera.handle_event(now, event, is_resting));
            change.into_iter().for_each(|change| self.follow_camera(now, change));
            if self.is_said_not_to_answer() && !self.lacks_answer(now) {
                self.set_status(now, SourceStatus::Starting);
            }
            return;
        };
        self.take_buffers(now, buffers);
    }

    /// When the camera is said not to answer, if it does not until then.
    pub(super) fn unanswered_at(&self) -> Option<Instant> {
        let is_said = self.is_said_not_to_answer() || self.demand.is_resting();
        self.camera.as_ref().filter(|_| !is_said)?.answers_by()
    }

    /// Says so if a command to the camera is overdue. It is taken when it answers.
    pub(super) fn check_answer(&mut self, now: Instant) {
        if self.lacks_answer(now) && !self.demand.is_resting() {
            self.attempt.failed = true;
            let cause = SourceCause::Camera(CameraCause::NoAnswer);
            self.set_status(now, SourceStatus::Failed { cause, words: None });
        }
    }

    fn lacks_answer(&self, now: Instant) -> bool {
        self.camera.as_ref().and_then(Camera::answers_by).is_some_and(|at| at <= now)
    }

    fn is_said_not_to_answer(&self) -> bool {
        let no_answer = SourceCause::Camera(CameraCause::NoAnswer);
        matches!(&self.status, SourceStatus::Failed { cause, .. } if *cause == no_answer)
    }

    fn follow_camera(&mut self, now: Instant, change: CameraChange) {
        match change {
            CameraChange::Do(command) => self.commands.push_back(SourceCommand::Camera(command)),
            CameraChange::Started(started) => match Parser::of_camera(&started) {
                Ok(_) if self.demand.is_resting() => self.rest(now),
                Ok(parser) => self.begin(now, parser),
                Err(error) => {
                    self.fail(now, SourceCause::Stream(error), None);
                    self.reject_camera(now);
                }
            },
            CameraChange::Run { command, raw } => {
                self.config = StreamConfig { kind: SourceKind::Command, raw, interval: None };
                self.commands.push_back(SourceCommand::Camera(CameraCommand::Run(command)));
            }
            CameraChange::Failed { cause, pause } => {
                self.fail(now, SourceCause::Camera(cause), None);
                self.try_again_after(now, pause);
            }
            CameraChange::Closed { pause } => {
                if self.is_running() {
                    self.set_status(now, SourceStatus::Starting);
                }
                self.try_again_after(now, pause);
            }
            CameraChange::Hurry if self.open_at.is_some() => {
                self.try_again_after(now, Some(Duration::ZERO));
            }
            CameraChange::Hurry => {}
            CameraChange::Scan { pause } => self.try_again_after(now, Some(pause)),
        }
    }

    fn take_buffers(&mut self, now: Instant, buffers: &[CameraBuffer]) {
        for buffer in buffers {
            if !self.attempt.is_open() || self.attempt.failed {
                return;
            }
            let camera = self.camera.as_mut();
            if camera.is_some_and(|camera| camera.note_sequence(buffer.sequence)) {
                let lost = self.parser.note_lost_buffer();
                self.take_items(now, lost);
            }
            self.arrivals.note_capture(buffer.captured);
            let parsed = match buffer.is_damaged {
                true => self.parser.note_damaged_buffer(),
                false => self.parser.push_buffer(buffer.data),
            };
            self.take_items(now, parsed);
        }
        let stop = self.camera.as_mut().and_then(|camera| camera.check_keyframes(now));
        self.commands.extend(stop.map(SourceCommand::Camera));
    }

    /// Ends the attempt of a camera whose stream cannot be shown.
    pub(super) fn reject_camera(&mut self, now: Instant) {
        let stop = self.camera.as_mut().and_then(|camera| camera.reject(now));
        self.commands.extend(stop.map(SourceCommand::Camera));
    }
}
