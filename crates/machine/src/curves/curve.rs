//! A curve, and what can be read off it.

/// So many misses with so many frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Frames.
    pub frames: f64,
    /// Misses, first references included.
    pub misses: f64,
}

/// Misses by frames: between two points, as at the first of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    points: Vec<Point>,
    references: f64,
    first: f64,
}

impl Curve {
    /// A curve through `points`, which are in order of frames, of a trace with so many references, of which so
    /// many are the first to their page.
    ///
    /// # Panics
    /// If there are no points.
    pub fn new(points: Vec<Point>, references: f64, first: f64) -> Self {
        assert!(!points.is_empty(), "a curve without points");
        Self { points, references, first }
    }

    /// Misses with `frames` frames; with fewer than any point has, those of the first.
    pub fn misses(&self, frames: f64) -> f64 {
        let after = self.points.partition_point(|point| point.frames <= frames);
        self.points[after.saturating_sub(1)].misses
    }

    /// The share of references that miss.
    pub fn ratio(&self, frames: f64) -> f64 {
        self.misses(frames) / self.references
    }

    /// References in all.
    pub fn references(&self) -> f64 {
        self.references
    }

    /// First references, which miss whatever there is: the compulsory floor.
    pub fn floor(&self) -> f64 {
        self.first
    }

    /// The fewest frames with which no more than `misses` references miss. None if no number suffices.
    pub fn frames_for(&self, misses: f64) -> Option<f64> {
        self.points.iter().find(|point| point.misses <= misses).map(|point| point.frames)
    }

    /// The points.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Frames from which on nothing is gained any more.
    pub fn end(&self) -> f64 {
        let least = self.points.last().map_or(0.0, |point| point.misses);
        self.frames_for(least + 1e-9 * self.references).unwrap_or(0.0)
    }

    /// Where the curve bends most: the point farthest below the straight line from its beginning to its
    /// end (Satopää, Albrecht, Irwin and Raghavan, "Finding a kneedle in a haystack", 2011). None where it does not bend: a tenth
    /// of the curve's height is the least that counts.
    pub fn knee(&self) -> Option<Point> {
        let (first, end) = (self.points.first()?, self.end());
        let last = self.misses(end);
        let (width, height) = (end - first.frames, first.misses - last);
        if width <= 0.0 || height <= 0.0 {
            return None;
        }
        let below = |point: &Point| {
            let along = (point.frames - first.frames) / width;
            1.0 - along - (point.misses - last) / height
        };
        let inside = self.points.iter().filter(|point| point.frames <= end);
        let best = inside.max_by(|a, b| below(a).total_cmp(&below(b)))?;
        (below(best) >= 0.1).then_some(*best)
    }

    /// The mean over all numbers of frames, up to where both curves are flat, of how far the miss ratios are apart.
    pub fn mean_error(&self, other: &Self) -> f64 {
        const STEPS: u32 = 2000;
        let end = self.end().max(other.end()).max(1.0);
        let apart = |step: u32| {
            let frames = end * f64::from(step) / f64::from(STEPS);
            (self.ratio(frames) - other.ratio(frames)).abs()
        };
        (1..=STEPS).map(apart).sum::<f64>() / f64::from(STEPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(f64, f64)]) -> Curve {
        let points = points.iter().map(|(frames, misses)| Point { frames: *frames, misses: *misses });
        Curve::new(points.collect(), 100.0, 10.0)
    }

    #[test]
    fn it_is_read_off_as_steps() {
        let curve = curve(&[(0.0, 100.0), (5.0, 90.0), (10.0, 20.0), (40.0, 10.0), (50.0, 10.0)]);
        assert_eq!(
            [0.0, 4.9, 5.0, 10.0, 39.0, 1e9].map(|f| curve.misses(f)),
            [100.0, 100.0, 90.0, 20.0, 20.0, 10.0]
        );
        assert_eq!(curve.frames_for(50.0), Some(10.0));
        assert_eq!(curve.frames_for(5.0), None);
        assert_eq!((curve.end(), curve.floor()), (40.0, 10.0));
        assert_eq!(curve.knee(), Some(Point { frames: 10.0, misses: 20.0 }));
        assert_eq!(curve.mean_error(&curve), 0.0);
    }

    #[test]
    fn what_is_straight_or_flat_has_no_knee() {
        assert_eq!(curve(&[(0.0, 100.0), (5.0, 55.0), (10.0, 10.0)]).knee(), None);
        assert_eq!(curve(&[(0.0, 100.0)]).knee(), None);
    }
}
