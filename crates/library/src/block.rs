#![expect(unsafe_code, reason = "exports C functions, which hand out and take back memory")]
//! Blocks, for C.

use crate::either::Either;
use crate::error::{Kind, failed, note};
use crate::instance::{OcHeap, heap_of};
use crate::register::{name_of, oc_family};
use ::heap::{AllocError, BlockState, Families, FamilyId};
use core::ffi::{c_char, c_int, c_void};
use core::ptr::{NonNull, null_mut};
use std::io::Write;

/// What a new block's bytes are.
#[derive(Clone, Copy)]
enum Contents {
    Any,
    Zero,
}

fn alloc(
    function: &str,
    families: &Families<Either>,
    family: Option<FamilyId>,
    units: usize,
    contents: Contents,
) -> *mut c_void {
    let block = family.ok_or(AllocError::UnknownFamily).and_then(|family| match contents {
        Contents::Any => families.alloc(family, units),
        Contents::Zero => families.calloc(family, units),
    });
    let block: Option<NonNull<u8>> = match block {
        Ok(block) => Some(block),
        Err(
            error @ (AllocError::NoMemory { .. } | AllocError::TooLarge { .. } | AllocError::Overflow { .. }),
        ) => failed(function, Kind::NoMemory, &error),
        Err(error @ (AllocError::ZeroUnits | AllocError::UnknownFamily)) => {
            failed(function, Kind::Invalid, &error)
        }
    };
    block.map_or(null_mut(), |block| block.as_ptr().cast())
}

/// `units` objects of a family in a row, all bytes zero. NULL with EINVAL if there is no
/// such family or `units` is 0, with ENOMEM if there is no memory for so many.
///
/// # Safety
/// `heap` is NULL or a heap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_calloc(heap: *const OcHeap, family: oc_family, units: usize) -> *mut c_void {
    // SAFETY: the caller's contract.
    let families = unsafe { heap_of(heap) };
    alloc("oc_calloc", families, FamilyId::from_number(family), units, Contents::Zero)
}

/// The same, the bytes as they happen to be.
///
/// # Safety
/// `heap` is NULL or a heap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_malloc(heap: *const OcHeap, family: oc_family, units: usize) -> *mut c_void {
    // SAFETY: the caller's contract.
    let families = unsafe { heap_of(heap) };
    alloc("oc_malloc", families, FamilyId::from_number(family), units, Contents::Any)
}

/// Blocks of the default heap's family of that name, whose objects must have that size.
///
/// # Safety
/// `name` is a string.
unsafe fn alloc_named(
    function: &str,
    name: *const c_char,
    size: usize,
    units: usize,
    contents: Contents,
) -> *mut c_void {
    // SAFETY: the caller's contract; NULL is the default heap.
    let (families, name) = unsafe { (heap_of(core::ptr::null()), name_of(function, name)) };
    let Some(name) = name else { return null_mut() };
    let Some(info) = families.find(name).and_then(|family| families.info(family)) else {
        let message = format!("no family is named {name:?}: register it with OC_REGISTER({name})");
        return failed(function, Kind::Invalid, &message).unwrap_or(null_mut());
    };
    if info.size != size {
        let registered = info.size;
        let message =
            format!("{name:?} has {size} bytes, and the family of that name has objects of {registered}");
        return failed(function, Kind::Invalid, &message).unwrap_or(null_mut());
    }
    alloc(function, families, Some(info.id), units, contents)
}

/// What xcalloc calls: oc_calloc from the default heap's family of that name, whose
/// objects must have that size.
///
/// # Safety
/// `name` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_calloc_named(name: *const c_char, size: usize, units: usize) -> *mut c_void {
    // SAFETY: the caller's contract.
    unsafe { alloc_named("xcalloc", name, size, units, Contents::Zero) }
}

/// What xmalloc calls: the same with oc_malloc.
///
/// # Safety
/// `name` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_malloc_named(name: *const c_char, size: usize, units: usize) -> *mut c_void {
    // SAFETY: the caller's contract.
    unsafe { alloc_named("xmalloc", name, size, units, Contents::Any) }
}

/// Frees a block: 0, also for NULL. A pointer that is not the start of a used block of
/// this heap is refused: -1 with EINVAL, oc_error tells what it is, nothing has changed.
///
/// # Safety
/// `heap` is NULL or a heap; nobody uses the block any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_free(heap: *const OcHeap, block: *mut c_void) -> c_int {
    if block.is_null() {
        return 0;
    }
    // SAFETY: the caller's contract.
    match unsafe { heap_of(heap).free(block.cast()) } {
        Ok(()) => 0,
        Err(error) => {
            note("oc_free", Kind::Invalid, &error);
            -1
        }
    }
}

/// What xfree calls: frees a block of the default heap, and says on standard error if it
/// is refused.
///
/// # Safety
/// Nobody uses the block any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_free_or_report(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // SAFETY: the caller's contract; NULL is the default heap.
    if let Err(error) = unsafe { heap_of(core::ptr::null()).free(block.cast()) } {
        note("xfree", Kind::Invalid, &error);
        // Where there is nobody to read it, errno still says so.
        let _ = writeln!(std::io::stderr(), "outcore: xfree: {error}");
    }
}

/// Where an address lies.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OcLocation {
    /// The family that holds its page.
    pub family: oc_family,
    /// 1 if its block is used, 0 if it is free.
    pub used: c_int,
    /// Where its block's data begin.
    pub data: *mut c_void,
    /// Bytes of data in its block.
    pub size: usize,
}

/// Finds the family and the block that an address lies in: 0, or -1 with EINVAL if no
/// family of this heap holds its page.
///
/// # Safety
/// `heap` is NULL or a heap; `location` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_locate(
    heap: *const OcHeap,
    address: *const c_void,
    location: *mut OcLocation,
) -> c_int {
    // SAFETY: the caller's contract.
    match unsafe { heap_of(heap) }.locate(address.addr()) {
        Ok(found) => {
            let used = c_int::from(found.state == BlockState::Used);
            let data = core::ptr::with_exposed_provenance_mut(found.data);
            let found = OcLocation { family: found.family.number(), used, data, size: found.size };
            // SAFETY: the caller's contract.
            unsafe { location.write(found) };
            0
        }
        Err(error) => {
            note("oc_locate", Kind::Invalid, &error);
            -1
        }
    }
}
