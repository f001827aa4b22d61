//! The status of the source.

use super::SourceCause;
use crate::foreign::Foreign;

/// The status of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceStatus {
    /// There was no picture yet.
    Starting,
    /// Nobody watches, and it is closed.
    Resting,
    Running,
    /// It was running, and the next picture is overdue.
    Silent,
    /// There is nothing to show. `words` is foreign text about it, which is not for everybody.
    Failed {
        cause: SourceCause,
        words: Option<Foreign>,
    },
}

impl SourceStatus {
    /// The name in the statistics.
    pub fn name(&self) -> &'static str {
        match self {
            SourceStatus::Starting => "starting",
            SourceStatus::Resting => "resting",
            SourceStatus::Running => "running",
            SourceStatus::Silent => "silent",
            SourceStatus::Failed { .. } => "failed",
        }
    }

    /// The cause with the foreign text, if there is any.
    pub(crate) fn detail(&self) -> Option<String> {
        let SourceStatus::Failed { cause, words: Some(words) } = self else { return None };
        let verb = if matches!(cause, SourceCause::Stream(_)) { "starts with" } else { "wrote" };
        let words = words.to_string();
        Some(format!("{cause} It {verb}: {}.", words.trim_end_matches('.')))
    }
}
