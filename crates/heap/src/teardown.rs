#![expect(unsafe_code, reason = "frees what the heap has leaked to itself")]
//! The end of a heap that is not there for as long as its process.

use crate::class::UNIT;
use crate::heap::Heap;
use crate::span::Span;
use crate::warm::Warm;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

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
        let table: Vec<AtomicPtr<Span>> = unsafe { Vec::from_raw_parts(table, units, units) };
        for (unit, entry) in table[..used].iter().enumerate() {
            let span = entry.load(Ordering::Relaxed);
            // SAFETY: null, or a span that `enter` leaked: it is freed where its first
            // unit is, which is the last place to name it.
            let starts = unsafe { span.as_ref() }.is_some_and(|span| span.start == base + unit * UNIT);
            if starts {
                free_later(span, &table[unit..used]);
            }
        }
        while let Some(span) = self.warm.with(Warm::take_oldest) {
            // SAFETY: leaked by `enter`, and named by the warm spans only.
            drop(unsafe { Box::from_raw(ptr::from_ref(span).cast_mut()) });
        }
    }
}

/// Frees a span, and takes it out of the units after its first, where it would dangle.
fn free_later(span: *mut Span, units: &[AtomicPtr<Span>]) {
    for entry in units.iter().take_while(|entry| entry.load(Ordering::Relaxed) == span) {
        entry.store(ptr::null_mut(), Ordering::Relaxed);
    }
    // SAFETY: leaked by `enter`; no entry names it now.
    drop(unsafe { Box::from_raw(span) });
}
