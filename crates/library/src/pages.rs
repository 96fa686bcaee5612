#![expect(unsafe_code, reason = "lends paged memory as bytes")]
//! Pages of an arena that are in use.

use crate::arena::{Arena, ArenaError};
use crate::bounds::{Bounds, bounds};
use crate::resident;
use core::fmt::{self, Debug, Formatter};
use core::ops::{Deref, DerefMut, RangeBounds};
use core::ptr;
use engine::{PAGE, Usage};

/// What the program is going to do with some pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// They will be used soon: they are brought in, in order, while the caller waits. What
    /// the budget does not hold leaves again.
    WillNeed,
    /// They will not be used for long: those in memory are the next to leave.
    Cold,
}

/// Pages in a row, as bytes. Dropping them gives them back to their arena.
pub struct Pages<'a> {
    arena: &'a Arena,
    addr: usize,
    len: usize,
    is_pinned: bool,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(arena: &'a Arena, addr: usize, len: usize) -> Self {
        Self { arena, addr, len, is_pinned: false }
    }

    /// Where they begin.
    pub fn addr(&self) -> usize {
        self.addr
    }

    /// Address and length of a part, which is given in bytes and has whole pages.
    fn part(&self, range: impl RangeBounds<usize>) -> Result<(usize, usize), ArenaError> {
        let Bounds { start, end } = bounds(range, self.len);
        if start > end || end > self.len {
            return Err(ArenaError::OutOfRange { start, end, len: self.len });
        }
        if !start.is_multiple_of(PAGE) || !end.is_multiple_of(PAGE) {
            return Err(ArenaError::NotPages { start, end });
        }
        if !self.arena.range.paging().is_here() {
            return Err(ArenaError::Forked);
        }
        Ok((self.addr + start, end - start))
    }

    /// Drops the contents of a part, in memory and in the store; it reads as zeros then.
    ///
    /// # Errors
    /// [`ArenaError::NotPages`], [`ArenaError::OutOfRange`] or [`ArenaError::Forked`].
    pub fn discard(&mut self, range: impl RangeBounds<usize>) -> Result<(), ArenaError> {
        let (addr, len) = self.part(range)?;
        if len > 0 {
            self.arena.range.discard(addr, len);
        }
        Ok(())
    }

    /// Says what a part will be used for. The bytes stay what they are.
    ///
    /// # Errors
    /// As [`Self::discard`].
    pub fn advise(&self, range: impl RangeBounds<usize>, advice: Advice) -> Result<(), ArenaError> {
        let (addr, len) = self.part(range)?;
        match advice {
            Advice::WillNeed => touch(addr, len),
            Advice::Cold if len > 0 => {
                resident::scope(|| self.arena.range.paging().instance().address_space().cool(addr, len));
            }
            Advice::Cold => {}
        }
        Ok(())
    }

    /// Brings a part in and keeps it in memory, until it is [let go](Self::unpin).
    ///
    /// # Errors
    /// [`ArenaError::TooMuchPinned`] if more than half of the budget would be pinned, with
    /// what other pages of the heap are; else as [`Self::discard`].
    pub fn pin(&mut self, range: impl RangeBounds<usize>) -> Result<(), ArenaError> {
        let (addr, len) = self.part(range)?;
        if len == 0 {
            return Ok(());
        }
        let pinned = self.set_pinned(addr, len, true);
        if !pinned {
            return Err(ArenaError::TooMuchPinned { bytes: len });
        }
        self.is_pinned = true;
        touch(addr, len);
        Ok(())
    }

    /// Lets a part go that was pinned, or was not.
    ///
    /// # Errors
    /// As [`Self::discard`].
    pub fn unpin(&mut self, range: impl RangeBounds<usize>) -> Result<(), ArenaError> {
        let (addr, len) = self.part(range)?;
        if len > 0 {
            self.set_pinned(addr, len, false);
        }
        Ok(())
    }

    fn set_pinned(&self, addr: usize, len: usize, pinned: bool) -> bool {
        resident::scope(|| self.arena.range.paging().instance().address_space().pin(addr, len, pinned))
    }

    /// Where a part's pages are. Brings nothing in.
    ///
    /// # Errors
    /// As [`Self::discard`].
    pub fn usage(&self, range: impl RangeBounds<usize>) -> Result<Usage, ArenaError> {
        let (addr, len) = self.part(range)?;
        Ok(if len == 0 { Usage::default() } else { self.arena.range.paging().instance().usage(addr, len) })
    }
}

/// Has all pages there in memory once, in order.
fn touch(addr: usize, len: usize) {
    for page in (addr..addr + len).step_by(PAGE) {
        let byte: *const u8 = ptr::with_exposed_provenance(page);
        // SAFETY: the pages are lent, and readable.
        unsafe { byte.read_volatile() };
    }
}

impl Deref for Pages<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the arena lends the pages to nobody else; all bytes are valid, and come
        // back when they are touched.
        unsafe { core::slice::from_raw_parts(ptr::with_exposed_provenance(self.addr), self.len) }
    }
}

impl DerefMut for Pages<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and writable; they are borrowed from this for as long.
        unsafe { core::slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut(self.addr), self.len) }
    }
}

impl Debug for Pages<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({:#x}..{:#x})", self.addr, self.addr + self.len)
    }
}

impl Drop for Pages<'_> {
    fn drop(&mut self) {
        if self.is_pinned && self.arena.range.paging().is_here() {
            self.set_pinned(self.addr, self.len, false);
        }
        self.arena.give_back(self.addr, self.len);
    }
}
