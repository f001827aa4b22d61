//! The memory that a piece of code takes from Rust's allocator. What C libraries take is not seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts what each thread takes and gives back.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes, of one thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Taken and not given back yet; may be less than nothing where other threads have taken it.
    live: isize,
    /// The most of it at any time.
    pub peak: isize,
    /// All that was ever taken.
    pub taken: isize,
}

thread_local! {
    static MEMORY: Cell<Memory> = const { Cell::new(Memory { live: 0, peak: 0, taken: 0 }) };
}

/// The memory that `act` takes.
pub fn memory_of<T>(act: impl FnOnce() -> T) -> (Memory, T) {
    let before = MEMORY.replace(Memory::default());
    let result = act();
    let of_act = MEMORY.get();
    MEMORY.set(Memory {
        live: before.live + of_act.live,
        peak: before.peak.max(before.live + of_act.peak),
        taken: before.taken + of_act.taken,
    });
    (of_act, result)
}

fn note(taken: usize, given_back: usize) {
    // There is none when a thread ends.
    let _ = MEMORY.try_with(|cell| {
        let mut memory = cell.get();
        memory.live += taken as isize - given_back as isize;
        memory.peak = memory.peak.max(memory.live);
        memory.taken += taken as isize;
        cell.set(memory);
    });
}

// SAFETY: everything is the system's allocator's, and to count allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
