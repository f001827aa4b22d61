//! Whether something that browsers do not decode is damage, or what the stream really is.

use super::StreamError;

/// For how long all that has come can be decoded by browsers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DecodeConfidence {
    #[default]
    Unknown,
    /// Since the last key frame.
    ThisGroup,
    /// Since the key frame before it at least.
    Proven,
}

impl DecodeConfidence {
    pub fn note_keyframe(&mut self) {
        *self = match self {
            DecodeConfidence::Unknown => DecodeConfidence::ThisGroup,
            DecodeConfidence::ThisGroup | DecodeConfidence::Proven => DecodeConfidence::Proven,
        };
    }

    /// Something has come that browsers do not decode, or that damage has made look like it.
    ///
    /// # Errors
    /// It came without a whole group of pictures before it, or a second time.
    pub fn doubt(&mut self, error: StreamError) -> Result<(), StreamError> {
        if *self != DecodeConfidence::Proven {
            return Err(error);
        }
        *self = DecodeConfidence::Unknown;
        Ok(())
    }
}
