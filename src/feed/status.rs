//! State of the stream.

use super::Cause;
use crate::foreign::Foreign;

/// State of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nothing has come of it yet.
    Starting,
    Running,
    /// It was running, and nothing has come lately.
    Silent,
    /// There is nothing to show: why, and the words of others about it, which are not for everybody.
    Failed {
        cause: Cause,
        words: Option<Foreign>,
    },
}

impl Status {
    /// As in the statistics.
    pub fn name(&self) -> &'static str {
        match self {
            Status::Starting => "starting",
            Status::Running => "running",
            Status::Silent => "silent",
            Status::Failed { .. } => "failed",
        }
    }

    /// The cause with the words of others, if there are any.
    pub(super) fn detail(&self) -> Option<String> {
        let Status::Failed { cause, words: Some(words) } = self else { return None };
        let verb = if matches!(cause, Cause::Stream(_)) { "begins with" } else { "wrote" };
        let words = words.to_string();
        Some(format!("{cause} It {verb}: {}.", words.trim_end_matches('.')))
    }
}
