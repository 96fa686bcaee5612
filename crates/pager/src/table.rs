//! The page table: one word a page, in leaves that cover one area's pages.

use crate::entry::{Entry, State};
use crate::leaf::{self, Leaf};
use crate::page::{PageNo, PageRange};
use core::cell::Cell;
use std::collections::{BTreeMap, btree_map};

const LEAF_PAGES: u64 = leaf::PAGES as u64;

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

    /// `range` without untouched pages at its ends. Quick: if there is no other page in the first or the
    /// last leaf that ever had one, that leaf's end is the end.
    pub(crate) fn extent(&self, range: PageRange) -> Option<PageRange> {
        let parts = || {
            let leaves = self.leaves_of(range).filter(|(_, place)| !self.leaves[**place as usize].is_empty());
            leaves.map(|(number, _)| range.intersection(whole(*number)))
        };
        let (first, last) = (parts().next()?, parts().next_back()?);
        let start = self.touched(first).next().map_or(first.start, |(page, _)| page);
        let end = self.touched(last).next_back().map_or(last.end(), |(page, _)| page.plus(1));
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
        assert_eq!(table.extent(gap), Some(gap), "that it is all untouched is not looked for");
        let mut found = Vec::new();
        table.for_each_touched(all, |page, kept| {
            assert_eq!((kept, table.get(page)), (state(page), state(page)));
            found.push(page);
        });
        assert_eq!(found, pages);
        assert_eq!(table.get(all.start.plus(1)), State::Untouched);
        table.uncover(all, |_| false);
        assert_eq!((table.metadata_bytes(), table.next_touched(all), table.extent(all)), (0, None, None));
    }
}
