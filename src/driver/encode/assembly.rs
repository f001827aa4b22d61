//! Detects whether openh264 was built with assembly. On x86 that needs nasm; without it, the build silently omits
//! the assembly, and encoding takes two to three times as long.
//!
//! When an encoder starts, openh264 logs the CPU features that it uses, but only with assembly for x86.

#![allow(unsafe_code, reason = "the log of openh264 is a callback of its raw interface")]

use std::ffi::{CStr, c_char, c_int, c_void};

use openh264::OpenH264API;
use openh264::encoder::{Encoder, EncoderConfig};
use openh264::formats::YUVBuffer;
use openh264_sys2::{
    ENCODER_OPTION_TRACE_CALLBACK, ENCODER_OPTION_TRACE_CALLBACK_CONTEXT,
    ENCODER_OPTION_TRACE_LEVEL, WELS_LOG_INFO,
};

/// Part of the log line with the CPU features.
const CPU_FEATURES: &[u8] = b"CPU features/capacities (0x";
/// Width and height of the encoder's first picture. Any size will do.
const SIDE: usize = 64;

type Callback = unsafe extern "C" fn(*mut c_void, c_int, *const c_char);

/// Whether the encoder is as fast as it can be: everywhere except on x86 without assembly. True if openh264 has no
/// log.
pub fn is_there() -> bool {
    !cfg!(any(target_arch = "x86", target_arch = "x86_64")) || logs_cpu_features() != Some(false)
}

/// Whether an encoder logs its CPU features; `None` if there is no log.
fn logs_cpu_features() -> Option<bool> {
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
        // SAFETY: openh264 takes these options at any time, and copies a function, a pointer and an int, which
        // are the types of the values. The context outlives the encoder and is not used elsewhere meanwhile.
        if unsafe { encoder.raw_api().set_option(option, value) } != 0 {
            return None;
        }
    }
    // The encoder starts with its first picture.
    encoder.encode(&YUVBuffer::new(SIDE, SIDE)).ok()?;
    drop(encoder);
    found
}

/// Checks a line of the log.
unsafe extern "C" fn read_line(context: *mut c_void, _level: c_int, line: *const c_char) {
    // SAFETY: openh264 passes the context that was set, and a string with a terminating zero.
    let (found, line) = unsafe { (&mut *context.cast::<Option<bool>>(), CStr::from_ptr(line)) };
    let is_found = line.to_bytes().windows(CPU_FEATURES.len()).any(|part| part == CPU_FEATURES);
    *found = Some(is_found || *found == Some(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tests are built with nasm, which tests/run installs.
    #[test]
    fn openh264_logs_cpu_features_if_it_has_assembly_for_x86() {
        let is_x86 = cfg!(any(target_arch = "x86", target_arch = "x86_64"));
        assert_eq!(logs_cpu_features(), Some(is_x86));
        assert!(is_there());
    }
}
