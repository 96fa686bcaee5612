//! The page table: one word a page, in leaves that cover one area's pages.

use crate::entry::{Entry, State};
use crate::leaf::{self, Leaf};
use crate::page::{PageNo, PageRange};
use core::cell::Cell;
use std::collections::{BTreeMap, btree_map};

const LEAF_PAGES: u64 = leaf::PAGES as u64;
/// Leaves that are looked into for an end of what is touched: one may be shared with the next area.
const LOOKS: usize = 2;

/// Entries by page. Pages outside every leaf are untouched and cannot be set.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageTable {
    /// Where each leaf is.
    places: BTreeMap<u64, u32>,
    leaves: Vec<Leaf>,
    /// Of these, such as nobody needs.
    free: Vec<u32>,
    /// The leaf that was asked for last, which most often is asked for next, and where it is.
    last: Cell<Option<(u64, u32)>>,
    /// Bytes of all leaves that have been written.
    written: usize,
}

/// The pages of a leaf.
fn whole(number: u64) -> PageRange {
    PageRange { start: PageNo(number * LEAF_PAGES), count: LEAF_PAGES }
}

impl PageTable {
    /// Makes room for the pages of `range`. The only call that allocates.
    pub(crate) fn cover(&mut self, range: PageRange) {
        if range.count == 0 {
            return;
        }
        for leaf in range.start.0 / LEAF_PAGES..=(range.end().0 - 1) / LEAF_PAGES {
            self.places.entry(leaf).or_insert_with(|| {
                let place = self.free.pop().unwrap_or_else(|| {
                    self.leaves.push(Leaf::default());
                    // All may be given back, by who must not allocate.
                    self.free.reserve(self.leaves.len());
                    self.leaves.len() as u32 - 1
                });
                self.leaves[place as usize] = Leaf::new();
                place
            });
        }
    }

    /// Gives back the leaves of `range` that `in_use` says nobody needs.
    pub(crate) fn uncover(&mut self, range: PageRange, in_use: impl Fn(PageRange) -> bool) {
        if range.count == 0 {
            return;
        }
        while let Some((number, place)) = self
            .leaves_of(range)
            .map(|(number, place)| (*number, *place))
            .find(|(number, _)| !in_use(whole(*number)))
        {
            self.places.remove(&number);
            self.last.set(None);
            self.written -= core::mem::take(&mut self.leaves[place as usize]).written();
            self.free.push(place);
        }
    }

    /// Where the leaf of this number is.
    #[inline]
    fn place(&self, number: u64) -> Option<usize> {
        match self.last.get() {
            Some((last, place)) if last == number => Some(place as usize),
            _ => {
                let place = *self.places.get(&number)?;
                self.last.set(Some((number, place)));
                Some(place as usize)
            }
        }
    }

    pub(crate) fn get(&self, page: PageNo) -> State {
        self.place(page.0 / LEAF_PAGES).map_or(State::Untouched, |place| {
            Entry(self.leaves[place].word((page.0 % LEAF_PAGES) as usize)).unpack()
        })
    }

    pub(crate) fn set(&mut self, page: PageNo, state: State) {
        let place =
            self.place(page.0 / LEAF_PAGES).expect("a page is covered by a leaf before it is given a state");
        let leaf = &mut self.leaves[place];
        let written = leaf.written();
        leaf.set((page.0 % LEAF_PAGES) as usize, Entry::pack(state).0);
        self.written += leaf.written() - written;
    }

    /// Calls `each` for the pages of `range` that are not untouched, in order.
    pub(crate) fn for_each_touched(&self, range: PageRange, mut each: impl FnMut(PageNo, State)) {
        self.touched(range).for_each(|(page, word)| each(page, Entry(word).unpack()));
    }

    /// The first page of `range` that is not untouched.
    pub(crate) fn next_touched(&self, range: PageRange) -> Option<(PageNo, State)> {
        self.touched(range).next().map(|(page, word)| (page, Entry(word).unpack()))
    }

    /// `range` without untouched pages at its ends; none if all are. Quick: only [`LOOKS`] leaves that ever
    /// had a touched page, of whatever range, are looked into at each end, and the next one ends it if those
    /// have none.
    pub(crate) fn extent(&self, range: PageRange) -> Option<PageRange> {
        let parts = || {
            let leaves = self.leaves_of(range).filter(|(_, place)| !self.leaves[**place as usize].is_empty());
            leaves.map(|(number, _)| range.intersection(whole(*number)))
        };
        let (mut ahead, mut back) = (parts(), parts());
        let first = ahead.by_ref().take(LOOKS).find_map(|part| self.touched(part).next());
        let start = first.map(|(page, _)| page).or_else(|| ahead.next().map(|part| part.start))?;
        let last = back.by_ref().rev().take(LOOKS).find_map(|part| self.touched(part).next_back());
        let end = last.map(|(page, _)| page.plus(1)).or_else(|| back.next_back().map(|part| part.end()))?;
        (start < end).then_some(PageRange::between(start, end))
    }

    /// The leaves that `range` touches: their numbers, and where they are.
    fn leaves_of(&self, range: PageRange) -> btree_map::Range<'_, u64, u32> {
        let last = range.count.saturating_sub(1);
        self.places.range(range.start.0 / LEAF_PAGES..=(range.start.0 + last) / LEAF_PAGES)
    }

    /// The pages of `range` that are not untouched, and their words, in order.
    fn touched(&self, range: PageRange) -> impl DoubleEndedIterator<Item = (PageNo, u64)> + '_ {
        self.leaves_of(range).flat_map(move |(number, place)| {
            let leaf = &self.leaves[*place as usize];
            let base = whole(*number);
            let part = range.intersection(base);
            let first = (part.start.0 - base.start.0) as usize;
            let touched = leaf.touched(first, first + part.count as usize);
            touched.map(move |(offset, word)| (base.start.plus(offset as u64), word))
        })
    }

    /// Bytes that have been written, which is what the table keeps resident.
    pub(crate) fn metadata_bytes(&self) -> usize {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::SlotNo;

    #[test]
    fn pages_far_apart_take_little_memory() {
        let mut table = PageTable::default();
        let all = PageRange { start: PageNo(3 * LEAF_PAGES + 5), count: 2 * LEAF_PAGES };
        table.cover(all);
        let pages: Vec<PageNo> = (0..1000).map(|n| all.start.plus(n * 509)).collect();
        let state = |page: PageNo| State::Swapped { slot: SlotNo(page.0 as u32) };
        for page in pages.iter().rev() {
            table.set(*page, state(*page));
        }
        // In three leaves: 2 KiB each for places, and a list of one or two pages in each cluster.
        let bytes = table.metadata_bytes();
        assert!(bytes < 3 * 2048 + 1000 * 16, "{bytes} bytes");
        let (first, last) = (pages[0], pages[999]);
        assert_eq!(table.extent(all), Some(PageRange::between(first, last.plus(1))));
        assert_eq!(
            table.extent(PageRange::between(first.plus(1), last)).map(|inner| inner.count),
            Some(997 * 509 + 1)
        );
        let gap = PageRange::between(first.plus(1), first.plus(509));
        assert_eq!(table.extent(gap), None);
        let mut found = Vec::new();
        table.for_each_touched(all, |page, kept| {
            assert_eq!((kept, table.get(page)), (state(page), state(page)));
            found.push(page);
        });
        assert_eq!(found, pages);
        assert_eq!(table.get(all.start.plus(1)), State::Untouched);
        let mut backwards: Vec<PageNo> = table.touched(all).rev().map(|(page, _)| page).collect();
        backwards.reverse();
        assert_eq!(backwards, pages, "over the borders of leaves as well");
        table.uncover(all, |_| false);
        assert_eq!((table.metadata_bytes(), table.next_touched(all), table.extent(all)), (0, None, None));
    }

    #[test]
    fn an_extent_is_not_looked_for_in_many_leaves() {
        let mut table = PageTable::default();
        let leaves =
            |first: u64, end: u64| PageRange::between(PageNo(first * LEAF_PAGES), PageNo(end * LEAF_PAGES));
        table.cover(leaves(0, 8));
        let touch = |table: &mut PageTable, leaf: u64| {
            table.set(PageNo(leaf * LEAF_PAGES + 7), State::Swapped { slot: SlotNo(1) });
        };
        touch(&mut table, 1);
        // The next area begins in the same leaf as this one ends.
        touch(&mut table, 6);
        let area = PageRange::between(PageNo(5), PageNo(6 * LEAF_PAGES + 7));
        let one = PageRange::one(PageNo(LEAF_PAGES + 7));
        assert_eq!(table.extent(area), Some(one));
        for leaf in [2, 3, 4] {
            touch(&mut table, leaf);
            table.set(PageNo(leaf * LEAF_PAGES + 7), State::Untouched);
        }
        assert_eq!(table.extent(area), Some(PageRange::between(one.start, leaves(0, 4).end())));
        table.set(one.start, State::Untouched);
        assert_eq!(table.extent(area), Some(leaves(3, 4)));
        assert_eq!(table.extent(leaves(0, 3)), None);
    }
}
