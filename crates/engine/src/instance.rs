#![expect(unsafe_code, reason = "a file table of its own, and the doorbell's registration")]
//! Engines that begin and end: as many as a program likes, each with what it is given.
//!
//! The pager of an instance is a thread. It has a file table of its own, in which of all
//! the program's descriptors only standard error is left, for its last words.

use crate::PAGE;
use crate::advise::Usage;
use crate::budget::Budget;
use crate::core::{Core, Live, Request, pages_of};
use crate::engine::{Engine, PAGER_NAME, Stage, die, this_is_the_program};
use crate::error::OpenError;
use crate::features;
use crate::files::{Directory, Link};
use crate::listener::Listener;
use crate::ops;
use crate::serve;
use crate::settings::{Scope, Settings};
use crate::signals::Blocked;
use crate::steer::Waker;
use crate::takeover::MIN_FRAMES;
use crate::tree::{Refused, Tree};
use crate::unused::{Knows, KnowsUnused};
use crate::voice::{self, Told, Voice};
use crate::wait::RETRY;
use core::ops::Deref;
use core::sync::atomic::Ordering;
use pager::{Counters, Pager};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use sys::ledger::Account;
use sys::status::feature;

/// An engine that pages what it is given, from the start, until it is dropped.
///
/// When it is dropped nothing may be managed any more: whoever gave it memory has
/// unmapped it. A forked child must not drop it, nor use it otherwise; what is managed is
/// not inherited.
#[derive(Debug)]
pub struct Instance {
    engine: Arc<Engine>,
    told: Arc<Told>,
    pager: Option<JoinHandle<()>>,
    pub(crate) files: Directory,
}

/// The numbers of an engine at one instant.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// What happened so far.
    pub counters: Counters,
    /// Pages that are mapped in a frame.
    pub resident_pages: u64,
    /// Pages that are in a frame and not mapped.
    pub parked_pages: u64,
    /// Pages that hold data, wherever.
    pub touched_pages: u64,
    /// Slots of the store in use.
    pub slots_used: u64,
    /// Slots of the store.
    pub slots_total: u64,
    /// Frames that may be in use: the budget without the tables.
    pub frame_limit: u64,
    /// Bytes of tables that are resident.
    pub metadata_bytes: u64,
    /// Pages of pinned ranges.
    pub pinned_pages: u64,
    /// Bytes that frames and tables may take now.
    pub budget_bytes: u64,
}

impl Instance {
    /// Makes an engine and starts its pager, each of whose threads calls `thread_starts`
    /// first. What those threads allocate must not come from memory that the instance
    /// pages: [`Self`]'s user sees to it, by that call.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is left then.
    pub fn start(settings: Settings, thread_starts: fn()) -> Result<Self, OpenError> {
        let settings = Settings { scope: Scope::Areas, status: None, ..settings };
        this_is_the_program();
        let told = Told::new();
        told.record().budget_bytes.store(settings.ram_bytes, Ordering::Relaxed);
        let voice = Voice::Instance(Arc::clone(&told));
        let engine = Arc::new(Engine::new(settings, None, thread_starts, voice)?);
        let (link, theirs_of_link) =
            Link::pair().map_err(|error| OpenError::Kernel("a pair of sockets for descriptors", error))?;
        let copy = theirs_of_link.as_fd().as_raw_fd();
        let (tell, answer) = sync_channel(1);
        let theirs = Arc::clone(&engine);
        let _blocked = Blocked::all();
        let pager = std::thread::Builder::new()
            .name(PAGER_NAME.into())
            .stack_size(256 << 10)
            .spawn(move || {
                thread_starts();
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| live(&theirs, &tell, theirs_of_link))) {
                    let text = panic.downcast_ref::<&str>().copied();
                    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
                    die(&format!("the pager thread panicked: {}", text.unwrap_or("without a message")));
                }
            })
            .map_err(OpenError::Thread)?;
        let answer = answer.recv();
        // The pager has its own table by now, or has none any more.
        // SAFETY: this table's copy, which nobody else closes.
        drop(unsafe { OwnedFd::from_raw_fd(copy) });
        match answer {
            Ok(Ok(())) => {
                engine.ready.open();
                Ok(Self { engine, told, pager: Some(pager), files: Directory::new(link) })
            }
            Ok(Err(error)) => {
                // It has returned, or is about to.
                let _ = pager.join();
                Err(error)
            }
            Err(_) => die("the pager thread ended before it began"),
        }
    }

    /// The engine, for threads that outlive a borrow of it.
    pub(crate) fn shared(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Calls `each` with the pages of a range that hold data, wherever: their number from its
    /// start on, and false for those that are lost. Holds up the pager as long as that takes.
    pub fn for_each_page(&self, addr: usize, len: usize, mut each: impl FnMut(u64, bool)) {
        let _blocked = Blocked::all();
        let range = pages_of(addr, len);
        let core = self.engine.lock_core();
        core.pager.for_each_touched(range, |page, state| {
            each(page.0 - range.start.0, state != pager::State::Poisoned);
        });
    }

    /// Its numbers now. Takes the core's lock for an instant.
    pub fn snapshot(&self) -> Snapshot {
        let _blocked = Blocked::all();
        let core = self.engine.lock_core();
        let pager = &core.pager;
        let pool = core.live.as_ref().map_or(0, |live| live.pool.metadata_bytes());
        let resident = u64::from(pager.frames_resident());
        Snapshot {
            counters: pager.counters(),
            resident_pages: resident,
            parked_pages: u64::from(pager.frames_used()) - resident,
            touched_pages: pager.pages_touched(),
            slots_used: u64::from(pager.slots_used()),
            slots_total: u64::from(pager.slots_total()),
            frame_limit: u64::from(pager.frame_limit()),
            metadata_bytes: (pager.metadata_bytes() + pool) as u64,
            pinned_pages: pager.pages_pinned(),
            budget_bytes: core.live.as_ref().map_or(0, |live| live.limits.budget_bytes),
        }
    }

    /// Where the pages of a range are. Takes as long as it has pages that were touched,
    /// and nothing is paged meanwhile.
    pub fn usage(&self, addr: usize, len: usize) -> Usage {
        let _blocked = Blocked::all();
        Usage::of(&self.engine.lock_core().pager, pages_of(addr, len))
    }

    /// Names who knows of unused pages, or nobody. When this returns who was named before is
    /// not asked any more.
    pub fn know_unused(&self, knows: Option<Arc<dyn KnowsUnused>>) {
        let _blocked = Blocked::all();
        let mut core = self.engine.lock_core();
        let before = core.live.as_mut().map(|live| core::mem::replace(&mut live.knows, Knows(knows)));
        drop(core);
        drop(before);
    }

    /// The budget that it was made with, in bytes.
    pub fn budget_bytes(&self) -> u64 {
        self.engine.settings.ram_bytes
    }

    /// The first thing that went wrong, as a sentence.
    pub fn message(&self) -> Option<String> {
        self.told.record().message()
    }

    /// Bits of [`feature`]: how memory is paged here.
    pub fn features(&self) -> u64 {
        self.told.record().features.load(Ordering::Acquire)
    }

    /// Whether system calls, too, wait for pages that are not in memory; else they fail
    /// with `EFAULT` there.
    pub fn serves_system_calls(&self) -> bool {
        self.features() & feature::FULL_USERFAULTFD != 0
    }
}

impl Deref for Instance {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        debug_assert!(self.engine.lock_core().pager.areas().next().is_none(), "memory is still managed");
        self.engine.address_space().ask(Request::Stop);
        // It does not panic, or the program would have ended.
        let _ = self.pager.take().map(JoinHandle::join);
    }
}

/// Leaves standard error, a link, and nothing else of the program's descriptors to this thread.
fn keep_standard_error_and(link: Link) -> Link {
    let kept = link.as_fd().as_raw_fd() as u32;
    let close = |from: u32, to: u32, flags: u32| {
        // SAFETY: closes descriptors of this thread's own, new table only.
        from > to || unsafe { libc::syscall(libc::SYS_close_range, from, to, flags) } == 0
    };
    // The first call makes the table. A link that is one of the first three is left where it is.
    let closed = close(kept.max(2) + 1, u32::MAX, libc::CLOSE_RANGE_UNSHARE)
        && close(3, kept.saturating_sub(1), 0)
        && (0..2).filter(|fd| *fd != kept).all(|fd| close(fd, fd, 0));
    if !closed {
        die("the kernel refuses close_range(CLOSE_RANGE_UNSHARE), which paging needs (Linux 5.9 or later)");
    }
    voice::be_heard();
    link
}

/// The life of the pager thread of an instance.
fn live(engine: &Engine, tell: &SyncSender<Result<(), OpenError>>, link: Link) {
    let link = keep_standard_error_and(link);
    let begun = begin(engine, link);
    let failed = begun.is_err();
    // The other side waits for it.
    let _ = tell.send(begun);
    if failed {
        return;
    }
    serve::serve(engine, None, None);
    // What is under way belongs to pages that are gone, but still goes to the pool.
    while !finish(engine) {}
    let live = engine.lock_core().live.take();
    // When nothing of it is in memory any more.
    let part = live.as_ref().and_then(|live| live.tree.as_ref().map(|tree| *tree.account()));
    drop(live);
    part.iter().for_each(Account::leave);
}

impl Live {
    /// Takes part in a budget that others share.
    fn take_part(&mut self, pager: &Pager, budget: &Budget, thread_starts: fn()) -> Result<(), OpenError> {
        let tables = pager.metadata_bytes() + self.pool.metadata_bytes();
        let needs = tables as u64 + MIN_FRAMES * PAGE as u64;
        let admitted = Tree::admit(budget.ledger(), needs);
        let tree = admitted.map_err(|refused| match refused {
            Refused::NoSeat => OpenError::TooManyShare,
            Refused::NoRoom { needs, left } => {
                OpenError::SharedBudget { budget: budget.bytes(), left, least: needs }
            }
        })?;
        let nudge = self.nudge.as_ref().and_then(|nudge| nudge.try_clone().ok());
        self.listener = nudge.and_then(|nudge| Listener::start(*tree.account(), nudge, thread_starts));
        self.tree = Some(tree);
        Ok(())
    }
}

/// Waits a little for transfers to end; whether all have.
fn finish(engine: &Engine) -> bool {
    let mut core = engine.lock_core();
    let Core { pager, live: Some(live), .. } = &mut *core else { return true };
    // Refused once, it is tried again.
    let _ = live.store.submit();
    while live.finish_transfers(pager, ops::MAX_OPS) > 0 {}
    let under_way = live.ops.under_way() > 0;
    if under_way {
        std::thread::sleep(RETRY);
    }
    !under_way
}

/// Opens what paging needs, in the thread that is going to serve.
pub(crate) fn begin(engine: &Engine, link: Link) -> Result<(), OpenError> {
    let mut core = engine.lock_core();
    let (frames, slots) = (core.pager.frame_limit(), core.pager.slots_total());
    let (mut live, bits) =
        features::open(&engine.settings, frames, slots, engine.thread_starts, engine.voice.clone())?;
    // SAFETY: the doorbell is ours; this thread serves it.
    let bell = unsafe { live.bell.register(engine.doorbell.addr(), PAGE, sys::uffd::Register::Missing) };
    bell.map_err(|error| OpenError::Kernel("the doorbell cannot be registered with userfaultfd", error))?;
    // The last that may fail: whoever has a part gives it up.
    if let Some(budget) = &engine.settings.share {
        live.take_part(&core.pager, budget, engine.thread_starts)?;
    }
    engine.set_mechanism(live.mechanism);
    engine.voice.record().into_iter().for_each(|record| record.features.store(bits, Ordering::Release));
    let Core { pager, live: place, .. } = &mut *core;
    let live = place.insert(live);
    pager.set_zero_digest(live.files.zero_digest());
    live.keep_budget(pager, true);
    live.files.begin(link, pager.slots_total());
    let copy = |uffd: &sys::uffd::Uffd| uffd.as_fd().try_clone_to_owned().ok();
    let (views, theirs) = (live.files.uffd().and_then(copy), live.files.uffd().and_then(copy));
    let waker = copy(&live.arena).and_then(|arena| Waker::start(arena, theirs, engine.thread_starts));
    live.steering.begin(waker, views);
    live.assistant.begin(&live.digester, engine.thread_starts);
    engine.set_stage(Stage::Paging);
    Ok(())
}
