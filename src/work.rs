//! Counts the work for an input in steps: a line, a parameter, an entry that is visited. Unlike time, the
//! count is reproducible.
//!
//! Tests check that the work for one input is at most `a + b × its bytes`, for any bytes, and after any
//! number of inputs. Only debug builds count.

/// Counts a step of this thread.
#[inline(always)]
pub fn step() {
    #[cfg(debug_assertions)]
    counter::STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// Returns the number of steps that `act` takes on this thread, and its result. Only with debug assertions.
#[cfg(feature = "testing")]
pub fn steps_of<T>(act: impl FnOnce() -> T) -> (u64, T) {
    let before = counter::STEPS.get();
    let result = act();
    (counter::STEPS.get() - before, result)
}

mod counter {
    use std::cell::Cell;

    thread_local! {
        pub static STEPS: Cell<u64> = const { Cell::new(0) };
    }
}
