//! Areas: what the program asked for.

use crate::page::{PageNo, PageRange, SlotNo};
use std::collections::BTreeMap;

/// What the program may do with an area's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Read and write: pages may be parked and evicted.
    ReadWrite,
    /// Anything less, or executable. Moving a page needs a writable area on both
    /// sides, so resident pages stay until the rights come back.
    Restricted,
}

/// Where what the program changes goes, in areas whose pages have homes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Home.
    Shared,
    /// To slots of the store, and nobody else sees it.
    Private,
    /// The program changes nothing, so that nothing is dirty.
    ReadOnly,
}

/// What an area's pages hold before they are touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Zeros. They go to slots of the store.
    Zeros,
    /// The bytes of each page's *home*: a place outside of the store, such as its block of
    /// a mapped file, numbered as slots are, from the number of slots on.
    Home {
        /// The home of page p is p + `base`, modulo 2³²: areas split without a change.
        base: u32,
        /// Where changed pages go.
        sharing: Sharing,
    },
}

/// How the program says that it uses an area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pattern {
    /// It has not said.
    #[default]
    Normal,
    /// In order: a first touch is enough to read ahead.
    Sequential,
    /// In no order: nothing is read ahead.
    Random,
}

/// What becomes of an area in a forked child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherit {
    /// The child has it too, with what it holds.
    Copied,
    /// The child has it, and it reads as zeros there.
    Wiped,
    /// The child has not got it.
    Omitted,
}

/// A range of pages with one backing and one set of rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its pages.
    pub range: PageRange,
    /// What may be done with them.
    pub rights: Rights,
    /// It can be written, or once could: its bytes are promised until it is gone, as the kernel counts them.
    pub charged: bool,
    /// Locked in memory by the program: never evicted.
    pub pinned: bool,
    /// What they hold before they are touched.
    pub backing: Backing,
    /// In which order they are used.
    pub pattern: Pattern,
    /// What a forked child has of it.
    pub inherit: Inherit,
}

impl Area {
    pub(crate) fn evictable(self) -> bool {
        self.rights == Rights::ReadWrite && !self.pinned
    }

    /// The home of one of its pages.
    pub fn home(self, page: PageNo) -> Option<SlotNo> {
        match self.backing {
            Backing::Zeros => None,
            Backing::Home { base, .. } => Some(SlotNo((page.0 as u32).wrapping_add(base))),
        }
    }

    /// The same area after its pages have been moved to `start`: they keep their homes.
    pub(crate) fn moved(self, start: PageNo) -> Self {
        let range = PageRange { start, count: self.range.count };
        let backing = match self.backing {
            Backing::Home { base, sharing } => {
                let back = (self.range.start.0 as u32).wrapping_sub(start.0 as u32);
                Backing::Home { base: base.wrapping_add(back), sharing }
            }
            Backing::Zeros => Backing::Zeros,
        };
        Self { range, backing, ..self }
    }
}

/// What [`Areas`] keeps: something that is said of a range of pages.
pub(crate) trait Ranged: Copy {
    fn range(&self) -> PageRange;
    /// The same of other pages: a part of its own, or all of two that are alike.
    #[must_use]
    fn over(self, range: PageRange) -> Self;
    /// Whether both say the same, so that neighbours may be one.
    fn is_like(&self, other: &Self) -> bool;
}

impl Ranged for Area {
    fn range(&self) -> PageRange {
        self.range
    }

    fn over(self, range: PageRange) -> Self {
        Self { range, ..self }
    }

    fn is_like(&self, other: &Self) -> bool {
        other.rights == self.rights
            && other.charged == self.charged
            && other.pinned == self.pinned
            && other.inherit == self.inherit
            && other.backing == self.backing
            && other.pattern == self.pattern
    }
}

/// Areas in order of address, disjoint; like neighbours are one.
#[derive(Clone, Debug)]
pub(crate) struct Areas<A = Area> {
    by_start: BTreeMap<PageNo, A>,
}

impl<A> Default for Areas<A> {
    fn default() -> Self {
        Self { by_start: BTreeMap::new() }
    }
}

impl<A: Ranged> Areas<A> {
    pub(crate) fn find(&self, page: PageNo) -> Option<A> {
        let (_, area) = self.by_start.range(..=page).next_back()?;
        area.range().contains(page).then_some(*area)
    }

    /// Whether any area has a page of `range`.
    pub(crate) fn touch(&self, range: PageRange) -> bool {
        let before = self.by_start.range(..range.end()).next_back();
        before.is_some_and(|(_, area)| area.range().end() > range.start)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = A> {
        self.by_start.values().copied()
    }

    /// The parts of areas that lie in `range`.
    pub(crate) fn within(&self, range: PageRange) -> Vec<A> {
        let first = self.find(range.start).map_or(range.start, |area| area.range().start);
        self.by_start
            .range(first..range.end())
            .map(|(_, area)| area.over(area.range().intersection(range)))
            .filter(|area| area.range().count > 0)
            .collect()
    }

    /// The first `count` pages in a row of `range` that no area has.
    pub(crate) fn first_gap(&self, range: PageRange, count: u64) -> Option<PageNo> {
        let mut start = range.start;
        for area in self.within(range) {
            if area.range().start.0 - start.0 >= count {
                break;
            }
            start = area.range().end();
        }
        (range.end().0 - start.0 >= count).then_some(start)
    }

    /// Cuts `range` out of every area.
    pub(crate) fn remove(&mut self, range: PageRange) {
        if range.count == 0 {
            return;
        }
        let touched: Vec<A> = {
            let first = self.find(range.start).map_or(range.start, |area| area.range().start);
            self.by_start.range(first..range.end()).map(|(_, area)| *area).collect()
        };
        for area in touched {
            let old = area.range();
            self.by_start.remove(&old.start);
            let before = PageRange::between(old.start, range.start.min(old.end()));
            let after = PageRange::between(range.end().max(old.start), old.end());
            for rest in [before, after] {
                if rest.count > 0 {
                    self.by_start.insert(rest.start, area.over(rest));
                }
            }
        }
    }

    /// Adds `area` in place of whatever was in its range.
    pub(crate) fn insert(&mut self, area: A) {
        let mut range = area.range();
        if range.count == 0 {
            return;
        }
        self.remove(range);
        if let Some((_, before)) = self.by_start.range(..range.start).next_back()
            && before.range().end() == range.start
            && before.is_like(&area)
        {
            let start = before.range().start;
            range = PageRange::between(start, range.end());
            self.by_start.remove(&start);
        }
        if let Some(after) = self.by_start.get(&range.end())
            && after.is_like(&area)
        {
            let end = after.range().end();
            self.by_start.remove(&range.end());
            range = PageRange::between(range.start, end);
        }
        self.by_start.insert(range.start, area.over(range));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(start: u64, count: u64, rights: Rights) -> Area {
        let range = PageRange { start: PageNo(start), count };
        let (backing, pattern) = (Backing::Zeros, Pattern::Normal);
        let (charged, pinned, inherit) = (true, false, Inherit::Copied);
        Area { range, rights, charged, pinned, inherit, backing, pattern }
    }

    #[test]
    fn splits_and_merges() {
        let mut areas = Areas::default();
        areas.insert(area(10, 10, Rights::ReadWrite));
        areas.insert(area(13, 2, Rights::Restricted));
        assert_eq!(areas.iter().count(), 3);
        areas.insert(area(13, 2, Rights::ReadWrite));
        assert_eq!(areas.iter().collect::<Vec<_>>(), [area(10, 10, Rights::ReadWrite)]);
        areas.remove(PageRange { start: PageNo(0), count: 12 });
        areas.remove(PageRange { start: PageNo(18), count: 100 });
        assert_eq!(areas.iter().collect::<Vec<_>>(), [area(12, 6, Rights::ReadWrite)]);
        assert!(areas.find(PageNo(11)).is_none());
        assert!(areas.find(PageNo(18)).is_none());
        let part = PageRange { start: PageNo(15), count: 50 };
        assert_eq!(areas.within(part), [area(15, 3, Rights::ReadWrite)]);
    }
}
