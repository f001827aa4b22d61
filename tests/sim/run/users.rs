//! The simulated users: their offers, HTTP connections, pages and addresses.

use std::net::SocketAddr;
use std::time::Duration;

use ballcast::testing::media::Codec;
use ballcast::testing::server::{ConnId, Input};

use super::{Connection, Event, PAGE_CHECK_INTERVAL, RECOVERS_WITHIN, Run};
use crate::browser::{Browser, HttpFault};
use crate::link::Arrival;
use crate::options::Options;
use crate::rules::{RuleResult, rule};
use crate::tally::{Fault, Happening};
use crate::viewer::Viewer;

const RECONNECTS_AFTER: Duration = Duration::from_secs(4);

impl Run {
    pub(super) fn join(&mut self, index: usize) -> RuleResult {
        let watches = self.users[index].viewer.is_some() && !self.users[index].powered_off;
        if self.leaving || watches {
            return Ok(());
        }
        let user = &mut self.users[index];
        user.powered_off = false;
        user.offers += 1;
        if user.offers > 1 {
            self.tally.happened(Happening::SecondOffer);
        }
        let port = 5_000 + user.offers as u16;
        user.hostile = false;
        user.last_check = None;
        let address = user_address(&self.options, 1, index, port);
        let is_vp8 = self.options.vp8.is_some_and(|every| index.is_multiple_of(every));
        let codec = if is_vp8 { Codec::Vp8 } else { Codec::H264 };
        let (viewer, sdp) = Viewer::new(address, codec, self.options.check_interval, self.now);
        user.viewer = Some(viewer);
        let body = serde_json::json!({"type": "offer", "sdp": sdp}).to_string();
        let request = format!(
            "POST /offer HTTP/1.1\r\nHost: camera\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let fault = if self.faults_removed || self.options.bad_http.is_none() {
            HttpFault::None
        } else {
            HttpFault::draw(&mut self.rng)
        };
        self.connect(Some(index), address, request.into_bytes(), false, fault)
    }

    /// Sends a request on a new connection.
    pub(super) fn connect(
        &mut self,
        user: Option<usize>,
        from: SocketAddr,
        request: Vec<u8>,
        ends: bool,
        fault: HttpFault,
    ) -> RuleResult {
        let id = ConnId(self.next_connection);
        self.next_connection += 1;
        let pipelined = usize::from(fault == HttpFault::Pipelined && !ends);
        let connection = Connection {
            user,
            closed: false,
            requests: 1 + pipelined,
            responses: 0,
            bytes: 0,
            paused: None,
        };
        self.connections.insert(id, connection);
        if let Some(index) = user {
            self.users[index].browser = Browser::new(id);
        }
        self.input(Input::Connected(id, from))?;
        let (pieces, cut) = fault.split_request(request, &mut self.rng, &mut self.tally);
        let mut at = self.now;
        for piece in pieces {
            at += Duration::from_micros(self.rng.u64(100..20_000));
            self.at(at, Event::HttpBytes { connection: id, bytes: piece });
        }
        let end = at + Duration::from_millis(self.rng.u64(100..3_000));
        let last = if cut { Event::HttpCut(id) } else { Event::HttpHalfClosed(id) };
        self.at(end, last);
        Ok(())
    }

    /// A page whose viewer was closed or has had no picture for [`RECONNECTS_AFTER`] reconnects.
    pub(super) fn check_page(&mut self, index: usize) -> RuleResult {
        if self.leaving {
            return Ok(());
        }
        self.after(PAGE_CHECK_INTERVAL, Event::PageCheck(index));
        let user = &self.users[index];
        let Some(viewer) = user.viewer.as_ref().filter(|_| !user.powered_off) else {
            return Ok(());
        };
        let seen = viewer.decoded.last().copied().or(viewer.answered).unwrap_or(viewer.created_at);
        if viewer.closed || self.now - seen > RECONNECTS_AFTER {
            let recovered =
                self.faults_removed_at.is_some_and(|at| self.now - at > RECOVERS_WITHIN);
            let known = self.server.viewer_at(viewer.mapped);
            let excused = !recovered || self.shut_down || viewer.closed || user.hostile;
            let excused = excused || self.may_wait(viewer.codec);
            rule!(
                excused || known.is_none(),
                "L3: user {index} reconnects, and the server has {known:?}"
            );
            self.check_camera_keeps_viewers(index)?;
            self.leave(index);
            self.join(index)?;
        }
        Ok(())
    }

    pub(super) fn leave(&mut self, index: usize) {
        let now = self.now;
        let user = &mut self.users[index];
        if let Some(viewer) = user.viewer.as_mut().filter(|_| !user.powered_off) {
            viewer.close(now);
        }
        self.send_from(index);
        self.users[index].viewer = None;
    }

    /// A NAT binding expires, or a phone changes networks.
    pub(super) fn change_address(&mut self, index: usize) {
        let user = &mut self.users[index];
        if let Some(viewer) = &mut user.viewer {
            let port = viewer.mapped.port().wrapping_add(1_000);
            let other_network = self.rng.bool();
            let network = if other_network { 2 } else { 1 };
            self.tally.fault(if other_network {
                Fault::AddressChanged
            } else {
                Fault::PortChanged
            });
            viewer.mapped = user_address(&self.options, network, index, port);
        }
    }

    pub(super) fn send_from(&mut self, index: usize) {
        let now = self.now;
        let user = &mut self.users[index];
        let Some(viewer) = &mut user.viewer else { return };
        let (from, outgoing) = (viewer.mapped, viewer.take_outgoing());
        if user.powered_off {
            return;
        }
        let mut arrivals = Vec::new();
        for transmit in outgoing {
            let (to, bytes) = (transmit.destination, transmit.contents);
            let sent = user.up.send(now, bytes, &mut self.rng, &mut self.tally);
            arrivals.extend(sent.into_iter().map(|arrival| (to, arrival)));
        }
        for (to, Arrival { at, bytes, intact }) in arrivals {
            self.at(at, Event::ToServer { from, to, bytes, intact });
        }
    }

    pub(super) fn is_open(&self, id: ConnId) -> bool {
        self.connections.get(&id).is_some_and(|connection| !connection.closed)
    }

    /// While the server does not read a connection, what comes waits in the kernel.
    pub(super) fn arrive(&mut self, id: ConnId, event: Event) -> RuleResult {
        let Some(connection) = self.connections.get_mut(&id).filter(|it| !it.closed) else {
            return Ok(());
        };
        if let Some(kept) = &mut connection.paused {
            kept.push(event);
            return Ok(());
        }
        match event {
            Event::HttpBytes { bytes, .. } => self.input(Input::Received(id, &bytes)),
            _ => self.input(Input::HalfClosed(id)),
        }
    }

    pub(super) fn pause(&mut self, id: ConnId) -> RuleResult {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Err(format!("S12: {id:?} was never accepted"));
        };
        rule!(connection.paused.is_none(), "S28: {id:?} is paused twice");
        connection.paused = Some(Vec::new());
        self.tally.happened(Happening::ConnectionPaused);
        Ok(())
    }

    pub(super) fn resume(&mut self, id: ConnId) -> RuleResult {
        let kept = self.connections.get_mut(&id).and_then(|it| it.paused.take());
        rule!(kept.is_some(), "S28: {id:?} is resumed and was not paused");
        kept.into_iter().flatten().for_each(|event| self.at(self.now, event));
        Ok(())
    }

    pub(super) fn set_closed(&mut self, id: ConnId) -> RuleResult {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Err(format!("S12: {id:?} was never accepted"));
        };
        rule!(!connection.closed, "S12: {id:?} is closed twice");
        connection.closed = true;
        Ok(())
    }
}

/// Where a user is. Each IPv6 user has a /64 of its own.
fn user_address(options: &Options, network: u8, index: usize, port: u16) -> SocketAddr {
    if options.ipv6.is_some_and(|every| index.is_multiple_of(every)) {
        let (network, index) = (u16::from(network), index as u16);
        SocketAddr::from(([0xfd00, network, index, 0, 0, 0, 0, 1], port))
    } else {
        SocketAddr::from(([10, network, index as u8, 1], port))
    }
}
