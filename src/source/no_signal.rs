//! Why there is no picture, for viewers and programs.

use std::time::{Duration, Instant};

use super::{Source, SourceKind, SourceStatus};

/// Why there is no picture, for how long, and when the source is opened again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSignal {
    /// For everybody: only our own words and numbers.
    pub sentence: String,
    /// The same with foreign text, if there is any: only for clients that have shown the token.
    pub detail: Option<String>,
    pub duration: Duration,
    pub retry_in: Option<Duration>,
}

impl NoSignal {
    /// The lines of text in the picture.
    pub fn lines(&self) -> [String; 3] {
        let retry = self.retry_in.map(|wait| format!("Next attempt in {} s.", wait.as_secs() + 1));
        let duration = format!("For {} s.", self.duration.as_secs());
        [self.sentence.clone(), duration, retry.unwrap_or_default()]
    }
}

impl Source {
    /// Why there is no picture; `None` while there is one.
    pub fn no_signal(&self, now: Instant) -> Option<NoSignal> {
        Some(NoSignal {
            sentence: self.sentence()?,
            detail: self.status.detail(),
            duration: now.saturating_duration_since(self.status_since),
            retry_in: self.open_at.map(|at| at.saturating_duration_since(now)),
        })
    }

    /// The reason in one sentence, the same on the page, in the picture, in the log and in all APIs.
    pub(crate) fn sentence(&self) -> Option<String> {
        Some(match (&self.status, self.config.kind) {
            (SourceStatus::Running, _) => return None,
            (SourceStatus::Resting, _) => "The camera rests while nobody watches.".into(),
            (SourceStatus::Failed { cause, .. }, SourceKind::Camera) => cause.of_camera(),
            (SourceStatus::Failed { cause, .. }, _) => cause.to_string(),
            (SourceStatus::Silent, SourceKind::Camera) => "The camera sends no pictures.".into(),
            (SourceStatus::Starting, SourceKind::Camera) => "The camera is starting.".into(),
            (SourceStatus::Silent, SourceKind::Command) => "The command sends no pictures.".into(),
            (SourceStatus::Silent, _) => {
                "The program that writes to the stream sends no pictures.".into()
            }
            (SourceStatus::Starting, SourceKind::Command) => "The command is starting.".into(),
            (SourceStatus::Starting, SourceKind::File) => "The file is being opened.".into(),
            (SourceStatus::Starting, SourceKind::Stdin | SourceKind::Fifo) => {
                "Waiting for a program to write a picture.".into()
            }
        })
    }
}
