//! The parameter sets of a stream of H.264.

use std::collections::{BTreeMap, VecDeque};

use super::StreamError;
use super::bits::BitReader;
use super::sps::Sps;
use crate::media::{AccessUnit, Size};

/// The largest parameter set. Those of cameras and encoders are below 50 bytes, and below 300 with scaling
/// lists.
pub const PARAMETER_SET_MAX_BYTES: usize = 512;
/// The most picture parameter sets, and bytes of them, that are kept: all of them precede each key frame.
/// Most encoders use one, few up to four.
const PPS_MAX: usize = 16;
const PPS_MAX_BYTES: usize = 1024;

/// The parameter sets by their ids: at most 32 SPS, as ids are at most 31.
#[derive(Default)]
pub struct ParameterSets {
    sps: BTreeMap<u8, StoredSps>,
    /// In the order of arrival.
    pps: VecDeque<StoredPps>,
}

struct StoredSps {
    unit: Vec<u8>,
    sps: Sps,
    /// The size of the pictures, or why browsers do not decode them.
    size: Result<Size, StreamError>,
}

struct StoredPps {
    id: u8,
    sps_id: u8,
    unit: Vec<u8>,
    /// An access unit has contained it.
    sent: bool,
}

/// The outcome of storing a parameter set.
#[derive(Debug, PartialEq, Eq)]
pub enum Stored {
    Unchanged,
    /// It is new, or replaces another one with this id.
    Changed(u8),
    /// It is truncated, too long, or invalid.
    Unreadable,
}

impl ParameterSets {
    /// Stores a NAL unit of type 7.
    pub fn take_sps(&mut self, unit: &[u8]) -> Stored {
        if unit.len() > PARAMETER_SET_MAX_BYTES {
            return Stored::Unreadable;
        }
        let Some(sps) = Sps::parse(unit) else { return Stored::Unreadable };
        let (id, size) = (sps.id, sps.check());
        if self.sps.get(&id).is_some_and(|stored| stored.unit == unit) {
            return Stored::Unchanged;
        }
        self.sps.insert(id, StoredSps { unit: unit.to_vec(), sps, size });
        Stored::Changed(id)
    }

    /// Stores a NAL unit of type 8.
    pub fn take_pps(&mut self, unit: &[u8]) -> Stored {
        // pic_parameter_set_rbsp(), 7.3.2.2.
        let mut reader = BitReader::new(unit.get(1..).unwrap_or_default());
        let ids = reader.ue().zip(reader.ue());
        let ids = ids.and_then(|(id, sps_id)| Some((u8::try_from(id).ok()?, sps_id)));
        let Some((id, sps_id @ 0..32)) = ids else { return Stored::Unreadable };
        if unit.len() > PARAMETER_SET_MAX_BYTES {
            return Stored::Unreadable;
        }
        let former = self.pps.iter().position(|pps| pps.id == id);
        let former = former.and_then(|at| self.pps.remove(at));
        let unchanged = former.as_ref().is_some_and(|former| former.unit == unit);
        let sent = former.is_some_and(|former| unchanged && former.sent);
        self.pps.push_back(StoredPps { id, sps_id: sps_id as u8, unit: unit.to_vec(), sent });
        while self.pps.len() > PPS_MAX || self.pps_bytes() > PPS_MAX_BYTES {
            self.pps.pop_front();
        }
        if unchanged { Stored::Unchanged } else { Stored::Changed(id) }
    }

    /// The id and the SPS of slices that refer to this PPS, if both are known.
    pub fn sps_of(&self, pps_id: u32) -> Option<(u8, &Sps)> {
        let pps = self.pps.iter().find(|pps| u32::from(pps.id) == pps_id)?;
        Some((pps.sps_id, &self.sps.get(&pps.sps_id)?.sps))
    }

    /// Whether this NAL unit of type 7 or 8 is already stored.
    pub fn has(&self, unit: &[u8]) -> bool {
        self.sps.values().any(|stored| stored.unit == unit)
            || self.pps.iter().any(|stored| stored.unit == unit)
    }

    /// Whether there is a PPS with its SPS.
    pub fn is_complete(&self) -> bool {
        self.pps.iter().any(|pps| self.sps.contains_key(&pps.sps_id))
    }

    /// An SPS that browsers decode, and the size of its pictures.
    pub fn sps(&self, id: u8) -> Option<(&Sps, Size)> {
        let stored = self.sps.get(&id)?;
        Some((&stored.sps, stored.size.clone().ok()?))
    }

    /// Why browsers do not decode the pictures of this SPS.
    pub fn error_of(&self, id: u8) -> Option<StreamError> {
        self.sps.get(&id)?.size.clone().err()
    }

    /// Appends an SPS and all PPS that refer to it.
    pub fn write_all(&mut self, sps_id: u8, to: &mut AccessUnit) {
        if let Some(stored) = self.sps.get(&sps_id) {
            to.push(&stored.unit);
        }
        for pps in self.pps.iter_mut().filter(|pps| pps.sps_id == sps_id) {
            pps.sent = true;
            to.push(&pps.unit);
        }
    }

    /// Appends the PPS that have changed since the last key frame.
    pub fn write_changed(&mut self, sps_id: u8, to: &mut AccessUnit) {
        for pps in self.pps.iter_mut().filter(|pps| pps.sps_id == sps_id && !pps.sent) {
            pps.sent = true;
            to.push(&pps.unit);
        }
    }

    /// The number of bytes stored.
    #[cfg(feature = "testing")]
    pub fn bytes(&self) -> usize {
        self.pps_bytes() + self.sps.values().map(|stored| stored.unit.len()).sum::<usize>()
    }

    fn pps_bytes(&self) -> usize {
        self.pps.iter().map(|pps| pps.unit.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS: &[u8] = &[0x67, 66, 0xc0, 10, 0xd9, 4, 0x7b, 1, 0x10];

    /// A PPS with this id, at most 5, for SPS 0, of this length.
    fn pps(id: u8, length: usize) -> Vec<u8> {
        // ue(v) of the id, ue(v) of zero.
        let code = [0xc0, 0x50, 0x70, 0x24, 0x2c, 0x34];
        let mut unit = vec![0x68, code[usize::from(id)]];
        unit.resize(length, 0x55);
        unit
    }

    fn units(write: impl FnOnce(&mut AccessUnit)) -> Vec<u8> {
        let mut unit = AccessUnit::default();
        write(&mut unit);
        unit.nal_units().map(|unit| unit[1]).collect()
    }

    #[test]
    fn a_set_that_is_repeated_is_written_once() {
        let mut sets = ParameterSets::default();
        assert_eq!(sets.take_sps(SPS), Stored::Changed(0));
        assert_eq!(sets.take_sps(SPS), Stored::Unchanged);
        assert_eq!(sets.take_pps(&pps(0, 4)), Stored::Changed(0));
        assert_eq!(sets.take_pps(&pps(0, 4)), Stored::Unchanged);
        assert_eq!(units(|unit| sets.write_all(0, unit)), [66, pps(0, 4)[1]]);
        assert!(units(|unit| sets.write_changed(0, unit)).is_empty());
        assert!(units(|unit| sets.write_all(1, unit)).is_empty());
    }

    #[test]
    fn a_pps_that_changes_is_written_before_the_next_picture() {
        let mut sets = ParameterSets::default();
        sets.take_sps(SPS);
        sets.take_pps(&pps(0, 4));
        units(|unit| sets.write_all(0, unit));
        assert_eq!(sets.take_pps(&pps(0, 5)), Stored::Changed(0));
        assert_eq!(sets.take_pps(&pps(0, 5)), Stored::Unchanged);
        assert_eq!(units(|unit| sets.write_changed(0, unit)).len(), 1);
        assert_eq!(units(|unit| sets.write_changed(0, unit)).len(), 0);
        assert_eq!(units(|unit| sets.write_all(0, unit)).len(), 2);
    }

    #[test]
    fn both_sets_must_be_known() {
        let mut sets = ParameterSets::default();
        sets.take_pps(&pps(1, 4));
        let sps_id_of = |sets: &ParameterSets, id| sets.sps_of(id).map(|(id, _)| id);
        assert_eq!(sps_id_of(&sets, 1), None);
        sets.take_sps(SPS);
        assert_eq!(sps_id_of(&sets, 1), Some(0));
        assert_eq!(sps_id_of(&sets, 0), None);
        assert_eq!(sps_id_of(&sets, 257), None);
        assert!(sets.has(SPS) && sets.has(&pps(1, 4)) && !sets.has(&pps(1, 5)));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut sets = ParameterSets::default();
        for id in 0..6 {
            assert_eq!(sets.take_pps(&pps(id, 400)), Stored::Changed(id));
            assert!(sets.bytes() <= PPS_MAX_BYTES);
        }
        assert_eq!(sets.pps.iter().map(|pps| pps.id).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(sets.take_pps(&pps(0, PARAMETER_SET_MAX_BYTES + 1)), Stored::Unreadable);
        assert_eq!(sets.take_pps(&[0x68]), Stored::Unreadable);
        let long = [SPS, &[0; PARAMETER_SET_MAX_BYTES]].concat();
        assert_eq!(sets.take_sps(&long), Stored::Unreadable);
    }
}
