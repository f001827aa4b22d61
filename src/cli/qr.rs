//! The QR code of a URL, for a phone's camera.

use std::io;

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// Lines of half blocks, light on dark as terminals are. Empty if standard output is not a terminal with room
/// for it, unless the code is wanted.
pub fn code(url: &str, is_wanted: bool) -> String {
    let Ok(code) = QrCode::with_error_correction_level(url, EcLevel::L) else {
        // A URL with the longest token fits into a code.
        return String::new();
    };
    let mut renderer = code.render::<Dense1x2>();
    let drawn = renderer.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    let fits = || {
        let width = drawn.lines().next().map_or(0, |line| line.chars().count());
        let size = rustix::termios::tcgetwinsize(io::stdout());
        size.is_ok_and(|size| usize::from(size.ws_col) >= width)
    };
    if is_wanted || fits() { drawn + "\n" } else { String::new() }
}
