//! Calls that block: a short-lived thread makes them, and wakes the loop.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use mio::Waker;

/// At most one call at a time. A call cannot be stopped; the exit of the process does not wait for it.
pub struct Blocking<T> {
    waker: Arc<Waker>,
    call: Option<Receiver<T>>,
}

impl<T: Send + 'static> Blocking<T> {
    /// A call that has returned wakes the poll with this waker.
    pub fn new(waker: Arc<Waker>) -> Blocking<T> {
        Blocking { waker, call: None }
    }

    /// Makes a call on a thread of this name.
    ///
    /// # Errors
    /// The system starts no thread, or the last call has not returned.
    pub fn start(
        &mut self,
        name: &str,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<()> {
        if self.call.is_some() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let (sender, result) = channel();
        let waker = self.waker.clone();
        thread::Builder::new().name(name.into()).spawn(move || {
            let _ = sender.send(call());
            // Fails only if the poll is gone.
            let _ = waker.wake();
        })?;
        self.call = Some(result);
        Ok(())
    }

    /// Whether a call has begun whose result was not taken.
    pub fn is_running(&self) -> bool {
        self.call.is_some()
    }

    /// What the call has returned, if it has.
    ///
    /// # Errors
    /// The call has panicked.
    pub fn take(&mut self) -> Option<io::Result<T>> {
        let result = match self.call.as_ref()?.try_recv() {
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(io::Error::other("a panic")),
            Ok(result) => Ok(result),
        };
        self.call = None;
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use mio::{Events, Poll, Token};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn a_call_that_has_returned_wakes_the_poll_and_one_that_panics_is_an_error() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut blocking = Blocking::new(waker);
        let (sender, wait) = channel();
        let call = move || {
            let is_good: bool = wait.recv_timeout(LIMIT).unwrap();
            assert!(is_good, "a planted panic");
            7
        };
        blocking.start("test", call).unwrap();
        assert!(blocking.take().is_none());
        assert!(blocking.start("test", || 8).is_err(), "one at a time");
        sender.send(true).unwrap();
        poll.poll(&mut Events::with_capacity(1), Some(LIMIT)).unwrap();
        assert_eq!(blocking.take().unwrap().unwrap(), 7);
        assert!(blocking.take().is_none());
        blocking.start("test", || panic!("a planted panic")).unwrap();
        let end = Instant::now() + LIMIT;
        let failed = std::iter::repeat_with(|| blocking.take()).find_map(|taken| {
            assert!(Instant::now() < end);
            taken
        });
        assert!(failed.unwrap().is_err());
    }
}
