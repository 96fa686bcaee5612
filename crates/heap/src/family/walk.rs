//! A family's pages, block by block.

use crate::family::blocks::BlockState;
use crate::family::directory::FamilyId;
use crate::family::families::Families;
use crate::family::layout::Shape;
use crate::family::run::{Block, Run};
use crate::family::stats::{FamilyInfo, info_of};
use crate::source::PageSource;

/// A block as it is at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// Where its data begin.
    pub address: usize,
    /// Where it begins in its page, with its meta block if that lies there.
    pub offset: usize,
    /// Bytes of data.
    pub size: usize,
    /// Hard internal fragmentation: bytes that it keeps beyond its data.
    pub hard: usize,
    /// Whether no object fits it: soft internal fragmentation.
    pub soft: bool,
    /// What it is.
    pub state: BlockState,
    /// Where the block before it in the page begins.
    pub previous: Option<usize>,
    /// Where the block after it in the page begins.
    pub next: Option<usize>,
}

/// A page and its blocks; several pages in a row, where a block needs more than one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageInfo {
    /// Where it begins.
    pub address: usize,
    /// Its bytes.
    pub bytes: usize,
    /// Its blocks, which tile it.
    pub blocks: Vec<BlockInfo>,
}

/// A family's pages, in the order of their addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Whose pages.
    pub family: FamilyInfo,
    /// Bytes of a meta block in the page; 0 where they are outside.
    pub meta_size: usize,
    /// The pages.
    pub pages: Vec<PageInfo>,
}

fn block_info(run: &Run, block: &Block, shape: &Shape) -> BlockInfo {
    BlockInfo {
        address: run.start + block.offset + shape.meta,
        offset: block.offset,
        size: block.len - shape.meta - block.hard,
        hard: block.hard,
        soft: block.state == BlockState::Free && !shape.fits_object(block.len),
        state: block.state,
        previous: run.before(block).map(|block| block.offset),
        next: run.after(block).map(|block| block.offset),
    }
}

impl<S: PageSource> Families<S> {
    /// A family's blocks as they are at this moment; none if it is another heap's. No
    /// page is touched.
    pub fn walk(&self, family: FamilyId) -> Option<Walk> {
        let entry = self.directory.get(family)?;
        let ledger = entry.ledger();
        let pages = ledger.runs().into_iter().map(|(_, run)| PageInfo {
            address: run.start,
            bytes: run.len(),
            blocks: run.iter().map(|block| block_info(run, &block, &entry.shape)).collect(),
        });
        Some(Walk { family: info_of(family, entry), meta_size: entry.shape.meta, pages: pages.collect() })
    }
}
