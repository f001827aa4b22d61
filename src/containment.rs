//! Limits the effect of a panic.
//!
//! Hostile input has caused panics in libraries, and may do so in our own parsers. All code that reads bytes
//! from outside runs inside [`contain`], so that a panic costs one picture, datagram, request or stream. Only
//! panics can be contained: a crash of C code ends the process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The most characters of a panic's message that are kept.
const MESSAGE_MAX_CHARS: usize = 200;

/// Calls `act`. If it panics, its changes may be incomplete: the caller has to discard or repair them.
///
/// # Errors
/// The message of the panic, without control characters.
pub fn contain<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "no message",
    };
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    shown.take(MESSAGE_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(contain(|| 7), Ok(7));
        assert_eq!(contain(|| panic!("a planted\npanic")), Err::<(), _>("a planted panic".into()));
        assert_eq!(contain(|| panic!("{}", "x".repeat(1_000))), Err::<(), _>("x".repeat(200)));
        let payload = || std::panic::panic_any(7);
        assert_eq!(contain(payload), Err::<(), _>("no message".into()));
    }
}
