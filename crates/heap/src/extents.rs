//! Free runs of units, and the top of what has been used.

use crate::free_runs::FreeRuns;

/// Which units of a region are free. Units have numbers: their address by their size.
#[derive(Debug)]
pub struct Extents {
    runs: FreeRuns,
    top: usize,
    limit: usize,
}

impl Extents {
    /// No units.
    pub const fn none() -> Self {
        Self { runs: FreeRuns::new(), top: 0, limit: 0 }
    }

    /// The units from `first` to `limit`, all free.
    pub fn new(first: usize, limit: usize) -> Self {
        Self { top: first, limit, ..Self::none() }
    }

    /// Units from this on have never been used.
    pub fn top(&self) -> usize {
        self.top
    }

    /// `units` in a row from a multiple of `align` on: of the smallest free run that
    /// has room wherever it begins, else new ones.
    pub fn take(&mut self, units: usize, align: usize) -> Option<usize> {
        let enough = units.checked_add(align - 1)?;
        if let Some((start, len)) = self.runs.take_smallest(enough) {
            let aligned = start.next_multiple_of(align);
            self.runs.insert((start, aligned - start));
            self.runs.insert((aligned + units, start + len - aligned - units));
            return Some(aligned);
        }
        let aligned = self.top.checked_next_multiple_of(align)?;
        let end = aligned.checked_add(units).filter(|end| *end <= self.limit)?;
        let top = core::mem::replace(&mut self.top, end);
        self.runs.insert((top, aligned - top));
        Some(aligned)
    }

    /// Takes exactly the `units` from `start` on, if they are free.
    pub fn take_at(&mut self, start: usize, units: usize) -> bool {
        if start == self.top && start.checked_add(units).is_some_and(|end| end <= self.limit) {
            self.top = start + units;
            return true;
        }
        self.runs.take_at(start, units)
    }

    /// Whether a unit is free.
    pub(crate) fn has(&self, unit: usize) -> bool {
        unit >= self.top || self.runs.has(unit)
    }

    /// Gives units back, and joins them with free neighbours.
    pub fn give(&mut self, start: usize, units: usize) {
        let (start, units) = self.runs.joined((start, units));
        if start + units == self.top {
            self.top = start;
        } else {
            self.runs.insert((start, units));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_grow_together_again() {
        let mut extents = Extents::new(64, 1064);
        let runs: Vec<usize> = (1..20).map(|units| extents.take(units, 1).expect("room")).collect();
        let barrier = extents.take(1, 1).expect("room");
        for odd in [true, false] {
            for (start, units) in runs.iter().zip(1..20).filter(|(_, units)| (units % 2 == 1) == odd) {
                extents.give(*start, units);
            }
        }
        assert_eq!(extents.runs.iter().count(), 1);
        assert_eq!(extents.take(190, 1), Some(64));
        assert_eq!(extents.take(810, 1), None);
        assert_eq!(extents.take(1, 64), Some(256));
        extents.give(256, 1);
        extents.give(barrier, 1);
        extents.give(64, 190);
        assert_eq!((extents.top(), extents.runs.iter().count()), (64, 0));
    }

    #[test]
    fn runs_grow_in_place_into_what_is_free() {
        let mut extents = Extents::new(0, 10);
        assert_eq!((extents.take(2, 1), extents.take(3, 1), extents.take(1, 1)), (Some(0), Some(2), Some(5)));
        assert!(!extents.take_at(2, 1));
        extents.give(2, 3);
        assert!(extents.take_at(2, 2) && !extents.take_at(4, 2) && extents.take_at(4, 1));
        assert!(!extents.has(4) && extents.has(6));
        extents.give(4, 1);
        assert!(extents.has(4) && !extents.has(3) && !extents.has(5) && extents.take_at(4, 1));
        assert!(extents.take_at(6, 4) && !extents.take_at(10, 1));
    }
}
