#![expect(unsafe_code, reason = "mappings")]
//! Memory that is mapped at several places at once.

use crate::errno;
use crate::maps;
use core::ffi::{CStr, c_void};
use core::ptr;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

/// What a mapping may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}

impl Rights {
    pub(crate) fn prot(self) -> ProtFlags {
        match self {
            Self::Read => ProtFlags::READ,
            Self::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        }
    }
}

/// Pages by number, without a name, zero until they are written (memfd_create(2)). They
/// live as long as this or a mapping of it.
#[derive(Debug)]
pub struct ViewedMemory {
    fd: OwnedFd,
}

impl ViewedMemory {
    /// `len` bytes, of which none has memory. The name is for /proc/self/maps.
    ///
    /// # Errors
    /// What memfd_create(2) and ftruncate(2) say.
    pub fn new(name: &CStr, len: u64) -> Result<Self, Errno> {
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&fd, len)?;
        Ok(Self { fd })
    }

    /// Memory as long as it will ever be, which may be mapped by processes that are not
    /// trusted: none of them can make it shorter under the others.
    ///
    /// # Errors
    /// What memfd_create(2), ftruncate(2) and fcntl(2) say.
    pub fn sealed(name: &CStr, len: u64) -> Result<Self, Errno> {
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, len)?;
        rustix::fs::fcntl_add_seals(&fd, SEALS)?;
        Ok(Self { fd })
    }

    /// Memory of another process's, which has made it as [`Self::sealed`] does.
    ///
    /// # Errors
    /// `EINVAL` if it is something else or not `len` bytes long.
    pub fn received(fd: OwnedFd, len: u64) -> Result<Self, Errno> {
        let is_sealed = rustix::fs::fcntl_get_seals(&fd)?.contains(SEALS);
        let size = rustix::fs::fstat(&fd)?.st_size;
        if is_sealed && u64::try_from(size) == Ok(len) { Ok(Self { fd }) } else { Err(Errno::INVAL) }
    }

    /// Copies whole pages to memory of the caller's; those that have no memory are zeros.
    ///
    /// # Errors
    /// What pread(2) says; `EIO` past the end.
    ///
    /// # Safety
    /// `to` is `len` writable bytes that nobody else uses.
    pub unsafe fn copy_out(&self, offset: u64, to: usize, len: usize) -> Result<(), Errno> {
        let mut done = 0;
        while done < len {
            let (at, rest) = (at(to + done), len - done);
            // SAFETY: the caller's contract.
            let read =
                unsafe { libc::pread(self.fd.as_raw_fd(), at, rest, (offset + done as u64) as libc::off_t) };
            done += progress(read)?;
        }
        Ok(())
    }

    /// Copies whole pages from memory of the caller's, wherever these are mapped; how many
    /// bytes, in whole pages, and why not all.
    ///
    /// # Safety
    /// `from` is `len` readable bytes that nobody changes.
    pub unsafe fn copy_in(&self, offset: u64, from: usize, len: usize) -> (usize, Result<(), Errno>) {
        let mut done = 0;
        while done < len {
            let (at, rest) = (at(from + done), len - done);
            // SAFETY: the caller's contract.
            let written =
                unsafe { libc::pwrite(self.fd.as_raw_fd(), at, rest, (offset + done as u64) as libc::off_t) };
            match progress(written) {
                Ok(more) => done += more,
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }

    /// Drops pages, wherever they are mapped: they have no memory then, and are zero.
    ///
    /// # Errors
    /// What fallocate(2) says.
    pub fn punch(&self, offset: u64, len: u64) -> Result<(), Errno> {
        use rustix::fs::FallocateFlags;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.fd, flags, offset, len)
    }

    /// Makes it longer.
    ///
    /// # Errors
    /// What ftruncate(2) says.
    pub fn set_len(&self, len: u64) -> Result<(), Errno> {
        rustix::fs::ftruncate(&self.fd, len)
    }

    /// Maps `len` bytes from `offset` on at an address of the kernel's choice. Forked
    /// children do not have the mapping.
    ///
    /// # Errors
    /// What mmap(2) and madvise(2) say.
    pub fn map(&self, offset: u64, len: usize, rights: Rights) -> Result<usize, Errno> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let addr = unsafe {
            rustix::mm::mmap(ptr::null_mut(), len, rights.prot(), Self::flags(), &self.fd, offset)?
        };
        let addr = addr.expose_provenance();
        match settle(addr, len) {
            Ok(()) => Ok(addr),
            Err(error) => {
                // SAFETY: the mapping just made, which nobody knows.
                unsafe { release(addr, len) };
                Err(error)
            }
        }
    }

    /// Maps `len` bytes from `offset` on at `addr`, in place of what is there.
    ///
    /// # Errors
    /// As [`Self::map`].
    ///
    /// # Safety
    /// Nobody uses what is there.
    pub unsafe fn map_over(&self, addr: usize, offset: u64, len: usize, rights: Rights) -> Result<(), Errno> {
        let flags = Self::flags() | MapFlags::FIXED;
        // SAFETY: the caller's contract.
        unsafe { rustix::mm::mmap(at(addr), len, rights.prot(), flags, &self.fd, offset)? };
        settle(addr, len)
    }

    fn flags() -> MapFlags {
        MapFlags::SHARED | MapFlags::NORESERVE
    }
}

/// It keeps its length, and who has it cannot change that.
pub(crate) const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Bytes that a transfer of whole pages has done. One that was interrupted within a page
/// begins again there.
fn progress(answer: isize) -> Result<usize, Errno> {
    match usize::try_from(answer) {
        Ok(0) => Err(Errno::IO),
        Ok(bytes) => Ok(bytes),
        Err(_) => match errno::last() {
            Errno::INTR => Ok(0),
            other => Err(other),
        },
    }
}

/// Keeps a mapping out of children and core dumps, and made of small pages.
fn settle(addr: usize, len: usize) -> Result<(), Errno> {
    maps::dont_fork(addr, len)?;
    maps::no_huge_pages(addr, len)?;
    advise(addr, len, Advice::LinuxDontDump)
}

fn advise(addr: usize, len: usize, advice: Advice) -> Result<(), Errno> {
    // SAFETY: keeps all bytes.
    unsafe { rustix::mm::madvise(at(addr), len, advice) }
}

fn at(addr: usize) -> *mut c_void {
    ptr::with_exposed_provenance_mut(addr)
}

/// Drops pages of shared memory that are mapped at `addr`, wherever else they are mapped:
/// they have no memory then, and are zero.
///
/// # Errors
/// What madvise(2) says.
///
/// # Safety
/// Nobody wants the bytes.
pub unsafe fn remove(addr: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: the caller's contract.
    unsafe { rustix::mm::madvise(at(addr), len, Advice::LinuxRemove) }
}

/// Puts inaccessible memory over a mapping, so that its addresses stay taken.
///
/// # Errors
/// What mmap(2) says.
///
/// # Safety
/// Nobody uses what is there.
pub unsafe fn close_off(addr: usize, len: usize) -> Result<(), Errno> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: the caller's contract.
    unsafe { rustix::mm::mmap_anonymous(at(addr), len, ProtFlags::empty(), flags)? };
    maps::dont_fork(addr, len)
}

/// Reserves addresses with nothing there, which children do not have.
///
/// # Errors
/// What mmap(2) and madvise(2) say.
pub fn reserve(len: usize) -> Result<usize, Errno> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let addr = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), flags)? };
    let addr = addr.expose_provenance();
    match maps::dont_fork(addr, len) {
        Ok(()) => Ok(addr),
        Err(error) => {
            // SAFETY: the mapping just made, which nobody knows.
            unsafe { release(addr, len) };
            Err(error)
        }
    }
}

/// Gives back what [`reserve`] gave, or a mapping of [`ViewedMemory::map`]. Failing leaves
/// addresses unused, no more.
///
/// # Safety
/// It is the caller's, and nobody uses it.
pub unsafe fn release(addr: usize, len: usize) {
    // SAFETY: the caller's contract.
    let _ = unsafe { maps::unmap(addr, len) };
}

impl AsFd for ViewedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
