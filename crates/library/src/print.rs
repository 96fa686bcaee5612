#![expect(unsafe_code, reason = "exports C functions, which write to C streams")]
//! Reports, for C.

use crate::error::{Kind, note};
use crate::instance::{OcHeap, heap_of};
use crate::register::oc_family;
use ::heap::{FamiliesReport, FamilyId, Json, UsageReport};
use core::ffi::c_int;
use core::fmt::Display;
use libc::FILE;

/// How a report is written.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OcFormat {
    /// For people.
    Text,
    /// As one line of JSON.
    Json,
}

/// The format that a number from C stands for: a C enum may hold any.
fn is_json(format: c_int) -> bool {
    format == OcFormat::Json as c_int
}

/// Writes a report to a C stream, in the order of what the program writes there.
///
/// # Safety
/// `to` is a stream that is open.
unsafe fn put<'a, T>(function: &str, to: *mut FILE, format: c_int, report: &'a T) -> c_int
where
    T: Display,
    Json<'a, T>: Display,
{
    let text = if is_json(format) { format!("{}\n", Json(report)) } else { report.to_string() };
    // SAFETY: the stream is open; so many bytes are there.
    let written = unsafe { libc::fwrite(text.as_ptr().cast(), 1, text.len(), to) };
    if written == text.len() {
        return 0;
    }
    note(function, Kind::Invalid, &format!("{written} of {} bytes were written", text.len()));
    -1
}

fn no_family(function: &str, family: oc_family) -> c_int {
    note(function, Kind::Invalid, &format!("no family of this heap has the number {family}"));
    -1
}

/// Writes the registered families, in the order of registration; `format` is one of
/// oc_format. 0, or -1 if the stream does not take it.
///
/// # Safety
/// `heap` is NULL or a heap; `to` is an open stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_print_families(heap: *const OcHeap, to: *mut FILE, format: c_int) -> c_int {
    // SAFETY: the caller's contract.
    unsafe {
        let families = heap_of(heap).registered();
        put("oc_print_families", to, format, &FamiliesReport(&families))
    }
}

/// Writes what a family uses, or with 0 for `family` what each does, in the order of
/// registration: pages, bytes, kernel calls, blocks, internal fragmentation. 0, or -1
/// with EINVAL if there is no such family or the stream does not take it.
///
/// # Safety
/// `heap` is NULL or a heap; `to` is an open stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_print_usage(
    heap: *const OcHeap,
    family: oc_family,
    to: *mut FILE,
    format: c_int,
) -> c_int {
    // SAFETY: the caller's contract.
    let families = unsafe { heap_of(heap) };
    let stats = match FamilyId::from_number(family) {
        None => families.all_stats(),
        Some(id) => match families.stats(id) {
            Some(stats) => vec![stats],
            None => return no_family("oc_print_usage", family),
        },
    };
    // SAFETY: the caller's contract.
    unsafe { put("oc_print_usage", to, format, &UsageReport(&stats)) }
}

/// Writes a family's pages block by block: offset, size, state, neighbours, address. 0,
/// or -1 with EINVAL if there is no such family or the stream does not take it.
///
/// # Safety
/// `heap` is NULL or a heap; `to` is an open stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_print_blocks(
    heap: *const OcHeap,
    family: oc_family,
    to: *mut FILE,
    format: c_int,
) -> c_int {
    // SAFETY: the caller's contract.
    let families = unsafe { heap_of(heap) };
    let Some(walk) = FamilyId::from_number(family).and_then(|id| families.walk(id)) else {
        return no_family("oc_print_blocks", family);
    };
    // SAFETY: the caller's contract.
    unsafe { put("oc_print_blocks", to, format, &walk) }
}
