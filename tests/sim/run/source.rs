//! The stream from outside: what the server wants done to it, what happens to it, and the pictures
//! that are encoded for it.

use std::time::{Duration, Instant};

use ballcast::testing::foreign::Foreign;
use ballcast::testing::media::{Codec, Damage, SourcePicture};
use ballcast::testing::os_error::OsError;
use ballcast::testing::server::Input;
use ballcast::testing::source::{Exit, SourceCommand, SourceEvent, SourceFailure, SourceStatus};
use ballcast::testing::webrtc::ViewerId;

use super::{Event, HEALTHY, PICTURE_WITHIN, Run, User};
use crate::media_server::SECRET_MARK;
use crate::rules::publish::check_text;
use crate::rules::source::is_damaged;
use crate::rules::{Origin, RuleResult, SentFrame, rule};
use crate::source::stream::{Shows, shows};
use crate::source::{FarEnd, Step, Told, Turn};
use crate::tally::Happening;

/// After the faults are removed, until a stream runs: what is wrong with it ends, the longest pause
/// between attempts, and its start.
const RUNS_WITHIN: Duration = Duration::from_secs(12);

/// A longer group may not be kept.
const LONG_GROUP: Duration = Duration::from_secs(3);

/// What the server wants of a driver, which does it in this order.
pub(super) enum Pending {
    Execute(SourceCommand),
    Encode(SourcePicture, Instant, Vec<Codec>),
}

impl Run {
    /// Does what the outputs of the last drains have brought about, until they bring about nothing more.
    pub(super) fn serve_source(&mut self) -> RuleResult {
        if std::mem::replace(&mut self.is_serving, true) {
            return Ok(());
        }
        while let Some(pending) = self.pending.pop_front() {
            match pending {
                Pending::Execute(command) => self.execute(command)?,
                Pending::Encode(picture, captured, codecs) => {
                    self.encode(&picture, captured, &codecs)?;
                }
            }
        }
        self.is_serving = false;
        Ok(())
    }

    fn execute(&mut self, command: SourceCommand) -> RuleResult {
        let command = match command {
            SourceCommand::Camera(_) if self.shut_down => return Ok(()),
            SourceCommand::Camera(command) => return self.execute_on_camera(command),
            command => command,
        };
        // When the program ends, the core has no more say in it.
        let Some(mut far_end) = self.far_end.take().filter(|_| !self.shut_down) else {
            return Ok(());
        };
        let (now, tally) = (self.now, &mut self.tally);
        if let Some(rules) = &mut self.rules.source {
            rules.executed(now, command.clone(), tally)?;
        }
        let turn = match command {
            SourceCommand::Open => far_end.open(now, tally),
            SourceCommand::Read => (vec![far_end.read(tally)], vec![]),
            SourceCommand::Close => far_end.closed(),
            SourceCommand::Kill(signal) => far_end.kill(signal, tally),
            SourceCommand::Camera(_) => unreachable!("that of a camera"),
            SourceCommand::GiveUp => {
                self.far_end = Some(far_end);
                return self.shutdown();
            }
        };
        self.take_turn(far_end, turn)
    }

    pub(super) fn step_far_end(&mut self, step: Step) -> RuleResult {
        let Some(mut far_end) = self.far_end.take().filter(|_| !self.shut_down) else {
            return Ok(());
        };
        let turn = far_end.step(self.now, step, &mut self.tally);
        self.take_turn(far_end, turn)
    }

    pub(super) fn mend_far_end(&mut self) -> RuleResult {
        let Some(mut far_end) = self.far_end.take() else { return Ok(()) };
        let turn = far_end.mend(self.now);
        self.take_turn(far_end, turn)
    }

    fn take_turn(&mut self, far_end: FarEnd, (told, steps): Turn) -> RuleResult {
        self.far_end = Some(far_end);
        for (wait, step) in steps {
            self.after(wait, Event::FarEnd(step));
        }
        told.into_iter().try_for_each(|told| self.tell(&told))
    }

    fn tell(&mut self, told: &Told) -> RuleResult {
        let now = self.now;
        if let Told::Bytes(piece) = told {
            self.check_taken()?;
            if self.rules.source.as_ref().is_some_and(|rules| rules.passes_on()) {
                self.last_shown_at = Some(now);
            }
            for begun in &piece.begins {
                let origin = Origin::Stream { is_damaged: begun.is_damaged };
                let frame = SentFrame {
                    codec: Codec::H264,
                    number: begun.number,
                    keyframe: begun.keyframe,
                    captured: now,
                    previous: self.last_written.replace(begun.number),
                    origin,
                };
                self.rules.source_delivered(frame);
            }
        }
        if matches!(told, Told::Opened) {
            self.last_written = None;
        }
        if let Some(rules) = &mut self.rules.source {
            rules.told(now, told);
            if rules.lets_group_go(now) {
                self.tally.happened(Happening::GroupLetGo);
            }
        }
        let words = Foreign::new(&format!("rtsp://camera/{SECRET_MARK} {SECRET_MARK}"), 100);
        self.input(Input::Source(match told {
            Told::Opened => SourceEvent::Opened,
            Told::Bytes(piece) => SourceEvent::Bytes(&piece.bytes),
            Told::Ended => SourceEvent::Ended,
            Told::Failed => SourceEvent::Failed(SourceFailure::Open(OsError::Number(2))),
            Told::Exited => SourceEvent::Exited(Exit::Status(1), words),
        }))?;
        let now = self.now;
        check_text(&self.server.problem(now).unwrap_or_default())?;
        check_text(&self.server.statistics(now).to_json().to_string())
    }

    /// The viewer on a good network has every frame that has come.
    fn check_taken(&self) -> RuleResult {
        let Some(rules) = &self.rules.source else { return Ok(()) };
        let turned = rules.changed_at().is_some_and(|at| self.now <= at + PICTURE_WITHIN);
        let (Some((last, begun)), false) = (rules.last_taken(self.now), turned) else {
            return Ok(());
        };
        let Some((id, Codec::H264)) = self.settled_healthy_viewer() else { return Ok(()) };
        let sent = self.rules.last_frame(id);
        let is_taken = sent.is_some_and(|sent| (last..=begun).contains(&sent));
        rule!(is_taken, "L6: {id} had frame {sent:?}, not {last}");
        Ok(())
    }

    /// What must hold between an input and its outputs.
    pub(super) fn check_source_state(&mut self) -> RuleResult {
        let (Some(source), Some(rules)) = (self.server.source(), &mut self.rules.source) else {
            return Ok(());
        };
        if self.shut_down {
            return Ok(());
        }
        let was_running = rules.is_running();
        rules.check_state(self.now, source)?;
        if was_running != rules.is_running() {
            self.rules.turned();
        }
        Ok(())
    }

    pub(super) fn check_source_time_limits(&mut self) -> RuleResult {
        let live = self.server.viewer_states().any(|(_, state)| state == "live");
        let rules = self.rules.source.as_mut().filter(|_| !self.shut_down);
        rules.map_or(Ok(()), |rules| rules.check_time_limits(self.now, live))
    }

    /// Outputs: a picture of the stream, or words.
    pub(super) fn want_encode(
        &mut self,
        picture: SourcePicture,
        captured: Instant,
        codecs: Vec<Codec>,
        is_reported: bool,
    ) -> RuleResult {
        let watched = self.server.viewer_states().any(|(_, state)| state == "live");
        rule!(codecs.is_empty() || watched, "S11: a picture is encoded, and nobody watches");
        rule!(codecs.is_sorted_by(|a, b| a < b), "S11: a codec twice");
        let shows = shows(&picture);
        let is_judged = !matches!(shows, Shows::Words | Shows::Keyframe);
        rule!(is_reported == is_judged, "S11: words pass for a picture");
        let is_for_file = shows != Shows::Keyframe || codecs.is_empty();
        rule!(is_for_file, "S11: a key frame for a file is encoded");
        let twice = self.pending.iter().any(|pending| match pending {
            Pending::Encode(other, ..) => {
                (shows == Shows::Words) == (self::shows(other) == Shows::Words)
            }
            Pending::Execute(_) => false,
        });
        rule!(!twice, "S11: two pictures are encoded, of which one is old");
        if let Some(rules) = &mut self.rules.source {
            rules.encoded(self.now, shows, &mut self.tally)?;
        }
        match shows {
            Shows::Words | Shows::Keyframe => {}
            Shows::Picture(number) => {
                self.check_picture_of_camera(Some(number), &picture, captured)?
            }
            Shows::Damaged | Shows::Other => {
                self.check_picture_of_camera(None, &picture, captured)?
            }
        }
        self.pending.push_back(Pending::Encode(picture, captured, codecs));
        Ok(())
    }

    fn encode(
        &mut self,
        picture: &SourcePicture,
        captured: Instant,
        codecs: &[Codec],
    ) -> RuleResult {
        let shows = shows(picture);
        let fails = self.far_end.as_mut().is_some_and(|it| it.encode_fails(&mut self.tally));
        if shows == Shows::Damaged {
            self.tally.happened(Happening::JpegLeftOut);
        }
        let fails = fails || shows == Shows::Damaged;
        if let Some(rules) = self.rules.source.as_mut().filter(|_| !codecs.is_empty()) {
            rules.failed_encode = fails;
        }
        if codecs.is_empty() {
            return Ok(());
        }
        if fails {
            let damage = match shows {
                Shows::Words | Shows::Keyframe => return Ok(()),
                Shows::Damaged => Damage::Decode,
                Shows::Picture(_) | Shows::Other => Damage::Encode(codecs[0]),
            };
            if let Some(rules) = &mut self.rules.source {
                rules.encoding_ended(self.now, true);
            }
            return self.input(Input::PictureDamaged(damage));
        }
        let origin = if shows == Shows::Words { Origin::Words } else { Origin::Picture };
        self.deliver_picture(codecs, origin, captured)?;
        if shows != Shows::Words {
            if let Some(rules) = &mut self.rules.source {
                rules.encoding_ended(self.now, false);
            }
            self.input(Input::PictureShown)?;
        }
        let ignored = self.keyframe_requests_ignored_until.is_some_and(|until| self.now <= until);
        let failing = self.sends_fail_until.is_some_and(|until| self.now <= until);
        if ignored || failing || self.shut_down {
            return Ok(());
        }
        let live = self.server.viewer_states().filter(|(_, state)| *state == "live");
        let live: Vec<ViewerId> = live.map(|(viewer, _)| viewer).collect();
        self.rules.check_keyframes_of_picture(self.now, &live)
    }

    /// At the end every viewer sees the pictures of the stream, if it runs and can be played.
    pub(super) fn check_stream_is_seen(&self) -> RuleResult {
        self.check_camera_is_shown()?;
        let (Some(far_end), Some(rules)) = (&self.far_end, &self.rules.source) else {
            return Ok(());
        };
        let Some(removed) = self.faults_removed_at else { return Ok(()) };
        if !far_end.is_mended() {
            return Ok(());
        }
        let live = self.server.viewer_states().any(|(_, state)| state == "live");
        if !live && self.server.source().is_some_and(is_damaged) {
            // Nothing is encoded while nobody watches.
            return Ok(());
        }
        let since = rules.changed_at().filter(|_| rules.is_running());
        let Some(since) = since.map(|since| since.max(removed)) else {
            rule!(self.now < removed + RUNS_WITHIN, "L8: the stream does not run again");
            return Ok(());
        };
        self.check_pictures_are_seen(since, far_end.longest_group())
    }

    /// Every viewer sees the pictures of a source that runs since then.
    pub(super) fn check_pictures_are_seen(&self, since: Instant, group: Duration) -> RuleResult {
        let Some(rules) = &self.rules.source else { return Ok(()) };
        if self.now < since + group + PICTURE_WITHIN {
            return Ok(());
        }
        for (index, user) in self.honest_users() {
            let Some(viewer) = &user.viewer else { continue };
            let plays = viewer.codec == Codec::H264 || !rules.passes_on();
            let settled = viewer.created_at + PICTURE_WITHIN < self.now;
            let number = viewer.last_number.filter(|_| plays && settled);
            let Some(number) = number else { continue };
            let frame = self.rules.frame(number, viewer.codec);
            let is_picture = frame.is_some_and(|frame| frame.origin != Origin::Words);
            rule!(is_picture, "L8: user {index} sees words, and the stream runs");
        }
        Ok(())
    }

    pub(super) fn honest_users(&self) -> impl Iterator<Item = (usize, &User)> {
        self.users.iter().enumerate().filter(|(_, user)| !user.powered_off && !user.hostile)
    }

    /// Nothing is wrong, or was a moment ago, with what viewers on a good network are sent from.
    pub(super) fn is_network_fine(&self) -> bool {
        let past = |until: Option<Instant>, wait| until.is_none_or(|until| self.now > until + wait);
        // The key frame after a failed send may have to wait for the rate limit.
        past(self.sends_fail_until, PICTURE_WITHIN)
            && past(self.keyframe_requests_ignored_until, PICTURE_WITHIN)
            && past(self.suspended_until, super::RECOVERS_WITHIN)
            && past(self.addresses_changed_at, PICTURE_WITHIN)
    }

    /// The viewer on a good network, if nothing is wrong with what it is sent from.
    pub(super) fn settled_healthy_viewer(&self) -> Option<(ViewerId, Codec)> {
        let fine = self.is_network_fine();
        let viewer =
            self.users[HEALTHY].viewer.as_ref().filter(|_| fine && self.options.healthy)?;
        let settled = viewer.decoded.first().is_some_and(|at| *at + PICTURE_WITHIN < self.now);
        let id = self.server.viewer_at(viewer.mapped).filter(|_| settled && !viewer.closed)?;
        Some((id, viewer.codec))
    }

    /// A viewer is sent nothing of a stream of H.264 that it cannot play, or may wait for the next key
    /// frame where groups are too long to be kept.
    pub(super) fn may_wait(&self, codec: Codec) -> bool {
        let passes_on = self.rules.source.as_ref().is_some_and(|rules| rules.passes_on());
        let long = |far_end: &FarEnd| far_end.longest_group() > LONG_GROUP;
        let long = self.far_end.as_ref().is_some_and(long) || self.has_far_keyframes();
        passes_on && (codec != Codec::H264 || long)
    }

    /// Where no viewer is left, only the stream has a timer.
    pub(super) fn check_only_stream_has_timer(&self) -> RuleResult {
        let own = self.server.source().and_then(|source| source.poll_timeout());
        rule!(self.deadline == own, "L5: a timer is left");
        Ok(())
    }

    /// The stream does not run.
    pub(super) fn shows_words(&self) -> bool {
        self.server.source().is_some_and(|source| *source.status() != SourceStatus::Running)
    }
}
