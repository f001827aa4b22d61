//! The RTP header extension `playout-delay`
//! (<http://www.webrtc.org/experiments/rtp-hdrext/playout-delay>).

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
    none_if(Arc::new(true.into()))
}

/// The same, in packets while `is_taken`: for an offer, whose answer tells whether the peer takes it.
pub fn none_if(is_taken: Arc<AtomicBool>) -> Extension {
    Extension::with_serializer(PLAYOUT_DELAY, NoDelay { is_taken })
}

#[derive(Debug)]
struct NoDelay {
    is_taken: Arc<AtomicBool>,
}

impl ExtensionSerializer for NoDelay {
    fn write_to(&self, buffer: &mut [u8], _: &ExtensionValues) -> usize {
        if !self.is_taken.load(Ordering::Relaxed) {
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
