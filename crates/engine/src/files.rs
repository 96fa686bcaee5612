//! Mapped files, as the pager thread has them.
//!
//! Pages of files have homes, which the core numbers as it does slots: from the number of
//! slots on. There are two kinds of maps:
//!
//! ```text
//! private    program's range = core's pages, anonymous ── read, moved, evicted as any other;
//!                                                         what is dirty goes to the store
//! shared     view ─┐                                   ┌─ file
//!            view ─┴▶ page of shared memory = core's page ┴ (past the page cache)
//! ```
//!
//! The pages of a file that is mapped shared are in shared memory, one for all views of the
//! file, which the pager thread has mapped as well: in the *window*, of which the core has
//! the page numbers. Nothing is registered there. Page k of the window, and home k past the
//! slots, are each other's. Reads and writes go through the window; views are registered with
//! a userfaultfd of their own that announces no changes, so that the pager thread can take
//! pages out of them without waiting for itself.

mod answer;
mod calls;
mod clerk;
mod desk;
mod directory;
mod error;
mod flush;
mod leases;
mod link;
mod map;
mod mapped;
mod numbers;
mod opened;
mod own;
mod populate;
mod request;
mod source;
mod stuck;
mod ticket;
mod transfer;
mod views;
mod write_back;

pub(crate) use clerk::start as start_clerk;
pub use desk::{Call, Supply};
pub(crate) use directory::Directory;
pub use error::MapError;
pub(crate) use flush::FlushId;
pub(crate) use leases::{Leases, Returning};
pub(crate) use link::Link;
pub use map::{Access, FileMap, FileSpec, ProgramSpec};
pub use mapped::ProgramMap;
pub(crate) use request::FileRequest;

use crate::ops::MAX_OP_PAGES;
use crate::pool::Place;
use calls::Calls;
use flush::Flush;
use pager::{PageNo, PageRange, SlotNo};
use source::Sources;
use std::collections::VecDeque;
use stuck::Stuck;
use sys::drops::Drops;
use sys::uffd::{Features, Source as UffdSource, Uffd};
use views::Views;
use write_back::WriteBack;

/// Everything that the pager thread has about files.
#[derive(Debug)]
pub(crate) struct Files {
    /// Where descriptors come from; none in engines that have no files.
    pub(crate) link: Option<Link>,
    uffd_source: UffdSource,
    /// Registered on views; none where the kernel has not what they need.
    uffd: Option<Uffd>,
    /// Homes are numbered from here on; there are none in engines that have no files.
    slots: u32,
    /// Page 0 of the window, once there is one, and how many it has.
    window: PageRange,
    sources: Sources,
    views: Views,
    flushes: Vec<Flush>,
    flushes_begun: u32,
    /// What is to be brought in when there is nothing better to do.
    write_back: WriteBack,
    /// Scratch: buffers that are copied from, and what is to be parked; capacity is fixed.
    emptied: Vec<Place>,
    pub(crate) parking: Vec<PageRange>,
    drops: Drops,
    populates: VecDeque<PageRange>,
    /// What the program's own code is asked for.
    pub(crate) calls: Calls,
    pub(crate) stuck: Stuck,
    /// The program's own maps of files; none where these stay with the kernel.
    pub(crate) leases: Option<Leases>,
    /// The digest of a page of zeros.
    zero: u128,
}

/// Ranges that are taken out of views with one call.
const PARKED_AT_ONCE: usize = 64;

impl Files {
    pub(crate) fn new(uffd_source: UffdSource, zero: u128) -> Self {
        Self {
            link: None,
            uffd_source,
            uffd: None,
            slots: u32::MAX,
            window: PageRange { start: PageNo(0), count: 0 },
            sources: Sources::default(),
            views: Views::default(),
            flushes: Vec::new(),
            flushes_begun: 0,
            write_back: WriteBack::default(),
            emptied: Vec::new(),
            parking: Vec::new(),
            drops: Drops::default(),
            populates: VecDeque::new(),
            calls: Calls::default(),
            stuck: Stuck::default(),
            leases: None,
            zero,
        }
    }

    /// Whether there is no file, which costs nothing then.
    pub(crate) fn are_none(&self) -> bool {
        self.window.count == 0
    }

    /// From now on there may be files: their descriptors come by `link`, homes are numbered
    /// from `slots` on. Gets the userfaultfd of views, where the kernel has what they need.
    pub(crate) fn begin(&mut self, link: Link, slots: u32) {
        self.link = Some(link);
        self.slots = slots;
        let want = Features::MISSING_SHMEM | Features::MINOR_SHMEM | Features::POISON | Features::THREAD_ID;
        let tracking = want
            | Features::WP_ASYNC
            | Features::WP_UNPOPULATED
            | Features::WP_HUGETLBFS_SHMEM
            | Features::PAGEFAULT_FLAG_WP;
        if let Ok((uffd, _)) = Uffd::open(self.uffd_source, tracking) {
            self.uffd = Some(uffd);
            self.write_back.begin();
        } else {
            self.uffd = Uffd::open(self.uffd_source, want).ok().map(|(uffd, _)| uffd);
        }
        self.emptied.reserve(MAX_OP_PAGES);
        self.parking.reserve(PARKED_AT_ONCE);
        self.drops.begin(PARKED_AT_ONCE);
    }

    /// The same for files that the program maps itself, in the engine of a process.
    pub(crate) fn begin_leases(&mut self, leases: Leases, slots: u32) {
        self.leases = Some(leases);
        self.slots = slots;
        self.emptied.reserve(MAX_OP_PAGES);
    }

    pub(crate) fn zero_digest(&self) -> u128 {
        self.zero
    }

    pub(crate) fn is_home(&self, slot: SlotNo) -> bool {
        slot.0 >= self.slots
    }

    /// The number of a home among all.
    pub(crate) fn number(&self, home: SlotNo) -> u32 {
        home.0 - self.slots
    }

    /// Whether the page is one of shared memory.
    pub(crate) fn is_shared(&self, page: PageNo) -> bool {
        self.window.contains(page)
    }

    /// The window's number of a page of shared memory.
    pub(crate) fn in_window(&self, page: PageNo) -> u32 {
        (page.0 - self.window.start.0) as u32
    }

    pub(crate) fn uffd(&self) -> Option<&Uffd> {
        self.uffd.as_ref()
    }
}
