//! The media servers that are published to, between their descriptors and the core.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use mio::{Registry, Token, Waker};

use super::TargetIo;
use crate::driver::Driver;
use crate::driver::encode::EncodePictures;
use crate::driver::tokens::{LOOKUPS, TARGETS};
use crate::publish::{MAX_TARGETS, PublishCommand, TargetId};
use crate::server::Input;

const _: () = assert!(TARGETS.start + MAX_TARGETS <= TARGETS.end);

/// All that there can be. One that nobody publishes to has nothing open.
pub struct TargetLinks([TargetIo; MAX_TARGETS]);

impl TargetLinks {
    /// # Errors
    /// The poll takes no waker.
    pub fn new(registry: &Registry) -> io::Result<TargetLinks> {
        let waker = Arc::new(Waker::new(registry, LOOKUPS)?);
        Ok(TargetLinks(std::array::from_fn(|number| {
            TargetIo::new(Token(TARGETS.start + number), waker.clone())
        })))
    }
}

/// The target whose connection has this token.
fn owner(token: Token) -> Option<TargetId> {
    let number = token.0.checked_sub(TARGETS.start)?;
    (number < MAX_TARGETS).then_some(TargetId(number))
}

impl<S: EncodePictures> Driver<S> {
    /// Does for a target what the core wants, and tells what comes of it.
    pub(crate) fn publish(&mut self, id: TargetId, command: PublishCommand) {
        let Some(io) = self.targets.0.get_mut(id.0) else { return };
        let report = io.execute(command, self.poll.registry());
        if let Some(report) = report {
            self.server.handle_input(Instant::now(), Input::Publish(id, report.event(&[])));
            self.drain();
        }
    }

    pub(crate) fn write_target(&mut self, token: Token) {
        let Some(id) = owner(token) else { return };
        if let Some(report) = self.targets.0[id.0].write() {
            self.input(Input::Publish(id, report.event(&[])));
        }
    }

    /// Reads what there is of a target, once.
    pub(crate) fn read_target(&mut self, token: Token) {
        let Some(id) = owner(token) else { return self.ready.remove(token) };
        let mut buffer = std::mem::take(&mut self.buffer);
        match self.targets.0[id.0].read(&mut buffer) {
            Some(report) => self.input(Input::Publish(id, report.event(&buffer))),
            None => self.ready.remove(token),
        }
        self.buffer = buffer;
    }

    /// Reports the lookups that have returned.
    pub(crate) fn take_lookups(&mut self) {
        for id in (0..MAX_TARGETS).map(TargetId) {
            if let Some(report) = self.targets.0[id.0].take_lookup() {
                self.input(Input::Publish(id, report.event(&[])));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_token_of_its_own() {
        let owners: Vec<_> = (0..20).filter_map(|token| owner(Token(token))).collect();
        assert_eq!(owners, (0..MAX_TARGETS).map(TargetId).collect::<Vec<_>>());
        assert_eq!(owner(Token(TARGETS.start - 1)), None);
    }
}
