//! What the program says about its pages, and what can be said about them.

use crate::core::Live;
use pager::{PageRange, Pager, State};

/// Pages parked in one call.
const RUN: u32 = 256;

/// How many pages of a range are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Mapped in a frame.
    pub resident: u64,
    /// In a frame, unmapped: on their way in or out, or waiting to be touched.
    pub parked: u64,
    /// Only in the store.
    pub swapped: u64,
    /// Lost: a touch is a bus error.
    pub poisoned: u64,
    /// Never written, or discarded: they hold zeros and nothing else. Of a mapped file: only
    /// there.
    pub untouched: u64,
}

impl Usage {
    /// Of `range`.
    pub(crate) fn of(pager: &Pager, range: PageRange) -> Self {
        let mut usage = Self::default();
        pager.for_each_touched(range, |_, state| match state {
            State::Untouched => {}
            State::Resident { .. } => usage.resident += 1,
            State::Parked { .. } | State::Filling { .. } | State::Writing { .. } => usage.parked += 1,
            State::Swapped { .. } => usage.swapped += 1,
            State::Poisoned => usage.poisoned += 1,
        });
        let touched = usage.resident + usage.parked + usage.swapped + usage.poisoned;
        usage.untouched = range.count.saturating_sub(touched);
        usage
    }
}

impl core::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            resident: self.resident + other.resident,
            parked: self.parked + other.parked,
            swapped: self.swapped + other.swapped,
            poisoned: self.poisoned + other.poisoned,
            untouched: self.untouched + other.untouched,
        }
    }
}

impl Live {
    /// Parks what is resident in `range`, as far as the pool has room.
    pub(crate) fn cool(&mut self, pager: &mut Pager, range: PageRange) {
        let mut next = range.start;
        while let Some(run) = pager.parkable(PageRange::between(next, range.end()), RUN) {
            // A page that stays for another reason is not tried again.
            next = run.start.plus(u64::from(self.park_run(pager, run).max(1)));
        }
    }
}
