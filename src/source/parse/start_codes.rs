//! Finds the NAL units of a byte stream (ITU-T H.264, B.1) that comes in pieces.

use memchr::memmem::Finder;

use crate::work;

/// The next piece of a byte stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The start of a NAL unit, and the end of the one before.
    Start,
    /// Bytes of the NAL unit. Trailing zero bytes are not part of it.
    Bytes(&'a [u8]),
    /// The end of the NAL unit.
    End,
    /// This many non-zero bytes outside of NAL units.
    Stray(usize),
}

/// Finds start codes. The only state is the number of pending zero bytes, which belong to a NAL unit or to a
/// start code.
#[derive(Debug)]
pub struct StartCodes {
    inside: bool,
    /// At most 2.
    zeros: usize,
    two_zeros: Finder<'static>,
}

const ZEROS: [u8; 2] = [0, 0];

impl StartCodes {
    pub fn new() -> StartCodes {
        StartCodes { inside: false, zeros: 0, two_zeros: Finder::new(&ZEROS) }
    }

    /// Takes the next piece from the front of `input`. `None` at its end.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        if self.inside { self.next_inside(input) } else { self.next_outside(input) }
    }

    /// Ends the NAL unit although the next one has not started.
    pub fn end_unit(&mut self) {
        self.inside = false;
    }

    fn next_inside<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        loop {
            work::step();
            let first = *input.first()?;
            match (self.zeros, first) {
                (0, _) => {
                    let bytes = self.until_zeros(input);
                    if !bytes.is_empty() {
                        return Some(Piece::Bytes(bytes));
                    }
                }
                (1, 0) => {
                    *input = &input[1..];
                    self.zeros = 2;
                }
                // NAL units end before three zero bytes (B.1.2).
                (_, 0) => {
                    *input = &input[1..];
                    self.inside = false;
                    return Some(Piece::End);
                }
                (2, 1) => {
                    *input = &input[1..];
                    self.zeros = 0;
                    return Some(Piece::Start);
                }
                (zeros, _) => {
                    self.zeros = 0;
                    return Some(Piece::Bytes(&ZEROS[..zeros]));
                }
            }
        }
    }

    /// Takes the bytes up to two zero bytes, or up to one at the end of the input, and the zero bytes.
    fn until_zeros<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let whole = *input;
        if let Some(at) = self.two_zeros.find(whole) {
            self.zeros = 2;
            *input = &whole[at + 2..];
            return &whole[..at];
        }
        *input = &[];
        match whole {
            [bytes @ .., 0] => {
                self.zeros = 1;
                bytes
            }
            bytes => bytes,
        }
    }

    fn next_outside<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        let mut stray = 0;
        while let Some((&first, rest)) = input.split_first() {
            if first == 1 && self.zeros == 2 && stray > 0 {
                break;
            }
            work::step();
            *input = rest;
            match first {
                0 => self.zeros = 2.min(self.zeros + 1),
                1 if self.zeros == 2 => {
                    self.inside = true;
                    self.zeros = 0;
                    return Some(Piece::Start);
                }
                _ => {
                    self.zeros = 0;
                    stray += 1;
                }
            }
        }
        (stray > 0).then_some(Piece::Stray(stray))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The NAL units and the stray bytes of a stream in pieces of this size.
    fn read(stream: &[u8], piece_bytes: usize) -> (Vec<Vec<u8>>, usize) {
        let mut codes = StartCodes::new();
        let (mut units, mut stray): (Vec<Vec<u8>>, usize) = (Vec::new(), 0);
        for mut input in stream.chunks(piece_bytes) {
            while let Some(piece) = codes.next(&mut input) {
                match piece {
                    Piece::Start => units.push(Vec::new()),
                    Piece::Bytes(bytes) => units.last_mut().unwrap().extend_from_slice(bytes),
                    Piece::End => {}
                    Piece::Stray(count) => stray += count,
                }
            }
        }
        (units, stray)
    }

    #[test]
    fn units_are_the_same_however_the_stream_is_cut() {
        let stream = [
            7, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 0, 2, 0, 0, 0, 1, 0x65, 0, 0, 3, 0, 0, 0, 0, 9,
            0, 0, 1, 0, 0, 1, 0x41, 0, 0, 2, 0,
        ];
        let units = [&[0x67, 1][..], &[0x68, 0, 2], &[0x65, 0, 0, 3], &[], &[0x41, 0, 0, 2]];
        for piece_bytes in 1..=stream.len() {
            let (found, stray) = read(&stream, piece_bytes);
            assert_eq!(found, units, "in pieces of {piece_bytes}");
            assert_eq!(stray, 2);
        }
    }

    #[test]
    fn zeros_and_ones_in_every_order_are_the_same_whole_and_cut() {
        for number in 0_u32..1 << 12 {
            let bytes: Vec<u8> = (0..12).map(|bit| (number >> bit) as u8 & 1).collect();
            let stream = [&[0, 0, 1, 0x41][..], &bytes, &[5]].concat();
            let whole = read(&stream, stream.len());
            assert_eq!(read(&stream, 1), whole, "{stream:?}");
            assert_eq!(read(&stream, 3), whole, "{stream:?}");
        }
    }
}
