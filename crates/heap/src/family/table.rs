//! The page table of a region: which run each page belongs to.

use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

/// Pages that one leaf tells of. A leaf is made when one of its pages is first used.
const LEAF: usize = 8192;

type Leaf = [AtomicU64; LEAF];

/// A family and one of its runs. Changed under the family's lock only, so that whoever
/// holds that lock can rely on it; read by anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) family: NonZeroU32,
    pub(super) run: u32,
}

impl Holder {
    fn pack(self) -> u64 {
        u64::from(self.family.get()) << 32 | u64::from(self.run)
    }

    fn unpack(packed: u64) -> Option<Self> {
        let family = NonZeroU32::new((packed >> 32) as u32)?;
        Some(Self { family, run: packed as u32 })
    }
}

/// Two levels: an address is found in two reads.
#[derive(Debug)]
pub(super) struct Table {
    base: usize,
    len: usize,
    page_size: usize,
    leaves: Box<[OnceLock<Box<Leaf>>]>,
}

impl Table {
    /// Of `len` bytes from `base` on, a multiple of the page size.
    pub(super) fn new(base: usize, len: usize, page_size: usize) -> Self {
        let leaves = (len / page_size).div_ceil(LEAF);
        Self { base, len, page_size, leaves: (0..leaves).map(|_| OnceLock::new()).collect() }
    }

    pub(super) fn owns(&self, address: usize) -> bool {
        address.wrapping_sub(self.base) < self.len
    }

    /// Who holds the page of an address within the region.
    pub(super) fn holder(&self, address: usize) -> Option<Holder> {
        let page = (address - self.base) / self.page_size;
        let leaf = self.leaves[page / LEAF].get()?;
        Holder::unpack(leaf[page % LEAF].load(Ordering::Acquire))
    }

    /// Enters the holder of the pages of a run.
    pub(super) fn enter(&self, start: usize, len: usize, holder: Option<Holder>) {
        let pages = (start - self.base) / self.page_size..(start + len - self.base) / self.page_size;
        for page in pages {
            let leaf = self.leaves[page / LEAF].get_or_init(|| {
                let leaf: Vec<AtomicU64> = (0..LEAF).map(|_| AtomicU64::new(0)).collect();
                leaf.into_boxed_slice().try_into().expect("a leaf has that many entries")
            });
            leaf[page % LEAF].store(holder.map_or(0, Holder::pack), Ordering::Release);
        }
    }

    /// The holder of each page that has one.
    pub(super) fn held(&self) -> impl Iterator<Item = Holder> + '_ {
        let leaves = self.leaves.iter().filter_map(OnceLock::get);
        leaves.flat_map(|leaf| leaf.iter().filter_map(|entry| Holder::unpack(entry.load(Ordering::Acquire))))
    }
}
