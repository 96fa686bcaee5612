#![expect(unsafe_code, reason = "processor affinity and scheduling policy")]
//! Serving faults on the processor of the thread that faults.
//!
//! A wake-up across processors costs several times what the rest of a fault does, and
//! the scheduler prefers it: whoever wakes is running, so the woken is put on an idle
//! processor. While one thread causes the faults, the pager thread is therefore bound
//! to that thread's processor, and the wake-up is left to the [`Waker`], a thread of
//! the idle class (`SCHED_IDLE`, sched(7)): a processor that runs nothing else counts
//! as idle, so the woken thread stays where it is.
//!
//! A thread that is mapped many pages a fault, because it goes through memory in order,
//! is not followed: wake-ups matter little to it, and two processors do more than one.
//!
//! Threads of other processes, which share an arena, are followed likewise, but never sent anywhere: what
//! their number means is for their own process to know.
//!
//! Where reads end sooner on another processor ([`Processors`]), the followed thread is
//! sent there while it waits for a page: it is bound there for the time it takes to wake
//! it, and may go where it likes from then on.

use crate::processors::{MAX_PROCESSORS, Processors};
use crate::rest::Rest;
use crate::signals::Blocked;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use rustix::fs::{Mode, OFlags};
use rustix::thread::futex;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use sys::uffd::{Uffd, Waking};

/// Faults in a row of one thread after which it is followed.
const ALONE: u32 = 64;
/// Pages mapped a fault above which it is not.
const TOGETHER: u64 = 8;
/// How often it is looked where the followed thread runs.
const LOOK: Duration = Duration::from_millis(1);
/// Wake-ups that the waker did not get to, of the last 64, after which it is not used.
const MOST_MISSED: u32 = 8;
/// How long the waker is given when the pager thread has something else to do.
const PATIENCE: Duration = Duration::from_micros(300);
/// How long it is given when there is nothing else. Longer than a tick of the kernel's
/// clock: a timer that is to expire before it costs more to set than the wake-up.
pub(crate) const LONGEST_PATIENCE: Duration = Duration::from_millis(5);

/// Whom the pager thread follows, and where to.
#[derive(Debug)]
pub(crate) struct Steering {
    everywhere: libc::cpu_set_t,
    processors: Processors,
    /// Where the followed thread is to be sent when it waits next.
    destination: Option<usize>,
    thread: u32,
    in_a_row: u32,
    /// Since it was last looked: its faults, and the pages mapped.
    faults: u64,
    pages: u64,
    /// The followed thread's `/proc/PROGRAM/task/N/stat`.
    stat: Option<OwnedFd>,
    bound_to: Option<usize>,
    next_look: Instant,
    waker: Option<Waker>,
    /// A copy of the userfaultfd of views of files, or of the followed thread's view of an arena, if
    /// there is one: who waits for a page of those waits there.
    views: Option<OwnedFd>,
    /// The waker's copy.
    wakers_views: Views,
    /// Whose thread is followed, where that is a member of an arena.
    member: Option<u64>,
    used: u32,
    missed: u32,
    /// While the waker is not used.
    rest: Rest,
    pending: Option<(usize, usize)>,
    asked_at: Instant,
}

impl Steering {
    /// For the pager thread, which must be the caller. Follows nobody until
    /// [`Self::begin`].
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            everywhere: allowed(0).unwrap_or(NOWHERE),
            processors: Processors::new(now),
            destination: None,
            thread: 0,
            in_a_row: 0,
            faults: 0,
            pages: 0,
            stat: None,
            bound_to: None,
            next_look: now,
            waker: None,
            views: None,
            wakers_views: Views::default(),
            member: None,
            used: 0,
            missed: 0,
            rest: Rest::new(),
            pending: None,
            asked_at: now,
        }
    }

    /// Paging begins. Without a waker nobody is followed. `views` is a copy of the userfaultfd
    /// of views of files.
    pub(crate) fn begin(&mut self, waker: Option<Waker>, views: Option<OwnedFd>) {
        self.wakers_views = waker.as_ref().map(|waker| Arc::clone(&waker.views)).unwrap_or_default();
        self.waker = waker;
        self.views = views;
    }

    fn wake_now(&self, arena: &Uffd, start: usize, end: usize) {
        let _ = arena.wake(start, end - start);
        if let Some(views) = &self.views {
            let _ = sys::uffd::wake(views, start, end - start);
        }
    }

    /// Tells of a fault by `thread`.
    pub(crate) fn fault(&mut self, thread: u32) {
        self.faults += 1;
        if thread == self.thread {
            self.in_a_row = self.in_a_row.saturating_add(1);
            return;
        }
        self.thread = thread;
        self.in_a_row = 0;
        self.stat = None;
        self.destination = None;
        self.unbind();
    }

    /// Tells of a fault by a `thread` of member `member` of an arena, whose view has this userfaultfd.
    pub(crate) fn fault_in(&mut self, member: u64, thread: u32, uffd: &Uffd) {
        if self.member != Some(member) {
            // Another one may have a thread of that number, in a namespace of its own.
            self.fault(0);
            self.member = Some(member);
        }
        self.fault(thread);
        if self.in_a_row == ALONE && !self.wakes_in(uffd) {
            self.in_a_row = 0;
        }
    }

    /// Has wake-ups go to this userfaultfd as well; whether that was possible now.
    fn wakes_in(&mut self, uffd: &Uffd) -> bool {
        let theirs = Arc::clone(&self.wakers_views);
        // The waker has it for the time of a wake-up. It may be held up then, and is not waited for.
        let Ok(mut theirs) = theirs.try_lock() else { return false };
        // Who is still to be woken waits where the wake-ups went before.
        let asked = self.waker.as_ref().and_then(|waker| waker.asked.take());
        for (start, end) in asked.into_iter().chain(self.pending.take()) {
            self.views.iter().for_each(|views| _ = sys::uffd::wake(views, start, end - start));
        }
        let copy = || uffd.as_fd().try_clone_to_owned().ok();
        (self.views, *theirs) = (copy(), copy());
        self.views.is_some() && theirs.is_some()
    }

    /// The member whose thread is followed now.
    pub(crate) fn followed_member(&self) -> Option<u64> {
        self.member.filter(|_| self.bound_to.is_some())
    }

    /// So many pages have been mapped.
    pub(crate) fn mapped(&mut self, pages: usize) {
        self.pages += pages as u64;
    }

    /// A read that somebody waited for has ended.
    pub(crate) fn read_took(&mut self, took: Duration) {
        self.bound_to.into_iter().for_each(|processor| self.processors.read_took(processor, took));
    }

    /// Whether transfers wake at once, or leave that to [`Self::wake`].
    pub(crate) fn waking(&self) -> Waking {
        if self.bound_to.is_some() { Waking::Later } else { Waking::Now }
    }

    /// Whether the followed thread can go on as soon as the pager thread waits.
    pub(crate) fn holds_somebody_up(&self) -> bool {
        self.pending.is_some()
    }

    /// A page of `addr..addr + len` is waited for by the followed thread.
    pub(crate) fn wake(&mut self, addr: usize, len: usize) {
        let (start, end) = self.pending.unwrap_or((addr, addr + len));
        self.pending = Some((start.min(addr), end.max(addr + len)));
    }

    /// Before the pager thread waits: passes wake-ups on, and goes where the followed
    /// thread is. False if it must come back in a while to see that the waker
    /// has done its work.
    pub(crate) fn settle(&mut self, arena: &Uffd) -> bool {
        if self.in_a_row >= ALONE && self.waker.as_ref().is_some_and(|waker| waker.thread().is_some()) {
            self.follow();
        }
        if let Some((start, end)) = self.pending.take() {
            if let Some(processor) = self.destination.take() {
                self.send(arena, processor, start, end);
                return true;
            }
            self.used += 1;
            self.asked_at = Instant::now();
            match &self.waker {
                Some(waker) if self.bound_to.is_some() => {
                    if let Some((start, end)) = waker.asked.take() {
                        self.wake_now(arena, start, end);
                    }
                    waker.asked.ask(start, end);
                }
                _ => self.wake_now(arena, start, end),
            }
        }
        self.waker.as_ref().is_none_or(|waker| !waker.asked.is_pending())
    }

    /// After waiting: what the waker did not get to is done here.
    pub(crate) fn catch_up(&mut self, arena: &Uffd) {
        if self.asked_at.elapsed() < PATIENCE {
            return;
        }
        let Some((start, end)) = self.waker.as_ref().and_then(|waker| waker.asked.take()) else { return };
        self.wake_now(arena, start, end);
        self.missed += 1;
        if self.used >= 64 {
            (self.used, self.missed) = (0, 0);
        } else if self.missed > MOST_MISSED {
            self.rest.begin();
            self.unbind();
        }
    }

    fn follow(&mut self) {
        let now = Instant::now();
        if now < self.next_look || !self.rest.is_over(now) {
            return;
        }
        self.next_look = now + LOOK;
        let in_order = self.pages > TOGETHER * self.faults;
        (self.pages, self.faults) = (0, 0);
        if in_order {
            self.unbind();
            return;
        }
        let Some(cpu) = self.processor() else { return };
        if self.bound_to != Some(cpu) {
            self.go(cpu);
            return;
        }
        if self.member.is_some() {
            return;
        }
        let everywhere = &self.everywhere;
        self.destination = self.processors.better(cpu, now, |other| has(everywhere, other));
    }

    fn go(&mut self, processor: usize) {
        let only = just(processor);
        if bind(0, &only)
            && self.waker.as_ref().and_then(Waker::thread).is_some_and(|waker| bind(waker, &only))
        {
            self.bound_to = Some(processor);
        } else {
            self.unbind();
        }
    }

    /// Wakes the followed thread, which waits for a page of `start..end`, on
    /// `processor` if it may run there.
    fn send(&mut self, arena: &Uffd, processor: usize, start: usize, end: usize) {
        let thread = self.thread as i32;
        let theirs = allowed(thread).filter(|set| has(set, processor));
        let sent = theirs.filter(|_| bind(thread, &just(processor)));
        if sent.is_some() {
            self.go(processor);
        }
        self.wake_now(arena, start, end);
        if let Some(theirs) = sent {
            // Unless it has chosen otherwise meanwhile.
            let ours = allowed(thread).is_some_and(|set| same(&set, &just(processor)));
            if ours {
                bind(thread, &theirs);
            }
        }
    }

    fn unbind(&mut self) {
        if self.bound_to.take().is_some() {
            // Allowed before, and so again.
            bind(0, &self.everywhere);
        }
    }

    /// Where the followed thread last ran: field 39 of its stat, see proc(5).
    fn processor(&mut self) -> Option<usize> {
        if self.stat.is_none() {
            self.stat = open_stat(self.member.is_some(), self.thread);
        }
        let mut text = [0u8; 512];
        let read = rustix::io::pread(self.stat.as_ref()?, &mut text, 0).ok()?;
        let text = core::str::from_utf8(&text[..read]).ok()?;
        // The name, field 2, may hold anything; the last parenthesis ends it.
        let (_, rest) = text.rsplit_once(')')?;
        rest.split_ascii_whitespace().nth(36)?.parse().ok().filter(|cpu| *cpu < libc::CPU_SETSIZE as usize)
    }
}

/// Without an allocation.
fn open_stat(is_elsewhere: bool, thread: u32) -> Option<OwnedFd> {
    let mut path = [0u8; 64];
    let mut text = &mut path[..63];
    if is_elsewhere {
        write!(text, "/proc/{thread}/stat").ok()?;
    } else {
        write!(text, "/proc/{}/task/{thread}/stat", crate::engine::program()).ok()?;
    }
    let path = core::ffi::CStr::from_bytes_until_nul(&path).ok()?;
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// No processor at all.
// SAFETY: a plain array of bits.
const NOWHERE: libc::cpu_set_t = unsafe { core::mem::zeroed() };

fn just(processor: usize) -> libc::cpu_set_t {
    let mut set = NOWHERE;
    // SAFETY: the number is below the set's size.
    unsafe { libc::CPU_SET(processor.min(libc::CPU_SETSIZE as usize - 1), &mut set) };
    set
}

fn has(set: &libc::cpu_set_t, processor: usize) -> bool {
    // SAFETY: the number is below the set's size.
    processor < MAX_PROCESSORS && unsafe { libc::CPU_ISSET(processor, set) }
}

fn same(one: &libc::cpu_set_t, other: &libc::cpu_set_t) -> bool {
    // SAFETY: two sets are only read.
    unsafe { libc::CPU_EQUAL(one, other) }
}

/// Where a thread of this process (0: this one) may run; none if the kernel does not say.
fn allowed(thread: i32) -> Option<libc::cpu_set_t> {
    let mut set = NOWHERE;
    // SAFETY: the set is as long as said.
    let got = unsafe { libc::sched_getaffinity(thread, size_of::<libc::cpu_set_t>(), &mut set) };
    (got == 0).then_some(set)
}

/// Binds a thread of this process (0: this one); whether it worked.
fn bind(thread: i32, set: &libc::cpu_set_t) -> bool {
    // SAFETY: the set is as long as said.
    unsafe { libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), set) == 0 }
}

/// A second userfaultfd on which threads wait, if there is one.
type Views = Arc<Mutex<Option<OwnedFd>>>;

/// A thread that wakes threads when its processor has nothing else to do.
#[derive(Debug)]
pub(crate) struct Waker {
    asked: Arc<Asked>,
    views: Views,
    handle: Option<JoinHandle<()>>,
}

/// Only an engine that ends drops it.
impl Drop for Waker {
    fn drop(&mut self) {
        self.asked.end();
        // A panic there has been reported; there is nothing to clean up after it.
        let _ = self.handle.take().map(JoinHandle::join);
    }
}

#[derive(Debug, Default)]
struct Asked {
    /// Odd while somebody is to be woken; counts, so that no state comes twice.
    state: AtomicU32,
    start: AtomicUsize,
    end: AtomicUsize,
    thread: AtomicU32,
    is_over: AtomicBool,
}

impl Asked {
    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        // Changed, so that nobody begins to wait for what was there.
        self.state.fetch_add(2, Ordering::Release);
        let _ = futex::wake(&self.state, futex::Flags::PRIVATE, 1);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn ask(&self, start: usize, end: usize) {
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.state.fetch_add(1, Ordering::Release);
        let _ = futex::wake(&self.state, futex::Flags::PRIVATE, 1);
    }

    fn is_pending(&self) -> bool {
        self.state.load(Ordering::Acquire) % 2 == 1
    }

    /// The range, for one taker; none when there is nothing to do.
    fn take(&self) -> Option<(usize, usize)> {
        let state = self.state.load(Ordering::Acquire);
        let range = (self.start.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        let next = state.wrapping_add(1);
        let taken = state % 2 == 1
            && self.state.compare_exchange(state, next, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        taken.then_some(range)
    }

    fn wait(&self) {
        let state = self.state.load(Ordering::Acquire);
        if state.is_multiple_of(2) && !self.is_over() {
            let _ = futex::wait(&self.state, futex::Flags::PRIVATE, state, None);
        }
    }
}

impl Waker {
    /// Its number; none while it starts, or where the kernel gives no such policy.
    fn thread(&self) -> Option<i32> {
        i32::try_from(self.asked.thread.load(Ordering::Acquire)).ok().filter(|thread| *thread > 0)
    }

    /// None where the kernel gives no thread. The thread calls `thread_starts` first, and may
    /// touch the program's memory when it starts: the caller, who serves that, must not
    /// wait for it.
    pub(crate) fn start(arena: OwnedFd, views: Option<OwnedFd>, thread_starts: fn()) -> Option<Self> {
        let asked = Arc::new(Asked::default());
        let theirs = Arc::clone(&asked);
        let views: Views = Arc::new(Mutex::new(views));
        let second = Arc::clone(&views);
        let _blocked = Blocked::all();
        let builder = std::thread::Builder::new().name("outcore-waker".into()).stack_size(64 << 10);
        let thread = builder
            .spawn(move || {
                thread_starts();
                let parameters = libc::sched_param { sched_priority: 0 };
                // SAFETY: system calls on this thread without memory effects.
                let (idle, id) = unsafe {
                    (libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) == 0, libc::gettid())
                };
                // All ones: there is no waker.
                theirs.thread.store(if idle { id as u32 } else { u32::MAX }, Ordering::Release);
                if !idle {
                    // Threads of a pager process never end: the C library does not count
                    // them. Nobody asks.
                    while !theirs.is_over() {
                        theirs.wait();
                    }
                }
                while !theirs.is_over() {
                    if !theirs.is_pending() {
                        theirs.wait();
                        continue;
                    }
                    // A thread that has had more than its share stays in the run queue
                    // when it sleeps (EEVDF's delayed dequeue), so that the processor
                    // would not count as idle. This takes the pager thread out of it.
                    // SAFETY: a system call without memory effects.
                    unsafe { libc::sched_yield() };
                    // Held before it is taken: whom it is for is known until it is done.
                    let second = second.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some((start, end)) = theirs.take() {
                        let _ = sys::uffd::wake(&arena, start, end - start);
                        if let Some(views) = &*second {
                            let _ = sys::uffd::wake(views, start, end - start);
                        }
                    }
                }
            })
            .ok()?;
        Some(Self { asked, views, handle: Some(thread) })
    }
}
