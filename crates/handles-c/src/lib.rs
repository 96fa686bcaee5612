//! The handle heap for C: one heap a process, made by [`pm_init`], described in `include/outcore_pm.h`.
//!
//! Everything is decided in [`handles`]; here are names, pointers and numbers only. A call that
//! fails says so by its result, and why by [`pm_last_error`] and [`pm_message`], which tell of the
//! last failure of the calling thread.

#![expect(unsafe_code, reason = "C passes pointers, and finds functions by unmangled names")]

mod error;
mod heap;

pub use error::{pm_last_error, pm_message};

use error::{Code, Failure};
use handles::{Handle, PolicyKind, Space, VirtualHeap};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::PathBuf;
use std::ptr;

/// What a handle points to: nothing. Its address is a number.
#[repr(C)]
#[derive(Debug)]
pub struct Block {
    _opaque: [u8; 0],
}

const _: () = assert!(usize::BITS >= 64, "a handle of 64 bits has to fit a pointer");

/// What a heap is made from; 0 and null stand for the defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of memory.
    pub physical: usize,
    /// Bytes of the virtual space.
    pub virtual_size: usize,
    /// Bytes of a page.
    pub page_size: usize,
    /// The name of a replacement policy.
    pub policy: *const c_char,
    /// The name of the swap file.
    pub swap_file: *const c_char,
}

fn handle(block: *mut Block) -> Result<Handle, Failure> {
    Handle::from_bits(block.addr() as u64).ok_or_else(|| Failure::new(Code::Handle, "the handle is null"))
}

fn space(space: c_int) -> Result<Space, Failure> {
    match space {
        0 => Ok(Space::Physical),
        1 => Ok(Space::Virtual),
        other => {
            Err(Failure::new(Code::Invalid, format!("{other} is no space; use PM_PHYSICAL or PM_VIRTUAL")))
        }
    }
}

/// 0, or −1 and the failure is noted.
fn status(result: Result<(), Failure>) -> c_int {
    result.map_or_else(|failure| failure.note(-1), |()| 0)
}

/// The text at `text`; None if it is null.
///
/// # Safety
/// It is null or ends with a zero byte.
unsafe fn text<'t>(text: *const c_char) -> Option<&'t CStr> {
    // SAFETY: the caller's contract.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

#[cfg(unix)]
fn path(name: &CStr) -> Result<PathBuf, Failure> {
    use std::os::unix::ffi::OsStrExt;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes())))
}

#[cfg(not(unix))]
fn path(name: &CStr) -> Result<PathBuf, Failure> {
    let name = name.to_str();
    name.map(PathBuf::from).map_err(|_| Failure::new(Code::Invalid, "the swap file's name is not UTF-8"))
}

/// Makes the heap of this process. 0, or −1 if there is one already, or it is not possible.
///
/// # Safety
/// `swap_file` is null, for a file without a name, or a text that ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pm_init(physical: usize, virtual_size: usize, swap_file: *const c_char) -> c_int {
    let options = Options { physical, virtual_size, page_size: 0, policy: ptr::null(), swap_file };
    // SAFETY: `options` is there, and its texts are the caller's contract.
    unsafe { pm_init_options(&raw const options) }
}

/// [`pm_init`] with everything that can be chosen.
///
/// # Safety
/// `options` is null, for all defaults, or points to options whose texts are null or end with a
/// zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pm_init_options(options: *const Options) -> c_int {
    let build = || {
        let mut builder = VirtualHeap::builder();
        // SAFETY: the caller's contract.
        if let Some(options) = unsafe { options.as_ref() } {
            if options.physical != 0 {
                builder = builder.physical(options.physical);
            }
            if options.virtual_size != 0 {
                builder = builder.virtual_size(options.virtual_size);
            }
            if options.page_size != 0 {
                builder = builder.page_size(options.page_size);
            }
            // SAFETY: the caller's contract.
            if let Some(name) = unsafe { text(options.policy) } {
                let policy: Result<PolicyKind, _> = name.to_string_lossy().parse();
                builder = builder.policy(policy.map_err(|error| Failure::new(Code::Invalid, error))?);
            }
            // SAFETY: the caller's contract.
            if let Some(name) = unsafe { text(options.swap_file) } {
                builder = builder.swap_file(path(name)?);
            }
        }
        Ok(builder.build()?)
    };
    status(heap::init(build))
}

/// Gives everything back. Handles and addresses mean nothing afterwards. 0, or −1 if there is no heap.
#[unsafe(no_mangle)]
pub extern "C" fn pm_destroy() -> c_int {
    status(heap::destroy())
}

/// A block of `size` bytes, all zero; null while the virtual space is used up.
#[unsafe(no_mangle)]
pub extern "C" fn pm_malloc(size: usize) -> *mut Block {
    let block = heap::with(|heap| Ok(heap.alloc(size)?));
    block.map_or_else(
        |failure| failure.note(ptr::null_mut()),
        |handle| ptr::without_provenance_mut(handle.to_bits() as usize),
    )
}

/// Frees a block. 0, or −1 if there is none, or it is pinned.
#[unsafe(no_mangle)]
pub extern "C" fn pm_free(block: *mut Block) -> c_int {
    status(heap::with(|heap| Ok(heap.free(handle(block)?)?)))
}

/// The address of a block, good until the next call of any thread; null if that is not possible.
#[unsafe(no_mangle)]
pub extern "C" fn pm_check(block: *mut Block) -> *mut c_void {
    let address = heap::with(|heap| Ok(heap.check(handle(block)?)?));
    address.map_or_else(|failure| failure.note(ptr::null_mut()), <*mut u8>::cast)
}

/// The address of a block, good until [`pm_release`]; null if that is not possible.
#[unsafe(no_mangle)]
pub extern "C" fn pm_pin(block: *mut Block) -> *mut c_void {
    let address = heap::with(|heap| Ok(heap.pin_address(handle(block)?)?));
    address.map_or_else(|failure| failure.note(ptr::null_mut()), <*mut u8>::cast)
}

/// Takes one [`pm_pin`] back. 0, or −1 if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn pm_release(block: *mut Block) -> c_int {
    status(heap::with(|heap| Ok(heap.release(handle(block)?)?)))
}

/// Copies bytes of a block. 0, or −1.
///
/// # Safety
/// `into` is good for writing `len` bytes, which are not the block's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pm_read(block: *mut Block, offset: usize, into: *mut c_void, len: usize) -> c_int {
    status(heap::with(|heap| {
        let handle = handle(block)?;
        check_buffer(into, len)?;
        let into = match len {
            0 => &mut [],
            // SAFETY: the caller's contract; it is not null, and no object is larger than that.
            len => unsafe { std::slice::from_raw_parts_mut(into.cast(), len) },
        };
        Ok(heap.read(handle, offset, into)?)
    }))
}

/// Changes bytes of a block. 0, or −1.
///
/// # Safety
/// `from` is good for reading `len` bytes, which are not the block's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pm_write(
    block: *mut Block,
    offset: usize,
    from: *const c_void,
    len: usize,
) -> c_int {
    status(heap::with(|heap| {
        let handle = handle(block)?;
        check_buffer(from, len)?;
        let from = match len {
            0 => &[],
            // SAFETY: the caller's contract; it is not null, and no object is larger than that.
            len => unsafe { std::slice::from_raw_parts(from.cast(), len) },
        };
        Ok(heap.write(handle, offset, from)?)
    }))
}

/// What no caller can mean: null, or more bytes than an object can have.
fn check_buffer(buffer: *const c_void, len: usize) -> Result<(), Failure> {
    if len > 0 && (buffer.is_null() || len > isize::MAX as usize) {
        return Err(Failure::new(Code::Invalid, format!("{len} bytes at {buffer:p} are no buffer")));
    }
    Ok(())
}

/// Bytes of a block, as they were asked for; 0 if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn pm_size(block: *mut Block) -> usize {
    heap::with(|heap| Ok(heap.size(handle(block)?)?)).unwrap_or_else(|failure| failure.note(0))
}

/// Bytes that are not in use: frames (`PM_PHYSICAL`) or blocks (`PM_VIRTUAL`).
#[unsafe(no_mangle)]
pub extern "C" fn pm_available(which: c_int) -> usize {
    heap::with(|heap| Ok(heap.available(space(which)?))).unwrap_or_else(|failure| failure.note(0))
}

/// 1 if nothing is available, 0 if something is, −1 if there is no heap or no such space.
#[unsafe(no_mangle)]
pub extern "C" fn pm_is_full(which: c_int) -> c_int {
    heap::with(|heap| Ok(c_int::from(heap.is_full(space(which)?)))).unwrap_or_else(|failure| failure.note(-1))
}
