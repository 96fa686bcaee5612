//! SIEVE.
//!
//! Y. Zhang, J. Yang, Y. Yue, Y. Vigfusson and K. V. Rashmi, "SIEVE is simpler than LRU:
//! an efficient turn-key eviction algorithm for web caches", NSDI 2024. Like the clock,
//! but survivors stay where they are: the hand goes from the oldest page (the tail) to
//! the newest (the head) and on from the oldest again, clears the bit of what was
//! visited and takes the first that was not. What is new is thus looked at soon and
//! separately from what is old and popular.
//!
//! A reference costs one bit; a miss is O(1) on average and O(n) at worst. Nine bytes a
//! frame. Made for skewed popularity, as of web caches. It does not resist scans, as its
//! authors say, and is slow where the working set moves: when the hand is near the head,
//! new pages leave before they can be referenced again. Loops that exceed the frames miss
//! every time.
//!
//! With 3 frames, 1 2 3 1 4 5 1: 4 finds 1 visited, clears it, and takes 2; the hand rests
//! at 3, which 5 takes; 1 is a hit: 5 misses.

use super::list::{ByFrame, Links, List};
use super::{Policy, Step};
use crate::page::FrameNo;
use core::fmt;

/// A hand that leaves survivors where they are.
pub struct Sieve {
    links: Links,
    order: List,
    visited: ByFrame<bool>,
    /// Where the search goes on; none: at the oldest.
    hand: Option<u32>,
}

impl Sieve {
    /// For at most `pages` pages at once.
    ///
    /// # Panics
    /// If `pages` is 0.
    pub fn new(pages: u32) -> Self {
        assert!(pages > 0, "a policy without frames");
        let visited = ByFrame::new(pages, false);
        Self { links: Links::new(pages), order: List::EMPTY, visited, hand: None }
    }
}

impl Policy for Sieve {
    fn inserted(&mut self, frame: FrameNo, _page: u64) {
        self.order.push(&mut self.links, frame.0);
        self.visited.set(frame, false);
    }

    fn touched(&mut self, frame: FrameNo) {
        self.visited.set(frame, true);
    }

    fn next(&mut self, _incoming: u64, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step> {
        let mut at = self.hand.or(self.order.oldest())?;
        // Once round is enough to meet every frame that may be taken.
        for _ in 0..self.order.len() {
            let frame = FrameNo(at);
            let newer = self.links.newer(at);
            if may(frame) {
                if !self.visited.get(frame) {
                    self.hand = Some(at);
                    return Some(Step::Evict(frame));
                }
                self.visited.set(frame, false);
                self.hand = newer;
                return Some(Step::Unreference(frame));
            }
            at = newer.or(self.order.oldest())?;
        }
        None
    }

    fn evicted(&mut self, frame: FrameNo) {
        self.removed(frame);
    }

    fn removed(&mut self, frame: FrameNo) {
        if self.hand == Some(frame.0) {
            self.hand = self.links.newer(frame.0);
        }
        self.order.remove(&mut self.links, frame.0);
    }
}

impl fmt::Debug for Sieve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = |frame| {
            let visited = if self.visited.get(FrameNo(frame)) { "*" } else { "" };
            let hand = if self.hand == Some(frame) { "<" } else { "" };
            format!("{visited}{hand}")
        };
        self.order.show(&self.links, f, "sieve", mark)
    }
}
