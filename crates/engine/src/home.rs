#![expect(unsafe_code, reason = "becomes a process, and reads the engine by its address")]
//! Where the pager lives: in a process of its own that shares the program's memory.
//!
//! As a thread of the program it would make every program multi-threaded: an
//! interpreter warns when it forks, unshare(2) and seccomp(2) refuse or hit the pager.
//! It is a thread only where the kernel has not what a process needs.
//!
//! A process can be killed alone, and its userfaultfds would go with it: pages that are
//! not mapped would read as zeros. So the memory itself keeps them open (`sys::anchor`), and
//! once memory is paged a second process, the guard, shares the pager's descriptors as well:
//! it sleeps until the program or the pager leaves the memory they share, and then ends
//! whoever is left. Where guard and pager are killed at once, touches of what is not mapped
//! wait until the supervisor has seen it, and ends the program.

use crate::core::Core;
use crate::engine::{Engine, die, program, record, say};
use crate::fork::Estate;
use crate::serve;
use crate::signals::Blocked;
use crate::tree;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use rustix::io::Errno;
use rustix::thread::{Timespec, futex};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::MutexGuard;
use std::time::Duration;
use sys::companion::{self, Files, Process};

/// In [`PAGER`] and [`GUARD`] while there is one.
const ALIVE: u32 = 1;
/// How often a program is killed until it is gone.
const MOMENT: Duration = Duration::from_millis(1);
/// How often it is looked again where nothing tells of a change.
const LOOK: Duration = Duration::from_millis(50);
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Cleared by the kernel when the pager's process leaves this memory.
static PAGER: AtomicU32 = AtomicU32::new(0);
/// The same of the guard.
static GUARD: AtomicU32 = AtomicU32::new(0);
static PAGER_NUMBER: AtomicU32 = AtomicU32::new(0);
static GUARD_NUMBER: AtomicU32 = AtomicU32::new(0);
/// How often the pager asks for the core before it sleeps, how long it sleeps, and how many times
/// until it looks whether there is still somebody who could unlock it.
const YIELDS: u32 = 100;
const GLANCE: Duration = Duration::from_micros(50);
const GLANCES: u32 = 1000;
/// In the table of pager and guard: what dismisses the pager.
static DISMISSAL: AtomicI32 = AtomicI32::new(-1);
/// The same, what has it look at the ledger.
static NUDGE: AtomicI32 = AtomicI32::new(-1);
/// Whether a pager that was dismissed has begun to end its transfers.
static LEAVING: AtomicBool = AtomicBool::new(false);
/// Whether it has given up what it held.
static HAS_LEFT: AtomicBool = AtomicBool::new(false);
/// How long it may take to begin. For ever, if the program was killed with the core locked.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may then take.
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
        if self.is_loose() {
            tree::leave();
            end();
        }
    }

    /// Whether the program has no use for this process any more.
    pub(crate) fn is_loose(&self) -> bool {
        self.is_slack() && self.is_free(Duration::ZERO)
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

/// Before a pager is started.
pub(crate) fn expect_pager(engine: &Engine) {
    if engine.pager_is_a_process() {
        PAGER.store(ALIVE, Ordering::Release);
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
    let argument = core::ptr::from_ref(engine).expose_provenance();
    // SAFETY: the thread was made for this, with its signals blocked; its handle is
    // dropped. Where it fails, the pager is a thread.
    let _refused = unsafe { companion::continue_as_process(pager, argument, Files::Own, &PAGER) };
}

fn engine(argument: usize) -> &'static Engine {
    // SAFETY: made from a reference that lasts for ever.
    unsafe { &*core::ptr::with_exposed_provenance(argument) }
}

fn pager(argument: usize) -> ! {
    let engine = engine(argument);
    let number = std::process::id();
    PAGER_NUMBER.store(number, Ordering::Release);
    if let Some(record) = record() {
        record.pager_pid.store(number.into(), Ordering::Release);
    }
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
        GUARD.store(ALIVE, Ordering::Release);
        let _blocked = Blocked::all();
        let builder = std::thread::Builder::new().name("outcore-guard".into()).stack_size(64 << 10);
        let started = builder.spawn(move || {
            (engine.thread_starts)();
            let argument = core::ptr::from_ref(engine).expose_provenance();
            // SAFETY: as above.
            let error = unsafe { companion::continue_as_process(guard, argument, Files::Shared, &GUARD) };
            die(&format!("the pager's guard cannot be started: {error}"));
        });
        if let Err(error) = started {
            die(&format!("the pager's guard cannot be started: {error}"));
        }
        Self { engine, leash, process: None }
    }

    /// Whether it is not there yet.
    pub(crate) fn is_starting(&mut self) -> bool {
        if self.process.is_none() {
            let number = GUARD_NUMBER.load(Ordering::Acquire);
            self.process = (number != 0).then(|| Process::open(number).ok()).flatten();
            if GUARD.load(Ordering::Acquire) != ALIVE {
                // Killed before it was known; its number may be another's by now.
                self.replace();
            }
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
    let Some(first) = engine.first_thread else {
        die("the pager's guard cannot know the program's first thread")
    };
    let leash = Leash::new(first);
    // The descriptors are the pager's as well, and stay open as long as either lives.
    let Ok(pager) = Process::open(PAGER_NUMBER.load(Ordering::Acquire)) else { avenge(engine, &leash) };
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
            dismiss(engine, &pager);
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

/// Ends this process, the pager's, when `leave` has given up what it holds. Called with
/// everything locked that it needs.
pub(crate) fn leave_by(leave: impl FnOnce()) -> ! {
    LEAVING.store(true, Ordering::Release);
    leave();
    tree::leave();
    HAS_LEFT.store(true, Ordering::Release);
    end()
}

/// The core, for the pager's own thread: the program may have been killed with it locked.
pub(crate) fn lock_core<'a>(engine: &'a Engine, leash: Option<&Leash>) -> MutexGuard<'a, Core> {
    let Some(leash) = leash else { return engine.lock_core() };
    for _ in 0..YIELDS {
        if let Some(core) = engine.try_lock_core() {
            return core;
        }
        std::thread::yield_now();
    }
    loop {
        for _ in 0..GLANCES {
            if let Some(core) = engine.try_lock_core() {
                return core;
            }
            std::thread::sleep(GLANCE);
        }
        if leash.is_loose() {
            forget(engine);
            end();
        }
    }
}

/// Has the pager end what is under way, so that its slots may be used by others, and end.
fn dismiss(engine: &Engine, pager: &Process) -> ! {
    let ends = signal(&DISMISSAL)
        && (pager.has_ended(PATIENCE) || LEAVING.load(Ordering::Acquire) && pager.has_ended(FAREWELL));
    if !ends {
        pager.kill();
        forget(engine);
    }
    end()
}

/// Gives up what a pager held of the store and of the budget that was killed, or has no core.
fn forget(engine: &Engine) {
    tree::leave();
    if let Some(kin) = engine.kin.get()
        && !HAS_LEFT.swap(true, Ordering::AcqRel)
    {
        // What the pager had begun to write, the disk may still be writing.
        std::thread::sleep(QUARANTINE);
        kin.lineage.leave(kin.member);
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
    forget(engine);
    end()
}

/// Kills the program, and ends this process where that is another: not before the program
/// has ended, because until then its userfaultfds must stay open.
pub(crate) fn kill_program() -> ! {
    match Process::open(program()) {
        Ok(program) => {
            while !program.has_moved_on() && !program.has_ended(Duration::ZERO) {
                program.kill();
                program.has_ended(MOMENT);
            }
        }
        Err(Errno::SRCH) => {}
        // There is no descriptor to be had.
        Err(_) => {
            while companion::kill(program()) {
                std::thread::sleep(MOMENT);
            }
        }
    }
    end()
}

/// Ends this process.
pub(crate) fn end() -> ! {
    // SAFETY: no destructor of the program's may run here.
    unsafe { libc::_exit(0) }
}
