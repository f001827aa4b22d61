//! Assigns the packets of all viewers to frames, and measures how late they arrive.
//!
//! The RTP timestamps of each viewer have a different offset, but all viewers get the same payloads.
//! A viewer is *anchored* when the last payload of one of its frames equals that of a frame known
//! from another viewer. Then the offset of its timestamps is known.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::time::{Duration, Instant};

/// Ten seconds at 30 frames a second. A packet that arrives later counts as lost.
const FRAMES_KEPT: usize = 300;
/// Older frames are not compared: payloads repeat when the ball passes the same points again.
const ANCHOR_WITHIN: Duration = Duration::from_secs(1);
const BUCKET: Duration = Duration::from_micros(20);
const BUCKETS: usize = 10_000;

#[derive(Default)]
pub struct Timeline {
    frames: VecDeque<Frame>,
    anchored: usize,
}

struct Frame {
    /// The RTP timestamp of the viewer that was anchored first.
    timestamp: u32,
    /// When its first packet reached any viewer.
    tick: Instant,
    digest: Option<u64>,
}

impl Timeline {
    /// The tick of the frame of a packet, for an anchored viewer.
    pub fn tick_of(&mut self, timestamp: u32, now: Instant) -> Instant {
        self.frame(timestamp, now).tick
    }

    /// Records the last payload of a frame of an anchored viewer.
    pub fn add_payload(&mut self, timestamp: u32, payload: &[u8], now: Instant) {
        let frame = self.frame(timestamp, now);
        if frame.digest.is_none() {
            frame.digest = Some(digest(payload));
        }
    }

    /// Tries to anchor a viewer with the last payload of a frame. Returns the offset of its timestamps
    /// if a known frame matches.
    pub fn anchor(&mut self, timestamp: u32, payload: &[u8], now: Instant) -> Option<u32> {
        let digest = digest(payload);
        if self.anchored == 0 {
            self.frames.clear();
            self.frames.push_back(Frame { timestamp, tick: now, digest: Some(digest) });
            self.anchored = 1;
            return Some(0);
        }
        let recent = self.frames.iter().rev().take_while(|f| f.tick + ANCHOR_WITHIN > now);
        let same = recent.into_iter().find(|frame| frame.digest == Some(digest))?;
        self.anchored += 1;
        Some(timestamp.wrapping_sub(same.timestamp))
    }

    /// Removes an anchored viewer.
    pub fn release(&mut self) {
        self.anchored -= 1;
    }

    fn frame(&mut self, timestamp: u32, now: Instant) -> &mut Frame {
        let known = self.frames.iter().rposition(|frame| frame.timestamp == timestamp);
        let at = known.unwrap_or_else(|| {
            if self.frames.len() == FRAMES_KEPT {
                self.frames.pop_front();
            }
            self.frames.push_back(Frame { timestamp, tick: now, digest: None });
            self.frames.len() - 1
        });
        &mut self.frames[at]
    }
}

fn digest(payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(payload);
    hasher.finish()
}

/// A histogram of delays.
pub struct Histogram {
    buckets: Vec<u64>,
    beyond: u64,
    count: u64,
    most: Duration,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram { buckets: vec![0; BUCKETS], beyond: 0, count: 0, most: Duration::ZERO }
    }

    pub fn add(&mut self, late: Duration) {
        let bucket = (late.as_nanos() / BUCKET.as_nanos()) as usize;
        *self.buckets.get_mut(bucket).unwrap_or(&mut self.beyond) += 1;
        self.count += 1;
        self.most = self.most.max(late);
    }

    /// The upper end of the bucket of a quantile, in milliseconds.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        let wanted = (self.count as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return ((bucket + 1) as f64 * BUCKET.as_secs_f64() * 1e3).min(self.most_ms());
            }
        }
        self.most_ms()
    }

    pub fn most_ms(&self) -> f64 {
        self.most.as_secs_f64() * 1e3
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn above(&self, limit: Duration) -> u64 {
        let bucket = (limit.as_nanos() / BUCKET.as_nanos()) as usize;
        self.buckets[bucket.min(BUCKETS)..].iter().sum::<u64>() + self.beyond
    }
}
