//! Bugs on purpose, for the tests that show that the tests find bugs.
//!
//! Behind the feature `planted`, which only this workspace's own tests switch on. Without it `planted` is a constant
//! `false`, and the compiler removes what stands behind it.

#[cfg(feature = "planted")]
pub use switch::{Planted, plant};

/// Whether the bug of this name is in the code now. The name says what is wrong.
#[cfg(not(feature = "planted"))]
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must vanish also where nothing else is inlined")]
pub const fn planted(_: &'static str) -> bool {
    false
}

/// Whether the bug of this name is in the code now. The name says what is wrong.
#[cfg(feature = "planted")]
#[inline]
pub fn planted(name: &'static str) -> bool {
    switch::planted(name)
}

#[cfg(feature = "planted")]
mod switch {
    use std::cell::Cell;
    use std::marker::PhantomData;

    thread_local! {
        static NOW: Cell<Option<&'static str>> = const { Cell::new(None) };
        static REACHED: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn planted(name: &'static str) -> bool {
        let is = NOW.get().is_some_and(|now| now == name);
        if is {
            REACHED.set(REACHED.get() + 1);
        }
        is
    }

    /// Puts one bug into the code that this thread runs, until the guard is dropped. A simulated run has one thread.
    #[must_use = "the bug goes with the guard"]
    pub fn plant(name: &'static str) -> Planted {
        NOW.set(Some(name));
        REACHED.set(0);
        Planted(PhantomData)
    }

    /// A bug that is in the code.
    #[derive(Debug)]
    pub struct Planted(PhantomData<*const ()>);

    impl Planted {
        /// How often the code came to where it is wrong.
        pub fn times_reached(&self) -> u64 {
            REACHED.get()
        }
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            NOW.set(None);
        }
    }
}
