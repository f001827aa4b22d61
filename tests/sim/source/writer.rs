//! What those who write a stream do: pictures in pieces, and what goes wrong with them.

use std::time::{Duration, Instant};

use ballcast::testing::source::SourceKind;

use super::stream::{Format, Stream, Written, b_frame, without_keyframes};
use super::{Begun, End, FOREVER, FarEnd, Piece, READ_BYTES, Step, Told, Turn, Writer};
use crate::tally::{Fault, Tally};

/// Nobody writes a film of this size into a stream by mistake, but many have one as a file.
const WRONG_FILE_BYTES: usize = 20 << 20;
/// A writer of whole pictures may be trusted after so many.
const MAY_BE_TRUSTED_AFTER: u32 = 500;

impl FarEnd {
    pub(super) fn write(&mut self, now: Instant, tally: &mut Tally) -> Turn {
        let opening = self.opening;
        let Some(mut writer) = self.writer.take() else { return (vec![], vec![]) };
        let mut told = Vec::new();
        if let Some(piece) = writer.pieces.pop_front() {
            writer.is_bad |= piece.is_bad;
            told.push(Told::Bytes(piece));
        }
        if writer.pieces.is_empty() && writer.next_at < writer.ends_at {
            self.write_pictures(now, &mut writer, tally);
        }
        let next = match writer.pieces.front() {
            Some(piece) => (piece.wait, Step::Write(opening)),
            None => (writer.ends_at.saturating_duration_since(now), Step::End(opening)),
        };
        self.writer = Some(writer);
        (told, vec![next])
    }

    /// Puts the next picture, or several at once, into the pieces in which they come.
    fn write_pictures(&mut self, now: Instant, writer: &mut Writer, tally: &mut Tally) {
        let options = self.options.clone();
        let mut happens = |share: f64, fault: Fault| {
            let happens = self.is_faulty && self.rng.f64() < share;
            if happens {
                tally.fault(fault);
            }
            happens
        };
        let burst = happens(options.bursts, Fault::StreamBurst);
        let stall = happens(options.stalls, Fault::StreamStalled);
        let is_cut = happens(options.cuts, Fault::StreamCut);
        let is_first = !writer.stream.has_begun();
        let may_be_damaged = options.format != Format::Raw && (!is_first || options.repeats_sets);
        let damage = may_be_damaged && happens(options.damage, Fault::StreamDamaged);
        let count = if burst { self.rng.u32(2..10) } else { 1 };
        let mut pictures = Vec::new();
        for _ in 0..count {
            let changes = self.is_faulty && self.rng.f64() < options.changes;
            if changes {
                tally.fault(Fault::StreamChanges);
            }
            self.pictures += 1;
            pictures
                .push((self.pictures, writer.stream.next(self.pictures, changes, &mut self.rng)));
            writer.next_at += options.period();
        }
        let mut wait = (writer.next_at - options.period()).saturating_duration_since(now);
        let mut pieces = in_one_piece(&pictures);
        if damage {
            pieces = vec![self.damage(pieces.remove(0), &pictures)];
        }
        let stall = if stall { self.milliseconds(8_000) } else { Duration::ZERO };
        writer.next_at += stall;
        if is_cut {
            let most = [1, 2, 2, 30][self.rng.usize(..4)];
            pieces = self.cut(pieces.remove(0), most);
        }
        // Between pictures, or in the middle of one.
        let stalled = if self.rng.bool() { 0 } else { self.rng.usize(..pieces.len()) };
        for (index, piece) in pieces.iter_mut().enumerate() {
            piece.wait += wait;
            wait = Duration::ZERO;
            if index == stalled {
                piece.wait += stall;
            }
            piece.is_bad |= index > 0 && writer.whole_pictures >= MAY_BE_TRUSTED_AFTER;
        }
        writer.whole_pictures = if pieces.len() > 1 { 0 } else { writer.whole_pictures + count };
        writer.pieces.extend(pieces.into_iter().flat_map(in_reads));
    }

    /// Bytes are lost, or others come between them.
    fn damage(&mut self, mut piece: Piece, pictures: &[(u64, Written)]) -> Piece {
        let index = self.rng.usize(..pictures.len());
        let start: usize = pictures[..index].iter().map(|(_, it)| it.bytes.len()).sum();
        let at = start + self.rng.usize(pictures[index].1.head..=pictures[index].1.bytes.len());
        piece.is_bad = true;
        let mut until = at;
        if self.rng.bool() {
            until = (at + self.rng.usize(1..300)).min(piece.bytes.len());
            piece.bytes.drain(at..until);
        } else {
            let garbage: Vec<u8> = (0..self.rng.usize(1..200)).map(|_| self.rng.u8(..)).collect();
            piece.bytes.splice(at..at, garbage);
        }
        let mut end = 0;
        for (begun, (_, written)) in piece.begins.iter_mut().zip(pictures) {
            let begin = end;
            end += written.bytes.len();
            begun.is_damaged = begin <= until && at <= end;
        }
        let damaged =
            |number: &u64| !piece.begins.iter().any(|b| b.number == *number && b.is_damaged);
        piece.completes.retain(damaged);
        piece
    }

    /// Cuts a piece anywhere, with pauses of up to `most` milliseconds.
    fn cut(&mut self, piece: Piece, most: u64) -> Vec<Piece> {
        let mut cuts: Vec<usize> =
            (0..self.rng.usize(1..5)).map(|_| self.rng.usize(..=piece.bytes.len())).collect();
        cuts.extend([0, piece.bytes.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let Piece { bytes, begins, mut completes, is_bad, .. } = piece;
        let mut begins = begins.into_iter().peekable();
        let count = cuts.len() - 1;
        let mut pieces = Vec::new();
        for (index, range) in cuts.windows(2).enumerate() {
            pieces.push(Piece {
                wait: if index == 0 { Duration::ZERO } else { self.milliseconds(most) },
                bytes: bytes[range[0]..range[1]].to_vec(),
                begins: std::iter::from_fn(|| {
                    begins.next_if(|begun| begun.head <= range[1] || index + 1 == count)
                })
                .collect(),
                completes: if index + 1 == count { std::mem::take(&mut completes) } else { vec![] },
                is_bad,
            });
        }
        pieces
    }

    pub(super) fn end_writer(&mut self, now: Instant, tally: &mut Tally) -> Turn {
        let Some(writer) = self.writer.as_mut() else {
            // A named pipe that nobody has written to.
            self.is_open = false;
            return (vec![Told::Ended], vec![]);
        };
        let end = writer.end;
        let mut told = Vec::new();
        if matches!(end, End::Leaves | End::Closes | End::LeavesOpen) && self.rng.bool() {
            // In the middle of a picture.
            self.pictures += 1;
            let number = self.pictures;
            let Written { mut bytes, keyframe, head } =
                writer.stream.next(number, false, &mut self.rng);
            bytes.truncate(self.rng.usize(head..=bytes.len()).min(bytes.len() - 1).min(READ_BYTES));
            let begins = vec![Begun { number, keyframe, is_damaged: true, head }];
            told.push(Told::Bytes(Piece { bytes, begins, is_bad: true, ..Piece::default() }));
        }
        match (end, self.options.kind) {
            (End::Leaves, SourceKind::Command) => {
                told.push(Told::Ended);
                self.close();
                let wait = self.milliseconds(50);
                return (told, vec![(wait, Step::Exit(self.opening))]);
            }
            (End::LeavesOpen, _) => {
                tally.fault(Fault::CommandLeavesOpen);
                (self.is_open, self.process, self.writer) = (false, None, None);
                told.push(Told::Exited);
            }
            (End::Closes, _) => {
                tally.fault(Fault::CommandRunsOn);
                told.push(Told::Ended);
                self.close();
            }
            (End::Hangs, _) => {
                tally.fault(Fault::StreamHangs);
                self.writer = None;
            }
            (End::Leaves, _) => {
                tally.fault(Fault::StreamEnds);
                told.push(Told::Ended);
                self.close();
            }
            (End::ReadError, _) => {
                tally.fault(Fault::StreamReadError);
                told.push(Told::Failed);
                self.close();
            }
            (End::BFrame, kind) => {
                tally.fault(Fault::StreamBFrame);
                self.pictures += 1;
                let bytes = [b_frame(self.pictures), b_frame(self.pictures)].concat();
                told.push(Told::Bytes(Piece { bytes, is_bad: true, ..Piece::default() }));
                (writer.end, writer.is_bad) = (End::Leaves, true);
                // A command is ended for it.
                let more =
                    if kind == SourceKind::Command { FOREVER } else { Duration::from_secs(4) };
                (writer.next_at, writer.ends_at) = (now + self.options.period(), now + more);
                return (told, vec![(self.options.period(), Step::Write(self.opening))]);
            }
        }
        (told, vec![])
    }

    /// Writes a file, which is read piece by piece.
    pub(super) fn lay_out_file(&mut self, fate: u8, tally: &mut Tally) -> Turn {
        let mut stream = Stream::new(&self.options, &mut self.rng);
        match fate {
            1 => tally.fault(Fault::StreamMute),
            2 | 3 => {
                tally.fault(Fault::StreamWrongFormat);
                let bytes = match self.options.format {
                    Format::H264 => without_keyframes(READ_BYTES),
                    _ => vec![b'?'; READ_BYTES],
                };
                let piece = || Piece { bytes: bytes.clone(), is_bad: true, ..Piece::default() };
                self.unread = (0..WRONG_FILE_BYTES / READ_BYTES).map(|_| piece()).collect();
            }
            _ => {
                let most = [64, 1_000, READ_BYTES][self.rng.usize(..3)];
                for _ in 0..self.rng.u32(5..100) {
                    self.pictures += 1;
                    let written = stream.next(self.pictures, false, &mut self.rng);
                    let piece = in_one_piece(&[(self.pictures, written)]).remove(0);
                    let pieces = match piece.bytes.len() > most {
                        true => self.cut(piece, 1),
                        false => vec![piece],
                    };
                    self.unread.extend(pieces);
                }
            }
        }
        (vec![Told::Opened], vec![])
    }

    /// The next bytes of a file.
    pub fn read(&mut self, tally: &mut Tally) -> Told {
        if self.is_faulty && self.rng.f64() < self.options.stalls {
            tally.fault(Fault::StreamReadError);
            self.close();
            return Told::Failed;
        }
        self.unread.pop_front().map_or(Told::Ended, Told::Bytes)
    }
}

fn in_one_piece(pictures: &[(u64, Written)]) -> Vec<Piece> {
    let mut bytes = 0;
    let begun = |(number, written): &(u64, Written)| {
        let head = bytes + written.head;
        bytes += written.bytes.len();
        Begun { number: *number, keyframe: written.keyframe, is_damaged: false, head }
    };
    vec![Piece {
        wait: Duration::ZERO,
        bytes: pictures.iter().flat_map(|(_, written)| written.bytes.clone()).collect(),
        begins: pictures.iter().map(begun).collect(),
        completes: pictures.iter().map(|(number, _)| *number).collect(),
        is_bad: false,
    }]
}

/// The reads that a piece takes.
fn in_reads(mut piece: Piece) -> Vec<Piece> {
    let mut reads = Vec::new();
    while piece.bytes.len() > READ_BYTES {
        let rest = piece.bytes.split_off(READ_BYTES);
        let completes = std::mem::take(&mut piece.completes);
        let is_bad = piece.is_bad;
        reads.push(piece);
        piece = Piece { bytes: rest, completes, is_bad, ..Piece::default() };
    }
    reads.push(piece);
    reads
}
