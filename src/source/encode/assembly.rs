//! Whether openh264 was built with its assembly, which needs nasm on x86 and is left out without a word
//! where there is none: encoding then takes two to three times as long.
//!
//! openh264 itself says which instructions it uses, in its log, when an encoder begins: none without
//! assembly, and those of the processor with it.

#![allow(unsafe_code, reason = "the log of openh264 is a callback of its raw interface")]

use std::ffi::{CStr, c_char, c_int, c_void};

use openh264::OpenH264API;
use openh264::encoder::EncoderConfig;
use openh264_sys2::{
    ENCODER_OPTION_TRACE_CALLBACK, ENCODER_OPTION_TRACE_CALLBACK_CONTEXT,
    ENCODER_OPTION_TRACE_LEVEL, WELS_LOG_INFO,
};

use crate::media::{Colour, Picture, Size};

/// What the line of the log says before the number of the instructions.
const BEFORE: &str = "CPU features/capacities (0x";
/// Any size.
const SIZE: Size = Size { width: 64, height: 64 };

type Callback = unsafe extern "C" fn(*mut c_void, c_int, *const c_char);

/// Whether the encoder is as fast as it can be. It is everywhere but on x86 without assembly; where
/// openh264 does not say, it is taken to be.
pub fn is_there() -> bool {
    !cfg!(any(target_arch = "x86", target_arch = "x86_64")) || instructions() != Some(0)
}

/// The instructions that openh264 uses, as a set of bits of its own; `None` if its log does not say.
fn instructions() -> Option<u32> {
    let mut found: Option<u32> = None;
    let api = OpenH264API::from_source();
    let config = EncoderConfig::new().num_threads(1);
    let mut encoder = openh264::encoder::Encoder::with_api_config(api, config).ok()?;
    let mut callback: Callback = read_line;
    let mut context: *mut c_void = (&raw mut found).cast();
    let mut level = WELS_LOG_INFO;
    for (option, value) in [
        (ENCODER_OPTION_TRACE_CALLBACK, (&raw mut callback).cast::<c_void>()),
        (ENCODER_OPTION_TRACE_CALLBACK_CONTEXT, (&raw mut context).cast()),
        (ENCODER_OPTION_TRACE_LEVEL, (&raw mut level).cast()),
    ] {
        // SAFETY: openh264 takes these options at any time, and copies a function, a pointer and an int,
        // which is what the values are. The context outlives the encoder, and nobody else uses it meanwhile.
        if unsafe { encoder.raw_api().set_option(option, value) } != 0 {
            return None;
        }
    }
    // The encoder begins with its first picture.
    let picture = Picture::filled(SIZE, Colour::BLACK);
    encoder.encode(&picture).ok()?;
    drop(encoder);
    found
}

/// Reads a line of the log.
unsafe extern "C" fn read_line(context: *mut c_void, _level: c_int, line: *const c_char) {
    // SAFETY: openh264 gives the context that was set, and a string that ends with zero.
    let (found, line) = unsafe { (&mut *context.cast::<Option<u32>>(), CStr::from_ptr(line)) };
    if let Some(instructions) = instructions_in(&line.to_string_lossy()) {
        *found = Some(instructions);
    }
}

fn instructions_in(line: &str) -> Option<u32> {
    let (_, rest) = line.split_once(BEFORE)?;
    u32::from_str_radix(rest.split_once(')')?.0, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openh264_says_which_instructions_it_uses() {
        // The tests are built with nasm.
        assert!(instructions().is_some_and(|bits| bits != 0), "{:x?}", instructions());
        assert!(is_there());
    }

    #[test]
    fn the_instructions_are_read_from_the_line() {
        let line = "[OpenH264] this = 0x5, Info:WELS CPU features/capacities (0xbf3f) detected: \t";
        assert_eq!(instructions_in(line), Some(0xbf3f));
        assert_eq!(instructions_in(&line.replace("bf3f", "0")), Some(0));
        assert_eq!(instructions_in("[OpenH264] this = 0x5, Info:CreateSliceThreads"), None);
    }
}
