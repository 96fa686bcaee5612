#![expect(unsafe_code, reason = "exports C functions, and sets errno")]
//! What went wrong last, for C: a function's result says that something did, `errno` of
//! what kind, and `oc_error` tells.

use core::ffi::{c_char, c_int};
use core::fmt::Display;
use std::cell::RefCell;
use std::ffi::CString;

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// What errno says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The caller's mistake.
    Invalid,
    /// There is no memory.
    NoMemory,
    /// This number.
    Number(c_int),
}

/// Notes what went wrong in `function`.
pub(crate) fn note(function: &str, kind: Kind, error: &dyn Display) {
    // A message has no zero byte: names are shown escaped.
    let message = CString::new(format!("{function}: {error}")).unwrap_or_default();
    // A thread that is ending may have none any more.
    let _ = LAST.try_with(|last| *last.borrow_mut() = message);
    let number: c_int = match kind {
        Kind::Invalid => libc::EINVAL,
        Kind::NoMemory => libc::ENOMEM,
        Kind::Number(number) => number,
    };
    // SAFETY: the location is this thread's, and always valid.
    unsafe { *libc::__errno_location() = number };
}

/// Notes an error and gives nothing.
pub(crate) fn failed<T>(function: &str, kind: Kind, error: &dyn Display) -> Option<T> {
    note(function, kind, error);
    None
}

/// What the calling thread's last call that failed was told: a message without a newline,
/// empty if none has failed. It is valid until another call of this thread fails.
#[unsafe(no_mangle)]
pub extern "C" fn oc_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}
