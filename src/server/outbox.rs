//! What the parts of the server write to: effects, first in, first out, and deadlines.

use std::collections::VecDeque;
use std::time::Instant;

use super::timers::Timers;
use super::{ConnId, Output};
use crate::publish::TargetId;
use crate::webrtc::ViewerId;

/// What is due at a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Frame,
    Source,
    Target(TargetId),
    Viewer(ViewerId),
    Connection(ConnId),
    File,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    outputs: VecDeque<Output>,
    timers: Timers<Timer>,
}

impl Outbox {
    pub(crate) fn new() -> Outbox {
        Outbox { outputs: VecDeque::new(), timers: Timers::new() }
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Replaces a deadline; `None` removes it.
    pub(crate) fn set_timer(&mut self, timer: Timer, deadline: Option<Instant>) {
        self.timers.set(timer, deadline);
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    /// Removes and returns the earliest timer that is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        self.timers.take_due(now)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// How many deadlines are set.
    pub(crate) fn timers(&self) -> usize {
        self.timers.len()
    }
}
