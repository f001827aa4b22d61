//! Whether a stream that was taken for H.264 is H.264.

use super::format::begins_unit;
use super::start::SEARCH_MAX_BYTES;
use super::{Lack, StreamError};

/// After so many NAL units in a row, it is certain.
const CERTAIN_AFTER_UNITS: u32 = 3;

/// What looks like H.264 in a stream that may be something else: pictures without a header have start
/// codes, too, where they are dark.
pub struct Likeness {
    /// What is wrong with the stream if it is no H.264. `None` once it is certain.
    unless: Option<StreamError>,
    /// The NAL units in a row that begin as those of H.264 do, and those among them that others
    /// refer to.
    units: u32,
    references: u32,
}

impl Likeness {
    pub fn new(unless: StreamError) -> Likeness {
        Likeness { unless: Some(unless), units: 0, references: 0 }
    }

    /// A NAL unit begins with this byte.
    pub fn note_unit(&mut self, header: u8) {
        // Some are of no use here, and may be anything.
        if header & 0x80 == 0 && matches!(header & 0x1f, 2..=4 | 13..) {
            return;
        }
        if !begins_unit(header) {
            (self.units, self.references) = (0, 0);
            return;
        }
        self.units = self.units.saturating_add(1);
        self.references = self.references.saturating_add(u32::from(header & 0x60 != 0));
        if self.units >= CERTAIN_AFTER_UNITS && self.references > 0 {
            self.unless = None;
        }
    }

    /// A picture is complete, or an SPS can be read.
    pub fn confirm(&mut self) {
        self.unless = None;
    }

    /// # Errors
    /// The stream is no H.264: so many bytes of it were read.
    pub fn check(&self, read: u64) -> Result<(), StreamError> {
        match &self.unless {
            Some(error) if read > SEARCH_MAX_BYTES as u64 => Err(error.clone()),
            _ => Ok(()),
        }
    }

    pub fn lacks(&self) -> Option<Lack> {
        let error = self.unless.as_ref()?;
        Some(Lack::Format { after_text: matches!(error, StreamError::Text(_)) })
    }
}
