#![expect(unsafe_code, reason = "C names with C's contracts")]
//! The mmap family. Every call is made with the raw system call; the engine is told
//! of what it pages: anonymous private mappings of at least [`THRESHOLD`], and files (`file.rs`).

use crate::errno;
use crate::file;
use crate::start::engine;
use core::ffi::{c_int, c_void};
use engine::{AddressSpace, Engine, Inherit, PAGE, Rights};
use libc::{off_t, size_t};

/// Smaller mappings stay with the kernel.
const THRESHOLD: usize = 64 << 10;
/// Larger ones too: they are reservations, and their page tables would cost.
pub(crate) const LARGEST: usize = 256 << 30;

/// Bytes of a program's address space: nobody has more.
const ADDRESSES: usize = 1 << 47;

/// `flags` of mappings that are not plain memory.
const SPECIAL: c_int =
    libc::MAP_SHARED | libc::MAP_GROWSDOWN | libc::MAP_STACK | libc::MAP_HUGETLB | libc::MAP_LOCKED;

/// madvise(2), since Linux 6.13.
const MADV_GUARD_INSTALL: c_int = 102;
const MADV_GUARD_REMOVE: c_int = 103;

fn rights(prot: c_int) -> Rights {
    if prot == libc::PROT_READ | libc::PROT_WRITE { Rights::ReadWrite } else { Rights::Restricted }
}

pub(crate) fn round_up(len: usize) -> usize {
    len.checked_next_multiple_of(PAGE).unwrap_or(len)
}

fn pageable(len: usize, prot: c_int, flags: c_int) -> bool {
    (THRESHOLD..=LARGEST).contains(&len)
        && flags & libc::MAP_ANONYMOUS != 0
        && flags & SPECIAL == 0
        && prot & libc::PROT_EXEC == 0
}

fn out_of_memory<T>(failed: T) -> T {
    // SAFETY: errno is this thread's own.
    unsafe { *libc::__errno_location() = libc::ENOMEM };
    failed
}

pub(crate) unsafe fn raw_mmap(
    addr: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    off: off_t,
) -> *mut c_void {
    // SAFETY: the caller's contract is that of mmap(2).
    unsafe { libc::syscall(libc::SYS_mmap, addr, len, prot, flags, fd, off) as *mut c_void }
}

/// mmap(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    off: off_t,
) -> *mut c_void {
    let paged = pageable(len, prot, flags);
    let fixed = flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) != 0;
    let call = file::Call { addr, len, prot, flags, fd, off };
    let files = engine().filter(|engine| !fixed && engine.maps_files() && call.is_of_file());
    if let Some(engine) = files {
        // SAFETY: as the caller's.
        return unsafe { file::map(engine, call) };
    }
    let Some(engine) = engine().filter(|_| paged || fixed) else {
        // SAFETY: as the caller's.
        return unsafe { raw_mmap(addr, len, prot, flags, fd, off) };
    };
    // Pages that the kernel makes before anybody knows of them would count as memory that is not paged.
    let flags = if paged && engine.pages() { flags & !libc::MAP_POPULATE } else { flags };
    let promised = if paged && rights(prot) == Rights::ReadWrite { round_up(len) as u64 } else { 0 };
    if !engine.promise(promised) {
        return out_of_memory(libc::MAP_FAILED);
    }
    let space = engine.address_space();
    let replaced = if fixed { space.promised_bytes(addr as usize, round_up(len)) } else { 0 };
    let change = fixed.then(|| space.changing(addr as usize, round_up(len)));
    // SAFETY: as the caller's.
    let mapped = unsafe { raw_mmap(addr, len, prot, flags, fd, off) };
    let _errno = errno::Kept::now();
    drop(change);
    if mapped == libc::MAP_FAILED {
        engine.renounce(promised);
        return mapped;
    }
    engine.renounce(replaced);
    if fixed {
        space.unmapped(mapped as usize, round_up(len));
    }
    if paged {
        space.mapped(mapped as usize, round_up(len), rights(prot));
    }
    mapped
}

/// mmap64(3): `off_t` has 64 bits here.
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    off: off_t,
) -> *mut c_void {
    // SAFETY: as the caller's.
    unsafe { mmap(addr, len, prot, flags, fd, off) }
}

/// munmap(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(addr: *mut c_void, len: size_t) -> c_int {
    // SAFETY: as the caller's.
    let raw = || unsafe { libc::syscall(libc::SYS_munmap, addr, len) as c_int };
    let Some(engine) = engine() else { return raw() };
    let space = engine.address_space();
    let promised = space.promised_bytes(addr as usize, round_up(len));
    let change = space.changing(addr as usize, round_up(len));
    let result = raw();
    let _errno = errno::Kept::now();
    drop(change);
    if result == 0 {
        space.unmapped(addr as usize, round_up(len));
        engine.renounce(promised);
    }
    result
}

/// mremap(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn mremap(
    old: *mut c_void,
    old_len: size_t,
    new_len: size_t,
    flags: c_int,
    new_addr: *mut c_void,
) -> *mut c_void {
    // SAFETY: as the caller's; the fifth argument is read with MREMAP_FIXED only.
    let raw =
        || unsafe { libc::syscall(libc::SYS_mremap, old, old_len, new_len, flags, new_addr) as *mut c_void };
    let Some(engine) = engine() else { return raw() };
    let space = engine.address_space();
    let (start, old_len, new_len) = (old as usize, round_up(old_len), round_up(new_len));
    file::give_back(&space, start, old_len);
    // What is there is unmapped, and others' pages are put there, before the pager hears of either.
    let fixed = flags & libc::MREMAP_FIXED != 0;
    let target = new_addr as usize;
    let replaced = if fixed { space.promised_bytes(target, new_len) } else { 0 };
    let change_there = || fixed.then(|| space.changing(target, new_len));
    let Some(rights) = space.rights(start) else {
        let change = change_there();
        let result = raw();
        let _errno = errno::Kept::now();
        drop(change);
        if result != libc::MAP_FAILED && fixed {
            space.unmapped(target, new_len);
            engine.renounce(replaced);
        }
        return result;
    };
    let grown = new_len.saturating_sub(old_len);
    let stays = flags & libc::MREMAP_DONTUNMAP != 0;
    // What is not writable is promised when it becomes so.
    let is_promised = rights == Rights::ReadWrite;
    let more = if is_promised { grown + if stays { old_len } else { 0 } } else { 0 } as u64;
    let shrunk = if new_len < old_len { space.promised_bytes(start + new_len, old_len - new_len) } else { 0 };
    if new_len > ADDRESSES || !engine.promise(more) {
        return out_of_memory(libc::MAP_FAILED);
    }
    let change = (space.changing(start, old_len), change_there());
    let result = raw();
    let _errno = errno::Kept::now();
    drop(change);
    if result == libc::MAP_FAILED {
        engine.renounce(more);
        return result;
    }
    engine.renounce(replaced);
    let kept = old_len.min(new_len);
    let new = result as usize;
    if new != start {
        space.moved(start, new, kept);
        if stays {
            space.mapped(start, old_len, rights);
        }
    }
    if new_len > old_len {
        space.mapped(new + old_len, grown, rights);
    } else if new_len < old_len {
        space.unmapped(start + new_len, old_len - new_len);
        engine.renounce(shrunk);
    }
    result
}

/// mprotect(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn mprotect(addr: *mut c_void, len: size_t, prot: c_int) -> c_int {
    // SAFETY: as the caller's.
    let raw = || unsafe { libc::syscall(libc::SYS_mprotect, addr, len, prot) as c_int };
    let Some(engine) = engine() else { return raw() };
    let space = engine.address_space();
    let (start, len) = (addr as usize, round_up(len));
    file::give_back(&space, start, len);
    if !space.manages(start, len) {
        return raw();
    }
    let rights = rights(prot);
    if rights == Rights::Restricted {
        // Before the kernel's: nothing may be moved out of what is no longer writable.
        space.protected(start, len, rights);
        return raw();
    }
    let newly = space.unpromised_bytes(start, len);
    if !engine.promise(newly) {
        return out_of_memory(-1);
    }
    let result = raw();
    if result == 0 {
        space.protected(start, len, rights);
    } else {
        engine.renounce(newly);
    }
    result
}

/// madvise(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn madvise(addr: *mut c_void, len: size_t, advice: c_int) -> c_int {
    // SAFETY: as the caller's.
    let raw = |advice: c_int| unsafe { libc::syscall(libc::SYS_madvise, addr, len, advice) as c_int };
    let start = addr as usize;
    let Some(engine) = engine().filter(|engine| start.is_multiple_of(PAGE) && manages(engine, start, len))
    else {
        return raw(advice);
    };
    if let Some(answer) = file::advise(engine, start, len, advice) {
        return answer;
    }
    if !manages(engine, start, len) {
        // It was a file, and is the kernel's by now.
        return raw(advice);
    }
    match advice {
        // Lazily freed pages would vanish without a word; dropping them now is allowed.
        libc::MADV_DONTNEED | libc::MADV_FREE => match engine.discard(start, round_up(len)) {
            Ok(()) => 0,
            Err(_) => raw(advice),
        },
        // What is paged has small, unshared pages; these are hints.
        libc::MADV_MERGEABLE
        | libc::MADV_UNMERGEABLE
        | libc::MADV_COLD
        | libc::MADV_PAGEOUT
        | libc::MADV_WILLNEED => 0,
        libc::MADV_HUGEPAGE | libc::MADV_COLLAPSE if engine.pages() => 0,
        // What is there is dropped, and the kernel does not say so; the guards are its own.
        MADV_GUARD_INSTALL | MADV_GUARD_REMOVE => {
            guard(engine, start, len, advice == MADV_GUARD_INSTALL, || raw(advice))
        }
        libc::MADV_DONTFORK => inherited(engine, start, len, Inherit::Omitted, || raw(advice)),
        libc::MADV_WIPEONFORK => inherited(engine, start, len, Inherit::Wiped, || raw(advice)),
        // What is paged is kept out of copies that are made past us, and put in by fork.
        libc::MADV_DOFORK if engine.pages() => inherited(engine, start, len, Inherit::Copied, || 0),
        libc::MADV_DOFORK | libc::MADV_KEEPONFORK => {
            inherited(engine, start, len, Inherit::Copied, || raw(advice))
        }
        _ => raw(advice),
    }
}

/// Puts guards there or takes them away: nothing comes in or leaves meanwhile.
fn guard(engine: &Engine, start: usize, len: usize, installs: bool, raw: impl FnOnce() -> c_int) -> c_int {
    let space = engine.address_space();
    let change = space.changing(start, round_up(len));
    let result = raw();
    let _errno = errno::Kept::now();
    if result == 0 {
        space.guarded(start, round_up(len), installs);
    }
    drop(change);
    result
}

/// Notes what forked children will have of a range, if the kernel agrees.
fn inherited(
    engine: &Engine,
    start: usize,
    len: usize,
    inherit: Inherit,
    raw: impl FnOnce() -> c_int,
) -> c_int {
    let space = engine.address_space();
    let result = raw();
    if result == 0 {
        space.inherited(start, round_up(len), inherit);
    }
    result
}

fn manages(engine: &Engine, start: usize, len: usize) -> bool {
    engine.address_space().manages(start, round_up(len))
}

/// Pins paged memory; the kernel's own lock would keep its pages from moving.
fn lock_paged(space: &AddressSpace<'_>, start: usize, len: usize) -> bool {
    let first = start / PAGE * PAGE;
    space.pin(first, round_up(start + len - first), true)
}

/// mlock(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn mlock(addr: *const c_void, len: size_t) -> c_int {
    // SAFETY: as the caller's.
    unsafe { mlock2(addr, len, 0) }
}

/// mlock2(2). Paged memory is pinned by the pager instead.
#[unsafe(no_mangle)]
unsafe extern "C" fn mlock2(addr: *const c_void, len: size_t, flags: libc::c_uint) -> c_int {
    let start = addr as usize;
    if let Some(engine) = engine().filter(|engine| engine.maps_files()) {
        file::give_back(&engine.address_space(), start, len);
    }
    let Some(engine) = engine().filter(|engine| manages(engine, start, len)) else {
        // SAFETY: as the caller's.
        return unsafe { libc::syscall(libc::SYS_mlock2, addr, len, flags) as c_int };
    };
    if !lock_paged(&engine.address_space(), start, len) {
        return out_of_memory(-1);
    }
    if flags & libc::MLOCK_ONFAULT == 0 && !bring_in(engine, start, len) {
        engine.address_space().pin(start / PAGE * PAGE, round_up(start % PAGE + len), false);
        return out_of_memory(-1);
    }
    0
}

/// Has all pages of a range in memory; false where there are none, or none that can be read.
fn bring_in(engine: &Engine, start: usize, len: usize) -> bool {
    let _errno = errno::Kept::now();
    let first = start / PAGE * PAGE;
    let len = round_up(start + len - first);
    // SAFETY: pages come in as by a touch.
    let populate = |at: usize, len: usize| unsafe {
        libc::syscall(libc::SYS_madvise, at, len, libc::MADV_POPULATE_READ) == 0
    };
    if populate(first, len) {
        return true;
    }
    if std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOMEM) {
        return false;
    }
    // Of nothing all is there, if the kernel knows the advice.
    let is_known = populate(first, 0);
    // Before Linux 5.14, and where system calls are not served, by touching what the program may write.
    (first..first + len).step_by(PAGE).all(|page| {
        if engine.address_space().rights(page) == Some(Rights::ReadWrite) {
            // SAFETY: the program's memory, which is mapped.
            unsafe { core::ptr::read_volatile(page as *const u8) };
            return true;
        }
        let mut is_resident = 0;
        // SAFETY: asks whether something is mapped there; it has a byte for the one page.
        let mut is_mapped = || unsafe { libc::mincore(page as *mut c_void, PAGE, &mut is_resident) } == 0;
        if is_known { populate(page, PAGE) } else { is_mapped() }
    })
}

/// munlock(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn munlock(addr: *const c_void, len: size_t) -> c_int {
    let start = addr as usize;
    if let Some(engine) = engine().filter(|engine| manages(engine, start, len)) {
        engine.address_space().pin(start / PAGE * PAGE, round_up(start % PAGE + len), false);
        return 0;
    }
    // SAFETY: as the caller's.
    unsafe { libc::syscall(libc::SYS_munlock, addr, len) as c_int }
}

/// munlockall(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn munlockall() -> c_int {
    if let Some(engine) = engine() {
        engine.address_space().pin(0, ADDRESSES, false);
    }
    // SAFETY: a system call without memory effects.
    unsafe { libc::syscall(libc::SYS_munlockall) as c_int }
}

/// mlockall(2): refused under a budget, which it would break.
#[unsafe(no_mangle)]
unsafe extern "C" fn mlockall(flags: c_int) -> c_int {
    if engine().is_some() {
        return out_of_memory(-1);
    }
    // SAFETY: as the caller's.
    unsafe { libc::syscall(libc::SYS_mlockall, flags) as c_int }
}
