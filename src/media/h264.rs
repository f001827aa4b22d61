//! The byte stream of H.264 (ITU-T H.264, Annex B): NAL units with start codes between them.

// nal_unit_type, ITU-T H.264 table 7-1.
pub(crate) const NAL_IDR: u8 = 5;
pub(crate) const NAL_SPS: u8 = 7;
pub(crate) const NAL_PPS: u8 = 8;

/// Whether a decoder can start here: an IDR picture that brings its own SPS and PPS.
pub fn is_keyframe(data: &[u8]) -> bool {
    let mut seen = [false; 32];
    for unit in nal_units(data) {
        seen[usize::from(nal_type(unit))] = true;
    }
    [NAL_IDR, NAL_SPS, NAL_PPS].iter().all(|kind| seen[usize::from(*kind)])
}

fn nal_type(unit: &[u8]) -> u8 {
    unit[0] & 0x1f
}

/// The NAL units of a byte stream, in order, without start codes and padding. Each has at least its
/// header.
pub fn nal_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(data).unwrap_or_default();
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = find_start_code(rest).unwrap_or(rest.len());
            let (unit, tail) = rest.split_at(end);
            rest = after_start_code(tail).unwrap_or_default();
            // Zero bytes between a unit and the next start code belong to neither (B.1.1).
            let unit = &unit[..unit.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1)];
            if !unit.is_empty() {
                return Some(unit);
            }
        }
        None
    })
}

fn find_start_code(data: &[u8]) -> Option<usize> {
    data.windows(3).position(|window| window == [0, 0, 1])
}

fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    find_start_code(data).map(|at| &data[at + 3..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(data: &[u8]) -> Vec<Vec<u8>> {
        nal_units(data).map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn nal_units_are_split_at_start_codes_of_either_length() {
        let stream = [0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x65, 0, 3];
        assert_eq!(units(&stream), [vec![0x67, 1], vec![0x68, 2], vec![0x65, 0, 3]]);
    }

    #[test]
    fn garbage_and_empty_units_yield_nothing() {
        assert!(units(&[]).is_empty());
        assert!(units(&[1, 2, 3]).is_empty());
        assert!(units(&[0, 0, 1]).is_empty());
        assert_eq!(units(&[0, 0, 1, 0, 0, 1, 0x41]), [vec![0x41]]);
    }

    #[test]
    fn a_key_frame_is_an_idr_with_both_parameter_sets() {
        assert!(is_keyframe(&[0, 0, 1, 0x67, 0, 0, 1, 0x68, 0, 0, 1, 0x65]));
        assert!(!is_keyframe(&[0, 0, 1, 0x65]));
        assert!(!is_keyframe(&[0, 0, 1, 0x67, 0, 0, 1, 0x68, 0, 0, 1, 0x41]));
    }
}
