//! Least recently used.
//!
//! R. L. Mattson, J. Gecsei, D. R. Slutz and I. L. Traiger, "Evaluation techniques for
//! storage hierarchies", IBM Systems Journal 9(2), 1970, who show that what it holds in
//! n frames it holds in n + 1 as well: more frames never miss more.
//!
//! O(1) a reference, eight bytes a frame. A scan of more pages than there are frames
//! pushes everything out, and a loop over one page more than there are frames misses
//! every time. It needs to see every reference, which paging hardware does not tell:
//! a pager that is told of faults only has the clock in its place.
//!
//! With 3 frames, 1 2 3 1 4 2: 4 pushes 2 out, since 1 was used meanwhile; then 2 pushes 3
//! out: 5 misses.

use super::list::{Links, List, plain};
use super::{Policy, Step};
use crate::page::FrameNo;
use core::fmt;

/// The page that was not referenced for the longest time leaves.
pub struct Lru {
    links: Links,
    order: List,
}

impl Lru {
    /// For at most `pages` pages at once.
    ///
    /// # Panics
    /// If `pages` is 0.
    pub fn new(pages: u32) -> Self {
        assert!(pages > 0, "a policy without frames");
        Self { links: Links::new(pages), order: List::EMPTY }
    }
}

impl Policy for Lru {
    fn inserted(&mut self, frame: FrameNo, _page: u64) {
        self.order.push(&mut self.links, frame.0);
    }

    fn touched(&mut self, frame: FrameNo) {
        self.order.renew(&mut self.links, frame.0);
    }

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

impl fmt::Debug for Lru {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.order.show(&self.links, f, "lru", plain)
    }
}
