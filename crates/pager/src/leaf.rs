//! A leaf of the page table: the words of 1 GiB of pages, in as much memory as the touched ones need.
//!
//! Its pages are in clusters of 512, and what is known of a cluster is one record. A record lists
//! its pages in order with their words, ten bytes a page, or is an array of all 512 words once
//! most of them are needed:
//!
//! ```text
//! page ──▶ leaf (1 GiB) ──▶ place of the cluster's record ──▶ header, numbers …, words …
//!                                                             header, all 512 words
//! ```
//!
//! A record that has no room left is written anew after all others, with more of it. What it
//! leaves behind is closed by moving later records down, as a log-structured store is cleaned
//! (Rosenblum and Ousterhout, *The Design and Implementation of a Log-Structured File System*,
//! 1991): a few with each record that is written, so that no fault waits for a whole leaf to be
//! moved.

/// Pages of a leaf.
pub(crate) const PAGES: usize = 1 << 18;
/// Pages of a cluster: those of 2 MiB.
const CLUSTER: usize = 512;
const CLUSTERS: usize = PAGES / CLUSTER;
/// Where records begin: before them is the place of each, half a word, 0 where there is none.
const FIRST: usize = CLUSTERS / 2;
/// Words of an array before those of its pages.
const ARRAY_FRONT: usize = 1;
const ARRAY: usize = ARRAY_FRONT + CLUSTER;
/// Room for pages above which a record is an array, which then takes little more.
const MOST_LISTED: usize = 384;
/// In the place of a record that is an array.
const IS_ARRAY: u32 = 1 << 31;
/// Words of a leaf: all arrays, and a quarter more for what is left behind. That is enough: while all
/// records (at most 262 656 words) are moved once, a [`PACE`]th as many are written, so that what is
/// left behind stays below 36 000; if it did not, all would be closed at once.
const WORDS: usize = FIRST + CLUSTERS * ARRAY * 5 / 4;
/// What records have left behind is closed when it is more than this part of the others.
const CLOSE_AT: usize = 16;
/// Words that are moved down for each word of a record that is written at the end, or one record more.
const PACE: usize = 16;

/// The words of [`PAGES`] pages. Those that are not set are 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaf {
    words: Vec<u64>,
    /// Where the next record goes.
    end: usize,
    /// The highest that `end` has been after a record; 0 before the first.
    high: usize,
    /// Words of records before `end` that were left behind and have not been passed since.
    dead: usize,
    closing: Option<Closing>,
}

/// How far records have been moved down. Nothing is between `to` and `from`.
#[derive(Clone, Copy, Debug)]
struct Closing {
    /// Records before this have been, and lie before `to`.
    from: usize,
    to: usize,
}

/// The first half word of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    cluster: usize,
    /// Pages that it lists; of an array all.
    len: usize,
    /// Pages that it has room for: at most [`MOST_LISTED`], or all.
    room: usize,
    /// Left behind.
    is_dead: bool,
}

impl Header {
    fn unpack(word: u64) -> Self {
        let field = |shift: u32| (word >> shift) as usize & 0x3ff;
        Self { cluster: field(0), len: field(10), room: field(20), is_dead: word >> 30 & 1 == 1 }
    }

    fn pack(self) -> u64 {
        let Self { cluster, len, room, is_dead } = self;
        (cluster | len << 10 | room << 20 | usize::from(is_dead) << 30) as u64
    }

    fn list(cluster: usize, len: usize, room: usize) -> Self {
        Self { cluster, len, room, is_dead: false }
    }

    fn array(cluster: usize) -> Self {
        Self::list(cluster, CLUSTER, CLUSTER)
    }

    fn is_array(self) -> bool {
        self.room == CLUSTER
    }

    /// Words before those of the pages: two numbers lie beside the header, then four to a word.
    fn front(self) -> usize {
        if self.is_array() { ARRAY_FRONT } else { (2 + self.room).div_ceil(4) }
    }

    fn size(self) -> usize {
        self.front() + self.room
    }
}

/// A record that lies at `at`.
#[derive(Clone, Copy)]
struct Record {
    at: usize,
    header: Header,
}

impl Record {
    /// Where its words of pages begin.
    fn first(self) -> usize {
        self.at + self.header.front()
    }

    fn end(self) -> usize {
        self.at + self.header.size()
    }
}

/// What is to be written as a record, in order.
struct List {
    numbers: [u16; CLUSTER],
    words: [u64; CLUSTER],
    len: usize,
}

impl List {
    fn new() -> Self {
        Self { numbers: [0; CLUSTER], words: [0; CLUSTER], len: 0 }
    }

    fn push(&mut self, number: usize, word: u64) {
        (self.numbers[self.len], self.words[self.len]) = (number as u16, word);
        self.len += 1;
    }

    fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.numbers.iter().map(|number| usize::from(*number)).zip(self.words.iter().copied()).take(self.len)
    }
}

impl Leaf {
    /// Room for all pages, which is address space alone until it is used: a vector of zeros
    /// comes straight from zeroed memory.
    pub(crate) fn new() -> Self {
        Self { words: vec![0; WORDS], end: FIRST, ..Self::default() }
    }

    /// Whether no word was ever set.
    pub(crate) fn is_empty(&self) -> bool {
        self.high == 0
    }

    /// Bytes that have been written, which is what the leaf keeps resident.
    pub(crate) fn written(&self) -> usize {
        self.high * size_of::<u64>()
    }

    #[inline]
    pub(crate) fn word(&self, page: usize) -> u64 {
        match self.array(page / CLUSTER) {
            Some(array) => self.words[array + page % CLUSTER],
            None => self.listed(page / CLUSTER, page % CLUSTER),
        }
    }

    #[inline]
    pub(crate) fn set(&mut self, page: usize, word: u64) {
        match self.array(page / CLUSTER) {
            Some(array) => self.words[array + page % CLUSTER] = word,
            None => self.set_listed(page / CLUSTER, page % CLUSTER, word),
        }
    }

    /// Where the words of a cluster begin that has an array: of most that are much used.
    #[inline]
    fn array(&self, cluster: usize) -> Option<usize> {
        let place = self.place(cluster)?;
        (place & IS_ARRAY != 0).then_some((place & !IS_ARRAY) as usize + ARRAY_FRONT)
    }

    #[inline(never)]
    fn listed(&self, cluster: usize, number: usize) -> u64 {
        self.record(cluster).map_or(0, |record| match self.position(record, number) {
            Ok(index) => self.words[record.first() + index],
            Err(_) => 0,
        })
    }

    #[inline(never)]
    fn set_listed(&mut self, cluster: usize, number: usize, word: u64) {
        match self.record(cluster).map(|record| (record, self.position(record, number))) {
            Some((record, Ok(index))) => self.words[record.first() + index] = word,
            _ if word == 0 => {}
            Some((record, Err(index))) if record.header.len < record.header.room => {
                self.insert(record, index, number, word);
            }
            Some((record, Err(index))) => self.renew(cluster, Some(record), index, number, word),
            None => self.renew(cluster, None, 0, number, word),
        }
    }

    /// The pages of `first..end` whose words are not 0, and these, in order.
    pub(crate) fn touched(
        &self,
        first: usize,
        end: usize,
    ) -> impl DoubleEndedIterator<Item = (usize, u64)> + '_ {
        debug_assert!(first <= end && end <= PAGES);
        // Where there is nothing not all places are looked at.
        let end = if self.is_empty() { first } else { end };
        let clusters = first / CLUSTER..end.div_ceil(CLUSTER);
        clusters.filter_map(|cluster| self.record(cluster)).flat_map(move |record| {
            let base = record.header.cluster * CLUSTER;
            let index_of = |page: usize| {
                let number = page.clamp(base, base + CLUSTER) - base;
                self.position(record, number).unwrap_or_else(|index| index)
            };
            let entries = (index_of(first)..index_of(end)).map(move |index| self.entry(record, index));
            entries.filter(|(_, word)| *word != 0).map(move |(number, word)| (base + number, word))
        })
    }

    /// What the leaf notes of a cluster's record: where it is, and whether it is an array.
    #[inline]
    fn place(&self, cluster: usize) -> Option<u32> {
        self.words.get(cluster / 2).map(|word| (word >> (32 * (cluster % 2))) as u32)
    }

    fn record(&self, cluster: usize) -> Option<Record> {
        let place = self.place(cluster)?;
        let at = (place & !IS_ARRAY) as usize;
        // The header of an array need not be read.
        let header =
            || if place == at as u32 { Header::unpack(self.words[at]) } else { Header::array(cluster) };
        (at > 0).then(|| Record { at, header: header() })
    }

    /// The record of `header`'s cluster lies at `at`.
    fn set_place(&mut self, header: Header, at: usize) {
        let shift = 32 * (header.cluster % 2);
        let place = at as u32 | if header.is_array() { IS_ARRAY } else { 0 };
        let word = &mut self.words[header.cluster / 2];
        *word = *word & !(0xffff_ffff << shift) | u64::from(place) << shift;
    }

    /// Which word of the record is that page's, or before which it would be.
    fn position(&self, record: Record, number: usize) -> Result<usize, usize> {
        if record.header.is_array() {
            return if number < CLUSTER { Ok(number) } else { Err(CLUSTER) };
        }
        let (mut low, mut high) = (0, record.header.len);
        // They are most often touched in order.
        if high > 0 && self.number(record, high - 1) < number {
            return Err(high);
        }
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.number(record, middle) < number {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let is_there = low < record.header.len && self.number(record, low) == number;
        if is_there { Ok(low) } else { Err(low) }
    }

    /// The page of a list at `index`.
    fn number(&self, record: Record, index: usize) -> usize {
        (self.words[record.at + (index + 2) / 4] >> (16 * ((index + 2) % 4))) as usize & 0xffff
    }

    fn set_number(&mut self, at: usize, index: usize, number: usize) {
        let shift = 16 * ((index + 2) % 4);
        let word = &mut self.words[at + (index + 2) / 4];
        *word = *word & !(0xffff << shift) | (number as u64) << shift;
    }

    /// Moves the numbers from `index` on, of `len`, to one place later, four at a time.
    fn shift_numbers(&mut self, at: usize, index: usize, len: usize) {
        let (first, last) = (at + (index + 2) / 4, at + (len + 2) / 4);
        for word in (first + 1..=last).rev() {
            self.words[word] = self.words[word] << 16 | self.words[word - 1] >> 48;
        }
        let stay = (1 << (16 * ((index + 2) % 4))) - 1;
        let word = self.words[first];
        self.words[first] = word & stay | (word & !stay) << 16;
    }

    /// The page at `index`, and its word.
    fn entry(&self, record: Record, index: usize) -> (usize, u64) {
        let number = if record.header.is_array() { index } else { self.number(record, index) };
        (number, self.words[record.first() + index])
    }

    /// Adds a page to a list that has room.
    #[inline(never)]
    fn insert(&mut self, record: Record, index: usize, number: usize, word: u64) {
        let Record { at, header } = record;
        self.shift_numbers(at, index, header.len);
        self.set_number(at, index, number);
        let first = record.first();
        self.words.copy_within(first + index..first + header.len, first + index + 1);
        self.words[first + index] = word;
        let low = u64::from(u32::MAX);
        self.words[at] = self.words[at] & !low | Header { len: header.len + 1, ..header }.pack();
    }

    /// Writes the record of a cluster anew, with one page more, which comes before that at `index`.
    #[inline(never)] // Not everybody needs so much stack.
    fn renew(&mut self, cluster: usize, old: Option<Record>, index: usize, number: usize, word: u64) {
        let mut list = List::new();
        let Header { len, mut room, .. } = old.map_or(Header::list(cluster, 0, 0), |old| old.header);
        let entries = |range: core::ops::Range<usize>| {
            let entries = range.filter_map(|index| Some(self.entry(old?, index)));
            // What has been untouched again is left out.
            entries.filter(|(_, word)| *word != 0)
        };
        entries(0..index).for_each(|(number, word)| list.push(number, word));
        list.push(number, word);
        entries(index..len).for_each(|(number, word)| list.push(number, word));
        if list.len > room {
            // Pages are most often touched in order, and then more of them are soon.
            let goes_on = index == len && old.is_some_and(|old| old.end() == self.end);
            room += if goes_on { room } else { (room / 4).max(1) };
        }
        let is_list = room <= MOST_LISTED;
        let header = if is_list { Header::list(cluster, list.len, room) } else { Header::array(cluster) };
        let at = match old {
            Some(old) if header.size() <= old.header.size() => old.at,
            // The last record grows where it is.
            Some(old) if old.end() == self.end && old.at + header.size() <= WORDS => {
                self.end = old.at;
                self.extend(header.size())
            }
            _ => {
                old.into_iter().for_each(|old| self.leave(old));
                self.close(PACE * header.size());
                if self.end + header.size() > WORDS {
                    self.close_all();
                }
                self.extend(header.size())
            }
        };
        self.set_place(header, at);
        self.write(Record { at, header }, &list);
    }

    /// Makes room for a record after all others; where.
    fn extend(&mut self, size: usize) -> usize {
        let at = self.end;
        self.end += size;
        self.high = self.high.max(self.end);
        at
    }

    fn write(&mut self, record: Record, list: &List) {
        let Record { at, header } = record;
        let first = record.first();
        // The header, and the numbers beside it.
        self.words[at] = header.pack();
        if header.is_array() {
            self.words[first..first + CLUSTER].fill(0);
            list.iter().for_each(|(number, word)| self.words[first + number] = word);
        } else {
            for (index, (number, word)) in list.iter().enumerate() {
                self.set_number(at, index, number);
                self.words[first + index] = word;
            }
        }
    }

    fn leave(&mut self, record: Record) {
        self.words[record.at] = Header { is_dead: true, ..record.header }.pack();
        self.dead += record.header.size();
    }

    /// Closes what records have left behind, if that is much, by moving about so many words.
    fn close(&mut self, most: usize) {
        let mut left = most;
        let live = self.end - FIRST - self.dead;
        let begins = || (self.dead > live / CLOSE_AT).then_some(Closing { from: FIRST, to: FIRST });
        let Some(mut closing) = self.closing.or_else(begins) else { return };
        while left > 0 && closing.from < self.end {
            let header = Header::unpack(self.words[closing.from]);
            let size = header.size();
            if header.is_dead {
                self.dead -= size;
                left -= 1;
            } else {
                // Moving anything else would destroy what is known of pages.
                let known = self.record(header.cluster).map(|record| record.at);
                assert_eq!(known, Some(closing.from), "what is moved is the record of its cluster");
                if closing.to < closing.from {
                    self.words.copy_within(closing.from..closing.from + size, closing.to);
                    self.set_place(header, closing.to);
                }
                closing.to += size;
                left = left.saturating_sub(size);
            }
            closing.from += size;
        }
        self.closing = (closing.from < self.end).then_some(closing);
        if self.closing.is_none() {
            self.end = closing.to;
        }
    }

    /// Closes everything.
    fn close_all(&mut self) {
        self.close(usize::MAX);
        if self.dead > 0 {
            self.closing = Some(Closing { from: FIRST, to: FIRST });
            self.close(usize::MAX);
        }
        debug_assert_eq!(self.dead, 0, "what records of a leaf have left behind is not counted right");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl Leaf {
        /// Records lie one after the other, each where its place says, and what is dead is counted.
        fn check(&self) {
            let (mut at, mut dead, mut lists) = (FIRST, 0, 0);
            while at < self.end {
                if let Some(Closing { from, to }) = self.closing.filter(|closing| closing.to == at) {
                    assert!(to <= from, "records are moved up");
                    at = from;
                }
                let header = Header::unpack(self.words[at]);
                assert!(header.len <= header.room);
                if header.is_dead {
                    dead += header.size();
                } else {
                    assert_eq!(self.record(header.cluster).map(|record| record.at), Some(at));
                    lists += 1;
                }
                at += header.size();
            }
            assert_eq!((at, dead), (self.end, self.dead));
            assert_eq!(lists, (0..CLUSTERS).filter(|cluster| self.record(*cluster).is_some()).count());
            assert!(self.is_empty() || self.high >= self.end && self.high <= WORDS);
        }
    }

    /// Every page of `0..pages` once, in an order without order: an odd step is coprime to a power of two.
    fn scattered(pages: usize) -> impl Iterator<Item = usize> {
        assert!(pages.is_power_of_two());
        (0..pages).map(move |n| n * 0x9e37_79b1 % pages)
    }

    /// Which pages are set next to one another, and to what.
    fn change() -> impl Strategy<Value = (usize, usize, usize, u64)> {
        let start = prop_oneof![0..4 * CLUSTER, 0..PAGES];
        (start, prop_oneof![1..4usize, 1..2 * CLUSTER], prop_oneof![Just(1usize), 2..40usize], 0..4u64)
    }

    proptest! {
        #[test]
        fn a_leaf_is_a_map(changes in prop::collection::vec(change(), 1..60), ends in (0..=PAGES, 0..=PAGES)) {
            let (mut leaf, mut model) = (Leaf::new(), BTreeMap::new());
            for (n, (start, count, step, word)) in changes.into_iter().enumerate() {
                let pages = (start..PAGES).step_by(step).take(count);
                for page in pages.clone() {
                    let word = if word == 0 { 0 } else { (n as u64) << 20 | page as u64 | 1 << 40 };
                    leaf.set(page, word);
                    model.insert(page, word);
                }
                leaf.check();
                for page in pages.chain([start.saturating_sub(1)]) {
                    prop_assert_eq!(leaf.word(page), model.get(&page).copied().unwrap_or(0));
                }
            }
            let (first, end) = (ends.0.min(ends.1), ends.0.max(ends.1));
            let expected = |first: usize, end: usize| {
                let set = model.range(first..end).filter(|(_, word)| **word != 0);
                set.map(|(page, word)| (*page, *word)).collect::<Vec<_>>()
            };
            for (first, end) in [(0, PAGES), (first, end), (CLUSTER / 2, CLUSTER * 3 / 2)] {
                let found: Vec<_> = leaf.touched(first, end).collect();
                prop_assert_eq!(&found, &expected(first, end));
                let mut backwards: Vec<_> = leaf.touched(first, end).rev().collect();
                backwards.reverse();
                prop_assert_eq!(found, backwards);
            }
            leaf.close_all();
            leaf.check();
            prop_assert_eq!(leaf.touched(0, PAGES).collect::<Vec<_>>(), expected(0, PAGES));
        }
    }

    /// Bytes a page when every `step`-th has been set, at most while they were being set in no order.
    fn most_bytes(step: usize) -> f64 {
        let mut leaf = Leaf::new();
        let pages = PAGES / step;
        for (n, page) in scattered(pages).enumerate() {
            leaf.set(page * step, n as u64 + 1);
        }
        leaf.check();
        for (n, page) in scattered(pages).enumerate() {
            assert_eq!(leaf.word(page * step), n as u64 + 1);
        }
        leaf.written() as f64 / pages as f64
    }

    #[test]
    fn few_pages_take_little_memory() {
        let bytes = [1, 2, 4, 8, 16, 32, 64, 128, 256].map(most_bytes);
        assert!(bytes.iter().all(|bytes| *bytes < 15.5), "{bytes:?}");
        assert!(bytes[0] < 9.0, "where all are touched: {bytes:?}");
        // The place and the record of a cluster with a single page.
        assert!((most_bytes(CLUSTER) - 20.0).abs() < 0.1);
    }

    #[test]
    fn pages_in_order_cost_nothing_but_their_words() {
        let mut leaf = Leaf::new();
        (0..PAGES).for_each(|page| leaf.set(page, 1 + page as u64));
        leaf.check();
        assert_eq!((leaf.end, leaf.high, leaf.dead), (FIRST + CLUSTERS * ARRAY, leaf.end, 0));
    }

    #[test]
    fn what_is_untouched_again_makes_room() {
        let mut leaf = Leaf::new();
        for page in 0..CLUSTER {
            leaf.set(page, 7);
            leaf.set(page, 0);
        }
        leaf.check();
        assert!(leaf.end <= FIRST + 2, "one page at a time takes {} words", leaf.end - FIRST);
        assert_eq!(leaf.touched(0, PAGES).count(), 0);
    }

    #[test]
    fn a_leaf_without_room_at_its_end_is_closed_at_once() {
        let mut leaf = Leaf::new();
        let each = |page: usize| (0..CLUSTERS).map(move |cluster| cluster * CLUSTER + page);
        (0..32).flat_map(each).for_each(|page| leaf.set(page, 1 + page as u64));
        let room = MOST_LISTED;
        let left = Header { cluster: 0, len: room, room, is_dead: true };
        while leaf.end + left.size() <= WORDS {
            let at = leaf.extend(left.size());
            leaf.words[at] = left.pack();
            leaf.dead += left.size();
        }
        leaf.check();
        // The first record grows there until there is no room, and there is more to be moved than it may move.
        for page in 32..room {
            let before = leaf.end;
            leaf.set(page, 1 + page as u64);
            leaf.check();
            if leaf.end < before {
                break;
            }
        }
        assert_eq!((leaf.dead, leaf.closing.is_none()), (0, true), "closed to the end");
        assert!(leaf.end < WORDS / 2 && leaf.high <= WORDS);
        (0..32).flat_map(each).for_each(|page| assert_eq!(leaf.word(page), 1 + page as u64));
    }

    #[test]
    fn what_is_left_behind_while_gaps_are_closed_is_closed_later() {
        let mut leaf = Leaf::new();
        let mut next = scattered(PAGES).map(|page| (page, 1 + page as u64));
        // Until records are being moved, and some have been.
        let moved = |leaf: &Leaf| leaf.closing.is_some_and(|closing| closing.to > FIRST + 1000);
        for (page, word) in next.by_ref() {
            leaf.set(page, word);
            if moved(&leaf) {
                break;
            }
        }
        assert!(moved(&leaf), "nothing was closed");
        let Some(Closing { to, .. }) = leaf.closing else { unreachable!() };
        // One of those that have been moved grows, and then the last.
        let first =
            (0..CLUSTERS).find(|cluster| leaf.record(*cluster).is_some_and(|record| record.end() < to));
        let cluster = first.expect("some were moved");
        for page in cluster * CLUSTER..(cluster + 1) * CLUSTER {
            leaf.set(page, 1 + page as u64);
            leaf.check();
        }
        for (n, (page, word)) in next.take(20_000).enumerate() {
            leaf.set(page, word);
            if n % 100 == 0 {
                leaf.check();
            }
        }
        let found =
            leaf.touched(0, PAGES).inspect(|(page, word)| assert_eq!(*word, 1 + *page as u64)).count();
        assert!(found > 20_000);
        assert!(leaf.end - FIRST < leaf.touched(0, PAGES).count() * 2, "{} words", leaf.end);
        assert_eq!(leaf.touched(700, 700).count(), 0);
    }
}
