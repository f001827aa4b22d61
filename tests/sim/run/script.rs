//! The script: scheduled faults, their removal, and the end of a run.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ballcast::testing::media::SnapshotError;
use ballcast::testing::server::{Input, Server};

use super::{
    Event, GOOD_DELAY, HEALTHY, PAGE_CHECK_INTERVAL, Queued, Run, Script, User, config, new_rules,
};
use crate::link::{Conditions, Link};
use crate::options::{SERVER_IPV4, SERVER_IPV6};
use crate::rules::{RuleResult, rule};
use crate::tally::{Fault, Happening};
use crate::wire::{self, Wire};

impl Run {
    pub(super) fn plan(&mut self) {
        let options = self.options.clone();
        for user in 0..options.viewers {
            let at = if self.rng.bool() { 0 } else { self.rng.u64(..10_000) };
            self.after(Duration::from_millis(at), Event::Join(user));
            self.after(PAGE_CHECK_INTERVAL, Event::PageCheck(user));
        }
        for (script, mean) in [
            (Script::LinkDown, options.link_down),
            (Script::PortChange, options.port_change),
            (Script::Vanish, options.vanish),
            (Script::Leave, options.leave),
            (Script::Restart, options.restart),
            (Script::SendFailure, options.send_failure),
            (Script::Forgery, options.forgery),
            (Script::PliStorm, options.pli_storm),
            (Script::BadHttp, options.bad_http),
            (Script::SourceStall, options.source_stall),
            (Script::SourceHuge, options.source_huge),
            (Script::Suspend, options.suspend),
            (Script::Addresses, options.addresses),
            (Script::Insider, options.insider),
        ] {
            if let Some(mean) = mean {
                self.schedule(script, mean);
            }
        }
        self.after(options.length.mul_f64(0.75), Event::Script(Script::RemoveFaults));
        self.plan_publishing();
        if options.shutdown {
            let at = options.length.mul_f64(0.76 + 0.2 * self.rng.f64());
            self.after(at, Event::Script(Script::Shutdown));
        }
    }

    pub(super) fn schedule(&mut self, script: Script, mean: Duration) {
        let wait = mean.mul_f64(-(1.0 - self.rng.f64()).ln());
        self.after(wait, Event::Script(script));
    }

    pub(super) fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    pub(super) fn at(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Queued { at, order: self.order, event }));
    }

    pub(super) fn handle_event(&mut self, event: Event) -> RuleResult {
        match event {
            Event::ToServer { from, to, bytes, intact } => {
                let wire = wire::read(&bytes);
                if intact && self.addresses.contains(&to) {
                    self.note_arrival(from, &wire);
                }
                // Only a STUN request is certainly authentic when it arrives unchanged.
                let authentic = intact && wire == Wire::Stun { request: true };
                self.datagram(from, to, &bytes, authentic).map(drop)
            }
            Event::ToViewer { viewer, from, bytes } => {
                let now = self.now;
                let user = &mut self.users[viewer];
                if let Some(viewer) = user.viewer.as_mut().filter(|_| !user.powered_off) {
                    viewer.handle_datagram(now, from, &bytes);
                }
                Ok(())
            }
            Event::HttpBytes { connection, .. } | Event::HttpHalfClosed(connection) => {
                self.arrive(connection, event)
            }
            Event::HttpFlushed(connection) if self.is_open(connection) => {
                self.input(Input::Flushed(connection))
            }
            Event::SnapshotMade(width) => {
                let fails = self.stalled_until.is_some_and(|until| self.now <= until);
                let made = if fails { Err(SnapshotError::NoPicture) } else { Ok("JPEG".into()) };
                let cost = Duration::from_millis(self.rng.u64(0..20));
                self.input(Input::Snapshot { width, made, cost })
            }
            Event::HttpCut(connection) if self.is_open(connection) => {
                self.tally.fault(Fault::HttpCut);
                self.set_closed(connection)?;
                self.input(Input::Disconnected(connection))
            }
            Event::HttpFlushed(_) | Event::HttpCut(_) => Ok(()),
            Event::Join(user) => self.join(user),
            Event::PageCheck(user) => self.check_page(user),
            Event::FarEnd(step) => self.step_far_end(step),
            Event::Publish { id, connection, step } => self.step_publish(id, connection, step),
            Event::ToMediaServer { index, from, to, bytes } => {
                self.reach_media_server(index, from, to, &bytes);
                Ok(())
            }
            Event::Inspect => self.inspect_publishing(),
            Event::Script(script) => self.apply_script(script),
        }
    }

    pub(super) fn apply_script(&mut self, script: Script) -> RuleResult {
        let options = self.options.clone();
        let mut user = self.rng.usize(..self.users.len());
        if self.options.healthy && user == HEALTHY {
            user = self.users.len() - 1;
        }
        let mean = match script {
            Script::RemoveFaults => return self.remove_faults(),
            Script::Shutdown => return self.shutdown(),
            Script::LastWords => return self.check_sessions_deleted(),
            _ if self.faults_removed => return Ok(()),
            Script::LinkDown => {
                let seconds = [0.1, 0.5, 2.0, 4.5, 8.0, 30.0][self.rng.usize(..6)];
                let until = self.now + Duration::from_secs_f64(seconds);
                self.users[user].up.conditions.down_until = Some(until);
                if self.rng.bool() {
                    self.users[user].down.conditions.down_until = Some(until);
                }
                options.link_down
            }
            Script::PortChange => {
                self.change_address(user);
                options.port_change
            }
            Script::Vanish => {
                if self.users[user].viewer.is_some() {
                    self.tally.fault(Fault::Vanished);
                    self.users[user].powered_off = true;
                    let back = Duration::from_secs(self.rng.u64(11..20));
                    self.after(back, Event::Join(user));
                }
                options.vanish
            }
            Script::Leave => {
                self.leave(user);
                let back = Duration::from_secs(self.rng.u64(1..10));
                self.after(back, Event::Join(user));
                options.leave
            }
            Script::Restart => {
                self.tally.fault(Fault::Restarted);
                let sends_close_notify = self.rng.bool();
                // Some users reload several times.
                for _ in 0..[1, 1, 1, 3][self.rng.usize(..4)] {
                    if sends_close_notify {
                        self.leave(user);
                    }
                    self.users[user].viewer = None;
                    self.join(user)?;
                }
                options.restart
            }
            Script::SendFailure => {
                let ms = self.rng.u64(1..300);
                self.sends_fail_until = Some(self.now + Duration::from_millis(ms));
                options.send_failure
            }
            Script::Forgery => {
                self.send_forged_datagram(user)?;
                options.forgery
            }
            Script::PliStorm => {
                self.tally.fault(Fault::PliStorm);
                self.users[user].pli_storm_until = Some(self.now + Duration::from_secs(3));
                options.pli_storm
            }
            Script::BadHttp => {
                match self.rng.u8(..8) {
                    0 => self.flood_with_requests()?,
                    _ => self.send_malformed_request()?,
                }
                options.bad_http
            }
            Script::SourceStall => {
                self.tally.fault(Fault::SourceStalled);
                let until = self.now + Duration::from_millis(self.rng.u64(50..3_000));
                // The source either delivers nothing, or ignores requests for key frames.
                if self.rng.bool() {
                    self.stalled_until = Some(until);
                } else {
                    self.keyframe_requests_ignored_until = Some(until);
                }
                options.source_stall
            }
            Script::SourceHuge => {
                self.huge_frame = true;
                options.source_huge
            }
            Script::Suspend => {
                let seconds = [1, 3, 8, 60, 3_600][self.rng.usize(..5)];
                self.suspend_for(Duration::from_secs(seconds))?;
                options.suspend
            }
            Script::Addresses => {
                self.tally.fault(Fault::HostAddresses);
                let ipv4 =
                    [&SERVER_IPV4[..1], &SERVER_IPV4[1..], &SERVER_IPV4][self.rng.usize(..3)];
                let ipv6 = options.ipv6.map(|_| SERVER_IPV6);
                let addresses = ipv4.iter().copied().chain(ipv6);
                self.set_addresses(addresses.map(|address| address.parse().unwrap()).collect())?;
                options.addresses
            }
            Script::Insider => {
                self.attack_as_insider(user)?;
                options.insider
            }
        };
        if let Some(mean) = mean {
            self.schedule(script, mean);
        }
        Ok(())
    }

    /// The server's host has these addresses now.
    pub(super) fn set_addresses(&mut self, addresses: Vec<SocketAddr>) -> RuleResult {
        self.addresses_changed_at = Some(self.now);
        self.addresses.clone_from(&addresses);
        self.input(Input::Addresses(&addresses))
    }

    /// The host is suspended: everything that falls due meanwhile is handled late, all at once.
    pub(super) fn suspend_for(&mut self, shift: Duration) -> RuleResult {
        self.tally.fault(Fault::HostSuspended);
        let until = self.now + shift;
        // Scheduled faults, joins and page checks, what writes the stream, and the end of the run, are
        // put off by the same time.
        let queue = std::mem::take(&mut self.queue);
        self.queue = queue
            .into_iter()
            .map(|Reverse(mut queued)| {
                if matches!(
                    queued.event,
                    Event::Script(_) | Event::Join(_) | Event::PageCheck(_) | Event::FarEnd(_)
                ) {
                    queued.at += shift;
                }
                Reverse(queued)
            })
            .collect();
        self.start += shift;
        self.suspended_until = Some(until);
        self.rules.suspended(shift, until);
        self.far_end.iter_mut().for_each(|far_end| far_end.suspended(shift));
        self.camera.iter_mut().for_each(|camera| camera.suspended(shift, until));
        self.now = until;
        self.stalled_until = Some(until + Duration::from_millis(1));
        // After a suspension a driver's first input is a timeout.
        self.input(Input::Timeout)
    }

    /// The process is killed and started again: its connections are lost, and it has no viewers.
    pub(super) fn restart_server(&mut self) -> RuleResult {
        self.server = Server::new(config(&self.options, &mut self.rng), self.now);
        self.deadline = None;
        self.rules = new_rules(&self.options, self.now);
        let open = self.connections.values_mut().filter(|connection| !connection.closed);
        open.for_each(|connection| connection.closed = true);
        Ok(())
    }

    pub(super) fn remove_faults(&mut self) -> RuleResult {
        self.faults_removed = true;
        self.faults_removed_at = Some(self.now);
        self.sends_fail_until = self.sends_fail_until.map(|until| until.min(self.now));
        self.stalled_until = None;
        self.keyframe_requests_ignored_until = None;
        for user in &mut self.users {
            for link in [&mut user.up, &mut user.down] {
                *link = Link::new(Conditions::perfect(GOOD_DELAY));
            }
            user.pli_storm_until = None;
        }
        self.mend_media_servers();
        self.mend_far_end()?;
        self.mend_camera();
        if self.addresses == self.options.server_addresses {
            return Ok(());
        }
        self.set_addresses(self.options.server_addresses.clone())
    }

    pub(super) fn shutdown(&mut self) -> RuleResult {
        if self.shut_down {
            return Ok(());
        }
        let opening = |user: &User| {
            user.viewer
                .as_ref()
                .is_some_and(|viewer| viewer.is_answered() && !viewer.is_connected())
        };
        if self.users.iter().any(opening) {
            self.tally.happened(Happening::ShutdownInHandshake);
        }
        self.shut_down_publishing();
        self.input(Input::Shutdown)?;
        self.shut_down = true;
        rule!(self.server.viewers() == 0, "L5: viewers are left after the shutdown");
        Ok(())
    }

    /// All viewers leave; the server must have no viewers, connections or timers left.
    pub(super) fn leave_all(&mut self) -> RuleResult {
        self.leaving = true;
        for user in 0..self.users.len() {
            self.leave(user);
        }
        // Media servers go on watching.
        let seconds = if self.publishing.is_empty() { 30 } else { 12 };
        self.advance(Duration::from_secs(seconds))?;
        rule!(self.server.viewers() == 0, "L5: viewers are left after all have gone");
        self.end_publishing()?;
        rule!(self.server.connections() == 0, "L5: connections are left after all have gone");
        self.check_only_stream_has_timer()?;
        let open = self.connections.values().filter(|connection| !connection.closed).count();
        rule!(open == 0, "S12: {open} connections were never closed");
        Ok(())
    }
}
