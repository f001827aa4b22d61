//! Our own connectivity checks that are in flight (RFC 8445, section 7.2).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::webrtc::{TransId, ViewerId};

/// The newest checks of one viewer that may still be answered: one for each of its addresses and each of
/// ours, and some that are repeated.
const CHECKS_PER_VIEWER: usize = 64;

/// The checks in flight of all viewers.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// The viewer that a check is for, and where it was sent.
    by_transaction: BTreeMap<TransId, (ViewerId, SocketAddr)>,
    /// Oldest first.
    by_viewer: BTreeMap<ViewerId, VecDeque<TransId>>,
}

impl Checks {
    /// A check is on its way. The oldest of the viewer is forgotten where there are too many.
    pub(crate) fn add(&mut self, id: ViewerId, transaction: TransId, to: SocketAddr) {
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
    pub(crate) fn viewer_of(&self, transaction: TransId, source: SocketAddr) -> Option<ViewerId> {
        let (id, destination) = self.by_transaction.get(&transaction)?;
        (*destination == source).then_some(*id)
    }

    /// A check is answered. Returns its viewer, and where the check went.
    pub(crate) fn complete(&mut self, transaction: TransId) -> Option<(ViewerId, SocketAddr)> {
        let (id, to) = self.by_transaction.remove(&transaction)?;
        if let Some(checks) = self.by_viewer.get_mut(&id) {
            checks.retain(|check| *check != transaction);
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

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn a_response_counts_only_from_where_the_check_went() {
        let (mut checks, [check, other]) = (Checks::default(), [TransId::new(), TransId::new()]);
        checks.add(VIEWER, check, address(1));
        assert_eq!(checks.viewer_of(check, address(2)), None);
        assert_eq!(checks.viewer_of(other, address(1)), None);
        assert_eq!(checks.viewer_of(check, address(1)), Some(VIEWER));
        assert_eq!(checks.complete(check), Some((VIEWER, address(1))));
        assert_eq!(checks.complete(check), None);
    }

    #[test]
    fn the_oldest_check_of_a_viewer_makes_room() {
        let mut checks = Checks::default();
        let sent: Vec<TransId> = (0..=CHECKS_PER_VIEWER).map(|_| TransId::new()).collect();
        let of_another = TransId::new();
        checks.add(ViewerId(2), of_another, address(2));
        sent.iter().for_each(|check| checks.add(VIEWER, *check, address(1)));
        checks.check_invariants(|_| true);
        assert_eq!(checks.viewer_of(sent[0], address(1)), None);
        assert_eq!(checks.viewer_of(sent[1], address(1)), Some(VIEWER));
        checks.forget(VIEWER);
        assert_eq!(checks.viewer_of(sent[1], address(1)), None);
        assert_eq!(checks.viewer_of(of_another, address(2)), Some(ViewerId(2)));
        checks.check_invariants(|id| id == ViewerId(2));
    }
}
