#![expect(unsafe_code, reason = "promises what heaps rely on")]
//! Pages that a heap's pager pages.

use crate::paging::{Paging, Range, RangeError};
use crate::resident;
use ::heap::PageSource;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Pages are made usable in steps of this many bytes, so that few allocations wait for it.
const STEP: usize = 64 << 20;
/// Address space is plentiful, and what grows is given several times what it needs.
const TIMES: u64 = 16;
const LEAST: u64 = 1 << 30;
const MOST: u64 = 1 << 40;

/// One address range of a [`Heap`](crate::Heap)'s, from which one of its allocators takes
/// its pages.
#[derive(Debug)]
pub struct Paged {
    paging: Arc<Paging>,
    most: usize,
    range: OnceLock<Range>,
    usable: AtomicUsize,
}

impl Paged {
    /// Reserves nothing yet. `room` is what the heap can hold at most.
    pub(crate) fn new(paging: &Arc<Paging>, room: u64) -> Self {
        let most = room.saturating_mul(TIMES).clamp(LEAST, MOST) as usize;
        let range = OnceLock::new();
        Self { paging: Arc::clone(paging), most, range, usable: AtomicUsize::new(0) }
    }

    /// Whose pages these are.
    pub(crate) fn paging(&self) -> &Arc<Paging> {
        &self.paging
    }
}

// SAFETY: the range is fresh and private and reads as zeros; it is readable and writable as
// far as it has been made usable; discarded pages read as zeros again. It is unmapped when
// this is dropped, with its heap.
unsafe impl PageSource for Paged {
    fn reserve(&self, max_len: usize) -> Option<(usize, usize)> {
        // Addresses may be limited (`ulimit -v`).
        let mut len = self.most.min(max_len);
        let range = loop {
            match Range::reserve(&self.paging, len) {
                Ok(range) => break range,
                Err(RangeError::Kernel(_)) if len > LEAST as usize => len /= 2,
                Err(_) => return None,
            }
        };
        let reserved = (range.addr(), range.len());
        self.usable.store(range.addr(), Ordering::Release);
        // Called once; a second one would be dropped.
        resident::scope(|| self.range.set(range)).ok()?;
        Some(reserved)
    }

    fn extend(&self, end: usize) -> bool {
        let usable = self.usable.load(Ordering::Acquire);
        if end <= usable {
            return true;
        }
        let Some(range) = self.range.get() else { return false };
        let limit = range.addr() + range.len();
        let more = (usable + STEP).max(end).min(limit);
        let extended = range.make_usable(usable, more - usable).is_ok();
        if extended {
            self.usable.store(more, Ordering::Release);
        }
        extended
    }

    fn promise(&self, bytes: usize) -> bool {
        self.paging.promise(bytes)
    }

    fn apart(&self, work: &mut dyn FnMut()) {
        resident::scope(work);
    }

    fn renounce(&self, bytes: usize) {
        self.paging.renounce(bytes);
    }

    fn relocate(&self, from: usize, to: usize, len: usize) -> bool {
        self.range.get().is_some_and(|range| range.relocate(from, to, len))
    }

    fn is_scarce(&self) -> bool {
        true
    }

    fn is_resident(&self, addr: usize) -> bool {
        self.range.get().is_none_or(|range| range.is_resident(addr))
    }

    fn discard(&self, addr: usize, len: usize) {
        self.range.get().into_iter().for_each(|range| range.discard(addr, len));
    }
}
