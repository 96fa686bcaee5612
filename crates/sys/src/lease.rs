#![expect(unsafe_code, reason = "fcntl's leases, sigtimedwait and tgkill, which rustix has not")]
//! Leases: the kernel's word that nobody can write to a file (fcntl(2), `F_SETLEASE`).
//!
//! A read lease is given only while nobody has the file open for writing; a writable map that is
//! shared keeps it open. Who opens it for writing later, or truncates it, waits until the lease is
//! given up, and the thread that was named is sent [`SIGNAL`]. Whoever waits does so for
//! [`break_time`] at most: then the kernel takes the lease back.

use crate::errno;
use core::mem::MaybeUninit;
use core::time::Duration;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// What tells a thread of a lease that is being broken. Nobody else may expect it there: the
/// thread has it blocked.
pub const SIGNAL: i32 = libc::SIGIO;

const F_SETOWN_EX: i32 = 15;
/// `F_OWNER_TID`: one thread.
const ONE_THREAD: i32 = 0;

/// `struct f_owner_ex`.
#[repr(C)]
struct Owner {
    kind: i32,
    number: i32,
}

/// Whether a lease is still what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody can write.
    Held,
    /// Somebody waits to write, or does so already: see [`give_up`].
    Broken,
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Until now nobody could write.
    InTime,
    /// The kernel had taken it back already: somebody may have written before.
    Late,
}

fn call(file: BorrowedFd<'_>, command: i32, argument: usize) -> Result<i32, Errno> {
    // SAFETY: the commands of this module take an integer, or a pointer to a value that lives
    // during the call.
    let told = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if told < 0 {
        return Err(errno::last());
    }
    Ok(told)
}

/// Takes a read lease on an open file, which must be open for reading only; `thread`, of this
/// process, is told when it is being broken.
///
/// # Errors
/// What fcntl(2) says: `EAGAIN` while somebody has the file open for writing or waits to, `EACCES`
/// for files of others without `CAP_LEASE`, `EINVAL` where the file system has no leases.
pub fn take(file: BorrowedFd<'_>, thread: i32) -> Result<(), Errno> {
    let owner = Owner { kind: ONE_THREAD, number: thread };
    // Before: nobody else must be told.
    call(file, F_SETOWN_EX, (&raw const owner).expose_provenance())?;
    call(file, libc::F_SETLEASE, libc::F_RDLCK as usize).map(drop)
}

/// Whether the lease on an open file is being broken.
pub fn state(file: BorrowedFd<'_>) -> State {
    match call(file, libc::F_GETLEASE, 0) {
        Ok(kind) if kind == libc::F_RDLCK => State::Held,
        // Nobody holds what cannot be asked about.
        _ => State::Broken,
    }
}

/// Gives a lease up: who waits to write goes on.
pub fn give_up(file: BorrowedFd<'_>) -> End {
    match call(file, libc::F_SETLEASE, libc::F_UNLCK as usize) {
        Ok(_) => End::InTime,
        Err(_) => End::Late,
    }
}

/// How long who breaks a lease waits for it: none where that is for ever.
///
/// # Errors
/// What open(2) or read(2) say beneath `proc`, which is [`crate::maps::open_proc`]'s; `EIO` if it is no
/// number.
pub fn break_time(proc: BorrowedFd<'_>) -> Result<Option<Duration>, Errno> {
    let path = "sys/fs/lease-break-time";
    let file = rustix::fs::openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = [0; 32];
    let len = rustix::io::read(&file, &mut bytes)?;
    let text = core::str::from_utf8(&bytes[..len]).map_err(|_| Errno::IO)?;
    let seconds = text.trim().parse().map_err(|_| Errno::IO)?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

/// Waits until the calling thread, which has [`SIGNAL`] blocked, is told of a lease, or so long.
pub fn wait(most: Duration) {
    let time = libc::timespec {
        tv_sec: most.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(most.subsec_nanos()),
    };
    let mut set = MaybeUninit::uninit();
    // SAFETY: the set is initialised before it is read; nothing is to be told about the signal.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), SIGNAL);
        libc::sigtimedwait(set.as_ptr(), core::ptr::null_mut(), &time);
    }
}

/// Has a thread of this process return from [`wait`].
pub fn wake(thread: i32) {
    // SAFETY: a system call without memory effects. A thread that has ended waits for nothing.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL) };
}

/// The calling thread's number.
pub fn this_thread() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Whether leases on the files of this file's file system say something about all that is written to it: not
/// where others than this machine's kernel change it, or where it is a view of another.
pub fn are_complete(file: impl AsFd) -> bool {
    /// `EXT4_SUPER_MAGIC`, which ext2 and ext3 have as well, `XFS_SUPER_MAGIC`, `BTRFS_SUPER_MAGIC`.
    const LOCAL: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];
    rustix::fs::fstatfs(file).is_ok_and(|facts| LOCAL.contains(&(facts.f_type.cast_unsigned() & 0xffff_ffff)))
}
