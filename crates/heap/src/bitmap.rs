//! Which objects of a span are allocated.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// One bit an object, set when allocated. Changed under the class's lock only; atomic
/// because [`Self::is_taken`] looks without it.
#[derive(Debug)]
pub(crate) struct Bitmap {
    words: Box<[AtomicU64]>,
    /// No free object lies below this word.
    hint: AtomicUsize,
}

impl Bitmap {
    pub(crate) fn new(len: usize) -> Self {
        let word = |index: usize| match len - index * 64 {
            // Places past the end are taken for good.
            objects @ ..64 => AtomicU64::new(!0 << objects),
            _ => AtomicU64::new(0),
        };
        Self { words: (0..len.div_ceil(64)).map(word).collect(), hint: AtomicUsize::new(0) }
    }

    /// Allocates the lowest free objects, as many as `take` accepts places for;
    /// `take` is told each and answers whether it wants more.
    pub(crate) fn take(&self, mut take: impl FnMut(usize) -> bool) {
        let mut wanted = true;
        for index in self.hint.load(Relaxed)..self.words.len() {
            let mut word = self.words[index].load(Relaxed);
            while wanted && word != !0 {
                wanted = take(index * 64 + word.trailing_ones() as usize);
                word |= word + 1;
            }
            self.words[index].store(word, Relaxed);
            if !wanted {
                self.hint.store(index, Relaxed);
                return;
            }
        }
        self.hint.store(self.words.len(), Relaxed);
    }

    /// Frees an object; false when it was free.
    pub(crate) fn free(&self, object: usize) -> bool {
        let (index, bit) = (object / 64, 1 << (object % 64));
        let word = self.words[index].load(Relaxed);
        self.words[index].store(word & !bit, Relaxed);
        if index < self.hint.load(Relaxed) {
            self.hint.store(index, Relaxed);
        }
        word & bit != 0
    }

    #[inline]
    pub(crate) fn is_taken(&self, object: usize) -> bool {
        self.words.get(object / 64).is_some_and(|word| word.load(Relaxed) >> (object % 64) & 1 != 0)
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_the_lowest_and_no_more_than_there_are() {
        for len in [1, 8, 63, 64, 65, 130] {
            let bitmap = Bitmap::new(len);
            let take = |wanted: usize| {
                let mut taken = Vec::new();
                bitmap.take(|object| {
                    taken.push(object);
                    taken.len() < wanted
                });
                taken
            };
            assert_eq!(take(usize::MAX), (0..len).collect::<Vec<_>>());
            assert!(take(1).is_empty() && bitmap.is_taken(len - 1));
            assert!(bitmap.free(len - 1) && !bitmap.free(len - 1) && !bitmap.is_taken(len - 1));
            assert!(len == 1 || bitmap.free(0));
            assert_eq!(take(1), [0]);
        }
    }
}
