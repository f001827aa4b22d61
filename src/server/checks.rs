//! Our own connectivity checks that are in flight (RFC 8445, section 7.2).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::webrtc::ViewerId;

/// The newest checks of one viewer that may still be answered: one for each of its addresses and each of
/// ours, and some that are repeated.
const CHECKS_PER_VIEWER: usize = 64;

/// A STUN transaction id (RFC 8489, section 6).
pub(crate) type TransactionId = [u8; 12];

/// The checks in flight of all viewers.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// The viewer that a check is for, and where it was sent.
    by_transaction: BTreeMap<TransactionId, (ViewerId, SocketAddr)>,
    /// Oldest first.
    by_viewer: BTreeMap<ViewerId, VecDeque<TransactionId>>,
}

impl Checks {
    /// A check is on its way. The oldest of the viewer is forgotten where there are too many.
    pub(crate) fn add(&mut self, id: ViewerId, transaction: TransactionId, to: SocketAddr) {
        if self.by_transaction.insert(transaction, (id, to)).is_some() {
            return;
        }
        let checks = self.by_viewer.entry(id).or_default();
        checks.push_back(transaction);
        if checks.len() > CHECKS_PER_VIEWER
            && let Some(oldest) = checks.pop_front()
        {
            self.by_transaction.remove(&oldest);
        }
    }

    /// The viewer whose check a response from `source` answers. A response has to come from where the
    /// check went (RFC 8445, section 7.2.5.2.1), or its sender could name any address.
    pub(crate) fn viewer_of(
        &self,
        transaction: &TransactionId,
        source: SocketAddr,
    ) -> Option<ViewerId> {
        let (id, destination) = self.by_transaction.get(transaction)?;
        (*destination == source).then_some(*id)
    }

    /// A check is answered. Returns its viewer, and where the check went.
    pub(crate) fn complete(
        &mut self,
        transaction: &TransactionId,
    ) -> Option<(ViewerId, SocketAddr)> {
        let (id, to) = self.by_transaction.remove(transaction)?;
        if let Some(checks) = self.by_viewer.get_mut(&id) {
            checks.retain(|check| check != transaction);
        }
        Some((id, to))
    }

    /// The viewer is gone.
    pub(crate) fn forget(&mut self, id: ViewerId) {
        for transaction in self.by_viewer.remove(&id).unwrap_or_default() {
            self.by_transaction.remove(&transaction);
        }
    }

    /// What must hold between any two inputs.
    ///
    /// # Panics
    /// If it does not, which is a bug of ours.
    pub(crate) fn check_invariants(&self, is_viewer: impl Fn(ViewerId) -> bool) {
        assert!(self.by_viewer.keys().all(|id| is_viewer(*id)));
        assert!(self.by_viewer.values().all(|checks| checks.len() <= CHECKS_PER_VIEWER));
        let checks = self.by_viewer.values().map(VecDeque::len).sum::<usize>();
        assert_eq!(self.by_transaction.len(), checks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEWER: ViewerId = ViewerId(1);

    fn transaction(number: u8) -> TransactionId {
        [number; 12]
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn a_response_counts_only_from_where_the_check_went() {
        let mut checks = Checks::default();
        checks.add(VIEWER, transaction(1), address(1));
        assert_eq!(checks.viewer_of(&transaction(1), address(2)), None);
        assert_eq!(checks.viewer_of(&transaction(2), address(1)), None);
        assert_eq!(checks.viewer_of(&transaction(1), address(1)), Some(VIEWER));
        assert_eq!(checks.complete(&transaction(1)), Some((VIEWER, address(1))));
        assert_eq!(checks.complete(&transaction(1)), None);
    }

    #[test]
    fn the_oldest_check_of_a_viewer_makes_room() {
        let mut checks = Checks::default();
        checks.add(ViewerId(2), transaction(200), address(2));
        for number in 0..=CHECKS_PER_VIEWER as u8 {
            checks.add(VIEWER, transaction(number), address(1));
        }
        checks.check_invariants(|_| true);
        assert_eq!(checks.viewer_of(&transaction(0), address(1)), None);
        assert_eq!(checks.viewer_of(&transaction(1), address(1)), Some(VIEWER));
        checks.forget(VIEWER);
        assert_eq!(checks.viewer_of(&transaction(1), address(1)), None);
        assert_eq!(checks.viewer_of(&transaction(200), address(2)), Some(ViewerId(2)));
        checks.check_invariants(|id| id == ViewerId(2));
    }
}
