//! Pages that the program gave up, and pages that it moved.

use crate::entry::State;
use crate::frames::Queue;
use crate::page::{PageNo, PageRange};
use crate::pager::Pager;

impl Pager {
    /// Makes every page of `range` untouched (zeros again, or its home's bytes); frames and slots are free at once,
    /// those of transfers when these end. `each` is told what every page was, so
    /// that the driver can drop its bytes. Areas stay.
    pub fn discard(&mut self, range: PageRange, mut each: impl FnMut(PageNo, State)) {
        let mut from = range.start;
        while let Some((page, state)) = self.table.next_touched(PageRange::between(from, range.end())) {
            from = page.plus(1);
            match state {
                State::Untouched | State::Poisoned => {}
                State::Resident { frame, slot } | State::Parked { frame, slot, .. } => {
                    self.frames.free(frame);
                    slot.into_iter().for_each(|slot| self.slots.release(slot));
                }
                State::Filling { frame, slot, .. } | State::Writing { frame, slot, .. } => {
                    // A write after which the page was to stay frees its frame now.
                    self.writing += u32::from(self.frames.queue(frame) == Queue::Cleaning);
                    self.frames.orphan(frame, slot);
                }
                State::Swapped { slot } => self.slots.release(slot),
            }
            self.set(page, State::Untouched);
            each(page, state);
        }
    }

    /// Calls `each` for every page of `range` that is not untouched, in order.
    pub fn for_each_touched(&self, range: PageRange, each: impl FnMut(PageNo, State)) {
        self.table.for_each_touched(range, each);
    }

    /// The first page of `range` that is not untouched, and what it is.
    pub fn next_touched(&self, range: PageRange) -> Option<(PageNo, State)> {
        self.table.next_touched(range)
    }

    /// `range` without untouched pages at its ends, as far as that is quickly known; none if all are.
    pub fn extent(&self, range: PageRange) -> Option<PageRange> {
        self.table.extent(range)
    }

    /// [`Self::discard`], and the areas of `range` are gone.
    pub fn remove_area(&mut self, range: PageRange, each: impl FnMut(PageNo, State)) {
        self.discard(range, each);
        self.areas.remove(range);
        let areas = &self.areas;
        self.table.uncover(range, |leaf| areas.touch(leaf));
    }

    /// Moves areas and pages of `from`, in whatever state, to the same places after
    /// `to`, which must hold nothing and not overlap. Allocates.
    pub fn remap(&mut self, from: PageRange, to: PageNo) {
        let moved = |page: PageNo| to.plus(page.0 - from.start.0);
        self.table.cover(PageRange { start: to, count: from.count });
        let areas = self.areas.within(from);
        self.areas.remove(from);
        for area in areas {
            self.areas.insert(area.moved(moved(area.range.start)));
        }
        let mut next = from.start;
        while let Some((page, state)) = self.table.next_touched(PageRange::between(next, from.end())) {
            next = page.plus(1);
            self.set(page, State::Untouched);
            self.set(moved(page), state);
            match state {
                State::Resident { frame, .. }
                | State::Parked { frame, .. }
                | State::Filling { frame, .. }
                | State::Writing { frame, .. } => self.frames.set_page(frame, moved(page)),
                State::Untouched | State::Swapped { .. } | State::Poisoned => {}
            }
        }
    }
}
