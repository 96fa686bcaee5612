//! Free runs of units, and the top of what has been used.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Extents {
    by_start: BTreeMap<usize, usize>,
    by_len: BTreeSet<(usize, usize)>,
    top: usize,
    limit: usize,
}

impl Extents {
    /// `limit` units, all free.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Units below this have been used at some time.
    pub(crate) fn top(&self) -> usize {
        self.top
    }

    fn insert(&mut self, start: usize, len: usize) {
        if len > 0 {
            self.by_start.insert(start, len);
            self.by_len.insert((len, start));
        }
    }

    fn remove(&mut self, start: usize) -> Option<usize> {
        let len = self.by_start.remove(&start)?;
        self.by_len.remove(&(len, start));
        Some(len)
    }

    /// `units` in a row at a multiple of `align`: the smallest free run that has
    /// room, else new ones.
    pub(crate) fn take(&mut self, units: usize, align: usize) -> Option<usize> {
        let fitting = self.by_len.range((units, 0)..).find_map(|(len, start)| {
            let aligned = start.next_multiple_of(align);
            (aligned + units <= start + len).then_some((*start, *len, aligned))
        });
        if let Some((start, len, aligned)) = fitting {
            self.remove(start);
            self.insert(start, aligned - start);
            self.insert(aligned + units, start + len - aligned - units);
            return Some(aligned);
        }
        let aligned = self.top.next_multiple_of(align);
        let end = aligned.checked_add(units).filter(|end| *end <= self.limit)?;
        let top = core::mem::replace(&mut self.top, end);
        self.insert(top, aligned - top);
        Some(aligned)
    }

    /// Gives units back, and joins them with free neighbours.
    pub(crate) fn give(&mut self, mut start: usize, mut units: usize) {
        if let Some(len) = self.remove(start + units) {
            units += len;
        }
        if let Some((before, len)) = self.by_start.range(..start).next_back().map(|(s, l)| (*s, *l))
            && before + len == start
        {
            self.remove(before);
            (start, units) = (before, units + len);
        }
        self.insert(start, units);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_grow_together_again() {
        let mut extents = Extents::new(1000);
        let runs: Vec<usize> = (1..20).map(|units| extents.take(units, 1).unwrap()).collect();
        for (start, units) in runs.iter().zip(1..20).rev().step_by(2) {
            extents.give(*start, units);
        }
        for (start, units) in runs.iter().zip(1..20).rev().skip(1).step_by(2) {
            extents.give(*start, units);
        }
        assert_eq!(extents.by_start.len(), 1);
        assert_eq!(extents.take(190, 1), Some(0));
        assert_eq!(extents.take(811, 1), None);
        assert_eq!(extents.take(1, 64), Some(192));
    }
}
