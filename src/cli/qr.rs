//! The QR code of a URL, for the camera of a phone.

use std::io;

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// Lines of half blocks, light on dark as terminals are. Nothing where nobody would see it, unless it
/// is asked for: where standard output is no terminal, or one without room for it.
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
