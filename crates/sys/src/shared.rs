#![expect(unsafe_code, reason = "maps memory that other processes share")]
//! Memory that a process shares: with its forked children, or with whoever has its file.

use crate::maps::Mapping;
use crate::views::SEALS;
use core::ops::Deref;
use core::sync::atomic::AtomicU64;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    MemfdFlags, Mode, OFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};
use std::path::Path;

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

/// A file in memory without a name, which reads as `len` zeros, for values that other processes map: none of them can
/// make it shorter under the others, which would be SIGBUS for whoever touches what is gone.
///
/// # Errors
/// What memfd_create(2), ftruncate(2) and fcntl(2) say.
pub fn file(name: &str, len: u64) -> Result<OwnedFd, Errno> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, len)?;
    fcntl_add_seals(&file, SEALS)?;
    Ok(file)
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

/// A type of which one value lies in memory that other processes write at any time.
///
/// # Safety
/// Every bit pattern is one of its values, all of it that is read or written is atomic, and its
/// layout is that of C.
pub(crate) unsafe trait Common {}

/// The `T` at the beginning of `file`, which others may have mapped too; for ever, or until
/// [`unmap`].
///
/// # Errors
/// As [`map_for_ever`].
pub(crate) fn value<T: Common>(file: impl AsFd) -> Result<&'static T, Errno> {
    const { assert!(align_of::<T>() <= 4096, "mappings are aligned to pages") };
    let start = map_for_ever(file, 0, size_of::<T>())?;
    // SAFETY: never unmapped, as large as the type and page-aligned; the type allows every bit
    // pattern and that others write at any time.
    Ok(unsafe { &*start.cast::<T>() })
}

/// Unmaps what [`value`] has mapped.
///
/// # Safety
/// Nobody in this process uses it any more.
pub(crate) unsafe fn unmap<T: Common>(value: *const T) {
    // SAFETY: the caller's contract. Failing leaves it mapped.
    let _ = unsafe { rustix::mm::munmap(value.cast_mut().cast(), size_of::<T>()) };
}

/// The same for the file at `path`. None where there is none, or it cannot be mapped.
pub(crate) fn value_at<T: Common>(path: &Path) -> Option<&'static T> {
    value(open(path)?).ok()
}

/// The file at `path`, to read and to write, if there is one for us.
pub(crate) fn open(path: &Path) -> Option<OwnedFd> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Maps `len` bytes of `file` from `offset` on, to read and to write, and never unmaps them.
///
/// # Errors
/// What fstat(2) and mmap(2) say; `EINVAL` for a file that is too short, or is not made as [`file()`] does: somebody could
/// make it shorter later.
pub(crate) fn map_for_ever(file: impl AsFd, offset: u64, len: usize) -> Result<*mut u8, Errno> {
    // What lies beyond the end would be SIGBUS when it is touched.
    let is_sealed = fcntl_get_seals(&file)?.contains(SEALS);
    if !is_sealed || fstat(&file)?.st_size < (offset + len as u64) as i64 {
        return Err(Errno::INVAL);
    }
    let rights = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe { mmap(core::ptr::null_mut(), len, rights, MapFlags::SHARED, file, offset)? };
    Ok(start.cast())
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
    fn nobody_makes_a_file_shorter_that_others_have_mapped() {
        let sealed = file("test", 8192).unwrap();
        assert!(map_for_ever(&sealed, 4096, 4096).is_ok());
        assert_eq!(ftruncate(&sealed, 0), Err(Errno::PERM));
        assert_eq!(map_for_ever(&sealed, 4096, 4097), Err(Errno::INVAL));
        let plain = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&plain, 8192).unwrap();
        assert_eq!(map_for_ever(&plain, 0, 4096), Err(Errno::INVAL));
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
