//! Areas of an address space: what a process asked for.

use super::backing::{FileNo, Key};
use super::prot::Prot;
use crate::area::Ranged;
use crate::page::{PageNo, PageRange};

/// Who sees what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Everybody who maps the same.
    Shared,
    /// Only the process that writes, and what it forks later.
    Private,
}

/// Where an area came from, which decides when its shared pages are written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A page of the arena, mapped one by one: written back at eviction only.
    Arena,
    /// A mapped file or anonymous memory.
    Mapping,
    /// The stack, which grows.
    Stack,
    /// A segment of an executed file.
    Image,
}

/// What an area's pages hold before they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Zeros.
    Zero,
    /// What was written to a piece of shared memory without a name.
    Object {
        /// Which.
        object: u32,
        /// The number of a page minus that of its block.
        skew: i64,
    },
    /// A file's bytes, and zeros after them.
    File {
        /// Which.
        file: FileNo,
        /// The number of a page minus that of its block.
        skew: i64,
        /// The file's bytes from here on are not part of it.
        end: u64,
    },
}

/// A range of pages with one source and one set of rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceArea {
    /// Its pages.
    pub range: PageRange,
    /// What the process may do there.
    pub prot: Prot,
    /// What `mprotect` may make of it: no writing to a file that is read-only.
    pub most: Prot,
    /// Who sees what is written.
    pub share: Share,
    /// What its pages hold before they are written.
    pub source: Source,
    /// Where it came from.
    pub origin: Origin,
    /// Whether each page has a slot reserved, under strict commit.
    pub charged: bool,
}

impl SpaceArea {
    /// What backs `page` from the start. None: zeros of its own.
    pub(crate) fn key(&self, page: PageNo, page_size: u32) -> Option<Key> {
        let block = |skew: i64| (page.0 as i64).wrapping_sub(skew) as u64;
        match self.source {
            Source::Zero => None,
            Source::Object { object, skew } => Some(Key::Object { object, block: block(skew) }),
            Source::File { file, skew, end } => {
                let block = block(skew);
                let left = end.saturating_sub(block.saturating_mul(u64::from(page_size)));
                let bytes = u64::from(page_size).min(left) as u32;
                (bytes > 0).then_some(Key::File { file, block, bytes })
            }
        }
    }
}

impl Ranged for SpaceArea {
    fn range(&self) -> PageRange {
        self.range
    }

    fn over(self, range: PageRange) -> Self {
        Self { range, ..self }
    }

    fn is_like(&self, other: &Self) -> bool {
        self.over(other.range) == *other
    }
}
