//! State of the stream.

use super::SourceCause;
use crate::foreign::Foreign;

/// State of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceStatus {
    /// Nothing has come of it yet.
    Starting,
    Running,
    /// It was running, and nothing has come lately.
    Silent,
    /// There is nothing to show: why, and the words of others about it, which are not for everybody.
    Failed {
        cause: SourceCause,
        words: Option<Foreign>,
    },
}

impl SourceStatus {
    /// As in the statistics.
    pub fn name(&self) -> &'static str {
        match self {
            SourceStatus::Starting => "starting",
            SourceStatus::Running => "running",
            SourceStatus::Silent => "silent",
            SourceStatus::Failed { .. } => "failed",
        }
    }

    /// The cause with the words of others, if there are any.
    pub(crate) fn detail(&self) -> Option<String> {
        let SourceStatus::Failed { cause, words: Some(words) } = self else { return None };
        let verb = if matches!(cause, SourceCause::Stream(_)) { "begins with" } else { "wrote" };
        let words = words.to_string();
        Some(format!("{cause} It {verb}: {}.", words.trim_end_matches('.')))
    }
}
