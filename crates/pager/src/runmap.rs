//! A bitmap that hands out numbers, alone or in consecutive runs.

/// Which of `0..capacity` are taken. Prefers low numbers, so that what is spread
/// over them (a file, a table) stays as small as what is in use.
#[derive(Clone, Debug)]
pub struct RunMap {
    /// One bit a number, set when taken. Bits past the capacity are set.
    words: Vec<u64>,
    capacity: u32,
    taken: u32,
    /// Words below this have been used at least once.
    high_word: usize,
    cursor: usize,
    /// Where the last short run ended: short ones lie side by side.
    short: u32,
}

impl RunMap {
    /// All of `0..capacity` free.
    pub fn new(capacity: u32) -> Self {
        let words = vec![0; capacity.div_ceil(64) as usize];
        let mut map = Self { words, capacity, taken: 0, high_word: 0, cursor: 0, short: 0 };
        if !capacity.is_multiple_of(64) {
            let last = map.words.len() - 1;
            map.words[last] = !0 << (capacity % 64);
        }
        map
    }

    /// Numbers handed out and not given back.
    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// Numbers in all.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Whether `number` is handed out. Numbers past the capacity are.
    pub fn is_taken(&self, number: u32) -> bool {
        number >= self.capacity || self.words[number as usize / 64] >> (number % 64) & 1 != 0
    }

    /// 64 numbers, a bit each, set where one is handed out or past the capacity.
    pub(crate) fn word(&self, index: usize) -> u64 {
        self.words[index]
    }

    /// Takes `number`, which must be free.
    pub fn take(&mut self, number: u32) {
        assert!(!self.is_taken(number), "number {number} is taken");
        self.words[number as usize / 64] |= 1 << (number % 64);
        self.taken += 1;
        self.high_word = self.high_word.max(number as usize / 64 + 1);
    }

    /// Gives `number` back.
    ///
    /// # Panics
    /// If it was not taken.
    pub fn free(&mut self, number: u32) {
        assert!(number < self.capacity && self.is_taken(number), "number {number} is not taken");
        self.words[number as usize / 64] &= !(1 << (number % 64));
        self.taken -= 1;
    }

    /// The start of a good place for many: 64 free numbers in a row where there
    /// are such, else any free number, else none. Takes nothing.
    pub fn find(&mut self) -> Option<u32> {
        if self.taken == self.capacity {
            return None;
        }
        // Searching a crowded map for empty words costs more than new numbers do.
        let in_use_range = (self.high_word * 64) as u64;
        let roomy = u64::from(self.taken) * 4 <= in_use_range * 3;
        let fresh = self.high_word < self.words.len();
        let empty = |map: &Self, range: core::ops::Range<usize>| {
            range.clone().zip(&map.words[range]).find_map(|(index, word)| (*word == 0).then_some(index))
        };
        if roomy || !fresh {
            let found = empty(self, self.cursor..self.high_word).or_else(|| empty(self, 0..self.cursor));
            if let Some(index) = found {
                self.cursor = index;
                return Some(index as u32 * 64);
            }
        }
        if fresh && self.words[self.high_word] == 0 {
            return Some(self.high_word as u32 * 64);
        }
        let index = self.words.iter().position(|word| *word != !0)?;
        Some(index as u32 * 64 + self.words[index].trailing_ones())
    }

    /// Takes up to `most` consecutive numbers: `(first, how many)`.
    pub fn take_run(&mut self, most: u32) -> Option<(u32, u32)> {
        let start = if most < 64 && !self.is_taken(self.short) { self.short } else { self.find()? };
        let mut len = 0;
        while len < most && !self.is_taken(start + len) {
            self.take(start + len);
            len += 1;
        }
        if most < 64 {
            self.short = start + len;
        }
        (len > 0).then_some((start, len))
    }

    /// Bytes of the bitmap that have been used.
    pub fn metadata_bytes(&self) -> usize {
        self.high_word * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_everything_once() {
        let mut map = RunMap::new(1000);
        let mut seen = vec![false; 1000];
        while let Some((start, len)) = map.take_run(37) {
            for number in start..start + len {
                assert!(!std::mem::replace(&mut seen[number as usize], true));
            }
        }
        assert!(seen.iter().all(|s| *s));
        assert_eq!(map.taken(), 1000);
    }

    #[test]
    fn short_runs_lie_side_by_side() {
        let mut map = RunMap::new(1000);
        let places: Vec<_> = (0..100).filter_map(|_| map.take_run(1)).map(|(start, _)| start).collect();
        assert!(places.iter().eq((0..100).collect::<Vec<_>>().iter()));
    }

    #[test]
    fn prefers_numbers_that_were_used_before() {
        let mut map = RunMap::new(1 << 20);
        for round in 0..100 {
            let mut runs = Vec::new();
            for _ in 0..16 {
                runs.push(map.take_run(64).expect("room"));
            }
            for (start, len) in runs {
                assert!(start + len <= 64 * 64, "round {round} went up to {start}");
                (start..start + len).for_each(|n| map.free(n));
            }
        }
    }
}
