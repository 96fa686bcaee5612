#![expect(unsafe_code, reason = "says that a ledger may be shared, and when it is not used any more")]
//! The ledger: how much of one RAM budget each pager may use that shares it.
//!
//! ```text
//! a pager may use     free + granted                 its own word; more only if the sum allows
//! always              Σ granted ≤ budget − spare
//! somebody is short   targets are set anew           who has more than its target gives the rest
//!
//! of a process of a tree   free = spare = FREE_BYTES
//! of a heap, or an arena   free = 0; where all are such, spare = 0 as well
//! ```
//!
//! It is a memfd. `outcore run` makes one that every process of its tree maps; a program that
//! was written for it makes others, for heaps and arenas. There is no lock
//! and no common account: what is free is the budget without the sum of all grants. Who takes
//! adds to its own grant first, looks at the sum then, and gives back what is too much; of two
//! who take at once, at least one sees the other. So the sum holds whoever is killed at any
//! point, and the seat of a pager that has ended is simply not counted any more.
//!
//! What one pager accounts for may be mapped by processes that have seats of their own: pages of a
//! shared arena. The pager *lends* them to these processes, which do not count them then. A
//! loan is void with the seat of who made it.
//!
//! Nobody is in charge. Whoever is short has the targets set, at most so often, and wakes those
//! who are to give. So the tree goes on like this without its supervisor.
//!
//! Every field is an atomic word that others may write at any time: what is read is a number,
//! and bounded by whoever uses it.

use crate::shared::{self, Common};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, Ordering::Relaxed, Ordering::SeqCst};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::path::Path;
use std::time::Duration;

/// Marks a ledger, and its layout's version in the last two digits.
pub const MAGIC: u64 = 0x4f55_5443_4c45_4403;

/// Pagers that one ledger has seats for. Later processes get [`STANDING_BYTES`] each.
pub const SEATS: usize = 512;

/// Loans that one ledger has room for. What cannot be lent counts twice.
pub const LOANS: usize = 1024;

/// What a process may use without asking: its code, its tables, the least to page with. Not
/// part of the budget but for one of them.
pub const FREE_BYTES: u64 = 8 << 20;

/// What a process may use for which there is no seat.
pub const STANDING_BYTES: u64 = 16 << 20;

/// All that wait for a word. The kernel reads a number with a sign.
const MOST_WAITERS: u32 = i32::MAX.cast_unsigned();

/// The states of a seat's owner besides a token.
const NOBODY: u64 = 0;
const BEING_CLEARED: u64 = u64::MAX;

/// One pager's place.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct Seat {
    /// The program's process, or the pager's thread; and above it a number that no other owner has.
    owner: AtomicU64,
    /// The PID namespace of that number, and when its process or thread started.
    namespace: AtomicU64,
    started: AtomicU64,
    /// Bytes that it may use without asking.
    free: AtomicU64,
    /// Bytes that it may use now beyond these.
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
    /// Changes when the pager should look at its target; it waits for that.
    pub wake: AtomicU32,
}

const _: () = assert!(size_of::<Seat>() == 128, "a seat is two cache lines");

/// Bytes that one pager accounts for and another one's process has mapped.
#[repr(C)]
#[derive(Debug, Default)]
struct Lent {
    /// Who accounts for them, as the owner of a seat.
    lender: AtomicU64,
    /// Who has them mapped, likewise.
    borrower: AtomicU64,
    bytes: AtomicU64,
}

/// The whole of it.
#[repr(C)]
#[derive(Debug)]
pub struct Ledger {
    magic: AtomicU64,
    budget: AtomicU64,
    /// Bytes of the budget that are not granted, because some are used without asking.
    spare: AtomicU64,
    /// When targets were last set, in nanoseconds of the monotonic clock; 0 when somebody came
    /// or went since.
    decided_ns: AtomicU64,
    /// The process that made it; 0 once it has ended as it should.
    supervisor: AtomicU32,
    /// Seats up to here have been taken at some time.
    high: AtomicU32,
    /// Owners so far.
    lives: AtomicU32,
    /// Loans up to here have been made at some time.
    lent_high: AtomicU32,
    seats: [Seat; SEATS],
    lent: [Lent; LOANS],
}

// SAFETY: of C's layout, and atomic all through.
unsafe impl Common for Ledger {}

impl Ledger {
    /// A new one for `budget` bytes of a tree of processes, and the descriptor through which
    /// others reach it.
    ///
    /// # Errors
    /// What memfd_create(2), ftruncate(2) and mmap(2) say.
    pub fn create(budget: u64) -> Result<(OwnedFd, &'static Self), Errno> {
        let (file, ledger) = Self::make("outcore-ledger", budget, FREE_BYTES)?;
        ledger.supervisor.store(std::process::id(), Relaxed);
        Ok((file, ledger))
    }

    /// The same for heaps and arenas alone, none of which has anything without asking.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_for_areas(budget: u64) -> Result<(OwnedFd, &'static Self), Errno> {
        // By another name: whoever looks for a supervisor's ledger does not find it.
        Self::make("outcore-budget", budget, 0)
    }

    fn make(name: &str, budget: u64, spare: u64) -> Result<(OwnedFd, &'static Self), Errno> {
        let file = shared::file(name, size_of::<Self>() as u64)?;
        let ledger: &Self = shared::value(&file)?;
        ledger.budget.store(budget, Relaxed);
        ledger.spare.store(spare, Relaxed);
        ledger.magic.store(MAGIC, Ordering::Release);
        Ok((file, ledger))
    }

    /// The ledger at `path`, if it is one of this version.
    pub fn open(path: &Path) -> Option<&'static Self> {
        Self::of_file(shared::open(path)?)
    }

    /// The ledger in `file`, if it is one of this version.
    pub fn of_file(file: impl AsFd) -> Option<&'static Self> {
        let ledger: &Self = shared::value(file).ok()?;
        if ledger.magic.load(Ordering::Acquire) == MAGIC {
            return Some(ledger);
        }
        // SAFETY: nobody else has been told of it.
        unsafe { Self::unmap(ledger) };
        None
    }

    /// Takes a ledger out of this process's memory.
    ///
    /// # Safety
    /// It was mapped by one of the functions above, and nobody in this process uses it any more.
    pub unsafe fn unmap(ledger: *const Self) {
        // SAFETY: the caller's contract.
        unsafe { shared::unmap(ledger) };
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
        self.budget().saturating_sub(self.spare.load(Relaxed))
    }

    /// Bytes that all cannot do without, besides what they have without asking.
    pub fn floors(&self) -> u64 {
        self.taken().map(|seat| seat.floor.load(SeqCst)).fold(0, u64::saturating_add)
    }

    /// Bytes that all use, as they have last told.
    pub fn used(&self) -> u64 {
        /// What one gives another may have taken while the others were asked.
        const TRIES: u32 = 16;
        let sum = || self.taken().map(|seat| seat.used.load(SeqCst)).fold(0, u64::saturating_add);
        let mut last = sum();
        for _ in 0..TRIES {
            let now = sum();
            if core::mem::replace(&mut last, now) == now {
                break;
            }
        }
        last
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
        self.seat(pid, FREE_BYTES)
    }

    /// A seat for a heap or an arena, whose pager is this thread. None when all are taken. It is
    /// freed when the thread has ended, and so when its process executes another program.
    pub fn sit_for_areas(&'static self) -> Option<Account> {
        let thread = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        self.seat(thread, 0)
    }

    fn seat(&'static self, number: u32, free: u64) -> Option<Account> {
        let is_free = |seat: &&Seat| seat.owner.load(Relaxed) == NOBODY;
        // Another may take it first.
        let (seat, token) = loop {
            let seat = self.seats.iter().find(is_free)?;
            let life = self.lives.fetch_add(1, Relaxed) & 0x7fff_ffff;
            let token = u64::from(life) << 32 | u64::from(number);
            // Not counted before it is whole.
            if seat.owner.compare_exchange(NOBODY, BEING_CLEARED, SeqCst, Relaxed).is_ok() {
                break (seat, token);
            }
        };
        seat.empty();
        seat.free.store(free, Relaxed);
        seat.namespace.store(own_namespace(), Relaxed);
        seat.started.store(crate::status::start_ticks(number).unwrap_or(0), Relaxed);
        let index = self.seats.iter().position(|other| core::ptr::eq(other, seat)).unwrap_or(0);
        self.high.fetch_max(index as u32 + 1, SeqCst);
        seat.owner.store(token, SeqCst);
        self.decided_ns.store(0, Relaxed);
        Some(Account { ledger: self, seat, token, free })
    }

    fn is_seated(&self, token: u64) -> bool {
        self.taken().any(|seat| seat.owner.load(Relaxed) == token)
    }

    /// The loans that somebody may have made.
    fn loans(&self) -> &[Lent] {
        &self.lent[..(self.lent_high.load(SeqCst) as usize).min(LOANS)]
    }

    /// Frees the seats of those that have ended without a word; one of them is looked at
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

    /// Bytes that its owner may use without asking.
    pub fn free_bytes(&self) -> u64 {
        self.free.load(Relaxed)
    }

    /// Has its owner look.
    pub fn rouse(&self) {
        self.wake.fetch_add(1, SeqCst);
        let _ = rustix::thread::futex::wake(&self.wake, rustix::thread::futex::Flags::empty(), MOST_WAITERS);
    }
}

/// A pager's own view of its seat.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    ledger: &'static Ledger,
    seat: &'static Seat,
    token: u64,
    free: u64,
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

    /// Bytes that may be used without asking.
    pub fn free_bytes(&self) -> u64 {
        self.free
    }

    /// Bytes that may be used now: what has been granted, or less if others are to have it.
    pub fn allowed(&self) -> u64 {
        if !self.is_ours() {
            return self.free;
        }
        let granted = self.seat.granted.load(Relaxed).min(self.seat.target.load(Relaxed));
        self.free.saturating_add(granted.min(self.ledger.room()))
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
        let keep = self.seat.target.load(Relaxed).max(used.saturating_sub(self.free));
        if keep < granted && self.is_ours() {
            self.seat.granted.fetch_sub(granted - keep, SeqCst);
        }
    }

    /// Its owner has no more use for its seat.
    pub fn leave(&self) {
        self.ledger.clear(self.seat, self.token);
    }

    /// Bytes of what the process has mapped that others account for.
    pub fn borrowed(&self) -> u64 {
        let ours = self.ledger.loans().iter().filter(|lent| lent.borrower.load(Relaxed) == self.token);
        ours.filter(|lent| self.ledger.is_seated(lent.lender.load(SeqCst)))
            .map(|lent| lent.bytes.load(Relaxed))
            .fold(0, u64::saturating_add)
    }

    /// Begins to lend to process `pid`. None if that has no seat here, or there are [`LOANS`].
    pub fn lend(&self, pid: u32) -> Option<Loan> {
        let own = own_namespace();
        let is_process = |seat: &&Seat| {
            seat.owner.load(Relaxed) as u32 == pid
                && seat.namespace.load(Relaxed) == own
                && seat.free_bytes() != 0
        };
        let borrower = self.ledger.taken().find(is_process)?.owner.load(Relaxed);
        for (index, lent) in self.ledger.lent.iter().enumerate() {
            let lender = lent.lender.load(SeqCst);
            let is_void = lender == NOBODY || lender != BEING_CLEARED && !self.ledger.is_seated(lender);
            if !is_void || lent.lender.compare_exchange(lender, BEING_CLEARED, SeqCst, Relaxed).is_err() {
                continue;
            }
            lent.bytes.store(0, Relaxed);
            lent.borrower.store(borrower, Relaxed);
            self.ledger.lent_high.fetch_max(index as u32 + 1, SeqCst);
            lent.lender.store(self.token, SeqCst);
            return Some(Loan { lent, token: self.token, borrower });
        }
        None
    }
}

/// What a pager accounts for of another one's process. Void when it is dropped.
#[derive(Debug)]
pub struct Loan {
    lent: &'static Lent,
    token: u64,
    borrower: u64,
}

impl Loan {
    /// So many bytes from now on.
    pub fn set(&self, bytes: u64) {
        if self.lent.lender.load(Relaxed) == self.token && self.lent.borrower.load(Relaxed) == self.borrower {
            self.lent.bytes.store(bytes, Relaxed);
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.set(0);
        if self.lent.borrower.load(Relaxed) == self.borrower {
            let _ = self.lent.lender.compare_exchange(self.token, NOBODY, SeqCst, Relaxed);
        }
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
        assert!(shared::value::<Ledger>(&shared::file("short", 4096).unwrap()).is_err());
        let file = shared::file("long enough", size_of::<Ledger>() as u64).unwrap();
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
    fn heaps_and_arenas_have_nothing_without_asking() {
        let (_file, ledger) = Ledger::create_for_areas(100 * MIB).unwrap();
        let (first, second) = (ledger.sit_for_areas().unwrap(), ledger.sit_for_areas().unwrap());
        assert_eq!((first.allowed(), first.free_bytes()), (0, 0));
        assert_eq!((first.take(70 * MIB), second.take(u64::MAX), ledger.free()), (70 * MIB, 30 * MIB, 0));
        first.seat().used.store(60 * MIB, Relaxed);
        second.seat().used.store(30 * MIB, Relaxed);
        assert_eq!(ledger.used(), 90 * MIB);
        first.seat().target.store(10 * MIB, Relaxed);
        first.settle(20 * MIB);
        assert_eq!((ledger.free(), second.take(u64::MAX)), (50 * MIB, 50 * MIB));
    }

    /// So also when its process executes another program, which ends all threads but one.
    #[test]
    fn the_seat_of_a_thread_is_freed_when_that_has_ended() {
        let (_file, ledger) = Ledger::create_for_areas(100 * MIB).unwrap();
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let (sit, sat) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            sit.send(ledger.sit_for_areas().unwrap()).unwrap();
            let _ = told.recv();
        });
        let account = sat.recv().unwrap();
        assert_eq!(account.take(50 * MIB), 50 * MIB);
        (0..4).for_each(|turn| ledger.bury(turn));
        assert_eq!(ledger.granted(), 50 * MIB, "it lives");
        drop(tell);
        thread.join().unwrap();
        // One that has been joined is there for an instant.
        while ledger.granted() > 0 {
            ledger.bury(0);
            std::thread::yield_now();
        }
        assert_eq!(ledger.taken().count(), 0);
    }

    #[test]
    fn what_is_lent_is_void_with_the_lender() {
        let ledger = ledger(100 * MIB);
        let pid = std::process::id();
        let process = own_seat(ledger);
        let (first, second) = (ledger.sit_for_areas().unwrap(), ledger.sit_for_areas().unwrap());
        assert!(first.lend(pid + 1_000_000).is_none(), "nobody sits there");
        let loans = [first.lend(pid).unwrap(), first.lend(pid).unwrap(), second.lend(pid).unwrap()];
        loans.iter().zip([3, 4, 5]).for_each(|(loan, mib)| loan.set(mib * MIB));
        assert_eq!((process.borrowed(), first.borrowed()), (12 * MIB, 0));
        let [one, two, three] = loans;
        drop(two);
        assert_eq!(process.borrowed(), 8 * MIB);
        first.leave();
        assert_eq!(process.borrowed(), 5 * MIB, "who made it has left");
        // Its row may be another's by now.
        let again = second.lend(pid).unwrap();
        again.set(MIB);
        one.set(50 * MIB);
        drop(one);
        assert_eq!(process.borrowed(), 6 * MIB);
        drop((three, again));
        assert_eq!(process.borrowed(), 0);
        let all: Vec<Loan> = core::iter::from_fn(|| second.lend(pid)).collect();
        assert_eq!(all.len(), LOANS);
    }

    #[test]
    fn a_ledger_can_be_taken_out_of_memory() {
        let (file, ledger) = Ledger::create_for_areas(MIB).unwrap();
        let again = Ledger::of_file(&file).unwrap();
        // SAFETY: not used any more.
        unsafe { Ledger::unmap(ledger) };
        assert_eq!(again.budget(), MIB);
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
