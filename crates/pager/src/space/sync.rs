//! Writing dirty pages of shared files while they stay in memory.

use super::Spaces;
use super::area::{Origin, Share};
use super::backing::SpaceNo;
use super::fault::Transfer;
use crate::page::{FrameNo, PageNo, PageRange};
use crate::transfer::WriteResult;

/// Which pages [`Spaces::dirty_pages`] looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dirty {
    /// Those of every area: the program asked for it.
    All,
    /// Not those of the arena, which are written when they are evicted.
    Mappings,
}

impl Spaces {
    /// The dirty pages of shared files in `range`, in order.
    pub fn dirty_pages(&self, space: SpaceNo, range: PageRange, which: Dirty) -> Vec<PageNo> {
        let Some(record) = self.space(space) else { return Vec::new() };
        let of_area = |page: PageNo| {
            let area = record.areas.find(page);
            area.is_some_and(|area| {
                area.share == Share::Shared && (which == Dirty::All || area.origin != Origin::Arena)
            })
        };
        record
            .entries
            .range(range.start..range.end())
            .filter(|(page, backing)| {
                let backing = self.backings.get(**backing);
                backing.dirty && backing.file().is_some() && of_area(**page)
            })
            .map(|(page, _)| *page)
            .collect()
    }

    /// Begins to write one of these pages: write it, then say [`Self::sync_done`]. Until then its
    /// frame stays; what is written to the page meanwhile makes it dirty again. None: it is clean,
    /// or being written already.
    pub fn begin_sync(&mut self, space: SpaceNo, page: PageNo) -> Option<Transfer> {
        let backing = *self.space(space)?.entries.get(&page)?;
        let frame = self.frame_of(backing)?;
        let record = self.backings.get_mut(backing);
        if !record.dirty || record.syncing || record.file().is_none() {
            return None;
        }
        record.dirty = false;
        record.syncing = true;
        self.backing_changed(backing);
        let home = self.home(backing);
        Some(Transfer { frame, place: self.place(backing, home) })
    }

    /// The write begun by [`Self::begin_sync`] has ended. If it failed, the page is dirty.
    pub fn sync_done(&mut self, frame: FrameNo, result: WriteResult) {
        let backing = self.pager.page_of(frame);
        let record = self.backings.get_mut(backing);
        record.syncing = false;
        record.dirty |= result == WriteResult::Failed;
        self.backing_changed(backing);
    }
}
