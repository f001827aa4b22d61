//! Tells a feature that browsers do not decode from damage that looks like one.

use super::StreamError;

/// How long the stream has had no feature that browsers do not decode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DecodeConfidence {
    #[default]
    Unknown,
    /// Since the last key frame.
    ThisGroup,
    /// Since the key frame before that, or longer.
    Proven,
}

impl DecodeConfidence {
    pub fn note_keyframe(&mut self) {
        *self = match self {
            DecodeConfidence::Unknown => DecodeConfidence::ThisGroup,
            DecodeConfidence::ThisGroup | DecodeConfidence::Proven => DecodeConfidence::Proven,
        };
    }

    /// Handles a feature that browsers do not decode, or damage that looks like one.
    ///
    /// # Errors
    /// There was no complete group of pictures without such a feature since the start or the last one.
    pub fn doubt(&mut self, error: StreamError) -> Result<(), StreamError> {
        if *self != DecodeConfidence::Proven {
            return Err(error);
        }
        *self = DecodeConfidence::Unknown;
        Ok(())
    }
}
