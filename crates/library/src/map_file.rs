#![expect(unsafe_code, reason = "exports C functions, which take descriptors, strings and maps")]
//! Mapped files, for C.

use crate::either::Either;
use crate::error::{Kind, failed, note};
use crate::file::{FileAdvice, MapOptions, MappedFile};
use crate::file_error::FileError;
use crate::instance::OcHeap;
use crate::paging::Paging;
use crate::process;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt::Display;
use core::ptr::null_mut;
use engine::MapError;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

/// What may be done with a map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OcAccess {
    /// It is only read; writing to it is a fault (SIGSEGV).
    ReadOnly,
    /// What is written reaches the file, and the heap's other maps of it at once.
    Shared,
    /// What is written is the map's alone, and goes to the heap's store.
    Private,
}

/// What a part of a map will be used for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OcAdvice {
    /// Nothing special: streams are found by themselves.
    Normal,
    /// Going up through it: what follows is read ahead from the first touch on.
    Sequential,
    /// In no order: nothing is read ahead.
    Random,
    /// Soon: it is brought in in the background, as far as nothing has to leave for it.
    WillNeed,
    /// Not for long: what is in memory of it leaves next.
    Cold,
}

/// A file, or a part of one, that is mapped.
#[derive(Debug)]
pub struct OcMap {
    map: MappedFile,
}

/// What errno says of it.
fn kind(error: &FileError) -> Kind {
    let number = |error: &io::Error| Kind::Number(error.raw_os_error().unwrap_or(libc::EIO));
    match error {
        FileError::Map(error) => match error {
            MapError::Empty | MapError::Offset { .. } | MapError::PastEnd { .. } | MapError::NotAFile => {
                Kind::Invalid
            }
            MapError::NotReadable | MapError::NotWritable | MapError::Append => Kind::Number(libc::EACCES),
            MapError::TooMuch { .. } | MapError::NoRoom { .. } => Kind::NoMemory,
            MapError::Kernel(_, error) => Kind::Number(error.raw_os_error()),
        },
        FileError::Length(error) | FileError::WriteBack(error) => number(error),
        FileError::TooMany(_) | FileError::TooMuchPinned { .. } => Kind::NoMemory,
        FileError::OutOfRange { .. } => Kind::Invalid,
        FileError::ReadOnly => Kind::Number(libc::EACCES),
        FileError::Forked => Kind::Number(libc::EPERM),
    }
}

/// 0, or -1 and what went wrong is noted.
fn status(function: &str, result: Result<(), FileError>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => {
            note(function, kind(&error), &error);
            -1
        }
    }
}

/// The pager of a heap; of the program for NULL.
///
/// # Safety
/// `heap` is NULL or a heap.
unsafe fn pager_of(function: &str, heap: *const OcHeap) -> Option<Arc<Paging>> {
    // SAFETY: the caller's contract.
    match unsafe { heap.as_ref() } {
        None => process::pager().or_else(|| {
            failed(
                function,
                Kind::Invalid,
                &"there is no pager: call outcore_init first, or give a paged heap",
            )
        }),
        Some(heap) => match heap.families.source() {
            Either::Paged(paged) => Some(Arc::clone(paged.paging())),
            Either::Kernel(_) => {
                let message = "the heap is not paged: give one that oc_heap_new_paged has made, or NULL";
                failed(function, Kind::Invalid, &message)
            }
        },
    }
}

fn options(function: &str, access: c_int, offset: u64, length: usize) -> Option<MapOptions> {
    let options = match access {
        it if it == OcAccess::ReadOnly as c_int => MapOptions::read_only(),
        it if it == OcAccess::Shared as c_int => MapOptions::shared(),
        it if it == OcAccess::Private as c_int => MapOptions::private(),
        other => {
            let message = format!(
                "an access of {other}: give OC_ACCESS_READ_ONLY, OC_ACCESS_SHARED or OC_ACCESS_PRIVATE"
            );
            return failed(function, Kind::Invalid, &message);
        }
    };
    let options = options.offset(offset);
    Some(if length == 0 { options } else { options.len(length) })
}

fn map(function: &str, paging: &Arc<Paging>, file: &File, options: MapOptions) -> Option<*mut OcMap> {
    match MappedFile::new(paging, file, options) {
        Ok(map) => Some(Box::into_raw(Box::new(OcMap { map }))),
        Err(error) => failed(function, kind(&error), &error),
    }
}

fn unopened<T>(function: &str, what: &dyn Display, error: &io::Error) -> Option<T> {
    let number = Kind::Number(error.raw_os_error().unwrap_or(libc::EIO));
    failed(function, number, &format!("{what}: {error}"))
}

/// Maps `length` bytes of an open file from `offset` on, a multiple of 4096; with 0 for
/// `length`, all up to its end. `access` is one of oc_access; a shared map needs a file that is
/// open for reading and writing. The descriptor may be closed afterwards. The heap is one that
/// oc_heap_new_paged has made, whose budget bounds what is in memory; NULL is the program's
/// pager, after outcore_init. NULL with errno: EINVAL for what cannot be mapped, EACCES for a
/// file that is not open as it should be, ENOMEM where there is no room for more, EBADF, or what
/// else the kernel says. oc_error tells. Forked children have no maps.
///
/// # Safety
/// `heap` is NULL or a heap, which is not dropped before the map is closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_map_file(
    heap: *const OcHeap,
    descriptor: c_int,
    access: c_int,
    offset: u64,
    length: usize,
) -> *mut OcMap {
    const NAME: &str = "oc_map_file";
    let mapped = (|| {
        let options = options(NAME, access, offset, length)?;
        // SAFETY: the caller's contract.
        let paging = unsafe { pager_of(NAME, heap) }?;
        if descriptor < 0 {
            return failed(NAME, Kind::Number(libc::EBADF), &format!("{descriptor} is no descriptor"));
        }
        // SAFETY: it is only duplicated, which fails if it is not open.
        let own = unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned();
        let file = own.map_or_else(
            |error| unopened(NAME, &format_args!("descriptor {descriptor}"), &error),
            |own| Some(File::from(own)),
        )?;
        map(NAME, &paging, &file, options)
    })();
    mapped.unwrap_or(null_mut())
}

/// Opens a file and maps it, as oc_map_file does. NULL with errno also for what open(2) says.
///
/// # Safety
/// As oc_map_file; `path` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_map_open(
    heap: *const OcHeap,
    path: *const c_char,
    access: c_int,
    offset: u64,
    length: usize,
) -> *mut OcMap {
    const NAME: &str = "oc_map_open";
    let mapped = (|| {
        let options = options(NAME, access, offset, length)?;
        // SAFETY: the caller's contract.
        let paging = unsafe { pager_of(NAME, heap) }?;
        if path.is_null() {
            return failed(NAME, Kind::Invalid, &"the file's path is NULL");
        }
        // SAFETY: the caller's contract.
        let path = OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes());
        let writes = access == OcAccess::Shared as c_int;
        let file = File::options()
            .read(true)
            .write(writes)
            .open(path)
            .map_or_else(|error| unopened(NAME, &path.display(), &error), Some)?;
        map(NAME, &paging, &file, options)
    })();
    mapped.unwrap_or(null_mut())
}

/// Where the first byte of a map is. The addresses are the map's until it is closed.
///
/// # Safety
/// `map` is a map.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_map_address(map: *const OcMap) -> *mut c_void {
    // SAFETY: the caller's contract.
    unsafe { &*map }.map.as_ptr().cast_mut().cast()
}

/// How many bytes are mapped.
///
/// # Safety
/// `map` is a map.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_map_length(map: *const OcMap) -> usize {
    // SAFETY: the caller's contract.
    unsafe { &*map }.map.len()
}

/// A part of a map in bytes: up to the map's end if its length is 0.
fn part(map: &MappedFile, start: usize, length: usize) -> core::ops::Range<usize> {
    let end = if length == 0 { map.len().max(start) } else { start.saturating_add(length) };
    start..end
}

/// Writes what is dirty of `length` bytes from `start` on to the file, by whichever map it was
/// written, and waits until the disk has it; with 0 for `length`, up to the map's end. 0, or -1
/// with errno: what could not be written is still in memory, and the next call tries again.
///
/// # Safety
/// `map` is a map.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_map_flush(map: *const OcMap, start: usize, length: usize) -> c_int {
    // SAFETY: the caller's contract.
    let map = &unsafe { &*map }.map;
    status("oc_map_flush", map.flush(part(map, start, length)))
}

/// Says what a part of a map will be used for, as one of oc_advice; with 0 for `length`, up to
/// the map's end. The bytes stay what they are. 0, or -1 with EINVAL.
///
/// # Safety
/// `map` is a map.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_map_advise(
    map: *const OcMap,
    start: usize,
    length: usize,
    advice: c_int,
) -> c_int {
    const NAME: &str = "oc_map_advise";
    let advice = match advice {
        it if it == OcAdvice::Normal as c_int => FileAdvice::Normal,
        it if it == OcAdvice::Sequential as c_int => FileAdvice::Sequential,
        it if it == OcAdvice::Random as c_int => FileAdvice::Random,
        it if it == OcAdvice::WillNeed as c_int => FileAdvice::WillNeed,
        it if it == OcAdvice::Cold as c_int => FileAdvice::Cold,
        other => {
            note(NAME, Kind::Invalid, &format!("{other} is none of oc_advice"));
            return -1;
        }
    };
    // SAFETY: the caller's contract.
    let map = &unsafe { &*map }.map;
    status(NAME, map.advise(part(map, start, length), advice))
}

/// Writes what is dirty to the file and unmaps it; the disk need not have it yet. NULL is left
/// alone. 0, or -1 with errno if not all could be written: what no other map has is lost then,
/// as nothing is after an oc_map_flush that gave 0. The map is gone in any case.
///
/// # Safety
/// `map` is NULL or a map, and nobody uses it or its addresses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_map_close(map: *mut OcMap) -> c_int {
    if map.is_null() {
        return 0;
    }
    // SAFETY: made by `Box::into_raw`, and closed once.
    let map = unsafe { Box::from_raw(map) };
    status("oc_map_close", map.map.close())
}
