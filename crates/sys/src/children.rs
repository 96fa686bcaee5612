#![expect(unsafe_code, reason = "waitid(2), of which no safe interface tells the child's number")]
//! Children that have ended and have not been waited for.

use crate::errno;
use core::ffi::c_int;
use core::mem::MaybeUninit;
use rustix::io::Errno;

/// Which children are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Those that send SIGCHLD when they end: what fork(2) makes.
    Ordinary,
    /// Those that send nothing or another signal, which wait(2) does not meet.
    Silent,
}

/// A child that has ended. Its number is not given to another process before [`Self::reap`].
#[derive(Debug)]
pub struct Ended {
    /// Its number.
    pub pid: i32,
    /// A signal ended it, without a core dump.
    pub was_killed: bool,
    kind: Kind,
}

/// A child that has ended, if any has; it stays as it is.
///
/// # Errors
/// ECHILD if there are no children of that kind.
pub fn ended(kind: Kind) -> Result<Option<Ended>, Errno> {
    let mut about = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = flags(kind) | libc::WNOWAIT;
    // SAFETY: the kernel fills `about`, or leaves zeros, which are valid.
    let (asked, pid, code) = unsafe {
        let asked = libc::waitid(libc::P_ALL, 0, about.as_mut_ptr(), flags);
        let about = about.assume_init();
        (asked, about.si_pid(), about.si_code)
    };
    if asked != 0 {
        return Err(errno::last());
    }
    Ok((pid != 0).then_some(Ended { pid, was_killed: code == libc::CLD_KILLED, kind }))
}

impl Ended {
    /// Takes note of its end, so that nothing is left of it.
    pub fn reap(self) {
        // Failing, somebody else has done so.
        // SAFETY: what it was is not asked.
        let _ = unsafe {
            libc::waitid(libc::P_PID, self.pid.cast_unsigned(), core::ptr::null_mut(), flags(self.kind))
        };
    }
}

fn flags(kind: Kind) -> c_int {
    let silent = if kind == Kind::Silent { libc::__WCLONE } else { 0 };
    libc::WEXITED | libc::WNOHANG | silent
}
