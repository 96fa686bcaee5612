//! Pages by the range.

use crate::arena_image::{ArenaImage, ImageOptions, OpenImageError};
use crate::heap::Heap;
use crate::pages::Pages;
use crate::paging::{Paging, Range, RangeError};
use crate::resident;
use crate::save::{SaveImageError, SavedImage, save};
use ::heap::Extents;
use core::error::Error;
use core::fmt::{self, Display, Formatter};
use engine::{PAGE, Usage};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// An address range of paged memory that is handed out in whole pages.
///
/// ```
/// use outcore::Heap;
///
/// let heap = Heap::builder().budget(8 << 20).build()?;
/// let arena = heap.arena(64 << 20)?;
/// let mut pages = arena.alloc(32 << 20)?;
/// for (n, page) in pages.chunks_mut(4096).enumerate() {
///     page.fill(n as u8);
/// }
/// assert!(pages.chunks(4096).enumerate().all(|(n, page)| page[1000] == n as u8));
///
/// let usage = pages.usage(..)?;
/// assert_eq!(usage.resident + usage.parked + usage.swapped + usage.untouched, 8192);
/// pages.discard(..16 << 20)?;
/// assert_eq!((pages[0], pages[16 << 20]), (0, 0));
/// assert_eq!(pages.usage(4096..16 << 20)?.untouched, 4095);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Arena {
    pub(crate) range: Range,
    /// Pages by number, from 0.
    free: Mutex<Extents>,
}

/// What cannot be done with an arena. Nothing has been changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArenaError {
    /// No bytes were asked for.
    Empty,
    /// There are no so many addresses, or no so many of the kernel's tables.
    NoAddresses {
        /// What was asked for, in bytes.
        bytes: usize,
        /// Why not.
        cause: String,
    },
    /// No free pages in a row are as many.
    Full {
        /// What was asked for, in bytes.
        bytes: usize,
    },
    /// The store has no room to promise so much.
    NoRoom {
        /// What was asked for, in bytes.
        bytes: usize,
    },
    /// A range that does not begin and end between pages.
    NotPages {
        /// Where it begins, in bytes.
        start: usize,
        /// Where it ends.
        end: usize,
    },
    /// A range past the end of what it is of.
    OutOfRange {
        /// Where it begins, in bytes.
        start: usize,
        /// Where it ends.
        end: usize,
        /// How long that is.
        len: usize,
    },
    /// More than half of the budget would be pinned.
    TooMuchPinned {
        /// What was to be pinned, in bytes.
        bytes: usize,
    },
    /// This is a forked child, which has not the memory of its parent's heaps.
    Forked,
}

impl Arena {
    pub(crate) fn new(paging: &Arc<Paging>, len: usize) -> Result<Self, ArenaError> {
        let bytes = len;
        if bytes == 0 {
            return Err(ArenaError::Empty);
        }
        let refused = |error: RangeError| match error {
            RangeError::Forked => ArenaError::Forked,
            other => ArenaError::NoAddresses { bytes, cause: other.to_string() },
        };
        let none = ArenaError::NoAddresses { bytes, cause: "no address space is as large".to_owned() };
        let len = bytes.checked_next_multiple_of(PAGE).filter(|len| *len <= 1 << 46).ok_or(none)?;
        let range = Range::reserve(paging, len).map_err(refused)?;
        range.make_usable(range.addr(), len).map_err(refused)?;
        Ok(Self { range, free: Mutex::new(Extents::new(0, len / PAGE)) })
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Never: it has at least a page.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The address of its first byte.
    pub fn addr(&self) -> usize {
        self.range.addr()
    }

    /// Pages in a row for `len` bytes, all zero. They go back when they are dropped.
    ///
    /// # Errors
    /// [`ArenaError::Empty`], [`ArenaError::Full`], [`ArenaError::NoRoom`] or
    /// [`ArenaError::Forked`].
    pub fn alloc(&self, len: usize) -> Result<Pages<'_>, ArenaError> {
        if len == 0 {
            return Err(ArenaError::Empty);
        }
        let full = ArenaError::Full { bytes: len };
        let Some(bytes) = len.checked_next_multiple_of(PAGE) else { return Err(full) };
        let paging = self.range.paging();
        if !paging.is_here() {
            return Err(ArenaError::Forked);
        }
        if !paging.promise(bytes) {
            return Err(ArenaError::NoRoom { bytes: len });
        }
        match self.with_free(|free| free.take(bytes / PAGE, 1)) {
            Some(first) => Ok(Pages::new(self, self.addr() + first * PAGE, bytes)),
            None => {
                paging.renounce(bytes);
                Err(full)
            }
        }
    }

    /// Takes pages back, whose contents are dropped.
    pub(crate) fn give_back(&self, addr: usize, len: usize) {
        self.range.discard(addr, len);
        if self.range.paging().is_here() {
            self.range.paging().renounce(len);
            self.with_free(|free| free.give((addr - self.addr()) / PAGE, len / PAGE));
        }
    }

    /// Saves all its pages as an image at `path`, from which [`Self::open`] makes an arena. Pages that
    /// are zero take no room, and those that are alike take it once. What is at `path` is replaced when
    /// the new image is on the disk, as a whole or not at all, wherever that is interrupted.
    ///
    /// What other threads write meanwhile is in the image or not, word by word: who wants an image
    /// of one instant keeps them from writing. Pages that are out are brought in for it, in order.
    ///
    /// # Errors
    /// See [`SaveImageError`]; what was at `path` is still there then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<SavedImage, SaveImageError> {
        self.save_with(path, |_, _| {})
    }

    /// The same; `progress` is told now and then how many bytes have been seen to, and of how many.
    ///
    /// # Errors
    /// See [`SaveImageError`].
    pub fn save_with(
        &self,
        path: impl AsRef<Path>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<SavedImage, SaveImageError> {
        let paging = self.range.paging();
        if !paging.is_here() {
            return Err(SaveImageError::Forked);
        }
        let (addr, path) = (self.addr(), path.as_ref());
        resident::scope(|| {
            let pages_of = |first: u64, count: u64| {
                let (start, len) = (addr + first as usize * PAGE, count as usize * PAGE);
                let (mut pages, mut lost) = (Vec::new(), None);
                paging.instance().for_each_page(start, len, |page, is_there| {
                    pages.push(first + page);
                    lost = lost.or((!is_there).then_some(first + page));
                });
                lost.map_or(Ok(pages), |page| Err(SaveImageError::Lost { page }))
            };
            save(path, addr, (self.len() / PAGE) as u64, pages_of, &mut progress)
        })
    }

    /// Opens the image at `path`: the same as [`Heap::open_image`].
    ///
    /// # Errors
    /// See [`OpenImageError`].
    pub fn open(
        heap: &Heap,
        path: impl AsRef<Path>,
        options: ImageOptions,
    ) -> Result<ArenaImage, OpenImageError> {
        heap.open_image(path, options)
    }

    fn with_free<R>(&self, work: impl FnOnce(&mut Extents) -> R) -> R {
        resident::scope(|| work(&mut self.free.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Where all its pages are, of those that are handed out and those that are not. Who
    /// fills memory in order is given zeroed pages beyond it as well. In a forked child they
    /// are nowhere.
    pub fn usage(&self) -> Usage {
        if !self.range.paging().is_here() {
            return Usage::default();
        }
        resident::scope(|| self.range.paging().instance().usage(self.addr(), self.len()))
    }
}

impl Display for ArenaError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "0 bytes were asked for: ask for at least 1"),
            Self::NoAddresses { bytes, cause } => write!(f, "there is no range of {bytes} bytes: {cause}"),
            Self::Full { bytes } => write!(f, "the arena has no {bytes} bytes of free pages in a row"),
            Self::NoRoom { bytes } => {
                write!(f, "the store has no room for {bytes} bytes more: give it more, or free some memory")
            }
            Self::NotPages { start, end } => {
                write!(f, "the bytes {start} to {end} are not whole pages: give multiples of {PAGE}")
            }
            Self::OutOfRange { start, end, len } => {
                write!(f, "the bytes {start} to {end} are not within {len} bytes")
            }
            Self::TooMuchPinned { bytes } => {
                write!(f, "with {bytes} bytes more, over half of the budget would be pinned")
            }
            Self::Forked => Display::fmt(&RangeError::Forked, f),
        }
    }
}

impl Error for ArenaError {}
