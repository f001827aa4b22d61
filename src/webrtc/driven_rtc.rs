//! An `Rtc`, and its rule: after each change, take its outputs until none is left.

use std::ops::Deref;
use std::time::{Duration, Instant};

use str0m::net::Transmit;
use str0m::{Event, Input, Output, Rtc, RtcError};

/// A deadline in the past is put off by this much, so that the loop never spins.
const SMALLEST_WAIT: Duration = Duration::from_millis(1);
/// How many deadlines in the past one drain handles before it puts them off.
const MAX_DUE_DEADLINES: usize = 8;
/// How many errors one drain takes before it stops until the next input.
const MAX_ERRORS: usize = 8;

pub struct DrivenRtc {
    /// Boxed: it is 10 kB, and tables of viewers are moved.
    rtc: Box<Rtc>,
    /// When the `Rtc` wants to be called.
    deadline: Instant,
    /// Deadlines in the past, and errors, that the drain under way has met.
    due: usize,
    errors: usize,
}

/// An output of the `Rtc`.
#[expect(clippy::large_enum_variant, reason = "it is handled at once, and never stored")]
pub enum RtcOutput {
    Transmit(Transmit),
    Event(Event),
    Error(RtcError),
}

impl DrivenRtc {
    pub fn new(rtc: Rtc, now: Instant) -> DrivenRtc {
        DrivenRtc { rtc: Box::new(rtc), deadline: now, due: 0, errors: 0 }
    }

    /// Begins a drain, which [`poll`](Self::poll) goes on with until `None`. The `Rtc` can be changed.
    pub fn begin_drain(&mut self) -> &mut Rtc {
        (self.due, self.errors) = (0, 0);
        &mut self.rtc
    }

    /// Changes the `Rtc` while it is drained.
    pub fn within_drain(&mut self) -> &mut Rtc {
        &mut self.rtc
    }

    /// The next output of the drain.
    pub fn poll(&mut self, now: Instant) -> Option<RtcOutput> {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => return Some(RtcOutput::Transmit(transmit)),
                Ok(Output::Event(event)) => return Some(RtcOutput::Event(event)),
                Ok(Output::Timeout(deadline)) if deadline > now => {
                    self.deadline = deadline;
                    return None;
                }
                Ok(Output::Timeout(_)) if self.due < MAX_DUE_DEADLINES && self.rtc.is_alive() => {
                    self.due += 1;
                    if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
                        log::debug!("str0m: {error}");
                    }
                }
                Err(error) if self.errors < MAX_ERRORS => {
                    self.errors += 1;
                    return Some(RtcOutput::Error(error));
                }
                Ok(Output::Timeout(_)) | Err(_) => {
                    self.deadline = now + SMALLEST_WAIT;
                    return None;
                }
            }
        }
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// Reading changes nothing, and needs no drain.
impl Deref for DrivenRtc {
    type Target = Rtc;

    fn deref(&self) -> &Rtc {
        &self.rtc
    }
}
