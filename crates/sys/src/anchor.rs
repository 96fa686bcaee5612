//! Descriptors that stay open for as long as the memory is there.
//!
//! A userfaultfd that is closed leaves its pages to the kernel: what is absent reads as
//! zeros from then on. Whoever serves a program from another process can be killed, and its
//! descriptors go with it. A mapping is a reference as well: of a ring (io_uring(7)) the
//! mapping keeps the ring, and the ring keeps the files that are registered with it, until
//! nobody has this address space any more. Who touches an absent page then waits.

use crate::errno;
use io_uring::IoUring;
use rustix::io::Errno;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Keeps `files` open until this address space ends, by whatever means and in whichever
/// process, even if all their descriptors are closed before. A forked child does not keep
/// them. Takes one descriptor of the caller's table, and two pages, for ever.
///
/// # Errors
/// What io_uring_setup(2) and io_uring_register(2) say: EPERM or ENOSYS where rings are not
/// allowed. Nothing is kept then.
pub fn keep_open(files: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let ring: IoUring = IoUring::builder().dontfork().build(1).map_err(|error| errno::of(&error))?;
    let files: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
    ring.submitter().register_files(&files).map_err(|error| errno::of(&error))?;
    // Its mappings are what this is about.
    mem::forget(ring);
    Ok(())
}
