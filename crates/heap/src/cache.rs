#![expect(unsafe_code, reason = "made of zeroed memory; its places are found without a check")]
//! What a thread keeps at hand.

use crate::class::{CLASSES, class_of, class_size};
use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};

/// Objects in a bin at most.
pub(crate) const BIN: usize = 128;
/// Objects freed last among which one that is freed again is looked for at once.
const LOOKED_AT: usize = 2;
/// Bytes of the objects in a bin at most, if there are more than [`FEW`].
const BIN_BYTES: usize = 128 << 10;
/// So few are kept however long they are.
const FEW: usize = 8;

/// Objects that a thread keeps of a class.
const fn most(class: usize) -> usize {
    let by_bytes = BIN_BYTES / class_size(class);
    if by_bytes < FEW {
        FEW
    } else if by_bytes > BIN {
        BIN
    } else {
        by_bytes
    }
}

/// Where each class's bin begins among the slots, of which the first few are nobody's.
const BOTTOMS: [u16; CLASSES + 1] = {
    let mut bottoms = [LOOKED_AT as u16; CLASSES + 1];
    let mut class = 0;
    while class < CLASSES {
        bottoms[class + 1] = bottoms[class] + most(class) as u16;
        class += 1;
    }
    bottoms
};
/// Places for objects.
const SLOTS: usize = BOTTOMS[CLASSES] as usize;

/// A stack among the slots. **Invariant**: `LOOKED_AT <= bottom <= top <= end <= SLOTS`.
#[derive(Clone, Copy, Debug)]
#[repr(align(8))]
struct Bin {
    /// The place above the object freed last.
    top: u16,
    /// Of its places the first, and the one that it may not use.
    bottom: u16,
    end: u16,
}

/// Free objects of one thread: a stack for each class, kept beside the objects, not in
/// them. Belongs to one heap; must be given back with [`crate::Heap::flush`] before it
/// is dropped, else what it holds is lost.
///
/// Stacks start short and double as they are used, so that a thousand threads that
/// allocate little keep little.
#[derive(Debug)]
pub struct ThreadCache {
    bins: [Bin; CLASSES],
    /// Every bin is empty and without places.
    closed: bool,
    slots: [usize; SLOTS],
}

impl ThreadCache {
    /// Empty, resident where it is used.
    pub fn new() -> Box<Self> {
        let layout = Layout::new::<Self>();
        // SAFETY: the layout is not empty; zeros are valid, and the memory comes from the
        // allocator that will free the box.
        let mut cache: Box<Self> = unsafe {
            let cache = alloc_zeroed(layout);
            if cache.is_null() {
                handle_alloc_error(layout);
            }
            Box::from_raw(cache.cast())
        };
        for (bin, bottom) in cache.bins.iter_mut().zip(BOTTOMS) {
            *bin = Bin { top: bottom, bottom, end: bottom };
        }
        cache
    }

    /// An object of at least `size` bytes, at most [`crate::LARGEST_SMALL`], if there is
    /// one: the one freed last, which is likely to be in RAM, and in the processor's cache.
    #[inline]
    pub fn take(&mut self, size: usize) -> Option<usize> {
        self.pop(class_of(size))
    }

    /// The object of a class that was freed last.
    #[inline]
    pub(crate) fn pop(&mut self, class: usize) -> Option<usize> {
        debug_assert!(class < CLASSES);
        // SAFETY: classes are fewer than bins.
        let bin = unsafe { self.bins.get_unchecked_mut(class) };
        if bin.top == bin.bottom {
            return None;
        }
        let top = bin.top - 1;
        bin.top = top;
        // SAFETY: below what was the top, which is within the slots.
        Some(unsafe { *self.slots.get_unchecked(top as usize) })
    }

    /// Keeps a free object; false when the bin is at its limit, or seems to have it
    /// already: see [`Self::holds`].
    #[inline]
    pub(crate) fn push(&mut self, class: usize, addr: usize) -> bool {
        debug_assert!(class < CLASSES);
        // SAFETY: classes are fewer than bins.
        let bin = unsafe { self.bins.get_unchecked_mut(class) };
        let top = bin.top as usize;
        if bin.top == bin.end {
            return false;
        }
        for back in 1..=LOOKED_AT {
            // Of a short bin the neighbour's places are looked at too: what is in them
            // does no harm.
            // SAFETY: bins begin at least so far from the first slot.
            if unsafe { *self.slots.get_unchecked(top - back) } == addr {
                return false;
            }
        }
        // SAFETY: below the end, which is within the slots or behind the last.
        unsafe { *self.slots.get_unchecked_mut(top) = addr };
        bin.top += 1;
        true
    }

    /// Whether an object is in its bin: it was freed before.
    pub(crate) fn holds(&self, class: usize, addr: usize) -> bool {
        self.kept(class).contains(&addr)
    }

    /// The objects in a bin.
    fn kept(&self, class: usize) -> &[usize] {
        let Bin { top, bottom, .. } = self.bins[class];
        &self.slots[bottom as usize..top as usize]
    }

    /// Bytes of the objects that are kept.
    pub fn kept_bytes(&self) -> usize {
        // Asked at every call of who frees all there is.
        if self.closed {
            return 0;
        }
        (0..CLASSES).map(|class| self.kept(class).len() * class_size(class)).sum()
    }

    fn grow(&mut self, class: usize) {
        self.closed = false;
        let bin = &mut self.bins[class];
        let places = (2 * (bin.end - bin.bottom)).clamp(2, most(class) as u16);
        bin.end = bin.bottom + places;
    }

    /// Fills an empty bin by half: `fill` is given the places and tells how many it
    /// filled, lowest address first.
    pub(crate) fn refill(&mut self, class: usize, fill: impl FnOnce(&mut [usize]) -> usize) {
        debug_assert!(self.kept(class).is_empty());
        self.grow(class);
        let Bin { bottom, end, .. } = self.bins[class];
        let places = &mut self.slots[bottom as usize..bottom as usize + (end - bottom) as usize / 2];
        let filled = fill(places);
        // What is popped first has the lowest address.
        places[..filled].reverse();
        self.bins[class].top = bottom + filled as u16;
    }

    /// Makes room in a full bin: `give_back` is given the half that was freed first.
    pub(crate) fn make_room<R>(&mut self, class: usize, give_back: impl FnOnce(&[usize]) -> R) -> R {
        let Bin { top, bottom, .. } = self.bins[class];
        let bin = &mut self.slots[bottom as usize..top as usize];
        let older = bin.len().div_ceil(2);
        let result = give_back(&bin[..older]);
        bin.copy_within(older.., 0);
        self.bins[class].top = top - older as u16;
        self.grow(class);
        result
    }

    /// Empties a bin.
    pub(crate) fn drain(&mut self, class: usize) -> &[usize] {
        let Bin { top, bottom, .. } = self.bins[class];
        self.bins[class].top = bottom;
        &self.slots[bottom as usize..top as usize]
    }

    /// No bin keeps anything until it is filled again. They are empty.
    pub(crate) fn close(&mut self) {
        for bin in &mut self.bins {
            debug_assert_eq!(bin.top, bin.bottom);
            bin.end = bin.bottom;
        }
        self.closed = true;
    }

    /// Whether it has been closed, and not filled since.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }
}
