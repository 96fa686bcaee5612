//! Blocks, by the index of their first page, and the indexes that are free.
//!
//! The pages of a block need not follow one another: it takes the lowest that are free, so
//! there is room for a block whenever enough pages are free.

use crate::bytes::Bytes;
use crate::error::HandleError;
use crate::handle::Handle;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::thread::ThreadId;

/// How a pin ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinKind {
    /// With the guard that it belongs to.
    Guard,
    /// By a call.
    Address,
}

/// The pins of a block.
#[derive(Debug)]
pub(crate) struct Pins {
    /// The thread of each.
    pub(crate) by: Vec<(ThreadId, PinKind)>,
    /// What they are pins of: a second owner, so that nobody takes the bytes for his own.
    pub(crate) bytes: Bytes,
}

/// Whether a block has a fixed address.
#[derive(Debug)]
pub(crate) enum Hold {
    /// No.
    Loose,
    /// Its pages are being brought in, and frames are set aside for all of them.
    Coming,
    /// Yes.
    Pinned(Pins),
}

/// One block.
#[derive(Debug)]
pub(crate) struct Block {
    /// Bytes that were asked for.
    pub(crate) size: usize,
    /// The indexes of its pages, ascending.
    pub(crate) pages: Vec<u32>,
    /// The bytes of all its pages, in place of those of its frames.
    pub(crate) gathered: Option<Bytes>,
    pub(crate) hold: Hold,
    /// It is being freed: no handle names it any more.
    pub(crate) dying: bool,
}

/// What begins at an index.
#[derive(Debug, Default)]
struct Place {
    /// Blocks that have begun here.
    generation: u32,
    block: Option<Box<Block>>,
    /// The index of the first page of the block that has this page. None: it is free.
    first: Option<u32>,
}

/// All blocks of a heap.
#[derive(Debug)]
pub(crate) struct Blocks {
    heap: u32,
    places: Vec<Place>,
    /// Free indexes that were used before; those from `places.len()` on never were.
    freed: BinaryHeap<Reverse<u32>>,
    count: u32,
    most: u32,
}

impl Blocks {
    /// No blocks, and room for `most` pages.
    pub(crate) fn new(heap: u32, most: u32) -> Self {
        Self { heap, places: Vec::new(), freed: BinaryHeap::new(), count: 0, most }
    }

    /// Pages of the virtual space.
    pub(crate) fn most(&self) -> usize {
        self.most as usize
    }

    /// Pages that no block has.
    pub(crate) fn free(&self) -> usize {
        self.most as usize - self.places.len() + self.freed.len()
    }

    /// How many blocks there are.
    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }

    /// A block of the lowest free pages, of which there must be enough.
    pub(crate) fn add(&mut self, size: usize, pages: usize) -> Handle {
        debug_assert!((1..=self.free()).contains(&pages));
        let mut indexes = Vec::with_capacity(pages);
        for _ in 0..pages {
            let index = match self.freed.pop() {
                Some(Reverse(index)) => index,
                None => {
                    self.places.push(Place::default());
                    self.places.len() as u32 - 1
                }
            };
            indexes.push(index);
        }
        let first = indexes[0];
        for index in &indexes {
            self.places[*index as usize].first = Some(first);
        }
        let place = &mut self.places[first as usize];
        place.generation = place.generation.checked_add(1).unwrap_or(1);
        let handle = Handle::new(self.heap, first, place.generation);
        let block = Block { size, pages: indexes, gathered: None, hold: Hold::Loose, dying: false };
        place.block = Some(Box::new(block));
        self.count += 1;
        handle
    }

    /// Forgets the block that begins at `first`; its pages are free.
    pub(crate) fn remove(&mut self, first: u32) {
        let block = self.places[first as usize].block.take().expect("a block is removed once");
        for index in &block.pages {
            self.places[*index as usize].first = None;
        }
        self.freed.extend(block.pages.into_iter().map(Reverse));
        self.count -= 1;
    }

    /// The block of a handle.
    #[inline]
    pub(crate) fn find(&mut self, handle: Handle) -> Result<&mut Block, HandleError> {
        if handle.heap() != self.heap {
            return Err(HandleError::Foreign(handle));
        }
        let place = self.places.get_mut(handle.index() as usize).ok_or(HandleError::Foreign(handle))?;
        let current = place.generation == handle.generation();
        match &mut place.block {
            Some(block) if current && !block.dying => Ok(block),
            _ if handle.generation() > place.generation => Err(HandleError::Foreign(handle)),
            _ => Err(HandleError::Stale(handle)),
        }
    }

    /// The block that has the page `index`.
    pub(crate) fn of_page(&mut self, index: u32) -> Option<&mut Block> {
        let first = self.places.get(index as usize)?.first?;
        self.places[first as usize].block.as_deref_mut()
    }

    /// The block that begins at `first`.
    ///
    /// # Panics
    /// If there is none.
    #[inline]
    pub(crate) fn at(&mut self, first: u32) -> &mut Block {
        self.places[first as usize].block.as_deref_mut().expect("a block begins there")
    }

    /// Every block, by the index of its first page.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Block)> {
        let all = self.places.iter().enumerate();
        all.filter_map(|(index, place)| Some((index as u32, place.block.as_deref()?)))
    }

    /// Indexes that are free, in no order.
    pub(crate) fn freed(&self) -> impl Iterator<Item = u32> {
        self.freed.iter().map(|Reverse(index)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_pages_are_taken_and_handles_age() {
        let mut blocks = Blocks::new(5, 6);
        let all: Vec<Handle> = (0..6).map(|_| blocks.add(10, 1)).collect();
        assert_eq!(all.iter().map(|handle| handle.index()).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert_eq!((blocks.free(), blocks.count()), (0, 6));
        for index in [4, 1, 3] {
            blocks.remove(index);
            assert_eq!(blocks.find(all[index as usize]).err(), Some(HandleError::Stale(all[index as usize])));
        }
        assert!(blocks.of_page(3).is_none());
        let two = blocks.add(20, 2);
        assert_eq!(blocks.at(1).pages, [1, 3]);
        assert_eq!((two.index(), two.generation()), (1, 2));
        assert_eq!(blocks.find(all[1]).err(), Some(HandleError::Stale(all[1])));
        assert_eq!(blocks.of_page(3).map(|block| block.size), Some(20));
        let other = Handle::new(6, 0, 1);
        assert_eq!(blocks.find(other).err(), Some(HandleError::Foreign(other)));
        for unknown in [Handle::new(5, 6, 1), Handle::new(5, 0, 2)] {
            assert_eq!(blocks.find(unknown).err(), Some(HandleError::Foreign(unknown)));
        }
        assert!(blocks.of_page(4).is_none(), "it is free");
        blocks.at(1).dying = true;
        assert_eq!(blocks.find(two).err(), Some(HandleError::Stale(two)));
    }
}
