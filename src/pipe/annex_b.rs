//! A byte stream of H.264 to access units.
//!
//! A picture begins with the slice whose `first_mb_in_slice` is 0, and its access unit ends before
//! the next picture, delimiter, parameter set or SEI (ITU-T H.264, 7.4.1.2.3 and 7.4.1.2.4). Slices
//! in arbitrary order and redundant pictures, which the profiles of browsers do not have, are not
//! recognised. An access unit here consists of slices and, in front of them, parameter sets;
//! delimiters, SEI, filler data and end markers are left out.
//!
//! Nothing comes out before a key frame: an IDR picture whose parameter sets are known. The same
//! holds after everything that is left out or damaged, as what follows refers to it.
//!
//! What browsers do not decode is an error, but once in a while damage looks like it. After a whole group
//! of pictures without any of it, the first occurrence is damage, and the second before another such
//! group is the error.
//!
//! # When the source pauses
//! That a picture is complete can be seen only when the next one begins. To save the time until
//! then, [`AnnexB::flush`] takes what has come for complete if that is plausible: there are as many
//! slices as in the last picture, and the source does not write blocks of a buffered stream. Where
//! this was wrong, the rest of the picture comes later; then there is nothing until the next key
//! frame, and no flush for a number of pictures that doubles each time.
//!
//! A source that writes each picture at once is not waited for: [`AnnexB::run_dry`] looks whether it
//! would have been right to take what has come for complete whenever there was no more, and does so
//! when it was for [`TRUSTED_AFTER_PICTURES`](super::flushes::TRUSTED_AFTER_PICTURES) in a row.

use super::bits::BitReader;
use super::flushes::Flushes;
use super::parameter_sets::{PARAMETER_SET_MAX_BYTES, ParameterSets, Taken, write_unit};
use super::start_codes::{Piece, StartCodes};
use super::{AccessUnit, Item, Lack, Output, StreamError};
use crate::media::h264::{NAL_IDR, NAL_PPS, NAL_SPS};
use crate::work;

/// An access unit that is larger is left out. An IDR picture of 3840×2160 in high quality has 2 MiB.
pub const ACCESS_UNIT_MAX_BYTES: usize = 4 << 20;

// nal_unit_type, table 7-1.
const NAL_SLICE: u8 = 1;
const NAL_SEI: u8 = 6;
const NAL_DELIMITER: u8 = 9;
const NAL_END_OF_SEQUENCE: u8 = 10;
const NAL_END_OF_STREAM: u8 = 11;

// slice_type % 5, table 7-6.
const SLICE_P: u32 = 0;
const SLICE_B: u32 = 1;
const SLICE_I: u32 = 2;

/// The parser of one stream.
pub struct AnnexB {
    codes: StartCodes,
    unit: Unit,
    sets: ParameterSets,
    /// The parameter set under way.
    set: Vec<u8>,
    /// The slices of the picture under way, each after a start code.
    slices: Vec<u8>,
    picture: Option<PictureState>,
    /// The SPS of the last key frame, until something is left out.
    active: Option<u8>,
    soundness: Soundness,
    flushes: Flushes,
    /// Why pictures were left out after the last one that came out.
    lack: Option<Lack>,
}

/// For how long all that has come can be decoded by browsers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Soundness {
    Unknown,
    /// Since the last key frame.
    ThisGroup,
    /// Since the key frame before it at least.
    Proven,
}

/// The NAL unit under way.
enum Unit {
    /// Between two, or one of which nothing is wanted.
    Ignored,
    /// Nothing of it has come.
    Empty,
    /// A slice of which only this header byte has come.
    SliceHeader(u8),
    /// A slice that begins here in `slices`.
    Slice(usize),
    Sps,
    Pps,
}

/// The picture under way.
struct PictureState {
    idr: bool,
    /// Of the SPS, once a slice is complete.
    sps_id: Option<u8>,
    slices: u32,
}

impl AnnexB {
    pub fn new() -> AnnexB {
        AnnexB {
            codes: StartCodes::new(),
            unit: Unit::Ignored,
            sets: ParameterSets::default(),
            set: Vec::new(),
            slices: Vec::new(),
            picture: None,
            active: None,
            soundness: Soundness::Unknown,
            flushes: Flushes::new(),
            lack: None,
        }
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// [`StreamError::BFrames`], and those of an SPS that browsers do not decode.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Output) -> Result<(), StreamError> {
        while let Some(piece) = self.codes.next(&mut bytes) {
            match piece {
                Piece::Start => {
                    self.end_unit(out)?;
                    self.unit = Unit::Empty;
                }
                Piece::End => self.end_unit(out)?,
                Piece::Bytes(piece) => self.take(piece, out),
                Piece::Stray(count) => {
                    out.counters.stray_bytes += count as u64;
                    self.flushed_too_early(out);
                }
            }
        }
        Ok(())
    }

    /// Nothing has come for a while: completes the picture under way if it looks complete.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn flush(&mut self, out: &mut Output) -> Result<(), StreamError> {
        let Some(slices) = self.slices_so_far() else { return Ok(()) };
        if !self.flushes.looks_complete(slices, out.counters.bytes) {
            return Ok(());
        }
        if let Unit::Slice(_) = self.unit {
            self.codes.end_unit();
            self.end_unit(out)?;
        }
        if self.complete(out) {
            self.flushes.open(out.counters.bytes);
        }
        Ok(())
    }

    /// There is no more for now: completes the picture under way if it looks whole, and the source is
    /// one that never pauses within a picture.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn run_dry(&mut self, out: &mut Output) -> Result<(), StreamError> {
        let Some(slices) = self.slices_so_far() else { return Ok(()) };
        if !self.flushes.looks_whole(slices, out.counters.bytes) {
            return Ok(());
        }
        self.flushes.note_dry(out.counters.bytes);
        if self.flushes.is_trusted() { self.flush(out) } else { Ok(()) }
    }

    /// The slices of the picture under way, if it may end here.
    fn slices_so_far(&self) -> Option<u32> {
        match (&self.picture, &self.unit) {
            (None, _) | (_, Unit::Empty | Unit::SliceHeader(_)) => None,
            (Some(picture), Unit::Slice(_)) => Some(picture.slices + 1),
            (Some(picture), _) => Some(picture.slices),
        }
    }

    /// The stream has ended: completes the picture under way.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(&mut self, out: &mut Output) -> Result<(), StreamError> {
        self.codes.end_unit();
        self.end_unit(out)?;
        self.complete(out);
        Ok(())
    }

    /// What has to come before there is a next picture.
    pub fn lacks(&self) -> Option<Lack> {
        self.lack
    }

    /// The bytes that are kept, in allocated memory.
    pub fn bytes(&self) -> usize {
        self.slices.capacity() + self.set.capacity() + self.sets.bytes()
    }

    fn take(&mut self, mut bytes: &[u8], out: &mut Output) {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.unit {
                Unit::Ignored => return,
                Unit::Empty => {
                    self.begin_unit(first, out);
                    bytes = rest;
                }
                Unit::SliceHeader(header) => {
                    self.begin_slice(header, first, out);
                    bytes = rest;
                }
                Unit::Slice(_) if self.slices.len() + bytes.len() > ACCESS_UNIT_MAX_BYTES => {
                    out.counters.oversized += 1;
                    self.note_lack(Lack::SmallerKeyFrame);
                    self.drop_picture();
                    return;
                }
                Unit::Slice(_) => {
                    self.flushes.note_more();
                    self.slices.extend_from_slice(bytes);
                    return;
                }
                Unit::Sps | Unit::Pps => {
                    // One byte more than the limit tells that it is exceeded.
                    let room = PARAMETER_SET_MAX_BYTES + 1 - self.set.len();
                    self.set.extend_from_slice(&bytes[..room.min(bytes.len())]);
                    return;
                }
            }
        }
    }

    fn begin_unit(&mut self, header: u8, out: &mut Output) {
        work::step();
        let kind = header & 0x1f;
        self.unit = match kind {
            NAL_SLICE | NAL_IDR => Unit::SliceHeader(header),
            NAL_SPS => Unit::Sps,
            NAL_PPS => Unit::Pps,
            _ => Unit::Ignored,
        };
        // Only between access units (7.4.1.2.3).
        let between =
            [NAL_SEI, NAL_SPS, NAL_PPS, NAL_DELIMITER, NAL_END_OF_SEQUENCE, NAL_END_OF_STREAM];
        if between.contains(&kind) || (14..=18).contains(&kind) {
            self.complete(out);
            self.flushes.close();
        }
        if self.picture.is_none() && !matches!(self.unit, Unit::SliceHeader(_)) {
            self.lack.get_or_insert(Lack::Picture);
        }
        if let Unit::Sps | Unit::Pps = self.unit {
            self.set.clear();
            self.set.push(header);
        }
    }

    fn begin_slice(&mut self, header: u8, second: u8, out: &mut Output) {
        work::step();
        self.unit = Unit::Ignored;
        let idr = header & 0x1f == NAL_IDR;
        // first_mb_in_slice is ue(v), and the single bit 1 is zero.
        if second & 0x80 != 0 {
            self.complete(out);
            self.flushes.close();
            if self.active.is_none() && !idr {
                out.counters.skipped += 1;
                self.note_skipped();
                return;
            }
            self.picture = Some(PictureState { idr, sps_id: None, slices: 0 });
            self.lack.take_if(|lack| *lack == Lack::Picture);
        } else if self.flushes.is_open() {
            self.flushes.note_late_slice();
            self.flushed_too_early(out);
            return;
        } else if self.picture.as_ref().is_none_or(|picture| picture.idr != idr) {
            // A further slice of a picture that is skipped, or whose first slice has not come.
            self.complete(out);
            if self.active.is_some() {
                self.drop_damaged(out);
            }
            return;
        }
        self.flushes.note_more();
        write_unit(&[header, second], &mut self.slices);
        self.unit = Unit::Slice(self.slices.len() - 2);
    }

    fn end_unit(&mut self, out: &mut Output) -> Result<(), StreamError> {
        match std::mem::replace(&mut self.unit, Unit::Ignored) {
            Unit::Slice(start) => self.end_slice(start, out)?,
            Unit::SliceHeader(_) => self.drop_damaged(out),
            Unit::Sps => match self.sets.take_sps(&self.set) {
                // The pictures that follow belong to the former one until the next key frame.
                Taken::Changed(id) if self.active == Some(id) => self.active = None,
                Taken::Changed(_) | Taken::Unchanged => {}
                Taken::Unreadable => out.counters.damaged += 1,
            },
            Unit::Pps if self.sets.take_pps(&self.set) == Taken::Unreadable => {
                out.counters.damaged += 1;
            }
            Unit::Pps | Unit::Ignored | Unit::Empty => {}
        }
        Ok(())
    }

    /// Checks a complete slice by its header (7.3.3).
    fn end_slice(&mut self, start: usize, out: &mut Output) -> Result<(), StreamError> {
        let Some(picture) = &mut self.picture else { return Ok(()) };
        let mut reader = BitReader::new(&self.slices[start + 1..]);
        let _first_mb = reader.ue();
        let slice_type = reader.ue().filter(|slice_type| *slice_type < 10);
        let (Some(slice_type), Some(pps_id)) = (slice_type, reader.ue()) else {
            self.drop_damaged(out);
            return Ok(());
        };
        let sps_id = self.sets.sps_id_of(pps_id);
        let expected = picture.sps_id.or(if picture.idr { sps_id } else { self.active });
        let refused = match slice_type % 5 {
            SLICE_B if !picture.idr => Some(StreamError::BFrames),
            _ if picture.idr => sps_id.and_then(|id| self.sets.error_of(id)),
            _ => None,
        };
        if let Some(error) = refused {
            return self.doubt(error, out);
        }
        match slice_type % 5 {
            SLICE_P | SLICE_I if sps_id.is_some() && sps_id == expected => {
                picture.sps_id = sps_id;
                picture.slices += 1;
            }
            // Its parameter sets came before the stream was read from.
            SLICE_P | SLICE_I if picture.idr && sps_id.is_none() => {
                out.counters.skipped += 1;
                self.lack = Some(Lack::ParameterSets);
                self.drop_picture();
            }
            _ => self.drop_damaged(out),
        }
        Ok(())
    }

    /// The picture under way is complete. Whether there was one.
    fn complete(&mut self, out: &mut Output) -> bool {
        let Some(picture) = self.picture.take() else { return false };
        let Some(sps_id) = picture.sps_id else { return false };
        let mut data = Vec::new();
        if picture.idr {
            self.sets.write_all(sps_id, &mut data);
            self.active = Some(sps_id);
            self.soundness = match self.soundness {
                Soundness::Unknown => Soundness::ThisGroup,
                Soundness::ThisGroup | Soundness::Proven => Soundness::Proven,
            };
            if let Some((sps, size)) = self.sets.sps(sps_id) {
                out.info.size = Some(size);
                out.info.frame_rate = sps.frame_rate;
                out.info.profile_level_id = Some(sps.profile_level_id());
                out.info.reorders = sps.max_num_reorder_frames.is_some_and(|frames| frames > 0);
            }
        } else {
            self.sets.write_changed(sps_id, &mut data);
        }
        data.reserve_exact(self.slices.len());
        data.extend_from_slice(&self.slices);
        self.slices.clear();
        self.flushes.note_picture(picture.slices);
        self.lack = None;
        out.add(Item::AccessUnit(AccessUnit { data, keyframe: picture.idr }));
        true
    }

    /// Something has come that browsers do not decode, or that damage has made look like it.
    fn doubt(&mut self, error: StreamError, out: &mut Output) -> Result<(), StreamError> {
        if self.soundness != Soundness::Proven {
            return Err(error);
        }
        self.soundness = Soundness::Unknown;
        self.drop_damaged(out);
        Ok(())
    }

    fn drop_damaged(&mut self, out: &mut Output) {
        out.counters.damaged += 1;
        self.note_lack(Lack::IntactKeyFrame);
        self.drop_picture();
    }

    /// The picture under way is to be dropped. For this reason, should it be a key frame.
    fn note_lack(&mut self, of_keyframe: Lack) {
        let idr = self.picture.as_ref().is_some_and(|picture| picture.idr);
        self.lack = Some(if idr { of_keyframe } else { Lack::KeyFrame });
    }

    /// A picture was skipped that refers to a key frame which did not come out.
    fn note_skipped(&mut self) {
        self.lack = Some(match self.lack {
            _ if !self.sets.is_complete() => Lack::ParameterSets,
            Some(lack @ (Lack::IntactKeyFrame | Lack::SmallerKeyFrame)) => lack,
            _ => Lack::KeyFrame,
        });
    }

    /// Drops the picture under way, and what refers to it.
    fn drop_picture(&mut self) {
        self.picture = None;
        self.slices = Vec::new();
        self.unit = Unit::Ignored;
        self.active = None;
        self.flushes.note_drop();
    }

    /// More of a picture has come after a flush took it for complete.
    fn flushed_too_early(&mut self, out: &mut Output) {
        if self.flushes.is_too_early() {
            out.counters.early_flushes += 1;
            self.drop_picture();
        }
    }
}

#[cfg(test)]
mod tests;
