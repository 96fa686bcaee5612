//! Areas: what the program asked for.

use crate::page::{PageNo, PageRange};
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

/// A range of pages with one backing and one set of rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its pages.
    pub range: PageRange,
    /// What may be done with them.
    pub rights: Rights,
    /// Locked in memory by the program: never evicted.
    pub pinned: bool,
}

impl Area {
    pub(crate) fn evictable(self) -> bool {
        self.rights == Rights::ReadWrite && !self.pinned
    }
}

/// Areas in order of address, disjoint; like neighbours are one.
#[derive(Debug, Default)]
pub(crate) struct Areas {
    by_start: BTreeMap<PageNo, Area>,
}

impl Areas {
    pub(crate) fn find(&self, page: PageNo) -> Option<Area> {
        let (_, area) = self.by_start.range(..=page).next_back()?;
        area.range.contains(page).then_some(*area)
    }

    /// Whether any area has a page of `range`.
    pub(crate) fn touch(&self, range: PageRange) -> bool {
        let before = self.by_start.range(..range.end()).next_back();
        before.is_some_and(|(_, area)| area.range.end() > range.start)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Area> {
        self.by_start.values().copied()
    }

    /// The parts of areas that lie in `range`.
    pub(crate) fn within(&self, range: PageRange) -> Vec<Area> {
        let first = self.find(range.start).map_or(range.start, |area| area.range.start);
        self.by_start
            .range(first..range.end())
            .map(|(_, area)| Area { range: area.range.intersection(range), ..*area })
            .filter(|area| area.range.count > 0)
            .collect()
    }

    /// Cuts `range` out of every area.
    pub(crate) fn remove(&mut self, range: PageRange) {
        if range.count == 0 {
            return;
        }
        let touched: Vec<Area> = {
            let first = self.find(range.start).map_or(range.start, |area| area.range.start);
            self.by_start.range(first..range.end()).map(|(_, area)| *area).collect()
        };
        for area in touched {
            self.by_start.remove(&area.range.start);
            let before = PageRange::between(area.range.start, range.start.min(area.range.end()));
            let after = PageRange::between(range.end().max(area.range.start), area.range.end());
            for rest in [before, after] {
                if rest.count > 0 {
                    self.by_start.insert(rest.start, Area { range: rest, ..area });
                }
            }
        }
    }

    /// Adds `area` in place of whatever was in its range.
    pub(crate) fn insert(&mut self, mut area: Area) {
        if area.range.count == 0 {
            return;
        }
        self.remove(area.range);
        let like = |other: &Area| other.rights == area.rights && other.pinned == area.pinned;
        if let Some((_, before)) = self.by_start.range(..area.range.start).next_back()
            && before.range.end() == area.range.start
            && like(before)
        {
            let start = before.range.start;
            area.range = PageRange::between(start, area.range.end());
            self.by_start.remove(&start);
        }
        if let Some(after) = self.by_start.get(&area.range.end())
            && like(after)
        {
            let end = after.range.end();
            self.by_start.remove(&area.range.end());
            area.range = PageRange::between(area.range.start, end);
        }
        self.by_start.insert(area.range.start, area);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(start: u64, count: u64, rights: Rights) -> Area {
        Area { range: PageRange { start: PageNo(start), count }, rights, pinned: false }
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
