//! What the driver of a camera tells.

use std::time::Instant;

use ballcast::testing::os_error::OsError;
use ballcast::testing::source::camera::{
    CameraBuffer, CameraEvent, CameraScan, CameraStarted, CameraStep,
};

/// What the driver tells.
#[derive(Debug)]
pub enum Answer {
    Scanned(CameraScan),
    Started(CameraStarted),
    Pictures(Vec<Filled>),
    Failed(CameraStep, i32),
    Stopped,
    DevicesChanged,
}

/// A buffer, with the number of its picture.
#[derive(Debug)]
pub struct Filled {
    pub number: u64,
    pub keyframe: bool,
    pub data: Vec<u8>,
    pub captured: Instant,
    pub sequence: u32,
    pub is_marked: bool,
    /// It is short, without a mark.
    pub is_cut: bool,
}

impl Answer {
    pub fn event(&self) -> CameraEvent<'_> {
        match self {
            Answer::Scanned(scan) => CameraEvent::Scanned(scan.clone()),
            Answer::Started(started) => CameraEvent::Started(started.clone()),
            // As long as the run.
            Answer::Pictures(filled) => {
                let buffers: Vec<CameraBuffer> = filled.iter().map(Filled::buffer).collect();
                CameraEvent::Pictures(buffers.leak())
            }
            Answer::Failed(step, error) => CameraEvent::Failed(*step, OsError::Number(*error)),
            Answer::Stopped => CameraEvent::Stopped,
            Answer::DevicesChanged => CameraEvent::DevicesChanged,
        }
    }

    /// The bytes of its pictures.
    pub fn bytes(&self) -> usize {
        match self.event() {
            CameraEvent::Pictures(buffers) => buffers.iter().map(|it| it.data.len()).sum(),
            _ => 0,
        }
    }
}

impl Filled {
    fn buffer(&self) -> CameraBuffer<'_> {
        CameraBuffer {
            data: &self.data,
            captured: self.captured,
            sequence: self.sequence,
            is_damaged: self.is_marked,
        }
    }
}
