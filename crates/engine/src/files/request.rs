//! What program threads ask of the pager thread about files.

use crate::files::desk::{Desk, Staffed};
use crate::files::ticket::Ticket;
use pager::{PageRange, Pattern, Sharing, SlotNo};
use std::sync::Arc;
use sys::views::Rights;

/// A part of a file that pages are at home in. Its descriptors come by the link, if it has any.
#[derive(Clone, Debug)]
pub(crate) struct NewSource {
    pub(crate) first: SlotNo,
    /// The core's pages: of the window if they are shared, else fresh private ones.
    pub(crate) pages: PageRange,
    pub(crate) offset: u64,
    /// Where the file ends.
    pub(crate) end: u64,
    pub(crate) sharing: Sharing,
    /// Who supplies the pages, in place of a file.
    pub(crate) program: Option<Arc<Staffed>>,
}

/// Addresses of the program's at which pages of the window are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ViewPart {
    pub(crate) addr: usize,
    pub(crate) pages: PageRange,
    pub(crate) is_writable: bool,
}

/// A map that the program has just made by itself, which may be paged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewLease {
    /// The thread in whose table the descriptor is.
    pub(crate) thread: i32,
    /// The descriptor that was mapped, and the device and number of its file.
    pub(crate) descriptor: i32,
    pub(crate) file: (u64, u64),
    pub(crate) pages: PageRange,
    pub(crate) offset: u64,
    /// Where the same is mapped once more.
    pub(crate) spare: usize,
    /// What the program may do with it.
    pub(crate) rights: Rights,
}

/// See the variants.
#[derive(Debug)]
pub(crate) enum FileRequest {
    /// The window is this.
    Window(PageRange),
    /// Pages are at home in a file from now on.
    Source(NewSource),
    /// What was read-only may be written from now on; descriptors come by the link.
    Writable(SlotNo),
    /// The file of a source has become longer.
    Grow(SlotNo, u64),
    /// Show pages there, of which nothing has been touched.
    View(ViewPart),
    /// No longer.
    NoView(usize),
    /// Write what is dirty.
    Flush(PageRange, Ticket),
    /// Nothing is mapped any more that is at home there: forget it.
    End(SlotNo, Ticket),
    /// Bring in what is not in memory, as long as there is room.
    Populate(Vec<PageRange>),
    /// Calls of a desk have come back.
    Supplied(Arc<Desk>),
    /// No call is made any more for what is at home there, and those under way have failed.
    Cancel(SlotNo),
    /// How pages will be used.
    Pattern(PageRange, Pattern),
    /// Pages that leave next.
    Cool(PageRange),
    /// Page a map of the program's, if a lease can be had.
    Lease(NewLease),
    /// Give maps that have pages here back to the kernel. Who asks has locked the address space until the
    /// ticket ends.
    Return(PageRange, Ticket),
}
