//! The page table: one word a page, in leaves that cover one area's pages.
//!
//! A leaf keeps its words in groups, in the order in which these were first needed, so that
//! pages far apart cost a group each and not a page of table each:
//!
//! ```text
//! page ──▶ leaf (1 GiB) ──▶ number of its group ──▶ words of 8 pages
//! ```

use crate::entry::{Entry, State};
use crate::page::{PageNo, PageRange};
use core::cell::Cell;
use std::collections::{BTreeMap, btree_map};

/// Pages in one leaf: 1 GiB of 4 KiB pages, 2 MiB of table that is resident only where touched.
const LEAF_PAGES: u64 = 1 << 18;
/// Pages of a group: what a cache line holds.
const GROUP: usize = 8;
const GROUPS: usize = LEAF_PAGES as usize / GROUP;
/// Group numbers in a page of memory.
const NUMBERS: usize = 4096 / size_of::<u16>();

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

#[derive(Clone, Debug, Default)]
struct Leaf {
    /// One more than where each group lies in `words`; 0 while all its pages are untouched.
    numbers: Vec<u16>,
    words: Vec<u64>,
    groups: u16,
    /// Which pages of `numbers` have been written, a bit each.
    pages: u16,
}

impl Leaf {
    fn new() -> Self {
        // Vectors of zero integers come straight from zeroed memory, so that an
        // untouched leaf costs address space only.
        Self { numbers: vec![0; GROUPS], words: vec![0; LEAF_PAGES as usize], groups: 0, pages: 0 }
    }

    fn group(&self, group: usize) -> Option<&[u64]> {
        let number = usize::from(self.numbers[group].checked_sub(1)?);
        Some(&self.words[number * GROUP..][..GROUP])
    }

    fn word(&self, offset: usize) -> u64 {
        self.group(offset / GROUP).map_or(0, |words| words[offset % GROUP])
    }

    /// Where the word of a page is, and how many bytes of table it is the first to use.
    fn word_mut(&mut self, offset: usize) -> (&mut u64, usize) {
        let group = offset / GROUP;
        let mut used = 0;
        if self.numbers[group] == 0 {
            self.groups += 1;
            self.numbers[group] = self.groups;
            let page = 1 << (group / NUMBERS);
            used = GROUP * size_of::<u64>() + if self.pages & page == 0 { 4096 } else { 0 };
            self.pages |= page;
        }
        let number = usize::from(self.numbers[group] - 1);
        (&mut self.words[number * GROUP + offset % GROUP], used)
    }

    fn written(&self) -> usize {
        usize::from(self.groups) * GROUP * size_of::<u64>() + self.pages.count_ones() as usize * 4096
    }

    /// The pages of `first..end` that are not untouched, and their words.
    fn touched(&self, first: usize, end: usize) -> impl DoubleEndedIterator<Item = (usize, u64)> + '_ {
        // The numbers of a leaf without groups are not all looked at.
        let end = if self.groups == 0 { first } else { end };
        (first / GROUP..end.div_ceil(GROUP)).filter_map(|group| Some((group, self.group(group)?))).flat_map(
            move |(group, words)| {
                let offsets = (group * GROUP).max(first)..(group * GROUP + GROUP).min(end);
                offsets.map(|offset| (offset, words[offset % GROUP])).filter(|(_, word)| *word != 0)
            },
        )
    }
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
        let (word, used) = leaf.word_mut((page.0 % LEAF_PAGES) as usize);
        *word = Entry::pack(state).0;
        self.written += used;
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
            let leaves = self.leaves_of(range).filter(|(_, place)| self.leaves[**place as usize].groups > 0);
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
    fn pages_far_apart_cost_a_group_each() {
        let mut table = PageTable::default();
        let all = PageRange { start: PageNo(3 * LEAF_PAGES + 5), count: 2 * LEAF_PAGES };
        table.cover(all);
        let pages: Vec<PageNo> = (0..1000).map(|n| all.start.plus(n * 509)).collect();
        let state = |page: PageNo| State::Swapped { slot: SlotNo(page.0 as u32) };
        for page in pages.iter().rev() {
            table.set(*page, state(*page));
        }
        assert_eq!(table.metadata_bytes(), 1000 * 64 + 32 * 4096);
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
