//! The media servers that the stream is published to: each is asked to watch, and is then a viewer like
//! any other, but that no limit counts it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use super::secrets::Secrets;
use super::viewers::ViewerRole;
use super::{Output, Server, Timer};
use crate::http::Url;
use crate::publish::{PublishCause, PublishEvent, Publisher, PublisherEffect, Target, TargetId};
use crate::webrtc::viewer::{Invitation, formats};
use crate::webrtc::{EndReason, ViewerCounters, ViewerId};

/// All of them, in the order of their ids.
pub(crate) struct Publishing(Vec<TargetEntry>);

pub(crate) struct TargetEntry {
    pub publisher: Publisher,
    /// While the server has not answered it.
    invitation: Option<Invitation>,
    pub viewer: Option<ViewerId>,
    /// Its session as the driver keeps it.
    kept: Option<Url>,
    /// What it was sent in the sessions that have ended.
    pub sent: ViewerCounters,
}

impl TargetEntry {
    /// As people know it. The path of a URL may be a secret (RFC 9725 names streams by it).
    pub fn name(&self) -> String {
        self.publisher.target().url.authority.to_string()
    }
}

impl Publishing {
    /// `announced` are addresses of somebody else that lead to this device, `left` the sessions that an
    /// earlier process has left behind.
    pub fn new(
        targets: &[Target],
        announced: &[IpAddr],
        left: &BTreeMap<TargetId, Url>,
        secrets: &mut Secrets,
        now: Instant,
    ) -> Publishing {
        let entry = |(index, target): (usize, &Target)| {
            let left = left.get(&TargetId(index)).cloned();
            TargetEntry {
                publisher: Publisher::new(
                    target.clone(),
                    announced.to_vec(),
                    left.clone(),
                    secrets.seed(),
                    now,
                ),
                invitation: None,
                viewer: None,
                kept: left,
                sent: ViewerCounters::default(),
            }
        };
        Publishing(targets.iter().enumerate().map(entry).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = (TargetId, &TargetEntry)> {
        self.0.iter().enumerate().map(|(index, entry)| (TargetId(index), entry))
    }

    pub fn deadlines(&self) -> impl Iterator<Item = (TargetId, Option<Instant>)> {
        self.iter().map(|(id, entry)| (id, entry.publisher.poll_timeout()))
    }

    /// The address in the URL of a media server. A name is not known before it is resolved, but for that
    /// which leads every host to itself.
    pub fn address_of(&self, id: TargetId) -> Option<IpAddr> {
        let host = &self.0.get(id.0)?.publisher.target().url.authority.name;
        let is_here = host.eq_ignore_ascii_case("localhost");
        if is_here { Some(Ipv4Addr::LOCALHOST.into()) } else { host.parse().ok() }
    }

    fn get_mut(&mut self, id: TargetId) -> Option<&mut TargetEntry> {
        self.0.get_mut(id.0)
    }
}

impl Server {
    /// How many media servers have the picture.
    pub fn published(&self) -> usize {
        self.targets.iter().filter(|(_, entry)| entry.publisher.is_live()).count()
    }

    /// After [`Input::Shutdown`](super::Input::Shutdown): whether sessions at media servers are still
    /// being deleted.
    pub fn is_unpublishing(&self) -> bool {
        self.shutting_down && self.targets.iter().any(|(_, entry)| !entry.publisher.is_over())
    }

    pub(crate) fn handle_publish(&mut self, now: Instant, id: TargetId, event: PublishEvent) {
        self.with_target(now, id, |publisher| publisher.handle_event(now, event));
    }

    /// Changes a publisher, then does what it wants and sets its timer.
    pub(crate) fn with_target(
        &mut self,
        now: Instant,
        id: TargetId,
        change: impl FnOnce(&mut Publisher),
    ) {
        let Some(entry) = self.targets.get_mut(id) else { return };
        let before = entry.publisher.status();
        change(&mut entry.publisher);
        while let Some(entry) = self.targets.get_mut(id)
            && let Some(effect) = entry.publisher.poll_effect(now)
        {
            match effect {
                PublisherEffect::Command(command) => {
                    self.outbox.push_back(Output::Publish(id, command))
                }
                PublisherEffect::MakeOffer => self.offer_to(now, id),
                PublisherEffect::Connect(sdp) => self.connect_to(now, id, &sdp),
            }
        }
        let Some(entry) = self.targets.get_mut(id) else { return };
        self.timers.set(Timer::Target(id), entry.publisher.poll_timeout());
        let session = entry.publisher.session();
        if session != entry.kept.as_ref() {
            entry.kept = session.cloned();
            self.outbox.push_back(Output::KeepSession(id, entry.kept.clone()));
        }
        if entry.publisher.is_over()
            && let Some(viewer) = entry.viewer.take()
        {
            return self.end_media(now, viewer);
        }
        let after = entry.publisher.status();
        if after.state == "live" && before.state != "live" {
            log::info!("{} has the picture", entry.name());
        }
        if let Some(problem) = after.problem.filter(|_| !self.shutting_down)
            && let Some(retry_at) = after.retry_at.filter(|at| Some(*at) != before.retry_at)
        {
            let is_new = before.problem.as_ref() != Some(&problem);
            let level = if is_new { log::Level::Warn } else { log::Level::Debug };
            let pause = retry_at.saturating_duration_since(now).as_secs_f32();
            let name = entry.name();
            log::log!(level, "{name} has no picture: {problem}; tried again in {pause:.1} s");
            if problem.words.is_some() {
                log::debug!("{name} has no picture: {}", problem.detail());
            }
        }
    }

    fn offer_to(&mut self, now: Instant, id: TargetId) {
        let formats = match self.source.as_ref().filter(|source| source.is_encoded()) {
            Some(source) => formats(source.info().profile_level_id, false),
            None => formats(None, true),
        };
        let (credentials, random) = (self.secrets.ice_credentials(), self.secrets.numbers());
        let peer = self.targets.address_of(id);
        let local = self.config.local_parameters(peer, credentials, random);
        let (invitation, sdp) = Invitation::offer(formats, local, now);
        if let Some(entry) = self.targets.get_mut(id) {
            entry.invitation = Some(invitation);
            entry.publisher.post(now, sdp);
        }
    }

    fn connect_to(&mut self, now: Instant, id: TargetId, answer: &str) {
        let Some(entry) = self.targets.get_mut(id) else { return };
        let Some(invitation) = entry.invitation.take() else { return };
        match invitation.accept(answer, now) {
            Ok(viewer) => {
                let viewer = self.viewers.add_viewer(viewer, ViewerRole::Invited(id));
                entry.viewer = Some(viewer);
                log::info!("{viewer} is the media server {}", entry.name());
                self.with_viewer(now, viewer, |_| {});
            }
            Err(error) => entry.publisher.connect_failed(now, PublishCause::Answer(error)),
        }
    }

    /// The viewer that is a media server has ended.
    pub(crate) fn target_ended(
        &mut self,
        now: Instant,
        id: TargetId,
        reason: EndReason,
        sent: ViewerCounters,
    ) {
        let Some(entry) = self.targets.get_mut(id) else { return };
        entry.viewer = None;
        entry.sent += sent;
        self.with_target(now, id, |publisher| publisher.connect_failed(now, reason.into()));
    }

    /// The media server knows why, as its session was deleted before.
    fn end_media(&mut self, now: Instant, viewer: ViewerId) {
        self.with_viewer(now, viewer, |viewer| viewer.end(now, EndReason::Shutdown));
    }

    /// Deletes the sessions at all of them; their media connections end after that.
    pub(crate) fn end_targets(&mut self, now: Instant) {
        let ids: Vec<TargetId> = self.targets.iter().map(|(id, _)| id).collect();
        for id in ids {
            self.with_target(now, id, |publisher| publisher.shut_down(now));
        }
    }
}
