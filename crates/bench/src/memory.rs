#![expect(unsafe_code, reason = "maps the words that are measured")]
//! Words in anonymous memory, or in a shared mapping of a file.

use std::fs::OpenOptions;
use std::io::Error;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::ptr;
use std::sync::atomic::AtomicU64;

const PAGE: usize = 4096;
/// Words of a page.
pub(crate) const WORDS: usize = PAGE / 8;

/// Words for the rest of the program's life.
pub(crate) struct Words {
    words: &'static mut [u64],
}

impl Words {
    /// `mib` MiB that start as zeros.
    ///
    /// # Errors
    /// What open(2), ftruncate(2) and mmap(2) say.
    pub(crate) fn map(mib: usize, file: Option<&Path>) -> Result<Self, Error> {
        let len = mib << 20;
        let (flags, fd) = match file {
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1),
            Some(path) => {
                let file =
                    OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
                file.set_len(len as u64)?;
                // For the mapping, which lives as long as the program.
                (libc::MAP_SHARED, file.into_raw_fd())
            }
        };
        // SAFETY: a new mapping at an address of the kernel's choice. By the C name,
        // which is what a program calls and what a preloaded library may define.
        let addr =
            unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
        if addr == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        // SAFETY: the mapping is that long, zeroed, aligned, never unmapped and nobody else's.
        Ok(Self { words: unsafe { std::slice::from_raw_parts_mut(addr.cast(), len / 8) } })
    }

    /// All words, for one thread.
    pub(crate) fn own(&mut self) -> &mut [u64] {
        self.words
    }

    /// All words, for several.
    pub(crate) fn shared(&mut self) -> &[AtomicU64] {
        // SAFETY: the same layout; the borrow is exclusive, so all uses are atomic.
        unsafe { std::slice::from_raw_parts(self.words.as_mut_ptr().cast(), self.words.len()) }
    }
}
