#![expect(unsafe_code, reason = "clone(2), words that the kernel clears, and raw system calls")]
//! Processes that share this one's memory and nothing else.
//!
//! clone(2) with `CLONE_VM` and without `CLONE_THREAD` makes one. It serves a program
//! from within its address space without being one of its threads: the program stays
//! single-threaded where that matters (fork(2), unshare(2), seccomp(2)), and shares
//! neither its descriptors nor its signals. When either of the two leaves the address
//! space, by ending or by execve(2), the kernel clears a word and wakes who waits for it
//! (`CLONE_CHILD_CLEARTID`); that is how the other learns of it.

use crate::children::{self, Kind};
use crate::errno;
use crate::maps::Reservation;
use core::ffi::{c_int, c_long, c_void};
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::futex;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The stack of a companion, and of the process in between.
const STACK: usize = 256 << 10;
const STACK_BETWEEN: usize = 16 << 10;
/// How often a child that is about to end is looked for, a millisecond apart.
const LOOKS: u32 = 20;
/// kcmp(2): compare address spaces.
const KCMP_VM: c_int = 1;
/// futex_waitv(2): the word has 32 bits and is not private to a process.
const FUTEX_32: u32 = 2;

/// Whose descriptors a companion has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// Copies of the caller's.
    Own,
    /// The caller's.
    Shared,
}

/// What a companion does; it never returns.
pub type Main = fn(usize) -> !;

struct Start {
    main: Main,
    argument: usize,
    stack_top: usize,
    flags: c_int,
    /// Cleared when the companion leaves.
    word: &'static AtomicU32,
    /// The companion's number, or what clone(2) said, negated.
    result: AtomicI32,
    /// The number that the C library knows the thread by.
    number: &'static AtomicU32,
}

/// Ends the calling thread and continues in a process of its own that shares this
/// one's memory, at `main`, on a new stack, with the thread's thread-local storage,
/// signal mask and name. It is nobody's child, so that no wait(2) meets it, and leads a
/// session, so that no signal to a group of processes does. To the C library it is the
/// thread, with its own number, which is how mutexes know who has them. Returns only on failure.
///
/// From its first instant the kernel clears `word`, and wakes who waits for it, when the new
/// process leaves this address space by whatever means.
///
/// # Safety
/// The caller is a thread that was made for this, has blocked all signals, has nothing
/// to drop, and is not joined.
pub unsafe fn continue_as_process(
    main: Main,
    argument: usize,
    files: Files,
    word: &'static AtomicU32,
) -> Errno {
    let Some(number) = own_word() else { return Errno::NOSYS };
    let stack = match Reservation::new(STACK + STACK_BETWEEN) {
        Ok(stack) => stack,
        Err(error) => return error,
    };
    let share = if files == Files::Shared { libc::CLONE_FILES } else { 0 };
    let start = Start {
        main,
        argument,
        stack_top: stack.addr() + STACK,
        flags: libc::CLONE_VM | share,
        word,
        result: AtomicI32::new(0),
        number,
    };
    let top = stack.addr() + stack.len();
    let argument = (&raw const start).cast_mut().cast::<c_void>();
    // SAFETY: `between` runs on a stack of its own while this thread waits for its end.
    // All of them have this thread's thread-local storage, one after the other: the
    // process in between only makes system calls, and so does this thread from here on.
    unsafe {
        let between = libc::clone(between, top as *mut c_void, start.flags, argument);
        if between < 0 {
            return errno::last();
        }
        let mut status = 0;
        libc::syscall(libc::SYS_wait4, between, &raw mut status, libc::__WALL, 0);
        let result = start.result.load(Ordering::Acquire);
        if result <= 0 {
            return Errno::from_raw_os_error(-result);
        }
        // The companion's now.
        core::mem::forget(stack);
        loop {
            libc::syscall(libc::SYS_exit, 0);
        }
    }
}

/// The parent that the companion loses at once.
extern "C" fn between(start: *mut c_void) -> c_int {
    // SAFETY: the thread that made this process waits, with `start` on its stack.
    unsafe {
        let start = &*start.cast::<Start>();
        let argument = core::ptr::from_ref(start).cast_mut().cast();
        let stack = start.stack_top as *mut c_void;
        let flags = start.flags | libc::CLONE_PARENT_SETTID | libc::CLONE_CHILD_CLEARTID;
        // The kernel stores the number itself: this process may be killed right after.
        let (result, word) = (start.result.as_ptr(), start.word.as_ptr());
        if libc::clone(first, stack, flags, argument, result, core::ptr::null_mut::<c_void>(), word) < 0 {
            start.result.store(-errno::last().raw_os_error(), Ordering::Release);
        }
    }
    0
}

extern "C" fn first(start: *mut c_void) -> c_int {
    // SAFETY: the stack that holds `start` stays mapped although its thread ends.
    let start = unsafe { &*start.cast::<Start>() };
    let (main, argument, number) = (start.main, start.argument, start.number);
    // SAFETY: a system call without memory effects. It cannot fail: no process group
    // has a new process's number.
    unsafe { libc::setsid() };
    succeed(number);
    main(argument)
}

/// Reaps the process in between that is left where a program called execve(2) while its pager
/// started: nobody else knows of it. wait(2) does not meet it, but `ps` shows it. `is_ours` tells by
/// the name; behind one that is not, others stay.
pub fn bury_those_in_between(is_ours: impl Fn(&str) -> bool) {
    for _ in 0..LOOKS {
        // A program itself hardly has any of that kind.
        match children::ended(Kind::Silent) {
            Ok(Some(child)) if is_ours(name_of(child.pid).trim_end()) => child.reap(),
            // About to end.
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            Ok(Some(_)) | Err(_) => return,
        }
    }
}

fn name_of(pid: c_int) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default()
}

/// Takes the thread's place in the C library, once the kernel has cleared its `number`. A
/// mutex that was locked before would be locked by somebody else afterwards, and stay so.
fn succeed(number: &AtomicU32) {
    loop {
        match number.load(Ordering::Acquire) {
            0 => break,
            // Woken, interrupted or too late: it is looked again.
            thread => drop(futex::wait(number, futex::Flags::empty(), thread, None)),
        }
    }
    number.store(std::process::id(), Ordering::Release);
}

/// Whether the kernel has what companions need: futex_waitv(2) of Linux 5.16, kcmp(2),
/// and the prctl(2) of [`own_word`].
pub fn are_possible() -> bool {
    // SAFETY: without words, futex_waitv fails with EINVAL where it exists; kcmp
    // compares this process with itself.
    unsafe {
        let none = core::ptr::null::<c_void>();
        libc::syscall(libc::SYS_futex_waitv, none, 0, 0, none, 0);
        errno::last() == Errno::INVAL && kcmp_memory(libc::getpid()) == 0 && own_word().is_some()
    }
}

fn kcmp_memory(with: c_int) -> c_long {
    // SAFETY: a system call without memory effects.
    unsafe { libc::syscall(libc::SYS_kcmp, libc::getpid(), with, KCMP_VM, 0, 0) }
}

/// The word that the kernel clears when the calling thread leaves this address space;
/// none where it does not say (`CONFIG_CHECKPOINT_RESTORE`).
pub fn own_word() -> Option<&'static AtomicU32> {
    let mut word: *mut u32 = core::ptr::null_mut();
    // SAFETY: the kernel stores an address where it is told to.
    let told = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut word) };
    // SAFETY: glibc registers a word of the thread's descriptor, which lasts as long as
    // the thread, and for a process's first thread as long as the address space.
    unsafe { if told == 0 { word.cast::<AtomicU32>().as_ref() } else { None } }
}

/// Waits until one of `words`, three at most, is not, or no longer, what it is expected to
/// be. May return early.
///
/// # Panics
/// If there are more words.
pub fn wait_for_change(words: &[(&AtomicU32, u32)]) {
    #[repr(C)]
    struct Waiter {
        value: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }
    const NONE: Waiter = Waiter { value: 0, address: 0, flags: 0, reserved: 0 };
    let mut waiters = [NONE; 3];
    assert!(words.len() <= waiters.len(), "{} words", words.len());
    for (waiter, (word, expected)) in waiters.iter_mut().zip(words) {
        let address = core::ptr::from_ref(*word).addr() as u64;
        *waiter = Waiter { value: u64::from(*expected), address, flags: FUTEX_32, reserved: 0 };
    }
    let none = core::ptr::null::<c_void>();
    // SAFETY: so many waiters, as said. Whatever it returns, the caller looks at the words.
    unsafe { libc::syscall(libc::SYS_futex_waitv, waiters.as_ptr(), words.len(), 0, none, 0) };
}

/// Wakes all who wait for `word`, in whichever process.
pub fn wake(word: &AtomicU32) {
    let address = core::ptr::from_ref(word);
    // SAFETY: the word is valid.
    unsafe { libc::syscall(libc::SYS_futex, address, libc::FUTEX_WAKE, c_int::MAX, 0, 0, 0) };
}

/// Sends SIGKILL by number; whether there was a process of that number.
pub fn kill(pid: u32) -> bool {
    // SAFETY: kill has no memory effects here.
    i32::try_from(pid).is_ok_and(|pid| pid > 0 && unsafe { libc::kill(pid, libc::SIGKILL) } == 0)
}

/// A process that shares, or shared, this address space.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    fd: OwnedFd,
}

impl Process {
    /// The process `pid`.
    ///
    /// # Errors
    /// What pidfd_open(2) says: ESRCH if it has ended.
    pub fn open(pid: u32) -> Result<Self, Errno> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        Ok(Self { pid, fd: pidfd_open(pid, PidfdFlags::empty())? })
    }

    /// Waits for its end for at most `patience`; whether it has ended.
    pub fn has_ended(&self, patience: Duration) -> bool {
        let mut ended = libc::pollfd { fd: self.fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, as said.
        unsafe { libc::poll(&raw mut ended, 1, patience.as_millis() as c_int) > 0 }
    }

    /// Whether it certainly executes another program in another address space.
    pub fn has_moved_on(&self) -> bool {
        let number = self.pid.as_raw_nonzero().get();
        // A process on its way out has no memory, and is not somewhere else.
        let has_memory = || {
            let sizes = std::fs::read_to_string(format!("/proc/{number}/statm")).unwrap_or_default();
            sizes.split_ascii_whitespace().next().is_some_and(|total| total != "0")
        };
        kcmp_memory(number) > 0 && has_memory()
    }

    /// Readable when it has ended.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Kills it. Without effect if it has ended.
    pub fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.fd, rustix::process::Signal::KILL);
    }
}
