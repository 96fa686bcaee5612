#![expect(unsafe_code, reason = "maps memory that forked children share")]
//! Memory that a process shares with its forked children.

use crate::maps::Mapping;
use core::ops::Deref;
use core::sync::atomic::AtomicU64;
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};

/// Memory that forked children share, zero at first, resident where touched. There for as
/// long as anybody has it mapped.
#[derive(Debug)]
pub struct SharedMemory(Mapping);

impl Deref for SharedMemory {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        &self.0
    }
}

impl SharedMemory {
    /// `len` bytes.
    ///
    /// # Errors
    /// What memfd_create(2), ftruncate(2) and mmap(2) say.
    pub fn new(len: usize) -> Result<Self, Errno> {
        // A file, of which the kernel counts what is touched, where it counts promises.
        let file: OwnedFd = memfd_create("outcore-shared", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, len as u64)?;
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let addr = unsafe { mmap(core::ptr::null_mut(), len, rights, MapFlags::SHARED, &file, 0)? };
        Ok(Self(Mapping::new(addr, len)))
    }

    /// Drops whole pages for everybody; they read as zeros from then on.
    ///
    /// # Errors
    /// What madvise(2) says.
    ///
    /// # Panics
    /// If they do not lie inside.
    pub fn forget(&self, offset: usize, len: usize) -> Result<(), Errno> {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len()),
            "{offset}+{len} of {}",
            self.len()
        );
        // SAFETY: inside this mapping, whose users ask for it.
        unsafe { madvise((self.addr() + offset) as *mut _, len, Advice::LinuxRemove) }
    }
}

/// `count` words, zero at first, which forked children see and change as well; for ever.
///
/// # Errors
/// As [`SharedMemory::new`].
pub fn words(count: usize) -> Result<&'static [AtomicU64], Errno> {
    let len = count.checked_mul(size_of::<AtomicU64>()).ok_or(Errno::NOMEM)?;
    let memory = core::mem::ManuallyDrop::new(SharedMemory::new(len)?);
    // SAFETY: the mapping is page-aligned, as long as the words and never unmapped; every bit
    // pattern is a word, and others may write at any time, which atomic words allow.
    Ok(unsafe { core::slice::from_raw_parts(memory.addr() as *const AtomicU64, count) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering;

    #[test]
    fn a_forked_child_writes_what_its_parent_reads() {
        let words = words(1 << 20).unwrap();
        // SAFETY: the child writes a word and ends at once.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                words[1 << 19].store(7, Ordering::Release);
                libc::_exit(0);
            }
            assert_eq!(libc::waitpid(child, core::ptr::null_mut(), 0), child);
        }
        assert_eq!(words[1 << 19].load(Ordering::Acquire), 7);
    }

    #[test]
    fn what_is_forgotten_reads_as_zeros() {
        let memory = SharedMemory::new(1 << 20).unwrap();
        let byte = (memory.addr() + 8192) as *mut u8;
        // SAFETY: inside the mapping.
        unsafe {
            byte.write(1);
            memory.forget(8192, 4096).unwrap();
            assert_eq!(byte.read_volatile(), 0);
        }
    }
}
