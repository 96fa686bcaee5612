//! The exported functions; `include/vm_pager.h` says what each does.

#![expect(unsafe_code, reason = "names without mangling are an unsafe attribute; see docs/soundness.md, 13")]

use crate::driver::{Driver, Failed};
use crate::infrastructure::set_page_table;
use pager::space::{Access, SpaceNo};
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::process::abort;
use std::ptr;
use std::sync::{Mutex, MutexGuard, TryLockError};

/// What `vm_init` made.
static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

const FAILED: c_int = -1;

/// Stops the program: the infrastructure does what no call can answer.
fn stop(call: &str, why: &str) -> ! {
    eprintln!("outcore: {call}: {why}");
    abort()
}

fn lock(call: &str) -> MutexGuard<'static, Option<Driver>> {
    match DRIVER.try_lock() {
        Ok(driver) => driver,
        Err(TryLockError::WouldBlock) => stop(
            call,
            "called during another call: one thread at a time, and not from file_read or file_write",
        ),
        Err(TryLockError::Poisoned(_)) => stop(call, "called after the pager has failed"),
    }
}

/// Carries out `work`, for a pager that has been initialised.
fn with<T>(call: &str, work: impl FnOnce(&mut Driver) -> T) -> T {
    match lock(call).as_mut() {
        Some(driver) => work(driver),
        None => stop(call, "called before vm_init"),
    }
}

/// `pid_t` is signed; processes are told apart by all of its bits.
fn space(pid: c_int) -> SpaceNo {
    SpaceNo(pid.cast_unsigned())
}

fn status(result: Result<(), Failed>) -> c_int {
    result.map_or(FAILED, |()| 0)
}

fn address(result: Result<u64, Failed>) -> *mut c_void {
    result.map_or(ptr::null_mut(), |address| ptr::without_provenance_mut(address as usize))
}

/// Makes the pager, for so many pages of memory and blocks of swap. Stops the program if that is impossible.
// SAFETY: the name is that of `vm_pager.h`, and nothing else in the library has it; as below.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vm_init(memory_pages: c_uint, swap_blocks: c_uint) {
    let mut driver = lock("vm_init");
    // Should there be an earlier pager, its tables go.
    set_page_table(ptr::null_mut());
    *driver = None;
    match Driver::new(memory_pages, swap_blocks) {
        Ok(made) => *driver = Some(made),
        Err(why) => stop("vm_init", &why),
    }
}

/// A process begins: a copy of its parent, if that is known. -1 if there is not enough swap.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vm_create(parent_pid: c_int, child_pid: c_int) -> c_int {
    status(with("vm_create", |driver| driver.create(space(parent_pid), space(child_pid))))
}

/// A process runs from now on. One that is not known is refused with a message, and nothing changes.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vm_switch(pid: c_int) {
    if with("vm_switch", |driver| driver.switch(space(pid))).is_err() {
        eprintln!("outcore: vm_switch: there is no process {pid}");
    }
}

/// Maps the lowest free page of the arena, to zeros or to a block of a file. Null if it cannot.
///
/// `filename` is an address of the process that runs, and is not read otherwise than through its page table.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vm_map(filename: *const c_char, block: c_uint) -> *mut c_void {
    address(with("vm_map", |driver| {
        if filename.is_null() { driver.map() } else { driver.map_file(filename.addr() as u64, block) }
    }))
}

/// Serves a fault of the process that runs. -1 if it cannot.
// SAFETY: as above. A C `bool` is one byte.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vm_fault(addr: *const c_void, write_flag: u8) -> c_int {
    let access = if write_flag == 0 { Access::Read } else { Access::Write };
    status(with("vm_fault", |driver| driver.fault(addr.addr() as u64, access)))
}

/// The process that runs ends, and the register is null.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn vm_destroy() {
    with("vm_destroy", Driver::destroy);
}
