#![expect(unsafe_code, reason = "errno is a C variable")]
//! `errno`.

/// Sets it.
pub(crate) fn set(value: i32) {
    // SAFETY: errno is this thread's own.
    unsafe { *libc::__errno_location() = value };
}

/// Puts `errno` back to what it was when this is dropped: `free` preserves it.
pub(crate) struct Kept(i32);

impl Kept {
    pub(crate) fn now() -> Self {
        // SAFETY: as above.
        Self(unsafe { *libc::__errno_location() })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        set(self.0);
    }
}
