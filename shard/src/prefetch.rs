//! Hints to the processor, and nothing else.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "a prefetch takes a pointer; it changes nothing and cannot fault")
)]

/// Says that `value` will soon be looked at: a hint, which may bring its cache lines near while something else is done.
///
/// For loops that go through memory in no order and know a few turns ahead where they will be.
#[inline]
pub fn read_soon<T>(value: &T) {
    for offset in (0..size_of::<T>()).step_by(64) {
        line_soon(std::ptr::from_ref(value).cast::<u8>().wrapping_add(offset));
    }
}

/// Says that the cache line of this place will soon be looked at, whatever is there.
#[inline]
pub(crate) fn line_soon(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is allowed; it is a hint.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Says that the cache line at the end of `buffer`, and so many behind it, will soon be written.
///
/// Open aggregates are filled in turns and are too large together for the near caches: without this, every record waits for its lines
/// at the unlock that follows. (A store that misses is waited for by the next locked instruction.)
#[inline]
pub(crate) fn append_soon(buffer: &[u8], lines: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..=lines {
        let place = buffer.as_ptr_range().end.wrapping_add(line * 64);
        // SAFETY: a prefetch of any address is allowed; it is a hint.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(place.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (buffer, lines);
}
