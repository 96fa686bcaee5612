#![expect(unsafe_code, reason = "says that a ledger may be shared")]
//! The ledger: how much of one RAM budget each process of a tree may use.
//!
//! ```text
//! a process may use   FREE_BYTES + granted           its own word; more only if the sum allows
//! always              Σ granted ≤ budget − FREE_BYTES
//! somebody is short   targets are set anew           who has more than its target gives the rest
//! ```
//!
//! It is a memfd that `outcore run` makes and every process of its tree maps. There is no lock
//! and no common account: what is free is the budget without the sum of all grants. Who takes
//! adds to its own grant first, looks at the sum then, and gives back what is too much; of two
//! who take at once, at least one sees the other. So the sum holds whoever is killed at any
//! point, and the seat of a process that has ended is simply not counted any more.
//!
//! Nobody is in charge. Whoever is short has the targets set, at most so often, and wakes those
//! who are to give. So the tree goes on like this without its supervisor.
//!
//! Every field is an atomic word that others may write at any time: what is read is a number,
//! and bounded by whoever uses it.

use crate::shared::{self, Common};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, Ordering::Relaxed, Ordering::SeqCst};
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::path::Path;
use std::time::Duration;

/// Marks a ledger, and its layout's version in the last two digits.
pub const MAGIC: u64 = 0x4f55_5443_4c45_4402;

/// Processes that one ledger has seats for. Later ones get [`STANDING_BYTES`] each.
pub const SEATS: usize = 512;

/// What a process may use without asking: its code, its tables, the least to page with. Not
/// part of the budget but for one of them.
pub const FREE_BYTES: u64 = 8 << 20;

/// What a process may use for which there is no seat.
pub const STANDING_BYTES: u64 = 16 << 20;

/// The states of a seat's owner besides a token.
const NOBODY: u64 = 0;
const BEING_CLEARED: u64 = u64::MAX;

/// One process's place.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct Seat {
    /// The program's process, and above it a number that tells its lives apart.
    owner: AtomicU64,
    /// The process's PID namespace, and when it started.
    namespace: AtomicU64,
    started: AtomicU64,
    /// Bytes that it may use now beyond [`FREE_BYTES`].
    pub granted: AtomicU64,
    /// Bytes of them that it should have: it takes up to there, and gives down to there.
    pub target: AtomicU64,
    /// Bytes that it uses.
    pub used: AtomicU64,
    /// Bytes that it cannot do without.
    pub floor: AtomicU64,
    /// Nanoseconds for which its threads waited for pages.
    pub stall_ns: AtomicU64,
    /// Pages that came back after they had been evicted.
    pub refaults: AtomicU64,
    /// `stall_ns` when targets were last set.
    pub seen_stall_ns: AtomicU64,
    /// `refaults` when targets were last set.
    pub seen_refaults: AtomicU64,
    /// What it was found to need then.
    pub need: AtomicU32,
    /// Not 0: it could use more.
    pub is_short: AtomicU32,
    /// Changes when the process should look at its target; it waits for that.
    pub wake: AtomicU32,
    generation: AtomicU32,
}

const _: () = assert!(size_of::<Seat>() == 128, "a seat is two cache lines");

/// The whole of it.
#[repr(C)]
#[derive(Debug)]
pub struct Ledger {
    magic: AtomicU64,
    budget: AtomicU64,
    /// When targets were last set, in nanoseconds of the monotonic clock; 0 when somebody came
    /// or went since.
    decided_ns: AtomicU64,
    /// The process that made it; 0 once it has ended as it should.
    supervisor: AtomicU32,
    /// Seats up to here have been taken at some time.
    high: AtomicU32,
    seats: [Seat; SEATS],
}

// SAFETY: of C's layout, and atomic all through.
unsafe impl Common for Ledger {}

impl Ledger {
    /// A new one for `budget` bytes, and the descriptor through which others reach it.
    ///
    /// # Errors
    /// What memfd_create(2), ftruncate(2) and mmap(2) say.
    pub fn create(budget: u64) -> Result<(OwnedFd, &'static Self), Errno> {
        let file = memfd_create("outcore-ledger", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size_of::<Self>() as u64)?;
        let ledger: &Self = shared::value(&file)?;
        ledger.budget.store(budget, Relaxed);
        ledger.supervisor.store(std::process::id(), Relaxed);
        ledger.magic.store(MAGIC, Ordering::Release);
        Ok((file, ledger))
    }

    /// The ledger at `path`, if it is one of this version.
    pub fn open(path: &Path) -> Option<&'static Self> {
        shared::value_at::<Self>(path).filter(|ledger| ledger.magic.load(Ordering::Acquire) == MAGIC)
    }

    /// Bytes for all processes together.
    pub fn budget(&self) -> u64 {
        self.budget.load(Relaxed)
    }

    /// Makes `budget` that of all from now on, and has everybody look.
    pub fn set_budget(&self, budget: u64) {
        self.budget.store(budget, SeqCst);
        self.decided_ns.store(0, Relaxed);
        self.taken().for_each(Seat::rouse);
    }

    /// The process that made it and has not ended as it should; if it is not there, it was killed.
    pub fn supervisor(&self) -> Option<u32> {
        Some(self.supervisor.load(Relaxed)).filter(|pid| *pid != 0)
    }

    /// The supervisor ends as it should.
    pub fn dismiss_supervisor(&self) {
        self.supervisor.store(0, Relaxed);
    }

    /// What can be granted in all.
    pub fn room(&self) -> u64 {
        self.budget().saturating_sub(FREE_BYTES)
    }

    /// The sum of all grants.
    pub fn granted(&self) -> u64 {
        self.taken().map(|seat| seat.granted.load(SeqCst)).fold(0, u64::saturating_add)
    }

    /// What can still be granted.
    pub fn free(&self) -> u64 {
        self.room().saturating_sub(self.granted())
    }

    /// The seats that are taken.
    pub fn taken(&self) -> impl Iterator<Item = &Seat> {
        let high = (self.high.load(SeqCst) as usize).min(SEATS);
        self.seats[..high].iter().filter(|seat| !matches!(seat.owner.load(SeqCst), NOBODY | BEING_CLEARED))
    }

    /// A seat for this process, whose program's number is `pid`. None when all are taken.
    pub fn sit(&'static self, pid: u32) -> Option<Account> {
        let free = |seat: &&Seat| seat.owner.load(Relaxed) == NOBODY;
        // Another may take it first.
        let (seat, token) = loop {
            let seat = self.seats.iter().find(free)?;
            let life = seat.generation.fetch_add(1, Relaxed) & 0x7fff_ffff;
            let token = u64::from(life) << 32 | u64::from(pid);
            // Not counted before it is whole.
            if seat.owner.compare_exchange(NOBODY, BEING_CLEARED, SeqCst, Relaxed).is_ok() {
                break (seat, token);
            }
        };
        seat.empty();
        seat.namespace.store(own_namespace(), Relaxed);
        seat.started.store(crate::status::start_ticks(pid).unwrap_or(0), Relaxed);
        let index = self.seats.iter().position(|other| core::ptr::eq(other, seat)).unwrap_or(0);
        self.high.fetch_max(index as u32 + 1, SeqCst);
        seat.owner.store(token, SeqCst);
        self.decided_ns.store(0, Relaxed);
        Some(Account { ledger: self, seat, token })
    }

    /// Frees the seats of processes that have ended without a word; one of them is looked at
    /// more closely, another one each time.
    pub fn bury(&self, turn: u64) {
        let own = own_namespace();
        let count = self.taken().count().max(1) as u64;
        for (index, seat) in self.taken().enumerate() {
            let owner = seat.owner.load(SeqCst);
            let closely = index as u64 == turn % count;
            let is_judged = seat.namespace.load(Relaxed) == own;
            if is_judged && is_gone(owner as u32, seat.started.load(Relaxed), closely) {
                self.clear(seat, owner);
            }
        }
    }

    fn clear(&self, seat: &Seat, token: u64) {
        if seat.owner.compare_exchange(token, BEING_CLEARED, SeqCst, Relaxed).is_ok() {
            seat.empty();
            seat.owner.store(NOBODY, SeqCst);
            self.decided_ns.store(0, Relaxed);
        }
    }

    /// Whether targets are to be set now by the caller, and how long ago they were: not if
    /// somebody did within `pause`.
    pub fn begin_to_decide(&self, now_ns: u64, pause: Duration) -> Option<Duration> {
        let before = self.decided_ns.load(Relaxed);
        let elapsed = now_ns.saturating_sub(before);
        // A time to come is a scribble.
        let is_due = before > now_ns || elapsed >= pause.as_nanos() as u64;
        let ours = is_due && self.decided_ns.compare_exchange(before, now_ns, Relaxed, Relaxed).is_ok();
        ours.then(|| Duration::from_nanos(elapsed))
    }
}

fn own_namespace() -> u64 {
    rustix::fs::stat("/proc/self/ns/pid").map_or(0, |about| about.st_ino)
}

/// Whether process `pid`, which started at `started`, is not there any more, or waits to be
/// buried by its parent; the latter is found only on a closer look.
fn is_gone(pid: u32, started: u64, closely: bool) -> bool {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return true };
    if test_kill_process(process) == Err(Errno::SRCH) {
        return true;
    }
    closely && started != 0 && crate::status::running_since(pid) != Some(started)
}

impl Seat {
    fn empty(&self) {
        let numbers =
            [&self.granted, &self.used, &self.floor, &self.stall_ns, &self.refaults, &self.seen_stall_ns];
        numbers.iter().for_each(|number| number.store(0, SeqCst));
        self.seen_refaults.store(0, Relaxed);
        self.target.store(u64::MAX, Relaxed);
        self.need.store(0, Relaxed);
        self.is_short.store(0, Relaxed);
    }

    /// Has its process look.
    pub fn rouse(&self) {
        self.wake.fetch_add(1, SeqCst);
        let _ = rustix::thread::futex::wake(&self.wake, rustix::thread::futex::Flags::empty(), u32::MAX);
    }
}

/// A process's own view of its seat.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    ledger: &'static Ledger,
    seat: &'static Seat,
    token: u64,
}

impl Account {
    /// The ledger.
    pub fn ledger(&self) -> &'static Ledger {
        self.ledger
    }

    /// The seat.
    pub fn seat(&self) -> &'static Seat {
        self.seat
    }

    fn is_ours(&self) -> bool {
        self.seat.owner.load(Relaxed) == self.token
    }

    /// Bytes that may be used now: what has been granted, or less if others are to have it.
    pub fn allowed(&self) -> u64 {
        if !self.is_ours() {
            return FREE_BYTES;
        }
        let granted = self.seat.granted.load(Relaxed).min(self.seat.target.load(Relaxed));
        FREE_BYTES.saturating_add(granted.min(self.ledger.room()))
    }

    /// Takes up to `most` bytes more; how many it got.
    pub fn take(&self, most: u64) -> u64 {
        let (granted, target) = (self.seat.granted.load(SeqCst), self.seat.target.load(Relaxed));
        let most = most.min(target.saturating_sub(granted)).min(self.ledger.free());
        if most == 0 || !self.is_ours() {
            return 0;
        }
        self.seat.granted.fetch_add(most, SeqCst);
        let back = self.ledger.granted().saturating_sub(self.ledger.room()).min(most);
        if back > 0 {
            self.seat.granted.fetch_sub(back, SeqCst);
        }
        most - back
    }

    /// Whether it has been granted more than it should have.
    pub fn owes(&self) -> bool {
        self.seat.granted.load(Relaxed) > self.seat.target.load(Relaxed)
    }

    /// Gives back what is to be given and is not in use, now that `used` bytes are.
    pub fn settle(&self, used: u64) {
        let granted = self.seat.granted.load(Relaxed);
        let keep = self.seat.target.load(Relaxed).max(used.saturating_sub(FREE_BYTES));
        if keep < granted && self.is_ours() {
            self.seat.granted.fetch_sub(granted - keep, SeqCst);
        }
    }

    /// The process has no more use for its seat.
    pub fn leave(&self) {
        self.ledger.clear(self.seat, self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn ledger(budget: u64) -> &'static Ledger {
        Ledger::create(budget).unwrap().1
    }

    fn own_seat(ledger: &'static Ledger) -> Account {
        ledger.sit(std::process::id()).unwrap()
    }

    #[test]
    fn another_file_is_no_ledger() {
        assert!(Ledger::open(Path::new("/proc/self/exe")).is_none());
        let file = memfd_create("short", MemfdFlags::CLOEXEC).unwrap();
        assert!(shared::value::<Ledger>(&file).is_err());
        ftruncate(&file, size_of::<Ledger>() as u64).unwrap();
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        assert!(Ledger::open(Path::new(&path)).is_none(), "zeros have no magic");
    }

    #[test]
    fn a_process_alone_gets_the_whole_budget() {
        let ledger = ledger(100 * MIB);
        let account = own_seat(ledger);
        assert_eq!((account.allowed(), account.take(u64::MAX)), (FREE_BYTES, 92 * MIB));
        assert_eq!((account.allowed(), account.take(1), ledger.free()), (100 * MIB, 0, 0));
    }

    #[test]
    fn grants_never_exceed_the_budget_and_targets_are_kept() {
        let ledger = ledger(100 * MIB);
        let (first, second) = (own_seat(ledger), own_seat(ledger));
        assert_eq!((first.take(60 * MIB), second.take(60 * MIB)), (60 * MIB, 32 * MIB));
        first.seat().target.store(20 * MIB, Relaxed);
        assert!(first.owes() && !second.owes());
        assert_eq!(first.allowed(), FREE_BYTES + 20 * MIB);
        first.settle(FREE_BYTES + 50 * MIB);
        assert_eq!(ledger.free(), 10 * MIB, "what is in use is not given");
        first.settle(FREE_BYTES);
        assert!(!first.owes());
        assert_eq!((first.take(1), second.take(u64::MAX)), (0, 40 * MIB));
        ledger.set_budget(50 * MIB);
        assert_eq!((ledger.free(), second.take(1)), (0, 0));
        assert_eq!(second.allowed(), 50 * MIB, "nobody may use more than there is");
    }

    #[test]
    fn who_takes_at_once_does_not_take_too_much() {
        let ledger = ledger(FREE_BYTES + 1000);
        for _ in 0..200 {
            let accounts = [own_seat(ledger), own_seat(ledger), own_seat(ledger)];
            std::thread::scope(|scope| {
                for account in &accounts {
                    scope.spawn(|| (0..50).map(|_| account.take(17)).sum::<u64>());
                }
            });
            let sum = ledger.granted();
            assert!(sum <= 1000, "{sum}");
            let last = accounts[0].take(1000);
            assert_eq!(ledger.granted(), 1000, "{last} were left");
            accounts.iter().for_each(Account::leave);
            assert_eq!(ledger.granted(), 0);
        }
    }

    #[test]
    fn the_seat_of_a_process_that_has_ended_is_freed() {
        let ledger = ledger(100 * MIB);
        let own = own_seat(ledger);
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let theirs = ledger.sit(child.id()).unwrap();
        assert_eq!(theirs.take(50 * MIB), 50 * MIB);
        (0..4).for_each(|turn| ledger.bury(turn));
        assert_eq!(ledger.free(), 42 * MIB, "it lives");
        child.kill().unwrap();
        // Ended and not buried yet.
        while crate::status::running_since(child.id()).is_some() {
            std::thread::yield_now();
        }
        (0..4).for_each(|turn| ledger.bury(turn));
        assert_eq!((ledger.free(), ledger.taken().count()), (92 * MIB, 1));
        child.wait().unwrap();
        // It has lost its seat, and says nothing for who has it now.
        let next = own_seat(ledger);
        next.take(MIB);
        theirs.leave();
        assert_eq!((theirs.allowed(), theirs.take(1), ledger.granted()), (FREE_BYTES, 0, MIB));
        assert!(core::ptr::eq(next.seat(), theirs.seat()) && own.take(1) == 1);
    }

    #[test]
    fn seats_are_limited() {
        let ledger = ledger(1 << 30);
        assert!((0..SEATS).all(|_| ledger.sit(std::process::id()).is_some()));
        assert!(ledger.sit(std::process::id()).is_none());
        ledger.taken().next().unwrap().rouse();
    }

    #[test]
    fn one_decides_at_a_time_and_at_once_when_somebody_came() {
        let ledger = ledger(1 << 30);
        let pause = Duration::from_millis(50);
        assert!(ledger.begin_to_decide(1_000_000_000, pause).is_some());
        assert!(ledger.begin_to_decide(1_040_000_000, pause).is_none());
        assert_eq!(ledger.begin_to_decide(1_060_000_000, pause), Some(Duration::from_millis(60)));
        let account = own_seat(ledger);
        assert!(ledger.begin_to_decide(1_061_000_000, pause).is_some());
        account.leave();
        assert!(ledger.begin_to_decide(1_062_000_000, pause).is_some());
    }
}
