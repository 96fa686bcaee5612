//! The page table: one word a page, in leaves that cover one area's pages.

use crate::entry::{Entry, State};
use crate::page::{PageNo, PageRange};
use std::collections::BTreeMap;

/// Pages in one leaf: 1 GiB of 4 KiB pages, 2 MiB of table that is resident only where touched.
const LEAF_PAGES: u64 = 1 << 18;

/// Entries by page. Pages outside every leaf are untouched and cannot be set.
#[derive(Debug, Default)]
pub(crate) struct PageTable {
    leaves: BTreeMap<u64, Vec<u64>>,
}

impl PageTable {
    /// Makes room for the pages of `range`. The only call that allocates.
    pub(crate) fn cover(&mut self, range: PageRange) {
        if range.count == 0 {
            return;
        }
        for leaf in range.start.0 / LEAF_PAGES..=(range.end().0 - 1) / LEAF_PAGES {
            // A vector of zero integers comes straight from zeroed memory, so an
            // untouched leaf costs address space only.
            self.leaves.entry(leaf).or_insert_with(|| vec![0; LEAF_PAGES as usize]);
        }
    }

    /// Gives back the leaves of `range` that `in_use` says nobody needs.
    pub(crate) fn uncover(&mut self, range: PageRange, in_use: impl Fn(PageRange) -> bool) {
        let Some(last) = range.count.checked_sub(1) else { return };
        let leaves = range.start.0 / LEAF_PAGES..=(range.start.0 + last) / LEAF_PAGES;
        while let Some(number) = self
            .leaves
            .range(leaves.clone())
            .map(|(number, _)| *number)
            .find(|number| !in_use(PageRange { start: PageNo(number * LEAF_PAGES), count: LEAF_PAGES }))
        {
            self.leaves.remove(&number);
        }
    }

    pub(crate) fn get(&self, page: PageNo) -> State {
        self.leaves
            .get(&(page.0 / LEAF_PAGES))
            .map_or(State::Untouched, |leaf| Entry(leaf[(page.0 % LEAF_PAGES) as usize]).unpack())
    }

    pub(crate) fn set(&mut self, page: PageNo, state: State) {
        let leaf = self
            .leaves
            .get_mut(&(page.0 / LEAF_PAGES))
            .expect("a page is covered by a leaf before it is given a state");
        leaf[(page.0 % LEAF_PAGES) as usize] = Entry::pack(state).0;
    }

    /// Calls `each` for the pages of `range` that are not untouched, in order.
    pub(crate) fn for_each_touched(&self, range: PageRange, mut each: impl FnMut(PageNo, State)) {
        let mut from = range.start;
        while let Some((page, state)) = self.next_touched(PageRange::between(from, range.end())) {
            each(page, state);
            from = page.plus(1);
        }
    }

    /// The first page of `range` that is not untouched.
    pub(crate) fn next_touched(&self, range: PageRange) -> Option<(PageNo, State)> {
        if range.count == 0 {
            return None;
        }
        let leaves = range.start.0 / LEAF_PAGES..=(range.end().0 - 1) / LEAF_PAGES;
        self.leaves.range(leaves).find_map(|(number, leaf)| {
            let base = PageRange { start: PageNo(number * LEAF_PAGES), count: LEAF_PAGES };
            let part = range.intersection(base);
            let first = (part.start.0 - base.start.0) as usize;
            let words = &leaf[first..first + part.count as usize];
            let found = words.iter().position(|word| *word != 0)?;
            Some((part.start.plus(found as u64), Entry(words[found]).unpack()))
        })
    }
}
