//! What the events of a camera mean for the source.

use std::time::{Duration, Instant};

use super::camera::{Camera, CameraBuffer, CameraChange, CameraCommand, CameraEvent};
use super::parse::Parser;
use super::{Source, SourceCause, SourceCommand, SourceKind, SourceStatus, StreamConfig};

impl Source {
    pub(super) fn handle_camera(&mut self, now: Instant, event: CameraEvent) {
        let CameraEvent::Pictures(buffers) = event else {
            let is_resting = self.demand.is_resting();
            let camera = self.camera.as_mut();
            let change = camera.and_then(|camera| camera.handle_event(now, event, is_resting));
            return change.into_iter().for_each(|change| self.follow_camera(now, change));
        };
        self.take_buffers(now, buffers);
    }

    fn follow_camera(&mut self, now: Instant, change: CameraChange) {
        match change {
            CameraChange::Do(command) => self.commands.push_back(SourceCommand::Camera(command)),
            CameraChange::Started(started) => match Parser::of_camera(&started) {
                Ok(_) if self.demand.is_resting() => self.rest(now),
                Ok(parser) => self.begin(now, parser),
                Err(error) => {
                    self.fail(now, SourceCause::Stream(error), None);
                    self.reject_camera();
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
    pub(super) fn reject_camera(&mut self) {
        let stop = self.camera.as_mut().and_then(Camera::reject);
        self.commands.extend(stop.map(SourceCommand::Camera));
    }
}
