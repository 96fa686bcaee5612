#![expect(unsafe_code, reason = "looks at spans that other threads use")]
//! Which pages hold nothing: a pager drops them where it would write others.

use crate::class::{CLASSES, GEOMETRY, UNIT};
use crate::heap::{Heap, PAGE};
use crate::source::PageSource;
use crate::span::Entry;

impl<S: PageSource> Heap<S> {
    /// Whether nothing allocated lies in the page at `page`, a multiple of the page size.
    /// False where that is not certain: it waits for no lock, and allocates nothing, so a
    /// pager may ask that other threads wait for. Objects in a thread's cache count as
    /// allocated.
    ///
    /// Unless somebody allocates from the page in the same moment, no byte of it will be
    /// read before it is written, or cleared by writing: its contents may become zeros.
    /// Somebody who does has marked the object as allocated before it is first touched; so
    /// it is enough to ask when nobody can touch the page without a fault.
    pub fn is_unused(&self, page: usize) -> bool {
        debug_assert!(page.is_multiple_of(PAGE));
        if !self.owns(page) {
            return false;
        }
        let entry = self.entry(page);
        if entry == Entry::NONE {
            return self.is_free_unit(page / UNIT);
        }
        let Some(class) = self.classes.get(entry.class()) else { return self.quick.has(page / UNIT) };
        class.try_with(|_| {
            // Under the class's lock its spans stay in the table, and whole.
            let entry_now = self.entry(page);
            let geometry = GEOMETRY.get(entry_now.class()).filter(|_| entry_now == entry);
            let Some(geometry) = geometry else { return false };
            let start = entry.offset(page);
            // SAFETY: the span is of this class, and in the table under its lock; the
            // places are its own.
            geometry.starts_of(start..start + PAGE).all(|place| !unsafe { entry.is_taken(place) })
        }) == Some(true)
    }

    /// Units that no span is entered for are free, or the later ones of a large object.
    fn is_free_unit(&self, unit: usize) -> bool {
        self.dirty.try_with(|dirty| dirty.has(unit)) == Some(true)
            || self.extents.try_with(|extents| extents.has(unit)) == Some(true)
            || self.quick.has(unit)
    }
}

const _: () = assert!(CLASSES < 256 && UNIT.is_multiple_of(PAGE));
