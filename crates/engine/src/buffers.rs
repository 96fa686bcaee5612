//! The places that reads go to, with memory that is kept.
//!
//! Only reads write there, and their bytes are copied out, so nobody else can hold on to
//! the memory. A page that is read costs neither a new page to read into nor a move out
//! of it, which would interrupt the other processors to flush what they know about it.

/// Evictions or reads between two looks at how many places were in use.
const LOOK: u32 = 512;

/// Which of a fixed number of places are in use, and which have memory.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// One bit a place, set while it is in use. Bits past the end are set.
    words: Vec<u64>,
    count: u32,
    /// Places below this may have memory.
    warm: u32,
    /// The same of the places that were in use since the last look.
    high: u32,
    looks: u32,
}

impl Buffers {
    /// `count` places, a multiple of 64, without memory.
    pub(crate) fn new(count: u32) -> Self {
        assert!(count.is_multiple_of(64), "{count} buffers do not fill their words");
        Self { words: vec![0; count as usize / 64], count, warm: 0, high: 0, looks: 0 }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Places that have memory and are not in use.
    pub(crate) fn idle(&self) -> u32 {
        let warm = &self.words[..self.warm.div_ceil(64) as usize];
        // Bits past the last that may have memory are clear: it was the highest in use.
        self.warm - warm.iter().map(|word| word.count_ones()).sum::<u32>().min(self.warm)
    }

    fn is_free(&self, place: u32) -> bool {
        place < self.count && self.words[place as usize / 64] >> (place % 64) & 1 == 0
    }

    /// Up to `most` consecutive places, the lowest that are free: first and how many. For
    /// many, where a word of them is free.
    pub(crate) fn take(&mut self, most: u32) -> Option<(u32, u32)> {
        let wide = if most >= 64 { self.words.iter().position(|word| *word == 0) } else { None };
        let word = wide.or_else(|| self.words.iter().position(|word| *word != !0))?;
        let first = word as u32 * 64 + self.words[word].trailing_ones();
        let count = (0..most).take_while(|offset| self.is_free(first + offset)).count() as u32;
        for place in first..first + count {
            self.words[place as usize / 64] |= 1 << (place % 64);
        }
        self.high = self.high.max(first + count);
        self.warm = self.warm.max(first + count);
        Some((first, count))
    }

    /// Gives a place back, with its memory.
    pub(crate) fn free(&mut self, place: u32) {
        debug_assert!(!self.is_free(place), "buffer {place} is given back twice");
        self.words[place as usize / 64] &= !(1 << (place % 64));
    }

    /// Now and then: the places (first, how many) whose memory nobody has needed lately,
    /// which the caller drops.
    pub(crate) fn cool(&mut self) -> Option<(u32, u32)> {
        self.looks += 1;
        if self.looks < LOOK {
            return None;
        }
        self.looks = 0;
        let in_use = self.words.iter().rposition(|word| *word != 0).map_or(0, |word| word as u32 * 64 + 64);
        let needed = self.high.max(in_use);
        let cold = (needed < self.warm).then(|| (needed, self.warm - needed));
        self.warm = self.warm.min(needed);
        self.high = in_use;
        cold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_places_come_first() {
        let mut buffers = Buffers::new(256);
        assert_eq!(
            (buffers.take(1), buffers.take(1), buffers.take(4)),
            (Some((0, 1)), Some((1, 1)), Some((2, 4)))
        );
        assert_eq!(buffers.take(100), Some((64, 100)));
        buffers.free(1);
        assert_eq!((buffers.take(4), buffers.take(4)), (Some((1, 1)), Some((6, 4))));
        assert_eq!(buffers.take(1000), Some((192, 64)));
        assert_eq!(buffers.take(64), Some((10, 54)));
        assert_eq!((buffers.take(64), buffers.take(64)), (Some((164, 28)), None));
    }

    #[test]
    fn memory_that_is_not_needed_is_told_once() {
        let mut buffers = Buffers::new(256);
        let cool = |buffers: &mut Buffers| (0..LOOK).find_map(|_| buffers.cool());
        buffers.take(200);
        assert_eq!((cool(&mut buffers), buffers.idle()), (None, 0));
        buffers.free(7);
        assert_eq!(buffers.idle(), 1);
        buffers.take(1);
        (0..200).for_each(|place| buffers.free(place));
        assert_eq!(cool(&mut buffers), None, "needed lately");
        let few = buffers.take(3);
        assert_eq!((few, buffers.idle()), (Some((0, 3)), 197));
        assert_eq!((cool(&mut buffers), buffers.idle()), (Some((64, 136)), 61));
        (0..3).for_each(|place| buffers.free(place));
        assert_eq!((cool(&mut buffers), cool(&mut buffers)), (None, Some((0, 64))));
        assert_eq!(cool(&mut buffers), None);
    }
}
