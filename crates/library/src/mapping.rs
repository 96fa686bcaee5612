#![expect(unsafe_code, reason = "maps and unmaps pages of the kernel's")]
//! Mappings in pages that are handed out in any number and given back in parts.

use crate::paging::Paging;
use crate::source::Paged;
use ::heap::{Extents, PageSource as _};
use core::ffi::c_void;
use core::ptr;
use engine::PAGE;
use rustix::mm::{MapFlags, ProtFlags};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whose pages a mapping has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kernel,
    Paged,
}

/// Mappings by address: length, and whose.
#[derive(Debug, Default)]
pub(crate) struct Mappings {
    mapped: BTreeMap<usize, (usize, Kind)>,
    paged: Option<Region>,
}

#[derive(Debug)]
struct Region {
    source: Paged,
    /// Pages by number; none before the first mapping.
    free: Option<Extents>,
}

/// The bytes are not whole pages of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotMapped;

impl Mappings {
    /// None yet, and no pager.
    pub(crate) const fn new() -> Self {
        Self { mapped: BTreeMap::new(), paged: None }
    }

    /// From now on mappings can be paged; `room` bytes at most hold data.
    pub(crate) fn begin(&mut self, paging: &Arc<Paging>, room: u64) {
        self.paged = Some(Region { source: Paged::new(paging, room), free: None });
    }

    /// Zeroed pages of the kernel's.
    pub(crate) fn map(&mut self, len: usize) -> Option<usize> {
        let len = len.checked_next_multiple_of(PAGE)?;
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let mapped = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, rights, MapFlags::PRIVATE) };
        let addr = mapped.ok()?.expose_provenance();
        self.mapped.insert(addr, (len, Kind::Kernel));
        Some(addr)
    }

    /// Zeroed pages that are paged.
    pub(crate) fn map_paged(&mut self, len: usize) -> Option<usize> {
        let len = len.checked_next_multiple_of(PAGE)?;
        let addr = self.paged.as_mut()?.take(len)?;
        self.mapped.insert(addr, (len, Kind::Paged));
        Some(addr)
    }

    /// Gives whole pages of one mapping back.
    pub(crate) fn unmap(&mut self, addr: usize, len: usize) -> Result<(), NotMapped> {
        let len = len.checked_next_multiple_of(PAGE).filter(|len| *len > 0).ok_or(NotMapped)?;
        let end = addr.checked_add(len).ok_or(NotMapped)?;
        let (start, (whole, kind)) = self
            .mapped
            .range(..=addr)
            .next_back()
            .map(|(start, mapping)| (*start, *mapping))
            .ok_or(NotMapped)?;
        if end > start + whole || !addr.is_multiple_of(PAGE) {
            return Err(NotMapped);
        }
        match (kind, &mut self.paged) {
            (Kind::Paged, Some(region)) => region.give(addr, len),
            (Kind::Paged, None) => return Err(NotMapped),
            (Kind::Kernel, _) => {
                let start: *mut c_void = ptr::with_exposed_provenance_mut(addr);
                // SAFETY: of a mapping made above, and the caller's to give up.
                unsafe { rustix::mm::munmap(start, len) }.map_err(|_| NotMapped)?;
            }
        }
        self.mapped.remove(&start);
        for (from, to) in [(start, addr), (end, start + whole)] {
            if to > from {
                self.mapped.insert(from, (to - from, kind));
            }
        }
        Ok(())
    }

    /// Bytes of mappings that are paged.
    pub(crate) fn paged_bytes(&self) -> usize {
        self.mapped.values().filter(|(_, kind)| *kind == Kind::Paged).map(|(len, _)| len).sum()
    }
}

impl Region {
    fn take(&mut self, len: usize) -> Option<usize> {
        if self.free.is_none() {
            let (base, len) = self.source.reserve(usize::MAX)?;
            self.free = Some(Extents::new(base / PAGE, (base + len) / PAGE));
        }
        if !self.source.promise(len) {
            return None;
        }
        let taken = self.free.as_mut().and_then(|free| {
            let first = free.take(len / PAGE, 1)?;
            let usable = self.source.extend(first * PAGE + len);
            if !usable {
                free.give(first, len / PAGE);
            }
            usable.then_some(first * PAGE)
        });
        if taken.is_none() {
            self.source.renounce(len);
        }
        taken
    }

    fn give(&mut self, addr: usize, len: usize) {
        self.source.discard(addr, len);
        self.source.renounce(len);
        self.free.iter_mut().for_each(|free| free.give(addr / PAGE, len / PAGE));
    }
}
