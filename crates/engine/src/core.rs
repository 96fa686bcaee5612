//! What the core's lock protects: the pager, and the means to carry out its decisions.

use crate::assistant::{Assistant, Found};
use crate::files::{FileRequest, Files};
use crate::fork::{Estate, Kin};
use crate::listener::Listener;
use crate::ops::{Gather, Ops};
use crate::pool::Pool;
use crate::recorder::Recorder;
use crate::settings::Scope;
use crate::shared::Members;
use crate::stacks::Stacks;
use crate::steer::Steering;
use crate::tree::Tree;
use crate::unused::Knows;
use crate::voice::Voice;
use crate::wait::Demand;
use crate::watch::Watch;
use pager::{FrameNo, Inherit, PageNo, PageRange, Pager, Rights, State};
use rustix::io::Errno;
use std::mem::forget;
use std::os::fd::OwnedFd;
use std::time::Instant;
use store::{Digester, Store};
use sys::handover::Address;
use sys::maps::{Pagemap, Reservation, Statm};
use sys::uffd::Uffd;

/// How pages get between arena and pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// `UFFDIO_MOVE`: the physical page itself.
    Move,
    /// Write-protect, copy out, drop; `UFFDIO_COPY` back.
    Copy,
}

/// What a program thread asks of the pager thread, whose descriptors it has not.
#[derive(Debug)]
pub(crate) enum Request {
    /// Register and manage these pages.
    Manage(PageRange, Rights),
    /// Send there what the pager of a forked child needs.
    HandOver(Address),
    /// Unmap these pages, as those whose turn to leave is next.
    Cool(PageRange),
    /// Something about mapped files, which is answered.
    File(FileRequest),
    /// Register and manage a range of stacks of so many pages each, guards included.
    Stacks(PageRange, u64),
    /// Nothing is paged any more: end.
    Stop,
}

/// All state behind the lock.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) pager: Pager,
    /// Set by the pager thread when it is able to page.
    pub(crate) live: Option<Live>,
    pub(crate) request: Option<Request>,
    /// What became of the last [`Request::File`].
    pub(crate) file_answer: Option<Result<(), Errno>>,
    /// In a forked child, until its pager has taken it.
    pub(crate) estate: Option<Estate>,
}

/// The pager thread's means. Its descriptors are valid in that thread only: it
/// has a file table of its own, which nothing that the program closes can reach.
#[derive(Debug)]
pub(crate) struct Live {
    /// Registered on what is paged; announces faults and changes of address space.
    pub(crate) arena: Uffd,
    /// Registered on the pool; announces nothing, so that dropping pool memory
    /// does not wait for the thread that drops it.
    pub(crate) pool_side: Uffd,
    /// Registered on one page, the doorbell.
    pub(crate) bell: Uffd,
    /// It also tells of forks that were not announced.
    pub(crate) bell_is_watched: bool,
    /// The userfaultfds stay open as long as the memory is there, whoever is killed.
    pub(crate) is_anchored: bool,
    pub(crate) mechanism: Mechanism,
    pub(crate) pool: Pool,
    pub(crate) store: Store,
    pub(crate) digester: Digester,
    pub(crate) assistant: Assistant,
    pub(crate) ops: Ops,
    pub(crate) gather: Gather,
    /// Never-written memory, to copy zeros from.
    pub(crate) zeros: Reservation,
    /// Faults that could not be resolved yet.
    pub(crate) deferred: Vec<PageNo>,
    /// Scratch for reclaim; capacity is fixed.
    pub(crate) victims: Vec<FrameNo>,
    /// Scratch for digests: where pages are, and what they hold; capacity is fixed.
    pub(crate) addrs: Vec<usize>,
    pub(crate) contents: Vec<Found>,
    /// Whose slots these are as well.
    pub(crate) kin: Option<Kin>,
    /// Pages here may be shared with a process that forked from this one, or the reverse.
    pub(crate) has_relatives: bool,
    /// How the last request to hand over went.
    pub(crate) handed: Option<Result<(), Errno>>,
    /// `/proc`.
    pub(crate) proc: OwnedFd,
    /// `/dev/userfaultfd`, if that is how userfaultfds are opened.
    pub(crate) device: Option<OwnedFd>,
    /// Written to when the program has no use for its pager any more.
    pub(crate) dismissal: OwnedFd,
    /// Written to when the ledger should be looked at; none where the budget is not shared.
    pub(crate) nudge: Option<OwnedFd>,
    /// The part of a budget that is shared.
    pub(crate) tree: Option<Tree>,
    /// Who writes to `nudge` where the pager has no guard.
    pub(crate) listener: Option<Listener>,
    pub(crate) statm: Statm,
    pub(crate) pagemap: Pagemap,
    pub(crate) limits: Limits,
    pub(crate) tally: Tally,
    pub(crate) demand: Demand,
    pub(crate) steering: Steering,
    pub(crate) watch: Watch,
    pub(crate) files: Files,
    /// Where the pages are those of an arena that other processes have mapped.
    pub(crate) members: Option<Members>,
    pub(crate) voice: Voice,
    pub(crate) knows: Knows,
    pub(crate) stacks: Stacks,
    /// Asked to end.
    pub(crate) stops: bool,
}

/// How the budget is kept.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) scope: Scope,
    pub(crate) budget_bytes: u64,
    pub(crate) next_sample: Instant,
    /// Frames granted beyond the budget because nothing can be evicted.
    pub(crate) overdraft: u32,
    /// The process's other memory when last sampled.
    pub(crate) unpaged_bytes: u64,
    pub(crate) peak_unpaged_bytes: u64,
    /// Samples in a row that came in the middle of a change of the address space.
    pub(crate) unsure: u32,
    pub(crate) rss_bytes: u64,
    pub(crate) peak_rss_bytes: u64,
}

/// The driver's own numbers; the core keeps the others.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) read_bytes: u64,
    pub(crate) writeback_bytes: u64,
    pub(crate) stall_ns: u64,
    pub(crate) busy_moves: u64,
    pub(crate) peak_touched: u64,
    /// Forks since paging began.
    pub(crate) forks: u64,
    /// Discards and unmappings made past the preload library.
    pub(crate) raw_changes: u64,
    /// Consecutive rounds in which reclaim was needed and freed nothing.
    pub(crate) stuck_rounds: u32,
}

/// The page that holds `addr`.
pub(crate) fn page_of(addr: usize) -> PageNo {
    PageNo((addr / crate::PAGE) as u64)
}

/// Where `page` begins.
pub(crate) fn addr_of(page: PageNo) -> usize {
    page.0 as usize * crate::PAGE
}

/// The whole pages that `addr..addr + len` touches.
pub(crate) fn pages_of(addr: usize, len: usize) -> PageRange {
    PageRange::between(page_of(addr), page_of(addr + len + crate::PAGE - 1))
}

impl Core {
    /// Nothing has been asked, and nothing is live.
    pub(crate) fn new(pager: Pager) -> Self {
        Self { pager, live: None, request: None, file_answer: None, estate: None }
    }

    /// Tells the trace, once paging has begun.
    pub(crate) fn recorded(&mut self, tell: impl FnOnce(&mut Recorder)) {
        if let Some(live) = &mut self.live {
            tell(&mut live.watch.recorder);
        }
    }

    /// The program gave these pages up; what the pool holds of them is dropped.
    pub(crate) fn discard(&mut self, range: PageRange) {
        let Self { pager, live, .. } = self;
        live.iter_mut().for_each(|live| live.watch.recorder.gone(range, trace::Gone::Discarded));
        pager.discard(range, |_, state| {
            if let (State::Parked { frame, .. }, Some(live)) = (state, live.as_mut()) {
                live.drop_place(frame);
            }
        });
    }

    /// Pins what is managed in these ranges, of which no two overlap, or lets it go. False, and nothing changed,
    /// when pinned memory would leave less than half the frames.
    pub(crate) fn pin(&mut self, ranges: &[PageRange], pinned: bool) -> bool {
        let half = u64::from(self.pager.frame_limit()) / 2;
        if pinned {
            return self.pager.pin(ranges, half);
        }
        ranges.iter().for_each(|range| self.pager.set_pinned(*range, false));
        true
    }

    /// Whether a touch of the program's there waits for nobody: it is mapped, or not paged.
    pub(crate) fn is_here(&self, addr: usize) -> bool {
        let page = page_of(addr);
        self.pager.area(page).is_none() || matches!(self.pager.state(page), State::Resident { .. })
    }

    /// A pager with those of this one's areas that a forked child has, and nothing touched.
    pub(crate) fn take_areas(&mut self) -> Pager {
        let mut pager = Pager::new(self.pager.config());
        for area in self.pager.areas().filter(|area| area.inherit != Inherit::Omitted) {
            pager.add_area(area.range, area.rights);
            pager.set_inherit(area.range, area.inherit);
            if area.charged {
                pager.charge(area.range);
            }
        }
        pager
    }
}

/// What a forked child goes on with of its parent's [`Live`].
pub(crate) struct Inherited {
    pub(crate) pool: Pool,
    pub(crate) digester: Digester,
    /// The store, if it is memory.
    pub(crate) memory: Option<Store>,
}

impl Live {
    /// In a forked child: what is here as well. The rest speaks of descriptors, rings and
    /// threads that are its parent's; dropped, it would close others of the same numbers.
    pub(crate) fn inherited(self) -> Inherited {
        let memory = self.store.heir();
        let Self { pool, digester, .. } = self;
        forget((self.arena, self.pool_side, self.bell, self.store, self.assistant, self.steering));
        forget((
            self.files,
            self.proc,
            self.device,
            self.dismissal,
            self.statm,
            self.pagemap,
            self.nudge,
            self.tree,
        ));
        Inherited { pool, digester, memory }
    }
}
