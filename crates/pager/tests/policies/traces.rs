//! Traces of many shapes, from seeds.

/// A generator that always gives the same numbers: xorshift64*, S. Vigna 2016.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    /// Small numbers are likely: the lower the more.
    fn skewed(&mut self, bound: u64) -> u64 {
        let first = self.below(bound) + 1;
        self.below(first)
    }
}

/// What a trace looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Uniform,
    Skewed,
    Scan,
    Loop,
    /// A hot set, scans through it, and a hot set that moves.
    Mixed,
    /// Every page twice in a row, then again much later.
    Pairs,
}

pub(crate) const SHAPES: [Shape; 6] =
    [Shape::Uniform, Shape::Skewed, Shape::Scan, Shape::Loop, Shape::Mixed, Shape::Pairs];

/// `len` references to about `pages` pages.
pub(crate) fn trace(shape: Shape, seed: u64, len: usize, pages: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    let mut scan = 0;
    let page = |at: usize| {
        let at = at as u64;
        match shape {
            Shape::Uniform => random.below(pages),
            Shape::Skewed => random.skewed(pages),
            Shape::Scan => at,
            Shape::Loop => at % pages,
            Shape::Mixed => match at / 50 % 3 {
                0 => random.skewed(pages),
                1 => {
                    scan += 1;
                    1000 + scan % (2 * pages)
                }
                _ => random.below(pages / 4 + 1) + at / 200,
            },
            Shape::Pairs => at / 2 % pages,
        }
    };
    // Numbers up to the largest there is.
    (0..len).map(page).map(|page| if seed.is_multiple_of(2) { page } else { u64::MAX - page }).collect()
}
