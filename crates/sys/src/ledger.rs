#![expect(unsafe_code, reason = "maps the ledger")]
//! The ledger: how much of one RAM budget each process of a tree may use.
//!
//! ```text
//! budget = pool + what the seats have been granted, less what every seat has for nothing
//! ```
//!
//! The supervisor makes it as a memfd and says by [`Seat::target`] who should have how much.
//! Grants are moved between a seat and the pool by the seat's own process alone: up by taking,
//! before it uses more; down once it uses less. So the sum holds at every instant, whoever is
//! killed, and without a supervisor everybody goes on with what he has.
//!
//! Every field is an atomic word that others may write at any time: what is read is a number of
//! bytes, and bounded by whoever uses it.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::path::Path;

/// Marks a ledger, and its layout's version in the last two digits.
pub const MAGIC: u64 = 0x4f55_5443_4c45_4401;

/// Processes that one ledger has seats for. Others are bounded by the whole budget each.
pub const SEATS: usize = 256;

/// What a process may use without asking: its code, its tables, the least to page with. Not
/// part of the budget but for the first process's.
pub const FREE_BYTES: u64 = 8 << 20;

/// One process's place.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Seat {
    /// The program's process; 0 when the seat is free.
    pub pid: AtomicU32,
    /// The process to wake when the target has changed; 0 if there is none.
    pub pager: AtomicU32,
    /// Bytes that it may use now. Changed by the process itself.
    pub granted: AtomicU64,
    /// Bytes beyond which it takes nothing, and down to which it gives back. Set by the
    /// supervisor.
    pub target: AtomicU64,
    /// Bytes that it uses.
    pub used: AtomicU64,
    /// Nanoseconds for which its threads waited for pages.
    pub stall_ns: AtomicU64,
    /// Pages that came back after they had been evicted.
    pub refaults: AtomicU64,
}

/// The whole of it.
#[repr(C)]
#[derive(Debug)]
pub struct Ledger {
    magic: AtomicU64,
    /// Bytes for all processes together.
    pub budget: AtomicU64,
    /// Bytes of it that nobody has. Below zero after the budget was lowered.
    pub pool: AtomicI64,
    /// Changes when somebody wants more than there is; the supervisor waits for it.
    pub wanted: AtomicU32,
    reserved: AtomicU32,
    seats: [Seat; SEATS],
}

impl Ledger {
    /// Maps the ledger that `file` holds, for ever.
    ///
    /// # Errors
    /// What fstat(2) and mmap(2) say; `EINVAL` for a file that is too short.
    pub fn map(file: impl AsFd) -> Result<&'static Self, Errno> {
        if rustix::fs::fstat(&file)?.st_size < size_of::<Self>() as i64 {
            return Err(Errno::INVAL);
        }
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice. It is never unmapped,
        // as large as the type and page-aligned; every field allows every bit pattern and
        // is atomic, because others may write at any time.
        unsafe {
            let page = rustix::mm::mmap(null_mut(), size_of::<Self>(), rights, MapFlags::SHARED, file, 0)?;
            Ok(&*page.cast::<Self>())
        }
    }

    /// The ledger at `path`, if it is one of this version.
    pub fn open(path: &Path) -> Option<&'static Self> {
        let file = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?;
        Self::map(file).ok().filter(|ledger| ledger.magic.load(Ordering::Acquire) == MAGIC)
    }

    /// Begins an empty one, of zeros.
    pub fn begin(&self, budget: u64) {
        self.budget.store(budget, Ordering::Relaxed);
        self.pool.store(budget as i64 - FREE_BYTES as i64, Ordering::Relaxed);
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// Makes `budget` the budget of all from now on.
    pub fn set_budget(&self, budget: u64) {
        let before = self.budget.swap(budget, Ordering::AcqRel);
        self.pool.fetch_add(budget as i64 - before as i64, Ordering::AcqRel);
        self.want();
    }

    /// Tells the supervisor that somebody wants more than there is.
    pub fn want(&self) {
        self.wanted.fetch_add(1, Ordering::Release);
        let _ = rustix::thread::futex::wake(&self.wanted, rustix::thread::futex::Flags::empty(), u32::MAX);
    }

    /// The seats that are taken.
    pub fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter().filter(|seat| seat.pid.load(Ordering::Acquire) != 0)
    }

    /// A seat for process `pid`. None when all are taken.
    pub fn sit(&'static self, pid: u32) -> Option<Account> {
        let take =
            |seat: &&Seat| seat.pid.compare_exchange(0, pid, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let seat = self.seats.iter().find(take)?;
        seat.target.store(u64::MAX, Ordering::Relaxed);
        seat.used.store(0, Ordering::Relaxed);
        seat.stall_ns.store(0, Ordering::Relaxed);
        seat.refaults.store(0, Ordering::Relaxed);
        seat.granted.store(FREE_BYTES, Ordering::Release);
        Some(Account { ledger: self, seat })
    }

    /// Frees the seat of a process that has ended, and gives what it had to the pool.
    pub fn clear(&self, seat: &Seat) {
        let granted = seat.granted.swap(0, Ordering::AcqRel);
        seat.pager.store(0, Ordering::Relaxed);
        self.pool.fetch_add(granted.saturating_sub(FREE_BYTES) as i64, Ordering::AcqRel);
        seat.pid.store(0, Ordering::Release);
    }
}

/// A process's own view of its seat.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    ledger: &'static Ledger,
    seat: &'static Seat,
}

impl Account {
    /// The seat.
    pub fn seat(&self) -> &'static Seat {
        self.seat
    }

    /// The whole budget.
    pub fn budget(&self) -> u64 {
        self.ledger.budget.load(Ordering::Relaxed)
    }

    /// Bytes that may be used now: what has been granted, or less if others are to have it.
    pub fn allowed(&self) -> u64 {
        let target = self.seat.target.load(Ordering::Acquire).max(FREE_BYTES);
        self.seat.granted.load(Ordering::Relaxed).clamp(FREE_BYTES, target)
    }

    /// Takes up to `most` bytes more; how many it got.
    pub fn take(&self, most: u64) -> u64 {
        let granted = self.seat.granted.load(Ordering::Relaxed);
        let room = self.seat.target.load(Ordering::Acquire).saturating_sub(granted);
        let most = most.min(room).min(i64::MAX as u64) as i64;
        let taken = self.ledger.pool.fetch_update(Ordering::AcqRel, Ordering::Acquire, |pool| {
            (pool > 0 && most > 0).then(|| pool - pool.min(most))
        });
        let taken = taken.map_or(0, |pool| pool.min(most) as u64);
        self.seat.granted.fetch_add(taken, Ordering::Relaxed);
        taken
    }

    /// Gives back what is not to be used, now that `used` bytes are.
    pub fn settle(&self, used: u64) {
        self.seat.used.store(used, Ordering::Relaxed);
        let granted = self.seat.granted.load(Ordering::Relaxed);
        let keep = self.seat.target.load(Ordering::Acquire).max(used).max(FREE_BYTES);
        if keep < granted {
            self.seat.granted.store(keep, Ordering::Relaxed);
            self.ledger.pool.fetch_add((granted - keep) as i64, Ordering::AcqRel);
            // Whoever waits for it is told.
            self.ledger.want();
        }
    }

    /// Tells the supervisor that more is wanted than there is.
    pub fn want(&self) {
        self.ledger.want();
    }

    /// The process has ended, or has no more use for its seat. Once.
    pub fn leave(&self, pid: u32) {
        if self.seat.pid.load(Ordering::Acquire) == pid {
            self.ledger.clear(self.seat);
            self.ledger.want();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    fn ledger(budget: u64) -> &'static Ledger {
        let file = memfd_create("ledger", MemfdFlags::CLOEXEC).unwrap();
        assert!(Ledger::map(&file).is_err(), "too short");
        ftruncate(&file, size_of::<Ledger>() as u64).unwrap();
        let ledger = Ledger::map(&file).unwrap();
        ledger.begin(budget);
        ledger
    }

    #[test]
    fn grants_and_pool_are_the_budget_whoever_comes_and_goes() {
        let ledger = ledger(100 << 20);
        let mut accounts = Vec::new();
        let sum = |accounts: &[Account]| {
            let granted: u64 =
                accounts.iter().map(|account| account.seat().granted.load(Ordering::Relaxed)).sum();
            granted as i64 - accounts.len() as i64 * FREE_BYTES as i64 + ledger.pool.load(Ordering::Relaxed)
        };
        let all = (100 << 20) - FREE_BYTES as i64;
        for pid in 1..=4 {
            let account = ledger.sit(pid).unwrap();
            accounts.push(account);
            assert_eq!(account.take(40 << 20), [40 << 20, 40 << 20, 12 << 20, 0][pid as usize - 1]);
            assert_eq!(sum(&accounts), all);
        }
        let first = accounts[0];
        first.seat().target.store(20 << 20, Ordering::Relaxed);
        assert_eq!(first.allowed(), 20 << 20);
        first.settle(30 << 20);
        assert_eq!(first.seat().granted.load(Ordering::Relaxed), 30 << 20, "what is used is not given back");
        first.settle(10 << 20);
        assert_eq!((first.seat().granted.load(Ordering::Relaxed), first.take(1)), (20 << 20, 0));
        assert_eq!((sum(&accounts), accounts[3].take(u64::MAX)), (all, 28 << 20));
        accounts.remove(1).leave(2);
        assert_eq!(sum(&accounts), all);
        ledger.set_budget(50 << 20);
        assert!(ledger.pool.load(Ordering::Relaxed) < 0);
        assert_eq!(accounts[2].take(1), 0);
        assert_eq!(sum(&accounts), all - (50 << 20));
    }

    #[test]
    fn seats_are_numbered() {
        let ledger = ledger(1 << 30);
        let pids = 1..=SEATS as u32;
        assert!(pids.clone().all(|pid| ledger.sit(pid).is_some()));
        assert!(ledger.sit(1000).is_none());
        assert!(ledger.seats().map(|seat| seat.pid.load(Ordering::Relaxed)).eq(pids));
    }
}
