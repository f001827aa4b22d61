//! Limits retransmissions: enough to repair a burst of losses, but a flood of NACKs is not answered.

use std::time::Duration;

/// How long a packet can be retransmitted: as long as an interruption that leads to no key frame
/// (`INTERRUPTED_AFTER`). The number of packets is limited as well.
pub const MAX_AGE: Duration = Duration::from_millis(1_500);
/// One retransmission is allowed for this many packets.
const PACKETS_PER_RESEND: u32 = 5;
/// Retransmissions that are allowed at once.
const BURST: u32 = 64;
/// The most retransmissions of one drain beyond the budget. They are not sent, but str0m has encrypted
/// them.
const MAX_EXCESS: u32 = 64;

#[derive(Debug)]
pub struct ResendBudget {
    /// Each packet earns 1, and each retransmission costs `PACKETS_PER_RESEND`.
    credit: u32,
    /// Retransmissions beyond the budget in this drain.
    excess: u32,
}

/// Whether a retransmission is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    Send,
    Skip,
    /// Skip it, and drop all pending retransmissions.
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
