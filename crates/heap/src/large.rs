//! Objects that are spans of their own.

use crate::class::UNIT;
use crate::heap::{Contents, FreeError, Heap, PAGE};
use crate::source::PageSource;
use crate::span::{Kind, Large, Span};
use crate::warm::{Warm, large};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// An object that had to move to grow gets this many times its size of address space,
/// so that it grows in place from then on. Addresses are plentiful.
const HEADROOM: usize = 4;

impl<S: PageSource> Heap<S> {
    /// A large object.
    pub(crate) fn alloc_large(&self, size: usize, align: usize, contents: Contents) -> Option<usize> {
        let len = size.max(1).checked_next_multiple_of(PAGE)?;
        if contents == Contents::Any
            && align <= UNIT
            && let Some(span) = self.warm.with(|warm| warm.take(len))
        {
            self.in_use.fetch_add(large(span).len.load(Relaxed), Relaxed);
            self.tell(span, 1);
            return Some(span.start);
        }
        self.place(len, len.div_ceil(UNIT), (align / UNIT).max(1))
    }

    /// A large object that will grow.
    pub(crate) fn alloc_with_headroom(&self, size: usize) -> Option<usize> {
        let len = size.checked_next_multiple_of(PAGE)?;
        let units = len.div_ceil(UNIT);
        self.place(len, units.checked_mul(HEADROOM)?, 1).or_else(|| self.place(len, units, 1))
    }

    fn place(&self, len: usize, units: usize, align: usize) -> Option<usize> {
        let start = self.carve(units, align, len)?;
        let large = Large { len: AtomicUsize::new(len), units: AtomicUsize::new(units) };
        self.in_use.fetch_add(len, Relaxed);
        self.enter(Span { start, kind: Kind::Large(large) }, 1, len);
        Some(start)
    }

    pub(crate) fn free_large(
        &self,
        span: &'static Span,
        large: &Large,
        addr: usize,
    ) -> Result<(), FreeError> {
        if addr != span.start {
            return Err(FreeError::NotAnObject);
        }
        if !self.untell(span, 1) {
            return Err(FreeError::AlreadyFree);
        }
        self.in_use.fetch_sub(large.len.load(Relaxed), Relaxed);
        if !self.warm.with(|warm| warm.keep(span)) {
            self.drop_large(span);
            return Ok(());
        }
        while let Some(excess) = self.warm.with(Warm::take_excess) {
            self.drop_large(excess);
        }
        Ok(())
    }

    fn drop_large(&self, span: &'static Span) {
        let large = large(span);
        self.drop_span(span, large.units.load(Relaxed), large.len.load(Relaxed));
    }

    /// Drops the free large objects that are kept; whether there were any.
    pub(crate) fn cool(&self) -> bool {
        let mut dropped = false;
        while let Some(span) = self.warm.with(Warm::take_oldest) {
            self.drop_large(span);
            dropped = true;
        }
        dropped
    }

    /// Changes a large object's size in place; false, and nothing has changed, when
    /// what follows is in use or memory is refused.
    pub(crate) fn resize_large(&self, span: &Span, large: &Large, size: usize) -> bool {
        let Some(wanted) = size.checked_next_multiple_of(PAGE) else { return false };
        let len = large.len.load(Relaxed);
        if wanted <= len {
            self.shrink(span, large, len, wanted);
            return true;
        }
        if !self.source.promise(wanted - len) {
            return false;
        }
        let (units, needed) = (large.units.load(Relaxed), wanted.div_ceil(UNIT));
        if needed > units {
            if !self.carve_at(span.start + units * UNIT, needed - units) {
                self.source.renounce(wanted - len);
                return false;
            }
            large.units.store(needed, Relaxed);
        }
        large.len.store(wanted, Relaxed);
        self.in_use.fetch_add(wanted - len, Relaxed);
        self.span_bytes.fetch_add(wanted - len, Relaxed);
        true
    }

    fn shrink(&self, span: &Span, large: &Large, len: usize, wanted: usize) {
        if wanted == len {
            return;
        }
        self.source.discard(span.start + wanted, len - wanted);
        self.source.renounce(len - wanted);
        large.len.store(wanted, Relaxed);
        self.in_use.fetch_sub(len - wanted, Relaxed);
        self.span_bytes.fetch_sub(len - wanted, Relaxed);
        let (units, kept) = (large.units.load(Relaxed), wanted.div_ceil(UNIT) * HEADROOM);
        if units > kept {
            large.units.store(kept, Relaxed);
            self.uncarve(span.start + kept * UNIT, units - kept);
        }
    }
}
