//! The recent log messages about the stream, so that repeated ones are suppressed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The shortest time between two identical messages.
const REPEAT_AFTER: Duration = Duration::from_secs(60);
/// A failing source may alternate between a few sentences.
const SENTENCES: usize = 8;

/// The last messages, and when each was logged.
#[derive(Debug, Default)]
pub struct Journal(VecDeque<(String, Instant)>);

impl Journal {
    /// Whether a message should be logged now.
    pub fn is_news(&mut self, now: Instant, sentence: &str) -> bool {
        let known = self.0.iter_mut().find(|(known, _)| known == sentence);
        if let Some((_, logged_at)) = known {
            let is_due = now >= *logged_at + REPEAT_AFTER;
            if is_due {
                *logged_at = now;
            }
            return is_due;
        }
        if self.0.len() == SENTENCES {
            self.0.pop_front();
        }
        self.0.push_back((sentence.to_owned(), now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sentence_is_news_once_a_minute() {
        let start = Instant::now();
        let mut journal = Journal::default();
        let news = (0..1_800).filter(|tenth: &u32| {
            let now = start + *tenth * Duration::from_millis(100);
            journal.is_news(now, ["it ended", "it runs"][*tenth as usize % 2])
        });
        assert_eq!(news.count(), 6, "two sentences in three minutes");
        assert!((0..100).all(|n: u32| journal.is_news(start, &n.to_string())));
        assert!(journal.0.len() <= SENTENCES);
    }
}
