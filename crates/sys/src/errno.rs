//! What the C library says of a call that has failed.

use rustix::io::Errno;
use std::io::Error;

/// Why this thread's last call failed.
pub(crate) fn last() -> Errno {
    of(&Error::last_os_error())
}

/// The kernel's number of an error; `EIO` for one that is not the kernel's.
pub(crate) fn of(error: &Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
