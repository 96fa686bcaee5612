#![expect(unsafe_code, reason = "poll and sched_yield")]
//! How the pager thread waits.

use crate::core::Live;
use crate::home::Guard;
use crate::settings::Scope;
use crate::shared::{LOOK_AGAIN, Members};
use crate::steer::LONGEST_PATIENCE;
use crate::takeover::LOOK_EVERY;
use crate::tree::Tree;
use crate::watch::SAMPLE_EVERY;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};
use sys::companion::Process;
use sys::uffd::Uffd;

/// How often a deferred fault is tried again when nothing else wakes the thread.
pub(crate) const RETRY: Duration = Duration::from_millis(1);
/// How often it is looked whether the guard is there.
pub(crate) const SOON: Duration = Duration::from_micros(100);
/// After so long without anything to do, the store's holes are seen to.
const QUIET: Duration = Duration::from_millis(100);
/// Memory that is not paged may grow without a fault that tells of it: while nothing happens, it is
/// looked at so often at least, and sooner after it has changed by so much.
const SLOWEST: Duration = Duration::from_millis(500);
const GROWN: u64 = 1 << 20;
/// Demand reads that take longer than this are slept for.
const LONGEST_SPIN: Duration = Duration::from_micros(250);

/// What to wait for, and how.
#[derive(Debug)]
pub(crate) struct Wait {
    list: Vec<libc::pollfd>,
    timeout: Option<Duration>,
    spin: Duration,
    /// The third descriptor tells when the guard ends.
    has_guard: bool,
    /// Which descriptors tell to look at the ledger, and that the supervisor has ended.
    nudge: Option<usize>,
    supervisor: Option<usize>,
    /// A timeout would say that nobody wants anything.
    is_quiet: bool,
    /// How soon the resident set is looked at when nothing happens, and what it was.
    pause: Duration,
    resident: u64,
    /// Somebody else was asked to do something, and may not get to it.
    pub(crate) is_short: bool,
}

/// Why the wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There may be something to do.
    Ready,
    /// The guard has ended, which it does not by itself.
    GuardKilled,
    /// Nothing has happened for long, and nobody waits for anything.
    Quiet,
    /// The program has no use for its pager any more.
    Dismissed,
    /// Who watched the program has ended.
    Unwatched,
}

impl Wait {
    pub(crate) fn new() -> Self {
        Self {
            list: Vec::with_capacity(64),
            timeout: None,
            spin: Duration::ZERO,
            has_guard: false,
            nudge: None,
            supervisor: None,
            is_quiet: false,
            pause: QUIET,
            resident: 0,
            is_short: false,
        }
    }

    /// Something has been done.
    pub(crate) fn has_work(&mut self) {
        self.pause = QUIET;
    }

    /// Nothing has happened for the time of a pause, and so many bytes are resident.
    pub(crate) fn rests(&mut self, resident: u64) {
        let is_steady = self.resident.abs_diff(resident) < GROWN;
        self.pause = if is_steady { (2 * self.pause).min(SLOWEST) } else { QUIET };
        self.resident = resident;
    }

    /// Takes down what `live` is waiting for.
    pub(crate) fn prepare(&mut self, live: &mut Live, guard: Option<&mut Guard<'_>>, quiet_work: bool) {
        let mut guard = guard;
        let guard_starts = guard.as_mut().is_some_and(|guard| guard.is_starting());
        self.is_short = !live.steering.settle(&live.arena);
        self.list.clear();
        let mut add = |fd: BorrowedFd<'_>| {
            self.list.push(libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
        };
        add(live.arena.as_fd());
        let views = live.files.uffd().map(Uffd::as_fd);
        add(live.dismissal.as_fd());
        let guard = guard.as_ref().and_then(|guard| guard.fd());
        self.has_guard = guard.is_some();
        guard.into_iter().for_each(&mut add);
        add(live.bell.as_fd());
        views.into_iter().for_each(&mut add);
        live.files.leases.iter().for_each(|leases| add(leases.uffd().as_fd()));
        live.store.as_fd().into_iter().for_each(&mut add);
        live.members.iter().flat_map(Members::fds).for_each(&mut add);
        let fds = |fd: Option<BorrowedFd<'_>>, list: &mut Vec<libc::pollfd>| {
            let fd = fd?;
            list.push(libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
            Some(list.len() - 1)
        };
        let supervisor = live.tree.as_ref().and_then(Tree::supervisor).map(Process::as_fd);
        self.nudge = fds(live.nudge.as_ref().map(AsFd::as_fd), &mut self.list);
        self.supervisor = fds(supervisor, &mut self.list);
        let gives = live.tree.as_ref().is_some_and(Tree::owes);
        let has_no_waker = live.tree.is_some() && live.listener.is_none() && !self.has_guard;
        self.is_quiet = false;
        self.timeout = if guard_starts {
            Some(Duration::ZERO)
        } else if !live.deferred.is_empty() {
            Some(RETRY)
        } else if self.is_short {
            Some(LONGEST_PATIENCE)
        } else if gives {
            Some(LOOK_EVERY)
        } else if live.watch.is_sampling() {
            Some(SAMPLE_EVERY)
        } else if live.members.as_ref().is_some_and(Members::anybody_leaves) {
            Some(LOOK_AGAIN)
        } else if live.watch.is_drawing() {
            Some(Duration::ZERO)
        } else {
            self.is_quiet = true;
            let is_sampled = live.limits.scope == Scope::Process || live.tree.is_some();
            if quiet_work || has_no_waker { Some(QUIET) } else { is_sampled.then_some(self.pause) }
        };
        // A waker beside a thread that yields would not get its turn.
        self.spin = match (self.is_short, guard_starts) {
            (true, _) => Duration::ZERO,
            (false, true) => SOON,
            (false, false) => live.demand.spin(),
        };
    }

    /// Waits. While a thread waits for a read that is expected at once, the processor is
    /// kept awake and given to whoever wants it: waking a halted one costs more than
    /// all else that a fault does.
    pub(crate) fn wait(&mut self) -> Woken {
        if !self.spin.is_zero() {
            let start = Instant::now();
            while start.elapsed() < self.spin {
                if self.poll(0) > 0 {
                    return self.ready();
                }
                // SAFETY: a system call without memory effects.
                unsafe { libc::sched_yield() };
            }
        }
        let timeout = self.timeout.map_or(-1, |timeout| timeout.as_millis() as libc::c_int);
        if self.poll(timeout) == 0 && self.is_quiet { Woken::Quiet } else { self.ready() }
    }

    fn ready(&self) -> Woken {
        let is_ready = |index: usize| self.list.get(index).is_some_and(|entry| entry.revents != 0);
        if is_ready(1) {
            Woken::Dismissed
        } else if self.has_guard && is_ready(2) {
            Woken::GuardKilled
        } else if self.supervisor.is_some_and(is_ready) {
            Woken::Unwatched
        } else {
            if let Some(nudge) = self.nudge.filter(|index| is_ready(*index)) {
                let mut count = [0_u8; 8];
                // SAFETY: eight bytes of ours, and a descriptor of ours that does not block.
                unsafe { libc::read(self.list[nudge].fd, count.as_mut_ptr().cast(), count.len()) };
            }
            Woken::Ready
        }
    }

    fn poll(&mut self, timeout: libc::c_int) -> libc::c_int {
        // SAFETY: the list is valid; its descriptors are this thread's own.
        unsafe { libc::poll(self.list.as_mut_ptr(), self.list.len() as libc::nfds_t, timeout) }
    }
}

/// Reads that threads wait for.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    under_way: u32,
    /// A moving average of how long they take, in nanoseconds.
    typical_ns: u64,
    /// The same of mapping a page that was parked.
    rescue_ns: u64,
}

/// What a fault costs besides being resolved: the trap, the message, two switches.
const FAULT_NS: u64 = 4000;
/// Outcomes over which averages are taken.
const SMOOTH: u64 = 8;

fn average(before: u64, took: Duration) -> u64 {
    let took = took.as_nanos() as u64;
    if before == 0 { took } else { ((SMOOTH - 1) * before + took) / SMOOTH }
}

impl Demand {
    pub(crate) fn started(&mut self) {
        self.under_way += 1;
    }

    pub(crate) fn ended(&mut self, took: Duration) {
        self.under_way -= 1;
        self.typical_ns = average(self.typical_ns, took);
    }

    pub(crate) fn rescued(&mut self, took: Duration) {
        self.rescue_ns = average(self.rescue_ns, took);
    }

    /// What a read costs a thread, in touches on parked pages; none before both are known.
    pub(crate) fn miss_cost(&self) -> Option<u32> {
        let known = self.typical_ns > 0 && self.rescue_ns > 0;
        known.then(|| ((self.typical_ns + FAULT_NS) / (self.rescue_ns + FAULT_NS)) as u32)
    }

    /// How long it pays to stay awake for the next one.
    fn spin(&self) -> Duration {
        let typical = Duration::from_nanos(self.typical_ns);
        let pays = self.under_way > 0 && typical < LONGEST_SPIN;
        if pays { 2 * typical } else { Duration::ZERO }
    }
}
