//! Areas that go, in part or with their process.

use super::Spaces;
use super::backing::SpaceNo;
use crate::page::{PageNo, PageRange};

impl Spaces {
    /// Unmaps whatever is in `range`; areas split where they must. Frames and slots of private
    /// pages are free at once, in order of address; blocks of files stay in memory as they are.
    /// Does no I/O: dirty pages of shared files should have been written before
    /// ([`Self::dirty_pages`]), and are written when they are evicted otherwise.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn unmap(&mut self, space: SpaceNo, range: PageRange) {
        let record = self.space_mut(space);
        let gone = record.areas.within(range);
        let pages: u64 = gone.iter().map(|area| area.range.count).sum();
        let charged: u64 = gone.iter().filter(|area| area.charged).map(|area| area.range.count).sum();
        record.areas.remove(range);
        record.pages -= pages;
        record.charged -= charged;
        let entries: Vec<(PageNo, PageNo)> =
            record.entries.range(range.start..range.end()).map(|(page, backing)| (*page, *backing)).collect();
        for (page, backing) in entries {
            self.detach(space, page, backing);
        }
        self.uncharge(charged);
        for area in gone {
            self.changed(space, area.range);
        }
    }

    /// The process ends: all that only it had is free, in order of address. Does no I/O, as
    /// [`Self::unmap`].
    ///
    /// # Panics
    /// If there is no such process.
    pub fn destroy(&mut self, space: SpaceNo) {
        let everything = PageRange { start: PageNo(0), count: u64::MAX };
        self.unmap(space, everything);
        let record = self.spaces.remove(&space).expect("it was there");
        debug_assert_eq!((record.pages, record.charged, record.entries.len()), (0, 0, 0));
    }

    /// Everything that a process has is unmapped, its stack forgotten.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn clear(&mut self, space: SpaceNo) {
        self.destroy(space);
        self.create(space);
    }
}
