//! What a viewer wants done.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::Transmit;

/// What a viewer wants done, in order.
#[derive(Debug)]
pub enum ViewerEffect {
    Transmit(Transmit),
    /// ICE and DTLS are up.
    Connected,
    /// The peer shows that it has no certificate of ECDSA, so that it will not connect.
    CertificateUnusable,
    /// A PLI or FIR arrived.
    KeyframeRequested,
    /// The viewer has more addresses than it may have, and is no longer at this one.
    AddressDropped(SocketAddr),
}

/// Effects, first in, first out.
#[derive(Debug, Default)]
pub struct Effects(VecDeque<ViewerEffect>);

/// Room for more than this, as a large key frame needs it, is not kept.
const USUAL_CAPACITY: usize = 16;

impl Effects {
    pub fn push(&mut self, effect: ViewerEffect) {
        self.0.push_back(effect);
    }

    pub fn pop(&mut self) -> Option<ViewerEffect> {
        let effect = self.0.pop_front();
        if effect.is_none() && self.0.capacity() > USUAL_CAPACITY {
            self.0 = VecDeque::new();
        }
        effect
    }
}
