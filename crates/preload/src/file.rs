#![expect(unsafe_code, reason = "maps what the program maps, once more")]
//! Files that the program maps: `outcore run --map-files`.

use crate::mmap::{LARGEST, raw_mmap, round_up};
use crate::{errno, malloc};
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use engine::{Engine, PAGE, ProgramMap};
use libc::off_t;
use rustix::fd::BorrowedFd;
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use sys::status::kept;

/// Smaller maps stay with the kernel.
const THRESHOLD: usize = 1 << 20;

/// Arguments of mmap(2).
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) addr: *mut c_void,
    pub(crate) len: usize,
    pub(crate) prot: c_int,
    pub(crate) flags: c_int,
    pub(crate) fd: c_int,
    pub(crate) off: off_t,
}

impl Call {
    /// # Safety
    /// That of mmap(2).
    unsafe fn make(self, addr: *mut c_void, flags: c_int) -> *mut c_void {
        // SAFETY: the caller's contract.
        unsafe { raw_mmap(addr, self.len, self.prot, flags, self.fd, self.off) }
    }

    /// Whether it maps so much of a file that its pages should count.
    pub(crate) fn is_of_file(self) -> bool {
        self.flags & libc::MAP_ANONYMOUS == 0
            && (THRESHOLD..=LARGEST).contains(&self.len)
            && !malloc::is_the_pager_thread()
    }

    /// It can be written, and what is written is the map's own.
    fn is_writable(self) -> bool {
        self.prot == libc::PROT_READ | libc::PROT_WRITE && self.flags & libc::MAP_TYPE == libc::MAP_PRIVATE
    }

    /// Whether the map is only read, or private, and nothing else is said of it but where it would best be.
    fn is_plain(self) -> bool {
        (self.prot == libc::PROT_READ || self.is_writable())
            && self.flags
                & !libc::MAP_NORESERVE
                & !libc::MAP_DENYWRITE
                & !libc::MAP_EXECUTABLE
                & !libc::MAP_FILE
                == self.flags & libc::MAP_TYPE
            && matches!(
                self.flags & libc::MAP_TYPE,
                libc::MAP_SHARED | libc::MAP_PRIVATE | libc::MAP_SHARED_VALIDATE
            )
    }

    /// The device and number of its file, if it is one, and is open for reading only.
    fn file(self) -> Result<(u64, u64), u64> {
        if self.fd < 0 {
            return Err(kept::KIND);
        }
        // SAFETY: used during this call only. Closed by another thread meanwhile, it is refused, or is another
        // file's, as it would be to mmap(2).
        let fd = unsafe { BorrowedFd::borrow_raw(self.fd) };
        let facts = fstat(fd).map_err(|_| kept::KIND)?;
        if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
            return Err(kept::KIND);
        }
        match fcntl_getfl(fd) {
            Ok(flags) if flags & OFlags::RWMODE != OFlags::RDONLY => Err(kept::WRITABLE),
            Ok(_) => Ok((facts.st_dev, facts.st_ino)),
            Err(_) => Err(kept::KIND),
        }
    }
}

/// mmap(2) of a part of a file that may be paged. Where it is not, it is what the kernel makes of it.
///
/// # Safety
/// That of mmap(2).
pub(crate) unsafe fn map(engine: &Engine, call: Call) -> *mut c_void {
    // SAFETY: as the caller's.
    let plain = || unsafe { call.make(call.addr, call.flags) };
    let bytes = round_up(call.len) as u64;
    let file = if call.is_plain() { call.file() } else { Err(kept::KIND) };
    let file = match file {
        Ok(file) if engine.wants_file(bytes) => file,
        Ok(_) => return plain(),
        Err(reason) => {
            let mapped = plain();
            if mapped != libc::MAP_FAILED {
                let _errno = errno::Kept::now();
                engine.keep_file(bytes, reason);
            }
            return mapped;
        }
    };
    let space = engine.address_space();
    let mapped = plain();
    if mapped == libc::MAP_FAILED {
        return mapped;
    }
    let _errno = errno::Kept::now();
    // SAFETY: a new map at an address of the kernel's choice.
    let spare = unsafe { call.make(null_mut(), call.flags) };
    if spare == libc::MAP_FAILED {
        engine.keep_file(bytes, kept::LIMIT);
        return mapped;
    }
    let paged = space.file_mapped(&ProgramMap {
        addr: mapped as usize,
        spare: spare as usize,
        len: round_up(call.len),
        offset: call.off as u64,
        descriptor: call.fd,
        file,
        is_writable: call.is_writable(),
    });
    if paged.is_err() {
        let len = round_up(call.len);
        // SAFETY: the same map; nobody knows of either yet.
        if unsafe { sys::maps::move_over(spare as usize, len, mapped as usize) }.is_err() {
            // There may be nothing any more.
            errno::set(libc::ENOMEM);
            return libc::MAP_FAILED;
        }
    }
    mapped
}

/// madvise(2) on maps that are paged; none if the kernel is to be asked, which has them by then.
pub(crate) fn advise(engine: &Engine, start: usize, len: usize, advice: c_int) -> Option<c_int> {
    if !engine.maps_files() {
        return None;
    }
    let len = round_up(len);
    let space = engine.address_space();
    if !space.has_files(start, len) {
        return None;
    }
    let pattern = match advice {
        libc::MADV_NORMAL => engine::Pattern::Normal,
        libc::MADV_SEQUENTIAL => engine::Pattern::Sequential,
        libc::MADV_RANDOM => engine::Pattern::Random,
        // They are dropped, and read again.
        libc::MADV_DONTNEED => {
            // The space stays locked: what is given back meanwhile would bring them with it.
            return Some(match engine.discard(start, len) {
                Ok(()) => 0,
                Err(error) => {
                    errno::set(error.raw_os_error());
                    -1
                }
            });
        }
        // Hints about memory that Outcore has other ways with.
        libc::MADV_WILLNEED
        | libc::MADV_COLD
        | libc::MADV_PAGEOUT
        | libc::MADV_HUGEPAGE
        | libc::MADV_NOHUGEPAGE
        | libc::MADV_COLLAPSE => return Some(0),
        _ => {
            space.return_files(start, len);
            return None;
        }
    };
    space.use_files(start, len, pattern);
    Some(0)
}

/// Has the kernel have what the program is about to change of a range.
pub(crate) fn give_back(space: &engine::AddressSpace<'_>, start: usize, len: usize) {
    let first = start / PAGE * PAGE;
    let len = round_up(start.saturating_add(len).saturating_sub(first));
    if space.has_files(first, len) {
        space.return_files(first, len);
    }
}
