//! New areas.

use super::area::{Origin, Share, Source, SpaceArea};
use super::backing::{FileNo, SpaceNo};
use super::commit::CommitError;
use super::prot::Prot;
use super::{MAX_SPACE_PAGES, Spaces, USER_END};
use crate::page::{PageNo, PageRange};
use core::fmt;

/// Why an area cannot be had. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// Page 0, not a process's own half of the addresses, or past its end.
    Address,
    /// No pages were asked for.
    Empty,
    /// An area is there already.
    Overlap,
    /// No gap is large enough.
    NoRoom,
    /// More pages than [`MAX_SPACE_PAGES`].
    TooMany,
    /// A page of the range is in no area.
    Hole,
    /// A file that is read-only cannot be shared for writing.
    ReadOnly,
    /// The store could not hold it.
    Commit(CommitError),
}

impl From<CommitError> for MapError {
    fn from(error: CommitError) -> Self {
        Self::Commit(error)
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("the range is not in the process's half of the addresses"),
            Self::Empty => f.write_str("the range is empty"),
            Self::Overlap => f.write_str("something is mapped there"),
            Self::NoRoom => f.write_str("no gap is large enough"),
            Self::TooMany => write!(f, "a process may have {MAX_SPACE_PAGES} pages"),
            Self::Hole => f.write_str("not all of the range is mapped"),
            Self::ReadOnly => f.write_str("the file is read-only"),
            Self::Commit(error) => error.fmt(f),
        }
    }
}

/// Pages of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// The file.
    pub file: FileNo,
    /// The block that the first page shows.
    pub block: u64,
    /// The file's bytes from here on are not part of the area: zeros are.
    pub end: u64,
    /// Whether what is written to shared pages may reach the file.
    pub writable: bool,
}

/// What an area is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Zeros.
    Anonymous,
    /// A file's bytes.
    File(FileRange),
}

/// An area that a process asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// Its first page. None: wherever there is room.
    pub at: Option<PageNo>,
    /// How many pages.
    pub count: u64,
    /// What the process may do with them.
    pub prot: Prot,
    /// Who sees what is written.
    pub share: Share,
    /// What they hold.
    pub memory: Memory,
    /// Whether whatever is there is to go.
    pub replace: bool,
    /// Where the area comes from.
    pub origin: Origin,
}

/// Where areas go that may go anywhere.
const ANYWHERE: u64 = 1 << 40;

impl Spaces {
    /// Maps the lowest free page of the arena: to zeros, or to a block of a file, shared.
    /// Does no I/O and takes no frame.
    ///
    /// # Errors
    /// [`MapError::NoRoom`] before anything else is looked at, and [`MapError::Commit`].
    ///
    /// # Panics
    /// If there is no such process.
    pub fn map_page(&mut self, space: SpaceNo, memory: Memory) -> Result<PageNo, MapError> {
        let page = self.arena_gap(space).ok_or(MapError::NoRoom)?;
        let share = if memory == Memory::Anonymous { Share::Private } else { Share::Shared };
        self.map(
            space,
            MapRequest {
                at: Some(page),
                count: 1,
                prot: Prot::READ_WRITE,
                share,
                memory,
                replace: false,
                origin: Origin::Arena,
            },
        )
    }

    /// The lowest page of the arena that is not mapped.
    pub fn arena_gap(&self, space: SpaceNo) -> Option<PageNo> {
        self.space(space)?.areas.first_gap(self.config.arena, 1)
    }

    /// Whether [`Self::map`] would do it, and where.
    ///
    /// # Errors
    /// As for [`Self::map`].
    ///
    /// # Panics
    /// If there is no such process.
    pub fn check_map(&self, space: SpaceNo, request: MapRequest) -> Result<PageRange, MapError> {
        let MapRequest { count, prot, share, .. } = request;
        let page_size = u64::from(self.config.page_size);
        let end_page = USER_END / page_size;
        let record = self.space(space).expect("the driver names processes that are there");
        if count == 0 {
            return Err(MapError::Empty);
        }
        if let (Share::Shared, Memory::File(FileRange { writable: false, .. })) = (share, request.memory)
            && prot.contains(Prot::WRITE)
        {
            return Err(MapError::ReadOnly);
        }
        let start = match request.at {
            Some(start) => start,
            None => {
                let anywhere = PageRange::between(PageNo(ANYWHERE / page_size), PageNo(end_page));
                record.areas.first_gap(anywhere, count).ok_or(MapError::NoRoom)?
            }
        };
        let end = start.0.checked_add(count).ok_or(MapError::Address)?;
        if start.0 == 0 || end > end_page {
            return Err(MapError::Address);
        }
        let range = PageRange { start, count };
        if !request.replace && record.areas.touch(range) {
            return Err(MapError::Overlap);
        }
        let replaced = record.areas.within(range);
        let pages = |charged: bool| {
            replaced.iter().filter(|area| area.charged || !charged).map(|area| area.range.count).sum::<u64>()
        };
        if record.pages - pages(false) + count > MAX_SPACE_PAGES {
            return Err(MapError::TooMany);
        }
        let object = matches!((share, request.memory), (Share::Shared, Memory::Anonymous));
        let wanted = if object || is_charged(share, request.memory, prot) { count } else { 0 };
        self.check_commit(wanted, pages(true))?;
        Ok(range)
    }

    /// Maps an area. Does no I/O and takes no frame; shared pages in memory get their rights at
    /// once. With `replace`, dirty pages of shared files that are in the way should have been
    /// written before ([`Self::dirty_pages`]).
    ///
    /// # Errors
    /// [`MapError`]; nothing has changed then.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn map(&mut self, space: SpaceNo, request: MapRequest) -> Result<PageNo, MapError> {
        let range = self.check_map(space, request)?;
        if request.replace {
            self.unmap(space, range);
        }
        let MapRequest { prot, share, memory, origin, .. } = request;
        let (source, most) = match (memory, share) {
            (Memory::Anonymous, Share::Private) => (Source::Zero, Prot::ALL),
            (Memory::Anonymous, Share::Shared) => {
                self.objects += 1;
                (Source::Object { object: self.objects, skew: range.start.0 as i64 }, Prot::ALL)
            }
            (Memory::File(FileRange { file, block, end, writable }), share) => {
                let skew = (range.start.0 as i64).wrapping_sub(block as i64);
                let written = share == Share::Private || writable;
                let most = if written { Prot::ALL } else { Prot::READ.with(Prot::EXECUTE) };
                (Source::File { file, skew, end }, most)
            }
        };
        let charged = is_charged(share, memory, prot);
        if charged || matches!(source, Source::Object { .. }) {
            self.charge(range.count).expect("it was checked");
        }
        let area = SpaceArea { range, prot, most, share, source, origin, charged };
        self.add_space_area(space, area);
        Ok(range.start)
    }

    /// Adds an area where none is, whose slots have been charged.
    pub(super) fn add_space_area(&mut self, space: SpaceNo, area: SpaceArea) {
        let record = self.space_mut(space);
        record.areas.insert(area);
        record.pages += area.range.count;
        if area.charged {
            record.charged += area.range.count;
        }
        self.changed(space, area.range);
        if area.source != Source::Zero {
            for page in area.range.pages() {
                if let Some(key) = area.key(page, self.config.page_size) {
                    self.attach_key(space, page, key);
                }
            }
        }
    }
}

/// Whether each page of such an area may come to need a slot of its own.
pub(super) fn is_charged(share: Share, memory: Memory, prot: Prot) -> bool {
    let written = memory == Memory::Anonymous || prot.contains(Prot::WRITE);
    share == Share::Private && written
}
