//! The effects of a viewer.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::{TransId, Transmit};

/// What the owner of a viewer has to do, in order.
#[derive(Debug)]
pub enum ViewerEffect {
    Transmit(Transmit),
    /// A connectivity check with this transaction goes to this address.
    CheckSent(TransId, SocketAddr),
    /// ICE and DTLS are up.
    Connected,
    /// The peer has no ECDSA certificate, so that it will not connect.
    CertificateUnusable,
    /// A PLI or FIR arrived.
    KeyframeRequested,
    /// The viewer has given up this address, as it has more than it may have.
    AddressDropped(SocketAddr),
}

/// A queue of effects. It keeps no memory while it is empty.
#[derive(Debug, Default)]
pub struct Effects(VecDeque<ViewerEffect>);

impl Effects {
    pub fn push(&mut self, effect: ViewerEffect) {
        self.0.push_back(effect);
    }

    pub fn pop(&mut self) -> Option<ViewerEffect> {
        let effect = self.0.pop_front();
        if effect.is_none() {
            self.0 = VecDeque::new();
        }
        effect
    }
}
