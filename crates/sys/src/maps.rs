#![expect(unsafe_code, reason = "mappings, and the PAGEMAP_SCAN ioctl")]
//! Mappings and what is resident of them.

use crate::errno;
use crate::views::Rights;
use core::ffi::c_void;
use core::ops::Deref;
use core::ptr;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags};

const PAGE: usize = 4096;

/// A mapping of our own, unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    addr: usize,
    len: usize,
}

impl Mapping {
    /// `len` bytes that mmap(2) has just mapped at `addr`, for nobody else.
    pub(crate) fn new(addr: *mut c_void, len: usize) -> Self {
        Self { addr: addr as usize, len }
    }

    /// Where it begins.
    pub fn addr(&self) -> usize {
        self.addr
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a mapping has at least a page.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody borrows from it.
        let _ = unsafe { rustix::mm::munmap(self.addr as *mut c_void, self.len) };
    }
}

/// Anonymous private memory of our own, resident where touched.
#[derive(Debug)]
pub struct Reservation(Mapping);

impl Deref for Reservation {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        &self.0
    }
}

impl Reservation {
    /// `len` bytes, readable and writable.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub fn new(len: usize) -> Result<Self, Errno> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let addr = unsafe {
            rustix::mm::mmap_anonymous(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags)?
        };
        Ok(Self(Mapping::new(addr, len)))
    }

    /// Keeps it out of forked children.
    ///
    /// # Errors
    /// What madvise(2) says.
    pub fn dont_fork(&self) -> Result<(), Errno> {
        advise(self.addr, self.len, Advice::LinuxDontFork)
    }

    /// Keeps it out of core dumps.
    ///
    /// # Errors
    /// What madvise(2) says.
    pub fn dont_dump(&self) -> Result<(), Errno> {
        advise(self.addr, self.len, Advice::LinuxDontDump)
    }

    /// Maps all of it for reading; without memory of its own where nothing was written.
    ///
    /// # Errors
    /// What madvise(2) says.
    pub fn read_ahead(&self) -> Result<(), Errno> {
        advise(self.addr, self.len, Advice::LinuxPopulateRead)
    }

    /// Has it made of small pages.
    ///
    /// # Errors
    /// What madvise(2) says.
    pub fn no_huge_pages(&self) -> Result<(), Errno> {
        no_huge_pages(self.addr, self.len)
    }
}

fn advise(addr: usize, len: usize, advice: Advice) -> Result<(), Errno> {
    // SAFETY: the callers below choose advice that keeps or zeroes bytes of ranges
    // that are theirs to decide about.
    unsafe { rustix::mm::madvise(addr as *mut c_void, len, advice) }
}

/// Has a range made of small pages from now on. Without effect, and without error,
/// where the kernel knows no huge ones.
///
/// # Errors
/// What madvise(2) says.
pub fn no_huge_pages(addr: usize, len: usize) -> Result<(), Errno> {
    match advise(addr, len, Advice::LinuxNoHugepage) {
        Err(Errno::INVAL) => Ok(()),
        other => other,
    }
}

/// Keeps a range out of forked children.
///
/// # Errors
/// What madvise(2) says.
pub fn dont_fork(addr: usize, len: usize) -> Result<(), Errno> {
    advise(addr, len, Advice::LinuxDontFork)
}

/// Puts a range into forked children again.
///
/// # Errors
/// What madvise(2) says.
pub fn do_fork(addr: usize, len: usize) -> Result<(), Errno> {
    advise(addr, len, Advice::LinuxDoFork)
}

/// Makes every page of a range writable memory now. Absent ones are zeroed ones then.
///
/// # Errors
/// What madvise(2) says: `ENOMEM`, and `EINVAL` before Linux 5.14.
pub fn populate_write(addr: usize, len: usize) -> Result<(), Errno> {
    advise(addr, len, Advice::LinuxPopulateWrite)
}

/// Puts anonymous memory of which nothing is there in the place of what is at `addr`.
///
/// # Errors
/// What mmap(2) says.
///
/// # Safety
/// Nobody needs what is there, nor touches it before it is registered with a userfaultfd.
pub unsafe fn put_memory(addr: usize, len: usize, rights: Rights) -> Result<(), Errno> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: the caller's contract.
    unsafe { rustix::mm::mmap_anonymous(addr as *mut c_void, len, rights.prot(), flags).map(drop) }
}

/// Moves a mapping, as it is, to the place of whatever is at `to`: every thread finds there what was, or
/// what has come.
///
/// # Errors
/// What mremap(2) says. What was at `to` may be gone then.
///
/// # Safety
/// Nobody needs what is at `from` to be there, nor what is at `to`, unless it is the same bytes.
pub unsafe fn move_over(from: usize, len: usize, to: usize) -> Result<(), Errno> {
    let flags = MremapFlags::MAYMOVE;
    // SAFETY: the caller's contract.
    unsafe { rustix::mm::mremap_fixed(from as *mut c_void, len, len, flags, to as *mut c_void).map(drop) }
}

/// Unmaps a range.
///
/// # Errors
/// What munmap(2) says.
///
/// # Safety
/// Nobody needs what is there.
pub unsafe fn unmap(addr: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: the caller's contract.
    unsafe { rustix::mm::munmap(addr as *mut c_void, len) }
}

/// Drops a range's pages; they read as zeros from then on.
///
/// # Errors
/// What madvise(2) says: `EINVAL` for locked pages.
pub fn dont_need(addr: usize, len: usize) -> Result<(), Errno> {
    advise(addr, len, Advice::LinuxDontNeed)
}

/// Whether an address has a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A page is mapped there.
    Present,
    /// The next touch is a fault.
    Absent,
}

/// Bytes from `addr` on whose pages are as `wanted`, of anonymous memory that nobody
/// changes meanwhile. Zero where mincore(2) refuses to say.
pub fn leading(addr: usize, len: usize, wanted: Presence) -> usize {
    let mut states = [0u8; 64];
    let mut found = 0;
    while found < len {
        let pages = ((len - found) / PAGE).min(states.len());
        // SAFETY: the kernel writes one byte a page, for which there is room.
        let told = unsafe { libc::mincore((addr + found) as *mut c_void, pages * PAGE, states.as_mut_ptr()) };
        if told != 0 {
            break;
        }
        let bit = u8::from(wanted == Presence::Present);
        let same = states[..pages].iter().take_while(|state| **state & 1 == bit).count();
        found += same * PAGE;
        if same < pages {
            break;
        }
    }
    found
}

/// `/proc`, opened: what is beneath is reached by it whatever the root directory is.
///
/// # Errors
/// What open(2) says.
pub fn open_proc() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn open_in(proc: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// `/proc/thread-self/statm`, opened once: that of the process is empty when its first
/// thread has left.
#[derive(Debug)]
pub struct Statm {
    fd: OwnedFd,
}

/// What it says.
#[derive(Clone, Copy, Debug)]
pub struct StatmSample {
    /// Address space in bytes.
    pub size_bytes: u64,
    /// Resident bytes, of any kind.
    pub resident_bytes: u64,
    /// Of these, bytes of files and shared memory.
    pub shared_bytes: u64,
}

impl Statm {
    /// Opens it.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn open() -> Result<Self, Errno> {
        Self::open_in(open_proc()?.as_fd())
    }

    /// Opens that of the caller beneath [`open_proc`]'s.
    ///
    /// # Errors
    /// What openat(2) says.
    pub fn open_in(proc: BorrowedFd<'_>) -> Result<Self, Errno> {
        Ok(Self { fd: open_in(proc, "thread-self/statm")? })
    }

    /// Reads it; about a microsecond.
    ///
    /// # Errors
    /// What pread(2) says; `EIO` if the text has not the form it has.
    pub fn read(&self) -> Result<StatmSample, Errno> {
        let mut text = [0; 128];
        let len = rustix::io::pread(&self.fd, &mut text, 0)?;
        let mut numbers = text[..len].split(|byte| *byte == b' ').map(|word| {
            word.iter()
                .take_while(|byte| byte.is_ascii_digit())
                .fold(0u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
                * PAGE as u64
        });
        let mut next = || numbers.next().ok_or(Errno::IO);
        Ok(StatmSample { size_bytes: next()?, resident_bytes: next()?, shared_bytes: next()? })
    }
}

/// `/proc/thread-self/pagemap`, opened.
#[derive(Debug)]
pub struct Pagemap {
    fd: OwnedFd,
}

/// Whether a page has bytes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// A touch would fault.
    Absent,
    /// It is in memory or in the kernel's swap.
    Present,
}

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

const _: () = assert!(size_of::<ScanArg>() == 96 && size_of::<Region>() == 24);

const PAGEMAP_SCAN: u64 = 3 << 30 | (size_of::<ScanArg>() as u64) << 16 | (b'f' as u64) << 8 | 16;
const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;

impl Pagemap {
    /// Opens it.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn open() -> Result<Self, Errno> {
        Self::open_in(open_proc()?.as_fd())
    }

    /// Opens that of the caller beneath [`open_proc`]'s.
    ///
    /// # Errors
    /// What openat(2) says.
    pub fn open_in(proc: BorrowedFd<'_>) -> Result<Self, Errno> {
        Ok(Self { fd: open_in(proc, "thread-self/pagemap")? })
    }

    /// What the page at `addr` is.
    ///
    /// # Errors
    /// What pread(2) says.
    pub fn present(&self, addr: usize) -> Result<PageState, Errno> {
        let mut word = [0; WORD];
        match rustix::io::pread(&self.fd, &mut word, offset_of(addr))? {
            WORD => Ok(if is_present(&word) { PageState::Present } else { PageState::Absent }),
            _ => Err(Errno::IO),
        }
    }

    /// Calls `each` with (start, end) of every longest run of pages in `start..end` that
    /// have bytes of their own, in memory or in the kernel's swap. Takes time for what
    /// is there, not for holes.
    ///
    /// # Errors
    /// What PAGEMAP_SCAN or, on kernels before 6.7, pread(2) says. There holes take
    /// time too.
    pub fn scan_present(
        &self,
        start: usize,
        end: usize,
        each: impl FnMut(usize, usize),
    ) -> Result<(), Errno> {
        let mut runs = Runs { last: None, each };
        let any = ScanArg {
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            ..ScanArg::default()
        };
        if let Err((from, _)) = self.scan(start, end, &any, &mut runs) {
            self.scan_by_reading(from, end, &mut runs)?;
        }
        runs.finish();
        Ok(())
    }

    /// The same for pages that are mapped and have been written since a userfaultfd with
    /// `WP_ASYNC`, which their range is registered with, protected them.
    ///
    /// # Errors
    /// What the kernel says: `ENOTTY` where it has no PAGEMAP_SCAN, before 6.7.
    pub fn scan_written(
        &self,
        start: usize,
        end: usize,
        each: impl FnMut(usize, usize),
    ) -> Result<(), Errno> {
        let mut runs = Runs { last: None, each };
        let written = ScanArg {
            category_mask: PAGE_IS_PRESENT | PAGE_IS_WRITTEN,
            return_mask: PAGE_IS_PRESENT,
            ..ScanArg::default()
        };
        let scanned = self.scan(start, end, &written, &mut runs);
        runs.finish();
        scanned.map_err(|(_, error)| error)
    }

    /// Runs of pages of some categories; where the kernel refuses and why, if it does.
    fn scan(
        &self,
        start: usize,
        end: usize,
        wanted: &ScanArg,
        runs: &mut Runs<impl FnMut(usize, usize)>,
    ) -> Result<(), (usize, Errno)> {
        let mut regions = [Region::default(); 256];
        let mut from = start;
        while from < end {
            let mut arg = ScanArg {
                size: size_of::<ScanArg>() as u64,
                start: from as u64,
                end: end as u64,
                vec: regions.as_mut_ptr() as u64,
                vec_len: regions.len() as u64,
                ..*wanted
            };
            // SAFETY: the argument is the ioctl's, and the vector as long as it says.
            let found = unsafe { libc::ioctl(self.fd.as_raw_fd(), PAGEMAP_SCAN, &mut arg) };
            let found = usize::try_from(found).map_err(|_| (from, errno::last()))?;
            for region in &regions[..found] {
                runs.add(region.start as usize, region.end as usize);
            }
            if arg.walk_end as usize <= from {
                break;
            }
            from = arg.walk_end as usize;
        }
        Ok(())
    }

    fn scan_by_reading(
        &self,
        start: usize,
        end: usize,
        runs: &mut Runs<impl FnMut(usize, usize)>,
    ) -> Result<(), Errno> {
        let mut words = [0; 512 * WORD];
        let mut addr = start;
        while addr < end {
            let want = words.len().min((end - addr).div_ceil(PAGE) * WORD);
            let got = rustix::io::pread(&self.fd, &mut words[..want], offset_of(addr))?;
            if got < WORD {
                return Err(Errno::IO);
            }
            for word in words[..got].as_chunks().0 {
                if is_present(word) {
                    runs.add(addr, addr + PAGE);
                }
                addr += PAGE;
            }
        }
        Ok(())
    }
}

/// Bytes that the pagemap has for a page.
const WORD: usize = 8;

fn offset_of(addr: usize) -> u64 {
    (addr / PAGE * WORD) as u64
}

/// Bits 63 and 62: present, swapped.
fn is_present(word: &[u8; WORD]) -> bool {
    u64::from_ne_bytes(*word) >> 62 != 0
}

/// Joins pieces that touch: the kernel cuts where its vector is full and where
/// present pages border on swapped ones.
struct Runs<F> {
    last: Option<(usize, usize)>,
    each: F,
}

impl<F: FnMut(usize, usize)> Runs<F> {
    fn add(&mut self, start: usize, end: usize) {
        match &mut self.last {
            Some((_, until)) if *until == start => *until = end,
            last => {
                if let Some((start, end)) = last.replace((start, end)) {
                    (self.each)(start, end);
                }
            }
        }
    }

    fn finish(mut self) {
        if let Some((start, end)) = self.last {
            (self.each)(start, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_scan_find_the_same_runs() {
        let memory = Reservation::new(64 * PAGE).unwrap();
        memory.no_huge_pages().unwrap();
        let at = |page: usize| memory.addr() + page * PAGE;
        for (first, count) in [(0, 1), (5, 3), (63, 1)] {
            populate_write(at(first), count * PAGE).unwrap();
        }
        let expected = [(at(0), at(1)), (at(5), at(8)), (at(63), at(64))];
        let pagemap = Pagemap::open().unwrap();
        let mut found = Vec::new();
        pagemap.scan_present(at(0), at(64), |start, end| found.push((start, end))).unwrap();
        assert_eq!(found, expected);

        let mut read = Vec::new();
        let mut runs = Runs { last: None, each: |start, end| read.push((start, end)) };
        pagemap.scan_by_reading(at(0), at(64), &mut runs).unwrap();
        runs.finish();
        assert_eq!(read, expected);
    }
}
