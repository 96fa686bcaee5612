#![expect(unsafe_code, reason = "exports C functions, which take strings")]
//! Families by name, for C.

#![expect(non_camel_case_types, reason = "names as C has them")]

use crate::error::{Kind, failed};
use crate::instance::{OcHeap, heap_of};
use ::heap::FamilyId;
use core::ffi::{CStr, c_char};

/// A family of one heap; 0 is none.
pub type oc_family = u32;

/// The string that a caller's pointer begins.
///
/// # Safety
/// NULL, or a string that ends with a zero byte.
pub(crate) unsafe fn name_of<'a>(function: &str, name: *const c_char) -> Option<&'a str> {
    if name.is_null() {
        return failed(function, Kind::Invalid, &"the family's name is NULL");
    }
    // SAFETY: the caller's contract.
    let name = unsafe { CStr::from_ptr(name) };
    match name.to_str() {
        Ok(name) => Some(name),
        Err(error) => {
            let valid = error.valid_up_to();
            failed(function, Kind::Invalid, &format!("the family's name is not UTF-8 at byte {valid}"))
        }
    }
}

fn number(family: Option<FamilyId>) -> oc_family {
    family.map_or(0, FamilyId::number)
}

/// Registers a family of objects of `size` bytes that are aligned to `align`; with 0 for
/// `align`, as any type of that size is. 0 with EINVAL if the name is empty, longer than
/// 255 bytes, not UTF-8 or taken, if the size is 0 or too large, or if the heap's layout
/// cannot give the alignment.
///
/// # Safety
/// `heap` is NULL or a heap; `name` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_register(
    heap: *const OcHeap,
    name: *const c_char,
    size: usize,
    align: usize,
) -> oc_family {
    // SAFETY: the caller's contract.
    let (families, name) = unsafe { (heap_of(heap), name_of("oc_register", name)) };
    let registered = name.map(|name| match align {
        0 => families.register(name, size),
        align => families.register_aligned(name, size, align),
    });
    number(registered.and_then(|registered| match registered {
        Ok(family) => Some(family),
        Err(error) => failed("oc_register", Kind::Invalid, &error),
    }))
}

/// The family of this name; 0 if there is none.
///
/// # Safety
/// `heap` is NULL or a heap; `name` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_find(heap: *const OcHeap, name: *const c_char) -> oc_family {
    // SAFETY: the caller's contract.
    let (families, name) = unsafe { (heap_of(heap), name_of("oc_find", name)) };
    number(name.and_then(|name| families.find(name)))
}

/// The built-in family of raw bytes, for buffers of any size: its units are bytes.
///
/// # Safety
/// `heap` is NULL or a heap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_bytes(heap: *const OcHeap) -> oc_family {
    // SAFETY: the caller's contract.
    unsafe { heap_of(heap) }.bytes().number()
}
