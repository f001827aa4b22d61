//! Which encoder makes H.264, and why it is not that of the board.

use std::fmt;

use crate::foreign::Foreign;

/// An encoder of H.264. Displays as its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncoderName {
    /// With the reason why it is not the encoder of the board, if that is wanted.
    OpenH264(Option<HardwareFault>),
    /// That of the board, as the kernel names it.
    Hardware(Foreign),
}

impl EncoderName {
    /// Why it is not the encoder of the board.
    pub fn fault(&self) -> Option<HardwareFault> {
        match self {
            EncoderName::OpenH264(fault) => *fault,
            EncoderName::Hardware(_) => None,
        }
    }
}

impl fmt::Display for EncoderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncoderName::OpenH264(_) => f.write_str("openh264"),
            EncoderName::Hardware(name) => name.fmt(f),
        }
    }
}

/// Why the encoder of the board is not in use. Displays as a sentence in our own words, so that everybody may read
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HardwareFault {
    Absent,
    /// It cannot be opened for pictures such as these.
    Refuses,
    /// A call of the kernel failed, or a frame is marked as damaged.
    Fails,
    Stalls,
    /// What it writes is not H.264, or not that of the pictures.
    Junk,
    Panic,
}

impl fmt::Display for HardwareFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HardwareFault::Absent => "No hardware encoder of H.264 was found.",
            HardwareFault::Refuses => {
                "The hardware encoder does not take pictures of this size, or is used by another program."
            }
            HardwareFault::Fails => "The hardware encoder has reported an error.",
            HardwareFault::Stalls => "The hardware encoder gave no frame for half a second.",
            HardwareFault::Junk => "The hardware encoder did not write the H.264 of its pictures.",
            HardwareFault::Panic => "Ballcast failed to use the hardware encoder, which is a bug.",
        })
    }
}
