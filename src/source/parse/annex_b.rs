//! Parses a byte stream of H.264 into access units.
//!
//! A picture starts with the slice whose `first_mb_in_slice` is 0, and ends where the next one starts
//! (ITU-T H.264, 7.4.1.2.3 and 7.4.1.2.4). Parameter sets, SEI and delimiters belong between two pictures,
//! but some payloaders put them between the slices of one. So they do not end a picture, and the header of
//! a further slice tells whether it belongs to it. Arbitrary slice order and redundant pictures, which the
//! profiles of browsers do not have, are not supported. An access unit here contains slices and, before
//! them, parameter sets. Delimiters, SEI, filler data and end markers are dropped.
//!
//! The first access unit is a key frame: an IDR picture whose parameter sets are known. The same holds
//! after every drop and all damage, as the pictures that follow refer to what was lost.
//!
//! A feature that browsers do not decode is an error, but damage may look like one. After a complete group
//! of pictures without such features, the first one is damage, and the second one before another such group
//! is the error. B slices are detected in skipped pictures, too, and count if their `frame_num` may follow
//! that of the picture before.
//!
//! # Pauses of the source
//! A picture is known to be complete only when the next one starts, which delays it by one period. This
//! delay is avoided for a source that writes each picture at once: [`AnnexB::handle_pause`] checks whether
//! the picture was complete at each pause, and completes it at the pause once this was so for
//! [`TRUSTED_AFTER_PICTURES`](super::flushes::TRUSTED_AFTER_PICTURES) in a row. [`Flushes`] has the other
//! conditions. If more of a completed picture comes, everything is dropped until the next key frame, and
//! no further picture of the stream is completed at a pause.
//!
//! A delimiter completes a picture at once if this stream has delimiters between pictures and never between
//! slices. So programs that write a delimiter after each picture have no delay.

use super::decode_confidence::DecodeConfidence;
use super::flushes::{Delimiters, Flushes};
use super::likeness::Likeness;
use super::parameter_sets::{PARAMETER_SET_MAX_BYTES, ParameterSets, Stored};
use super::slice_header::{PictureId, SliceHeader, SliceKind};
use super::start_codes::{Piece, StartCodes};
use super::{Lack, ParsedItem, ParserOutput, StreamError};
use crate::media::AccessUnit;
use crate::media::h264::{NAL_IDR, NAL_PPS, NAL_SPS};
use crate::work;

/// The largest access unit. Larger ones are dropped. A high-quality IDR picture of 3840×2160 has 2 MiB.
pub const ACCESS_UNIT_MAX_BYTES: usize = 4 << 20;

/// With `zero_byte` (B.1.2).
const START_CODE_BYTES: u64 = 4;

// nal_unit_type, table 7-1.
const NAL_SLICE: u8 = 1;
const NAL_DELIMITER: u8 = 9;
const NAL_END_OF_SEQUENCE: u8 = 10;
const NAL_END_OF_STREAM: u8 = 11;

/// How many bytes of a skipped slice are read: more than its header has up to `frame_num`.
const SKIPPED_SLICE_BYTES: usize = 32;

/// The parser of one stream.
pub struct AnnexB {
    codes: StartCodes,
    unit: Unit,
    /// The position in the stream of the current NAL unit, with its start code.
    unit_at: u64,
    /// The same of the first NAL unit after the last slice.
    lead_at: Option<u64>,
    sets: ParameterSets,
    /// The current parameter set, or the start of the skipped slice.
    set: Vec<u8>,
    /// The slices of the current picture.
    slices: AccessUnit,
    picture: Option<PictureState>,
    /// The picture before a changed parameter set. It is delivered when the next one starts, and dropped if
    /// more slices of it follow.
    sealed: Option<AccessUnit>,
    /// The last picture that has started, including skipped ones.
    last_picture: Option<PictureId>,
    delimiters: Delimiters,
    /// The SPS of the last key frame, until a picture is dropped.
    active: Option<u8>,
    confidence: DecodeConfidence,
    flushes: Flushes,
    /// Why pictures were dropped after the last one that was delivered.
    lack: Option<Lack>,
    likeness: Likeness,
    /// The number of bytes read from the stream.
    read: u64,
}

/// The current NAL unit.
enum Unit {
    /// None, or one that is dropped.
    Ignored,
    /// No byte of it has come.
    Empty,
    /// A slice, of which only this header byte has come.
    SliceHeader(u8),
    /// The last slice of `slices`.
    Slice,
    /// The first slice of a skipped picture.
    Skipped,
    Sps,
    Pps,
}

/// The current picture.
struct PictureState {
    idr: bool,
    /// The id of its SPS, and its own, once a slice is complete.
    refers_to: Option<(u8, PictureId)>,
    slices: u32,
}

impl AnnexB {
    /// A parser that starts at byte `read` of the stream, and returns `unless_h264` if the stream turns out
    /// not to be H.264.
    pub fn new(read: u64, unless_h264: StreamError) -> AnnexB {
        AnnexB {
            codes: StartCodes::new(),
            unit: Unit::Ignored,
            unit_at: 0,
            lead_at: None,
            sets: ParameterSets::default(),
            set: Vec::new(),
            slices: AccessUnit::default(),
            picture: None,
            sealed: None,
            last_picture: None,
            delimiters: Delimiters::default(),
            active: None,
            confidence: DecodeConfidence::default(),
            flushes: Flushes::default(),
            lack: None,
            likeness: Likeness::new(unless_h264),
            read,
        }
    }

    /// Parses the next bytes of the stream.
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

    /// Handles a pause of the stream: completes the current picture if it looks complete, and the source
    /// never pauses within a picture.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn handle_pause(&mut self, out: &mut ParserOutput) -> Result<(), StreamError> {
        let slices = self.slices_so_far();
        if !self.flushes.handle_pause(slices, self.read) {
            return Ok(());
        }
        if let Unit::Slice = self.unit {
            self.codes.end_unit();
            self.end_unit(out)?;
        }
        if self.complete(out) {
            self.flushes.open();
        }
        Ok(())
    }

    /// The number of slices of the current picture, if it may end here.
    fn slices_so_far(&self) -> Option<u32> {
        match (&self.picture, &self.unit) {
            (None, _) | (_, Unit::Empty | Unit::SliceHeader(_)) => None,
            (Some(picture), Unit::Slice) => Some(picture.slices + 1),
            (Some(picture), _) => Some(picture.slices),
        }
    }

    /// Handles the end of the stream: completes the current picture.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(&mut self, out: &mut ParserOutput) -> Result<(), StreamError> {
        self.codes.end_unit();
        self.end_unit(out)?;
        self.complete(out);
        Ok(())
    }

    /// What is missing for the next picture.
    pub fn lacks(&self) -> Option<Lack> {
        self.likeness.lacks().or(self.lack)
    }

    /// The bytes of allocated memory.
    #[cfg(feature = "testing")]
    pub fn bytes(&self) -> usize {
        let sealed = self.sealed.as_ref().map_or(0, AccessUnit::allocated_bytes);
        self.slices.allocated_bytes() + sealed + self.set.capacity() + self.sets.bytes()
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
                Unit::Slice if self.slices.data().len() + bytes.len() > ACCESS_UNIT_MAX_BYTES => {
                    out.counters.oversized += 1;
                    self.note_lack(Lack::SmallerKeyFrame);
                    self.drop_picture();
                    return;
                }
                Unit::Slice => {
                    self.flushes.note_more();
                    self.slices.extend_last(bytes);
                    return;
                }
                Unit::Skipped => {
                    let room = SKIPPED_SLICE_BYTES.saturating_sub(self.set.len());
                    self.set.extend_from_slice(&bytes[..room.min(bytes.len())]);
                    return;
                }
                Unit::Sps | Unit::Pps => {
                    // One byte beyond the limit shows that it is exceeded.
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
            // It is not known which parameter sets it refers to.
            self.drop_damaged(out);
            return;
        } else if self.picture.as_ref().is_none_or(|picture| picture.idr != idr) {
            // A further slice of a skipped picture, or of one whose first slice was lost.
            self.complete(out);
            match self.active {
                Some(_) => self.drop_damaged(out),
                None => self.note_skipped(),
            }
            return;
        }
        self.flushes.note_more();
        self.slices.push(&[header, second]);
        self.unit = Unit::Slice;
    }

    fn end_unit(&mut self, out: &mut ParserOutput) -> Result<(), StreamError> {
        match std::mem::replace(&mut self.unit, Unit::Ignored) {
            Unit::Slice => self.end_slice(out)?,
            Unit::SliceHeader(_) => self.drop_damaged(out),
            Unit::Skipped => self.end_skipped_slice()?,
            Unit::Sps => {
                self.seal_for_new_set(out);
                let taken = self.sets.take_sps(&self.set);
                if taken != Stored::Unreadable {
                    self.likeness.confirm();
                }
                match taken {
                    // Pictures refer to the previous SPS until the next key frame.
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
    fn end_slice(&mut self, out: &mut ParserOutput) -> Result<(), StreamError> {
        let Some(picture) = &mut self.picture else { return Ok(()) };
        let slice = self.slices.last().unwrap_or_default();
        let Some(header) = SliceHeader::parse(slice, &self.sets) else {
            self.drop_damaged(out);
            return Ok(());
        };
        let Some((sps_id, id)) = header.refers_to else {
            if picture.idr && matches!(header.kind, SliceKind::P | SliceKind::I) {
                // Its parameter sets came before the start of the parser.
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
                self.confidence.doubt(error)?;
                self.drop_damaged(out);
                return Ok(());
            }
        } else if picture.refers_to.as_ref().is_none_or(|of| *of != (sps_id, id.clone())) {
            // It belongs to another picture, whose first slice was lost.
            self.slices.pop();
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

    /// Checks whether a skipped picture shows that browsers do not decode the stream.
    fn end_skipped_slice(&mut self) -> Result<(), StreamError> {
        let header = SliceHeader::parse(&self.set, &self.sets);
        let Some(SliceHeader { kind, refers_to: Some((_, id)) }) = header else { return Ok(()) };
        let former = self.last_picture.replace(id.clone());
        match kind {
            SliceKind::B if former.is_some_and(|former| id.may_follow(&former)) => {
                self.confidence.doubt(StreamError::BFrames)
            }
            _ => Ok(()),
        }
    }

    /// Delivers the current picture. Returns whether there was one.
    fn complete(&mut self, out: &mut ParserOutput) -> bool {
        self.seal(out);
        let Some(unit) = self.sealed.take() else { return false };
        self.lack = None;
        self.likeness.confirm();
        out.add(ParsedItem::AccessUnit(unit));
        true
    }

    /// Seals the current picture before a parameter set that is new, which may belong to the next picture.
    fn seal_for_new_set(&mut self, out: &mut ParserOutput) {
        if !self.sets.has(&self.set) {
            self.seal(out);
        }
    }

    /// Makes an access unit of the current picture and the parameter sets that have come so far. It gets no
    /// more slices.
    fn seal(&mut self, out: &mut ParserOutput) {
        let Some(picture) = self.picture.take() else { return };
        let Some((sps_id, _)) = picture.refers_to else { return };
        let mut unit = AccessUnit::default();
        if picture.idr {
            self.sets.write_all(sps_id, &mut unit);
            self.active = Some(sps_id);
            self.confidence.note_keyframe();
            if let Some((sps, size)) = self.sets.sps(sps_id) {
                out.info.size = Some(size);
                out.info.frame_rate = sps.frame_rate;
                out.info.profile_level_id = Some(sps.profile_level_id());
                out.info.reorders = sps.max_num_reorder_frames.is_some_and(|frames| frames > 0);
            }
        } else {
            self.sets.write_changed(sps_id, &mut unit);
        }
        unit.append(&self.slices);
        self.slices.clear();
        self.flushes.note_picture(picture.slices, picture.idr);
        self.sealed = Some(unit);
    }

    pub fn drop_damaged(&mut self, out: &mut ParserOutput) {
        out.counters.damaged += 1;
        self.note_lack(Lack::IntactKeyFrame);
        self.drop_picture();
    }

    /// Sets why the current picture is dropped: `of_keyframe` if it is a key frame.
    fn note_lack(&mut self, of_keyframe: Lack) {
        let idr = self.picture.as_ref().is_some_and(|picture| picture.idr);
        self.lack = Some(if idr { of_keyframe } else { Lack::KeyFrame });
    }

    /// Sets why a picture was skipped that refers to a dropped key frame.
    fn note_skipped(&mut self) {
        self.lack = Some(match self.lack {
            _ if !self.sets.is_complete() => Lack::ParameterSets,
            Some(lack @ (Lack::IntactKeyFrame | Lack::SmallerKeyFrame)) => lack,
            _ => Lack::KeyFrame,
        });
    }

    /// Drops the current picture, and all that refer to it.
    fn drop_picture(&mut self) {
        self.picture = None;
        self.slices = AccessUnit::default();
        self.unit = Unit::Ignored;
        self.active = None;
        self.flushes.note_drop();
    }

    /// Handles more of a picture that was completed at a pause.
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
