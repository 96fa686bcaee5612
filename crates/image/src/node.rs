//! A node of the tree: where 128 pages, or nodes, are, and their digests.

use crate::PAGE;
use crate::digest::Digest;

/// Entries of a node.
pub(crate) const FANOUT: usize = 128;
/// Levels of the tree of the largest image: 128⁶ are more than [`crate::MOST_PAGES`].
pub(crate) const LEVELS: u32 = 6;
const ENTRY: usize = 24;

/// A block and its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its number in the file; 0 (which is the header) where all is zero.
    pub(crate) block: u64,
    pub(crate) digest: Digest,
}

impl Entry {
    /// Nothing but zeros.
    pub(crate) const ZERO: Self = Self { block: 0, digest: Digest(0) };
}

/// What a node says.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) entries: [Entry; FANOUT],
}

impl Node {
    pub(crate) fn empty() -> Self {
        Self { entries: [Entry::ZERO; FANOUT] }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.iter().all(|entry| entry.block == 0)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(PAGE);
        for entry in &self.entries {
            block.extend(entry.block.to_le_bytes());
            block.extend(entry.digest.0.to_le_bytes());
        }
        block.resize(PAGE, 0);
        block
    }

    /// Of a block whose digest was right. None if it names blocks that are not among
    /// the first `blocks`.
    pub(crate) fn decode(block: &[u8], blocks: u64) -> Option<Self> {
        let mut node = Self::empty();
        let mut bytes = Bytes::of(&block[..FANOUT * ENTRY]);
        for entry in &mut node.entries {
            *entry = Entry { block: bytes.u64(), digest: Digest(bytes.u128()) };
            if entry.block >= blocks {
                return None;
            }
        }
        Some(node)
    }
}

/// Numbers, little-endian, one after the other.
pub(crate) struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// # Panics
    /// Past the end, as all of these: blocks have a known length.
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let (first, rest) = self.rest.split_first_chunk::<N>().expect("blocks have a known length");
        self.rest = rest;
        *first
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub(crate) fn u128(&mut self) -> u128 {
        u128::from_le_bytes(self.array())
    }
}
