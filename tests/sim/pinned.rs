//! Fixed replacements for the two inputs that str0m and the standard library read from the system
//! themselves: the clock, from which str0m takes the NTP times of its RTCP reports, and the entropy
//! that determines the order of hash maps. Both are libc functions; a function of the same name in
//! the program replaces each. Threads that do not simulate keep the real clock.

#![expect(unsafe_code, reason = "a libc function is replaced by one of the same name")]

use std::cell::Cell;

use libc::{c_int, c_long, c_uint, c_void, clockid_t, size_t, ssize_t, timespec};

thread_local! {
    static SIMULATES: Cell<bool> = const { Cell::new(false) };
    static ENTROPY: Cell<u64> = const { Cell::new(0) };
}

/// The wall-clock time of every run: late enough that subtracting durations cannot underflow.
const EPOCH: timespec = timespec { tv_sec: 1_700_000_000, tv_nsec: 0 };

/// From now on this thread's clock stands still, and its entropy is the same in every run.
pub fn simulate() {
    SIMULATES.set(true);
    ENTROPY.set(0);
}

/// # Safety
/// As for the original: `time` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    if SIMULATES.get() {
        // SAFETY: guaranteed by the caller.
        unsafe { time.write(EPOCH) };
        return 0;
    }
    // SAFETY: the caller guarantees `time`, and the arguments are those of the system call.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock as c_long, time) as c_int }
}

/// # Safety
/// As for the original: `buffer` is valid for a write of `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, _: c_uint) -> ssize_t {
    for index in 0..length {
        let state = ENTROPY.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        ENTROPY.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        // SAFETY: guaranteed by the caller.
        unsafe { buffer.cast::<u8>().add(index).write((mixed >> 56) as u8) };
    }
    length as ssize_t
}
