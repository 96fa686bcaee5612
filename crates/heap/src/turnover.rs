//! How much of what a program frees it soon asks for again.

use crate::class::UNIT;

/// Units that count as turned over at most: 12 MiB.
const MOST: usize = (12 << 20) / UNIT;
/// A unit that was freed and asked for again counts so many times: where it happens, it
/// happens over and over.
const WEIGHT: usize = 4;

/// What has been freed and asked for again lately, in units.
///
/// Where one thread frees what another allocates, nearly nothing is in use at one moment and
/// much at the next. Dropping the pages of what is freed in between would cost a fault for
/// each, over and over. Who frees all that was used for long looks the same at that
/// moment, but has not been asking again for what was freed before.
///
/// So what is freed waits to be asked for; when it is, it counts as turned over, and less so
/// as more is freed. Who only allocates turns over nothing, and who only frees has turned
/// over nothing once that is [`MOST`].
#[derive(Debug)]
pub(crate) struct Turnover {
    freed: usize,
    again: usize,
}

impl Turnover {
    pub(crate) const fn new() -> Self {
        Self { freed: 0, again: 0 }
    }

    /// So many units are freed.
    pub(crate) fn frees(&mut self, units: usize) {
        self.freed = (self.freed + units).min(MOST);
        self.again = self.again.saturating_sub(units);
    }

    /// So many units are asked for.
    pub(crate) fn allocates(&mut self, units: usize) {
        let again = units.min(self.freed);
        self.freed -= again;
        self.again = (self.again + WEIGHT * again).min(MOST);
    }

    /// How many are likely to be asked for soon.
    pub(crate) fn units(&self) -> usize {
        self.again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_allocates_or_only_frees_turns_over_nothing() {
        let mut turnover = Turnover::new();
        (0..1000).for_each(|_| turnover.allocates(7));
        assert_eq!(turnover.units(), 0);
        (0..1000).for_each(|_| turnover.frees(7));
        assert_eq!(turnover.units(), 0);
    }

    #[test]
    fn what_is_freed_and_asked_for_in_turn_is_turned_over() {
        let mut turnover = Turnover::new();
        turnover.frees(10);
        turnover.allocates(15);
        assert_eq!(turnover.units(), 10 * WEIGHT);
        for wave in [10, 50, 30, 5000, 1] {
            turnover.frees(wave);
            turnover.allocates(wave);
        }
        assert_eq!(turnover.units(), MOST);
        // In a wave it is what that leaves, and all again at the next crest.
        turnover.frees(MOST / 2);
        assert_eq!(turnover.units(), MOST - MOST / 2);
        turnover.allocates(MOST / 2);
        assert_eq!(turnover.units(), MOST);
        turnover.frees(MOST);
        assert_eq!(turnover.units(), 0);
    }
}
