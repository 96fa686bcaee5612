//! The exact curve of LRU.

use super::curve::{Curve, Point};
use super::recency::Recency;

/// Stack distances of references, counted.
#[derive(Debug)]
pub struct Lru {
    recency: Recency,
    /// References by distance.
    counts: Vec<u64>,
    first: u64,
    references: u64,
}

impl Lru {
    /// For about `pages` pages, numbered from 0.
    pub fn new(pages: u32) -> Self {
        Self {
            recency: Recency::new(pages as usize),
            counts: vec![0; pages as usize + 1],
            first: 0,
            references: 0,
        }
    }

    /// The next reference, to `page`.
    pub fn touch(&mut self, page: u32) {
        self.references += 1;
        match self.recency.touch(page) {
            None => self.first += 1,
            Some(distance) => {
                let index = distance as usize;
                if index >= self.counts.len() {
                    self.counts.resize(index + 1, 0);
                }
                self.counts[index] += 1;
            }
        }
    }

    /// References that miss with `frames` frames, first ones included.
    pub fn misses(&self, frames: u32) -> u64 {
        self.first + self.counts.iter().skip(frames as usize + 1).sum::<u64>()
    }

    /// The curve; of a sample of one page in `one_in`, that of all pages.
    pub fn curve(&self, one_in: u32) -> Curve {
        let scale = f64::from(one_in);
        let mut missing = self.references;
        let mut points = vec![Point { frames: 0.0, misses: missing as f64 * scale }];
        for (distance, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            // Up to here nothing changes.
            let last = (distance as f64 - 1.0) * scale;
            if points.last().is_some_and(|point| point.frames < last) {
                points.push(Point { frames: last, misses: missing as f64 * scale });
            }
            missing -= count;
            points.push(Point { frames: distance as f64 * scale, misses: missing as f64 * scale });
        }
        Curve::new(points, self.references as f64 * scale, self.first as f64 * scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{Trace, misses};
    use pager::PolicyKind;

    #[test]
    fn one_pass_counts_what_replays_count() {
        let trace = Trace::from_pages((0..20_000_u64).map(|n| n * n % 997 % (n % 531 + 1))).expect("a trace");
        let mut lru = Lru::new(trace.pages());
        trace.numbers().iter().for_each(|page| lru.touch(*page));
        let curve = lru.curve(1);
        for frames in [1, 2, 3, 10, 100, 333, 500, 530, 10_000] {
            let count = misses(&trace, PolicyKind::Lru, frames, None);
            assert_eq!(lru.misses(frames), count, "{frames}");
            assert_eq!(curve.misses(frames.into()), count as f64, "{frames}");
        }
        assert_eq!(curve.floor(), f64::from(trace.pages()));
    }
}
