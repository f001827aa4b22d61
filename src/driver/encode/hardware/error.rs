//! Why a hardware encoder fails.

use std::fmt;
use std::io;

use crate::containment::contain;
use crate::media::HardwareFault;

/// Displays for the log.
#[derive(Debug)]
pub struct EncoderError {
    /// The reason that everybody may read.
    pub fault: HardwareFault,
    detail: String,
}

impl EncoderError {
    pub fn new(fault: HardwareFault, detail: impl fmt::Display) -> EncoderError {
        EncoderError { fault, detail: detail.to_string() }
    }
}

/// Of a call of the kernel.
impl From<io::Error> for EncoderError {
    fn from(error: io::Error) -> EncoderError {
        EncoderError::new(HardwareFault::Fails, error)
    }
}

impl fmt::Display for EncoderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// Calls an encoder, whose panics are errors: they cost this encoder alone.
pub fn contained<T>(call: impl FnOnce() -> Result<T, EncoderError>) -> Result<T, EncoderError> {
    let panicked =
        |message| Err(EncoderError::new(HardwareFault::Panic, format_args!("panic: {message}")));
    contain(call).unwrap_or_else(panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_fault_of_the_encoder() {
        let panicked = contained::<()>(|| panic!("planted")).unwrap_err();
        assert_eq!(
            (panicked.fault, panicked.detail),
            (HardwareFault::Panic, "panic: planted".into())
        );
        let failed = contained::<()>(|| Err(io::Error::other("EIO"))?).unwrap_err();
        assert_eq!(failed.fault, HardwareFault::Fails);
    }
}
