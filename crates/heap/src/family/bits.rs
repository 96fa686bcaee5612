//! Two bits a slot: whether a block begins there, and whether it is used.

/// Bits of one run of pages that has few slots. Finding a neighbour looks at a word for
/// every 64 slots in between.
#[derive(Debug)]
pub(super) struct Bits {
    /// The beginnings, then as many words that tell which are used.
    words: Box<[u64]>,
}

impl Bits {
    /// No block begins anywhere.
    pub(super) fn new(slots: usize) -> Self {
        Self { words: vec![0; 2 * slots.div_ceil(64)].into_boxed_slice() }
    }

    fn half(&self) -> usize {
        self.words.len() / 2
    }

    fn bit(&self, word: usize, slot: usize) -> bool {
        self.words[word] >> (slot % 64) & 1 != 0
    }

    fn set(&mut self, word: usize, slot: usize, value: bool) {
        let bit = 1 << (slot % 64);
        self.words[word] = if value { self.words[word] | bit } else { self.words[word] & !bit };
    }

    pub(super) fn begins(&self, slot: usize) -> bool {
        slot / 64 < self.half() && self.bit(slot / 64, slot)
    }

    pub(super) fn is_used(&self, slot: usize) -> bool {
        self.bit(self.half() + slot / 64, slot)
    }

    pub(super) fn put(&mut self, slot: usize, used: bool) {
        self.set(slot / 64, slot, true);
        self.set(self.half() + slot / 64, slot, used);
    }

    pub(super) fn remove(&mut self, slot: usize) {
        self.set(slot / 64, slot, false);
    }

    /// The first beginning at `slot` or after it.
    pub(super) fn at_or_after(&self, slot: usize) -> Option<usize> {
        let starts = &self.words[..self.half()];
        let first = starts.get(slot / 64)? & (!0 << (slot % 64));
        let rest = starts.iter().copied().enumerate().skip(slot / 64 + 1);
        let (index, word) = core::iter::once((slot / 64, first)).chain(rest).find(|(_, word)| *word != 0)?;
        Some(index * 64 + word.trailing_zeros() as usize)
    }

    /// The last beginning at `slot` or before it.
    pub(super) fn at_or_before(&self, slot: usize) -> Option<usize> {
        let starts = &self.words[..self.half()];
        let last = starts.get(slot / 64)? & (!0 >> (63 - slot % 64));
        let rest = starts[..slot / 64].iter().copied().enumerate().rev();
        let (index, word) = core::iter::once((slot / 64, last)).chain(rest).find(|(_, word)| *word != 0)?;
        Some(index * 64 + word.ilog2() as usize)
    }
}

/// The same for at most 64 slots, without memory elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pair {
    begins: u64,
    used: u64,
}

impl Pair {
    /// No block begins anywhere.
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn begins(&self, slot: usize) -> bool {
        slot < 64 && self.begins >> slot & 1 != 0
    }

    pub(super) fn is_used(&self, slot: usize) -> bool {
        self.used >> slot & 1 != 0
    }

    pub(super) fn put(&mut self, slot: usize, used: bool) {
        self.begins |= 1 << slot;
        self.used = if used { self.used | 1 << slot } else { self.used & !(1 << slot) };
    }

    pub(super) fn remove(&mut self, slot: usize) {
        self.begins &= !(1 << slot);
    }

    /// The first beginning at `slot` or after it.
    pub(super) fn at_or_after(&self, slot: usize) -> Option<usize> {
        let rest = if slot < 64 { self.begins & (!0 << slot) } else { 0 };
        (rest != 0).then(|| rest.trailing_zeros() as usize)
    }

    /// The last beginning at `slot` or before it.
    pub(super) fn at_or_before(&self, slot: usize) -> Option<usize> {
        let rest = if slot < 64 { self.begins & (!0 >> (63 - slot)) } else { 0 };
        (rest != 0).then(|| rest.ilog2() as usize)
    }
}
