//! The units: pages of virtual memory, frames that hold them, slots that keep them.

use core::fmt;

/// A page of virtual memory: its address divided by the page size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageNo(pub u64);

/// A permit to hold the bytes of one page in memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameNo(pub u32);

/// The place of one page in the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotNo(pub u32);

/// Consecutive pages.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageRange {
    /// The first page.
    pub start: PageNo,
    /// How many pages.
    pub count: u64,
}

impl PageNo {
    /// The page `count` pages further.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl PageRange {
    /// Pages from `start` up to, not including, `end`; empty when `end` is not above `start`.
    pub fn between(start: PageNo, end: PageNo) -> Self {
        Self { start, count: end.0.saturating_sub(start.0) }
    }

    /// One page.
    pub fn one(page: PageNo) -> Self {
        Self { start: page, count: 1 }
    }

    /// The page after the last.
    pub fn end(self) -> PageNo {
        self.start.plus(self.count)
    }

    /// Whether `page` lies in the range.
    pub fn contains(self, page: PageNo) -> bool {
        page >= self.start && page < self.end()
    }

    /// The part that lies in `other` as well.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self::between(self.start.max(other.start), self.end().min(other.end()))
    }

    /// Every page, in order.
    pub fn pages(self) -> impl DoubleEndedIterator<Item = PageNo> {
        (self.start.0..self.end().0).map(PageNo)
    }
}

impl fmt::Debug for PageNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{:x}", self.0)
    }
}

impl fmt::Debug for FrameNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "f{}", self.0)
    }
}

impl fmt::Debug for SlotNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl fmt::Debug for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{:x}+{}", self.start.0, self.count)
    }
}
