//! Raw pictures of a camera: one buffer each, whose lines may be padded.

use super::{ParsedItem, ParserOutput, StreamError, check_encoded_size};
use crate::media::{Layout, PixelFormat, Samples, Size};
use crate::source::camera::{CameraFormat, CameraStarted};

/// The parser of the buffers of one camera.
pub struct RawBuffers {
    /// As the camera has it.
    size: Size,
    format: PixelFormat,
    line_bytes: usize,
}

impl RawBuffers {
    /// A parser of what a camera has agreed to.
    ///
    /// # Errors
    /// [`StreamError::Size`] and [`StreamError::TooSmall`].
    pub fn new(started: &CameraStarted) -> Result<RawBuffers, StreamError> {
        let layout = match started.mode.format {
            CameraFormat::Nv12 => Layout::Nv12,
            CameraFormat::Yuyv => Layout::Yuyv,
            CameraFormat::I420 | CameraFormat::H264 | CameraFormat::Mjpeg => Layout::I420,
        };
        let size = started.mode.size;
        let even = even(size);
        check_encoded_size(even.width as u64, even.height as u64)?;
        let (matrix, full_range) = (started.matrix, started.is_full_range);
        let format = PixelFormat { layout, matrix, full_range };
        Ok(RawBuffers { size, format, line_bytes: started.line_bytes })
    }

    /// The size of the pictures: without the last row or column if the camera's own size is odd.
    pub fn size(&self) -> Size {
        even(self.size)
    }

    /// Takes a buffer, which is damaged if it is too short for a picture.
    pub fn push(&mut self, buffer: &[u8], out: &mut ParserOutput) {
        match Samples::from_buffer(self.size, self.format, self.line_bytes, buffer) {
            Some(samples) if self.format == PixelFormat::PICTURE => {
                out.add(ParsedItem::Picture(samples.into_picture()));
            }
            Some(samples) => out.add(ParsedItem::Samples(samples)),
            None => out.counters.damaged += 1,
        }
    }
}

fn even(size: Size) -> Size {
    Size { width: size.width & !1, height: size.height & !1 }
}
