//! The memory management unit: page tables, and rights that are checked on every access.
//!
//! There is no translation lookaside buffer: what the tables say holds from the next access on.

use pager::space::{Access, Prot, Pte};
use pager::{FrameNo, PageNo};
use std::collections::BTreeMap;

const LEAF_PAGES: u64 = 512;

/// One process's page table: the entries of valid pages.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageTable {
    leaves: BTreeMap<u64, Box<Leaf>>,
}

type Leaf = [Entry; LEAF_PAGES as usize];

/// A frame and rights; no rights: a touch is a fault.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    frame: u32,
    prot: Prot,
}

impl PageTable {
    /// The frame that `access` to `page` goes to. None: a fault.
    #[inline]
    pub(crate) fn translate(&self, page: PageNo, access: Access) -> Option<FrameNo> {
        let entry = self.leaves.get(&(page.0 / LEAF_PAGES))?[(page.0 % LEAF_PAGES) as usize];
        entry.prot.allows(access).then_some(FrameNo(entry.frame))
    }

    pub(crate) fn get(&self, page: PageNo) -> Pte {
        let leaf = self.leaves.get(&(page.0 / LEAF_PAGES));
        let entry = leaf.map_or(Entry::default(), |leaf| leaf[(page.0 % LEAF_PAGES) as usize]);
        Pte { frame: FrameNo(entry.frame), prot: entry.prot }
    }

    /// Installs an entry; None takes it away.
    pub(crate) fn set(&mut self, page: PageNo, pte: Option<Pte>) {
        let entry = match pte {
            Some(Pte { frame, prot }) if prot != Prot::NONE => Entry { frame: frame.0, prot },
            _ => Entry::default(),
        };
        let number = page.0 / LEAF_PAGES;
        if entry.prot == Prot::NONE && !self.leaves.contains_key(&number) {
            return;
        }
        let leaf =
            self.leaves.entry(number).or_insert_with(|| Box::new([Entry::default(); LEAF_PAGES as usize]));
        leaf[(page.0 % LEAF_PAGES) as usize] = entry;
    }
}
