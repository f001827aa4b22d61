//! The payload format of H.264 (RFC 6184), packetization-mode 1.
//!
//! Consecutive small NAL units share a packet (STAP-A, section 5.7.1), and large ones are fragmented
//! (FU-A, section 5.8). A key frame of the ball is one or two packets.

use std::sync::Arc;

use super::{MAX_PAYLOAD_BYTES, even_parts, with_header};
use crate::media::AccessUnit;

const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;
const NRI_MASK: u8 = 0x60;
const TYPE_MASK: u8 = 0x1f;

/// The payloads of an access unit, in sending order.
pub fn packetize(unit: &AccessUnit) -> Vec<Arc<[u8]>> {
    let mut payloads = Vec::new();
    let mut small: Vec<&[u8]> = Vec::new();
    let mut small_bytes = 1;
    for nal_unit in unit.nal_units() {
        if small_bytes + 2 + nal_unit.len() > MAX_PAYLOAD_BYTES {
            aggregate(&mut small, &mut payloads);
            small_bytes = 1;
        }
        if nal_unit.len() > MAX_PAYLOAD_BYTES {
            fragment(nal_unit, &mut payloads);
        } else {
            small_bytes += 2 + nal_unit.len();
            small.push(nal_unit);
        }
    }
    aggregate(&mut small, &mut payloads);
    payloads
}

fn aggregate(nal_units: &mut Vec<&[u8]>, payloads: &mut Vec<Arc<[u8]>>) {
    match nal_units.as_slice() {
        [] => {}
        [nal_unit] => payloads.push(Arc::from(*nal_unit)),
        _ => {
            let nri = nal_units.iter().map(|nal_unit| nal_unit[0] & NRI_MASK).max();
            let mut payload = vec![nri.unwrap_or(0) | STAP_A];
            for nal_unit in nal_units.iter() {
                payload.extend_from_slice(&(nal_unit.len() as u16).to_be_bytes());
                payload.extend_from_slice(nal_unit);
            }
            payloads.push(payload.into());
        }
    }
    nal_units.clear();
}

fn fragment(nal_unit: &[u8], payloads: &mut Vec<Arc<[u8]>>) {
    let (header, body) = (nal_unit[0], &nal_unit[1..]);
    let parts = even_parts(body, MAX_PAYLOAD_BYTES - 2);
    let last = parts.len() - 1;
    for (index, part) in parts.enumerate() {
        let mut flags = header & TYPE_MASK;
        if index == 0 {
            flags |= FU_START;
        }
        if index == last {
            flags |= FU_END;
        }
        payloads.push(with_header([header & !TYPE_MASK | FU_A, flags], part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access_unit(units: &[Vec<u8>]) -> AccessUnit {
        let mut access_unit = AccessUnit::default();
        units.iter().for_each(|unit| access_unit.push(unit));
        access_unit
    }

    fn unit(header: u8, bytes: usize) -> Vec<u8> {
        let mut unit = vec![header];
        unit.extend((1..bytes).map(|n| (n % 251) as u8 | 1));
        unit
    }

    /// RFC 6184 read backwards.
    fn depacketize(payloads: &[Arc<[u8]>]) -> Vec<Vec<u8>> {
        let mut units: Vec<Vec<u8>> = Vec::new();
        let mut open = false;
        for payload in payloads {
            match payload[0] & TYPE_MASK {
                STAP_A => {
                    let mut rest = &payload[1..];
                    while !rest.is_empty() {
                        let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                        units.push(rest[2..2 + length].to_vec());
                        rest = &rest[2 + length..];
                    }
                }
                FU_A => {
                    let (indicator, flags) = (payload[0], payload[1]);
                    if flags & FU_START != 0 {
                        assert!(!open);
                        units.push(vec![indicator & !TYPE_MASK | flags & TYPE_MASK]);
                    }
                    open = flags & FU_END == 0;
                    units.last_mut().unwrap().extend_from_slice(&payload[2..]);
                }
                _ => units.push(payload.to_vec()),
            }
        }
        assert!(!open);
        units
    }

    #[test]
    fn every_frame_comes_back_whole_and_no_packet_is_too_large() {
        for idr_bytes in [1, 2, 700, 1_100, 1_149, 1_150, 1_151, 2_296, 2_297, 9_000, 100_000] {
            let units = [unit(0x67, 14), unit(0x68, 5), unit(0x65, idr_bytes)];
            let payloads = packetize(&access_unit(&units));
            assert_eq!(depacketize(&payloads), units, "{idr_bytes}");
            assert!(payloads.iter().all(|p| p.len() <= MAX_PAYLOAD_BYTES));
            let needed = (idr_bytes + 30).div_ceil(MAX_PAYLOAD_BYTES - 2) + 1;
            assert!(payloads.len() <= needed, "{idr_bytes}: {}", payloads.len());
        }
    }

    #[test]
    fn a_small_key_frame_is_one_packet() {
        let units = [unit(0x67, 14), unit(0x68, 5), unit(0x65, 900)];
        let payloads = packetize(&access_unit(&units));
        assert_eq!(payloads.len(), 1);
        assert_eq!(payloads[0][0], 0x60 | STAP_A);
    }

    #[test]
    fn a_single_small_unit_goes_as_it_is() {
        let payloads = packetize(&access_unit(&[unit(0x41, 150)]));
        assert_eq!(*payloads[0], unit(0x41, 150));
    }
}
