#![expect(unsafe_code, reason = "looks at streams of the C library, and calls what it has for debuggers")]
//! Streams of the C library (`FILE`), which lie in the heap, over a fork.
//!
//! glibc's fork takes the lock of its list of streams after all prepare handlers have run, and in the child
//! writes to the lock of each stream before the first handler runs. Nobody serves faults then: in the parent the pager's
//! core is locked, in the child there is no pager yet. So the list is locked before anything of ours, and
//! every stream is in memory when the process is copied. Who holds the list's lock may wait for the pager.
//!
//! The functions are glibc's, exported since 2.2.5; where there are none, there is nothing to see to.

use core::ffi::{CStr, c_void};
use core::mem::transmute;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

/// `struct _IO_FILE` and the table of functions after it, of 64-bit machines.
const STREAM_BYTES: usize = 224;
/// Where that has a pointer to its lock.
const LOCK_OFFSET: usize = 136;
const LOCK_BYTES: usize = 16;

/// A function of glibc's, by its name.
struct Function {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Function {
    const fn new(name: &'static CStr) -> Self {
        Self { name, found: AtomicPtr::new(null_mut()) }
    }

    fn find(&self) {
        // SAFETY: a name that ends in zero.
        self.found.store(unsafe { libc::dlsym(libc::RTLD_DEFAULT, self.name.as_ptr()) }, Ordering::Release);
    }

    fn get(&self) -> Option<*mut c_void> {
        Some(self.found.load(Ordering::Acquire)).filter(|found| !found.is_null())
    }

    fn call(&self) {
        if let Some(function) = self.get() {
            // SAFETY: of these names, those that are called take nothing and return nothing.
            unsafe { transmute::<*mut c_void, unsafe extern "C" fn()>(function)() }
        }
    }
}

static LOCK: Function = Function::new(c"_IO_list_lock");
static UNLOCK: Function = Function::new(c"_IO_list_unlock");
static RESET: Function = Function::new(c"_IO_list_resetlock");
static BEGIN: Function = Function::new(c"_IO_iter_begin");
static NEXT: Function = Function::new(c"_IO_iter_next");

pub(crate) fn init() {
    [&LOCK, &UNLOCK, &RESET, &BEGIN, &NEXT].into_iter().for_each(Function::find);
}

/// Keeps others from adding and removing streams. The thread that forks may lock it again.
pub(crate) fn lock() {
    LOCK.call();
}

/// In the parent.
pub(crate) fn unlock() {
    UNLOCK.call();
}

/// In the child, where nobody has it.
pub(crate) fn reset() {
    RESET.call();
}

/// Whether all streams are in memory; stops at the first byte that is not. The list is locked.
pub(crate) fn are_all(is_here: &dyn Fn(usize) -> bool) -> bool {
    let (Some(begin), Some(next)) = (BEGIN.get(), NEXT.get()) else { return true };
    // SAFETY: what glibc has these functions for: an iterator is a stream's address, or null at the end.
    let (begin, next) = unsafe {
        (
            transmute::<*mut c_void, unsafe extern "C" fn() -> *mut u8>(begin),
            transmute::<*mut c_void, unsafe extern "C" fn(*mut u8) -> *mut u8>(next),
        )
    };
    // SAFETY: as above; the list is locked.
    let mut stream = unsafe { begin() };
    while !stream.is_null() {
        if !is_here(stream.addr()) || !is_here(stream.addr() + STREAM_BYTES - 1) {
            return false;
        }
        // SAFETY: a stream, which is in memory.
        let lock = unsafe { stream.add(LOCK_OFFSET).cast::<usize>().read() };
        if lock != 0 && (!is_here(lock) || !is_here(lock + LOCK_BYTES - 1)) {
            return false;
        }
        // SAFETY: as above.
        stream = unsafe { next(stream) };
    }
    true
}

/// Brings all of them in. The list is locked, and nothing of ours is.
pub(crate) fn bring_in() {
    are_all(&|addr| {
        // SAFETY: a byte of a stream or its lock, which others may change meanwhile.
        unsafe { (addr as *const u8).read_volatile() };
        true
    });
}
