//! The media servers that are published to, between their descriptors and the core.

use std::path::Path;
use std::time::Instant;

use mio::Token;
use rustix::process::Pid;

use super::TargetIo;
use crate::driver::Driver;
use crate::driver::children::{self, PROGRAM};
use crate::driver::encode::EncodePictures;
use crate::driver::tokens::TARGETS;
use crate::publish::{MAX_TARGETS, PublishCommand, TargetId};
use crate::server::Input;

/// Each target has a token for its connection, and the next one for its lookups.
const TOKENS_EACH: usize = 2;
const _: () = assert!(TARGETS.start + MAX_TARGETS * TOKENS_EACH <= TARGETS.end);

/// All that there can be. One that nobody publishes to has nothing open.
pub struct TargetLinks([TargetIo; MAX_TARGETS]);

impl TargetLinks {
    pub fn new() -> TargetLinks {
        TargetLinks(std::array::from_fn(|number| {
            let connection = TARGETS.start + number * TOKENS_EACH;
            let program = Path::new(PROGRAM);
            TargetIo::new(program, Token(connection), Token(connection + 1))
        }))
    }

    /// Reaps the lookups that have ended.
    pub fn reap(&mut self) {
        let lookups: Vec<Pid> = self.0.iter().flat_map(TargetIo::children).collect();
        for pid in lookups {
            if children::reap_one(pid) {
                self.note_reaped(pid);
            }
        }
    }

    pub fn note_reaped(&mut self, pid: Pid) {
        self.0.iter_mut().for_each(|io| io.note_reaped(pid));
    }
}

/// Whose a token is, and whether it is that of lookups.
fn owner(token: Token) -> Option<(TargetId, bool)> {
    let number = token.0.checked_sub(TARGETS.start)?;
    let id = TargetId(number / TOKENS_EACH);
    (id.0 < MAX_TARGETS).then_some((id, number % TOKENS_EACH == 1))
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
        let Some((id, false)) = owner(token) else { return };
        if let Some(report) = self.targets.0[id.0].write() {
            self.input(Input::Publish(id, report.event(&[])));
        }
    }

    /// Reads what there is of a target, once.
    pub(crate) fn read_target(&mut self, token: Token) {
        let Some((id, is_lookup)) = owner(token) else { return self.ready.remove(token) };
        let io = &mut self.targets.0[id.0];
        let mut buffer = std::mem::take(&mut self.buffer);
        let report = if is_lookup { io.read_lookup() } else { io.read(&mut buffer) };
        match &report {
            Some(report) => self.input(Input::Publish(id, report.event(&buffer))),
            None => self.ready.remove(token),
        }
        self.buffer = buffer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_two_tokens_of_its_own() {
        let owners: Vec<_> = (0..20).filter_map(|token| owner(Token(token))).collect();
        let each = |number| [(TargetId(number), false), (TargetId(number), true)];
        assert_eq!(owners, (0..MAX_TARGETS).flat_map(each).collect::<Vec<_>>());
        assert_eq!(owner(Token(TARGETS.start - 1)), None);
    }
}
