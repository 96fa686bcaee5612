#![expect(unsafe_code, reason = "an allocator")]
//! The resident meta-allocator: where Outcore keeps what it knows about memory.
//!
//! It maps with raw system calls, never through a name that the preload library
//! exports, and what it gives out is never paged. Small sizes come from free lists of
//! power-of-two blocks; large ones are mappings of their own. What is asked zeroed is
//! cleared only if it was used before, so that large tables, and small ones that are
//! new, are resident only where they are touched.
//!
//! There are two sets of free lists: one for the thread that serves faults, and one for
//! all others. A thread that forks holds the lock of the second over the fork, so that
//! the child has it whole; the fork waits for the first thread, which must not wait for
//! that lock. Blocks may be freed to either set.

use crate::lock::Lock;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{self, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering};
use rustix::mm::{MapFlags, MremapFlags, ProtFlags};

const SMALLEST: usize = 16;
/// Sizes of more than half of this are mapped on their own.
const LARGE: usize = 64 << 10;
const CLASSES: usize = (LARGE / SMALLEST).ilog2() as usize;
const CHUNK: usize = 1 << 20;
const PAGE: usize = 4096;

struct Lists {
    heads: [*mut u8; CLASSES],
    chunk: usize,
    chunk_end: usize,
}

/// Free lists and their lock.
struct Set {
    lock: Lock,
    lists: UnsafeCell<Lists>,
}

impl Set {
    const fn new() -> Self {
        let lists = Lists { heads: [null_mut(); CLASSES], chunk: 0, chunk_end: 0 };
        Self { lock: Lock::new(), lists: UnsafeCell::new(lists) }
    }
}

/// The allocator. One per library, as its `#[global_allocator]`.
pub struct MetaAlloc {
    server: Set,
    others: Set,
    is_server: fn() -> bool,
    mapped: AtomicUsize,
}

// SAFETY: the lists are used under their lock only.
unsafe impl Sync for MetaAlloc {}

impl core::fmt::Debug for MetaAlloc {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "MetaAlloc({} bytes mapped)", self.mapped_bytes())
    }
}

/// The free list of a layout; none for large ones.
fn class_of(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(SMALLEST);
    (size <= LARGE / 2).then(|| (size.next_power_of_two() / SMALLEST).ilog2() as usize)
}

fn map(len: usize) -> *mut u8 {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping.
    let mapped =
        unsafe { rustix::mm::mmap_anonymous(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags) };
    mapped.map_or(null_mut(), |addr| addr.cast())
}

impl MetaAlloc {
    /// An allocator that holds nothing yet. `is_server` tells whether the calling thread
    /// is the one that forks wait for; it must not allocate.
    pub const fn new(is_server: fn() -> bool) -> Self {
        Self { server: Set::new(), others: Set::new(), is_server, mapped: AtomicUsize::new(0) }
    }

    fn set(&self) -> &Set {
        if (self.is_server)() { &self.server } else { &self.others }
    }

    /// Bytes mapped; fewer are resident.
    pub fn mapped_bytes(&self) -> usize {
        self.mapped.load(Ordering::Relaxed)
    }

    /// Keeps every other thread out but the one that serves faults, over a fork.
    pub fn lock_for_fork(&self) {
        self.others.lock.lock();
    }

    /// Ends [`Self::lock_for_fork`] in the parent.
    pub fn unlock_after_fork(&self) {
        self.others.lock.unlock();
    }

    /// Ends [`Self::lock_for_fork`] in the child, where there is no thread that serves
    /// faults. It may have been in the middle of an allocation: its lists are forgotten.
    pub fn unlock_in_child(&self) {
        // SAFETY: the child has one thread, and it is not the one that used this set.
        unsafe { *self.server.lists.get() = Set::new().lists.into_inner() };
        self.server.lock.unlock();
        self.others.lock.unlock();
    }

    /// In a child made by who held no lock, and may have been in the middle of an allocation:
    /// all lists are forgotten.
    pub fn renew_in_child(&self) {
        // SAFETY: the child has one thread, which uses neither set here; what it was in the
        // middle of ends with lists that are whole.
        unsafe { *self.others.lists.get() = Set::new().lists.into_inner() };
        self.unlock_in_child();
    }

    /// A block of a class, and whether it has never been used: such a block is zero.
    fn take(&self, class: usize) -> (*mut u8, bool) {
        let set = self.set();
        set.lock.hold(|| {
            // SAFETY: under the lock.
            let lists = unsafe { &mut *set.lists.get() };
            let head = lists.heads[class];
            if !head.is_null() {
                // SAFETY: a free block holds the address of the next.
                lists.heads[class] = unsafe { head.cast::<*mut u8>().read() };
                return (head, false);
            }
            let size = SMALLEST << class;
            if lists.chunk_end < lists.chunk.next_multiple_of(size) + size {
                let chunk = map(CHUNK);
                if chunk.is_null() {
                    return (chunk, false);
                }
                self.mapped.fetch_add(CHUNK, Ordering::Relaxed);
                (lists.chunk, lists.chunk_end) = (chunk as usize, chunk as usize + CHUNK);
            }
            let start = lists.chunk.next_multiple_of(size);
            lists.chunk = start + size;
            (start as *mut u8, true)
        })
    }

    fn large_len(layout: Layout) -> Option<usize> {
        // Mappings are aligned to pages; more is not asked for by what Outcore keeps.
        (layout.align() <= PAGE).then(|| layout.size().checked_next_multiple_of(PAGE)).flatten()
    }
}

// SAFETY: blocks are disjoint, large enough and aligned: a power-of-two class is
// carved at multiples of its size, a mapping begins at a page.
unsafe impl GlobalAlloc for MetaAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(class) = class_of(layout) {
            return self.take(class).0;
        }
        let Some(len) = Self::large_len(layout) else { return null_mut() };
        let block = map(len);
        if !block.is_null() {
            self.mapped.fetch_add(len, Ordering::Relaxed);
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else {
            // SAFETY: the caller's contract. A new mapping is zero.
            return unsafe { self.alloc(layout) };
        };
        let (block, unused) = self.take(class);
        if !block.is_null() && !unused {
            // SAFETY: the block is that large.
            unsafe { ptr::write_bytes(block, 0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match (class_of(layout), Self::large_len(layout)) {
            (Some(class), _) => {
                let set = self.set();
                set.lock.hold(|| {
                    // SAFETY: under the lock; the block is free and at least 16 bytes.
                    unsafe {
                        let lists = &mut *set.lists.get();
                        block.cast::<*mut u8>().write(lists.heads[class]);
                        lists.heads[class] = block;
                    }
                });
            }
            (None, Some(len)) => {
                // SAFETY: a mapping of `alloc`, which nobody uses any more.
                let _ = unsafe { rustix::mm::munmap(block.cast(), len) };
                self.mapped.fetch_sub(len, Ordering::Relaxed);
            }
            (None, None) => {}
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else { return null_mut() };
        match (class_of(layout), class_of(new_layout)) {
            (Some(old), Some(new)) if old == new => return block,
            (None, None) => {
                let lens = (Self::large_len(layout), Self::large_len(new_layout));
                let (Some(old), Some(new)) = lens else { return null_mut() };
                // SAFETY: a mapping of `alloc`; the caller gives up the old address.
                let moved = unsafe { rustix::mm::mremap(block.cast(), old, new, MremapFlags::MAYMOVE) };
                let Ok(moved) = moved else { return null_mut() };
                self.mapped.fetch_add(new.wrapping_sub(old), Ordering::Relaxed);
                return moved.cast();
            }
            _ => {}
        }
        // SAFETY: the caller's contract; both blocks hold at least the smaller size.
        unsafe {
            let new = self.alloc(new_layout);
            if !new.is_null() {
                ptr::copy_nonoverlapping(block, new, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    #[test]
    fn blocks_are_aligned_and_apart_and_keep_their_bytes() {
        let meta = MetaAlloc::new(|| false);
        let mut blocks = Vec::new();
        for round in 0..2000usize {
            let layout = layout(1 + round * 97 % 100_000, 1 << (round % 13));
            // SAFETY: not an empty layout; written within it.
            let block = unsafe {
                let block = meta.alloc_zeroed(layout);
                assert!(block.addr().is_multiple_of(layout.align()) && !block.is_null());
                assert_eq!((block.read(), block.add(layout.size() - 1).read()), (0, 0));
                block.write_bytes(round as u8, layout.size());
                block
            };
            blocks.push((block, layout, round as u8));
            if round % 3 == 0 {
                let (block, old, fill) = blocks.swap_remove(round / 2 % blocks.len());
                // SAFETY: of this allocator, with its layout.
                unsafe {
                    assert_eq!((block.read(), block.add(old.size() - 1).read()), (fill, fill));
                    let size = old.size() * 3 / 2 + 1;
                    let moved = meta.realloc(block, old, size);
                    assert_eq!((moved.read(), moved.add(old.size() - 1).read()), (fill, fill));
                    meta.dealloc(moved, Layout::from_size_align(size, old.align()).expect("a layout"));
                }
            }
        }
        for (block, layout, fill) in blocks {
            // SAFETY: as above.
            unsafe {
                assert_eq!((block.read(), block.add(layout.size() - 1).read()), (fill, fill));
                meta.dealloc(block, layout);
            }
        }
        // What stays mapped is chunks.
        assert!(meta.mapped_bytes().is_multiple_of(CHUNK));
    }

    #[test]
    fn who_serves_faults_does_not_wait_for_a_fork() {
        thread_local!(static SERVES: core::cell::Cell<bool> = const { core::cell::Cell::new(false) });
        static META: MetaAlloc = MetaAlloc::new(|| SERVES.get());
        let layout = layout(100, 8);
        META.lock_for_fork();
        std::thread::spawn(move || {
            SERVES.set(true);
            // SAFETY: not an empty layout; freed with it.
            unsafe { META.dealloc(META.alloc(layout), layout) };
        })
        .join()
        .expect("the thread ends");
        META.unlock_in_child();
        // SAFETY: as above.
        unsafe { META.dealloc(META.alloc(layout), layout) };
    }

    #[test]
    fn a_large_table_costs_addresses_only() {
        let meta = MetaAlloc::new(|| false);
        let layout = layout(1 << 32, 8);
        // SAFETY: not an empty layout; read within it, and freed with it.
        unsafe {
            let table = meta.alloc_zeroed(layout);
            assert_eq!(table.add(1 << 31).read(), 0);
            assert_eq!(meta.mapped_bytes(), 1 << 32);
            meta.dealloc(table, layout);
        }
        assert_eq!(meta.mapped_bytes(), 0);
    }
}
