//! Free objects at hand, for threads that come and go.

use crate::resident;
use ::heap::ThreadCache;
use core::cell::Cell;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, TryLockError};

/// As many threads allocate at once without waiting for each other, if they are lucky.
const CACHES: usize = 16;

/// Caches that are shared by few threads each. A thread that finds its cache taken does
/// without.
pub(crate) struct Caches {
    caches: [Mutex<Box<ThreadCache>>; CACHES],
}

impl core::fmt::Debug for Caches {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Caches")
    }
}

/// A number of the calling thread's.
fn thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static THREAD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    if THREAD.get() == usize::MAX {
        THREAD.set(THREADS.fetch_add(1, Ordering::Relaxed));
    }
    THREAD.get()
}

impl Caches {
    pub(crate) fn new() -> Self {
        resident::scope(|| Self { caches: core::array::from_fn(|_| Mutex::new(ThreadCache::new())) })
    }

    /// Calls `work` with the calling thread's cache, if nobody has it.
    pub(crate) fn with<R>(&self, work: impl FnOnce(Option<&mut ThreadCache>) -> R) -> R {
        match self.caches[thread() % CACHES].try_lock() {
            Ok(mut cache) => work(Some(&mut cache)),
            Err(TryLockError::Poisoned(cache)) => work(Some(&mut cache.into_inner())),
            Err(TryLockError::WouldBlock) => work(None),
        }
    }
}
