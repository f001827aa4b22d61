//! A byte stream of H.264 to access units.
//!
//! A picture begins with the slice whose `first_mb_in_slice` is 0, and it ends where the next one
//! begins (ITU-T H.264, 7.4.1.2.3 and 7.4.1.2.4). Parameter sets, SEI and delimiters belong between
//! two pictures, but some payloaders put them between the slices of one: they end no picture, and a
//! further slice belongs to it if its header says so. Slices in arbitrary order and redundant pictures,
//! which the profiles of browsers do not have, are not recognised. An access unit here consists of
//! slices and, in front of them, parameter sets; delimiters, SEI, filler data and end markers are left
//! out.
//!
//! Nothing comes out before a key frame: an IDR picture whose parameter sets are known. The same
//! holds after everything that is left out or damaged, as what follows refers to it.
//!
//! What browsers do not decode is an error, but once in a while damage looks like it. After a whole group
//! of pictures without any of it, the first occurrence is damage, and the second before another such
//! group is the error. B slices are looked for in pictures that are skipped, too, and count if their
//! `frame_num` is that of a picture which may follow the one before it.
//!
//! # When the source pauses
//! That a picture is complete can be seen only when the next one begins, so that it comes out one
//! period late. This is saved where the source has shown that it writes each picture at once:
//! [`AnnexB::run_dry`] looks whether it would have been right to take what has come for complete
//! whenever there was no more, and does so when it was for
//! [`TRUSTED_AFTER_PICTURES`](super::flushes::TRUSTED_AFTER_PICTURES) in a row. The other conditions
//! are in [`Flushes`]. If it is wrong all the same, the rest of the picture comes later; then there is
//! nothing until the next key frame, and all further pictures of the stream are waited for.
//!
//! A delimiter ends a picture at once, if pictures of this stream have them between each other and
//! not between slices: programs that write one after each picture are never waited for.

use super::flushes::{Delimiters, Flushes};
use super::likeness::Likeness;
use super::parameter_sets::{PARAMETER_SET_MAX_BYTES, ParameterSets, Stored, write_unit};
use super::slice_header::{PictureId, SliceHeader, SliceKind};
use super::soundness::DecodeConfidence;
use super::start_codes::{Piece, StartCodes};
use super::{AccessUnit, Lack, ParsedItem, ParserOutput, StreamError};
use crate::media::h264::{NAL_IDR, NAL_PPS, NAL_SPS};
use crate::work;

/// An access unit that is larger is left out. An IDR picture of 3840×2160 in high quality has 2 MiB.
pub const ACCESS_UNIT_MAX_BYTES: usize = 4 << 20;

/// With `zero_byte` (B.1.2).
const START_CODE_BYTES: u64 = 4;

// nal_unit_type, table 7-1.
const NAL_SLICE: u8 = 1;
const NAL_DELIMITER: u8 = 9;
const NAL_END_OF_SEQUENCE: u8 = 10;
const NAL_END_OF_STREAM: u8 = 11;

/// Of a skipped slice, so many bytes are read: more than its header has up to `frame_num`.
const SKIPPED_SLICE_BYTES: usize = 32;

/// The parser of one stream.
pub struct AnnexB {
    codes: StartCodes,
    unit: Unit,
    /// Where in the stream the NAL unit under way begins, with its start code.
    unit_at: u64,
    /// And the first one since the last slice.
    lead_at: Option<u64>,
    sets: ParameterSets,
    /// The parameter set under way, or the beginning of the slice that is skipped.
    set: Vec<u8>,
    /// The slices of the picture under way, each after a start code.
    slices: Vec<u8>,
    picture: Option<PictureState>,
    /// The picture before a parameter set that has changed. It comes out when the next one begins,
    /// and never if more slices of it follow.
    sealed: Option<AccessUnit>,
    /// The last picture that has begun, also if it is skipped.
    last_picture: Option<PictureId>,
    delimiters: Delimiters,
    /// The SPS of the last key frame, until something is left out.
    active: Option<u8>,
    soundness: DecodeConfidence,
    flushes: Flushes,
    /// Why pictures were left out after the last one that came out.
    lack: Option<Lack>,
    likeness: Likeness,
    /// The bytes of the stream that were read.
    read: u64,
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
    /// The first slice of a picture that is skipped.
    Skipped,
    Sps,
    Pps,
}

/// The picture under way.
struct PictureState {
    idr: bool,
    /// Its SPS and itself, once a slice is complete.
    refers_to: Option<(u8, PictureId)>,
    slices: u32,
}

impl AnnexB {
    /// A parser of a stream that is read from its byte of this number, and has this error if it is no
    /// H.264.
    pub fn new(read: u64, unless_h264: StreamError) -> AnnexB {
        AnnexB {
            codes: StartCodes::new(),
            unit: Unit::Ignored,
            unit_at: 0,
            lead_at: None,
            sets: ParameterSets::default(),
            set: Vec::new(),
            slices: Vec::new(),
            picture: None,
            sealed: None,
            last_picture: None,
            delimiters: Delimiters::default(),
            active: None,
            soundness: DecodeConfidence::default(),
            flushes: Flushes::default(),
            lack: None,
            likeness: Likeness::new(unless_h264),
            read,
        }
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// [`StreamError::BFrames`], those of an SPS that browsers do not decode, and that of
    /// [`new`](Self::new).
    pub fn push(&mut self, mut bytes: &[u8], out: &mut ParserOutput) -> Result<(), StreamError> {
        let end = self.read + bytes.len() as u64;
        while let Some(piece) = self.codes.next(&mut bytes) {
            match piece {
                Piece::Start => {
                    self.end_unit(out)?;
                    self.unit = Unit::Empty;
                    self.unit_at = (end - bytes.len() as u64).saturating_sub(START_CODE_BYTES);
                }
                Piece::End => self.end_unit(out)?,
                Piece::Bytes(piece) => self.take(piece, out),
                Piece::Stray(count) => {
                    out.counters.stray_bytes += count as u64;
                    self.flushed_too_early(out);
                }
            }
            self.likeness.check(end - bytes.len() as u64)?;
        }
        self.read = end;
        Ok(())
    }

    /// There is no more for now: completes the picture under way if it looks whole, and the source is
    /// one that never pauses within a picture.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn run_dry(&mut self, out: &mut ParserOutput) -> Result<(), StreamError> {
        let slices = self.slices_so_far();
        if !self.flushes.run_dry(slices, self.read) {
            return Ok(());
        }
        if let Unit::Slice(_) = self.unit {
            self.codes.end_unit();
            self.end_unit(out)?;
        }
        if self.complete(out) {
            self.flushes.open();
        }
        Ok(())
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
    pub fn finish(&mut self, out: &mut ParserOutput) -> Result<(), StreamError> {
        self.codes.end_unit();
        self.end_unit(out)?;
        self.complete(out);
        Ok(())
    }

    /// What has to come before there is a next picture.
    pub fn lacks(&self) -> Option<Lack> {
        self.likeness.lacks().or(self.lack)
    }

    /// The bytes that are kept, in allocated memory.
    pub fn bytes(&self) -> usize {
        let sealed = self.sealed.as_ref().map_or(0, |unit| unit.data.capacity());
        self.slices.capacity() + sealed + self.set.capacity() + self.sets.bytes()
    }

    fn take(&mut self, mut bytes: &[u8], out: &mut ParserOutput) {
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
                Unit::Skipped => {
                    let room = SKIPPED_SLICE_BYTES.saturating_sub(self.set.len());
                    self.set.extend_from_slice(&bytes[..room.min(bytes.len())]);
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

    fn begin_unit(&mut self, header: u8, out: &mut ParserOutput) {
        work::step();
        let kind = header & 0x1f;
        self.likeness.note_unit(header);
        self.unit = match kind {
            NAL_SLICE | NAL_IDR => Unit::SliceHeader(header),
            NAL_SPS => Unit::Sps,
            NAL_PPS => Unit::Pps,
            _ => Unit::Ignored,
        };
        self.lead_at.get_or_insert(self.unit_at);
        let ends_picture = match kind {
            NAL_DELIMITER => self.delimiters.end_picture(),
            NAL_END_OF_SEQUENCE | NAL_END_OF_STREAM => true,
            _ => false,
        };
        if ends_picture {
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

    fn begin_slice(&mut self, header: u8, second: u8, out: &mut ParserOutput) {
        work::step();
        self.unit = Unit::Ignored;
        let lead_at = self.lead_at.take();
        let idr = header & 0x1f == NAL_IDR;
        // first_mb_in_slice is ue(v), and the single bit 1 is zero.
        let is_first = second & 0x80 != 0;
        self.delimiters.note_slice(is_first);
        if is_first {
            self.complete(out);
            self.flushes.begin(lead_at.unwrap_or(self.unit_at));
            if self.active.is_none() && !idr {
                out.counters.skipped += 1;
                self.note_skipped();
                self.set.clear();
                self.set.extend([header, second]);
                self.unit = Unit::Skipped;
                return;
            }
            self.picture = Some(PictureState { idr, refers_to: None, slices: 0 });
            self.lack.take_if(|lack| *lack == Lack::Picture);
        } else if self.flushes.is_open() {
            self.flushes.note_late_slice();
            self.flushed_too_early(out);
            return;
        } else if self.sealed.take().is_some() {
            // Which parameter sets it refers to is unknown.
            self.drop_damaged(out);
            return;
        } else if self.picture.as_ref().is_none_or(|picture| picture.idr != idr) {
            // A further slice of a picture that is skipped, or whose first slice has not come.
            self.complete(out);
            match self.active {
                Some(_) => self.drop_damaged(out),
                None => self.note_skipped(),
            }
            return;
        }
        self.flushes.note_more();
        write_unit(&[header, second], &mut self.slices);
        self.unit = Unit::Slice(self.slices.len() - 2);
    }

    fn end_unit(&mut self, out: &mut ParserOutput) -> Result<(), StreamError> {
        match std::mem::replace(&mut self.unit, Unit::Ignored) {
            Unit::Slice(start) => self.end_slice(start, out)?,
            Unit::SliceHeader(_) => self.drop_damaged(out),
            Unit::Skipped => self.end_skipped_slice()?,
            Unit::Sps => {
                self.seal_for_new_set(out);
                let taken = self.sets.take_sps(&self.set);
                if taken != Stored::Unreadable {
                    self.likeness.confirm();
                }
                match taken {
                    // The pictures that follow belong to the former one until the next key frame.
                    Stored::Changed(id) if self.active == Some(id) => self.active = None,
                    Stored::Changed(_) | Stored::Unchanged => {}
                    Stored::Unreadable => out.counters.damaged += 1,
                }
            }
            Unit::Pps => {
                self.seal_for_new_set(out);
                if self.sets.take_pps(&self.set) == Stored::Unreadable {
                    out.counters.damaged += 1;
                }
            }
            Unit::Ignored | Unit::Empty => {}
        }
        Ok(())
    }

    /// Checks a complete slice by its header.
    fn end_slice(&mut self, start: usize, out: &mut ParserOutput) -> Result<(), StreamError> {
        let Some(picture) = &mut self.picture else { return Ok(()) };
        let Some(header) = SliceHeader::parse(&self.slices[start..], &self.sets) else {
            self.drop_damaged(out);
            return Ok(());
        };
        let Some((sps_id, id)) = header.refers_to else {
            if picture.idr && matches!(header.kind, SliceKind::P | SliceKind::I) {
                // Its parameter sets came before the stream was read from.
                out.counters.skipped += 1;
                self.drop_picture();
                self.lack = Some(Lack::ParameterSets);
            } else {
                self.drop_damaged(out);
            }
            return Ok(());
        };
        if picture.slices == 0 {
            let former = self.last_picture.replace(id.clone());
            let refused = match header.kind {
                SliceKind::B if !picture.idr && former.is_some_and(|it| id.may_follow(&it)) => {
                    Some(StreamError::BFrames)
                }
                _ if picture.idr => self.sets.error_of(sps_id),
                _ => None,
            };
            if let Some(error) = refused {
                self.soundness.doubt(error)?;
                self.drop_damaged(out);
                return Ok(());
            }
        } else if picture.refers_to.as_ref().is_none_or(|of| *of != (sps_id, id.clone())) {
            // The first slice of another picture has not come.
            self.slices.truncate(start - START_CODE_BYTES as usize);
            self.complete(out);
            self.drop_damaged(out);
            return Ok(());
        }
        let is_expected = picture.idr || self.active == Some(sps_id);
        if is_expected && matches!(header.kind, SliceKind::P | SliceKind::I) {
            picture.refers_to = Some((sps_id, id));
            picture.slices += 1;
        } else {
            self.drop_damaged(out);
        }
        Ok(())
    }

    /// Looks whether a picture that is skipped shows that browsers do not decode the stream.
    fn end_skipped_slice(&mut self) -> Result<(), StreamError> {
        let header = SliceHeader::parse(&self.set, &self.sets);
        let Some(SliceHeader { kind, refers_to: Some((_, id)) }) = header else { return Ok(()) };
        let former = self.last_picture.replace(id.clone());
        match kind {
            SliceKind::B if former.is_some_and(|former| id.may_follow(&former)) => {
                self.soundness.doubt(StreamError::BFrames)
            }
            _ => Ok(()),
        }
    }

    /// The picture under way is complete. Whether there was one.
    fn complete(&mut self, out: &mut ParserOutput) -> bool {
        self.seal(out);
        let Some(unit) = self.sealed.take() else { return false };
        self.lack = None;
        self.likeness.confirm();
        out.add(ParsedItem::AccessUnit(unit));
        true
    }

    /// A parameter set is complete. Another one than before may be that of the next picture.
    fn seal_for_new_set(&mut self, out: &mut ParserOutput) {
        if !self.sets.has(&self.set) {
            self.seal(out);
        }
    }

    /// The picture under way refers to the parameter sets that have come so far, and no more slices
    /// are added to it.
    fn seal(&mut self, out: &mut ParserOutput) {
        let Some(picture) = self.picture.take() else { return };
        let Some((sps_id, _)) = picture.refers_to else { return };
        let mut data = Vec::new();
        if picture.idr {
            self.sets.write_all(sps_id, &mut data);
            self.active = Some(sps_id);
            self.soundness.note_keyframe();
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
        self.flushes.note_picture(picture.slices, picture.idr);
        self.sealed = Some(AccessUnit { data, keyframe: picture.idr });
    }

    fn drop_damaged(&mut self, out: &mut ParserOutput) {
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
    fn flushed_too_early(&mut self, out: &mut ParserOutput) {
        if self.flushes.is_too_early() {
            out.counters.early_flushes += 1;
            self.lack = Some(Lack::KeyFrame);
            self.drop_picture();
        }
    }
}

#[cfg(test)]
mod tests;
