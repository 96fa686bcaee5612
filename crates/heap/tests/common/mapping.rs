//! A page source for tests, which counts.

use heap::PageSource;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

const ALIGN: usize = 2 << 20;

/// Pages of one anonymous mapping of `len` bytes.
#[derive(Default)]
pub(crate) struct Mapping {
    pub(crate) len: usize,
    pub(crate) promised: AtomicUsize,
    pub(crate) most: AtomicUsize,
    pub(crate) base: AtomicUsize,
    /// Of these, what [`PageSource::extend`] makes usable; 0: all.
    pub(crate) usable: AtomicUsize,
    /// Bytes of promises that the heap may hold on to.
    pub(crate) spare: usize,
    pub(crate) scarce: AtomicBool,
    /// Calls of [`PageSource::discard`].
    pub(crate) discards: AtomicUsize,
}

impl Mapping {
    pub(crate) fn new(len: usize) -> Self {
        Self { len, most: AtomicUsize::new(usize::MAX), spare: 8 << 20, ..Self::default() }
    }
}

// SAFETY: a fresh, private mapping that is never unmapped; MADV_DONTNEED makes it zero.
unsafe impl PageSource for Mapping {
    fn reserve(&self, max_len: usize) -> Option<(usize, usize)> {
        let len = self.len.min(max_len);
        let (rights, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: a new mapping.
        let addr =
            unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), len + ALIGN, rights, flags) }.ok()?;
        let base = addr.expose_provenance().next_multiple_of(ALIGN);
        self.base.store(base, Relaxed);
        Some((base, len))
    }

    fn extend(&self, end: usize) -> bool {
        let (base, usable) = (self.base.load(Relaxed), self.usable.load(Relaxed));
        assert!(end > base && end <= base + self.len);
        usable == 0 || end <= base + usable
    }

    fn promise(&self, bytes: usize) -> bool {
        let (before, most) = (self.promised.fetch_add(bytes, Relaxed), self.most.load(Relaxed));
        let kept = before.checked_add(bytes).is_some_and(|after| after <= most);
        if !kept {
            self.promised.fetch_sub(bytes, Relaxed);
        }
        kept
    }

    fn renounce(&self, bytes: usize) {
        assert!(self.promised.fetch_sub(bytes, Relaxed) >= bytes);
    }

    fn spare(&self) -> usize {
        self.spare
    }

    fn is_scarce(&self) -> bool {
        self.scarce.load(Relaxed)
    }

    fn discard(&self, addr: usize, len: usize) {
        self.discards.fetch_add(1, Relaxed);
        assert!(addr.is_multiple_of(4096) && len.is_multiple_of(4096) && len > 0);
        // SAFETY: the heap's own pages, of which nobody uses the contents.
        unsafe { rustix::mm::madvise(addr as *mut _, len, Advice::LinuxDontNeed) }.expect("madvise");
    }
}
