#![expect(unsafe_code, reason = "reads the status record, rings the doorbell, stops the process")]
//! The engine as program threads see it.

use crate::PAGE;
use crate::core::{Core, Mechanism, Request, pages_of};
use crate::error::OpenError;
use crate::fork::{Estate, Kin};
use crate::gate::Gate;
use crate::home::{self, FirstThread};
use crate::serve;
use crate::settings::{Scope, Settings};
use crate::signals::Blocked;
use crate::takeover::MIN_FRAMES;
use crate::tree;
use crate::voice::{self, Voice};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
use pager::{Area, Commit, Config, Inherit, Lineage, PageRange, Pager, Pattern, Rights};
use rustix::io::Errno;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use sys::companion;
use sys::maps::{self, Reservation};
use sys::status::{Phase, Record, StatusPage};

/// Budgets are below this many pages: 512 GiB.
pub(crate) const MAX_FRAMES: u32 = (1 << 27) - 1;

/// What the pager is called, as a thread, as a process, and while it becomes one.
pub(crate) const PAGER_NAME: &str = "outcore-pager";

/// The engine's phase for decisions; the status page has the reader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Promises fit the budget.
    Dormant = 0,
    /// Promises exceed it: the resident set is sampled.
    Watching = 1,
    /// Memory is paged.
    Paging = 2,
    /// Nothing will ever be paged here, because it is not possible.
    Off = 3,
}

/// Nobody else changes the address space.
pub(crate) type AddressSpaceLock<'a> = MutexGuard<'a, ()>;

/// The pager of this process. See the crate's page for locks.
#[derive(Debug)]
pub struct Engine {
    core: Mutex<Core>,
    address_space: Mutex<()>,
    stage: AtomicU8,
    promised: AtomicU64,
    /// Bytes of files that the program has mapped and that are left to the kernel because they fit.
    pub(crate) mapped_bytes: AtomicU64,
    /// Memory is to be taken over now, because a file is mapped that does not fit.
    pub(crate) wants_paging: AtomicBool,
    /// Open once files can be paged that the program maps, or it is known that they cannot.
    pub(crate) files_ready: Gate,
    pub(crate) settings: Settings,
    /// One page that is absent until the pager thread has seen to a request.
    pub(crate) doorbell: Reservation,
    /// 0 until the pager is asked to watch the resident set.
    pub(crate) summons: AtomicU32,
    /// None where the pager must be a thread.
    pub(crate) first_thread: Option<FirstThread>,
    pub(crate) thread_starts: fn(),
    /// Set once by the pager, if its slots can be shared with forked children.
    pub(crate) kin: OnceLock<Kin>,
    /// The pager allocates for itself. Before, it uses the program's heap like any thread, and must
    /// not wait for itself there.
    began: AtomicBool,
    /// Open once the pager could page, or has found that it cannot.
    pub(crate) ready: Gate,
    /// In a forked child whose parent paged: open once it is served.
    pub(crate) served: Gate,
    /// It was forked by a process that had an engine.
    pub(crate) is_child: bool,
    pub(crate) voice: Voice,
    /// Frames move, so that discards are announced; else they are told.
    announces_discards: AtomicU8,
}

static RECORD: AtomicPtr<Record> = AtomicPtr::new(ptr::null_mut());

/// This process's part of the status page.
pub(crate) fn record() -> Option<&'static Record> {
    // SAFETY: null, or a record in a mapping that is never unmapped.
    unsafe { RECORD.load(Ordering::Acquire).as_ref() }
}

/// Leaves a message for the process's supervisor to print.
pub(crate) fn say(text: &str) {
    Voice::Process.say(text);
}

/// The number of the program's process.
static PROGRAM: AtomicU32 = AtomicU32::new(0);

/// The calling process is the program.
pub(crate) fn this_is_the_program() {
    PROGRAM.store(std::process::id(), Ordering::Release);
}

/// The number of the program's process, which the pager's need not be.
pub(crate) fn program() -> u32 {
    PROGRAM.load(Ordering::Acquire)
}

/// Stops the program: going on would give it wrong bytes.
pub(crate) fn die(text: &str) -> ! {
    if let Some(record) = record() {
        record.say(text);
        record.phase.store(Phase::Failed as u32, Ordering::Release);
    }
    voice::cry(text);
    home::kill_program()
}

/// A lock, unless somebody has it.
fn unless_taken<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Engine {
    /// Makes the engine and starts the pager: a process that shares this one's memory, or
    /// a thread where that is not possible. Each of its threads calls `thread_starts`
    /// first. To be called by the process's first thread. `'static`, because the pager
    /// never ends before the process.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn start(settings: Settings, thread_starts: fn()) -> Result<&'static Self, String> {
        this_is_the_program();
        companion::bury_those_in_between(|name| name == PAGER_NAME);
        let mut settings = settings;
        if let Some(path) = &settings.ledger {
            settings.ram_bytes = tree::join(path, settings.ram_bytes);
        }
        if let Some(path) = &settings.status {
            attach_status(path, settings.ram_bytes);
        }
        let made = Self::new(settings, FirstThread::of_caller(), thread_starts, Voice::Process);
        let engine = Box::leak(Box::new(made.map_err(|error| error.in_environment())?));
        engine.start_thread()?;
        Ok(engine)
    }

    /// An engine without a pager.
    pub(crate) fn new(
        settings: Settings,
        first_thread: Option<FirstThread>,
        thread_starts: fn(),
        voice: Voice,
    ) -> Result<Self, OpenError> {
        let frames = settings.ram_bytes / PAGE as u64;
        if frames < MIN_FRAMES {
            return Err(OpenError::SmallBudget {
                given: settings.ram_bytes,
                least: MIN_FRAMES * PAGE as u64,
            });
        }
        let frames = u32::try_from(frames).ok().filter(|frames| *frames <= MAX_FRAMES).ok_or(
            OpenError::LargeBudget { given: settings.ram_bytes, most: MAX_FRAMES as u64 * PAGE as u64 },
        )?;
        let slots = (settings.store_bytes / PAGE as u64).min((1 << 28) - 2);
        let slots = (slots as u32).next_multiple_of(Lineage::EXTENT).min((1 << 28) - Lineage::EXTENT);
        let pager =
            Pager::new(Config { frames, slots, commit: settings.commit, readahead: settings.readahead });
        let doorbell =
            Reservation::new(PAGE).map_err(|error| OpenError::Kernel("no address space", error))?;
        doorbell.dont_fork().map_err(|error| OpenError::Kernel("madvise", error))?;
        Ok(Self {
            core: Mutex::new(Core::new(pager)),
            address_space: Mutex::new(()),
            stage: AtomicU8::new(Stage::Dormant as u8),
            promised: AtomicU64::new(0),
            mapped_bytes: AtomicU64::new(0),
            wants_paging: AtomicBool::new(false),
            files_ready: Gate::default(),
            settings,
            doorbell,
            summons: AtomicU32::new(0),
            first_thread,
            thread_starts,
            kin: OnceLock::new(),
            began: AtomicBool::new(false),
            ready: Gate::default(),
            served: Gate::default(),
            is_child: false,
            voice,
            announces_discards: AtomicU8::new(1),
        })
    }

    pub(crate) fn start_thread(&'static self) -> Result<(), String> {
        let _blocked = Blocked::all();
        home::expect_pager(self);
        std::thread::Builder::new()
            .name(PAGER_NAME.into())
            .stack_size(256 << 10)
            .spawn(move || {
                (self.thread_starts)();
                self.began.store(true, Ordering::Release);
                home::leave(self);
                let kept = self.lock_core().estate.as_ref().map(Estate::raw);
                serve::own_file_table(kept);
                serve::run(self, None);
                // Nothing is paged here. A thread of the pager never ends: the C library
                // does not count it.
                loop {
                    std::thread::park();
                }
            })
            .map_err(|error| format!("the pager cannot be started: {error}"))?;
        Ok(())
    }

    /// Whether memory is being paged now.
    pub fn pages(&self) -> bool {
        self.stage() == Stage::Paging
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Dormant,
            1 => Stage::Watching,
            2 => Stage::Paging,
            _ => Stage::Off,
        }
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
        let phase = match stage {
            Stage::Dormant | Stage::Off => Phase::Dormant,
            Stage::Watching => Phase::Watching,
            Stage::Paging => Phase::Paging,
        };
        if let Some(record) = self.voice.record() {
            record.phase.store(phase as u32, Ordering::Relaxed);
        }
    }

    pub(crate) fn set_mechanism(&self, mechanism: Mechanism) {
        self.announces_discards.store(u8::from(mechanism == Mechanism::Move), Ordering::Release);
    }

    /// The core. The caller's signals are blocked.
    pub(crate) fn lock_core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, unless somebody has it.
    pub(crate) fn try_lock_core(&self) -> Option<MutexGuard<'_, Core>> {
        unless_taken(&self.core)
    }

    pub(crate) fn lock_address_space(&self) -> AddressSpaceLock<'_> {
        self.address_space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same as [`Self::address_space`], unless somebody has it.
    pub(crate) fn try_address_space(&self) -> Option<AddressSpace<'_>> {
        let blocked = Blocked::all();
        let lock = unless_taken(&self.address_space)?;
        Some(AddressSpace { engine: self, _lock: lock, _blocked: blocked })
    }

    /// Holds off every other change of the address space until dropped.
    pub fn address_space(&self) -> AddressSpace<'_> {
        let blocked = Blocked::all();
        AddressSpace { engine: self, _lock: self.lock_address_space(), _blocked: blocked }
    }

    /// Promises `bytes` of memory that will be touched or not. False when commit is
    /// strict and the promise could not be kept; nothing is promised then.
    #[must_use]
    pub fn promise(&self, bytes: u64) -> bool {
        if self.refuses_promises() {
            let room = match self.settings.scope {
                Scope::Process => self.settings.ram_bytes.saturating_add(self.settings.store_bytes),
                // What the tables take of the budget is not known yet.
                Scope::Areas => self.settings.store_bytes,
            };
            let kept = self.promised.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |promised| {
                promised.checked_add(bytes).filter(|sum| *sum <= room)
            });
            if kept.is_err() {
                return false;
            }
        } else {
            self.promised.fetch_add(bytes, Ordering::Relaxed);
        }
        self.watch_if_needed();
        if self.stage() == Stage::Watching && self.began.load(Ordering::Acquire) {
            // A busy disk may be slow to make the store. A pager that was killed is not waited for.
            let _ = self.ready.wait(self);
        }
        true
    }

    /// Whether a promise may be refused.
    pub fn refuses_promises(&self) -> bool {
        self.settings.commit == Commit::Strict
    }

    /// Takes a promise back.
    pub fn renounce(&self, bytes: u64) {
        let _ = self.promised.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |promised| {
            Some(promised.saturating_sub(bytes))
        });
    }

    /// Bytes that were promised.
    pub(crate) fn promised(&self) -> u64 {
        self.promised.load(Ordering::Relaxed)
    }

    /// Has the pager watch once what is promised could exceed the budget.
    pub(crate) fn watch_if_needed(&self) {
        // What else the process holds is not known here; half the budget leaves room for it.
        let bytes = || self.promised().saturating_add(self.mapped_bytes.load(Ordering::Relaxed));
        if self.stage() == Stage::Dormant && !self.has_room_for(bytes()) {
            self.watch();
        }
    }

    /// Has the pager sample what is resident from now on.
    pub(crate) fn watch(&self) {
        let (dormant, watching) = (Stage::Dormant as u8, Stage::Watching as u8);
        if self.stage.compare_exchange(dormant, watching, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.summons.store(1, Ordering::Release);
            companion::wake(&self.summons);
        }
    }

    /// Drops the contents of whole pages, which read as zeros from then on. They
    /// may be paged or not.
    ///
    /// # Errors
    /// What `madvise(2)` says.
    pub fn discard(&self, addr: usize, len: usize) -> Result<(), Errno> {
        if self.stage() == Stage::Off {
            return maps::dont_need(addr, len);
        }
        let _change = self.change(addr, len);
        // What has homes in the engine of a process is a file that the program has mapped: its discards are
        // not announced.
        let is_told = self.announces_discards.load(Ordering::Acquire) == 0 || self.settings.map_files;
        if self.stage() == Stage::Paging && is_told {
            self.lock_core().discard(pages_of(addr, len));
        }
        maps::dont_need(addr, len)
    }

    /// Says that this thread is about to change what is mapped there, until dropped.
    pub(crate) fn change(&self, addr: usize, len: usize) -> Change<'_> {
        let blocked = Blocked::all();
        let range = pages_of(addr, len);
        let mut core = self.lock_core();
        core.pager.begin_change(range);
        core.recorded(|recorder| recorder.change(range, true));
        drop(core);
        Change { engine: self, range, _blocked: blocked }
    }
}

/// A change of the address space under way in this thread.
#[derive(Debug)]
pub struct Change<'a> {
    engine: &'a Engine,
    range: PageRange,
    _blocked: Blocked,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut core = self.engine.lock_core();
        core.pager.end_change(self.range);
        core.recorded(|recorder| recorder.change(self.range, false));
    }
}

impl Engine {
    /// The engine of a forked child, with this one's settings and promises, without a pager.
    pub(crate) fn child(&self, core: Core) -> Result<&'static Self, String> {
        let ram_bytes = tree::join_as_child(self.settings.ram_bytes);
        let doorbell = Reservation::new(PAGE).map_err(|error| format!("no address space: {error}"))?;
        doorbell.dont_fork().map_err(|error| format!("madvise: {error}"))?;
        Ok(Box::leak(Box::new(Self {
            core: Mutex::new(core),
            address_space: Mutex::new(()),
            stage: AtomicU8::new(Stage::Dormant as u8),
            promised: AtomicU64::new(self.promised.load(Ordering::Relaxed)),
            mapped_bytes: AtomicU64::new(self.mapped_bytes.load(Ordering::Relaxed)),
            wants_paging: AtomicBool::new(false),
            files_ready: Gate::default(),
            settings: Settings { ram_bytes, ..self.settings.clone() },
            doorbell,
            summons: AtomicU32::new(0),
            first_thread: FirstThread::of_caller(),
            thread_starts: self.thread_starts,
            kin: OnceLock::new(),
            began: AtomicBool::new(false),
            ready: Gate::default(),
            served: Gate::default(),
            is_child: true,
            voice: Voice::Process,
            announces_discards: AtomicU8::new(1),
        })))
    }

    /// Asks the pager thread, which must serve, and waits until it has seen to it. The
    /// caller has locked the address space.
    pub(crate) fn ask(&self, request: Request) {
        self.lock_core().request = Some(request);
        let bell = self.doorbell.addr();
        if maps::dont_need(bell, PAGE).is_err() {
            die("the doorbell cannot be emptied: the kernel refuses madvise on an anonymous page");
        }
        // SAFETY: the page is ours and readable; the read returns when the pager
        // thread has mapped it.
        unsafe { ptr::read_volatile(bell as *const u8) };
    }

    /// Whether the pager is not a thread of the program.
    pub(crate) fn pager_is_a_process(&self) -> bool {
        self.first_thread.is_some() && !self.settings.force.pager_thread
    }
}

/// The right to change the address space. Tells the engine what is being changed.
#[derive(Debug)]
pub struct AddressSpace<'a> {
    engine: &'a Engine,
    _lock: MutexGuard<'a, ()>,
    _blocked: Blocked,
}

impl AddressSpace<'_> {
    pub(crate) fn engine(&self) -> &Engine {
        self.engine
    }

    /// Anonymous private memory has been mapped at `addr`, and nothing of it touched.
    pub fn mapped(&self, addr: usize, len: usize, rights: Rights) {
        let range = pages_of(addr, len);
        let mut core = self.engine.lock_core();
        match self.engine.stage() {
            Stage::Off => {}
            Stage::Dormant | Stage::Watching => core.pager.add_area(range, rights),
            Stage::Paging => {
                drop(core);
                self.engine.ask(Request::Manage(range, rights));
            }
        }
    }

    /// The caller is about to unmap, move or replace what is mapped there; it is left
    /// alone until the result is dropped.
    #[must_use]
    pub fn changing(&self, addr: usize, len: usize) -> Change<'_> {
        self.engine.change(addr, len)
    }

    /// What was mapped at `addr` is gone, or something of another kind is there now.
    pub fn unmapped(&self, addr: usize, len: usize) {
        // When paging, the kernel has announced it.
        if matches!(self.engine.stage(), Stage::Dormant | Stage::Watching) {
            self.engine.lock_core().pager.remove_area(pages_of(addr, len), |_, _| {});
        }
    }

    /// A mapping has been moved, with what it held.
    pub fn moved(&self, from: usize, to: usize, len: usize) {
        if matches!(self.engine.stage(), Stage::Dormant | Stage::Watching) {
            let mut core = self.engine.lock_core();
            core.pager.remove_area(pages_of(to, len), |_, _| {});
            core.pager.remap(pages_of(from, len), crate::core::page_of(to));
        }
    }

    /// The rights of the area at `addr`, if there is one.
    pub fn rights(&self, addr: usize) -> Option<Rights> {
        self.engine.lock_core().pager.area(crate::core::page_of(addr)).map(|area| area.rights)
    }

    /// Bytes of the range that were promised: those of areas that can be written, or once could.
    pub fn promised_bytes(&self, addr: usize, len: usize) -> u64 {
        self.bytes_of(addr, len, |area| area.charged)
    }

    /// Bytes of the range that are managed and were not promised.
    pub fn unpromised_bytes(&self, addr: usize, len: usize) -> u64 {
        self.bytes_of(addr, len, |area| !area.charged)
    }

    fn bytes_of(&self, addr: usize, len: usize, is_meant: impl Fn(&Area) -> bool) -> u64 {
        let areas = self.engine.lock_core().pager.areas_within(pages_of(addr, len));
        // A file that the program has mapped is promised when it is written.
        let meant = areas.iter().filter(|area| is_meant(area) && area.home(area.range.start).is_none());
        meant.map(|area| area.range.count * PAGE as u64).sum()
    }

    /// Whether any of these pages is in an area.
    pub fn manages(&self, addr: usize, len: usize) -> bool {
        !self.engine.lock_core().pager.areas_within(pages_of(addr, len)).is_empty()
    }

    /// Rights are about to become `rights`, or have just become so: the caller
    /// narrows the engine's view before the kernel's and widens it after.
    pub fn protected(&self, addr: usize, len: usize, rights: Rights) {
        let mut core = self.engine.lock_core();
        core.pager.set_rights(pages_of(addr, len), rights);
        core.recorded(|recorder| recorder.protected(pages_of(addr, len), rights));
    }

    /// The program has just put guards there (`MADV_GUARD_INSTALL`), which drops what was there, or taken them
    /// away. Pages that are held to be mapped may turn out to be absent from then on, and are zeros; and no
    /// page is made there because one before it was touched, which would take the guard's place.
    pub fn guarded(&self, addr: usize, len: usize, installed: bool) {
        let range = pages_of(addr, len);
        let mut core = self.engine.lock_core();
        if installed {
            core.discard(range);
        }
        core.pager.set_pattern(range, if installed { Pattern::Random } else { Pattern::Normal });
        core.live.iter_mut().for_each(|live| live.tally.raw_changes += 1);
    }

    /// What forked children will have of the range.
    pub fn inherited(&self, addr: usize, len: usize, inherit: Inherit) {
        self.engine.lock_core().pager.set_inherit(pages_of(addr, len), inherit);
    }

    /// Has the resident pages of the range leave next, unless they are touched before.
    /// Only while memory is paged.
    pub fn cool(&self, addr: usize, len: usize) {
        self.engine.ask(Request::Cool(pages_of(addr, len)));
    }

    /// Asks the pager thread, which must serve, and waits until it has seen to it.
    pub(crate) fn ask(&self, request: Request) {
        self.engine.ask(request);
    }

    /// Pins what is managed in the range, or lets it go. False, and nothing
    /// changed, when pinned memory would leave less than half the frames.
    pub fn pin(&self, addr: usize, len: usize, pinned: bool) -> bool {
        let range = pages_of(addr, len);
        let mut core = self.engine.lock_core();
        let done = core.pin(&[range], pinned);
        if done {
            core.recorded(|recorder| recorder.pinned(range, pinned));
        }
        done
    }

    /// Anonymous private memory has been mapped at `addr` for stacks of `stride` bytes each, none
    /// of which is used before [`Self::stack`] has said so. False if it cannot be paged. Only
    /// while memory is paged.
    #[must_use]
    pub fn stacks(&self, addr: usize, len: usize, stride: usize) -> bool {
        let range = pages_of(addr, len);
        self.ask(Request::Stacks(range, (stride / PAGE) as u64));
        self.engine.lock_core().live.as_ref().is_some_and(|live| live.stacks.has(range.start))
    }

    /// The bytes at `addr`, which are one of the stacks without its guard and have not been
    /// touched, are used from now on.
    pub fn stack(&self, addr: usize, len: usize) {
        let range = pages_of(addr, len);
        let mut core = self.engine.lock_core();
        core.pager.add_area(range, Rights::ReadWrite);
        core.recorded(|recorder| recorder.area(range, Rights::ReadWrite));
    }
}

/// In a forked child: the record is its parent's.
pub(crate) fn forget_status() {
    RECORD.store(ptr::null_mut(), Ordering::Release);
}

/// Claims a record of the status page. Without one the process runs unreported.
pub(crate) fn attach_status(path: &std::path::Path, budget_bytes: u64) {
    if let Some(record) = StatusPage::open(path).and_then(|page| page.claim(std::process::id())) {
        record.budget_bytes.store(budget_bytes, Ordering::Relaxed);
        RECORD.store(ptr::from_ref(record).cast_mut(), Ordering::Release);
    }
}
