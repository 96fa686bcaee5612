#![expect(unsafe_code, reason = "made of zeroed memory")]
//! What a thread keeps at hand.

use crate::class::{CLASSES, LARGEST_SMALL, class_size};
use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};

/// Objects in a bin at most.
pub(crate) const BIN: usize = 128;

/// Objects that a thread keeps of a class: up to 32 KiB of them, two at least.
const fn most(class: usize) -> usize {
    let by_bytes = LARGEST_SMALL / class_size(class);
    if by_bytes < 2 {
        2
    } else if by_bytes > BIN {
        BIN
    } else {
        by_bytes
    }
}

/// Where each class's bin begins among the slots.
const BINS: [usize; CLASSES + 1] = {
    let mut starts = [0; CLASSES + 1];
    let mut class = 0;
    while class < CLASSES {
        starts[class + 1] = starts[class] + most(class);
        class += 1;
    }
    starts
};

/// Free objects of one thread: a stack for each class, kept beside the objects, not in
/// them. Belongs to one heap; must be given back with [`crate::Heap::flush`] before it
/// is dropped, else what it holds is lost.
///
/// Stacks start short and double as they are used, so that a thousand threads that
/// allocate little keep little.
#[derive(Debug)]
pub struct ThreadCache {
    len: [u8; CLASSES],
    limit: [u8; CLASSES],
    slots: [usize; BINS[CLASSES]],
}

impl ThreadCache {
    /// Empty, resident where it is used.
    pub fn new() -> Box<Self> {
        let layout = Layout::new::<Self>();
        // SAFETY: the layout is not empty; zeros are a valid, empty cache, and the
        // memory comes from the allocator that will free the box.
        unsafe {
            let cache = alloc_zeroed(layout);
            if cache.is_null() {
                handle_alloc_error(layout);
            }
            Box::from_raw(cache.cast())
        }
    }

    /// The object freed last: it is likely to be in RAM, and in the processor's cache.
    #[inline]
    pub(crate) fn pop(&mut self, class: usize) -> Option<usize> {
        let len = self.len[class].checked_sub(1)?;
        self.len[class] = len;
        Some(self.slots[BINS[class] + len as usize])
    }

    /// Keeps a free object; false when the bin is at its limit.
    #[inline]
    pub(crate) fn push(&mut self, class: usize, addr: usize) -> bool {
        let len = self.len[class];
        if len >= self.limit[class] {
            return false;
        }
        self.slots[BINS[class] + len as usize] = addr;
        self.len[class] = len + 1;
        true
    }

    /// Whether an object is the one freed last: the commonest double free.
    #[inline]
    pub(crate) fn is_last(&self, class: usize, addr: usize) -> bool {
        let len = self.len[class] as usize;
        len > 0 && self.slots[BINS[class] + len - 1] == addr
    }

    fn grow(&mut self, class: usize) {
        self.limit[class] = (self.limit[class] as usize * 2).clamp(2, most(class)) as u8;
    }

    /// Fills an empty bin by half: `fill` is given the places and tells how many it
    /// filled, lowest address first.
    pub(crate) fn refill(&mut self, class: usize, fill: impl FnOnce(&mut [usize]) -> usize) {
        debug_assert_eq!(self.len[class], 0);
        self.grow(class);
        let places = &mut self.slots[BINS[class]..][..self.limit[class] as usize / 2];
        let filled = fill(places);
        // What is popped first has the lowest address.
        places[..filled].reverse();
        self.len[class] = filled as u8;
    }

    /// Makes room in a full bin: `give_back` is given the half that was freed first.
    pub(crate) fn make_room<R>(&mut self, class: usize, give_back: impl FnOnce(&[usize]) -> R) -> R {
        let bin = &mut self.slots[BINS[class]..BINS[class + 1]];
        let len = self.len[class] as usize;
        let older = len.div_ceil(2);
        let result = give_back(&bin[..older]);
        bin.copy_within(older..len, 0);
        self.len[class] = (len - older) as u8;
        self.grow(class);
        result
    }

    /// Empties a bin.
    pub(crate) fn drain(&mut self, class: usize) -> &[usize] {
        let len = core::mem::take(&mut self.len[class]) as usize;
        &self.slots[BINS[class]..][..len]
    }
}
