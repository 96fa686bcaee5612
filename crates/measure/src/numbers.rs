//! Random numbers that can be computed again.

/// The `index`-th number of one fixed sequence (Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", 2014).
pub fn number(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A sequence of its own for each seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(number(seed) << 16)
    }

    /// The next number, scaled to below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 += 1;
        ((u128::from(number(self.0)) * limit as u128) >> 64) as usize
    }
}
