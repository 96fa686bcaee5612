#![expect(unsafe_code, reason = "pthread_sigmask takes pointers")]
//! Signals held back for a while.

use core::mem::MaybeUninit;

/// All signals of this thread are blocked until it is dropped.
pub(crate) struct Blocked {
    before: libc::sigset_t,
}

impl core::fmt::Debug for Blocked {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Blocked")
    }
}

impl Blocked {
    pub(crate) fn all() -> Self {
        let mut all = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: both point to room for a set; sigfillset initialises the first
        // before it is read, pthread_sigmask the second before it returns.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Self { before: before.assume_init() }
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set was filled in by pthread_sigmask.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, core::ptr::null_mut());
        }
    }
}
