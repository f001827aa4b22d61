//! What a change in one part means to the others.
//!
//! Each `with_…` changes one thing, lets its part settle, and passes on what the part tells of it. This is
//! the only place where parts meet.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::demux;
use super::http::Http;
use super::limits::admission::{RETRY_AFTER, shutting_down};
use super::outbox::{Outbox, Timer};
use super::paths::addresses_towards;
use super::publish::PublishingEvent;
use super::video::{Audience, Captured, FanOut, Recipient, VideoEvent};
use super::viewers::{ViewerChange, ViewerRole};
use super::{Output, Server};
use crate::media::{Codec, Damage, SnapshotError, SourcePicture};
use crate::publish::{Publisher, PublisherStatus, TargetId};
use crate::web::refusal::Refusal;
use crate::web::snapshot;
use crate::webrtc::viewer::{PendingOffer, Viewer, formats};
use crate::webrtc::{AddressPair, EndReason, StreamNumbers, StunMessage, ViewerId};

/// Datagrams.
impl Server {
    /// Hands a datagram to its viewer. Drops and counts one that belongs to no viewer.
    pub(super) fn handle_datagram(&mut self, now: Instant, pair: AddressPair, contents: &[u8]) {
        let is_taken = match demux::find(&self.viewers, pair, contents) {
            Some((id, Some(message))) => {
                self.handle_stun(now, id, pair, &message, contents).is_some()
            }
            Some((id, None)) => {
                self.with_viewer(now, id, |viewer| viewer.handle_datagram(now, pair, contents));
                true
            }
            None => false,
        };
        self.datagrams.dropped += u64::from(!is_taken);
    }

    /// Returns `None` if the message is not authentic, or not for this viewer at this address.
    fn handle_stun(
        &mut self,
        now: Instant,
        id: ViewerId,
        pair: AddressPair,
        message: &StunMessage,
        contents: &[u8],
    ) -> Option<()> {
        let is_response = message.is_successful_binding_response();
        let entry = self.viewers.get_mut(id)?;
        let authentic = entry.viewer.authenticate(now, pair, contents)?;
        if is_response {
            if !entry.viewer.admits_response(now, pair.remote, message.mapped_address()?) {
                return None;
            }
            if entry.viewer.has_moved(now, pair.remote) {
                self.with_viewer(now, id, |viewer| viewer.drop_selected_pair(now));
            }
            self.viewers.complete_check(message.trans_id());
        } else {
            let mut is_admitted = false;
            self.with_viewer(now, id, |viewer| {
                is_admitted = viewer.admits_address(now, pair.remote);
            });
            if !is_admitted {
                return None;
            }
            self.viewers.claim_address(pair.remote, id);
        }
        self.with_viewer(now, id, |viewer| viewer.handle_stun(now, authentic, is_response));
        Some(())
    }

    pub(super) fn note_transmit_failed(&mut self, destination: SocketAddr) {
        self.datagrams.failed += 1;
        let id = self.viewers.at(destination);
        if let Some(entry) = id.and_then(|id| self.viewers.get_mut(id)) {
            entry.viewer.shut_gate();
            self.video.request_keyframe(entry.viewer.codec());
        }
    }
}

/// Viewers.
impl Server {
    /// The bound addresses have changed.
    pub(super) fn set_addresses(&mut self, now: Instant, addresses: &[SocketAddr]) {
        self.config.addresses = addresses.to_vec();
        self.config.access.addresses = self.config.own_addresses();
        for id in self.viewers.ids() {
            let addresses = addresses_towards(self.address_of_peer(id), addresses);
            self.with_viewer(now, id, |viewer| viewer.set_addresses(now, &addresses));
        }
    }

    /// Changes a viewer.
    pub(super) fn with_viewer(
        &mut self,
        now: Instant,
        id: ViewerId,
        change: impl FnOnce(&mut Viewer),
    ) {
        if let Some(change) = self.viewers.change(now, id, &mut self.outbox, change) {
            self.follow_viewer(now, id, change);
        }
    }

    fn follow_viewer(&mut self, now: Instant, id: ViewerId, change: ViewerChange) {
        if change.has_connected {
            self.video.note_viewer_joined(change.codec);
        }
        if change.requests_keyframe {
            self.video.request_keyframe(change.codec);
        }
        if change.changes_audience {
            self.video.update_clock(now, self.audience(), &mut self.outbox);
        }
        if let Some(target) = change.target {
            if let Some(ended) = change.ended {
                self.publishing.forget_viewer(target, ended.sent);
                self.with_target(now, target, |it| it.connect_failed(now, ended.reason.into()));
            } else if change.has_connected {
                self.with_target(now, target, |it| it.connected(now));
            } else if change.lacks_certificate {
                let problem = EndReason::Certificate.into();
                self.with_target(now, target, |it| it.note_problem(problem));
            }
        }
        let needs_picture = change.has_connected || change.requests_keyframe;
        if needs_picture && self.video.passes_on(change.codec) {
            self.send_group(now, id);
        } else if change.has_connected {
            self.video.show_no_signal_now(now, &mut self.outbox);
        }
    }

    /// After a panic: does what it has left half done for a viewer, such as setting its timer.
    pub(super) fn recover(&mut self, now: Instant) {
        for id in self.viewers.ids() {
            self.with_viewer(now, id, |_| {});
        }
        self.video.update_clock(now, self.audience(), &mut self.outbox);
    }

    /// Sends a viewer all that it needs to be where the stream is.
    fn send_group(&mut self, now: Instant, id: ViewerId) {
        let entry = self.viewers.get_mut(id).filter(|entry| entry.viewer.is_watching());
        if let Some(entry) = entry {
            let codec = entry.viewer.codec();
            self.video.send_group(now, id, codec, &mut entry.group_sent_at);
        }
    }

    /// Sends the frames that are first in line to one viewer. Returns whether there were any.
    pub(super) fn fan_out_once(&mut self) -> bool {
        let Some(mut fan_out) = self.video.take_fan_out() else { return false };
        match fan_out.recipient() {
            Recipient::One(id) => drop(self.write(id, &fan_out)),
            Recipient::AllFrom(first, codec) => match self.viewers.next_of(codec, first) {
                Some(id) => {
                    let awaits_keyframe = self.write(id, &fan_out);
                    fan_out.note_turn(id, awaits_keyframe);
                    if awaits_keyframe && self.video.passes_on(codec) {
                        // The next one may be seconds away, and nobody can ask for it.
                        self.send_group(fan_out.now, id);
                    }
                    self.video.resume_fan_out(fan_out);
                }
                None => self.video.finish_fan_out(&fan_out),
            },
        }
        true
    }

    /// Writes frames to a viewer. Returns whether it waits for a key frame then.
    fn write(&mut self, id: ViewerId, fan_out: &FanOut) -> bool {
        let mut awaits_keyframe = false;
        self.with_viewer(fan_out.now, id, |viewer| {
            for frame in &fan_out.frames {
                viewer.write(fan_out.now, frame, fan_out.within);
            }
            awaits_keyframe = viewer.awaits_keyframe();
        });
        awaits_keyframe
    }
}

/// Pictures.
impl Server {
    pub(super) fn audience(&self) -> Audience {
        let counts = self.viewers.counts();
        Audience {
            codecs: Codec::ALL.map(|codec| counts.watching(codec) > 0),
            streams: self.http.snapshots.any_streams(),
        }
    }

    /// A source may rest while nobody watches.
    pub(super) fn follow_demand(&mut self, now: Instant) {
        let is_watched = self.viewers.len() > 0 || self.http.snapshots.mjpeg_clients() > 0;
        self.video.set_watched(now, is_watched, &mut self.outbox);
    }

    /// The first stream of pictures may have begun, or the last one ended.
    pub(super) fn update_clock(&mut self, now: Instant) {
        let audience = self.audience();
        if !self.video.clock_suits(audience) {
            self.video.update_clock(now, audience, &mut self.outbox);
        }
    }

    /// After the source was changed.
    pub(super) fn follow_video(&mut self, now: Instant) {
        while let Some(event) = self.video.poll_event(now, self.audience(), &mut self.outbox) {
            match event {
                VideoEvent::Opened => self.http.snapshots.forget_keyframe(),
                VideoEvent::Restarted => self.restart_stream(now),
                VideoEvent::Captured(captured) => self.note_capture(now, captured),
                VideoEvent::Keyframe(frame) => self.http.snapshots.note_keyframe(now, frame),
            }
        }
    }

    fn restart_stream(&mut self, now: Instant) {
        let passes_on = self.video.passes_on(Codec::H264);
        for id in self.viewers.ids() {
            let Some(entry) = self.viewers.get_mut(id) else { continue };
            entry.viewer.shut_gate();
            if passes_on && entry.viewer.codec() != Codec::H264 {
                // It came for the sentence. Its next offer is answered with the reason.
                self.with_viewer(now, id, |viewer| viewer.end(now, EndReason::NoCodec));
            } else if passes_on {
                self.send_group(now, id);
            }
        }
        self.video.restart_stream();
        self.video.update_clock(now, self.audience(), &mut self.outbox);
    }

    pub(super) fn tick(&mut self, now: Instant) {
        let captured = self.video.tick(now, self.audience(), &mut self.outbox);
        if let Some(captured) = captured {
            self.note_capture(now, captured);
        }
    }

    /// There is a newer picture, which may be the streams' next one.
    fn note_capture(&mut self, now: Instant, captured: Captured) {
        self.http.snapshots.note_capture(captured);
        let takes_part = self.http.any_stream_takes_part();
        if self.http.snapshots.want_part(now, self.video.tick_period(), takes_part) {
            self.request_files(now);
        }
    }

    /// Asks the encoder for the files whose turn it is.
    pub(super) fn request_files(&mut self, now: Instant) {
        let takes_part = self.http.any_stream_takes_part();
        while let Some(width) = self.http.snapshots.next_file(now, takes_part) {
            if let Some(captured) = self.video.capture_once(now, &mut self.outbox) {
                self.http.snapshots.note_capture(captured);
            }
            if self.video.passes_on(Codec::H264) {
                show_keyframe(&mut self.http, &mut self.outbox);
            }
            self.http.snapshots.request(now, width, &mut self.outbox);
        }
        self.http.snapshots.set_timer(&mut self.outbox);
    }

    /// A file was made, or could not be.
    pub(super) fn handle_snapshot(
        &mut self,
        now: Instant,
        width: Option<usize>,
        made: Result<Bytes, SnapshotError>,
        cost: Duration,
    ) {
        let period = self.video.picture_period();
        let completed = self.http.snapshots.complete(now, width, &made, cost, period);
        let Some(completed) = completed else { return };
        let taken = completed.captured.at;
        if !completed.captured.is_no_signal {
            self.note_file(now, made.as_ref().err().copied());
        }
        let problem = self.check_problem(now).err();
        for (id, waiting) in completed.waiting {
            let is_for_stream = waiting.is_for_stream;
            let answer = match &made {
                Ok(jpeg) => match problem.clone().filter(|_| !is_for_stream) {
                    Some(refusal) => Err(refusal),
                    None => Ok(self.http.picture_response(now, id, jpeg, taken, is_for_stream)),
                },
                Err(error) => {
                    let is_too_wide = matches!(error, SnapshotError::TooWide { .. });
                    let known = problem.clone().filter(|_| !is_too_wide);
                    Err(known.unwrap_or_else(|| snapshot::refusal(*error, RETRY_AFTER)))
                }
            };
            let mut response =
                answer.unwrap_or_else(|refusal| self.refuse(now, id, waiting.wants_page, refusal));
            response.headers.extend(waiting.cors);
            self.with_connection(now, id, |http| http.respond(response));
        }
        if let Ok(jpeg) = made {
            let part = snapshot::part(&jpeg, self.http.date(taken));
            for id in completed.streams {
                if self.http.take_part(id) {
                    self.with_connection(now, id, |http| http.send_part(part.clone(), now));
                }
            }
        }
        self.request_files(now);
    }

    /// There is no picture while `/health` says so: the last one may be of yesterday.
    pub(super) fn check_problem(&self, now: Instant) -> Result<(), Refusal> {
        let problem = self.video.problem(now);
        problem.map_or(Ok(()), |sentence| Err(snapshot::no_picture(sentence, RETRY_AFTER)))
    }

    /// A picture of the source was encoded, or could not be.
    pub(super) fn note_outcome(&mut self, now: Instant, damage: Option<Damage>) {
        self.video.note_outcome(now, damage, &mut self.outbox);
        self.follow_video(now);
    }

    /// A JPEG file was made of a picture, or could not be. That shows whether the source is good while nobody
    /// watches the video.
    fn note_file(&mut self, now: Instant, error: Option<SnapshotError>) {
        let damage = match error {
            None => None,
            Some(SnapshotError::Damaged(damage)) => Some(damage),
            Some(_) => return,
        };
        if self.viewers.counts().any_watching() {
            self.video.count_outcome(damage);
        } else {
            self.note_outcome(now, damage);
        }
    }
}

/// Gives the decoder the key frame that a file is to be made of.
fn show_keyframe(http: &mut Http, outbox: &mut Outbox) {
    let Some(frame) = http.snapshots.keyframe_to_show() else { return };
    let (captured, picture) = (frame.captured, SourcePicture::Keyframe(frame));
    outbox.push(Output::Encode { picture, captured, codecs: Vec::new(), is_reported: false });
}

/// Media servers.
impl Server {
    /// Changes a publisher.
    pub(super) fn with_target(
        &mut self,
        now: Instant,
        id: TargetId,
        change: impl FnOnce(&mut Publisher),
    ) {
        if let Some(before) = self.publishing.change(id, change) {
            self.follow_target(now, id, before);
        }
    }

    /// After a publisher had the status `before` and was changed.
    fn follow_target(&mut self, now: Instant, id: TargetId, before: PublisherStatus) {
        while let Some(event) = self.publishing.poll_event(now, id, &mut self.outbox) {
            match event {
                PublishingEvent::MakeOffer => self.make_offer(now, id),
                PublishingEvent::Connect(answer) => {
                    if let Some(viewer) = self.publishing.accept(now, id, &answer) {
                        let viewer = self.viewers.add_viewer(viewer, ViewerRole::Publish(id));
                        self.publishing.set_viewer(id, viewer);
                        self.with_viewer(now, viewer, |_| {});
                    }
                }
            }
        }
        if let Some(viewer) = self.publishing.settle(now, id, before, &mut self.outbox) {
            self.with_viewer(now, viewer, |viewer| viewer.end(now, EndReason::Shutdown));
        }
    }

    fn make_offer(&mut self, now: Instant, id: TargetId) {
        let formats = match self.video.encoded_source() {
            Some(source) => formats(source.info().profile_level_id, false),
            None => formats(None, true),
        };
        let credentials = self.secrets.ice_credentials();
        let numbers = StreamNumbers::new(self.secrets.numbers());
        let peer = self.publishing.address_of(id);
        let local = self.config.local_parameters(peer, credentials, numbers);
        let (pending, offer) = PendingOffer::new(formats, local, now);
        self.publishing.post(now, id, pending, offer);
    }
}

/// Time, and the end.
impl Server {
    pub(super) fn fire_timers(&mut self, now: Instant) {
        let (mut frame_due, mut source_due) = (false, false);
        while let Some(timer) = self.outbox.take_due(now) {
            match timer {
                // After the others, one of which may be the end of the last viewer.
                Timer::Frame => frame_due = true,
                Timer::Source => source_due = true,
                Timer::Viewer(id) => {
                    self.viewers.note_timer_fired(id);
                    self.with_viewer(now, id, |viewer| {
                        viewer.handle_timeout(now);
                        let next = viewer.poll_timeout();
                        debug_assert!(next.is_none_or(|next| next > now), "time moves on");
                    });
                }
                Timer::Connection(id) => {
                    self.with_connection(now, id, |http| http.handle_timeout(now));
                }
                Timer::Target(id) => self.with_target(now, id, |it| it.handle_timeout(now)),
                Timer::File => self.request_files(now),
            }
        }
        if source_due {
            self.video.handle_source_timeout(now, &mut self.outbox);
            self.follow_video(now);
        }
        // A source that has fallen silent starts the clock.
        if frame_due || source_due {
            self.tick(now);
        }
    }

    pub(super) fn shut_down(&mut self, now: Instant) {
        self.is_shutting_down = true;
        let watchers = self.viewers.iter().filter(|(_, entry)| entry.watcher().is_some());
        let watchers: Vec<ViewerId> = watchers.map(|(id, _)| id).collect();
        for id in watchers {
            self.with_viewer(now, id, |viewer| viewer.end(now, EndReason::Shutdown));
        }
        // Their media connections end after their sessions are deleted.
        self.publishing.shut_down();
        for id in self.publishing.ids() {
            self.with_target(now, id, |publisher| publisher.shut_down(now));
        }
        for id in self.http.ids() {
            let refusal = self.refuse_waiting(now, id, shutting_down());
            self.with_connection(now, id, |http| {
                http.shutdown(now);
                if let Some(refusal) = refusal {
                    http.respond(refusal);
                }
            });
        }
    }
}
