//! The bits of a NAL unit's payload (ITU-T H.264, 7.2 and 9.1).

use crate::work;

/// Reads syntax elements from a NAL unit without its header byte. Skips each
/// `emulation_prevention_three_byte` (7.4.1). All methods return `None` after the end.
pub struct BitReader<'a> {
    rest: std::slice::Iter<'a, u8>,
    byte: u8,
    bits_left: u32,
    zeros: u32,
}

impl<'a> BitReader<'a> {
    pub fn new(payload: &'a [u8]) -> BitReader<'a> {
        BitReader { rest: payload.iter(), byte: 0, bits_left: 0, zeros: 0 }
    }

    /// `u(1)`.
    pub fn flag(&mut self) -> Option<bool> {
        work::step();
        self.bit().map(|bit| bit == 1)
    }

    /// `u(count)`, at most 32 bits.
    pub fn bits(&mut self, count: u32) -> Option<u32> {
        work::step();
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | self.bit()?;
        }
        Some(value)
    }

    /// `ue(v)`: an Exp-Golomb code.
    pub fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros == 32 {
                return None;
            }
        }
        Some((1_u32 << zeros) - 1 + self.bits(zeros)?)
    }

    /// `se(v)`: a signed Exp-Golomb code.
    pub fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code % 2 == 1 { (code + 1) / 2 } else { -code / 2 })
    }

    fn bit(&mut self) -> Option<u32> {
        if self.bits_left == 0 {
            self.byte = *self.rest.next()?;
            if self.zeros >= 2 && self.byte == 3 {
                self.zeros = 0;
                self.byte = *self.rest.next()?;
            }
            self.zeros = if self.byte == 0 { self.zeros + 1 } else { 0 };
            self.bits_left = 8;
        }
        self.bits_left -= 1;
        Some(u32::from(self.byte >> self.bits_left) & 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_are_those_of_table_9_2() {
        // 1 010 011 00100 00101 00110 00111 0001000
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1001_1000, 0b1110_0010, 0]);
        let codes: Vec<u32> = (0..8).map(|_| reader.ue().unwrap()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7]);
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<i64> = (0..5).map(|_| reader.se().unwrap()).collect();
        assert_eq!(codes, [0, 1, -1, 2, -2]);
    }

    #[test]
    fn the_longest_code_fits_and_a_longer_one_is_none() {
        let mut longest = vec![0, 0, 3, 0, 1];
        longest.extend([0xff; 4]);
        assert_eq!(BitReader::new(&longest).ue(), Some(u32::MAX - 1));
        assert_eq!(BitReader::new(&[0, 0, 3, 0, 0, 3, 0x80, 0, 0, 3, 0, 0]).ue(), None);
    }

    #[test]
    fn emulation_prevention_is_left_out_and_nothing_else_is() {
        let mut reader = BitReader::new(&[0, 0, 3, 1, 3, 0, 3, 0, 0, 3, 0, 0, 3]);
        let bytes: Vec<u32> = std::iter::from_fn(|| reader.bits(8)).collect();
        assert_eq!(bytes, [0, 0, 1, 3, 0, 3, 0, 0, 0, 0]);
    }
}
