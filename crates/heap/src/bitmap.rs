//! Which objects of a span are allocated.

#[cfg(all(test, loom))]
mod model;

use crate::class::LONGEST_STEP;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// A word that one thread at a time changes, and others look at meanwhile.
pub(crate) trait Word<T> {
    fn load(&self) -> T;
    fn store(&self, value: T);
}

impl Word<u64> for AtomicU64 {
    #[inline]
    fn load(&self) -> u64 {
        self.load(Relaxed)
    }

    #[inline]
    fn store(&self, value: u64) {
        self.store(value, Relaxed);
    }
}

impl Word<u32> for AtomicU32 {
    #[inline]
    fn load(&self) -> u32 {
        self.load(Relaxed)
    }

    #[inline]
    fn store(&self, value: u32) {
        self.store(value, Relaxed);
    }
}

/// One bit a place, set while an object is allocated that begins there. Changed under the
/// class's lock only; atomic because [`crate::span::Entry::is_taken`] looks without it.
#[derive(Debug)]
pub(crate) struct Bitmap<'a, W = AtomicU64, H = AtomicU32> {
    pub(crate) words: &'a [W],
    /// No free object begins below this word.
    pub(crate) hint: &'a H,
    /// Places of an object.
    pub(crate) step: usize,
    /// The first place where none begins any more.
    pub(crate) end: usize,
}

/// Whether an object is allocated at the place that this is the word of.
#[inline]
pub(crate) fn is_set(word: &impl Word<u64>, place: usize) -> bool {
    word.load() >> (place % 64) & 1 != 0
}

/// Words for so many places.
pub(crate) const fn words_for(places: usize) -> usize {
    places.div_ceil(64)
}

/// The bits at the multiples of each number of places.
static MULTIPLES: [u64; LONGEST_STEP + 1] = {
    let mut table = [0; LONGEST_STEP + 1];
    let mut step = 1;
    while step < table.len() {
        let mut bit = 0;
        while bit < 64 {
            table[step] |= 1 << bit;
            bit += step;
        }
        step += 1;
    }
    table
};

impl<W: Word<u64>, H: Word<u32>> Bitmap<'_, W, H> {
    /// The words from the hint on in which objects begin, and where in each.
    fn starts_from_hint(&self) -> impl Iterator<Item = (usize, u64)> {
        let (step, end) = (self.step, self.end);
        let mut place = (self.hint.load() as usize * 64).next_multiple_of(step);
        core::iter::from_fn(move || {
            if place >= end {
                return None;
            }
            let (index, starts) = (place / 64, MULTIPLES[step] << (place % 64));
            place += starts.count_ones() as usize * step;
            let rest = end - index * 64;
            Some((index, if rest < 64 { starts & ((1 << rest) - 1) } else { starts }))
        })
    }

    /// Allocates the lowest free objects, as many as `take` accepts places for;
    /// `take` is told the place of each and answers whether it wants more.
    pub(crate) fn take(&self, mut take: impl FnMut(usize) -> bool) {
        let mut wanted = true;
        for (index, starts) in self.starts_from_hint() {
            let mut word = self.words[index].load();
            while wanted && !word & starts != 0 {
                let lowest = (!word & starts).trailing_zeros();
                wanted = take(index * 64 + lowest as usize);
                word |= 1 << lowest;
            }
            self.words[index].store(word);
            if !wanted {
                self.hint.store(index as u32);
                return;
            }
        }
        self.hint.store(words_for(self.end) as u32);
    }

    /// The place of the lowest free object.
    pub(crate) fn lowest_free(&self) -> Option<usize> {
        let mut free =
            self.starts_from_hint().map(|(index, starts)| (index, !self.words[index].load() & starts));
        let (index, word) = free.find(|(_, word)| *word != 0)?;
        Some(index * 64 + word.trailing_zeros() as usize)
    }

    /// Frees the object that begins at a place; false when none was allocated there.
    pub(crate) fn free(&self, place: usize) -> bool {
        let (index, bit) = (place / 64, 1 << (place % 64));
        let word = self.words[index].load();
        self.words[index].store(word & !bit);
        if index < self.hint.load() as usize {
            self.hint.store(index as u32);
        }
        word & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_the_lowest_and_no_more_than_there_are() {
        for (len, step) in
            [1, 8, 63, 64, 65, 130].into_iter().flat_map(|len| [1, 3, 7, 15].map(|step| (len, step)))
        {
            let words: Vec<AtomicU64> = (0..words_for(len * step) + 1).map(|_| AtomicU64::new(0)).collect();
            let hint = AtomicU32::new(0);
            let bitmap = Bitmap { words: &words, hint: &hint, step, end: len * step };
            let is_taken = |place: usize| is_set(&words[place / 64], place);
            assert_eq!(bitmap.lowest_free(), Some(0));
            let take = |wanted: usize| {
                let mut taken = Vec::new();
                bitmap.take(|place| {
                    taken.push(place);
                    taken.len() < wanted
                });
                taken
            };
            let all: Vec<usize> = (0..len).map(|object| object * step).collect();
            let last = all[len - 1];
            assert_eq!([take(1), take(2), take(usize::MAX)].concat(), all);
            assert_eq!((0..words.len() * 64).filter(|place| is_taken(*place)).collect::<Vec<_>>(), all);
            assert!(take(1).is_empty() && bitmap.lowest_free().is_none());
            assert!(bitmap.free(last) && !bitmap.free(last) && !is_taken(last));
            assert_eq!(bitmap.lowest_free(), Some(last));
            assert!(len == 1 || bitmap.free(0));
            assert_eq!(take(1), [0]);
        }
    }
}
