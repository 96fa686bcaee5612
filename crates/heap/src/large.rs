#![expect(unsafe_code, reason = "copies objects")]
//! Objects that are spans of their own.

use crate::class::UNIT;
use crate::heap::{Contents, FreeError, Heap, PAGE};
use crate::source::PageSource;
use crate::span::{Kind, Large, Span, SpanRef};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// An object that had to move to grow gets this many times its size of address space,
/// so that it grows in place from then on. Addresses are plentiful.
const HEADROOM: usize = 4;
/// An object that shrinks by less than one part in so many stays as it is: giving the
/// rest back would cost a system call, and growing again a fault.
const SLACK: usize = 8;
/// Objects at least so long are moved page by page, where the source can: a shorter one
/// is copied in the time that the kernel takes.
const RELOCATED: usize = 512 << 10;

/// So many units that are turned over open the quick lists.
const OPENS: usize = (6 << 20) / UNIT;

fn large(span: &Span) -> &Large {
    match &span.kind {
        Kind::Large(large) => large,
        Kind::Small(_) => unreachable!("only large objects are asked for their length"),
    }
}

/// The length of a large object, and the units of its span.
fn extent_of(span: SpanRef) -> (usize, usize) {
    let large = large(&span);
    (large.len.load(Relaxed), large.units.load(Relaxed))
}

impl<S: PageSource> Heap<S> {
    /// A large object.
    pub(crate) fn alloc_large(&self, size: usize, align: usize, contents: Contents) -> Option<usize> {
        let len = size.max(1).checked_next_multiple_of(PAGE)?;
        Some(self.place(len, len.div_ceil(UNIT), (align / UNIT).max(1), contents)?.start)
    }

    /// A large object that will grow.
    pub(crate) fn alloc_with_headroom(&self, size: usize) -> Option<usize> {
        Some(self.place_with_headroom(size, Contents::Any)?.start)
    }

    fn place_with_headroom(&self, size: usize, contents: Contents) -> Option<SpanRef> {
        let len = size.checked_next_multiple_of(PAGE)?;
        let units = len.div_ceil(UNIT);
        // What it may grow into must read as zeros, as what has never been used.
        let roomy = self.place(len, units.checked_mul(HEADROOM)?, 1, Contents::Zero);
        roomy.or_else(|| self.place(len, units, 1, contents))
    }

    fn place(&self, len: usize, units: usize, align: usize, contents: Contents) -> Option<SpanRef> {
        let any = contents == Contents::Any && align == 1;
        if any
            && units == len.div_ceil(UNIT)
            && let Some(span) = self.take_quick(len, units)
        {
            return Some(span);
        }
        let kept = any.then(|| self.dirty.with(|dirty| dirty.take_large(len, units))).flatten();
        let start = match kept {
            Some((first, turned_over)) => {
                if turned_over >= OPENS && !self.source.is_scarce() {
                    self.quick.open();
                }
                first * UNIT
            }
            None => {
                let start = self.carve(units, align, len, contents)?;
                self.dirty.with(|dirty| dirty.count_large(len));
                start
            }
        };
        let large = Large { len: AtomicUsize::new(len), units: AtomicUsize::new(units) };
        Some(self.enter(start, Kind::Large(large), 1))
    }

    /// An object of so many units that was kept whole.
    fn take_quick(&self, len: usize, units: usize) -> Option<SpanRef> {
        let first = self.quick.take(units)?;
        let span = self.span_of(first * UNIT).expect("kept objects are entered");
        if !self.quick.take_promise(units, len) {
            // Those before were longer. It stays promised, so that this soon happens no more.
            if !self.source.promise(len) {
                self.end_quick(span, units);
                return None;
            }
            self.dirty.with(|dirty| dirty.large_bytes += len);
        }
        large(&span).len.store(len, Relaxed);
        Some(span)
    }

    /// Keeps a large object whole that nobody uses, if such are asked for.
    fn give_quick(&self, span: SpanRef, len: usize, units: usize) -> bool {
        let asked_for = self.quick.is_open() && units == len.div_ceil(UNIT);
        if !asked_for || self.source.is_scarce() || self.source.spare() == 0 {
            return false;
        }
        let Some(surplus) = self.quick.give(units, span.start / UNIT, len) else { return false };
        if surplus > 0 {
            self.return_quick_promise(surplus);
        }
        true
    }

    /// Takes a promise back that lists had.
    fn return_quick_promise(&self, bytes: usize) {
        self.give_promise_back(|spare| {
            self.dirty.with(|dirty| {
                dirty.large_bytes -= bytes;
                dirty.return_promise(bytes, spare)
            })
        });
    }

    /// Ends an object that was kept whole. Its promise is the lists'.
    fn end_quick(&self, span: SpanRef, units: usize) {
        let start = span.start;
        self.untell(span, 1);
        self.end_span(span);
        self.dirty.with(|dirty| dirty.large_objects -= 1);
        self.uncarve_used(start, units);
    }

    /// Ends the objects that are kept whole; whether there were any.
    pub(crate) fn end_all_quick(&self) -> bool {
        let mut any = false;
        while let Some((units, first)) = self.quick.take_any() {
            self.end_quick(self.span_of(first * UNIT).expect("kept objects are entered"), units);
            any = true;
        }
        self.return_quick_promise(self.quick.take_promises());
        any
    }

    /// Renounces what `change` says, which is told how much of a promise may be spare.
    fn give_promise_back(&self, change: impl FnOnce(usize) -> usize) {
        let renounced = change(self.source.spare());
        if renounced > 0 {
            self.source.renounce(renounced);
        }
    }

    pub(crate) fn free_large(&self, span: SpanRef, addr: usize) -> Result<(), FreeError> {
        if addr != span.start {
            return Err(FreeError::NotAnObject);
        }
        let object = large(&span);
        let (len, units) = (object.len.swap(0, Relaxed), object.units.load(Relaxed));
        if len == 0 {
            return Err(FreeError::AlreadyFree(addr));
        }
        if self.give_quick(span, len, units) {
            return Ok(());
        }
        self.untell(span, 1);
        let used = len.div_ceil(UNIT);
        self.give_promise_back(|spare| {
            self.keep_by(|dirty| {
                dirty.keep_used(addr / UNIT, used);
                dirty.end_large(len, spare)
            })
        });
        self.end_span(span);
        self.uncarve(addr + used * UNIT, units - used);
        Ok(())
    }

    /// Moves a large object to where there is room for `size` bytes, which are more: its
    /// pages if that can be, else its bytes. None, and nothing has changed, when there is
    /// no memory.
    pub(crate) fn move_large(&self, span: SpanRef, size: usize) -> Option<*mut u8> {
        let new = self.place_with_headroom(size, Contents::Zero)?.start;
        let (start, (len, units)) = (span.start, extent_of(span));
        let used = len.div_ceil(UNIT);
        let relocated = len >= RELOCATED && self.source.relocate(start, new, used * UNIT);
        let to: *mut u8 = ptr::with_exposed_provenance_mut(new);
        if !relocated {
            // SAFETY: two objects, both at least so long; the old one is the caller's to
            // give up, the new one nobody else's yet.
            unsafe { ptr::copy_nonoverlapping(ptr::with_exposed_provenance(start), to, len) };
        }
        self.untell(span, 1);
        self.give_promise_back(|spare| self.dirty.with(|dirty| dirty.end_large(len, spare)));
        self.end_span(span);
        self.uncarve(start + used * UNIT, units - used);
        if relocated {
            self.uncarve(start, used);
        } else {
            self.uncarve_used(start, used);
        }
        Some(to)
    }

    /// Changes a large object's size in place; false, and nothing has changed, when
    /// what follows is in use or memory is refused.
    pub(crate) fn resize_large(&self, span: &Span, large: &Large, size: usize) -> bool {
        let Some(wanted) = size.checked_next_multiple_of(PAGE) else { return false };
        let len = large.len.load(Relaxed);
        if wanted <= len {
            if (len - wanted) * SLACK > len {
                self.shrink(span, large, len, wanted);
            }
            return true;
        }
        if !self.source.promise(wanted - len) {
            return false;
        }
        let (units, needed) = (large.units.load(Relaxed), wanted.div_ceil(UNIT));
        // Up to the end of its last unit it has had; what follows reads as zeros.
        if needed > units {
            if !self.carve_at(span.start + units * UNIT, needed - units) {
                self.source.renounce(wanted - len);
                return false;
            }
            large.units.store(needed, Relaxed);
        }
        large.len.store(wanted, Relaxed);
        self.dirty.with(|dirty| dirty.large_bytes += wanted - len);
        true
    }

    fn shrink(&self, span: &Span, large: &Large, len: usize, wanted: usize) {
        // To the end of the unit: what was allocated there may never have been zero.
        self.source.discard(span.start + wanted, len.next_multiple_of(UNIT) - wanted);
        self.source.renounce(len - wanted);
        large.len.store(wanted, Relaxed);
        self.dirty.with(|dirty| dirty.large_bytes -= len - wanted);
        let (units, kept) = (large.units.load(Relaxed), wanted.div_ceil(UNIT) * HEADROOM);
        if units > kept {
            large.units.store(kept, Relaxed);
            self.uncarve(span.start + kept * UNIT, units - kept);
        }
    }
}
