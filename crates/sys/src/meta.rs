#![expect(unsafe_code, reason = "an allocator")]
//! The resident meta-allocator: where Outcore keeps what it knows about memory.
//!
//! It maps with raw system calls, never through a name that the preload library
//! exports, and what it gives out is never paged. Small sizes come from free lists of
//! power-of-two blocks; large ones are mappings of their own, so that large zeroed
//! tables are resident only where they are touched.

use crate::lock::Lock;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{self, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering};
use rustix::mm::{MapFlags, MremapFlags, ProtFlags};

const SMALLEST: usize = 16;
/// Sizes from here on are mapped on their own.
const LARGE: usize = 64 << 10;
const CLASSES: usize = (LARGE / SMALLEST).ilog2() as usize;
const CHUNK: usize = 1 << 20;
const PAGE: usize = 4096;

struct Lists {
    heads: [*mut u8; CLASSES],
    chunk: usize,
    chunk_end: usize,
}

/// The allocator. One per library, as its `#[global_allocator]`.
pub struct MetaAlloc {
    lock: Lock,
    lists: UnsafeCell<Lists>,
    mapped: AtomicUsize,
}

// SAFETY: the lists are used under the lock only.
unsafe impl Sync for MetaAlloc {}

impl Default for MetaAlloc {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for MetaAlloc {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "MetaAlloc({} bytes mapped)", self.mapped_bytes())
    }
}

fn class_of(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(SMALLEST);
    (size < LARGE)
        .then(|| size.next_power_of_two().ilog2() as usize - SMALLEST.ilog2() as usize)
        .filter(|class| *class < CLASSES)
}

fn map(len: usize) -> *mut u8 {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping.
    let mapped =
        unsafe { rustix::mm::mmap_anonymous(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags) };
    mapped.map_or(null_mut(), |addr| addr.cast())
}

impl MetaAlloc {
    /// An allocator that holds nothing yet.
    pub const fn new() -> Self {
        let lists = Lists { heads: [null_mut(); CLASSES], chunk: 0, chunk_end: 0 };
        Self { lock: Lock::new(), lists: UnsafeCell::new(lists), mapped: AtomicUsize::new(0) }
    }

    /// Bytes mapped; fewer are resident.
    pub fn mapped_bytes(&self) -> usize {
        self.mapped.load(Ordering::Relaxed)
    }

    /// Keeps every other thread out, over a fork.
    pub fn lock_for_fork(&self) {
        self.lock.lock();
    }

    /// Ends [`Self::lock_for_fork`], in parent and child.
    pub fn unlock_after_fork(&self) {
        self.lock.unlock();
    }

    fn take(&self, class: usize) -> *mut u8 {
        self.lock.hold(|| {
            // SAFETY: under the lock.
            let lists = unsafe { &mut *self.lists.get() };
            let head = lists.heads[class];
            if !head.is_null() {
                // SAFETY: a free block holds the address of the next.
                lists.heads[class] = unsafe { head.cast::<*mut u8>().read() };
                return head;
            }
            let size = SMALLEST << class;
            let start = lists.chunk.next_multiple_of(size);
            if lists.chunk_end < start + size {
                let chunk = map(CHUNK);
                if chunk.is_null() {
                    return chunk;
                }
                self.mapped.fetch_add(CHUNK, Ordering::Relaxed);
                (lists.chunk, lists.chunk_end) = (chunk as usize, chunk as usize + CHUNK);
            }
            let start = lists.chunk.next_multiple_of(size);
            lists.chunk = start + size;
            start as *mut u8
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
            return self.take(class);
        }
        let Some(len) = Self::large_len(layout) else { return null_mut() };
        self.mapped.fetch_add(len, Ordering::Relaxed);
        map(len)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        let block = unsafe { self.alloc(layout) };
        if class_of(layout).is_some() && !block.is_null() {
            // SAFETY: the block is that large. A new mapping is zero already.
            unsafe { ptr::write_bytes(block, 0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match (class_of(layout), Self::large_len(layout)) {
            (Some(class), _) => self.lock.hold(|| {
                // SAFETY: under the lock; the block is free and at least 16 bytes.
                unsafe {
                    let lists = &mut *self.lists.get();
                    block.cast::<*mut u8>().write(lists.heads[class]);
                    lists.heads[class] = block;
                }
            }),
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
