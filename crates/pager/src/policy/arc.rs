//! ARC, the adaptive replacement cache.
//!
//! N. Megiddo and D. S. Modha, "ARC: a self-tuning, low overhead replacement cache", FAST
//! 2003, figure 4. Pages seen once of late are in T1, pages seen again in T2, both kept by
//! recency; B1 and B2 remember what left each. A page that comes back while B1 has it says that
//! T1 was too short, one from B2 that T2 was: the target size p of T1 follows.
//!
//! Of c frames: |T1| + |B1| ≤ c and |T1| + |T2| + |B1| + |B2| ≤ 2c. The paper trims the ghosts
//! before it replaces a page; here that is done when the page comes in, which drops the
//! same ghosts, because those that are trimmed are the oldest. p moves by quotients as the
//! paper writes them, so it is a real number.
//!
//! O(1) a reference; 17 bytes a frame and about 40 a ghost. Adapts between recency and
//! frequency, and resists scans. A hit moves a page, and so a driver that sees faults only
//! (a pager) gives it little to learn from. Loops that exceed the frames defeat it like LRU.
//! It was patented (US 6,996,676, filed in 2002).
//!
//! With 2 frames, 1 1 2 3 1: 1 is in T2, 2 in T1; 3 takes 2's frame (T1 exceeds p = 0); 1 is a
//! hit. 2 comes back from B1: p becomes 1, and now T2 gives a page, so 1 leaves and not 3.

use super::ghosts::Ghosts;
use super::list::{ByFrame, Links, List, plain};
use super::{Policy, Step};
use crate::page::FrameNo;
use core::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    T1,
    T2,
}

/// Where an incoming page is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remembered {
    InB1,
    InB2,
    Nowhere,
}

/// Recency and frequency in shares that adapt.
pub struct Arc {
    /// c.
    pages: u32,
    /// p: how many pages T1 should have.
    target: f64,
    links: Links,
    t1: List,
    t2: List,
    queue: ByFrame<Queue>,
    page_of: ByFrame<u64>,
    b1: Ghosts,
    b2: Ghosts,
    /// The page that was asked for and the target that follows from it: the target is
    /// computed before the replacement and takes effect when the page comes in.
    expected: Option<(u64, f64)>,
}

impl Arc {
    /// For at most `pages` pages at once.
    ///
    /// # Panics
    /// If `pages` is 0.
    pub fn new(pages: u32) -> Self {
        assert!(pages > 0, "a policy without frames");
        let most = pages.saturating_mul(2);
        Self {
            pages,
            target: 0.0,
            links: Links::new(pages),
            t1: List::EMPTY,
            t2: List::EMPTY,
            queue: ByFrame::new(pages, Queue::T1),
            page_of: ByFrame::new(pages, 0),
            b1: Ghosts::new(most),
            b2: Ghosts::new(most),
            expected: None,
        }
    }

    fn remembered(&self, page: u64) -> Remembered {
        if self.b1.contains(page) {
            Remembered::InB1
        } else if self.b2.contains(page) {
            Remembered::InB2
        } else {
            Remembered::Nowhere
        }
    }

    /// The target after a page that is `remembered` has been asked for.
    fn adapted(&self, remembered: Remembered) -> f64 {
        let (b1, b2) = (f64::from(self.b1.len()), f64::from(self.b2.len()));
        match remembered {
            Remembered::InB1 => (self.target + (b2 / b1).max(1.0)).min(f64::from(self.pages)),
            Remembered::InB2 => (self.target - (b1 / b2).max(1.0)).max(0.0),
            Remembered::Nowhere => self.target,
        }
    }

    /// Keeps the bounds of the directory before a page that nobody remembers comes in.
    fn trim(&mut self) {
        let (c, l1) = (u64::from(self.pages), u64::from(self.t1.len()) + u64::from(self.b1.len()));
        if l1 >= c {
            self.b1.forget_oldest();
        } else if l1 + u64::from(self.t2.len()) + u64::from(self.b2.len()) >= 2 * c {
            self.b2.forget_oldest();
        }
    }
}

impl Policy for Arc {
    fn inserted(&mut self, frame: FrameNo, page: u64) {
        let remembered = self.remembered(page);
        self.target = match self.expected.take() {
            Some((expected, target)) if expected == page => target,
            _ => self.adapted(remembered),
        };
        self.page_of.set(frame, page);
        if remembered == Remembered::Nowhere {
            self.trim();
            self.queue.set(frame, Queue::T1);
            self.t1.push(&mut self.links, frame.0);
        } else {
            self.b1.take(page);
            self.b2.take(page);
            self.queue.set(frame, Queue::T2);
            self.t2.push(&mut self.links, frame.0);
        }
    }

    fn touched(&mut self, frame: FrameNo) {
        match self.queue.get(frame) {
            Queue::T1 => {
                self.t1.remove(&mut self.links, frame.0);
                self.t2.push(&mut self.links, frame.0);
                self.queue.set(frame, Queue::T2);
            }
            Queue::T2 => self.t2.renew(&mut self.links, frame.0),
        }
    }

    fn next(&mut self, incoming: u64, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step> {
        let remembered = self.remembered(incoming);
        let target = self.adapted(remembered);
        self.expected = Some((incoming, target));
        let t1 = f64::from(self.t1.len());
        let from_t1 =
            self.t1.len() >= self.pages || t1 > target || (remembered == Remembered::InB2 && t1 == target);
        let [first, second] = if from_t1 { [&self.t1, &self.t2] } else { [&self.t2, &self.t1] };
        let found = first.oldest_of(&self.links, may).or_else(|| second.oldest_of(&self.links, may))?;
        Some(Step::Evict(FrameNo(found)))
    }

    fn evicted(&mut self, frame: FrameNo) {
        match self.queue.get(frame) {
            Queue::T1 => self.b1.push(self.page_of.get(frame)),
            Queue::T2 => self.b2.push(self.page_of.get(frame)),
        }
        self.removed(frame);
    }

    fn removed(&mut self, frame: FrameNo) {
        match self.queue.get(frame) {
            Queue::T1 => self.t1.remove(&mut self.links, frame.0),
            Queue::T2 => self.t2.remove(&mut self.links, frame.0),
        }
    }
}

impl fmt::Debug for Arc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.t1.show(&self.links, f, "arc t1", plain)?;
        self.t2.show(&self.links, f, " t2", plain)?;
        write!(f, " b1 {} b2 {} target {}", self.b1.len(), self.b2.len(), self.target)
    }
}
