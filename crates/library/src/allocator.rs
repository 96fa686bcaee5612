#![expect(unsafe_code, reason = "promises what collections rely on")]
//! Heaps as allocators of collections.

use crate::heap::{Contents, Heap};
use allocator_api2::alloc::{AllocError, Allocator};
use core::alloc::Layout;
use core::ptr::NonNull;

/// What an allocator answers.
type Allocated = Result<NonNull<[u8]>, AllocError>;

/// Memory for a layout that needs none.
fn dangling(layout: Layout) -> NonNull<[u8]> {
    let start =
        NonNull::new(core::ptr::without_provenance_mut(layout.align())).expect("alignments are not 0");
    NonNull::slice_from_raw_parts(start, 0)
}

fn alloc(heap: &Heap, layout: Layout, contents: Contents) -> Allocated {
    if layout.size() == 0 {
        return Ok(dangling(layout));
    }
    let start = heap.alloc(layout, contents).ok_or(AllocError)?;
    Ok(NonNull::slice_from_raw_parts(start, layout.size()))
}

/// # Safety
/// As [`Allocator::grow`] and [`Allocator::shrink`].
unsafe fn resize(heap: &Heap, object: NonNull<u8>, old: Layout, new: Layout) -> Allocated {
    if old.size() == 0 {
        return alloc(heap, new, Contents::Any);
    }
    if new.size() == 0 {
        // SAFETY: the caller's contract.
        unsafe { heap.free(object) };
        return Ok(dangling(new));
    }
    // Objects move as their alignment says: both layouts get the stricter one.
    let align = old.align().max(new.align());
    let aligned = |layout: Layout| layout.align_to(align).map_err(|_| AllocError);
    // SAFETY: the caller's contract.
    let moved = unsafe { heap.realloc(object, aligned(old)?, aligned(new)?) };
    Ok(NonNull::slice_from_raw_parts(moved.ok_or(AllocError)?, new.size()))
}

// SAFETY: what is allocated stays where it is until it is freed, or the last handle of the
// heap is dropped; clones are the same heap.
unsafe impl Allocator for Heap {
    fn allocate(&self, layout: Layout) -> Allocated {
        alloc(self, layout, Contents::Any)
    }

    fn allocate_zeroed(&self, layout: Layout) -> Allocated {
        alloc(self, layout, Contents::Zero)
    }

    unsafe fn deallocate(&self, object: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 {
            // SAFETY: the caller's contract.
            unsafe { self.free(object) };
        }
    }

    unsafe fn grow(&self, object: NonNull<u8>, old: Layout, new: Layout) -> Allocated {
        // SAFETY: the caller's contract.
        unsafe { resize(self, object, old, new) }
    }

    unsafe fn grow_zeroed(&self, object: NonNull<u8>, old: Layout, new: Layout) -> Allocated {
        // SAFETY: the caller's contract; what is new of the block has not been handed out.
        unsafe {
            let grown = self.grow(object, old, new)?;
            let start: *mut u8 = grown.cast().as_ptr();
            core::ptr::write_bytes(start.add(old.size()), 0, new.size() - old.size());
            Ok(grown)
        }
    }

    unsafe fn shrink(&self, object: NonNull<u8>, old: Layout, new: Layout) -> Allocated {
        // SAFETY: the caller's contract.
        unsafe { resize(self, object, old, new) }
    }
}
