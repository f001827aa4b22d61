//! The media servers that the stream is published to: each is offered the stream, and is then a viewer
//! like any other, except that no limit counts it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use super::Output;
use super::outbox::{Outbox, Timer};
use super::secrets::Secrets;
use crate::http::Url;
use crate::publish::{PublishCause, Publisher, PublisherEffect, PublisherStatus, Target, TargetId};
use crate::webrtc::viewer::{PendingOffer, Viewer};
use crate::webrtc::{ViewerCounters, ViewerId};

/// All of them, in the order of their ids.
pub(crate) struct Publishing {
    targets: Vec<TargetEntry>,
    is_shutting_down: bool,
}

pub(crate) struct TargetEntry {
    publisher: Publisher,
    /// Until the server answers it.
    offer: Option<PendingOffer>,
    viewer: Option<ViewerId>,
    /// Its session as the driver keeps it.
    kept: Option<Url>,
    /// What it was sent in the sessions that have ended.
    sent: ViewerCounters,
}

/// What a publisher needs from the rest of the server.
#[derive(Debug)]
pub(crate) enum PublishingEvent {
    /// An offer: [`Publishing::post`] follows.
    MakeOffer,
    /// A viewer for this answer: [`Publishing::accept`] follows.
    Connect(String),
}

impl TargetEntry {
    /// The name in the log. The path of a URL may be a secret (RFC 9725 names streams by it).
    pub(crate) fn name(&self) -> String {
        self.publisher.target().url.authority.to_string()
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    pub(crate) fn viewer(&self) -> Option<ViewerId> {
        self.viewer
    }

    /// What it was sent in the sessions that have ended.
    pub(crate) fn sent(&self) -> ViewerCounters {
        self.sent
    }
}

impl Publishing {
    /// `announced` are addresses elsewhere that lead to this device, `stale` the sessions that an earlier
    /// process left behind.
    pub(crate) fn new(
        targets: &[Target],
        announced: &[IpAddr],
        stale: &BTreeMap<TargetId, Url>,
        secrets: &mut Secrets,
        now: Instant,
        outbox: &mut Outbox,
    ) -> Publishing {
        let mut entry = |(index, target): (usize, &Target)| {
            let stale = stale.get(&TargetId(index)).cloned();
            let (target, announced) = (target.clone(), announced.to_vec());
            let publisher = Publisher::new(target, announced, stale.clone(), secrets.seed(), now);
            outbox.set_timer(Timer::Target(TargetId(index)), publisher.poll_timeout());
            TargetEntry {
                publisher,
                offer: None,
                viewer: None,
                kept: stale,
                sent: ViewerCounters::default(),
            }
        };
        let targets = targets.iter().enumerate().map(&mut entry).collect();
        Publishing { targets, is_shutting_down: false }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TargetId, &TargetEntry)> {
        self.targets.iter().enumerate().map(|(index, entry)| (TargetId(index), entry))
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = TargetId> + use<> {
        (0..self.targets.len()).map(TargetId)
    }

    /// How many have a deadline.
    pub(crate) fn timers(&self) -> usize {
        self.iter().filter(|(_, entry)| entry.publisher.poll_timeout().is_some()).count()
    }

    /// How many have the picture.
    pub(crate) fn live(&self) -> usize {
        self.iter().filter(|(_, entry)| entry.publisher.is_live()).count()
    }

    /// Whether sessions are still being deleted after [`shut_down`](Self::shut_down).
    pub(crate) fn is_unpublishing(&self) -> bool {
        self.is_shutting_down && self.iter().any(|(_, entry)| !entry.publisher.is_over())
    }

    /// From now on, publishers only delete their sessions. Each is to be
    /// [changed](Self::change) by `Publisher::shut_down`.
    pub(crate) fn shut_down(&mut self) {
        self.is_shutting_down = true;
    }

    /// The address in the URL of a media server. A name has none before it is resolved, except
    /// `localhost`.
    pub(crate) fn address_of(&self, id: TargetId) -> Option<IpAddr> {
        let host = &self.targets.get(id.0)?.publisher.target().url.authority.name;
        let is_localhost = host.eq_ignore_ascii_case("localhost");
        if is_localhost { Some(Ipv4Addr::LOCALHOST.into()) } else { host.parse().ok() }
    }

    /// Changes a publisher. Returns its status before, for [`settle`](Self::settle), which follows when
    /// all [events](Self::poll_event) are handled.
    pub(crate) fn change(
        &mut self,
        id: TargetId,
        change: impl FnOnce(&mut Publisher),
    ) -> Option<PublisherStatus> {
        let entry = self.targets.get_mut(id.0)?;
        let before = entry.publisher.status();
        change(&mut entry.publisher);
        Some(before)
    }

    pub(crate) fn poll_event(
        &mut self,
        now: Instant,
        id: TargetId,
        outbox: &mut Outbox,
    ) -> Option<PublishingEvent> {
        let entry = self.targets.get_mut(id.0)?;
        loop {
            match entry.publisher.poll_effect(now)? {
                PublisherEffect::Command(command) => outbox.push(Output::Publish(id, command)),
                PublisherEffect::MakeOffer => return Some(PublishingEvent::MakeOffer),
                PublisherEffect::Connect(sdp) => return Some(PublishingEvent::Connect(sdp)),
            }
        }
    }

    /// Sets the publisher's timer, and tells the driver and the log what is new. Returns the viewer whose
    /// session is over, which the media server knows, as the session was deleted before.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        id: TargetId,
        before: PublisherStatus,
        outbox: &mut Outbox,
    ) -> Option<ViewerId> {
        let entry = self.targets.get_mut(id.0)?;
        outbox.set_timer(Timer::Target(id), entry.publisher.poll_timeout());
        let session = entry.publisher.session();
        if session != entry.kept.as_ref() {
            entry.kept = session.cloned();
            outbox.push(Output::KeepSession(id, entry.kept.clone()));
        }
        if entry.publisher.is_over()
            && let Some(viewer) = entry.viewer.take()
        {
            return Some(viewer);
        }
        let after = entry.publisher.status();
        if after.state == "live" && before.state != "live" {
            log::info!("{} has the picture", entry.name());
        }
        if let Some(problem) = after.problem.filter(|_| !self.is_shutting_down)
            && let Some(retry_at) = after.retry_at.filter(|at| Some(*at) != before.retry_at)
        {
            let is_new = before.problem.as_ref() != Some(&problem);
            let level = if is_new { log::Level::Warn } else { log::Level::Debug };
            let pause = retry_at.saturating_duration_since(now).as_secs_f32();
            let name = entry.name();
            log::log!(level, "{name} has no picture: {problem}; next attempt in {pause:.1} s");
            if problem.words.is_some() {
                log::debug!("{name} has no picture: {}", problem.detail());
            }
        }
        None
    }

    /// Has an offer posted.
    pub(crate) fn post(
        &mut self,
        now: Instant,
        id: TargetId,
        pending: PendingOffer,
        offer: String,
    ) {
        if let Some(entry) = self.targets.get_mut(id.0) {
            entry.offer = Some(pending);
            entry.publisher.post(now, offer);
        }
    }

    /// The viewer of an answered offer, to be [added](Self::set_viewer). An answer that cannot be used is
    /// the publisher's problem.
    pub(crate) fn accept(&mut self, now: Instant, id: TargetId, answer: &str) -> Option<Viewer> {
        let entry = self.targets.get_mut(id.0)?;
        match entry.offer.take()?.accept(answer, now) {
            Ok(viewer) => Some(viewer),
            Err(error) => {
                entry.publisher.connect_failed(now, PublishCause::Answer(error));
                None
            }
        }
    }

    pub(crate) fn set_viewer(&mut self, id: TargetId, viewer: ViewerId) {
        if let Some(entry) = self.targets.get_mut(id.0) {
            entry.viewer = Some(viewer);
            log::info!("{viewer} is the media server {}", entry.name());
        }
    }

    /// The viewer that is this media server has ended.
    pub(crate) fn forget_viewer(&mut self, id: TargetId, sent: ViewerCounters) {
        if let Some(entry) = self.targets.get_mut(id.0) {
            entry.viewer = None;
            entry.sent += sent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TargetId = TargetId(0);

    fn publishing(url: &str, now: Instant) -> (Publishing, Outbox) {
        let (mut outbox, mut secrets) = (Outbox::new(), Secrets::new([7; 32]));
        let targets = [Target { url: Url::parse(url).unwrap(), token: None }];
        let stale = BTreeMap::new();
        let publishing = Publishing::new(&targets, &[], &stale, &mut secrets, now, &mut outbox);
        (publishing, outbox)
    }

    #[test]
    fn a_target_is_offered_the_stream_at_once_and_ends_when_told() {
        let now = Instant::now();
        let (mut publishing, mut outbox) = publishing("http://10.0.0.7:8889/camera/whip", now);
        assert_eq!((outbox.next_deadline(), publishing.timers()), (Some(now), 1));
        let before = publishing.change(ID, |publisher| publisher.handle_timeout(now)).unwrap();
        let event = publishing.poll_event(now, ID, &mut outbox);
        assert!(matches!(event, Some(PublishingEvent::MakeOffer)));
        assert_eq!(publishing.settle(now, ID, before, &mut outbox), None);
        assert_eq!((outbox.next_deadline(), publishing.live()), (None, 0));
        publishing.shut_down();
        let before = publishing.change(ID, |publisher| publisher.shut_down(now)).unwrap();
        assert!(publishing.poll_event(now, ID, &mut outbox).is_none());
        publishing.set_viewer(ID, ViewerId(5));
        let ended = publishing.settle(now, ID, before, &mut outbox);
        assert_eq!((ended, publishing.is_unpublishing()), (Some(ViewerId(5)), false));
    }

    #[test]
    fn the_address_of_a_name_is_unknown() {
        let address = |url| publishing(url, Instant::now()).0.address_of(ID);
        assert_eq!(address("http://10.0.0.7/whip"), Some(IpAddr::from([10, 0, 0, 7])));
        assert_eq!(address("http://LocalHost:8889/whip"), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(address("http://media.example/whip"), None);
    }
}
