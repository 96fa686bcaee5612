//! How many pages wait, unmapped, for their second chance.
//!
//! A touch on a parked page costs a fault that would not have been had the page stayed
//! mapped; a page that returns soon after its eviction costs a read that would not have
//! been had more pages been parked, and the first touch on a page since it came in, if it
//! is parked, is a read that would have been had fewer been. All are counted and weighed
//! with what they cost, and the share of parked pages goes where less is lost. That is the
//! idea of ghost lists (Megiddo and Modha, "ARC: A Self-Tuning, Low Overhead Replacement
//! Cache", 2003); the slot map, which remembers when a page left, is the list.

/// One frame in so many is parked at first.
const FIRST: u32 = 16;
/// And at most, and at least.
const MOST: u32 = 4;
const LEAST: u32 = 256;
/// The share is reconsidered after one eviction or rescue for so many frames.
const WINDOW: u32 = 64;
/// What a miss costs in rescues until it has been measured.
const FIRST_MISS_COST: u32 = 8;

/// The parked share, and what was seen since it was last considered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Share {
    frames: u32,
    target: u32,
    miss_cost: u32,
    evictions: u32,
    rescues: u32,
    /// Those of pages that had proved nothing before.
    first_rescues: u32,
    returns: u32,
}

impl Share {
    pub(crate) fn new() -> Self {
        Self { miss_cost: FIRST_MISS_COST, ..Self::default() }
    }

    pub(crate) fn set_frames(&mut self, frames: u32) {
        let before = self.frames.max(1);
        let scaled = u64::from(self.target) * u64::from(frames) / u64::from(before);
        self.target = if self.frames == 0 { frames / FIRST } else { scaled as u32 };
        self.frames = frames;
    }

    pub(crate) fn set_miss_cost(&mut self, rescues: u32) {
        self.miss_cost = rescues;
    }

    /// Pages that should be parked.
    pub(crate) fn target(&self) -> u32 {
        self.target
    }

    /// A page that was parked has been touched; `first` if nothing had been known in its favour. One that
    /// has proved itself would most likely have stayed mapped with a smaller share.
    pub(crate) fn rescued(&mut self, first: bool) {
        self.rescues += 1;
        self.first_rescues += u32::from(first);
        self.consider();
    }

    /// A page that was parked has been evicted.
    pub(crate) fn evicted(&mut self) {
        self.evictions += 1;
        self.consider();
    }

    /// A page was missed that left so many evictions ago.
    pub(crate) fn missed(&mut self, evictions_ago: u32) {
        // With twice the share it would still be parked.
        self.returns += u32::from(evictions_ago <= self.target.max(self.frames / LEAST));
    }

    fn consider(&mut self) {
        if self.evictions + self.rescues < (self.frames / WINDOW).max(16) {
            return;
        }
        let saved =
            u64::from(self.returns + self.first_rescues) * u64::from(self.miss_cost.saturating_sub(1));
        let spent = u64::from(self.rescues);
        let step = (self.target / 4).max(1);
        if saved * 4 > spent * 5 {
            self.target = (self.target + step).min(self.frames / MOST);
        } else if spent * 4 > saved * 5 {
            self.target = self.target.saturating_sub(step).max(self.frames / LEAST);
        }
        (self.evictions, self.rescues, self.first_rescues, self.returns) = (0, 0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share() -> Share {
        let mut share = Share::new();
        share.set_frames(64_000);
        assert_eq!(share.target(), 4000);
        share
    }

    #[test]
    fn early_returns_make_it_grow_and_rescues_shrink() {
        let mut share = share();
        for _ in 0..100_000 {
            share.missed(100);
            share.evicted();
        }
        assert_eq!(share.target(), 16_000);
        (0..100_000).for_each(|_| share.rescued(false));
        assert_eq!(share.target(), 250);
    }

    #[test]
    fn late_returns_say_nothing() {
        let mut share = share();
        for _ in 0..100_000 {
            share.missed(60_000);
            share.evicted();
        }
        assert_eq!(share.target(), 4000);
    }

    #[test]
    fn what_a_miss_costs_decides() {
        for (cost, target) in [(1, 250), (10, 16_000)] {
            let mut share = share();
            share.set_miss_cost(cost);
            for _ in 0..100_000 {
                share.missed(100);
                share.rescued(false);
                share.rescued(false);
                share.evicted();
            }
            assert_eq!(share.target(), target, "{cost}");
        }
    }

    #[test]
    fn a_first_rescue_is_a_read_that_was_saved() {
        let mut share = share();
        for _ in 0..100_000 {
            share.rescued(true);
            share.rescued(false);
            share.evicted();
        }
        assert_eq!(share.target(), 16_000);
    }
}
