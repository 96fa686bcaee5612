//! What the program that linked this library defines: memory, a register, files.

#![expect(unsafe_code, reason = "the infrastructure's symbols are C; see docs/soundness.md, 13")]

use pager::FrameNo;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

/// Bytes in a page.
pub(crate) const PAGE_SIZE: usize = 64 << 10;

// SAFETY: these are the declarations of `vm_pager.h`. Blocks are declared one register wide: the upper half is
// then zero, which is right for infrastructures that take an `unsigned int` and for those that take a `size_t`.
unsafe extern "C" {
    static vm_physmem: *mut c_void;
    static mut page_table_base_register: *mut u32;
    fn file_read(filename: *const c_char, block: usize, buf: *mut c_void) -> c_int;
    fn file_write(filename: *const c_char, block: usize, buf: *const c_void) -> c_int;
}

/// A transfer that the infrastructure could not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TransferFailed;

/// The physical memory: so many frames from the address that the infrastructure gives.
pub(crate) struct Physical {
    base: *mut u8,
    frames: u32,
}

// SAFETY: the memory belongs to the process, not to a thread; every call holds the one lock of `calls`.
unsafe impl Send for Physical {}

impl Physical {
    /// The infrastructure's memory.
    ///
    /// # Errors
    /// If the infrastructure has no memory.
    pub(crate) fn new(frames: u32) -> Result<Self, &'static str> {
        // SAFETY: the infrastructure defines it, and does not change it while the pager is in a call.
        let base = unsafe { ptr::read_volatile(&raw const vm_physmem) }.cast::<u8>();
        if base.is_null() { Err("vm_physmem is null") } else { Ok(Self { base, frames }) }
    }

    /// Where a frame is.
    fn place(&self, frame: FrameNo) -> *mut u8 {
        assert!(frame.0 < self.frames, "{frame:?} of {}", self.frames);
        // SAFETY: `vm_init` was told that the memory has so many pages, so this lies in it.
        unsafe { self.base.add(frame.0 as usize * PAGE_SIZE) }
    }

    /// Fills a frame with zeros.
    pub(crate) fn zero(&mut self, frame: FrameNo) {
        // SAFETY: a frame is a page of memory; no Rust reference to it exists, here or anywhere.
        unsafe { ptr::write_bytes(self.place(frame), 0, PAGE_SIZE) }
    }

    /// Copies a frame into `bytes`.
    pub(crate) fn save(&self, frame: FrameNo, bytes: &mut [u8; PAGE_SIZE]) {
        // SAFETY: as in `zero`; `bytes` is the pager's own and so lies elsewhere.
        unsafe { ptr::copy_nonoverlapping(self.place(frame), bytes.as_mut_ptr(), PAGE_SIZE) }
    }

    /// Copies `bytes` into a frame.
    pub(crate) fn restore(&mut self, frame: FrameNo, bytes: &[u8; PAGE_SIZE]) {
        // SAFETY: as in `save`.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.place(frame), PAGE_SIZE) }
    }

    /// One byte of a frame.
    pub(crate) fn byte(&self, frame: FrameNo, offset: usize) -> u8 {
        assert!(offset < PAGE_SIZE, "offset {offset} in a page");
        // SAFETY: as in `zero`; the offset lies in the page.
        unsafe { ptr::read(self.place(frame).add(offset)) }
    }

    /// Reads a block of a file, or of swap without a name, into a frame.
    ///
    /// # Errors
    /// If the infrastructure says that it failed.
    pub(crate) fn read(
        &mut self,
        name: Option<&CStr>,
        block: usize,
        frame: FrameNo,
    ) -> Result<(), TransferFailed> {
        let name = name.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: the name is null or a C string that outlives the call, and the buffer a page of physical memory.
        let answer = unsafe { file_read(name, block, self.place(frame).cast()) };
        if answer == 0 { Ok(()) } else { Err(TransferFailed) }
    }

    /// Writes a frame to a block of a file, or of swap without a name.
    ///
    /// # Errors
    /// If the infrastructure says that it failed.
    pub(crate) fn write(
        &mut self,
        name: Option<&CStr>,
        block: usize,
        frame: FrameNo,
    ) -> Result<(), TransferFailed> {
        let name = name.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: as in `read`; the infrastructure only reads from the buffer.
        let answer = unsafe { file_write(name, block, self.place(frame).cast_const().cast()) };
        if answer == 0 { Ok(()) } else { Err(TransferFailed) }
    }
}

/// Points the hardware at a page table; null: no process runs.
pub(crate) fn set_page_table(table: *mut u32) {
    // SAFETY: the infrastructure defines the register and leaves it to the pager. `driver` sets it to null, or to
    // another table, before it frees the one that it names.
    unsafe { ptr::write_volatile(&raw mut page_table_base_register, table) }
}
