//! Which objects of a span are allocated.

/// One bit an object, set when allocated.
#[derive(Debug)]
pub(crate) struct Bitmap {
    words: Box<[u64]>,
    len: usize,
    /// No free object lies below this word.
    hint: usize,
}

impl Bitmap {
    pub(crate) fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)].into_boxed_slice(), len, hint: 0 }
    }

    /// Allocates the lowest free object.
    pub(crate) fn take(&mut self) -> Option<usize> {
        for index in self.hint..self.words.len() {
            let word = self.words[index];
            if word != !0 {
                self.hint = index;
                let object = index * 64 + word.trailing_ones() as usize;
                if object >= self.len {
                    return None;
                }
                self.words[index] |= word + 1;
                return Some(object);
            }
        }
        self.hint = self.words.len();
        None
    }

    /// Frees an object; false when it was free.
    pub(crate) fn free(&mut self, object: usize) -> bool {
        let (index, bit) = (object / 64, 1 << (object % 64));
        let was_taken = self.words[index] & bit != 0;
        self.words[index] &= !bit;
        self.hint = self.hint.min(index);
        was_taken
    }

    pub(crate) fn bytes(&self) -> usize {
        self.words.len() * 8
    }
}
