//! Free runs of units that still have their pages.

use crate::free_runs::{FreeRuns, Run};
use crate::turnover::Turnover;

/// Who frees and allocates gets the same pages again, which are in RAM, in place of a
/// fault for each. Units by number, as in [`crate::extents::Extents`].
///
/// What is counted with each large object, and promises that can be used again, are here too:
/// whoever takes or keeps units has the lock already, and lines of memory that all threads
/// change cost more than the work. They come first, in the line of the lock.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Dirty {
    units: usize,
    turnover: Turnover,
    /// Bytes that are promised and that nothing needs.
    spare: usize,
    /// Objects that are spans of their own, and their bytes; with those in quick lists, and what
    /// is promised there.
    pub(crate) large_objects: usize,
    pub(crate) large_bytes: usize,
    runs: FreeRuns,
}

impl Dirty {
    pub(crate) const fn new() -> Self {
        Self {
            units: 0,
            turnover: Turnover::new(),
            spare: 0,
            large_objects: 0,
            large_bytes: 0,
            runs: FreeRuns::new(),
        }
    }

    /// How many there are.
    pub(crate) fn units(&self) -> usize {
        self.units
    }

    /// Units for a large object of `len` bytes, which is counted, if there are such and
    /// a promise to spare: all that it takes, where memory is freed and asked for in turn.
    /// And how many units are turned over.
    pub(crate) fn take_large(&mut self, len: usize, units: usize) -> Option<(usize, usize)> {
        let spare = self.spare.checked_sub(len)?;
        let first = self.take(units)?;
        self.turnover.allocates(units);
        self.spare = spare;
        self.count_large(len);
        Some((first, self.turned_over()))
    }

    /// Takes a promise back of which up to `most` bytes may be spare; how many are to be
    /// renounced.
    pub(crate) fn return_promise(&mut self, bytes: usize, most: usize) -> usize {
        self.spare += bytes;
        if self.spare <= most {
            return 0;
        }
        // By half, as the next one is to find room.
        let left = self.spare.min(most / 2);
        core::mem::replace(&mut self.spare, left) - left
    }

    /// A large object of `len` bytes is made.
    pub(crate) fn count_large(&mut self, len: usize) {
        self.large_objects += 1;
        self.large_bytes += len;
    }

    /// A large object of `len` bytes ends: what is to be renounced of its promise, of which up
    /// to `most` bytes may be spare with the others.
    pub(crate) fn end_large(&mut self, len: usize, most: usize) -> usize {
        self.large_objects -= 1;
        self.large_bytes -= len;
        self.return_promise(len, most)
    }

    /// [`Self::keep`] for units that somebody has just freed.
    pub(crate) fn keep_used(&mut self, start: usize, units: usize) {
        self.turnover.frees(units);
        self.keep(start, units);
    }

    /// [`Self::take`] for somebody who needs so many, from here or from elsewhere.
    pub(crate) fn take_for_use(&mut self, units: usize) -> Option<usize> {
        self.turnover.allocates(units);
        self.take(units)
    }

    /// Units that are likely to be asked for again soon.
    pub(crate) fn turned_over(&self) -> usize {
        self.turnover.units()
    }

    /// Keeps units, joined with their neighbours.
    pub(crate) fn keep(&mut self, start: usize, units: usize) {
        let joined = self.runs.joined((start, units));
        self.runs.insert(joined);
        self.units += units;
    }

    /// `units` in a row, of the smallest run that has so many.
    pub(crate) fn take(&mut self, units: usize) -> Option<usize> {
        let (start, len) = self.runs.take_smallest(units)?;
        self.runs.insert((start + units, len - units));
        self.units -= units;
        Some(start)
    }

    /// The longest run, whole.
    pub(crate) fn take_longest(&mut self) -> Option<Run> {
        let longest = self.runs.take_longest()?;
        self.units -= longest.1;
        Some(longest)
    }

    /// Takes exactly the `units` from `start` on, if a run begins there that has so many.
    pub(crate) fn take_at(&mut self, start: usize, units: usize) -> bool {
        let taken = self.runs.take_at(start, units);
        self.units -= if taken { units } else { 0 };
        taken
    }

    /// Of the longest run, the end by which there are more units than `most`. Runs that
    /// are often needed are short.
    pub(crate) fn take_excess(&mut self, most: usize) -> Option<Run> {
        let excess = self.units.checked_sub(most).filter(|excess| *excess > 0)?;
        let (start, len) = self.runs.take_longest()?;
        let taken = len.min(excess);
        self.runs.insert((start, len - taken));
        self.units -= taken;
        Some((start + len - taken, taken))
    }

    /// Whether a unit is here.
    pub(crate) fn has(&self, unit: usize) -> bool {
        self.runs.has(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn promises_are_spare_up_to_a_bound() {
        let mut dirty = Dirty::new();
        assert_eq!((dirty.take_large(1, 1), dirty.return_promise(60, 100)), (None, 0));
        dirty.keep(7, 8);
        assert_eq!((dirty.take_large(20, 9), dirty.take_large(61, 8)), (None, None));
        assert_eq!((dirty.take_large(20, 3), dirty.units(), dirty.large_objects), (Some((7, 0)), 5, 1));
        // 40 are left; 70 more are too many, and half of the most stay.
        assert_eq!(dirty.return_promise(70, 100), 60);
        assert_eq!(dirty.return_promise(500, 0), 550);
        assert_eq!((dirty.return_promise(0, 0), dirty.take_large(1, 1)), (0, None));
    }

    proptest! {
        /// Whatever is kept and taken: a unit is here once, runs that touch are one, and
        /// the smallest run that suffices is taken from.
        #[test]
        fn runs_are_as_a_set_of_units(
            steps in prop::collection::vec((0usize..40, 1usize..6, 0u8..4), 1..100),
        ) {
            let (mut dirty, mut plain) = (Dirty::new(), BTreeSet::new());
            for (start, len, step) in steps {
                let range = start..start + len;
                let runs = |plain: &BTreeSet<usize>| {
                    let mut runs: Vec<(usize, usize)> = Vec::new();
                    for unit in plain {
                        match runs.last_mut() {
                            Some((len, start)) if *start + *len == *unit => *len += 1,
                            _ => runs.push((1, *unit)),
                        }
                    }
                    runs
                };
                match step {
                    0 => {
                        let smallest = runs(&plain).into_iter().filter(|run| run.0 >= len).min();
                        prop_assert_eq!(dirty.take(len), smallest.map(|run| run.1));
                        smallest.into_iter().flat_map(|run| run.1..run.1 + len).for_each(|unit| _ = plain.remove(&unit));
                    }
                    1 => {
                        let fits = runs(&plain).iter().any(|run| run.1 == start && run.0 >= len);
                        prop_assert_eq!(dirty.take_at(start, len), fits);
                        if fits {
                            plain.retain(|unit| !range.contains(unit));
                        }
                    }
                    2 => {
                        let most = plain.len().saturating_sub(len);
                        let longest = runs(&plain).into_iter().max();
                        let expected = longest.map(|(longest, start)| {
                            let taken = longest.min(plain.len() - most);
                            (start + longest - taken, taken)
                        });
                        prop_assert_eq!(dirty.take_excess(most), expected);
                        if let Some((start, len)) = expected {
                            plain.retain(|unit| !(start..start + len).contains(unit));
                        }
                    }
                    _ if range.clone().any(|unit| plain.contains(&unit)) => {}
                    _ => {
                        dirty.keep(start, len);
                        plain.extend(range);
                    }
                }
                prop_assert_eq!(dirty.units(), plain.len());
                let here: Vec<Run> = dirty.runs.iter().collect();
                prop_assert_eq!(here, runs(&plain).into_iter().map(|(len, start)| (start, len)).collect::<Vec<_>>());
                prop_assert!((0..50).all(|unit| dirty.has(unit) == plain.contains(&unit)));
            }
        }
    }
}
