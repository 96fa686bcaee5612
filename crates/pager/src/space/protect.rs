//! Other rights for what is mapped.

use super::Spaces;
use super::area::{Share, Source, SpaceArea};
use super::backing::SpaceNo;
use super::map::MapError;
use super::prot::Prot;
use crate::page::PageRange;

impl Spaces {
    /// Gives all pages of `range` the rights `prot`; areas split where they must.
    ///
    /// # Errors
    /// [`MapError::Hole`], [`MapError::ReadOnly`], or [`MapError::Commit`] where private pages of
    /// a file become writable; nothing has changed then.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn protect(&mut self, space: SpaceNo, range: PageRange, prot: Prot) -> Result<(), MapError> {
        let areas = self.space_mut(space).areas.within(range);
        if range.count == 0 {
            return Err(MapError::Empty);
        }
        if areas.iter().map(|area| area.range.count).sum::<u64>() != range.count {
            return Err(MapError::Hole);
        }
        if areas.iter().any(|area| !area.most.contains(prot)) {
            return Err(MapError::ReadOnly);
        }
        let becomes_charged = |area: &SpaceArea| {
            let of_file = matches!(area.source, Source::File { .. });
            of_file && area.share == Share::Private && !area.charged && prot.contains(Prot::WRITE)
        };
        let more: u64 = areas.iter().filter(|area| becomes_charged(area)).map(|area| area.range.count).sum();
        self.charge(more)?;
        let record = self.space_mut(space);
        record.charged += more;
        for area in areas {
            record.areas.insert(SpaceArea { prot, charged: area.charged || becomes_charged(&area), ..area });
        }
        self.changed(space, range);
        Ok(())
    }
}
