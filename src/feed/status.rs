//! How it is with a stream.

/// How it is with the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nothing has come of it yet.
    Starting,
    Running,
    /// It was running, and nothing has come lately.
    Silent,
    /// There is nothing to show, for the reason that the sentence says.
    Failed(String),
}

impl Status {
    /// As in the statistics.
    pub fn name(&self) -> &'static str {
        match self {
            Status::Starting => "starting",
            Status::Running => "running",
            Status::Silent => "silent",
            Status::Failed(_) => "failed",
        }
    }
}
