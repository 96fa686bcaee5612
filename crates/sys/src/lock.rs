//! A lock that can be taken before anything is initialised and held over a fork.
//!
//! Three states as in Ulrich Drepper, "Futexes Are Tricky" (2011): free, taken,
//! taken with somebody asleep.

use core::sync::atomic::{AtomicU32, Ordering};
use rustix::thread::futex;

const FREE: u32 = 0;
const TAKEN: u32 = 1;
const CONTENDED: u32 = 2;
const SPINS: u32 = 64;

/// A lock without data, 4 bytes, free when zero.
#[derive(Debug, Default)]
pub struct Lock {
    state: AtomicU32,
}

impl Lock {
    /// Free.
    pub const fn new() -> Self {
        Self { state: AtomicU32::new(FREE) }
    }

    /// Waits until it is free and takes it. Must be followed by [`Self::unlock`], in
    /// this thread or in the child that it forks.
    pub fn lock(&self) {
        let take =
            |from, to| self.state.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok();
        for _ in 0..SPINS {
            // Looked at before it is asked for, so that those who wait do not hold up who has it.
            if self.state.load(Ordering::Relaxed) == FREE && take(FREE, TAKEN) {
                return;
            }
            core::hint::spin_loop();
        }
        // Miri, which looks for undefined behaviour, knows no raw system calls.
        while cfg!(miri) && !take(FREE, TAKEN) {
            std::thread::yield_now();
        }
        if cfg!(miri) {
            return;
        }
        while self.state.swap(CONTENDED, Ordering::Acquire) != FREE {
            // Woken, interrupted or too late: in each case the loop looks again.
            let _ = futex::wait(&self.state, futex::Flags::PRIVATE, CONTENDED, None);
        }
    }

    /// The same for the duration of `work`, unless somebody else has it: then none.
    pub fn try_hold<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let taken = self.state.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok();
        taken.then(|| {
            let result = work();
            self.unlock();
            result
        })
    }

    /// Frees it.
    pub fn unlock(&self) {
        if self.state.swap(FREE, Ordering::Release) == CONTENDED {
            let _ = futex::wake(&self.state, futex::Flags::PRIVATE, 1);
        }
    }

    /// Holds it for the duration of `work`.
    pub fn hold<T>(&self, work: impl FnOnce() -> T) -> T {
        self.lock();
        let result = work();
        self.unlock();
        result
    }
}
