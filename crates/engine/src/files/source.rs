//! Where homes are: parts of files.

use crate::PAGE;
use crate::files::desk::Staffed;
use crate::files::ticket::Ticket;
use pager::{PageRange, Sharing, SlotNo};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use std::sync::Arc;

/// Descriptors of one file, in the pager's table.
#[derive(Debug)]
pub(crate) struct Descriptors {
    pub(crate) buffered: OwnedFd,
    /// Past the page cache, where that is possible.
    pub(crate) direct: Option<OwnedFd>,
}

/// Where bytes come from, and go to.
#[derive(Debug)]
pub(crate) enum Origin {
    File(Descriptors),
    /// The program's own code.
    Program(Arc<Staffed>),
}

impl Origin {
    pub(crate) fn file(&self) -> Option<&Descriptors> {
        match self {
            Self::File(files) => Some(files),
            Self::Program(_) => None,
        }
    }

    pub(crate) fn program(&self) -> Option<&Arc<Staffed>> {
        match self {
            Self::File(_) => None,
            Self::Program(desk) => Some(desk),
        }
    }
}

/// A part of a file, in pages, and who uses it.
#[derive(Debug)]
pub(crate) struct Source {
    /// The homes of its pages: the first, and how many.
    pub(crate) first: SlotNo,
    pub(crate) count: u32,
    /// The core's pages that are at home here.
    pub(crate) pages: PageRange,
    /// Where it begins in the file, a multiple of the page size.
    pub(crate) offset: u64,
    /// Where the file ends, as far as is known: nothing is read or written past that.
    pub(crate) end: u64,
    pub(crate) sharing: Sharing,
    pub(crate) origin: Origin,
    /// Those of before the file could be written, which a transfer may still use.
    pub(crate) retired: Vec<Origin>,
    /// Why write-back to it has stopped: what is dirty stays in memory.
    pub(crate) latched: Option<Errno>,
    /// Transfers that use its descriptors.
    pub(crate) under_way: u32,
    /// Nobody uses it any more; told when no transfer does.
    pub(crate) closing: Option<Ticket>,
    /// The program's own map of the file that is paged as long as nobody can write to it.
    pub(crate) leased: Option<Leased>,
}

/// What is kept of a map that the program made itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leased {
    /// Where the kernel has the same map, of which nothing is touched: it comes to its place when the lease ends.
    pub(crate) spare: usize,
    /// Bytes of it, which may go on past the end of the file.
    pub(crate) len: usize,
    /// It is on its way there.
    pub(crate) is_returning: bool,
    /// The program has written to it: what it changed is in slots. Its bytes were promised.
    pub(crate) is_own: bool,
}

/// What a transfer is made with.
#[derive(Debug)]
pub(crate) enum From<'a> {
    File(BorrowedFd<'a>),
    Program(Arc<Staffed>),
}

/// Consecutive bytes of a file that are transferred together.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    pub(crate) from: From<'a>,
    pub(crate) offset: u64,
    /// Fewer than the pages have if the file ends there.
    pub(crate) bytes: usize,
}

impl Source {
    pub(crate) fn has(&self, home: SlotNo) -> bool {
        home >= self.first && home.0 - self.first.0 < self.count
    }

    /// Where a page begins in the file.
    pub(crate) fn offset_of(&self, home: SlotNo) -> u64 {
        self.offset + u64::from(home.0 - self.first.0) * PAGE as u64
    }

    /// How many pages from this one on may be transferred together: the one in which the
    /// file ends is alone.
    pub(crate) fn span(&self, home: SlotNo) -> usize {
        let whole = self.end.saturating_sub(self.offset_of(home)) / PAGE as u64;
        whole.clamp(1, u64::from(self.count - (home.0 - self.first.0))) as usize
    }

    /// Where the file ends now, if that is sooner: what is written past that would make it longer.
    pub(crate) fn end_now(&self) -> u64 {
        let now = self.origin.file().and_then(|file| fstat(&file.buffered).ok());
        let now = now.filter(|facts| FileType::from_raw_mode(facts.st_mode) == FileType::RegularFile);
        now.map_or(self.end, |facts| self.end.min(facts.st_size as u64))
    }

    /// The bytes of some pages in a row, at most [`Self::span`], of a file that ends there.
    pub(crate) fn part(&self, home: SlotNo, pages: usize, end: u64) -> Part<'_> {
        let offset = self.offset_of(home);
        let bytes = end.saturating_sub(offset).min((pages * PAGE) as u64) as usize;
        let whole = bytes.is_multiple_of(PAGE);
        let from = match &self.origin {
            Origin::File(Descriptors { direct: Some(direct), .. }) if whole => From::File(direct.as_fd()),
            Origin::File(files) => From::File(files.buffered.as_fd()),
            Origin::Program(desk) => From::Program(Arc::clone(desk)),
        };
        Part { from, offset, bytes }
    }
}

/// All sources, by their homes.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    sources: Vec<Source>,
}

impl Sources {
    fn index(&self, home: SlotNo) -> Option<usize> {
        let after = self.sources.partition_point(|source| source.first <= home);
        let index = after.checked_sub(1)?;
        self.sources[index].has(home).then_some(index)
    }

    pub(crate) fn find(&self, home: SlotNo) -> Option<&Source> {
        self.index(home).map(|index| &self.sources[index])
    }

    pub(crate) fn find_mut(&mut self, home: SlotNo) -> Option<&mut Source> {
        self.index(home).map(|index| &mut self.sources[index])
    }

    pub(crate) fn each(&mut self, each: impl FnMut(&mut Source)) {
        self.sources.iter_mut().for_each(each);
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter()
    }

    pub(crate) fn add(&mut self, source: Source) {
        debug_assert!(self.find(source.first).is_none());
        let at = self.sources.partition_point(|other| other.first < source.first);
        self.sources.insert(at, source);
    }

    pub(crate) fn remove(&mut self, home: SlotNo) -> Option<Source> {
        self.index(home).map(|index| self.sources.remove(index))
    }

    /// Whether pages with these homes may be in one transfer, `next` as the last.
    pub(crate) fn join(&self, first: SlotNo, next: SlotNo) -> bool {
        match self.find(first) {
            None => self.find(next).is_none(),
            Some(source) => {
                let span = u32::try_from(source.span(first)).unwrap_or(u32::MAX);
                source.has(next) && next.0 - first.0 < span
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pager::PageNo;

    fn source(first: u32, count: u32, end: u64) -> Source {
        let file = || rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
        Source {
            first: SlotNo(first),
            count,
            pages: PageRange { start: PageNo(0), count: u64::from(count) },
            offset: 8192,
            end,
            sharing: Sharing::Shared,
            origin: Origin::File(Descriptors { buffered: file(), direct: Some(file()) }),
            retired: Vec::new(),
            latched: None,
            under_way: 0,
            closing: None,
            leased: None,
        }
    }

    #[test]
    fn the_page_in_which_the_file_ends_is_alone_and_short() {
        let source = source(100, 10, 8192 + 3 * 4096 + 5);
        assert_eq!([100, 102, 103].map(|home| source.span(SlotNo(home))), [3, 1, 1]);
        let whole = source.part(SlotNo(101), 2, source.end);
        assert_eq!((whole.offset, whole.bytes), (8192 + 4096, 8192));
        let tail = source.part(SlotNo(103), 1, source.end);
        assert_eq!((tail.offset, tail.bytes), (8192 + 3 * 4096, 5));
        use std::os::fd::AsRawFd;
        let (From::File(whole), From::File(tail)) = (whole.from, tail.from) else { panic!("of a file") };
        assert_ne!(whole.as_raw_fd(), tail.as_raw_fd());
        assert_eq!(source.part(SlotNo(104), 1, source.end).bytes, 0);
    }

    #[test]
    fn no_transfer_has_two_sources() {
        let mut sources = Sources::default();
        sources.add(source(110, 10, 1 << 20));
        sources.add(source(100, 10, 1 << 20));
        assert!(sources.join(SlotNo(100), SlotNo(109)) && !sources.join(SlotNo(105), SlotNo(110)));
        assert!(sources.join(SlotNo(3), SlotNo(4)) && !sources.join(SlotNo(99), SlotNo(100)));
        assert!(sources.find(SlotNo(120)).is_none() && sources.find(SlotNo(99)).is_none());
        assert!(sources.remove(SlotNo(115)).is_some() && sources.find(SlotNo(110)).is_none());
    }
}
