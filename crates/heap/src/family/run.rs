//! Runs of pages, cut into blocks. Offsets and lengths are in bytes from the run's start.

use crate::family::blocks::{BlockState, Blocks};
use crate::family::layout::{PAGE as UNIT, Shape};
use std::collections::BTreeMap;

/// Consecutive pages of one family: one page, unless a block needs more.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) start: usize,
    /// What lies from here on reads as zeros: nobody has had it since it came from the
    /// kernel.
    pub(super) touched: usize,
    blocks: Blocks,
    /// Of [`UNIT`] bytes.
    units: u32,
    /// Blocks begin at multiples of it.
    grid: u32,
    /// Hard fragmentation: what a block holds beyond its data, by the block's offset.
    /// Few runs have any.
    #[expect(clippy::box_collection, reason = "8 bytes in place of 24 in each run that has none")]
    hard: Option<Box<BTreeMap<usize, u8>>>,
}

/// One block, meta block included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) offset: usize,
    pub(super) len: usize,
    pub(super) state: BlockState,
    /// Of its bytes, those that are neither meta block nor data.
    pub(super) hard: usize,
}

/// What became of the rest of a free block that was allocated from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// The request fitted exactly.
    None,
    /// Too short for a block: the used block keeps these bytes.
    Hard(usize),
    /// A free block of this many bytes.
    Free(usize),
}

impl Run {
    /// A run that is one free block.
    pub(super) fn new(start: usize, len: usize, touched: usize, shape: &Shape) -> Self {
        // Blocks that begin at multiples of a length begin at multiples of 1 as well.
        let grid = u32::try_from(shape.grid).unwrap_or(1);
        let units = u32::try_from(len / UNIT).expect("no run is that long");
        debug_assert!(len.is_multiple_of(UNIT));
        // A last block shorter than the grid may begin in the last slot.
        let mut blocks = Blocks::new(len.div_ceil(grid as usize));
        blocks.put(0, BlockState::Free);
        Self { start, touched, blocks, units, grid, hard: None }
    }

    /// Bytes in it.
    pub(super) fn len(&self) -> usize {
        self.units as usize * UNIT
    }

    fn grid(&self) -> usize {
        self.grid as usize
    }

    fn block(&self, slot: usize, state: BlockState) -> Block {
        let offset = slot * self.grid();
        let end = self.blocks.after(slot).map_or(self.len(), |(next, _)| next * self.grid());
        let hard = self.hard.as_ref().and_then(|hard| hard.get(&offset)).map_or(0, |hard| usize::from(*hard));
        Block { offset, len: end - offset, state, hard }
    }

    /// The block that begins at `offset`.
    pub(super) fn at(&self, offset: usize) -> Option<Block> {
        let slot = offset.is_multiple_of(self.grid()).then_some(offset / self.grid())?;
        Some(self.block(slot, self.blocks.at(slot)?))
    }

    /// The block that `offset`, which is within the run, lies in.
    pub(super) fn around(&self, offset: usize) -> Option<Block> {
        let (slot, state) = self.blocks.around(offset / self.grid())?;
        Some(self.block(slot, state))
    }

    /// Breaks the laws.
    #[cfg(test)]
    pub(super) fn mark_free(&mut self, offset: usize) {
        self.blocks.put(offset / self.grid(), BlockState::Free);
    }

    pub(super) fn before(&self, block: &Block) -> Option<Block> {
        let (slot, state) = self.blocks.before(block.offset / self.grid())?;
        Some(self.block(slot, state))
    }

    pub(super) fn after(&self, block: &Block) -> Option<Block> {
        let (slot, state) = self.blocks.after(block.offset / self.grid())?;
        Some(self.block(slot, state))
    }

    /// All blocks, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Block> + '_ {
        core::iter::successors(self.at(0), |block| self.after(block))
    }

    /// Uses the first `total` bytes of a free block, and says what became of the rest.
    pub(super) fn split(&mut self, free: &Block, total: usize, shape: &Shape) -> Rest {
        debug_assert!(free.state == BlockState::Free && free.len >= total);
        let rest = match free.len - total {
            0 => Rest::None,
            // A free block has at least one byte of data, so a rest as long as a meta
            // block is too short as well.
            rest if rest <= shape.meta => Rest::Hard(rest),
            rest => Rest::Free(rest),
        };
        self.blocks.put(free.offset / self.grid(), BlockState::Used);
        match rest {
            Rest::None => {}
            Rest::Hard(bytes) => _ = self.hard.get_or_insert_default().insert(free.offset, bytes as u8),
            Rest::Free(_) => self.blocks.put((free.offset + total) / self.grid(), BlockState::Free),
        }
        rest
    }

    /// Frees a used block, and joins it with its free neighbours: what was before it,
    /// what was after it, and the free block that they have become.
    pub(super) fn join(&mut self, used: &Block) -> (Option<Block>, Option<Block>, Block) {
        let is_free = |block: &Block| block.state == BlockState::Free;
        let (before, after) = (self.before(used).filter(is_free), self.after(used).filter(is_free));
        if let Some(hard) = &mut self.hard {
            hard.remove(&used.offset);
        }
        if let Some(after) = &after {
            self.blocks.remove(after.offset / self.grid());
        }
        let offset = match &before {
            Some(before) => {
                self.blocks.remove(used.offset / self.grid());
                before.offset
            }
            None => {
                self.blocks.put(used.offset / self.grid(), BlockState::Free);
                used.offset
            }
        };
        (before, after, self.block(offset / self.grid(), BlockState::Free))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::layout::Layout;

    fn shape(size: usize) -> Shape {
        Shape::of(Layout::InPage { page_size: 4096, meta_size: 28 }, size, Some(1)).expect("a shape")
    }

    #[test]
    fn a_rest_is_nothing_hard_or_a_block() {
        // (total, rest): of a page of 4096 bytes, meta blocks of 28.
        for (total, expected) in [
            (4096, Rest::None),
            (4095, Rest::Hard(1)),
            (4069, Rest::Hard(27)),
            (4068, Rest::Hard(28)),
            (4067, Rest::Free(29)),
            (64, Rest::Free(4032)),
        ] {
            let shape = shape(1);
            let mut run = Run::new(0, 4096, 0, &shape);
            let free = run.at(0).expect("one block");
            assert_eq!(run.split(&free, total, &shape), expected);
            let used = run.at(0).expect("used");
            assert_eq!(
                (used.state, used.hard),
                (
                    BlockState::Used,
                    match expected {
                        Rest::Hard(bytes) => bytes,
                        _ => 0,
                    }
                )
            );
            assert_eq!(run.join(&used).2, free, "all of it comes back");
        }
    }

    #[test]
    fn an_end_shorter_than_the_grid_is_a_block_or_the_end_of_one() {
        // The second has slots for ten words of bits, the last of them not full.
        for (size, len) in [(36, 4096), (60, 9 * 4096)] {
            let shape = Shape::of(Layout::Outside, size, None).expect("a shape");
            let (objects, end) = (len / size, len % size);
            let mut run = Run::new(0, len, 0, &shape);
            let free = run.at(0).expect("one block");
            assert_eq!(run.split(&free, (objects - 1) * size, &shape), Rest::Free(size + end));
            let rest = run.around(len - 1).expect("blocks tile the run");
            assert_eq!((rest.offset, rest.len), ((objects - 1) * size, size + end));
            assert_eq!(run.at(objects * size), None);
            assert_eq!(run.split(&rest, size, &shape), Rest::Free(end));
            let last = run.around(len - 1).expect("blocks tile the run");
            assert_eq!((last.offset, last.len, run.after(&last)), (objects * size, end, None));
            assert_eq!(run.iter().map(|block| block.len).sum::<usize>(), len);
        }
    }
}
