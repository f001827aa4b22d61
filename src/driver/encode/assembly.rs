//! Whether openh264 was built with its assembly, which needs nasm on x86 and is left out without a word
//! where there is none: encoding then takes two to three times as long.
//!
//! openh264 itself tells, in its log, when an encoder begins: with assembly for x86, and with that alone, a
//! line says which instructions of the processor it uses.

#![allow(unsafe_code, reason = "the log of openh264 is a callback of its raw interface")]

use std::ffi::{CStr, c_char, c_int, c_void};

use openh264::OpenH264API;
use openh264::encoder::{Encoder, EncoderConfig};
use openh264::formats::YUVBuffer;
use openh264_sys2::{
    ENCODER_OPTION_TRACE_CALLBACK, ENCODER_OPTION_TRACE_CALLBACK_CONTEXT,
    ENCODER_OPTION_TRACE_LEVEL, WELS_LOG_INFO,
};

/// What the line about the instructions has in it.
const INSTRUCTIONS: &[u8] = b"CPU features/capacities (0x";
/// Width and height of the picture that the encoder begins with: any will do.
const SIDE: usize = 64;

type Callback = unsafe extern "C" fn(*mut c_void, c_int, *const c_char);

/// Whether the encoder is as fast as it can be: everywhere but on x86 without assembly. Where openh264 has
/// no log, it is taken to be.
pub fn is_there() -> bool {
    !cfg!(any(target_arch = "x86", target_arch = "x86_64")) || names_instructions() != Some(false)
}

/// Whether the log of an encoder has the line about instructions; `None` if there is no log.
fn names_instructions() -> Option<bool> {
    let mut found: Option<bool> = None;
    let config = EncoderConfig::new().num_threads(1);
    let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config).ok()?;
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
    encoder.encode(&YUVBuffer::new(SIDE, SIDE)).ok()?;
    drop(encoder);
    found
}

/// Reads a line of the log.
unsafe extern "C" fn read_line(context: *mut c_void, _level: c_int, line: *const c_char) {
    // SAFETY: openh264 gives the context that was set, and a string that ends with zero.
    let (found, line) = unsafe { (&mut *context.cast::<Option<bool>>(), CStr::from_ptr(line)) };
    let is_found = line.to_bytes().windows(INSTRUCTIONS.len()).any(|part| part == INSTRUCTIONS);
    *found = Some(is_found || *found == Some(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tests are built with nasm, which tests/run installs.
    #[test]
    fn openh264_names_its_instructions_where_it_has_assembly_for_x86() {
        let is_x86 = cfg!(any(target_arch = "x86", target_arch = "x86_64"));
        assert_eq!(names_instructions(), Some(is_x86));
        assert!(is_there());
    }
}
