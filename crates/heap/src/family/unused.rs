//! Which pages of families hold nothing: a pager drops them where it would write others.

use crate::family::blocks::BlockState;
use crate::family::directory::FamilyId;
use crate::family::families::Families;
use crate::heap::PAGE;
use crate::source::PageSource;

impl<S: PageSource> Families<S> {
    /// Whether nothing that is used lies in the page at `page`, a multiple of 4096: it is
    /// within one free block's data, or kept for the next family that needs pages. False where
    /// that is not certain: it waits for no lock, and allocates nothing. On the terms of
    /// [`crate::Heap::is_unused`].
    pub fn is_unused(&self, page: usize) -> bool {
        debug_assert!(page.is_multiple_of(PAGE));
        let Some(table) = self.pool.table().filter(|table| table.owns(page)) else { return false };
        let Some(holder) = table.holder(page) else { return self.pool.keeps(page) };
        let Some(entry) = self.directory.get(FamilyId(holder.family)) else { return false };
        let Some(ledger) = entry.ledger_if_free() else { return false };
        // Only now can it not change any more.
        let run = ledger.run(holder.run).filter(|_| table.holder(page) == Some(holder));
        run.is_some_and(|run| {
            let offset = page - run.start;
            run.around(offset).is_some_and(|block| {
                // Its meta block may lie in the page.
                let data = block.offset + entry.shape.meta;
                block.state == BlockState::Free && data <= offset && offset + PAGE <= block.offset + block.len
            })
        })
    }
}
