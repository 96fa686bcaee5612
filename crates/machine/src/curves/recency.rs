//! The order of last references, with ranks.
//!
//! Each page has a place, its last reference's, on a line that grows; how many places after it are taken is
//! its stack distance less one. The line is a set of bits, with a Fenwick tree over the counts of blocks
//! of 512, so that a rank costs a dozen steps in memory that stays in the cache (the algorithm is Bennett and
//! Kruskal's, "LRU stack processing", 1975). When the line is full, gaps are closed.

const BLOCK: usize = 512;
const WORDS: usize = BLOCK / 64;
const NONE: u32 = u32::MAX;
const LEAST: usize = 1 << 12;

/// Pages by number in the order of their last references.
#[derive(Debug)]
pub(super) struct Recency {
    bits: Vec<u64>,
    /// Fenwick tree of taken places a block, from 1.
    tree: Vec<u32>,
    page_at: Vec<u32>,
    place_of: Vec<u32>,
    next: usize,
    taken: u32,
}

impl Recency {
    /// For pages below `pages`; the table grows as others come.
    pub(super) fn new(pages: usize) -> Self {
        let mut recency = Self {
            bits: Vec::new(),
            tree: Vec::new(),
            page_at: Vec::new(),
            place_of: vec![NONE; pages],
            next: 0,
            taken: 0,
        };
        recency.lay_out((4 * pages).max(LEAST), Vec::new());
        recency
    }

    /// A line of `places`, of which the first are taken by `pages`.
    fn lay_out(&mut self, places: usize, pages: Vec<u32>) {
        let places = places.next_multiple_of(BLOCK);
        self.bits = vec![0; places / 64];
        self.tree = vec![0; places / BLOCK + 1];
        self.page_at = vec![NONE; places];
        (self.next, self.taken) = (0, 0);
        for page in pages {
            self.put(page);
        }
    }

    /// A reference to `page`: its stack distance, from 1; none if it is the first.
    pub(super) fn touch(&mut self, page: u32) -> Option<u32> {
        if page as usize >= self.place_of.len() {
            self.place_of.resize(page as usize + 1, NONE);
        }
        if self.next == self.page_at.len() {
            self.close_gaps();
        }
        let place = self.place_of[page as usize];
        if place == NONE {
            self.put(page);
            return None;
        }
        let distance = self.taken - self.rank(place as usize);
        self.take_out(place as usize);
        self.put(page);
        Some(distance)
    }

    /// Forgets `page`.
    pub(super) fn remove(&mut self, page: u32) {
        let place = self.place_of[page as usize];
        if place != NONE {
            self.take_out(place as usize);
            self.place_of[page as usize] = NONE;
        }
    }

    /// Taken places before `place`.
    fn rank(&self, place: usize) -> u32 {
        let block = place / BLOCK;
        let mut sum = 0;
        let mut index = block;
        while index > 0 {
            sum += self.tree[index];
            index &= index - 1;
        }
        let word = place / 64;
        sum += self.bits[block * WORDS..word].iter().map(|bits| bits.count_ones()).sum::<u32>();
        sum + (self.bits[word] & ((1 << (place % 64)) - 1)).count_ones()
    }

    fn put(&mut self, page: u32) {
        let place = self.next;
        self.next += 1;
        self.bits[place / 64] |= 1 << (place % 64);
        self.count(place, 1);
        self.page_at[place] = page;
        self.place_of[page as usize] = place as u32;
        self.taken += 1;
    }

    fn take_out(&mut self, place: usize) {
        self.bits[place / 64] &= !(1 << (place % 64));
        self.count(place, u32::MAX);
        self.page_at[place] = NONE;
        self.taken -= 1;
    }

    fn count(&mut self, place: usize, more: u32) {
        let mut index = place / BLOCK + 1;
        while index < self.tree.len() {
            self.tree[index] = self.tree[index].wrapping_add(more);
            index += index & index.wrapping_neg();
        }
    }

    fn close_gaps(&mut self) {
        let pages: Vec<u32> = self.page_at.iter().copied().filter(|page| *page != NONE).collect();
        // At least three places of four are free then, so that this is rare.
        self.lay_out((4 * pages.len()).max(LEAST), pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_a_list() {
        let mut list: Vec<u32> = Vec::new();
        let mut recency = Recency::new(0);
        let mut state = 1_u64;
        for at in 0..60_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(at);
            let page = (state >> 33) as u32 % (1 + (state >> 20) as u32 % 700);
            if at % 97 == 0 && list.contains(&page) {
                recency.remove(page);
                list.retain(|other| *other != page);
                continue;
            }
            let found = list.iter().rev().position(|other| *other == page);
            assert_eq!(recency.touch(page), found.map(|index| index as u32 + 1), "reference {at}");
            list.retain(|other| *other != page);
            list.push(page);
        }
    }
}
