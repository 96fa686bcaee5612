#![expect(unsafe_code, reason = "a value behind a lock")]
//! A value that is reached under a lock.

use core::cell::UnsafeCell;
use sys::lock::Lock;

/// The lock lies before the value, so that what comes first there is in the same line of the
/// processor's cache.
#[repr(C)]
pub(crate) struct Locked<T> {
    lock: Lock,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached under the lock only, by one thread at a time.
unsafe impl<T: Send> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { lock: Lock::new(), value: UnsafeCell::new(value) }
    }

    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: under the lock, which is not reentrant.
        self.lock.hold(|| work(unsafe { &mut *self.value.get() }))
    }

    /// The same without waiting: none if somebody else is in.
    pub(crate) fn try_with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        // SAFETY: as above.
        self.lock.try_hold(|| work(unsafe { &mut *self.value.get() }))
    }

    /// Keeps everybody out, over a fork.
    pub(crate) fn lock_for_fork(&self) {
        self.lock.lock();
    }

    /// Ends [`Self::lock_for_fork`].
    pub(crate) fn unlock_after_fork(&self) {
        self.lock.unlock();
    }
}
