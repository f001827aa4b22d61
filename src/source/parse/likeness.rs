//! Verifies that a stream detected as H.264 is H.264.

use super::format::begins_unit;
use super::start::SEARCH_MAX_BYTES;
use super::{Lack, StreamError};

/// The number of valid NAL units in a row after which it is certain.
const CERTAIN_AFTER_UNITS: u32 = 3;

/// Counts valid NAL units in a stream that may be something else: dark raw pictures contain start codes,
/// too.
pub struct Likeness {
    /// The error if the stream is not H.264. `None` once it is certain.
    unless: Option<StreamError>,
    /// The number of NAL units in a row with a valid header, and of reference NAL units among them.
    units: u32,
    references: u32,
}

impl Likeness {
    pub fn new(unless: StreamError) -> Likeness {
        Likeness { unless: Some(unless), units: 0, references: 0 }
    }

    /// Handles the header of a NAL unit.
    pub fn note_unit(&mut self, header: u8) {
        // Types that are not used here may be anything.
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

    /// Makes it certain, after a complete picture or a valid SPS.
    pub fn confirm(&mut self) {
        self.unless = None;
    }

    /// # Errors
    /// The stream is not H.264, after `read` bytes.
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
