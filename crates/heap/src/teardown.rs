#![expect(unsafe_code, reason = "frees what the heap has leaked to itself")]
//! The end of a heap that is not there for as long as its process.

use crate::class::UNIT;
use crate::heap::Heap;
use crate::span::Entry;
use core::sync::atomic::{AtomicU64, Ordering};

/// What has been allocated from it ends with the source. Freed are the metadata.
impl<S> Drop for Heap<S> {
    fn drop(&mut self) {
        let units = self.len.load(Ordering::Acquire) / UNIT;
        if units == 0 {
            return;
        }
        let base = self.base.load(Ordering::Relaxed);
        let used = self.extents.with(|extents| extents.top()) - base / UNIT;
        let table = self.table.load(Ordering::Relaxed);
        // SAFETY: the table that `reserve` leaked, which nobody reads any more.
        let table: Vec<AtomicU64> = unsafe { Vec::from_raw_parts(table, units, units) };
        for entry in table[..used].iter().map(|entry| Entry(entry.load(Ordering::Relaxed))) {
            // Where its first unit is entered a span is ended, and looked at nowhere else.
            if entry != Entry::NONE && entry.unit() == 0 {
                // SAFETY: a span that `enter` began; nobody refers to it after this.
                unsafe { entry.span().into_iter().for_each(|span| span.end()) };
            }
        }
    }
}
