//! Log-linear histograms: eight buckets for each power of two.
//!
//! A value is found again within an eighth of itself, and two histograms are merged by adding
//! bucket to bucket. That is the layout of HdrHistogram (G. Tene) with one digit less. Values
//! below eight have a bucket each; those of 2⁴⁰ and more (18 minutes, in nanoseconds) share the last.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Buckets of an octave, as a power of two.
const FINE: u32 = 3;
const LINEAR: u64 = 1 << FINE;
/// The octave of the last bucket.
const LAST_OCTAVE: u32 = 39;

/// How many buckets there are.
pub const BUCKETS: usize = ((LAST_OCTAVE - FINE + 2) << FINE) as usize;

/// The bucket of `value`.
pub fn bucket_of(value: u64) -> usize {
    if value < LINEAR {
        return value as usize;
    }
    let octave = value.ilog2();
    if octave > LAST_OCTAVE {
        return BUCKETS - 1;
    }
    let fine = (value >> (octave - FINE)) & (LINEAR - 1);
    (((octave - FINE + 1) << FINE) as u64 + fine) as usize
}

/// The smallest value of a bucket; of one past the last, the smallest of none.
pub fn bucket_start(bucket: usize) -> u64 {
    let (octave, fine) = ((bucket >> FINE) as u32, bucket as u64 & (LINEAR - 1));
    if octave == 0 { fine } else { (LINEAR + fine) << (octave - 1) }
}

/// A histogram in shared memory. One thread writes; anybody reads.
#[repr(C)]
#[derive(Debug)]
pub struct SharedHistogram {
    sum: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl SharedHistogram {
    /// An empty one.
    pub const fn new() -> Self {
        Self { sum: AtomicU64::new(0), buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }

    /// Counts `value`. Only the one writer may call this.
    pub fn add(&self, value: u64) {
        // One writer: an addition need not be one instruction.
        let bucket = &self.buckets[bucket_of(value)];
        bucket.store(bucket.load(Relaxed) + 1, Relaxed);
        self.sum.store(self.sum.load(Relaxed).wrapping_add(value), Relaxed);
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.buckets.iter().chain([&self.sum]).for_each(|number| number.store(0, Relaxed));
    }

    /// What it holds now.
    pub fn read(&self) -> Histogram {
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        Histogram { sum: self.sum.load(Relaxed), buckets }
    }
}

impl Default for SharedHistogram {
    fn default() -> Self {
        Self::new()
    }
}

/// A histogram of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    sum: u64,
    buckets: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { sum: 0, buckets: vec![0; BUCKETS] }
    }
}

impl Histogram {
    /// Counts `value`.
    pub fn add(&mut self, value: u64) {
        self.buckets[bucket_of(value)] += 1;
        self.sum = self.sum.wrapping_add(value);
    }

    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(own, more)| *own += more);
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// What was counted since `earlier`, which is this one at another time.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let buckets = self.buckets.iter().zip(&earlier.buckets);
        Self {
            sum: self.sum.wrapping_sub(earlier.sum),
            buckets: buckets.map(|(now, then)| now.saturating_sub(*then)).collect(),
        }
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Values of each bucket.
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// A value that `share` of a thousand values do not exceed, within an eighth of it: the middle of
    /// its bucket. None if there are no values.
    pub fn per_mille(&self, share: u64) -> Option<u64> {
        let rank = (self.count() * share.min(1000)).div_ceil(1000).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some((bucket_start(bucket) + bucket_start(bucket + 1) - 1) / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_lie_side_by_side_and_are_narrow() {
        assert_eq!(bucket_start(BUCKETS), 1 << (LAST_OCTAVE + 1));
        for bucket in 0..BUCKETS {
            let (start, next) = (bucket_start(bucket), bucket_start(bucket + 1));
            assert!(start < next);
            assert_eq!([bucket_of(start), bucket_of(next - 1)], [bucket; 2]);
            assert!(start < LINEAR || (next - start) * LINEAR <= start, "{bucket}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn merged_is_as_counted_together() {
        let (mut all, mut parts) = (Histogram::default(), [Histogram::default(), Histogram::default()]);
        for value in (0..100_000).map(|n: u64| n * n % 77_777) {
            all.add(value);
            parts[(value % 2) as usize].add(value);
        }
        let before = parts[0].clone();
        let [mut merged, odd] = parts;
        merged.merge(&odd);
        assert_eq!(merged, all);
        assert_eq!(merged.since(&before), odd);
        assert_eq!(all.count(), 100_000);
        let median = all.per_mille(500).expect("values");
        let mut exact: Vec<u64> = (0..100_000).map(|n: u64| n * n % 77_777).collect();
        exact.sort_unstable();
        assert!(median.abs_diff(exact[49_999]) <= exact[49_999] / 8, "{median} {}", exact[49_999]);
        assert_eq!(Histogram::default().per_mille(500), None);
    }
}
