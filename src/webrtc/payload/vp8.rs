//! The payload format of VP8 (RFC 7741), with the smallest payload descriptor.

use std::sync::Arc;

use super::{MAX_PAYLOAD_BYTES, even_parts, with_header};

/// The S bit (section 4.2), set in the packet that starts the first partition. All other bits are zero.
const START_OF_PARTITION: u8 = 0x10;
const DESCRIPTOR_BYTES: usize = 1;

/// The payloads of a frame, in sending order.
pub fn packetize(data: &[u8]) -> Vec<Arc<[u8]>> {
    let parts = even_parts(data, MAX_PAYLOAD_BYTES - DESCRIPTOR_BYTES).enumerate();
    let descriptor = |index| if index == 0 { START_OF_PARTITION } else { 0 };
    parts.map(|(index, part)| with_header([descriptor(index)], part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_comes_back_whole_and_no_packet_is_too_large() {
        for bytes in [1_usize, 2, 1_148, 1_149, 1_150, 2_298, 2_299, 50_000] {
            let data: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
            let payloads = packetize(&data);
            assert!(payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD_BYTES));
            let starts: Vec<bool> =
                payloads.iter().map(|payload| payload[0] == START_OF_PARTITION).collect();
            assert!(starts[0] && starts.iter().filter(|start| **start).count() == 1);
            let whole: Vec<u8> =
                payloads.iter().flat_map(|p| p[DESCRIPTOR_BYTES..].to_vec()).collect();
            assert_eq!(whole, data);
            assert_eq!(payloads.len(), bytes.div_ceil(MAX_PAYLOAD_BYTES - DESCRIPTOR_BYTES));
        }
        assert!(packetize(&[]).is_empty());
    }
}
