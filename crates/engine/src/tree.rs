#![expect(unsafe_code, reason = "reads the account by its address")]
//! A pager's part of a budget that several share (`sys::ledger`): the processes of a tree, or
//! heaps and arenas.
//!
//! ```text
//! dormant     what was promised is taken from the ledger beforehand; nothing is sampled
//! watching    the resident set is kept below what was taken; more is taken while there is any
//! paging      the same by evicting; who is short takes, or has the targets set anew
//! ```
//!
//! A process has one account, which its program's threads use as well. A heap or an arena is always
//! paging, and its account is its pager's alone; it is admitted only where it can have the least
//! that it pages with.
//!
//! What is resident counts in every process that has it, so right after a fork parent and child
//! count the same pages. A child is given a moment to execute another program before its
//! share of them counts.

use crate::PAGE;
use crate::engine::{Engine, program};
use crate::recorder::now_ns;
use crate::settings::Scope;
use crate::takeover::MIN_FRAMES;
use crate::voice;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering, Ordering::Relaxed};
use pager::apportion::{self, Claimant, FIRST_NEED, Seen};
use rustix::io::Errno;
use rustix::thread::{Timespec, futex};
use std::path::Path;
use std::time::{Duration, Instant};
use sys::companion::Process;
use sys::ledger::{Account, Ledger, SEATS, STANDING_BYTES, Seat};

/// Targets are set at most so often.
const DECIDE_EVERY: Duration = Duration::from_millis(50);
/// What a forked child inherited does not count for so long.
const GRACE: Duration = Duration::from_millis(20);
/// What is taken at a time, at least: most programs never ask twice.
const LEAST_TAKEN: u64 = 8 << 20;
/// Others may take so long to give a heap or an arena that begins the least it needs.
const ADMISSION: Duration = Duration::from_secs(10);
/// A process whose memory grows waits so often, and so long each time, for others to give
/// what they do not use, before its memory is paged.
const MOST_WAITS: u32 = 4;
const WAIT: Duration = Duration::from_micros(500);

static ACCOUNT: AtomicPtr<Account> = AtomicPtr::new(ptr::null_mut());

/// This process's account, if it shares a budget and has a seat.
pub(crate) fn account() -> Option<&'static Account> {
    // SAFETY: null, or a value that is never freed.
    unsafe { ACCOUNT.load(Ordering::Acquire).as_ref() }
}

fn set_account(account: Option<Account>) {
    let place = account.map_or(ptr::null_mut(), |account| Box::into_raw(Box::new(account)));
    ACCOUNT.store(place, Ordering::Release);
}

/// Takes a seat at the ledger at `path`. What this process may use at most without one: all
/// of `ram_bytes` if there is no ledger (any more), a fixed little if all seats are taken.
pub(crate) fn join(path: &Path, ram_bytes: u64) -> u64 {
    match Ledger::open(path) {
        Some(ledger) => sit(ledger, ram_bytes),
        None => ram_bytes,
    }
}

/// In a forked child: takes a seat beside its parent's.
pub(crate) fn join_as_child(ram_bytes: u64) -> u64 {
    match account().map(Account::ledger) {
        Some(ledger) => sit(ledger, ram_bytes),
        None => ram_bytes,
    }
}

fn sit(ledger: &'static Ledger, ram_bytes: u64) -> u64 {
    let seated = ledger.sit(program());
    seated.iter().for_each(|account| account.seat().need.store(FIRST_NEED, Relaxed));
    set_account(seated);
    if seated.is_some() { ram_bytes } else { ram_bytes.min(STANDING_BYTES) }
}

/// The program has ended, or is another one: what it had is free for others.
pub(crate) fn leave() {
    account().into_iter().for_each(Account::leave);
}

/// The word that changes when this process should look at the ledger.
pub(crate) fn wake_word() -> Option<&'static AtomicU32> {
    account().map(|account| &account.seat().wake)
}

impl Engine {
    /// Its process's account, if that bounds what it pages.
    pub(crate) fn account(&self) -> Option<&'static Account> {
        account().filter(|_| self.settings.scope == Scope::Process)
    }

    /// What may be resident now, in bytes.
    pub(crate) fn allowed_bytes(&self) -> u64 {
        self.account().map_or(self.settings.ram_bytes, Account::allowed)
    }

    /// Whether twice so much may be resident, as far as it can be said beforehand.
    pub(crate) fn has_room_for(&self, promised: u64) -> bool {
        let allowed = self.allowed_bytes();
        if promised <= allowed / 2 {
            return true;
        }
        let Some(account) = self.account() else { return false };
        account.take(promised.saturating_mul(2).saturating_sub(allowed).max(LEAST_TAKEN));
        promised <= account.allowed() / 2
    }
}

/// What a pager has found out about what it pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Bytes that are resident, and of these what is not paged.
    pub(crate) resident: u64,
    pub(crate) unpaged: u64,
    /// Bytes that are resident and of files or shared memory.
    pub(crate) shared: u64,
    /// Faults so far, refaults, and nanoseconds for which threads waited.
    pub(crate) faults: u64,
    pub(crate) refaults: u64,
    pub(crate) stall_ns: u64,
    /// Nearly all frames are in use.
    pub(crate) is_full: bool,
}

/// Why a heap or an arena cannot share a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// All seats are taken.
    NoSeat,
    /// Others need, or do not give, what it needs. In bytes.
    NoRoom {
        /// What it needs.
        needs: u64,
        /// What of the budget is left for it.
        left: u64,
    },
}

/// What was inherited, and until when it does not count.
#[derive(Clone, Copy, Debug)]
struct Grace {
    bytes: u64,
    until: Instant,
}

/// The pager's view of its account.
#[derive(Debug)]
pub(crate) struct Tree {
    account: Account,
    woken: u32,
    faults: u64,
    waits: u32,
    /// What it has was inherited, and has not been looked at.
    is_newborn: bool,
    grace: Option<Grace>,
    supervisor: Option<Process>,
    seats: Vec<&'static Seat>,
    claimants: Vec<Claimant>,
    targets: Vec<u64>,
}

impl Tree {
    /// None if the process shares no budget.
    pub(crate) fn new(is_child: bool) -> Option<Self> {
        account().map(|account| Self { is_newborn: is_child, ..Self::of(*account) })
    }

    /// A part for a heap or an arena, whose pager is this thread, of at least `needs` bytes; others
    /// are waited for that have to give.
    ///
    /// # Errors
    /// See [`Refused`]; then it has no part.
    pub(crate) fn admit(ledger: &'static Ledger, needs: u64) -> Result<Self, Refused> {
        let mut tree = Self::of(ledger.sit_for_areas().ok_or(Refused::NoSeat)?);
        let (account, seat) = (tree.account, tree.account.seat());
        seat.need.store(FIRST_NEED, Relaxed);
        seat.floor.store(needs, Relaxed);
        seat.is_short.store(1, Relaxed);
        let floors = ledger.floors();
        let mut admitted = if floors <= ledger.room() {
            Ok(())
        } else {
            Err(Refused::NoRoom { needs, left: ledger.room().saturating_sub(floors - needs) })
        };
        let begun = Instant::now();
        while admitted.is_ok() {
            let granted = seat.granted.load(Relaxed);
            if granted >= needs {
                return Ok(tree);
            }
            account.take(needs - granted);
            tree.decide();
            tree.wait(WAIT);
            tree.woken = seat.wake.load(Relaxed);
            if begun.elapsed() > ADMISSION {
                admitted = Err(Refused::NoRoom { needs, left: seat.granted.load(Relaxed) });
            }
        }
        account.leave();
        admitted.map(|()| tree)
    }

    fn of(account: Account) -> Self {
        Self {
            account,
            woken: account.seat().wake.load(Relaxed),
            faults: 0,
            waits: 0,
            is_newborn: false,
            grace: None,
            supervisor: None,
            seats: Vec::with_capacity(SEATS),
            claimants: Vec::with_capacity(SEATS),
            targets: vec![0; SEATS],
        }
    }

    /// Gives its part up.
    pub(crate) fn leave(&self) {
        self.account.leave();
    }

    /// The account.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Pagers that could use more, this one among them; none if it could not.
    pub(crate) fn short_pagers(&self) -> usize {
        let is_short = |seat: &Seat| seat.is_short.load(Relaxed) != 0;
        if !is_short(self.account.seat()) {
            return 0;
        }
        self.account.ledger().taken().filter(|seat| is_short(seat)).count()
    }

    /// Whether it was woken since it last looked.
    pub(crate) fn is_woken(&self) -> bool {
        self.account.seat().wake.load(Relaxed) != self.woken
    }

    /// Whether it will have to give something without being woken for it.
    pub(crate) fn owes(&self) -> bool {
        self.account.owes() || self.grace.is_some()
    }

    /// Whether it, or anybody, has been granted more than it should have.
    pub(crate) fn is_to_give(&self) -> bool {
        self.account.owes() || self.is_overdrawn()
    }

    /// The budget has become smaller than what is granted of it.
    fn is_overdrawn(&self) -> bool {
        let ledger = self.account.ledger();
        ledger.granted() > ledger.room()
    }

    /// Waits until it is woken or `pause` is over.
    pub(crate) fn wait(&self, pause: Duration) {
        let pause = Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: pause.subsec_nanos().into() };
        // Whatever it says, it is looked again.
        let _ = futex::wait(&self.account.seat().wake, futex::Flags::empty(), self.woken, Some(&pause));
    }

    /// What is inherited and does not count yet.
    fn inherited(&mut self, resident: u64, now: Instant) -> u64 {
        if core::mem::take(&mut self.is_newborn) {
            self.grace = Some(Grace { bytes: resident, until: now + GRACE });
        }
        self.grace = self.grace.filter(|grace| now < grace.until);
        self.grace.map_or(0, |grace| grace.bytes.min(resident))
    }

    /// What is resident and does not count here: `inherited`, and what others account for, which is
    /// part of `shared`, files and shared memory.
    fn uncounted(&self, inherited: u64, resident: u64, shared: u64) -> u64 {
        inherited.saturating_add(self.account.borrowed().min(shared)).min(resident)
    }

    /// Before anything is paged: tells what is resident, and of it what is files or shared memory;
    /// how much may be resident.
    pub(crate) fn watch(&mut self, resident: u64, shared: u64, now: Instant) -> u64 {
        self.woken = self.account.seat().wake.load(Relaxed);
        let inherited = self.inherited(resident, now);
        let uncounted = self.uncounted(inherited, resident, shared);
        let used = resident - uncounted;
        self.account.seat().used.store(used, Relaxed);
        if self.is_overdrawn() {
            self.decide();
        }
        self.account.settle(used);
        self.account.allowed().saturating_add(uncounted)
    }

    /// Before anything is paged, when what is resident is about to be all that may be: whether
    /// there is, or will soon be, more.
    pub(crate) fn finds_more(&mut self) -> bool {
        if self.account.owes() {
            return false;
        }
        let granted = self.account.seat().granted.load(Relaxed);
        if self.account.take(granted.max(LEAST_TAKEN)) > 0 {
            self.waits = 0;
            return true;
        }
        self.account.seat().is_short.store(1, Relaxed);
        self.decide();
        self.waits += 1;
        if self.waits <= MOST_WAITS {
            self.wait(WAIT);
        }
        self.waits <= MOST_WAITS
    }

    /// While memory is paged: tells of the process, takes and gives; how much may be resident.
    pub(crate) fn look(&mut self, look: Look, now: Instant) -> u64 {
        let seat = self.account.seat();
        self.woken = seat.wake.load(Relaxed);
        let inherited = self.inherited(look.resident, now);
        let uncounted = self.uncounted(inherited, look.resident, look.shared);
        let used = look.resident - uncounted;
        let is_busy = core::mem::replace(&mut self.faults, look.faults) != look.faults;
        let is_short = inherited == 0 && is_busy && look.is_full;
        seat.used.store(used, Relaxed);
        let needs = look.unpaged + MIN_FRAMES * PAGE as u64;
        seat.floor.store(needs.saturating_sub(self.account.free_bytes() + uncounted), Relaxed);
        seat.stall_ns.store(look.stall_ns, Relaxed);
        seat.refaults.store(look.refaults, Relaxed);
        seat.is_short.store(is_short.into(), Relaxed);
        let taken =
            if is_short { self.account.take((seat.granted.load(Relaxed) / 2).max(LEAST_TAKEN)) } else { 0 };
        if (is_short && taken < LEAST_TAKEN) || self.is_overdrawn() {
            self.decide();
        }
        self.account.settle(used);
        self.account.allowed().saturating_add(uncounted)
    }

    /// Sets everybody's target, unless somebody did so just now.
    fn decide(&mut self) {
        let ledger = self.account.ledger();
        let now = now_ns();
        let Some(elapsed) = ledger.begin_to_decide(now, DECIDE_EVERY) else { return };
        ledger.bury(now / DECIDE_EVERY.as_nanos() as u64);
        self.seats.clear();
        self.seats.extend(ledger.taken().take(SEATS));
        self.claimants.clear();
        self.claimants.extend(self.seats.iter().map(|seat| claimant(seat, elapsed)));
        apportion::apportion(ledger.room(), &self.claimants, &mut self.targets);
        for (seat, target) in self.seats.iter().zip(&self.targets) {
            seat.target.store(*target, Relaxed);
            let gives = seat.granted.load(Relaxed) > *target;
            if gives && !ptr::eq(*seat, self.account.seat()) {
                seat.rouse();
            }
        }
    }

    /// Paging begins: that the supervisor is killed is to be known. Whether it was killed before.
    pub(crate) fn watch_supervisor(&mut self) -> bool {
        let supervisor = self.account.ledger().supervisor().map(Process::open);
        let is_gone = matches!(supervisor, Some(Err(Errno::SRCH)));
        self.supervisor = supervisor.and_then(Result::ok);
        is_gone
    }

    /// Readable when the supervisor has ended.
    pub(crate) fn supervisor(&self) -> Option<&Process> {
        self.supervisor.as_ref()
    }

    /// The supervisor has ended: says so, unless it ended because the program did.
    pub(crate) fn supervisor_has_ended(&mut self) {
        self.supervisor = None;
        if self.account.ledger().supervisor().is_some() {
            say_that_nobody_watches();
        }
    }
}

/// The supervisor has been killed.
pub(crate) fn say_that_nobody_watches() {
    voice::tell_program(
        "the outcore that watched this program has been killed: the program goes on, and its processes share \
         their RAM as before, but nothing will be reported",
    );
}

fn claimant(seat: &Seat, elapsed: Duration) -> Claimant {
    let granted = seat.granted.load(Relaxed);
    let used = seat.used.load(Relaxed);
    let (stall_ns, refaults) = (seat.stall_ns.load(Relaxed), seat.refaults.load(Relaxed));
    let is_short = seat.is_short.load(Relaxed) != 0;
    let seen = Seen {
        elapsed_ns: elapsed.as_nanos() as u64,
        stalled_ns: stall_ns.saturating_sub(seat.seen_stall_ns.swap(stall_ns, Relaxed)),
        refaults: refaults.saturating_sub(seat.seen_refaults.swap(refaults, Relaxed)),
        is_short,
    };
    let need = apportion::need(seat.need.load(Relaxed), seen);
    seat.need.store(need, Relaxed);
    Claimant {
        granted,
        // Where nothing is sampled, what was taken is taken to be used.
        used: if used == 0 { granted } else { used.saturating_sub(seat.free_bytes()) },
        floor: seat.floor.load(Relaxed),
        need,
        is_short,
    }
}
