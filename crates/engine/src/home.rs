#![expect(unsafe_code, reason = "becomes a process, and reads the engine by its address")]
//! Where the pager lives: in a process of its own that shares the program's memory.
//!
//! As a thread of the program it would make every program multi-threaded: an
//! interpreter warns when it forks, unshare(2) and seccomp(2) refuse or hit the pager.
//! It is a thread only where the kernel has not what a process needs.
//!
//! A process can be killed alone, and its userfaultfds would go with it: pages that are
//! not mapped would read as zeros. So once memory is paged a second process, the guard,
//! shares the pager's descriptors. It sleeps until the program or the pager leaves the
//! memory they share, and then ends whoever is left.

use crate::engine::{Engine, die, program, record, say};
use crate::fork::Estate;
use crate::serve;
use crate::signals::Blocked;
use crate::tree;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use rustix::thread::{Timespec, futex};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use sys::companion::{self, Files, Process};

/// In [`PAGER`] while there is a pager.
const ALIVE: u32 = 1;
/// How often it is looked again where nothing tells of a change.
const LOOK: Duration = Duration::from_millis(50);
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Cleared by the kernel when the pager's process leaves this memory.
static PAGER: AtomicU32 = AtomicU32::new(0);
static PAGER_NUMBER: AtomicU32 = AtomicU32::new(0);
static GUARD_NUMBER: AtomicU32 = AtomicU32::new(0);
/// In the table of pager and guard: what dismisses the pager.
static DISMISSAL: AtomicI32 = AtomicI32::new(-1);
/// The same, what has it look at the ledger.
static NUDGE: AtomicI32 = AtomicI32::new(-1);
/// How long a pager that is dismissed may take to end its transfers.
const FAREWELL: Duration = Duration::from_secs(30);
/// How long slots of a pager that was killed are not used by others. A disk that takes longer
/// for a write destroys a page of theirs, which their digest finds.
const QUARANTINE: Duration = Duration::from_secs(2);

/// What tells when the program's first thread leaves its memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstThread {
    word: &'static AtomicU32,
    number: u32,
}

impl FirstThread {
    /// The calling thread, which must be the program's first; none if the pager must be
    /// a thread.
    pub(crate) fn of_caller() -> Option<Self> {
        let number = std::process::id();
        let word = companion::own_word()?;
        let is_known = word.load(Ordering::Acquire) == number;
        (is_known && companion::are_possible()).then_some(Self { word, number })
    }
}

/// What binds a pager process to its program.
#[derive(Debug)]
pub(crate) struct Leash {
    first: FirstThread,
    program: Process,
}

impl Leash {
    /// Ends this process if the program has ended.
    fn new(first: FirstThread) -> Self {
        match Process::open(program()) {
            Ok(program) => Self { first, program },
            Err(_) => end(),
        }
    }

    /// Ends this process, the pager's, if the program has no use for it any more.
    pub(crate) fn check(&self) {
        if self.is_slack() && self.is_free(Duration::ZERO) {
            tree::leave();
            end();
        }
    }

    /// Waits until `summons` is no longer 0, or the ledger is to be looked at, or for no reason.
    /// Ends this process with the program.
    pub(crate) fn wait_for(&self, summons: &AtomicU32, woken: Option<(&AtomicU32, u32)>) {
        if self.is_slack() {
            self.check();
            // Ends early or not: both are looked at again.
            let _ = futex::wait(summons, futex::Flags::empty(), 0, Some(&LOOK_AGAIN));
        } else {
            wait_for_change([(self.first.word, self.first.number), (summons, 0)], woken);
        }
    }

    /// The program's first thread has left; others may be there still.
    fn is_slack(&self) -> bool {
        self.first.word.load(Ordering::Acquire) != self.first.number
    }

    fn is_free(&self, patience: Duration) -> bool {
        self.program.has_ended(patience) || self.program.has_moved_on()
    }
}

/// Waits until one of the words changes.
fn wait_for_change(words: [(&AtomicU32, u32); 2], woken: Option<(&AtomicU32, u32)>) {
    let [first, second] = words;
    match woken {
        Some(third) => companion::wait_for_change(&[first, second, third]),
        None => companion::wait_for_change(&words),
    }
}

/// Continues as a process in place of the calling thread, which was made for the pager.
/// Returns only if that is not possible.
pub(crate) fn leave(engine: &'static Engine) {
    if !engine.pager_is_a_process() {
        return;
    }
    PAGER.store(ALIVE, Ordering::Release);
    let argument = core::ptr::from_ref(engine).expose_provenance();
    // SAFETY: the thread was made for this, with its signals blocked; its handle is
    // dropped. Where it fails, the pager is a thread.
    let _refused = unsafe { companion::continue_as_process(pager, argument, Files::Own) };
}

fn engine(argument: usize) -> &'static Engine {
    // SAFETY: made from a reference that lasts for ever.
    unsafe { &*core::ptr::with_exposed_provenance(argument) }
}

fn pager(argument: usize) -> ! {
    let engine = engine(argument);
    companion::set_own_word(&PAGER);
    PAGER_NUMBER.store(std::process::id(), Ordering::Release);
    let kept = engine.lock_core().estate.as_ref().map(Estate::raw);
    serve::own_file_table(kept);
    let leash = engine.first_thread.map(Leash::new);
    serve::run(engine, leash.as_ref());
    tree::leave();
    end()
}

/// The guard as the pager process knows it.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    engine: &'static Engine,
    leash: &'a Leash,
    /// None while it starts.
    process: Option<Process>,
}

impl<'a> Guard<'a> {
    /// Starts one. The thread that becomes it may touch the program's memory, which the
    /// caller serves: the caller must not wait for it.
    pub(crate) fn start(engine: &'static Engine, leash: &'a Leash) -> Self {
        GUARD_NUMBER.store(0, Ordering::Release);
        let _blocked = Blocked::all();
        let builder = std::thread::Builder::new().name("outcore-guard".into()).stack_size(64 << 10);
        let started = builder.spawn(move || {
            (engine.thread_starts)();
            let argument = core::ptr::from_ref(engine).expose_provenance();
            // SAFETY: as above.
            let error = unsafe { companion::continue_as_process(guard, argument, Files::Shared) };
            die(&format!("the pager's guard cannot be started: {error}"));
        });
        if let Err(error) = started {
            die(&format!("the pager's guard cannot be started: {error}"));
        }
        Self { engine, leash, process: None }
    }

    /// Whether it is not there yet; ends this process with the program.
    pub(crate) fn is_starting(&mut self) -> bool {
        if self.process.is_none() {
            let number = GUARD_NUMBER.load(Ordering::Acquire);
            self.process = (number != 0).then(|| Process::open(number).ok()).flatten();
            self.leash.check();
        }
        self.process.is_none()
    }

    /// Its descriptor, readable when it has ended.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(Process::as_fd)
    }

    /// Another one in place of one that was killed.
    pub(crate) fn replace(&mut self) {
        *self = Self::start(self.engine, self.leash);
    }
}

fn guard(argument: usize) -> ! {
    let engine = engine(argument);
    // The descriptors are the pager's as well, and stay open as long as either lives.
    let (Some(first), Ok(pager)) = (engine.first_thread, Process::open(PAGER_NUMBER.load(Ordering::Acquire)))
    else {
        die("the pager was killed");
    };
    let leash = Leash::new(first);
    GUARD_NUMBER.store(std::process::id(), Ordering::Release);
    companion::wake(&GUARD_NUMBER);
    let mut told = false;
    let wake = tree::wake_word();
    let mut woken = 0;
    loop {
        if let Some(wake) = wake {
            let now = wake.load(Ordering::Acquire);
            if core::mem::replace(&mut woken, now) != now {
                nudge();
            }
        }
        if PAGER.load(Ordering::Acquire) != ALIVE {
            avenge(engine, &leash);
        }
        if !leash.is_slack() {
            wait_for_change([(first.word, first.number), (&PAGER, ALIVE)], wake.map(|wake| (wake, woken)));
            continue;
        }
        if !told {
            // The kernel wakes one; a thread that joins the first one waits as well.
            companion::wake(first.word);
            told = true;
        }
        if leash.is_free(LOOK) {
            dismiss(&pager);
            end();
        }
    }
}

/// The descriptors that the guard writes to when the pager is not needed any more, and when it
/// should look at the ledger.
pub(crate) fn set_descriptors(dismissal: &OwnedFd, nudge: Option<&OwnedFd>) {
    DISMISSAL.store(dismissal.as_raw_fd(), Ordering::Release);
    NUDGE.store(nudge.map_or(-1, OwnedFd::as_raw_fd), Ordering::Release);
}

/// Adds one to an event of the pager's; whether it did.
fn signal(descriptor: &AtomicI32) -> bool {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the table is the pager's as well, which keeps this one open as long as it lives.
    let told = unsafe { libc::write(descriptor.load(Ordering::Acquire), one.as_ptr().cast(), one.len()) };
    told == one.len() as isize
}

/// Has the pager, who waits for descriptors, look at the ledger.
fn nudge() {
    // Told so often that it cannot be counted, it looks all the same.
    let _ = signal(&NUDGE);
}

/// Whether the pager was a process, and has left this memory.
pub(crate) fn pager_is_gone() -> bool {
    PAGER.load(Ordering::Acquire) != ALIVE
}

/// Has the pager end what is under way, so that its slots may be used by others, and end.
fn dismiss(pager: &Process) {
    if !signal(&DISMISSAL) || !pager.has_ended(FAREWELL) {
        pager.kill();
    }
}

/// The pager is gone and the program is not: what it touches next could be lost.
fn avenge(engine: &Engine, leash: &Leash) -> ! {
    while !leash.is_free(Duration::ZERO) {
        if record().is_some_and(|record| record.message().is_none()) {
            say("the pager's process was killed, and with it the program, which cannot go on without");
        }
        leash.program.kill();
        leash.program.has_ended(LOOK);
    }
    tree::leave();
    if let Some(kin) = engine.kin.get() {
        // What the pager had begun to write, the disk may still be writing.
        std::thread::sleep(QUARANTINE);
        kin.lineage.leave(kin.member);
    }
    end()
}

/// Ends this process.
pub(crate) fn end() -> ! {
    // SAFETY: no destructor of the program's may run here.
    unsafe { libc::_exit(0) }
}
