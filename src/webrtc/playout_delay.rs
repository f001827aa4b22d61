//! The RTP header extension `playout-delay`
//! (<http://www.webrtc.org/experiments/rtp-hdrext/playout-delay>).

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

use crate::sdp::offer::PLAYOUT_DELAY;

/// The minimum and maximum delay, 12 bits each, in units of 10 ms. Chromium shows a frame at once if both
/// are zero.
const NO_DELAY: [u8; 3] = [0; 3];

/// The extension that requests no delay, in every packet.
///
/// str0m supports it, but the fields for its values are hidden. Serializers are public API.
pub fn none() -> Extension {
    Extension::with_serializer(PLAYOUT_DELAY, NoDelay(Always))
}

/// The same, in packets while `is_taken`: for an offer, whose answer tells whether the peer takes it.
pub fn none_if(is_taken: Arc<AtomicBool>) -> Extension {
    Extension::with_serializer(PLAYOUT_DELAY, NoDelay(is_taken))
}

/// Writes the extension while the condition holds.
#[derive(Debug)]
struct NoDelay<C>(C);

/// Nothing to look up in each packet.
#[derive(Debug)]
struct Always;

trait Condition: Debug + Send + Sync + 'static {
    fn holds(&self) -> bool;
}

impl Condition for Always {
    fn holds(&self) -> bool {
        true
    }
}

impl Condition for Arc<AtomicBool> {
    fn holds(&self) -> bool {
        self.load(Ordering::Relaxed)
    }
}

impl<C: Condition> ExtensionSerializer for NoDelay<C> {
    fn write_to(&self, buffer: &mut [u8], _: &ExtensionValues) -> usize {
        if !self.0.holds() {
            return 0;
        }
        buffer[..NO_DELAY.len()].copy_from_slice(&NO_DELAY);
        NO_DELAY.len()
    }

    /// Viewers send no RTP.
    fn parse_value(&self, _: &[u8], _: &mut ExtensionValues) -> bool {
        false
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }
}
