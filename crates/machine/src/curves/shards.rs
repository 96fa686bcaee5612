//! The curve of LRU from a sample of bounded size.
//!
//! C. Waldspurger, N. Park, A. Garthwaite and I. Ahmad, "Efficient MRC construction with SHARDS", FAST 2015.
//! A page is in the sample if the hash of its number is below a threshold, so all references to it are
//! or none. Distances among sampled pages are shares of the true ones. When the sample is full, the threshold
//! falls to the largest hash in it, and what has been counted weighs less in proportion. References that
//! the sample has too many or too few of are set right at the smallest distance (SHARDS-adj).
//!
//! One thing is added: who counts distinct pages anyway can tell how many there were. Which share of them
//! the sample is, is then known, where the threshold only makes it likely; that is a ratio
//! estimate, and puts the cliff of a loop where it is.

use super::curve::{Curve, Point};
use super::recency::Recency;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

/// Distances in a sample of at most so many pages.
#[derive(Debug)]
pub struct Shards {
    most: usize,
    /// Pages with hashes below this are in the sample.
    threshold: u64,
    recency: Recency,
    /// Numbers of sampled pages in `recency`, which are used again.
    known: HashMap<u64, u32>,
    free: Vec<u32>,
    largest: BinaryHeap<(u64, u64)>,
    /// References by scaled distance, as if all had been sampled at one rate.
    counts: BTreeMap<u64, f64>,
    first: f64,
    references: u64,
}

impl Shards {
    /// A sample of at most `most` pages.
    ///
    /// # Panics
    /// If `most` is 0.
    pub fn new(most: usize) -> Self {
        assert!(most > 0, "a sample of no pages");
        Self {
            most,
            threshold: u64::MAX,
            recency: Recency::new(most + 1),
            known: HashMap::with_capacity(most + 1),
            free: (0..=most as u32).rev().collect(),
            largest: BinaryHeap::with_capacity(most + 1),
            counts: BTreeMap::new(),
            first: 0.0,
            references: 0,
        }
    }

    /// The share of pages that are in the sample now.
    pub fn rate(&self) -> f64 {
        self.threshold as f64 / u64::MAX as f64
    }

    /// The next reference, to `page`, any number. `distinct` pages have been seen, this one included;
    /// 0 if nobody counted.
    pub fn touch(&mut self, page: u64, distinct: u64) {
        self.references += 1;
        let hash = trace::sampling_hash(page);
        if hash >= self.threshold {
            return;
        }
        let weight = 1.0 / self.rate();
        if let Some(number) = self.known.get(&page) {
            let distance = self.recency.touch(*number).unwrap_or(1);
            let share = match distinct {
                0 => weight,
                distinct => distinct as f64 / self.known.len() as f64,
            };
            let scaled = (f64::from(distance) * share).round() as u64;
            *self.counts.entry(scaled).or_default() += weight;
            return;
        }
        let Some(number) = self.free.pop() else { return };
        self.first += weight;
        self.recency.touch(number);
        self.known.insert(page, number);
        self.largest.push((hash, page));
        if self.known.len() > self.most
            && let Some((hash, _)) = self.largest.peek().copied()
        {
            self.threshold = hash;
            while let Some((_, page)) = self.largest.pop_if_at_least(hash) {
                if let Some(number) = self.known.remove(&page) {
                    self.recency.remove(number);
                    self.free.push(number);
                }
            }
        }
    }

    /// The curve.
    pub fn curve(&self) -> Curve {
        let all = self.references as f64;
        let counted = self.first + self.counts.values().sum::<f64>();
        let mut counts = self.counts.clone();
        // With too many, the smallest distances give as much as they have.
        let mut off = all - counted;
        if off >= 0.0 {
            *counts.entry(1).or_default() += off;
        } else {
            for count in counts.values_mut() {
                let less = count.min(-off);
                *count -= less;
                off += less;
            }
        }
        let mut missing = self.first + counts.values().sum::<f64>();
        let mut points = vec![Point { frames: 0.0, misses: missing }];
        for (distance, count) in counts {
            missing -= count;
            points.push(Point { frames: distance as f64, misses: missing.max(0.0) });
        }
        Curve::new(points, all, self.first)
    }
}

trait PopIf {
    fn pop_if_at_least(&mut self, hash: u64) -> Option<(u64, u64)>;
}

impl PopIf for BinaryHeap<(u64, u64)> {
    fn pop_if_at_least(&mut self, hash: u64) -> Option<(u64, u64)> {
        if self.peek()?.0 >= hash { self.pop() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curves::Lru;

    /// xorshift64*, S. Vigna 2016.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound
        }

        fn skewed(&mut self, bound: u64) -> u64 {
            let uniform = self.below(1 << 53) as f64 / (1_u64 << 53) as f64;
            (bound as f64).powf(uniform) as u64 - 1
        }
    }

    /// The shapes of `cargo xtask bench replay`, and random pages.
    fn shape(index: usize, at: u64, random: &mut Random) -> u64 {
        let phase = at / 50_000;
        match index {
            0 => random.skewed(100_000),
            1 if phase % 4 == 3 => 100_000 + at,
            1 => random.skewed(100_000),
            2 => at % 11_000,
            4 => at % 50_000,
            3 if random.below(10) == 0 => random.below(100_000),
            3 => phase * 5000 % 100_000 + random.below(5000),
            _ => random.below(60_000),
        }
    }

    #[test]
    fn a_sample_of_8192_pages_is_within_a_hundredth() {
        for index in 0..6 {
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            let (mut exact, mut sampled) = (Lru::new(0), Shards::new(8192));
            let mut numbers = HashMap::new();
            for at in 0..1_000_000 {
                let page = shape(index, at, &mut random);
                let next = numbers.len() as u32;
                exact.touch(*numbers.entry(page).or_insert(next));
                sampled.touch(page, numbers.len() as u64);
            }
            let (exact, sampled) = (exact.curve(1), sampled.curve());
            let error = exact.mean_error(&sampled);
            assert!(error <= 0.01, "shape {index}: mean absolute error {error:.4}");
        }
    }

    #[test]
    fn a_sample_of_all_pages_is_exact() {
        let (mut exact, mut sampled) = (Lru::new(0), Shards::new(2000));
        for at in 0..50_000_u64 {
            let page = at * at % 1999;
            exact.touch(page as u32);
            sampled.touch(page, 0);
        }
        assert!(exact.curve(1).mean_error(&sampled.curve()) < 1e-9);
    }
}
