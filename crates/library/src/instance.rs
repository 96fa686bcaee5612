#![expect(unsafe_code, reason = "exports C functions, which take pointers to heaps")]
//! Heaps, for C. Everywhere, NULL is the heap that every program has.

use crate::either::Either;
use crate::error::{Kind, failed, note};
use crate::process::{self, OcConfig};
use crate::source::Paged;
use ::heap::{Anonymous, Families, Layout, Options};
use core::ffi::c_int;
use std::ptr::null_mut;
use std::sync::LazyLock;

/// A heap of families. Heaps are independent of each other, and used from any thread.
#[derive(Debug)]
pub struct OcHeap {
    pub(crate) families: Families<Either>,
}

static DEFAULT: LazyLock<OcHeap> =
    LazyLock::new(|| OcHeap { families: Families::new(Either::Kernel(Anonymous::new())) });

/// The heap that a pointer stands for.
///
/// # Safety
/// The pointer is NULL, or a heap that is not dropped while the result is used.
pub(crate) unsafe fn heap_of<'a>(heap: *const OcHeap) -> &'a Families<Either> {
    // SAFETY: the caller's contract.
    let heap = unsafe { heap.as_ref() };
    &heap.unwrap_or_else(|| &DEFAULT).families
}

/// Makes a heap with all metadata outside its pages. Drop it with oc_heap_drop.
#[unsafe(no_mangle)]
pub extern "C" fn oc_heap_new() -> *mut OcHeap {
    Box::into_raw(Box::new(OcHeap { families: Families::new(Either::Kernel(Anonymous::new())) }))
}

/// Makes a heap in the textbook layout, with a meta block in the page before each data
/// block: pages of 4096 or 8192 bytes, meta blocks of 28 or 48. NULL with EINVAL for
/// other sizes.
#[unsafe(no_mangle)]
pub extern "C" fn oc_heap_new_in_page(page_size: usize, meta_size: usize) -> *mut OcHeap {
    let options = Options { layout: Layout::InPage { page_size, meta_size }, ..Options::default() };
    match Families::with_options(Either::Kernel(Anonymous::new()), options) {
        Ok(families) => Box::into_raw(Box::new(OcHeap { families })),
        Err(error) => failed("oc_heap_new_in_page", Kind::Invalid, &error).unwrap_or(null_mut()),
    }
}

/// Makes a heap whose pages are paged, by a pager and a store of its own. NULL with errno,
/// as outcore_init.
///
/// # Safety
/// `config` points to settings; its store is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_heap_new_paged(config: *const OcConfig) -> *mut OcHeap {
    // SAFETY: the caller's contract.
    match unsafe { process::start("oc_heap_new_paged", config) } {
        Some((paging, room)) => {
            let pages = Either::Paged(Paged::new(&paging, room));
            Box::into_raw(Box::new(OcHeap { families: Families::new(pages) }))
        }
        None => null_mut(),
    }
}

/// Drops a heap and all that was allocated from it. NULL is left alone.
///
/// # Safety
/// The heap was made by one of the functions above; nobody uses it or what was
/// allocated from it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_heap_drop(heap: *mut OcHeap) {
    if !heap.is_null() {
        // SAFETY: made by `Box::into_raw`, and dropped once.
        drop(unsafe { Box::from_raw(heap) });
    }
}

/// Checks the laws of a heap, at every block: 0, or -1 and oc_error says which does not
/// hold.
///
/// # Safety
/// `heap` is NULL or a heap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_check(heap: *const OcHeap) -> c_int {
    // SAFETY: the caller's contract.
    match unsafe { heap_of(heap) }.check() {
        Ok(()) => 0,
        Err(violation) => {
            note("oc_check", Kind::Invalid, &violation);
            -1
        }
    }
}

/// Gives pages that no family holds back to the kernel; how many there were.
///
/// # Safety
/// `heap` is NULL or a heap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_trim(heap: *const OcHeap) -> usize {
    // SAFETY: the caller's contract.
    unsafe { heap_of(heap) }.trim()
}
