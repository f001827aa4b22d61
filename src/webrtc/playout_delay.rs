//! The RTP header extension `playout-delay`
//! (<http://www.webrtc.org/experiments/rtp-hdrext/playout-delay>).

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

use crate::sdp::offer::PLAYOUT_DELAY;

/// The least and the most delay, 12 bits each in units of 10 ms: Chromium shows a frame at once
/// when both are zero.
const NO_DELAY: [u8; 3] = [0; 3];

/// The extension that asks for no delay, in every packet.
///
/// str0m knows it too, but hides the fields for its values; a serializer of one's own is public.
pub fn none() -> Extension {
    Extension::with_serializer(PLAYOUT_DELAY, NoDelay)
}

#[derive(Debug)]
struct NoDelay;

impl ExtensionSerializer for NoDelay {
    fn write_to(&self, buffer: &mut [u8], _: &ExtensionValues) -> usize {
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
