//! Free runs of units, joined with their neighbours.

use std::collections::{BTreeMap, BTreeSet};

/// Units by number, in runs of which no two touch.
#[derive(Debug)]
pub(crate) struct FreeRuns {
    /// The length of the run that begins there.
    by_start: BTreeMap<usize, usize>,
    by_len: BTreeSet<(usize, usize)>,
}

/// Where a run begins, and its length.
pub(crate) type Run = (usize, usize);

impl FreeRuns {
    pub(crate) const fn new() -> Self {
        Self { by_start: BTreeMap::new(), by_len: BTreeSet::new() }
    }

    /// A run that touches no other; none if it has no units.
    pub(crate) fn insert(&mut self, (start, len): Run) {
        if len > 0 {
            self.by_start.insert(start, len);
            self.by_len.insert((len, start));
        }
    }

    /// Takes out the run that begins there: its length.
    fn remove(&mut self, start: usize) -> Option<usize> {
        let len = self.by_start.remove(&start)?;
        self.by_len.remove(&(len, start));
        Some(len)
    }

    /// A run with its neighbours, which are taken out.
    pub(crate) fn joined(&mut self, (mut start, mut units): Run) -> Run {
        if let Some(len) = self.remove(start + units) {
            units += len;
        }
        if let Some((before, len)) = self.by_start.range(..start).next_back().map(|(s, l)| (*s, *l)) {
            debug_assert!(before + len <= start, "units are given back once");
            if before + len == start {
                self.remove(before);
                (start, units) = (before, units + len);
            }
        }
        (start, units)
    }

    /// Takes out the smallest run of at least so many units, of these the lowest.
    pub(crate) fn take_smallest(&mut self, units: usize) -> Option<Run> {
        let (len, start) = self.by_len.range((units, 0)..).next().copied()?;
        self.remove(start);
        Some((start, len))
    }

    /// Takes out the longest run, of these the highest.
    pub(crate) fn take_longest(&mut self) -> Option<Run> {
        let (len, start) = self.by_len.last().copied()?;
        self.remove(start);
        Some((start, len))
    }

    /// Takes exactly the `units` from `start` on, if a run begins there that has so many.
    pub(crate) fn take_at(&mut self, start: usize, units: usize) -> bool {
        let Some(len) = self.by_start.get(&start).copied().filter(|len| *len >= units) else { return false };
        self.remove(start);
        self.insert((start + units, len - units));
        true
    }

    /// Whether a unit is here.
    pub(crate) fn has(&self, unit: usize) -> bool {
        let before = self.by_start.range(..=unit).next_back();
        before.is_some_and(|(start, len)| unit < start + len)
    }

    /// All, by where they begin.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = Run> + '_ {
        assert_eq!(self.by_start.len(), self.by_len.len());
        assert!(self.by_start.iter().all(|(start, len)| self.by_len.contains(&(*len, *start))));
        self.by_start.iter().map(|(start, len)| (*start, *len))
    }
}
