//! The system's allocator with a counter for each thread.
#![expect(unsafe_code, reason = "an allocator can be written in no other way; this one only counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts what each thread allocates: `#[global_allocator] static COUNTING: bench::Counting = bench::Counting;`
#[derive(Debug)]
pub struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static MOST: Cell<i64> = const { Cell::new(0) };
}

/// Allocations and reallocations of this thread so far; nothing unless [`Counting`] is the allocator.
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// Bytes that this thread has allocated and not freed. Means something only where one thread does everything.
pub fn live_bytes() -> i64 {
    LIVE.get()
}

/// The most that [`live_bytes`] was while `work` ran, above what it was before.
pub async fn most_bytes<T>(work: impl Future<Output = T>) -> (T, i64) {
    let before = LIVE.get();
    MOST.set(before);
    let done = work.await;
    (done, MOST.get() - before)
}

fn count(allocations: u64, bytes: usize, freed: usize) {
    let change = bytes.cast_signed().wrapping_sub(freed.cast_signed()) as i64;
    // The thread may be ending, and its counters gone.
    ALLOCATIONS.try_with(|count| count.set(count.get() + allocations)).unwrap_or(());
    let change_live = |live: &Cell<i64>| {
        let now = live.get().wrapping_add(change);
        live.set(now);
        MOST.try_with(|most| most.set(most.get().max(now))).unwrap_or(());
    };
    LIVE.try_with(change_live).unwrap_or(());
}

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(1, new_size, layout.size());
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, 0, layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
