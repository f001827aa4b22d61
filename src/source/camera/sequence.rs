//! Finds pictures that were lost, by the numbers of the buffers.
//!
//! `uvcvideo` drops a picture with an error on the USB bus, or for which no buffer is free, without a word: the
//! number of the next buffer is higher by more than one.

/// The numbers of the buffers of one stream.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    last: Option<u32>,
    /// Gaps since a number has followed on the one before.
    gaps: u32,
}

/// After so many gaps in a row, the driver counts otherwise, and nothing is known of losses.
const GAPS_MAX: u32 = 8;

impl Sequence {
    /// Records the number of a buffer. Returns whether pictures before it were lost.
    pub fn note(&mut self, number: u32) -> bool {
        let step = self.last.replace(number).map(|last| number.wrapping_sub(last));
        let is_gap = step.is_some_and(|step| (2..u32::MAX / 2).contains(&step));
        self.gaps = if is_gap { self.gaps.saturating_add(1) } else { 0 };
        is_gap && self.gaps <= GAPS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(numbers: &[u32]) -> Vec<u32> {
        let mut sequence = Sequence::default();
        numbers.iter().copied().filter(|number| sequence.note(*number)).collect()
    }

    #[test]
    fn a_gap_between_numbers_is_a_loss_where_a_driver_counts_by_one() {
        assert_eq!(losses(&[5, 6, 8, 9, 12]), [8, 12]);
        assert_eq!(losses(&[u32::MAX - 1, u32::MAX, 0, 2]), [2], "they wrap");
        assert!(losses(&[0, 1, 2, 0, 1]).is_empty(), "they begin again");
        let twos: Vec<u32> = (0..40).map(|number| 2 * number).collect();
        assert_eq!(losses(&twos).len(), 8, "another way to count");
        assert!(losses(&[0, 0, 0]).is_empty());
    }
}
