//! The local date and time.

#![allow(unsafe_code, reason = "the time zone of the system is known to the C library only")]

use std::mem::MaybeUninit;
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment in the local time zone, as `2026-12-01 14:03:27`. The zone is that of `TZ`, or of `/etc/localtime`, at
/// the first call. Returns `None` before 1970, and beyond the years that the C library knows.
pub fn local_time(wall: SystemTime) -> Option<String> {
    let seconds = wall.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let seconds = libc::time_t::try_from(seconds).ok()?;
    let mut fields = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call, which fills all fields if it succeeds. It reads the
    // environment, which nothing in this process changes.
    let fields = unsafe {
        if libc::localtime_r(&raw const seconds, fields.as_mut_ptr()).is_null() {
            return None;
        }
        fields.assume_init()
    };
    let libc::tm { tm_year, tm_mon, tm_mday, tm_hour, tm_min, tm_sec, .. } = fields;
    let (year, month) = (tm_year + 1900, tm_mon + 1);
    Some(format!("{year:04}-{month:02}-{tm_mday:02} {tm_hour:02}:{tm_min:02}:{tm_sec:02}"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_time_is_that_of_the_program_date() {
        for seconds in [0, 951_827_696, 1_782_864_000, 1_796_133_807] {
            let moment = format!("@{seconds}");
            let date = Command::new("date").args(["-d", &moment, "+%Y-%m-%d %H:%M:%S"]).output();
            let output = date.unwrap();
            let expected = String::from_utf8(output.stdout).unwrap();
            let local = local_time(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
            assert_eq!(local, expected.trim_end());
        }
    }

    #[test]
    fn a_moment_before_the_epoch_has_no_time() {
        assert_eq!(local_time(UNIX_EPOCH - Duration::from_secs(1)), None);
    }
}
