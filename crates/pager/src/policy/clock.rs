//! The clock, or second chance.
//!
//! F. J. Corbató, "A paging experiment with the Multics system", MIT Project MAC, 1968.
//! Frames lie in a ring in order of arrival. At the hand, a frame whose reference bit is
//! set has it cleared and goes round once more; the first without is taken.
//!
//! A reference costs one bit; a miss is O(1) on average, because a bit that is cleared
//! had to be set, and O(n) at worst. Nine bytes a frame. Near LRU where there is a
//! working set; as helpless as LRU against scans and loops that exceed the frames.
//!
//! The one parameter is whether what comes in counts as referenced. It does in a pager:
//! the access that faulted is a reference. In replay it does not, as is usual in
//! comparisons of policies: a page is referenced when it is used *again*.
//!
//! With 3 frames and unreferenced arrivals, 1 2 3 1 4 1 2: 4 finds 1 referenced, lets it
//! go round, and takes 2's frame; the ring is then 3 1 4, 1 is a hit, and 2 takes 3's
//! frame: 5 misses. FIFO has 6.

use super::list::{ByFrame, Links, List};
use super::{Policy, Step};
use crate::page::FrameNo;
use core::fmt;

/// Whether a page that comes in counts as referenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Yes: a pager's view, which brings a page in because it is referenced.
    Referenced,
    /// No: the first hit sets the bit.
    Unreferenced,
}

/// First in, first out, but a page that was referenced goes round once more.
pub struct Clock {
    links: Links,
    ring: List,
    referenced: ByFrame<bool>,
    arrival: Arrival,
}

impl Clock {
    /// For at most `pages` pages at once.
    ///
    /// # Panics
    /// If `pages` is 0.
    pub fn new(pages: u32, arrival: Arrival) -> Self {
        assert!(pages > 0, "a policy without frames");
        Self { links: Links::new(pages), ring: List::EMPTY, referenced: ByFrame::new(pages, false), arrival }
    }
}

impl Policy for Clock {
    fn inserted(&mut self, frame: FrameNo, _page: u64) {
        self.ring.push(&mut self.links, frame.0);
        self.referenced.set(frame, self.arrival == Arrival::Referenced);
    }

    fn touched(&mut self, frame: FrameNo) {
        self.referenced.set(frame, true);
    }

    fn next(&mut self, _incoming: u64, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step> {
        let frame = FrameNo(self.ring.oldest_of(&self.links, may)?);
        if !self.referenced.get(frame) {
            return Some(Step::Evict(frame));
        }
        self.referenced.set(frame, false);
        self.ring.renew(&mut self.links, frame.0);
        Some(Step::Unreference(frame))
    }

    fn evicted(&mut self, frame: FrameNo) {
        self.removed(frame);
    }

    fn removed(&mut self, frame: FrameNo) {
        self.ring.remove(&mut self.links, frame.0);
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = |frame| if self.referenced.get(FrameNo(frame)) { "*".to_owned() } else { String::new() };
        self.ring.show(&self.links, f, "clock", mark)
    }
}
