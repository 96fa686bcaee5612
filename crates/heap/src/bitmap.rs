//! Which objects of a span are allocated.

#[cfg(all(test, loom))]
mod model;

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

/// One bit an object, set when allocated. Changed under the class's lock only; atomic
/// because [`crate::span::Entry::is_taken`] looks without it.
#[derive(Debug)]
pub(crate) struct Bitmap<'a, W = AtomicU64, H = AtomicU32> {
    pub(crate) words: &'a [W],
    /// No free object lies below this word.
    pub(crate) hint: &'a H,
}

/// Whether the object's bit is set in its word.
#[inline]
pub(crate) fn is_set(word: &impl Word<u64>, object: usize) -> bool {
    word.load() >> (object % 64) & 1 != 0
}

/// Words for so many objects.
pub(crate) const fn words_for(objects: usize) -> usize {
    objects.div_ceil(64)
}

impl<W: Word<u64>, H: Word<u32>> Bitmap<'_, W, H> {
    /// All of `objects` are free; places past the end are taken for good. The words
    /// are zero.
    pub(crate) fn begin(&self, objects: usize) {
        if !objects.is_multiple_of(64) {
            self.words[objects / 64].store(!0 << (objects % 64));
        }
    }

    /// Allocates the lowest free objects, as many as `take` accepts places for;
    /// `take` is told each and answers whether it wants more.
    pub(crate) fn take(&self, mut take: impl FnMut(usize) -> bool) {
        let mut wanted = true;
        for index in self.hint.load() as usize..self.words.len() {
            let mut word = self.words[index].load();
            while wanted && word != !0 {
                wanted = take(index * 64 + word.trailing_ones() as usize);
                word |= word + 1;
            }
            self.words[index].store(word);
            if !wanted {
                self.hint.store(index as u32);
                return;
            }
        }
        self.hint.store(self.words.len() as u32);
    }

    /// The lowest free object.
    pub(crate) fn lowest_free(&self) -> Option<usize> {
        let from = self.hint.load() as usize;
        let rest = self.words.iter().enumerate().skip(from);
        let mut free = rest.map(|(index, word)| (index, word.load())).filter(|(_, word)| *word != !0);
        free.next().map(|(index, word)| index * 64 + word.trailing_ones() as usize)
    }

    /// Frees an object; false when it was free.
    pub(crate) fn free(&self, object: usize) -> bool {
        let (index, bit) = (object / 64, 1 << (object % 64));
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
        for len in [1, 8, 63, 64, 65, 130] {
            let words: Vec<AtomicU64> = (0..words_for(len)).map(|_| AtomicU64::new(0)).collect();
            let hint = AtomicU32::new(0);
            let bitmap = Bitmap { words: &words, hint: &hint };
            bitmap.begin(len);
            let is_taken = |object: usize| words[object / 64].load(Relaxed) >> (object % 64) & 1 != 0;
            assert_eq!(bitmap.lowest_free(), Some(0));
            let take = |wanted: usize| {
                let mut taken = Vec::new();
                bitmap.take(|object| {
                    taken.push(object);
                    taken.len() < wanted
                });
                taken
            };
            assert_eq!(take(usize::MAX), (0..len).collect::<Vec<_>>());
            assert!(take(1).is_empty() && is_taken(len - 1) && bitmap.lowest_free().is_none());
            assert!(bitmap.free(len - 1) && !bitmap.free(len - 1) && !is_taken(len - 1));
            assert_eq!(bitmap.lowest_free(), Some(len - 1));
            assert!(len == 1 || bitmap.free(0));
            assert_eq!(take(1), [0]);
        }
    }
}
