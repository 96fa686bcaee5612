#![expect(unsafe_code, reason = "is a global allocator")]
//! The global allocator of a program, in paged memory.

use crate::builder::{BuildError, HeapBuilder};
use crate::heap::{Contents, Heap};
use crate::resident;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};
use std::alloc::{GlobalAlloc, Layout, System};

/// A `#[global_allocator]` whose memory is paged, from the moment on that it is
/// [started](Self::start). What was allocated before stays with the system's allocator, as
/// does what the pager itself needs.
///
/// ```
/// use outcore::{GlobalHeap, Heap};
///
/// #[global_allocator]
/// static HEAP: GlobalHeap = GlobalHeap::new();
///
/// fn main() -> Result<(), outcore::BuildError> {
///     let heap = HEAP.start(Heap::builder().budget(16 << 20))?;
///     let words: Vec<String> = (0..1_000_000).map(|n| format!("word {n}")).collect();
///     assert!(words.iter().enumerate().all(|(n, word)| *word == format!("word {n}")));
///     assert!(heap.stats().swap_outs > 0);
///     Ok(())
/// }
/// ```
///
/// A forked child that goes on without executing another program allocates from the
/// system's allocator, and has nothing of what its parent allocated here.
#[derive(Debug, Default)]
pub struct GlobalHeap {
    heap: AtomicPtr<Heap>,
}

impl GlobalHeap {
    /// Serves from the system's allocator until it is started.
    pub const fn new() -> Self {
        Self { heap: AtomicPtr::new(null_mut()) }
    }

    /// From now on what is allocated is paged, for as long as the program runs.
    ///
    /// # Errors
    /// As [`HeapBuilder::build`]; [`BuildError::Started`] the second time. Allocations go on
    /// being served as before.
    pub fn start(&self, heap: HeapBuilder) -> Result<&'static Heap, BuildError> {
        if self.heap().is_some() {
            return Err(BuildError::Started);
        }
        resident::scope(|| {
            let heap = Box::into_raw(Box::new(heap.build()?));
            let placed = self.heap.compare_exchange(null_mut(), heap, Ordering::AcqRel, Ordering::Acquire);
            if placed.is_err() {
                // SAFETY: made above, and nobody has seen it.
                drop(unsafe { Box::from_raw(heap) });
                return Err(BuildError::Started);
            }
            // SAFETY: made above, and never freed.
            Ok(unsafe { &*heap })
        })
    }

    /// The heap; none before it is started.
    pub fn heap(&self) -> Option<&'static Heap> {
        // SAFETY: null, or a heap that is never freed.
        unsafe { self.heap.load(Ordering::Acquire).as_ref() }
    }

    /// The heap, if what this thread allocates now may be paged.
    #[inline]
    fn serving(&self) -> Option<&'static Heap> {
        self.heap().filter(|heap| !resident::is_inside() && heap.is_here())
    }

    fn owner(&self, object: *mut u8) -> Option<&'static Heap> {
        self.heap().filter(|heap| heap.owns(object.addr()))
    }
}

fn pointer(object: Option<NonNull<u8>>) -> *mut u8 {
    object.map_or(null_mut(), NonNull::as_ptr)
}

// SAFETY: every object goes back to where it came from, which is known by its address.
// Neither the heap nor the system unwinds.
unsafe impl GlobalAlloc for GlobalHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.serving() {
            Some(heap) => pointer(heap.alloc(layout, Contents::Any)),
            // SAFETY: the caller's contract.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match self.serving() {
            Some(heap) => pointer(heap.alloc(layout, Contents::Zero)),
            // SAFETY: the caller's contract.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        match (self.owner(object), NonNull::new(object)) {
            // SAFETY: the caller's contract.
            (Some(heap), Some(object)) => unsafe { heap.free(object) },
            // SAFETY: the caller's contract; it is not the heap's, so it is the system's.
            _ => unsafe { System.dealloc(object, layout) },
        }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match (self.owner(object), NonNull::new(object)) {
            (Some(heap), Some(object)) => {
                // SAFETY: the caller says that the size is one for this alignment, and the
                // rest of what `realloc` asks for.
                pointer(unsafe {
                    let new = Layout::from_size_align_unchecked(size, layout.align());
                    heap.realloc(object, layout, new)
                })
            }
            // SAFETY: as above.
            _ => unsafe { System.realloc(object, layout, size) },
        }
    }
}
