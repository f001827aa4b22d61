//! Forged datagrams and malformed requests.

use std::net::SocketAddr;

use ballcast::testing::server::{ConnId, Input};
use is::stun::{StunMessage, TransId};

use super::Run;
use crate::browser::HttpFault;
use crate::crypto;
use crate::dear_offers::{BODY_BYTES, dear_offers};
use crate::rules::{RuleResult, rule};
use crate::tally::Fault;

const DEAR_OFFER_BYTES: usize = BODY_BYTES / 3;
/// The message type of a STUN binding request.
const BINDING_REQUEST_START: &[u8] = &[0, 1];

impl Run {
    pub(super) fn send_forged_datagram(&mut self, index: usize) -> RuleResult {
        let stranger = SocketAddr::from(([10, 9, 9, self.rng.u8(..)], 9));
        let victim = self.users[index].viewer.as_ref().map(|viewer| viewer.mapped);
        let (from, fault) = match victim.filter(|_| self.rng.bool()) {
            Some(victim) => (victim, None),
            None => (stranger, Some(Fault::Stranger)),
        };
        let mut bytes = vec![0; self.rng.usize(1..1_400)];
        self.rng.fill(&mut bytes);
        if let Some(check) = self.forged_check(index).filter(|_| self.rng.u8(..4) == 0) {
            bytes = check;
        }
        let (kind, first): (Fault, &[u8]) = match self.rng.u8(..4) {
            0 => (Fault::ForgedStun, &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]),
            1 if self.rng.bool() => {
                bytes = crypto::fatal_alert(false);
                (Fault::ForgedDtls, &[])
            }
            1 => (Fault::ForgedDtls, &[22, 254, 253]),
            2 => (Fault::ForgedRtp, &[0x80, 108]),
            _ => (Fault::ForgedRtcp, &[0x81, 206, 0, 2]),
        };
        if bytes.starts_with(BINDING_REQUEST_START) {
            self.tally.fault(Fault::ForgedStun);
        } else {
            let prefix = first.len().min(bytes.len());
            bytes[..prefix].copy_from_slice(&first[..prefix]);
            self.tally.fault(kind);
        }
        if let Some(fault) = fault {
            self.tally.fault(fault);
        }
        // First handle what is due anyway, so that it is not taken for an effect of the datagram.
        self.input(Input::Timeout)?;
        let before = (self.server.viewers(), self.server.viewer_at(from));
        let sent = self.datagram(from, self.addresses[0], &bytes, false)?;
        let after = (self.server.viewers(), self.server.viewer_at(from));
        rule!(before == after, "S6: a forged datagram changed {before:?} to {after:?}");
        rule!(
            sent == 0 || victim == Some(from),
            "S5: a datagram from an unknown address was answered"
        );
        Ok(())
    }

    /// A connectivity check with the USERNAME of another viewer, which is not secret, and a wrong
    /// password.
    pub(super) fn forged_check(&mut self, victim: usize) -> Option<Vec<u8>> {
        let others = self.users.iter().enumerate().filter(|(index, _)| *index != victim);
        let mut usernames = others.filter_map(|(_, user)| user.viewer.as_ref()?.username.clone());
        let username = usernames.next()?;
        Some(check(&username, "a guess"))
    }

    /// Somebody elsewhere has a viewer's credentials, and sends a check of its own.
    pub(super) fn check_from_elsewhere(&mut self, user: usize, from: SocketAddr) -> RuleResult {
        let viewer = self.users[user].viewer.as_ref();
        let Some((username, password)) =
            viewer.and_then(|v| Some((v.username.as_ref()?, &v.password)))
        else {
            return Ok(());
        };
        let bytes = check(username, password);
        self.rules.note_stun(from, true, self.now);
        // Where another viewer is, that one has said nothing.
        let authentic = self.server.viewer_at(from).is_none();
        self.datagram(from, self.addresses[0], &bytes, authentic).map(drop)
    }

    /// A user with a viewer does with its credentials what a browser never does.
    pub(super) fn attack_as_insider(&mut self, index: usize) -> RuleResult {
        let Some(viewer) = self.users[index].viewer.as_ref().filter(|v| v.is_answered()) else {
            return Ok(());
        };
        let own_address = viewer.mapped;
        let own_password = viewer.own_password.clone();
        // The rules have to know whose viewer it is.
        let Some(id) = self.server.viewer_at(own_address) else {
            return Ok(());
        };
        self.tally.fault(Fault::Insider);
        self.rules.note_hostile(id);
        self.users[index].hostile = true;
        match self.rng.u8(..4) {
            0 => {
                for _ in 0..100 {
                    let host = [10, 66, self.rng.u8(..), self.rng.u8(..)];
                    let from = SocketAddr::from((host, self.rng.u16(1..)));
                    self.check_from_elsewhere(index, from)?;
                }
            }
            1 => {
                let others = self.users.iter().enumerate().filter(|(other, _)| *other != index);
                let others = others.filter_map(|(_, user)| Some(user.viewer.as_ref()?.mapped));
                let owned = others.filter(|at| self.server.viewer_at(*at).is_some());
                for victim in owned.collect::<Vec<_>>() {
                    let owner = self.server.viewer_at(victim);
                    self.check_from_elsewhere(index, victim)?;
                    let after = self.server.viewer_at(victim);
                    rule!(owner == after, "S15: {victim} went from {owner:?} to {after:?}");
                }
            }
            2 => {
                let check = self.users[index].last_check;
                let Some((transaction, to)) = check else { return Ok(()) };
                for port in 1..100 {
                    let mapped = SocketAddr::from(([10, 67, 0, 1], port));
                    let response = StunMessage::binding_reply(transaction, mapped);
                    let bytes = signed(&response, &own_password);
                    self.datagram(own_address, to, &bytes, true)?;
                }
            }
            _ => {
                let bytes = crypto::fatal_alert(true);
                self.datagram(own_address, self.addresses[0], &bytes, true)?;
            }
        }
        Ok(())
    }

    /// An offer that is made to be dear to read.
    fn dear_offer(&mut self) -> Vec<u8> {
        let offers = dear_offers(DEAR_OFFER_BYTES);
        let (_, sdp) = &offers[self.rng.usize(..offers.len())];
        let body = serde_json::json!({"type": "offer", "sdp": sdp}).to_string();
        format!(
            "POST /offer HTTP/1.1\r\nHost: camera\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// More requests than are served at once, on as many connections as a browser has.
    pub(super) fn flood_with_requests(&mut self) -> RuleResult {
        self.tally.fault(Fault::HttpFlood);
        let from = SocketAddr::from(([10, 8, 1, self.rng.u8(..4)], 1_000));
        let requests = self.rng.usize(20..80);
        for _ in 0..8 {
            let id = ConnId(self.next_connection);
            let request = b"HEAD / HTTP/1.1\r\nHost: camera\r\n\r\n".repeat(requests);
            self.connect(None, from, request, false, HttpFault::None)?;
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.requests = requests;
            }
        }
        Ok(())
    }

    pub(super) fn send_malformed_request(&mut self) -> RuleResult {
        let from = SocketAddr::from(([10, 8, 0, self.rng.u8(..4)], 1_000));
        let (request, ends) = if self.rng.u8(..10) == 0 {
            self.tally.fault(Fault::DearOffer);
            (self.dear_offer(), false)
        } else {
            crate::browser::malformed_request(&mut self.rng, &mut self.tally)
        };
        let fault = HttpFault::draw(&mut self.rng);
        self.connect(None, from, request, ends, fault)
    }
}

/// A connectivity check.
fn check(username: &str, password: &str) -> Vec<u8> {
    signed(&StunMessage::binding_request(username, TransId::new(), true, 1, 1, false), password)
}

fn signed(message: &StunMessage, password: &str) -> Vec<u8> {
    let crypto = str0m::crypto::from_feature_flags();
    let hmac = |key: &[u8], parts: &[&[u8]]| crypto.sha1_hmac_provider.sha1_hmac(key, parts);
    let mut bytes = vec![0; 512];
    let length = message.to_bytes(Some(password.as_bytes()), &mut bytes, hmac);
    bytes.truncate(length.expect("the message fits"));
    bytes
}
