//! A camera as the source of the whole server: its kernel, and what viewers and programs see of it.

use std::time::{Duration, Instant};

use ballcast::testing::media::{Codec, SourcePicture};
use ballcast::testing::server::Input;
use ballcast::testing::source::camera::{CameraCommand, CameraFormat};
use ballcast::testing::source::{SourceEvent, SourceStatus};
use fastrand::Rng;

use super::{HEALTHY, PICTURE_WITHIN, Run};
use crate::cameras::{Answer, CameraOptions, CameraRules, Kernel};
use crate::rules::{Origin, RuleResult, SentFrame, rule};

/// After the faults are removed, until a camera is shown: the longest pause between attempts, its start, and a
/// replug.
const SHOWN_WITHIN: Duration = Duration::from_secs(12);
/// From one picture to the next: two may come at once.
pub(super) const PERIOD: Duration = Duration::from_millis(80);
const LONGEST_GROUP: Duration = Duration::from_secs(1);

/// The camera of a run.
pub(super) struct Camera {
    pub options: CameraOptions,
    kernel: Kernel,
    rules: CameraRules,
    /// The number of the last picture that has left the camera.
    last: Option<u64>,
    /// A picture of H.264 was lost, and there was no key frame since.
    has_lost: bool,
}

impl Camera {
    pub fn new(options: &CameraOptions, seed: u64, now: Instant) -> Camera {
        Camera {
            kernel: Kernel::new(options, Rng::with_seed(seed ^ 0xa54f_f53a_5f1d_36f1), now),
            rules: CameraRules::new(options, now),
            options: options.clone(),
            last: None,
            has_lost: false,
        }
    }

    pub fn suspended(&mut self, time: Duration, until: Instant) {
        self.kernel.suspended(time);
        self.rules.suspended(until);
    }

    fn is_h264(&self) -> bool {
        self.kernel.mode().is_some_and(|mode| mode.format == CameraFormat::H264)
    }
}

impl Run {
    pub(super) fn next_camera_event(&self) -> Option<Instant> {
        self.camera.as_ref().filter(|_| !self.shut_down).map(|camera| camera.kernel.next_at())
    }

    pub(super) fn step_camera(&mut self) -> RuleResult {
        let Some(camera) = self.camera.as_mut().filter(|_| !self.shut_down) else { return Ok(()) };
        let answers = camera.kernel.step(self.now, &mut self.tally);
        answers.iter().try_for_each(|answer| self.tell_of_camera(answer))?;
        self.check_camera()
    }

    pub(super) fn execute_on_camera(&mut self, command: CameraCommand) -> RuleResult {
        self.note_watchers();
        let Some(camera) = &mut self.camera else { return Err(format!("S18: {command:?}")) };
        camera.rules.executed(self.now, &command, &camera.kernel)?;
        camera.kernel.execute(self.now, command, &mut self.tally);
        Ok(())
    }

    pub(super) fn mend_camera(&mut self) {
        if let Some(camera) = &mut self.camera {
            camera.kernel.heal(self.now);
            camera.rules.heal(self.now);
        }
    }

    fn tell_of_camera(&mut self, answer: &Answer) -> RuleResult {
        let Some(camera) = &mut self.camera else { return Ok(()) };
        camera.rules.told(self.now, answer, &camera.kernel);
        self.note_pictures(answer)?;
        self.input(Input::Source(SourceEvent::Camera(answer.event())))?;
        let (Some(camera), Some(source)) = (&mut self.camera, self.server.source()) else {
            return Ok(());
        };
        camera.rules.check_told(self.now, answer, source)
    }

    /// Pictures of H.264 go to the viewers as they are.
    fn note_pictures(&mut self, answer: &Answer) -> RuleResult {
        let now = self.now;
        let (Some(camera), Some(of_source)) = (&mut self.camera, &mut self.rules.source) else {
            return Ok(());
        };
        if let Answer::Started(_) = answer {
            (camera.last, camera.has_lost) = (None, true);
            of_source.camera_started(camera.is_h264());
        }
        let Answer::Pictures(filled) = answer else { return Ok(()) };
        let mut frames = Vec::new();
        for filled in filled.iter() {
            let previous = camera.last.replace(filled.number);
            let is_in_row = previous.is_some_and(|it| it + 1 == filled.number);
            camera.has_lost |= filled.is_marked || !is_in_row;
            camera.has_lost &= filled.is_marked || !filled.keyframe;
            if !camera.is_h264() {
                of_source.camera_filled(now, None);
            } else if !filled.is_marked {
                let begins = (!camera.has_lost).then_some((
                    filled.number,
                    filled.keyframe,
                    filled.data.len(),
                ));
                of_source.camera_filled(now, begins);
                frames.push(SentFrame {
                    codec: Codec::H264,
                    number: filled.number,
                    keyframe: filled.keyframe,
                    captured: now,
                    previous: filled.number.checked_sub(1),
                    origin: Origin::Stream { is_damaged: false },
                });
            }
        }
        if of_source.passes_on() {
            self.last_shown_at = Some(now);
        }
        frames.into_iter().for_each(|frame| self.rules.source_delivered(frame));
        Ok(())
    }

    /// A picture of the camera is to be encoded.
    pub(super) fn check_picture_of_camera(
        &mut self,
        number: Option<u64>,
        picture: &SourcePicture,
        captured: Instant,
    ) -> RuleResult {
        let Some(camera) = &mut self.camera else { return Ok(()) };
        let size = match picture {
            SourcePicture::Picture(picture) => Some(picture.size()),
            SourcePicture::Samples(samples) => Some(samples.size),
            _ => None,
        };
        camera.rules.shown(self.now, number, size, captured)
    }

    fn note_watchers(&mut self) {
        // Who has asked for a picture may wait for it, or watch a stream of them.
        let is_viewed = self.server.viewer_states().next().is_some();
        let may_be_viewed = is_viewed || self.server.connections() > 0;
        if let Some(camera) = &mut self.camera {
            camera.rules.watched(self.now, is_viewed, may_be_viewed);
        }
    }

    /// What must hold once all outputs are carried out.
    fn check_camera(&mut self) -> RuleResult {
        self.note_watchers();
        let (Some(camera), Some(source)) = (&mut self.camera, self.server.source()) else {
            return Ok(());
        };
        camera.rules.check_state(self.now, source, &camera.kernel)?;
        self.check_statistics_of_camera()
    }

    /// Programs are told what viewers see.
    fn check_statistics_of_camera(&self) -> RuleResult {
        let Some(source) = self.server.source() else { return Ok(()) };
        let statistics = self.server.statistics(self.now).to_json();
        let (state, sentence) = (&statistics["source"]["state"], &statistics["source"]["sentence"]);
        let is_running = *source.status() == SourceStatus::Running;
        rule!(
            (*state == "running") == is_running && sentence.is_null() == is_running,
            "C13: {state}, {sentence} in the statistics, and {:?}",
            source.status()
        );
        Ok(())
    }

    /// A viewer on a good network, whose page is about to connect again, has lost its connection or its picture.
    pub(super) fn check_camera_keeps_viewers(&self, index: usize) -> RuleResult {
        let is_healthy = self.options.healthy && index == HEALTHY && !self.shut_down;
        let Some(user) = self.users.get(index).filter(|_| self.camera.is_some() && is_healthy)
        else {
            return Ok(());
        };
        // Another is told that it cannot play the H.264 of a camera, and comes again.
        let Some(viewer) = user.viewer.as_ref().filter(|it| it.codec == Codec::H264) else {
            return Ok(());
        };
        let excused = !self.is_network_fine() || self.may_wait(viewer.codec);
        let was_shown = viewer.decoded.first().is_some_and(|at| *at + PICTURE_WITHIN < self.now);
        rule!(excused || !was_shown, "L12: user {index} connects again, for a camera");
        Ok(())
    }

    /// At the end the camera is shown, if somebody watches.
    pub(super) fn check_camera_is_shown(&self) -> RuleResult {
        let (Some(camera), Some(rules)) = (&self.camera, &self.rules.source) else {
            return Ok(());
        };
        let Some(removed) = self.faults_removed_at else { return Ok(()) };
        let wanted = match camera.options.when_watched {
            true if self.server.viewer_states().next().is_none() => return Ok(()),
            true => removed.max(camera.rules.viewed_since()),
            false => removed,
        };
        let since = rules.changed_at().filter(|_| rules.is_running());
        rule!(
            since.is_some() || self.now < wanted + SHOWN_WITHIN,
            "C3: the camera is well, and {:?}",
            self.server.source().map(|source| source.status())
        );
        match since {
            Some(since) => self.check_pictures_are_seen(since.max(removed), LONGEST_GROUP),
            None => Ok(()),
        }
    }

    /// Nothing is kept of a group that has lasted for too long, until another format is used.
    pub(super) fn has_far_keyframes(&self) -> bool {
        let plugged = self.camera.as_ref().and_then(|camera| camera.kernel.plugged());
        plugged.is_some_and(|plugged| plugged.has_far_keyframes)
    }
}
