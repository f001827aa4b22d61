//! The signals that the loop listens to.

use std::io;

use mio::{Interest, Registry};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::tokens::SIGNALS;

/// Listens to the end of children, and to what asks the program to end. That is SIGHUP, too, which
/// comes when its terminal is closed, unless nohup(1) or a shell has it ignored.
pub fn listen(registry: &Registry) -> io::Result<Signals> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let hangup = (!is_ignored(&status, SIGHUP)).then_some(SIGHUP);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGCHLD].into_iter().chain(hangup))?;
    registry.register(&mut signals, SIGNALS, Interest::READABLE)?;
    Ok(signals)
}

/// Whether a process ignores a signal, as its status in proc(5) tells.
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_was_ignored_from_the_start_is_known() {
        let status = "Name:\tballcast\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored(status, SIGHUP));
        assert!(!is_ignored(status, SIGTERM));
        assert!(!is_ignored("SigIgn:\t\n", SIGHUP) && !is_ignored("", SIGHUP));
    }
}
