//! A process that begins as a copy of another.

use super::Spaces;
use super::backing::{Kind, SpaceNo};
use super::commit::CommitError;
use crate::page::PageRange;

impl Spaces {
    /// `child` gets the same areas and bytes as `parent`: private pages are copied when either
    /// writes, shared ones are shared. Does no I/O and takes no frame.
    ///
    /// # Errors
    /// If commit is strict and the child's private pages cannot be promised slots; nothing has
    /// changed then.
    ///
    /// # Panics
    /// If `parent` is not there, or `child` is.
    pub fn fork(&mut self, parent: SpaceNo, child: SpaceNo) -> Result<(), CommitError> {
        assert!(!self.has(child), "{child:?} is used");
        let copy = self.space_mut(parent).clone();
        self.charge(copy.charged)?;
        let entries: Vec<_> = copy.entries.iter().map(|(page, backing)| (*page, *backing)).collect();
        let areas: Vec<PageRange> = copy.areas.iter().map(|area| area.range).collect();
        self.spaces.insert(child, copy);
        for range in areas {
            self.changed(child, range);
        }
        for (page, backing) in entries {
            let record = self.backings.get_mut(backing);
            record.mappings.insert((child, page));
            // With more owners than two nothing changes for the others.
            if record.kind == Kind::Anonymous && record.mappings.len() == 2 {
                self.backing_changed(backing);
            }
        }
        Ok(())
    }
}
