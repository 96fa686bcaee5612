//! First in, first out.
//!
//! O(1) a reference, eight bytes a frame. What is used again and again leaves as
//! soon as what is used once, and more frames can miss more (L. A. Belady, R. A. Nelson
//! and G. S. Shedler, "An anomaly in space-time characteristics of certain programs
//! running in a paging machine", CACM 12(6), 1969). It is here as the measure that any
//! other policy has to beat, and for pages that are never used again.
//!
//! With 3 frames, 1 2 3 4 1 2 5 1 2 3 4 5 misses 9 times; with 4 frames, 10 times.

use super::list::{Links, List, plain};
use super::{Policy, Step};
use crate::page::FrameNo;
use core::fmt;

/// The page that came first leaves first.
pub struct Fifo {
    links: Links,
    order: List,
}

impl Fifo {
    /// For at most `pages` pages at once.
    ///
    /// # Panics
    /// If `pages` is 0.
    pub fn new(pages: u32) -> Self {
        assert!(pages > 0, "a policy without frames");
        Self { links: Links::new(pages), order: List::EMPTY }
    }
}

impl Policy for Fifo {
    fn inserted(&mut self, frame: FrameNo, _page: u64) {
        self.order.push(&mut self.links, frame.0);
    }

    fn touched(&mut self, _frame: FrameNo) {}

    fn next(&mut self, _incoming: u64, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step> {
        self.order.oldest_of(&self.links, may).map(|frame| Step::Evict(FrameNo(frame)))
    }

    fn evicted(&mut self, frame: FrameNo) {
        self.removed(frame);
    }

    fn removed(&mut self, frame: FrameNo) {
        self.order.remove(&mut self.links, frame.0);
    }
}

impl fmt::Debug for Fifo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.order.show(&self.links, f, "fifo", plain)
    }
}
