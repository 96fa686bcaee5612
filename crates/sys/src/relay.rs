#![expect(unsafe_code, reason = "has the kernel read and write memory that may not be there")]
//! Copies of memory that may not be there: an error where a touch would raise a signal.

use crate::errno;
use core::ffi::c_void;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

/// Bytes that are copied at once: what an empty pipe always has room for (`PIPE_BUF`, pipe(7)).
pub const BYTES: usize = 4096;

/// A pipe through which the kernel copies memory. Pages that are served by userfaultfd(2) come in as for any
/// system call, so that whoever serves them must not be the one who waits here.
#[derive(Debug)]
pub struct Relay {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Relay {
    /// A new one, which processes that are executed do not have.
    ///
    /// # Errors
    /// What pipe2(2) says.
    pub fn new() -> Result<Self, Errno> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self { reader, writer })
    }

    /// Copies from an address.
    ///
    /// # Errors
    /// `EFAULT` where nothing can be read; `bytes` says nothing then.
    ///
    /// # Safety
    /// What is there is nobody's secret, and nobody changes it meanwhile.
    pub unsafe fn read(&self, from: usize, bytes: &mut [u8; BYTES]) -> Result<(), Errno> {
        // SAFETY: the kernel reads there, or says that it cannot; the bytes are the caller's.
        unsafe {
            self.fill(from)?;
            self.empty(bytes.as_mut_ptr().addr())
        }
    }

    /// Copies to an address.
    ///
    /// # Errors
    /// `EFAULT` where nothing can be written. What is there then is not known.
    ///
    /// # Safety
    /// What is there may be overwritten.
    pub unsafe fn write(&self, bytes: &[u8; BYTES], to: usize) -> Result<(), Errno> {
        // SAFETY: the bytes are the caller's; the rest is the caller's contract.
        unsafe {
            self.fill(bytes.as_ptr().addr())?;
            self.empty(to)
        }
    }

    /// # Safety
    /// As for [`Self::read`].
    unsafe fn fill(&self, from: usize) -> Result<(), Errno> {
        // SAFETY: the caller's contract. The pipe is empty, so that this does not wait for a reader.
        let filled = || unsafe { libc::write(self.writer.as_raw_fd(), from as *const c_void, BYTES) };
        match transferred(filled)? {
            BYTES => Ok(()),
            0 => Err(Errno::FAULT),
            _ => self.forget(),
        }
    }

    /// # Safety
    /// As for [`Self::write`].
    unsafe fn empty(&self, to: usize) -> Result<(), Errno> {
        // SAFETY: the caller's contract. The pipe has the bytes.
        let emptied = || unsafe { libc::read(self.reader.as_raw_fd(), to as *mut c_void, BYTES) };
        match transferred(emptied) {
            Ok(BYTES) => Ok(()),
            // Some of them are still there.
            Ok(_) | Err(Errno::FAULT) => self.forget(),
            Err(error) => Err(error),
        }
    }

    /// The next copy begins with an empty pipe.
    fn forget(&self) -> Result<(), Errno> {
        rustix::io::read(&self.reader, &mut [0; BYTES])?;
        Err(Errno::FAULT)
    }
}

/// Bytes that a transfer has moved.
fn transferred(mut transfer: impl FnMut() -> isize) -> Result<usize, Errno> {
    loop {
        match usize::try_from(transfer()) {
            Ok(bytes) => return Ok(bytes),
            Err(_) if errno::last() == Errno::INTR => {}
            Err(_) => return Err(errno::last()),
        }
    }
}
