//! How much is sent once more: enough to repair a burst of losses, and no storm of NACK is answered.

use std::time::Duration;

/// How long a packet can be sent once more: as long as an interruption lasts that brings no key frame
/// (`INTERRUPTED_AFTER`). How many are kept is limited as well.
pub const MAX_AGE: Duration = Duration::from_millis(1_500);
/// One packet may be sent once more for each of so many that are sent.
const PACKETS_PER_RESEND: u32 = 5;
/// So many more at once.
const BURST: u32 = 64;
/// Retransmissions of one drain beyond what may be sent. They are not sent, but str0m has encrypted
/// them.
const MAX_EXCESS: u32 = 64;

#[derive(Debug)]
pub struct ResendBudget {
    /// In shares of a resend, of which each packet that is sent earns one.
    credit: u32,
    /// Beyond the budget, since this drain began.
    excess: u32,
}

/// What to do with a retransmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    Send,
    Skip,
    /// Skip it, and forget all that is still to be sent once more.
    Forget,
}

impl ResendBudget {
    pub fn new() -> ResendBudget {
        ResendBudget { credit: BURST * PACKETS_PER_RESEND, excess: 0 }
    }

    pub fn note_sent(&mut self, packets: u32) {
        let most = BURST * PACKETS_PER_RESEND;
        self.credit = self.credit.saturating_add(packets).min(most);
    }

    pub fn begin_drain(&mut self) {
        self.excess = 0;
    }

    pub fn take(&mut self) -> Resend {
        if let Some(rest) = self.credit.checked_sub(PACKETS_PER_RESEND) {
            self.credit = rest;
            return Resend::Send;
        }
        self.excess += 1;
        if self.excess == MAX_EXCESS { Resend::Forget } else { Resend::Skip }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_for_five_packets_and_a_storm_is_forgotten() {
        let mut budget = ResendBudget::new();
        let mut sent = |packets, asked| {
            budget.note_sent(packets);
            budget.begin_drain();
            (0..asked).filter(|_| budget.take() == Resend::Send).count()
        };
        assert_eq!(sent(0, 1_000), 64);
        assert_eq!(sent(50, 1_000), 10);
        assert_eq!(sent(4, 1_000), 0);
        budget.begin_drain();
        let storm: Vec<Resend> = (0..64).map(|_| budget.take()).collect();
        assert_eq!(storm.iter().position(|resend| *resend == Resend::Forget), Some(63));
    }
}
