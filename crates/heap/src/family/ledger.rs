#![expect(unsafe_code, reason = "writes meta blocks into pages that the family holds")]
//! What is known of one family's runs and blocks: all that its lock protects.

use crate::family::blocks::BlockState;
use crate::family::index::{Choice, FreeIndex};
use crate::family::layout::Shape;
use crate::family::meta::MetaBlock;
use crate::family::run::{Block, Rest, Run};
use crate::family::runs::Runs;

/// Counts that are kept up with every change, so that asking for them costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) run_bytes: usize,
    pub(super) used_blocks: usize,
    pub(super) free_blocks: usize,
    /// Of used blocks: meta blocks and data.
    pub(super) used_bytes: usize,
    pub(super) hard_bytes: usize,
    /// Of free blocks that no object fits.
    pub(super) soft_bytes: usize,
}

impl Counts {
    /// A block has come (or, with `gone`, ceased) to be.
    fn note(&mut self, block: &Block, shape: &Shape, gone: bool) {
        let add = |count: &mut usize, by: usize| {
            *count = if gone { *count - by } else { *count + by };
        };
        match block.state {
            BlockState::Used => {
                add(&mut self.used_blocks, 1);
                add(&mut self.used_bytes, block.len - block.hard);
                add(&mut self.hard_bytes, block.hard);
            }
            BlockState::Free => {
                add(&mut self.free_blocks, 1);
                if !shape.fits_object(block.len) {
                    add(&mut self.soft_bytes, block.len);
                }
            }
        }
    }

    pub(super) fn add(&mut self, block: &Block, shape: &Shape) {
        self.note(block, shape, false);
    }
}

/// A block that has been handed out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handed {
    pub(super) data: usize,
    /// So many of its bytes may not be zero.
    pub(super) unclean: usize,
}

/// What happened to a family's runs when a block was freed.
#[derive(Debug)]
pub(super) enum Freed {
    /// The block is free.
    Block,
    /// Its run was emptied by it, and is no longer the family's.
    Run(Run),
}

/// A list of vacant places of up to this length is not worth giving back.
const FEW_VACANT: usize = 1024;

/// The runs, the index of free blocks, and the counts.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    runs: Runs,
    /// Places of `runs` without one.
    vacant: Vec<u32>,
    pub(super) index: FreeIndex,
    pub(super) counts: Counts,
}

impl Ledger {
    pub(super) fn run(&self, run: u32) -> Option<&Run> {
        self.runs.get(run)
    }

    #[cfg(test)]
    pub(super) fn run_mut(&mut self, run: u32) -> &mut Run {
        self.runs.get_mut(run).expect("a run")
    }

    /// Tells of the runs, in no order.
    pub(super) fn each_run(&self, mut tell: impl FnMut(&Run)) {
        self.runs.iter().for_each(|(_, run)| tell(run));
    }

    /// The runs, in the order of their addresses.
    pub(super) fn runs(&self) -> Vec<(u32, &Run)> {
        let mut runs: Vec<(u32, &Run)> = self.runs.iter().collect();
        runs.sort_unstable_by_key(|(_, run)| run.start);
        runs
    }

    /// Enters a run that is one free block; its number.
    pub(super) fn add_run(&mut self, run: Run, shape: &Shape) -> u32 {
        let block = run.at(0).expect("one block");
        self.counts.run_bytes += run.len();
        self.counts.add(&block, shape);
        self.index.insert(block.len, run.start);
        let number = self.vacant.pop().unwrap_or_else(|| self.runs.add_place());
        self.runs.put(number, run);
        number
    }

    /// Length and address of a free block of at least `total` bytes.
    pub(super) fn choose(&mut self, total: usize, choice: Choice) -> Option<(usize, usize)> {
        self.index.choose(total, choice)
    }

    /// Hands out the first `total` bytes of the free block at `address` in a run.
    pub(super) fn take(&mut self, number: u32, address: usize, total: usize, shape: &Shape) -> Handed {
        let run = self.runs.get_mut(number).expect("the block's run is here");
        let free = run.at(address - run.start).expect("a free block is in the index");
        self.index.remove(free.len, address);
        self.counts.note(&free, shape, true);
        let (data, end) = (free.offset + shape.meta, free.offset + total);
        let unclean = run.touched.clamp(data, end) - data;
        run.touched = run.touched.max(end);
        let rest = run.split(&free, total, shape);
        let used = run.at(free.offset).expect("just made");
        self.counts.note(&used, shape, false);
        match rest {
            Rest::None | Rest::Hard(_) => describe(run, &used, shape),
            Rest::Free(len) => {
                self.index.insert(len, run.start + end);
                let rest = run.after(&used).expect("just made");
                self.counts.note(&rest, shape, false);
                describe(run, &rest, shape);
                describe_beside(run, &rest, shape);
            }
        }
        Handed { data: run.start + data, unclean }
    }

    /// Frees a used block.
    pub(super) fn free(&mut self, number: u32, used: &Block, shape: &Shape) -> Freed {
        let run = self.runs.get_mut(number).expect("the block's run is here");
        self.counts.note(used, shape, true);
        let (before, after, joined) = run.join(used);
        for neighbour in [before, after].into_iter().flatten() {
            self.index.remove(neighbour.len, run.start + neighbour.offset);
            self.counts.note(&neighbour, shape, true);
        }
        if joined.len == run.len() {
            self.counts.run_bytes -= run.len();
            let run = self.runs.take(number).expect("looked at just now");
            self.vacant.push(number);
            if self.vacant.len() == self.runs.len() && self.vacant.len() > FEW_VACANT {
                (self.runs, self.vacant) = (Runs::default(), Vec::new());
            }
            return Freed::Run(run);
        }
        self.index.insert(joined.len, run.start + joined.offset);
        self.counts.note(&joined, shape, false);
        describe(run, &joined, shape);
        describe_beside(run, &joined, shape);
        Freed::Block
    }
}

/// What the meta block of a block says.
pub(super) fn meta_of(run: &Run, block: &Block, shape: &Shape) -> MetaBlock {
    MetaBlock {
        state: block.state,
        size: block.len - shape.meta - block.hard,
        offset: block.offset,
        previous: run.before(block).map(|block| block.offset),
        next: run.after(block).map(|block| block.offset),
        hard: block.hard,
    }
}

/// Writes the meta block of a block into the page, where the layout has them there.
fn describe(run: &mut Run, block: &Block, shape: &Shape) {
    if shape.meta > 0 {
        // SAFETY: the block begins with its meta block, which is the heap's; its run is
        // held by this family, whose lock is taken.
        unsafe { meta_of(run, block, shape).write(run.start + block.offset, shape.meta) };
        run.touched = run.touched.max(block.offset + shape.meta);
    }
}

/// The same for the blocks before and after it, which name it.
fn describe_beside(run: &mut Run, block: &Block, shape: &Shape) {
    if shape.meta > 0 {
        for neighbour in [run.before(block), run.after(block)].into_iter().flatten() {
            describe(run, &neighbour, shape);
        }
    }
}
