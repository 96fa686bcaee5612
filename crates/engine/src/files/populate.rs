//! Bringing pages in before they are asked for, because the program has said so.

use crate::core::Live;
use crate::ops::MAX_OPS;
use pager::{PageRange, Pager, Populated};

/// Transfers that are left for faults.
const LEFT_FOR_FAULTS: usize = MAX_OPS / 2;

impl Live {
    /// Pages of each range are brought in, in order, until there is no room without evicting.
    pub(crate) fn begin_populating(&mut self, ranges: Vec<PageRange>) {
        self.files.populates.extend(ranges);
    }

    /// Nothing of `range` is to be brought in any more.
    pub(crate) fn end_populating(&mut self, range: PageRange) {
        self.files.populates.retain(|other| other.intersection(range).count == 0);
    }

    /// Asks for the next pages; whether there were any.
    pub(crate) fn go_on_populating(&mut self, pager: &mut Pager) -> bool {
        let Some(range) = self.files.populates.front().copied() else { return false };
        if self.store.room() < LEFT_FOR_FAULTS {
            return false;
        }
        let (next, ends) = match pager.populate(range) {
            Populated::Until(next) => (next, next == range.end()),
            Populated::Full => (range.end(), true),
        };
        let stopped = self.start_reads_together(pager);
        // What could not be started comes again.
        let next = stopped.map_or(next, |page| page.min(next));
        if ends && stopped.is_none() || next == range.end() {
            self.files.populates.pop_front();
        } else {
            self.files.populates[0] = PageRange::between(next, range.end());
        }
        stopped.is_none_or(|page| page > range.start)
    }
}
