#![expect(unsafe_code, reason = "maps and unmaps a reservation")]
//! Pages from the kernel.

use crate::source::PageSource;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

/// What reservations are aligned to: huge pages.
const ALIGN: usize = 2 << 20;
/// Smaller reservations are not worth having.
const SMALLEST: usize = 1 << 30;

/// Anonymous private memory. What is reserved is inaccessible until it is used, so that
/// it costs addresses only. Dropping it unmaps it.
#[derive(Debug, Default)]
pub struct Anonymous {
    /// Of the mapping; 0 while there is none.
    len: AtomicUsize,
    base: AtomicUsize,
    usable: AtomicUsize,
}

impl Anonymous {
    /// Maps nothing yet.
    pub const fn new() -> Self {
        Self { len: AtomicUsize::new(0), base: AtomicUsize::new(0), usable: AtomicUsize::new(0) }
    }

    fn map(&self, len: usize) -> Option<(usize, usize)> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base =
            unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len + ALIGN, ProtFlags::empty(), flags) };
        let base = base.ok()?.expose_provenance();
        self.base.store(base, Ordering::Relaxed);
        self.usable.store(base.next_multiple_of(ALIGN), Ordering::Relaxed);
        self.len.store(len + ALIGN, Ordering::Release);
        Some((base.next_multiple_of(ALIGN), len))
    }
}

impl Drop for Anonymous {
    fn drop(&mut self) {
        let (base, len) = (*self.base.get_mut(), *self.len.get_mut());
        if len > 0 {
            let base: *mut u8 = ptr::with_exposed_provenance_mut(base);
            // SAFETY: whoever used the pages has been dropped before, or borrowed this.
            // Failing leaves address space unused, no more.
            let _ = unsafe { rustix::mm::munmap(base.cast(), len) };
        }
    }
}

// SAFETY: the mapping is fresh and private and reads as zeros; what it has been extended to
// is readable and writable; discarded pages read as zeros again.
unsafe impl PageSource for Anonymous {
    fn reserve(&self, max_len: usize) -> Option<(usize, usize)> {
        // Addresses may be limited (`ulimit -v`).
        let mut len = max_len;
        loop {
            if let Some(reserved) = self.map(len) {
                return Some(reserved);
            }
            len = (len / 2 / ALIGN * ALIGN >= SMALLEST).then_some(len / 2 / ALIGN * ALIGN)?;
        }
    }

    fn extend(&self, end: usize) -> bool {
        let usable = self.usable.load(Ordering::Relaxed);
        if end <= usable {
            return true;
        }
        let start: *mut u8 = ptr::with_exposed_provenance_mut(usable);
        let rights = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: within the reservation, which is the heap's; nobody has used this part.
        let extended = unsafe { rustix::mm::mprotect(start.cast(), end - usable, rights) }.is_ok();
        if extended {
            self.usable.store(end, Ordering::Relaxed);
        }
        extended
    }

    fn promise(&self, _bytes: usize) -> bool {
        true
    }

    fn renounce(&self, _bytes: usize) {}

    fn discard(&self, addr: usize, len: usize) {
        if sys::maps::dont_need(addr, len).is_err() {
            // Locked memory is not dropped.
            let start: *mut u8 = ptr::with_exposed_provenance_mut(addr);
            // SAFETY: the range is the heap's own, and nobody uses it.
            unsafe { ptr::write_bytes(start, 0, len) };
        }
    }
}
