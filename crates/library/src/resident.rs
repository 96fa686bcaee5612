//! Memory that is never paged, in programs whose global allocator pages.
//!
//! What Outcore keeps about pages must not lie in them: the thread that brings a page in
//! would wait for itself. Inside a scope of this module, and in the pager's threads, what
//! is allocated comes from the system.

use std::cell::Cell;

thread_local! {
    /// Scopes that this thread is in. Without a destructor, so that it may be used from an
    /// allocator, and to the very end of a thread.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

struct Inside;

impl Inside {
    fn new() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// What is allocated meanwhile is not paged.
pub(crate) fn scope<R>(work: impl FnOnce() -> R) -> R {
    let _inside = Inside::new();
    work()
}

/// Nothing that this thread ever allocates is paged.
pub(crate) fn for_ever() {
    core::mem::forget(Inside::new());
}

/// Whether this thread allocates what must not be paged.
pub(crate) fn is_inside() -> bool {
    DEPTH.get() > 0
}
