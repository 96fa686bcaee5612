#![expect(unsafe_code, reason = "maps, protects and unmaps reservations")]
//! One pager, and the address ranges that it pages.

use crate::builder::BuildError;
use crate::fork::{self, Listed, MOST_RANGES};
use crate::resident;
use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};
use engine::{Instance, PAGE, Rights, Settings};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use std::sync::Arc;

/// What reservations are aligned to: huge pages.
const ALIGN: usize = 2 << 20;
/// Each may leave a mapping of its own behind, of which the kernel allows 65 530.
const MOST_RELOCATIONS: u32 = 2048;

/// A pager of its own, until the last range that it pages is dropped.
#[derive(Debug)]
pub(crate) struct Paging {
    instance: ManuallyDrop<Instance>,
    generation: u32,
}

/// Why there is no range, or why it cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RangeError {
    /// The kernel refuses.
    Kernel(Errno),
    /// There are [`MOST_RANGES`].
    TooMany,
    /// This is a forked child, which has no pager.
    Forked,
}

impl Paging {
    pub(crate) fn start(settings: Settings) -> Result<Arc<Self>, BuildError> {
        resident::scope(|| {
            if !fork::watch() {
                return Err(BuildError::Fork);
            }
            let generation = fork::generation();
            let instance = Instance::start(settings, resident::for_ever).map_err(BuildError::Open)?;
            Ok(Arc::new(Self { instance: ManuallyDrop::new(instance), generation }))
        })
    }

    /// Whether the pager runs in this process.
    pub(crate) fn is_here(&self) -> bool {
        self.generation == fork::generation()
    }

    pub(crate) fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Promises bytes that will be touched or not; false if that cannot be kept.
    pub(crate) fn promise(&self, bytes: usize) -> bool {
        self.is_here() && resident::scope(|| self.instance.promise(bytes as u64))
    }

    pub(crate) fn renounce(&self, bytes: usize) {
        if self.is_here() {
            resident::scope(|| self.instance.renounce(bytes as u64));
        }
    }
}

impl Drop for Paging {
    fn drop(&mut self) {
        if self.is_here() {
            // SAFETY: dropped once. Its ranges hold it, so they are gone.
            resident::scope(|| unsafe { ManuallyDrop::drop(&mut self.instance) });
        }
    }
}

/// A reservation of addresses; what has been made usable of it is paged. Dropping it
/// unmaps it.
#[derive(Debug)]
pub(crate) struct Range {
    paging: Arc<Paging>,
    /// Of the mapping, with what is left over by alignment.
    mapping: (usize, usize),
    addr: usize,
    len: usize,
    relocations: AtomicU32,
    _listed: Listed,
}

impl Range {
    /// `len` bytes, a multiple of the page size, at a multiple of 2 MiB; not usable yet.
    pub(crate) fn reserve(paging: &Arc<Paging>, len: usize) -> Result<Self, RangeError> {
        if !paging.is_here() {
            return Err(RangeError::Forked);
        }
        let whole = len.checked_add(ALIGN).ok_or(RangeError::Kernel(Errno::NOMEM))?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let mapped = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), whole, ProtFlags::empty(), flags) };
        let mapped = mapped.map_err(RangeError::Kernel)?.expose_provenance();
        let addr = mapped.next_multiple_of(ALIGN);
        let listed = resident::scope(|| Listed::new(addr, len));
        let prepared = match listed {
            // SAFETY: the mapping just made, in which nothing is yet.
            Some(listed) => unsafe {
                rustix::mm::madvise(at(mapped), whole, Advice::LinuxDontFork)
                    .map(|()| listed)
                    .map_err(RangeError::Kernel)
            },
            None => Err(RangeError::TooMany),
        };
        match prepared {
            Ok(listed) => {
                let (paging, mapping) = (Arc::clone(paging), (mapped, whole));
                Ok(Self { paging, mapping, addr, len, relocations: AtomicU32::new(0), _listed: listed })
            }
            Err(error) => {
                // SAFETY: the mapping just made, which nobody uses. Failing leaves
                // addresses unused, no more.
                let _ = unsafe { rustix::mm::munmap(at(mapped), whole) };
                Err(error)
            }
        }
    }

    pub(crate) fn paging(&self) -> &Arc<Paging> {
        &self.paging
    }

    pub(crate) fn addr(&self) -> usize {
        self.addr
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Makes pages usable that were not: they read as zeros, and are paged.
    pub(crate) fn make_usable(&self, addr: usize, len: usize) -> Result<(), RangeError> {
        debug_assert!(addr >= self.addr && addr + len <= self.addr + self.len);
        if !self.paging.is_here() {
            return Err(RangeError::Forked);
        }
        let rights = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: of the reservation, and not in use before.
        unsafe { rustix::mm::mprotect(at(addr), len, rights) }.map_err(RangeError::Kernel)?;
        let managed = resident::scope(|| {
            let space = self.paging.instance.address_space();
            space.mapped(addr, len, Rights::ReadWrite);
            space.manages(addr, len)
        });
        if managed {
            return Ok(());
        }
        // Registering failed, which it does for want of kernel memory.
        // SAFETY: as above; nobody knows of these pages.
        let _ = unsafe { rustix::mm::mprotect(at(addr), len, MprotectFlags::empty()) };
        Err(RangeError::Kernel(Errno::NOMEM))
    }

    /// Makes all of it stacks of `stride` bytes, guards included.
    pub(crate) fn make_stacks(&self, stride: usize) -> Result<(), RangeError> {
        if !self.paging.is_here() {
            return Err(RangeError::Forked);
        }
        let rights = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: of the reservation, and not in use before.
        unsafe { rustix::mm::mprotect(at(self.addr), self.len, rights) }.map_err(RangeError::Kernel)?;
        let made =
            resident::scope(|| self.paging.instance.address_space().stacks(self.addr, self.len, stride));
        if made { Ok(()) } else { Err(RangeError::Kernel(Errno::NOMEM)) }
    }

    /// Moves usable pages, bytes and all, from one place of the range to another; what was at
    /// `to` is gone, and `from` reads as zeros. False, and nothing has changed, if not.
    pub(crate) fn relocate(&self, from: usize, to: usize, len: usize) -> bool {
        if !self.paging.is_here() || self.relocations.fetch_add(1, Ordering::Relaxed) >= MOST_RELOCATIONS {
            self.relocations.store(MOST_RELOCATIONS, Ordering::Relaxed);
            return false;
        }
        resident::scope(|| {
            let space = self.paging.instance.address_space();
            let changes = [space.changing(from, len), space.changing(to, len)];
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
            // SAFETY: both are of the reservation; nobody uses what is at `to`, and whoever
            // uses what is at `from` waits for the answer.
            let moved = unsafe { libc::syscall(libc::SYS_mremap, from, len, len, flags, to) };
            drop(changes);
            let moved = moved as usize == to;
            if moved {
                space.moved(from, to, len);
                space.mapped(from, len, Rights::ReadWrite);
            }
            moved
        })
    }

    /// Whether the page at `addr` is mapped in memory.
    pub(crate) fn is_resident(&self, addr: usize) -> bool {
        let mut resident = 0u8;
        // SAFETY: one page of the reservation, and a place for one answer.
        let answered = unsafe { libc::mincore(at(addr), PAGE, &mut resident) };
        answered == 0 && resident & 1 != 0
    }

    /// Drops the contents of usable pages, which read as zeros then.
    pub(crate) fn discard(&self, addr: usize, len: usize) {
        if !self.paging.is_here() {
            return;
        }
        if resident::scope(|| self.paging.instance.discard(addr, len)).is_err() {
            // Locked memory is not dropped.
            let start: *mut u8 = ptr::with_exposed_provenance_mut(addr);
            // SAFETY: the caller's to give up, and usable.
            unsafe { ptr::write_bytes(start, 0, len) };
        }
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        if !self.paging.is_here() {
            return;
        }
        resident::scope(|| {
            let space = self.paging.instance.address_space();
            let change = space.changing(self.addr, self.len);
            let (start, len) = self.mapping;
            // SAFETY: whoever used the pages has been dropped before, or borrowed this.
            // Failing leaves addresses unused, no more: nobody else gets them.
            let _ = unsafe { rustix::mm::munmap(at(start), len) };
            drop(change);
        });
    }
}

fn at(addr: usize) -> *mut c_void {
    ptr::with_exposed_provenance_mut(addr)
}

impl core::fmt::Display for RangeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Kernel(error) => write!(f, "the kernel gives no address space: {error}"),
            Self::TooMany => write!(f, "{MOST_RANGES} ranges are paged in this process: drop some"),
            Self::Forked => {
                write!(f, "a forked child has no pager, and not the paged memory: make a heap of its own")
            }
        }
    }
}
