//! 2Q, the full version.
//!
//! T. Johnson and D. Shasha, "2Q: a low overhead high performance buffer management
//! replacement algorithm", VLDB 1994. What comes in goes to a FIFO queue, A1in; what
//! leaves it is remembered in A1out; a page that comes back while it is remembered goes to
//! Am, which is kept by recency. A hit in A1in moves nothing: references that come close
//! together count as one. A1in gives a page while it has more than Kin, a quarter of the
//! frames; otherwise Am does, and leaves no ghost. A1out remembers Kout pages, half as many as there
//! are frames. Both are rounded down, and at least one.
//!
//! O(1) a reference; 17 bytes a frame and about 40 a ghost. Scans pass through A1in only.
//! A page has to miss twice before it is kept, so short runs and working sets that change
//! quickly pay more than with LRU; the shares are fixed, and a working set that needs
//! more than its share of A1out is never recognised.
//!
//! With 4 frames (Kin 1, Kout 2), 1 2 3 4 5 1 6 7 1: 5 pushes 1 out into A1out, 1 comes back
//! into Am (2 leaves), 6 and 7 push 3 and 4 out; 1 is a hit.

use super::ghosts::Ghosts;
use super::list::{ByFrame, Links, List, plain};
use super::{Policy, Step};
use crate::page::FrameNo;
use core::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    A1In,
    Am,
}

/// What comes back after it left is kept by recency.
pub struct TwoQueue {
    k_in: u32,
    links: Links,
    a1_in: List,
    am: List,
    queue: ByFrame<Queue>,
    page_of: ByFrame<u64>,
    a1_out: Ghosts,
    /// The page that was asked for and was in A1out then: making room for it may push
    /// it out, and it belongs in Am nevertheless.
    expected: Option<u64>,
}

impl TwoQueue {
    /// For at most `pages` pages at once.
    ///
    /// # Panics
    /// If `pages` is 0.
    pub fn new(pages: u32) -> Self {
        assert!(pages > 0, "a policy without frames");
        Self {
            k_in: (pages / 4).max(1),
            links: Links::new(pages),
            a1_in: List::EMPTY,
            am: List::EMPTY,
            queue: ByFrame::new(pages, Queue::A1In),
            page_of: ByFrame::new(pages, 0),
            a1_out: Ghosts::new((pages / 2).max(1)),
            expected: None,
        }
    }
}

impl Policy for TwoQueue {
    fn inserted(&mut self, frame: FrameNo, page: u64) {
        let remembered = self.a1_out.take(page);
        self.page_of.set(frame, page);
        if remembered || self.expected == Some(page) {
            self.queue.set(frame, Queue::Am);
            self.am.push(&mut self.links, frame.0);
        } else {
            self.queue.set(frame, Queue::A1In);
            self.a1_in.push(&mut self.links, frame.0);
        }
        self.expected = None;
    }

    fn touched(&mut self, frame: FrameNo) {
        if self.queue.get(frame) == Queue::Am {
            self.am.renew(&mut self.links, frame.0);
        }
    }

    fn next(&mut self, incoming: u64, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step> {
        self.expected = self.a1_out.contains(incoming).then_some(incoming);
        let full = self.a1_in.len() > self.k_in;
        let [first, second] = if full { [&self.a1_in, &self.am] } else { [&self.am, &self.a1_in] };
        let found = first.oldest_of(&self.links, may).or_else(|| second.oldest_of(&self.links, may))?;
        Some(Step::Evict(FrameNo(found)))
    }

    fn evicted(&mut self, frame: FrameNo) {
        if self.queue.get(frame) == Queue::A1In {
            self.a1_out.push(self.page_of.get(frame));
        }
        self.removed(frame);
    }

    fn removed(&mut self, frame: FrameNo) {
        match self.queue.get(frame) {
            Queue::A1In => self.a1_in.remove(&mut self.links, frame.0),
            Queue::Am => self.am.remove(&mut self.links, frame.0),
        }
    }
}

impl fmt::Debug for TwoQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.a1_in.show(&self.links, f, "2q a1in", plain)?;
        self.am.show(&self.links, f, " am", plain)?;
        write!(f, " a1out {}", self.a1_out.len())
    }
}
