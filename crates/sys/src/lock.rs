//! A lock that can be taken before anything is initialised and held over a fork.
//!
//! Three states as in Ulrich Drepper, "Futexes Are Tricky" (2011): free, taken,
//! taken with somebody asleep.

#[cfg(all(test, loom))]
mod model;

use core::sync::atomic::{AtomicU32, Ordering};
use rustix::thread::futex;

const FREE: u32 = 0;
const TAKEN: u32 = 1;
const CONTENDED: u32 = 2;

/// A word that threads sleep on: the kernel's, or a model's.
trait Word {
    /// How often it is looked at before somebody sleeps.
    const SPINS: u32;

    fn look(&self) -> u32;
    fn change(&self, from: u32, to: u32) -> bool;
    fn swap(&self, to: u32, ordering: Ordering) -> u32;
    /// Sleeps until woken, unless the word is not `expected`; it may return early.
    fn sleep_while(&self, expected: u32);
    fn wake_one(&self);
    /// Between two looks.
    fn pause();
}

impl Word for AtomicU32 {
    const SPINS: u32 = 64;

    fn look(&self) -> u32 {
        self.load(Ordering::Relaxed)
    }

    fn change(&self, from: u32, to: u32) -> bool {
        self.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn swap(&self, to: u32, ordering: Ordering) -> u32 {
        self.swap(to, ordering)
    }

    fn sleep_while(&self, expected: u32) {
        // Miri, which looks for undefined behaviour, knows no raw system calls.
        if cfg!(miri) {
            return std::thread::yield_now();
        }
        // Woken, interrupted or too late: in each case the caller looks again.
        let _ = futex::wait(self, futex::Flags::PRIVATE, expected, None);
    }

    fn wake_one(&self) {
        if !cfg!(miri) {
            let _ = futex::wake(self, futex::Flags::PRIVATE, 1);
        }
    }

    fn pause() {
        core::hint::spin_loop();
    }
}

fn lock<W: Word>(word: &W) {
    for _ in 0..W::SPINS {
        // Looked at before it is asked for, so that those who wait do not hold up who has it.
        if word.look() == FREE && word.change(FREE, TAKEN) {
            return;
        }
        W::pause();
    }
    while word.swap(CONTENDED, Ordering::Acquire) != FREE {
        word.sleep_while(CONTENDED);
    }
}

fn try_lock(word: &impl Word) -> bool {
    word.change(FREE, TAKEN)
}

fn unlock(word: &impl Word) {
    if word.swap(FREE, Ordering::Release) == CONTENDED {
        word.wake_one();
    }
}

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
        lock(&self.state);
    }

    /// The same for the duration of `work`, unless somebody else has it: then none.
    pub fn try_hold<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        try_lock(&self.state).then(|| {
            let result = work();
            self.unlock();
            result
        })
    }

    /// Frees it.
    pub fn unlock(&self) {
        unlock(&self.state);
    }

    /// Holds it for the duration of `work`.
    pub fn hold<T>(&self, work: impl FnOnce() -> T) -> T {
        self.lock();
        let result = work();
        self.unlock();
        result
    }
}
