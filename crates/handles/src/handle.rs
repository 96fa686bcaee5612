//! Handles: names of blocks that can be told from those of blocks that are gone.
//!
//! ```text
//!  63             32 31         22 21            0
//! ┌─────────────────┬─────────────┬───────────────┐
//! │ generation      │ heap        │ index         │
//! └─────────────────┴─────────────┴───────────────┘
//! ```
//!
//! The index is that of the block's first page; the generation counts the blocks that began at
//! that page, from 1, so that no handle is 0; the heap's number tells handles of other heaps.

use core::fmt;
use core::num::NonZeroU64;

/// Bits of a page's index: as many as the core below has pages.
pub(crate) const INDEX_BITS: u32 = 22;
/// Bits of a heap's number.
pub(crate) const HEAP_BITS: u32 = 10;

const _: () = assert!(1 << INDEX_BITS == pager::space::MAX_SPACE_PAGES, "an index names every page");

/// The name of a block of a [`VirtualHeap`](crate::VirtualHeap).
///
/// A copy of it stays what it was when the block is freed: it is told from the handle of
/// whatever is there next. Heaps are told apart by number, of which there are 1024, and the
/// blocks at one page by a count that begins anew after 2³².
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(NonZeroU64);

impl Handle {
    pub(crate) fn new(heap: u32, index: u32, generation: u32) -> Self {
        debug_assert!(heap >> HEAP_BITS == 0 && index >> INDEX_BITS == 0);
        let bits = u64::from(generation) << 32 | u64::from(heap << INDEX_BITS | index);
        Self(NonZeroU64::new(bits).expect("generations are counted from 1"))
    }

    /// The handle as a number, never 0, for languages that have no such type.
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The handle that [`Self::to_bits`] gave. None: 0. Any other number may be tried; one that
    /// names no block is refused where it is used.
    pub fn from_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }

    /// The index of the block's first page.
    pub(crate) fn index(self) -> u32 {
        self.to_bits() as u32 & ((1 << INDEX_BITS) - 1)
    }

    pub(crate) fn heap(self) -> u32 {
        self.to_bits() as u32 >> INDEX_BITS
    }

    pub(crate) fn generation(self) -> u32 {
        (self.to_bits() >> 32) as u32
    }
}

/// Heap, index and generation: `h1.7.3`.
impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h{}.{}.{}", self.heap(), self.index(), self.generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_at_their_limits() {
        for heap in [0, 1, (1 << HEAP_BITS) - 1] {
            for index in [0, 1, (1 << INDEX_BITS) - 1] {
                for generation in [1, u32::MAX] {
                    let handle = Handle::new(heap, index, generation);
                    assert_eq!(
                        (handle.heap(), handle.index(), handle.generation()),
                        (heap, index, generation)
                    );
                    assert_eq!(Handle::from_bits(handle.to_bits()), Some(handle));
                }
            }
        }
        assert_eq!(Handle::from_bits(0), None);
        assert_eq!(format!("{:?}", Handle::new(1, 7, 3)), "h1.7.3");
    }
}
