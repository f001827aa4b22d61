//! What viewers are told while there is no picture.

use std::time::Duration;

/// What is missing, for how long, and when it is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub sentence: String,
    pub duration: Duration,
    pub retry_in: Option<Duration>,
}

impl Missing {
    /// The words in the picture.
    pub fn lines(&self) -> [String; 3] {
        let retry = self.retry_in.map(|wait| format!("Next try in {} s.", wait.as_secs() + 1));
        let duration = format!("For {} s.", self.duration.as_secs());
        [self.sentence.clone(), duration, retry.unwrap_or_default()]
    }
}
