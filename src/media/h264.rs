//! Access units of H.264, and their byte stream (ITU-T H.264, Annex B): NAL units with start codes between
//! them.

use crate::work;

// nal_unit_type, ITU-T H.264 table 7-1.
pub(crate) const NAL_IDR: u8 = 5;
pub(crate) const NAL_SPS: u8 = 7;
pub(crate) const NAL_PPS: u8 = 8;

/// With `zero_byte` (B.1.2).
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// One coded picture: a byte stream, and where its NAL units begin in it. Whoever makes one knows its NAL
/// units, so that nobody searches it for start codes again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessUnit {
    /// NAL units, each after a start code of four bytes.
    data: Vec<u8>,
    /// The offset in `data` of each NAL unit, which ends at the next start code. Four bytes, as hostile
    /// NAL units have two.
    starts: Vec<u32>,
}

impl AccessUnit {
    /// Splits a byte stream at its start codes, of either length.
    ///
    /// # Panics
    /// If it is larger than 4 GiB.
    #[cfg(feature = "testing")]
    pub fn parse(stream: &[u8]) -> AccessUnit {
        let mut unit = AccessUnit::default();
        nal_units(stream).for_each(|nal_unit| unit.push(nal_unit));
        unit
    }

    /// Appends a NAL unit, or the beginning of one. It has at least its header, and no start code.
    ///
    /// # Panics
    /// If the whole is larger than 4 GiB.
    pub fn push(&mut self, nal_unit: &[u8]) {
        work::step();
        self.data.extend_from_slice(&START_CODE);
        self.starts.push(offset(self.data.len()));
        self.data.extend_from_slice(nal_unit);
    }

    /// Appends bytes to the last NAL unit.
    pub(crate) fn extend_last(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    /// The last NAL unit.
    pub(crate) fn last(&self) -> Option<&[u8]> {
        self.starts.last().map(|start| &self.data[*start as usize..])
    }

    /// Removes the last NAL unit.
    pub(crate) fn pop(&mut self) {
        if let Some(start) = self.starts.pop() {
            self.data.truncate(start as usize - START_CODE.len());
        }
    }

    /// Appends the NAL units of `other`, and reserves memory for no more.
    pub(crate) fn append(&mut self, other: &AccessUnit) {
        let shift = offset(self.data.len());
        self.data.reserve_exact(other.data.len());
        self.data.extend_from_slice(&other.data);
        self.starts.reserve_exact(other.starts.len());
        self.starts.extend(other.starts.iter().map(|start| start + shift));
    }

    /// Removes all NAL units, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.data.clear();
        self.starts.clear();
    }

    /// The bytes of allocated memory.
    #[cfg(feature = "testing")]
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.data.capacity() + self.starts.capacity() * size_of::<u32>()
    }

    /// The NAL units in order, without start codes. Each has at least its header.
    pub fn nal_units(&self) -> impl Iterator<Item = &[u8]> {
        let next_starts = self.starts.iter().skip(1).map(|next| *next as usize - START_CODE.len());
        let ends = next_starts.chain([self.data.len()]);
        self.starts.iter().zip(ends).map(|(start, end)| &self.data[*start as usize..end])
    }

    /// Whether a decoder can start here: an IDR picture that brings its own SPS and PPS.
    pub fn is_keyframe(&self) -> bool {
        let mut seen = [false; 32];
        for start in &self.starts {
            seen[usize::from(self.data[*start as usize] & 0x1f)] = true;
        }
        [NAL_IDR, NAL_SPS, NAL_PPS].iter().all(|kind| seen[usize::from(*kind)])
    }

    /// The byte stream: each NAL unit after a start code of four bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("an access unit is smaller than 4 GiB")
}

/// The NAL units of a byte stream, in order, without start codes and padding. Each has at least its
/// header.
#[cfg(feature = "testing")]
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

#[cfg(feature = "testing")]
fn find_start_code(data: &[u8]) -> Option<usize> {
    data.windows(3).position(|window| window == [0, 0, 1])
}

#[cfg(feature = "testing")]
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
        let is_keyframe = |stream: &[u8]| AccessUnit::parse(stream).is_keyframe();
        assert!(is_keyframe(&[0, 0, 1, 0x67, 0, 0, 1, 0x68, 0, 0, 1, 0x65]));
        assert!(!is_keyframe(&[0, 0, 1, 0x65]));
        assert!(!is_keyframe(&[0, 0, 1, 0x67, 0, 0, 1, 0x68, 0, 0, 1, 0x41]));
        assert!(!is_keyframe(&[]));
    }

    #[test]
    fn an_access_unit_has_the_nal_units_that_it_was_made_of() {
        let mut sets = AccessUnit::default();
        sets.push(&[0x67, 1]);
        let mut slices = AccessUnit::default();
        slices.push(&[0x65, 0]);
        slices.extend_last(&[0, 3]);
        slices.push(&[0x65, 7]);
        assert_eq!(slices.last(), Some(&[0x65, 7][..]));
        slices.pop();
        sets.append(&slices);
        let expected = [vec![0x67, 1], vec![0x65, 0, 0, 3]];
        assert_eq!(sets.nal_units().collect::<Vec<_>>(), expected);
        assert_eq!(units(sets.data()), expected, "as a search for start codes finds them");
        assert_eq!(AccessUnit::parse(sets.data()), sets);
        sets.clear();
        assert_eq!((sets.last(), sets.nal_units().count()), (None, 0));
    }
}
