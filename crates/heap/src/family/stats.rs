//! How much a family has, and of what.

use crate::family::directory::{Directory, Entry, FamilyId};
use crate::family::families::Families;
use crate::source::PageSource;
use core::sync::atomic::Ordering;

/// What a family is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyInfo {
    /// Which one.
    pub id: FamilyId,
    /// Its name.
    pub name: Box<str>,
    /// Bytes of an object.
    pub size: usize,
    /// What objects are aligned to, in bytes.
    pub align: usize,
}

/// Numbers of one family. What blocks have adds up: used, hard and free bytes are those
/// of the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyStats {
    /// What it is of.
    pub family: FamilyInfo,
    /// Pages that it holds.
    pub pages: usize,
    /// Bytes of these.
    pub page_bytes: usize,
    /// Calls of its page source that getting and giving back pages took so far; of a
    /// source over the kernel, that is system calls.
    pub kernel_calls: u64,
    /// Blocks.
    pub blocks: usize,
    /// Of these, free ones.
    pub free_blocks: usize,
    /// Of these, used ones.
    pub used_blocks: usize,
    /// Bytes of used blocks: their data, and the meta blocks that lie in the page.
    pub used_bytes: usize,
    /// Bytes of free blocks, with their meta blocks.
    pub free_bytes: usize,
    /// Hard internal fragmentation: bytes that used blocks keep, because what was left
    /// behind them was too short for a block.
    pub hard_bytes: usize,
    /// Soft internal fragmentation: bytes of free blocks that no object fits.
    pub soft_bytes: usize,
}

impl FamilyStats {
    /// Bytes that no request can be given as things are.
    pub fn internal_fragmentation(&self) -> usize {
        self.hard_bytes + self.soft_bytes
    }
}

pub(super) fn info_of(id: FamilyId, entry: &Entry) -> FamilyInfo {
    FamilyInfo { id, name: entry.name.clone(), size: entry.shape.size, align: entry.shape.align }
}

fn stats_of(id: FamilyId, entry: &Entry) -> FamilyStats {
    let counts = entry.ledger().counts;
    FamilyStats {
        family: info_of(id, entry),
        pages: counts.run_bytes / entry.shape.page,
        page_bytes: counts.run_bytes,
        kernel_calls: entry.kernel_calls.load(Ordering::Relaxed),
        blocks: counts.free_blocks + counts.used_blocks,
        free_blocks: counts.free_blocks,
        used_blocks: counts.used_blocks,
        used_bytes: counts.used_bytes,
        free_bytes: counts.run_bytes - counts.used_bytes - counts.hard_bytes,
        hard_bytes: counts.hard_bytes,
        soft_bytes: counts.soft_bytes,
    }
}

fn all<T>(directory: &Directory, of: impl Fn(FamilyId, &Entry) -> T) -> Vec<T> {
    directory.iter().map(|(id, entry)| of(id, entry)).collect()
}

impl<S: PageSource> Families<S> {
    /// What a family is of; none if it is another heap's.
    pub fn info(&self, family: FamilyId) -> Option<FamilyInfo> {
        self.directory.get(family).map(|entry| info_of(family, entry))
    }

    /// The families, in the order of registration; the built-in one is the first.
    pub fn registered(&self) -> Vec<FamilyInfo> {
        all(&self.directory, info_of)
    }

    /// A family's numbers; none if it is another heap's.
    pub fn stats(&self, family: FamilyId) -> Option<FamilyStats> {
        self.directory.get(family).map(|entry| stats_of(family, entry))
    }

    /// The numbers of all families, in the order of registration.
    pub fn all_stats(&self) -> Vec<FamilyStats> {
        all(&self.directory, stats_of)
    }
}
