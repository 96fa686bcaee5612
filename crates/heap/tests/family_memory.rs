#![expect(unsafe_code, reason = "counts what the global allocator gives")]
//! What a heap of families costs in metadata, and that it comes back.

use heap::{Anonymous, Families};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, and the bytes that it has given.
struct Counting(AtomicUsize);

#[global_allocator]
static ALLOCATOR: Counting = Counting(AtomicUsize::new(0));

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.0.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Alone in its file: other tests would be counted.
#[test]
fn metadata_is_little_and_comes_back() {
    const OBJECTS: usize = 2_000_000;
    let heap = Families::new(Anonymous::new());
    let line = heap.register("line", 64).expect("a new name");
    let mut blocks: Vec<NonNull<u8>> = Vec::with_capacity(OBJECTS);
    let first = heap.calloc(line, 1).expect("memory");
    let start = ALLOCATOR.0.load(Relaxed);
    blocks.extend((0..OBJECTS).map(|_| heap.alloc(line, 1).expect("memory")));
    let pages = heap.stats(line).expect("registered").page_bytes;
    let grown = ALLOCATOR.0.load(Relaxed) - start;
    println!(
        "{grown} bytes of metadata for {pages} bytes of pages: {:.2} %",
        grown as f64 * 100.0 / pages as f64
    );
    assert!(grown * 1000 <= pages * 16, "{grown} bytes of metadata for {pages} bytes of pages");
    // Every second one: as many free blocks as there can be.
    for block in blocks.iter().step_by(2).chain(blocks.iter().skip(1).step_by(2)) {
        // SAFETY: used by nobody.
        unsafe { heap.free(block.as_ptr()) }.expect("used");
    }
    // SAFETY: as above.
    unsafe { heap.free(first.as_ptr()) }.expect("used");
    let left = ALLOCATOR.0.load(Relaxed).saturating_sub(start);
    println!("{left} bytes left, {} pages cached", heap.cached_pages());
    // The page table stays: 8 bytes for each page that ever was in use.
    assert!(left <= pages / 4096 * 8 + (128 << 10), "{left} bytes of metadata are left");
}
