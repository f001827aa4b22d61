//! The media servers of a run: what the core wants done to its connections to them, and what comes of
//! it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ballcast::testing::http::Url;
use ballcast::testing::media::Codec;
use ballcast::testing::publish::{PublishCommand, PublishEvent, TargetId};
use ballcast::testing::server::Input;

use super::{Event, Run, Script};
use crate::link::Arrival;
use crate::media_server::{Head, MediaServer, Request, TargetOptions, Told};
use crate::rules::publish::{INSPECTION_INTERVAL, TargetRules, check_text};
use crate::rules::{RuleResult, rule};
use crate::source::Format;
use crate::tally::Happening;
use crate::wire::{self, Wire};

/// What a driver gives the core to delete its sessions in the end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// All that people can read is looked at each so many times.
const INSPECTIONS_OF_TEXT: u64 = 20;
/// The longest that a media server may have to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(80);

/// What is published to one media server.
pub(super) struct Publishing {
    server: MediaServer,
    rules: TargetRules,
    /// Changes with each connection.
    connection: u64,
    /// What came on the connection.
    received: usize,
    /// What the head of the response says, until it has come.
    head: Option<Head>,
    /// The bytes of it that have taken no step of work yet.
    pub unread: u64,
}

impl Publishing {
    pub(super) fn new(options: &TargetOptions, seed: u64, now: Instant) -> Publishing {
        Publishing {
            server: MediaServer::new(options.clone(), seed, now),
            rules: TargetRules::new(options),
            connection: 0,
            received: 0,
            head: None,
            unread: 0,
        }
    }
}

/// What happens to the connection to a media server.
#[derive(Debug)]
pub(super) enum Step {
    /// The request has arrived.
    Request(Vec<u8>),
    Told(Told),
}

impl Run {
    pub(super) fn plan_publishing(&mut self) {
        if !self.publishing.is_empty() {
            self.after(INSPECTION_INTERVAL, Event::Inspect);
        }
    }

    /// The core wants something to be done to the connection to a media server.
    pub(super) fn execute_publish(&mut self, id: TargetId, command: PublishCommand) -> RuleResult {
        self.add_to_trace(&format!("{id:?} {command:?}"));
        let now = self.now;
        let Some(target) = self.publishing.get_mut(id.0) else {
            return Err("S22: a device without targets publishes".into());
        };
        target.rules.executed(now, &command, &mut self.tally)?;
        let next = match command {
            PublishCommand::Resolve(name) => {
                target.connection += 1;
                let told = target.server.resolve(&name, &mut self.tally);
                told.map(|(wait, told)| (wait, Step::Told(told)))
            }
            PublishCommand::Connect(address) | PublishCommand::ConnectElsewhere(address) => {
                target.connection += 1;
                (target.received, target.head, target.unread) = (0, None, 0);
                let told = target.server.connect(now, address, &mut self.tally);
                told.map(|(wait, told)| (wait, Step::Told(told)))
            }
            PublishCommand::Send(bytes) => {
                Some((Duration::from_millis(5), Step::Request(bytes.to_vec())))
            }
            PublishCommand::Close => {
                target.connection += 1;
                None
            }
        };
        let connection = target.connection;
        if let Some((wait, step)) = next {
            self.after(wait, Event::Publish { id, connection, step });
        }
        Ok(())
    }

    /// The core wants the session at a media server to be kept, or none.
    pub(super) fn keep_session(&mut self, id: TargetId, session: Option<&Url>) -> RuleResult {
        let target =
            self.publishing.get_mut(id.0).ok_or("S22: a session without a target is kept")?;
        target.rules.keep(session)
    }

    pub(super) fn step_publish(&mut self, id: TargetId, connection: u64, step: Step) -> RuleResult {
        let now = self.now;
        let Some(target) = self.publishing.get_mut(id.0) else { return Ok(()) };
        if target.connection != connection {
            return Ok(());
        }
        match step {
            Step::Request(bytes) => {
                let request = Request::parse(&bytes);
                let request = request.map_err(|error| format!("S26: a request {error}"))?;
                target.rules.requested(&request)?;
                let url = target.rules.expected_url().clone();
                let reply = target.server.reply(now, &url, &request, &mut self.tally);
                let Some(reply) = reply else { return Ok(()) };
                target.head = reply.head;
                for (wait, told) in reply.told {
                    let step = Step::Told(told);
                    self.after(wait, Event::Publish { id, connection, step });
                }
                Ok(())
            }
            Step::Told(told) => self.tell_publisher(id, &told),
        }
    }

    fn tell_publisher(&mut self, id: TargetId, told: &Told) -> RuleResult {
        let Some(target) = self.publishing.get_mut(id.0) else { return Ok(()) };
        target.rules.told(told);
        if let Told::Bytes(bytes) = told {
            target.received += bytes.len();
            target.unread += bytes.len() as u64;
            if let Some(head) = target.head.take_if(|head| head.bytes <= target.received) {
                target.rules.answered(&head, &mut self.tally);
            }
        }
        self.input(Input::Publish(
            id,
            match told {
                Told::Resolved(addresses) => PublishEvent::Resolved(addresses.clone()),
                Told::Connected => PublishEvent::Connected,
                Told::Bytes(bytes) => PublishEvent::Received(bytes),
                Told::Ended => PublishEvent::Ended,
                Told::Failed(why) => PublishEvent::Failed(why.clone()),
            },
        ))
    }

    /// The media servers' own timers, and what they send.
    pub(super) fn step_media_servers(&mut self) {
        let now = self.now;
        for index in 0..self.publishing.len() {
            let server = &mut self.publishing[index].server;
            if server.next_event_at(now).is_some_and(|at| at <= now) {
                server.handle_timeout(now, &mut self.tally);
            }
            for (from, to, arrival) in server.take_outgoing(now, &mut self.tally) {
                let Arrival { at, bytes, intact } = arrival;
                self.at(at, Event::ToServer { from, to, bytes, intact });
            }
        }
    }

    pub(super) fn next_media_server_event(&self) -> Option<Instant> {
        let events = self.publishing.iter().filter_map(|it| it.server.next_event_at(self.now));
        events.min()
    }

    /// Which media server is, or was, at an address, and what it takes.
    pub(super) fn media_server_at(&self, address: SocketAddr) -> Option<(usize, Codec)> {
        let codec =
            |(index, target): (usize, &Publishing)| Some((index, target.server.codec_at(address)?));
        self.publishing.iter().enumerate().find_map(codec)
    }

    /// What a datagram of the core says, by what its payload types mean to who is there.
    pub(super) fn read_wire(&self, to: SocketAddr, bytes: &[u8]) -> Wire {
        match self.media_server_at(to) {
            // Each codec has an even one, and the next one is that of its retransmissions.
            Some((_, codec)) => wire::read_with(bytes, |kind| (kind % 2 == 0).then_some(codec)),
            None => wire::read(bytes),
        }
    }

    /// Whether a datagram is a check of an address that an answer has named.
    pub(super) fn is_check_of_candidate(
        &mut self,
        to: SocketAddr,
        wire: &Wire,
    ) -> Result<bool, String> {
        if self.rules.is_verified(to) || *wire != (Wire::Stun { request: true }) {
            return Ok(false);
        }
        for target in &mut self.publishing {
            if target.rules.check(to)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A datagram of the core is on its way to a media server.
    pub(super) fn carry_to_media_server(
        &mut self,
        index: usize,
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let now = self.now;
        for arrival in self.publishing[index].server.carry(now, bytes, &mut self.tally) {
            let Arrival { at, bytes, .. } = arrival;
            self.at(at, Event::ToMediaServer { index, from, to, bytes });
        }
    }

    pub(super) fn reach_media_server(
        &mut self,
        index: usize,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) {
        self.publishing[index].server.handle_datagram(self.now, from, to, bytes);
    }

    /// Looks at what people can read of the media servers.
    pub(super) fn inspect_publishing(&mut self) -> RuleResult {
        self.after(INSPECTION_INTERVAL, Event::Inspect);
        let now = self.now;
        let statistics = self.server.statistics(now);
        let removed = self.faults_removed_at.filter(|_| !self.shut_down);
        for index in 0..self.publishing.len() {
            let shown = &statistics.targets[index];
            self.publishing[index].rules.inspect(now, shown)?;
            let Some(removed) = removed else { continue };
            // What it decodes may be left of a session that the device has given up.
            let has_picture = shown.state == "live" && self.media_server_has_picture(index);
            let is_h264 = self.options.source.as_ref().is_some_and(|it| it.format == Format::H264)
                || self.options.camera.is_some();
            let target = &mut self.publishing[index];
            let may_turn = is_h264 && target.server.options.is_vp8;
            let rules = &mut target.rules;
            rules.check_picture(now, removed, shown.state, has_picture, may_turn)?;
        }
        self.inspections += 1;
        if !self.inspections.is_multiple_of(INSPECTIONS_OF_TEXT) {
            return Ok(());
        }
        check_text(&statistics.to_json().to_string())?;
        check_text(&statistics.to_metrics())
    }

    fn media_server_has_picture(&self, index: usize) -> bool {
        let Some(peer) = self.publishing[index].server.peer() else { return false };
        let Some(gap) = self.longest_gap() else { return true };
        if !peer.is_connected() || peer.closed {
            return false;
        }
        let last = peer.decoded.last().copied();
        last.is_some_and(|last| last + gap + Duration::from_millis(100) > self.now)
            || self.may_wait(peer.codec)
    }

    pub(super) fn mend_media_servers(&mut self) {
        self.publishing.iter_mut().for_each(|target| target.server.mend());
    }

    /// When everybody else has left, each media server gets the picture, and in the end all sessions
    /// are deleted.
    pub(super) fn end_publishing(&mut self) -> RuleResult {
        if self.publishing.is_empty() {
            return Ok(());
        }
        let until = self.now + LONGEST_WAIT;
        while !self.shut_down && self.now < until && !self.all_have_picture() {
            self.advance(Duration::from_secs(1))?;
        }
        self.shutdown()?;
        self.advance(Duration::from_secs(60))?;
        rule!(!self.server.is_unpublishing(), "L10: sessions are still being deleted");
        Ok(())
    }

    fn all_have_picture(&self) -> bool {
        (0..self.publishing.len()).all(|index| self.media_server_has_picture(index))
    }

    pub(super) fn shut_down_publishing(&mut self) {
        if self.publishing.is_empty() {
            return;
        }
        self.publishing.iter_mut().for_each(|target| target.rules.shut_down());
        self.after(LAST_WORDS, Event::Script(Script::LastWords));
    }

    /// A driver does not wait longer: each session is deleted whose server was well.
    pub(super) fn check_sessions_deleted(&mut self) -> RuleResult {
        let mended = self.faults_removed_at.unwrap_or(self.now);
        for (index, target) in self.publishing.iter().enumerate() {
            if target.rules.began_before(mended) {
                continue;
            }
            let is_left = target.rules.has_session();
            rule!(!is_left, "L10: the session at media server {index} is not deleted at the end");
            self.tally.happened(Happening::EndsWithoutSession);
        }
        Ok(())
    }
}
