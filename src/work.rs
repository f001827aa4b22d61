//! How much work an input takes, in steps that tests can count: a line, a parameter, an entry that
//! is looked at. Time would tell it too, but not the same twice.
//!
//! The law that the tests hold the core to: the work for one input is at most `a + b × its bytes`,
//! whatever the bytes are, and however many inputs came before. Only debug builds count.

/// One more step of this thread.
#[inline(always)]
pub fn step() {
    #[cfg(debug_assertions)]
    counter::STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// How many steps this thread takes for something, and what comes of it. Without debug assertions
/// there are none.
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
