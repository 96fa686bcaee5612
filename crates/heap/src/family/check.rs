#![expect(unsafe_code, reason = "reads the meta blocks that lie in pages")]
//! The laws of a heap of families.

use crate::family::blocks::BlockState;
use crate::family::directory::{Entry, FamilyId};
use crate::family::families::Families;
use crate::family::ledger::{Counts, Ledger, meta_of};
use crate::family::run::Run;
use crate::family::table::Holder;
use crate::source::PageSource;
use core::error::Error;
use core::fmt::{self, Display, Formatter};
use std::sync::MutexGuard;

/// A law that does not hold, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// 1. The blocks of a page tile it: the first begins it, each has at least one byte
    ///    of data, the last ends it.
    NotTiled {
        /// Where the page begins.
        page: usize,
    },
    /// 2. No two neighbours are free.
    FreeNeighbours {
        /// Where the second of them begins.
        block: usize,
    },
    /// 3. A block is in the index if, and only if, it is free.
    Index {
        /// The family.
        family: FamilyId,
    },
    /// 4. A family's pages hold only its blocks: the page table says whose they are.
    Page {
        /// Where the page begins.
        page: usize,
    },
    /// 5. What is counted is what is held: blocks, bytes and pages.
    Counts {
        /// The family.
        family: FamilyId,
    },
    /// A meta block in a page is not what the heap has written there: the program has
    /// overrun an object. The heap itself is whole.
    MetaBlock {
        /// Where it begins.
        address: usize,
    },
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTiled { page } => write!(f, "the blocks of the page at {page:#x} do not tile it"),
            Self::FreeNeighbours { block } => {
                write!(f, "the block at {block:#x} and the one before it are free, and not one block")
            }
            Self::Index { family } => {
                write!(f, "the index of family {} is not its free blocks", family.number())
            }
            Self::Page { page } => write!(f, "the page table does not say whose the page at {page:#x} is"),
            Self::Counts { family } => {
                write!(f, "what is counted of family {} is not what it holds", family.number())
            }
            Self::MetaBlock { address } => {
                write!(
                    f,
                    "the meta block at {address:#x} has been overwritten: look for an overrun of the "
                )?;
                write!(f, "object before it")
            }
        }
    }
}

impl Error for Violation {}

impl<S: PageSource> Families<S> {
    /// Checks every law, with all threads kept out meanwhile. It looks at every block,
    /// and touches pages in the textbook layout only.
    ///
    /// # Errors
    /// The first law that does not hold. None of them is broken by what a program does
    /// wrong, but [`Violation::MetaBlock`].
    pub fn check(&self) -> Result<(), Violation> {
        let _registered = self.directory.hold();
        // In the order of registration; nobody else takes more than one.
        let families: Vec<(FamilyId, &Entry, MutexGuard<'_, Ledger>)> =
            self.directory.iter().map(|(id, entry)| (id, entry, entry.ledger())).collect();
        for (id, entry, ledger) in &families {
            self.check_family(*id, entry, ledger)?;
        }
        // Each run's pages are entered; no other page may be.
        let held: usize = families.iter().map(|(_, _, ledger)| ledger.counts.run_bytes).sum();
        let entered = self.pool.table().map_or(0, |table| table.held().count());
        if held == entered * self.options.layout.page_size() {
            return Ok(());
        }
        Err(Violation::Counts { family: self.bytes() })
    }

    fn check_family(&self, id: FamilyId, entry: &Entry, ledger: &Ledger) -> Result<(), Violation> {
        let mut counts = Counts::default();
        for (number, run) in ledger.runs() {
            self.check_pages(run, Holder { family: id.0, run: number })?;
            check_run(run, entry, ledger, id, &mut counts)?;
        }
        // Free blocks are in the index; as many as it has.
        if counts.free_blocks != ledger.index.len() {
            return Err(Violation::Index { family: id });
        }
        if counts == ledger.counts { Ok(()) } else { Err(Violation::Counts { family: id }) }
    }

    fn check_pages(&self, run: &Run, holder: Holder) -> Result<(), Violation> {
        let table = self.pool.table();
        let mut pages = (run.start..run.start + run.len()).step_by(self.options.layout.page_size());
        match pages.find(|page| table.and_then(|table| table.holder(*page)) != Some(holder)) {
            Some(page) => Err(Violation::Page { page }),
            None => Ok(()),
        }
    }
}

fn check_run(
    run: &Run,
    entry: &Entry,
    ledger: &Ledger,
    id: FamilyId,
    counts: &mut Counts,
) -> Result<(), Violation> {
    let shape = &entry.shape;
    let (mut end, mut before) = (0, BlockState::Used);
    counts.run_bytes += run.len();
    for block in run.iter() {
        if block.offset != end || block.len <= shape.meta + block.hard {
            return Err(Violation::NotTiled { page: run.start });
        }
        if (before, block.state) == (BlockState::Free, BlockState::Free) {
            return Err(Violation::FreeNeighbours { block: run.start + block.offset });
        }
        let free = block.state == BlockState::Free;
        if ledger.index.contains(block.len, run.start + block.offset) != free {
            return Err(Violation::Index { family: id });
        }
        let address = run.start + block.offset;
        // SAFETY: the family holds the page, under its lock, and the meta block lies there.
        if shape.meta > 0 && !unsafe { meta_of(run, &block, shape).is_at(address, shape.meta) } {
            return Err(Violation::MetaBlock { address });
        }
        counts.add(&block, shape);
        (end, before) = (block.offset + block.len, block.state);
    }
    if end == run.len() { Ok(()) } else { Err(Violation::NotTiled { page: run.start }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anonymous::Anonymous;

    /// A heap with one page of three used blocks, and what has to be broken there.
    fn broken(breaks: impl FnOnce(&Families<Anonymous>, &mut Ledger, usize)) -> (FamilyId, usize, Violation) {
        let heap = Families::new(Anonymous::new());
        let family = heap.register("emp", 36).expect("a new name");
        let [page, ..] = [0; 3].map(|_| heap.calloc(family, 1).expect("memory").as_ptr().addr());
        assert_eq!(heap.check(), Ok(()));
        breaks(&heap, &mut heap.directory.get(family).expect("registered").ledger(), page);
        (family, page, heap.check().expect_err("a law is broken"))
    }

    #[test]
    fn a_broken_law_is_told() {
        // A free block that is not there.
        let (family, _, found) = broken(|_, ledger, page| ledger.index.insert(72, page + 4096));
        assert_eq!(found, Violation::Index { family });
        // One that is there, and is not in the index.
        let (family, _, found) = broken(|_, ledger, page| ledger.index.remove(4096 - 108, page + 108));
        assert_eq!(found, Violation::Index { family });
        // A used block that is in the index.
        let (family, _, found) = broken(|_, ledger, page| ledger.index.insert(36, page));
        assert_eq!(found, Violation::Index { family });
        let (family, _, found) = broken(|_, ledger, _| ledger.counts.used_bytes += 1);
        assert_eq!(found, Violation::Counts { family });
        // A block that was freed without being joined with the one after it.
        let (_, page, found) = broken(|_, ledger, page| {
            ledger.run_mut(0).mark_free(72);
            ledger.index.insert(36, page + 72);
        });
        assert_eq!(found, Violation::FreeNeighbours { block: page + 108 });
        // A page that nobody holds, and one that is held twice.
        let enter = |heap: &Families<Anonymous>, page, holder| {
            heap.pool.table().expect("there is a region").enter(page, 4096, holder);
        };
        let (_, page, found) = broken(|heap, _, page| enter(heap, page, None));
        assert_eq!(found, Violation::Page { page });
        let stranger = Holder { family: core::num::NonZeroU32::MIN, run: 7 };
        let (_, page, found) = broken(|heap, _, page| enter(heap, page, Some(stranger)));
        assert_eq!(found, Violation::Page { page });
        let (_, _, found) = broken(|heap, _, page| enter(heap, page + 4096, Some(stranger)));
        assert!(matches!(found, Violation::Counts { .. }));
    }
}
