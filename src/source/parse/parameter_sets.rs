//! The parameter sets that a stream of H.264 has brought so far.

use std::collections::{BTreeMap, VecDeque};

use super::StreamError;
use super::bits::BitReader;
use super::sps::Sps;
use crate::media::Size;
use crate::work;

/// A parameter set that is longer is not kept. Those of cameras and encoders are below 50 bytes,
/// and below 300 with scaling lists.
pub const PARAMETER_SET_MAX_BYTES: usize = 512;
/// Of so many picture parameter sets and bytes of them, the last are kept: all of them go before
/// each key frame. Encoders use one, few use up to four.
const PPS_MAX: usize = 16;
const PPS_MAX_BYTES: usize = 1024;

const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The parameter sets by their ids: at most 32 SPS, as ids are at most 31.
#[derive(Default)]
pub struct ParameterSets {
    sps: BTreeMap<u8, StoredSps>,
    /// The one that came last is the last.
    pps: VecDeque<StoredPps>,
}

struct StoredSps {
    unit: Vec<u8>,
    sps: Sps,
    /// Or why browsers do not decode it.
    size: Result<Size, StreamError>,
}

struct StoredPps {
    id: u8,
    sps_id: u8,
    unit: Vec<u8>,
    /// It was part of an access unit.
    sent: bool,
}

/// What a NAL unit with a parameter set was.
#[derive(Debug, PartialEq, Eq)]
pub enum Stored {
    Unchanged,
    /// It is new, or another one than before with this id.
    Changed(u8),
    /// It is cut off, too long, or its values are impossible.
    Unreadable,
}

impl ParameterSets {
    /// Takes over a NAL unit of type 7.
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

    /// Takes over a NAL unit of type 8.
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

    /// The SPS for slices that name this PPS, with its id, if both are known.
    pub fn sps_of(&self, pps_id: u32) -> Option<(u8, &Sps)> {
        let pps = self.pps.iter().find(|pps| u32::from(pps.id) == pps_id)?;
        Some((pps.sps_id, &self.sps.get(&pps.sps_id)?.sps))
    }

    /// Whether this NAL unit of type 7 or 8 is known already.
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

    /// Writes an SPS and all PPS that belong to it, each after a start code.
    pub fn write_all(&mut self, sps_id: u8, stream: &mut Vec<u8>) {
        if let Some(stored) = self.sps.get(&sps_id) {
            write_unit(&stored.unit, stream);
        }
        for pps in self.pps.iter_mut().filter(|pps| pps.sps_id == sps_id) {
            pps.sent = true;
            write_unit(&pps.unit, stream);
        }
    }

    /// Writes the PPS that have changed after the last key frame, each after a start code.
    pub fn write_changed(&mut self, sps_id: u8, stream: &mut Vec<u8>) {
        for pps in self.pps.iter_mut().filter(|pps| pps.sps_id == sps_id && !pps.sent) {
            pps.sent = true;
            write_unit(&pps.unit, stream);
        }
    }

    /// The bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.pps_bytes() + self.sps.values().map(|stored| stored.unit.len()).sum::<usize>()
    }

    fn pps_bytes(&self) -> usize {
        self.pps.iter().map(|pps| pps.unit.len()).sum()
    }
}

/// Writes a NAL unit after a start code of four bytes.
pub fn write_unit(unit: &[u8], stream: &mut Vec<u8>) {
    work::step();
    stream.extend_from_slice(&START_CODE);
    stream.extend_from_slice(unit);
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

    fn units(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut stream = Vec::new();
        write(&mut stream);
        crate::media::h264::nal_units(&stream).map(|unit| unit[1]).collect()
    }

    #[test]
    fn a_set_that_is_repeated_is_written_once() {
        let mut sets = ParameterSets::default();
        assert_eq!(sets.take_sps(SPS), Stored::Changed(0));
        assert_eq!(sets.take_sps(SPS), Stored::Unchanged);
        assert_eq!(sets.take_pps(&pps(0, 4)), Stored::Changed(0));
        assert_eq!(sets.take_pps(&pps(0, 4)), Stored::Unchanged);
        assert_eq!(units(|stream| sets.write_all(0, stream)), [66, pps(0, 4)[1]]);
        assert!(units(|stream| sets.write_changed(0, stream)).is_empty());
        assert!(units(|stream| sets.write_all(1, stream)).is_empty());
    }

    #[test]
    fn a_pps_that_changes_is_written_before_the_next_picture() {
        let mut sets = ParameterSets::default();
        sets.take_sps(SPS);
        sets.take_pps(&pps(0, 4));
        units(|stream| sets.write_all(0, stream));
        assert_eq!(sets.take_pps(&pps(0, 5)), Stored::Changed(0));
        assert_eq!(sets.take_pps(&pps(0, 5)), Stored::Unchanged);
        assert_eq!(units(|stream| sets.write_changed(0, stream)).len(), 1);
        assert_eq!(units(|stream| sets.write_changed(0, stream)).len(), 0);
        assert_eq!(units(|stream| sets.write_all(0, stream)).len(), 2);
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
