//! The lowest page leaves.
//!
//! The simplest choice there is: of the pages in memory, the one with the lowest number.
//! O(log n) a reference that misses, nothing one that hits. A program that works in its
//! lowest pages misses all the time, whatever it used last. It is here because it is the obvious
//! choice of a simple memory manager, and as a measure of how bad a choice can be.
//!
//! With 3 frames, 1 2 3 1 4 1 2: 4 takes the place of 1, 1 that of 2, 2 that of 1: 6 misses.

use super::list::ByFrame;
use super::{Policy, Step};
use crate::page::FrameNo;
use core::fmt;
use std::collections::BTreeSet;

/// The page with the lowest number leaves first.
pub struct First {
    /// Page and frame, in order of pages.
    held: BTreeSet<(u64, FrameNo)>,
    page_of: ByFrame<u64>,
}

impl First {
    /// For at most `pages` pages at once.
    ///
    /// # Panics
    /// If `pages` is 0.
    pub fn new(pages: u32) -> Self {
        assert!(pages > 0, "a policy without frames");
        Self { held: BTreeSet::new(), page_of: ByFrame::new(pages, 0) }
    }
}

impl Policy for First {
    fn inserted(&mut self, frame: FrameNo, page: u64) {
        self.held.insert((page, frame));
        self.page_of.set(frame, page);
    }

    fn touched(&mut self, _frame: FrameNo) {}

    fn next(&mut self, _incoming: u64, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step> {
        self.held.iter().find(|(_, frame)| may(*frame)).map(|(_, frame)| Step::Evict(*frame))
    }

    fn evicted(&mut self, frame: FrameNo) {
        self.removed(frame);
    }

    fn removed(&mut self, frame: FrameNo) {
        let was_held = self.held.remove(&(self.page_of.get(frame), frame));
        assert!(was_held, "{frame:?} holds nothing");
    }
}

impl fmt::Debug for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("first [")?;
        for (index, (page, frame)) in self.held.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}{frame:?}={page}")?;
        }
        f.write_str("]")
    }
}
