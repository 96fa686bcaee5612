//! A set of positions of a trace, ordered.
//!
//! Bits in words, and above them levels of words that say which words below are not
//! zero: a look-up follows six bits a level, and a trace of ten million references
//! has four levels, which mostly stay in the cache.

/// A set of numbers below a bound.
pub(super) struct Positions {
    /// The members, then for each level what the level before has.
    levels: Vec<Vec<u64>>,
}

impl Positions {
    /// Room for the numbers below `bound`.
    pub(super) fn new(bound: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = bound.div_ceil(64).max(1);
        levels.push(vec![0; words]);
        while words > 1 {
            words = words.div_ceil(64);
            levels.push(vec![0; words]);
        }
        Self { levels }
    }

    pub(super) fn insert(&mut self, position: u32) {
        let mut index = position as usize;
        for level in &mut self.levels {
            level[index / 64] |= 1 << (index % 64);
            index /= 64;
        }
    }

    pub(super) fn remove(&mut self, position: u32) {
        let mut index = position as usize;
        for level in &mut self.levels {
            level[index / 64] &= !(1 << (index % 64));
            if level[index / 64] != 0 {
                return;
            }
            index /= 64;
        }
    }

    /// The largest member.
    pub(super) fn last(&self) -> Option<u32> {
        let top = self.levels.len() - 1;
        (self.levels[top][0] != 0).then(|| self.descend(top, 0))
    }

    /// The largest member below `position`.
    pub(super) fn before(&self, position: u32) -> Option<u32> {
        let mut index = position as usize;
        for (height, level) in self.levels.iter().enumerate() {
            let below = level[index / 64] & ((1 << (index % 64)) - 1);
            if below != 0 {
                let found = index / 64 * 64 + below.ilog2() as usize;
                return Some(if height == 0 { found as u32 } else { self.descend(height - 1, found) });
            }
            index /= 64;
        }
        None
    }

    /// The largest member beneath `word` of the level at `height`, which is not zero.
    fn descend(&self, height: usize, word: usize) -> u32 {
        let down = |word: usize, level: &Vec<u64>| word * 64 + level[word].ilog2() as usize;
        self.levels[..=height].iter().rev().fold(word, down) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn does_what_an_ordered_set_does(
            bound in prop::sample::select(vec![1u32, 64, 65, 4096, 5000, 300_000]),
            steps in prop::collection::vec((prop::bool::ANY, any::<prop::sample::Index>()), 0..400),
        ) {
            let (mut positions, mut plain) = (Positions::new(bound as usize), BTreeSet::new());
            for (add, at) in steps {
                let position = at.index(bound as usize) as u32;
                if add {
                    positions.insert(position);
                    plain.insert(position);
                } else {
                    positions.remove(position);
                    plain.remove(&position);
                }
                prop_assert_eq!(positions.last(), plain.last().copied());
                prop_assert_eq!(positions.before(position), plain.range(..position).next_back().copied());
            }
        }
    }
}
