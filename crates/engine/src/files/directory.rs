#![expect(unsafe_code, reason = "gives addresses back")]
//! Which files are mapped, as program threads know it.

use crate::PAGE;
use crate::core::page_of;
use crate::files::link::Link;
use crate::files::numbers::Numbers;
use pager::{PageNo, PageRange};
use rustix::io::Errno;
use std::sync::{Mutex, MutexGuard, PoisonError};
use sys::views::{self, ViewedMemory};

/// Files that are mapped, one after the other: its lock is held while a map is made or ends.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) link: Link,
    state: Mutex<Mapped>,
}

impl Directory {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, state: Mutex::new(Mapped { window: None, objects: Vec::new() }) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Mapped> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is mapped.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) window: Option<Window>,
    pub(crate) objects: Vec<Object>,
}

/// What tells files apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Device and inode.
    File(u64, u64),
    /// A block device.
    Device(u64),
    /// What a program supplies, by a number of its choice, or one that only it has.
    Program(Supplied),
}

/// See [`Identity::Program`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Supplied {
    Named(u128),
    Alone(u64),
}

/// A file that is mapped shared, or only read.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) identity: Identity,
    /// Byte b of it is byte b of the file.
    pub(crate) memory: ViewedMemory,
    pub(crate) memory_len: u64,
    /// Where the file ended when it was last mapped.
    pub(crate) end: u64,
    pub(crate) pieces: Vec<Piece>,
}

/// Pages in a row of an object that are in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Pages of the file.
    pub(crate) of_file: PageRange,
    /// The window's number of the first.
    pub(crate) number: u32,
    pub(crate) is_writable: bool,
    /// Maps that have pages of it.
    pub(crate) maps: u32,
}

impl Object {
    /// The parts of `range` that no piece has.
    pub(crate) fn gaps(&self, range: PageRange) -> Vec<PageRange> {
        let mut gaps = Vec::new();
        let mut next = range.start;
        // Pieces are in order.
        for piece in self.pieces.iter().filter(|piece| piece.of_file.intersection(range).count > 0) {
            let gap = PageRange::between(next, piece.of_file.start);
            gaps.extend((gap.count > 0).then_some(gap));
            next = piece.of_file.end();
        }
        let gap = PageRange::between(next, range.end());
        gaps.extend((gap.count > 0).then_some(gap));
        gaps
    }

    pub(crate) fn add(&mut self, piece: Piece) {
        let at = self.pieces.partition_point(|other| other.of_file.start < piece.of_file.start);
        self.pieces.insert(at, piece);
    }
}

/// Addresses, and with them numbers of homes, that are given out by the page.
#[derive(Debug)]
pub(crate) struct Window {
    addr: usize,
    pages: u32,
    numbers: Numbers,
}

impl Window {
    /// As large as addresses allow, up to `most` pages.
    pub(crate) fn new(most: u32) -> Result<Self, Errno> {
        /// 1 GiB.
        const LEAST: u32 = 1 << 18;
        let mut pages = most;
        let addr = loop {
            match views::reserve(pages as usize * PAGE) {
                Ok(addr) => break addr,
                Err(_) if pages / 2 >= LEAST => pages /= 2,
                Err(error) => return Err(error),
            }
        };
        Ok(Self { addr, pages, numbers: Numbers::new(pages) })
    }

    pub(crate) fn range(&self) -> PageRange {
        PageRange { start: page_of(self.addr), count: u64::from(self.pages) }
    }

    pub(crate) fn page(&self, number: u32) -> PageNo {
        page_of(self.addr).plus(u64::from(number))
    }

    /// See [`Numbers::take`].
    pub(crate) fn take(&mut self, count: u64) -> Option<u32> {
        self.numbers.take(count)
    }

    pub(crate) fn give_back(&mut self, first: u32, count: u64) {
        self.numbers.give_back(first, count);
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: nothing is mapped there any more, or the process has no pager.
        unsafe { views::release(self.addr, self.pages as usize * PAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(start: u64, count: u64) -> PageRange {
        PageRange { start: PageNo(start), count }
    }

    #[test]
    fn gaps_are_what_no_piece_has() {
        let memory = ViewedMemory::new(c"test", 0).expect("memory");
        let mut object =
            Object { identity: Identity::File(0, 0), memory, memory_len: 0, end: 0, pieces: Vec::new() };
        assert_eq!(object.gaps(pages(5, 10)), [pages(5, 10)]);
        for (start, count) in [(20, 5), (8, 2)] {
            let of_file = pages(start, count);
            object.add(Piece { of_file, number: 1, is_writable: false, maps: 1 });
        }
        assert_eq!(object.gaps(pages(5, 30)), [pages(5, 3), pages(10, 10), pages(25, 10)]);
        assert_eq!(object.gaps(pages(8, 2)), []);
        assert_eq!(object.gaps(pages(9, 12)), [pages(10, 10)]);
    }
}
