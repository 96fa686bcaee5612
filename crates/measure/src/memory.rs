#![expect(unsafe_code, reason = "maps the words that are measured")]
//! Words in anonymous memory, or in a mapping of a file.

use std::fs::{File, OpenOptions};
use std::io::Error;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::path::Path;
use std::ptr;
use std::sync::atomic::AtomicU64;

const PAGE: usize = 4096;
/// Words of a page.
pub const WORDS: usize = PAGE / 8;

/// Words for the rest of the program's life, or until they are given up.
#[derive(Debug)]
pub struct Words {
    words: &'static mut [u64],
}

impl Words {
    /// `mib` MiB that start as zeros.
    ///
    /// # Errors
    /// What open(2), ftruncate(2) and mmap(2) say.
    pub fn map(mib: usize, file: Option<&Path>) -> Result<Self, Error> {
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
        // SAFETY: the mapping is that long, zeroed, aligned, unmapped when it is given up at the earliest, and nobody else's.
        Ok(Self { words: unsafe { std::slice::from_raw_parts_mut(addr.cast(), len / 8) } })
    }

    /// Those of a whole file, which is not changed by what is written to them.
    ///
    /// # Errors
    /// What fstat(2) and mmap(2) say.
    pub fn of_file(file: &File) -> Result<Self, Error> {
        let len = file.metadata()?.len() as usize / PAGE * PAGE;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let addr =
            unsafe { libc::mmap(ptr::null_mut(), len, rights, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
        if addr == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        // SAFETY: the mapping is that long, aligned, unmapped when it is given up at the earliest, and nobody else's.
        Ok(Self { words: unsafe { std::slice::from_raw_parts_mut(addr.cast(), len / 8) } })
    }

    /// Gives them up.
    ///
    /// # Errors
    /// What munmap(2) says.
    pub fn unmap(self) -> Result<(), Error> {
        let len = size_of_val(self.words);
        // SAFETY: the mapping is ours, and nobody borrows it.
        let unmapped = unsafe { libc::munmap(self.words.as_mut_ptr().cast(), len) };
        if unmapped == 0 { Ok(()) } else { Err(Error::last_os_error()) }
    }

    /// How many pages they fill.
    pub fn own_pages(&self) -> usize {
        self.words.len() / WORDS
    }

    /// All words, for one thread.
    pub fn own(&mut self) -> &mut [u64] {
        self.words
    }

    /// All words, for several.
    pub fn shared(&mut self) -> &[AtomicU64] {
        // SAFETY: the same layout; the borrow is exclusive, so all uses are atomic.
        unsafe { std::slice::from_raw_parts(self.words.as_mut_ptr().cast(), self.words.len()) }
    }
}
