//! The blocking call of the loop, and its errors.

use std::io;
use std::time::Duration;

use mio::{Events, Poll, Registry};

use super::errors::{Warnings, is_permanent, is_transient};
use super::ready::RETRY_AFTER;

pub struct Poller {
    poll: Poll,
    /// Consecutive waits that failed.
    failures: u32,
}

impl Poller {
    pub fn new() -> io::Result<Poller> {
        Ok(Poller { poll: Poll::new()?, failures: 0 })
    }

    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Waits for events, at most this long. Returns early, without events, if the wait fails: the caller waits
    /// again.
    ///
    /// # Errors
    /// Every wait will fail.
    pub fn wait(
        &mut self,
        events: &mut Events,
        limit: Option<Duration>,
        warnings: &mut Warnings,
    ) -> io::Result<()> {
        let Err(error) = self.poll.poll(events, limit) else {
            self.failures = 0;
            return Ok(());
        };
        if is_permanent(&error) {
            return Err(error);
        }
        if !is_transient(&error) {
            warnings.warn(&error, "waiting for events failed, retrying");
        }
        // A single failure is a signal that has interrupted the wait and is to be handled.
        self.failures += 1;
        if self.failures > 1 {
            std::thread::sleep(RETRY_AFTER);
        }
        Ok(())
    }
}
