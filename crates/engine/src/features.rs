#![expect(unsafe_code, reason = "registers the pool, and digests a page of zeros")]
//! Opening what paging needs, best first.

use crate::assistant::Assistant;
use crate::core::{Limits, Live, Mechanism, Tally};
use crate::error::OpenError;
use crate::files::{Files, Leases};
use crate::fork::{Descriptors, Estate, Kin};
use crate::map::ZEROS;
use crate::ops::{Gather, Ops};
use crate::pool::Pool;
use crate::settings::{Scope, Settings, StorePlace};
use crate::stacks::Stacks;
use crate::steer::Steering;
use crate::unused::Knows;
use crate::voice::Voice;
use crate::wait::Demand;
use crate::watch::Watch;
use crate::{PAGE, ops};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;
use store::{Digester, FaultPlan, FileOptions, Store};
use sys::aio::Aio;
use sys::anchor;
use sys::maps::{self, Pagemap, Reservation, Statm};
use sys::status::feature;
use sys::uffd::{self, Features, Source, Uffd};

/// Threads that transfer where io_uring is not to be had.
const TRANSFER_THREADS: usize = 4;

/// A userfaultfd for the arena, with what it can do.
struct Arena {
    uffd: Uffd,
    source: Source,
    mechanism: Mechanism,
}

/// A userfaultfd by `source`.
fn open_uffd(source: Source, device: Option<&OwnedFd>, want: Features) -> Result<Uffd, Errno> {
    let opened = match (source, device) {
        (Source::Device, Some(device)) => Uffd::open_by(device.as_fd(), want),
        (Source::Device, None) => Err(Errno::NOENT),
        (source, _) => Uffd::open(source, want),
    };
    opened.map(|(uffd, _)| uffd)
}

fn open_arena(settings: &Settings, device: Option<&OwnedFd>) -> Result<Arena, OpenError> {
    let sources: &[Source] = if settings.force.user_mode {
        &[Source::UserModeOnly]
    } else {
        &[Source::Device, Source::Syscall, Source::UserModeOnly]
    };
    let changes = Features::EVENT_REMAP | Features::EVENT_UNMAP | Features::THREAD_ID;
    let ways = [
        (Mechanism::Move, Features::MOVE | Features::EVENT_REMOVE | Features::POISON),
        (Mechanism::Copy, Features::POISON),
        // Before Linux 6.6. Where bytes are lost, the program is stopped in place of their reader.
        (Mechanism::Copy, Features::empty()),
    ];
    let mut last = Errno::NOSYS;
    for source in sources {
        for (mechanism, needs) in ways {
            if mechanism == Mechanism::Move && settings.force.copy {
                continue;
            }
            match open_uffd(*source, device, changes | needs) {
                Ok(uffd) => return Ok(Arena { uffd, source: *source, mechanism }),
                Err(error) => last = error,
            }
        }
    }
    Err(OpenError::Userfaultfd(last))
}

/// A ring, or threads where there is none, with its bit.
fn open_aio(settings: &Settings, thread_starts: fn()) -> Result<(Aio, u64), OpenError> {
    let depth = ops::MAX_OPS as u32;
    let ring = if settings.force.threads { Err(Errno::NOSYS) } else { Aio::ring(depth) };
    match ring {
        Ok(ring) => Ok((ring, feature::IO_URING)),
        Err(_) => {
            let pool = Aio::threads(depth, TRANSFER_THREADS, thread_starts);
            Ok((pool.map_err(failed("transfer threads cannot be started"))?, 0))
        }
    }
}

fn open_store(settings: &Settings, slots: u32, thread_starts: fn()) -> Result<(Store, u64), OpenError> {
    let slots = u64::from(slots);
    match &settings.store {
        StorePlace::Memory => {
            let store = Store::memory(slots, PAGE).map_err(failed("the memory store cannot be mapped"))?;
            match settings.scope {
                Scope::Process if !settings.map_files => Ok((store, 0)),
                // Files may be mapped.
                Scope::Process | Scope::Areas => {
                    let (aio, bit) = open_aio(settings, thread_starts)?;
                    Ok((store.with_transfers(aio), bit))
                }
            }
        }
        StorePlace::Directory(dir) => {
            let (aio, bit) = open_aio(settings, thread_starts)?;
            let options = FileOptions { dir, slots, page_size: PAGE };
            Ok((Store::file(options, aio).map_err(OpenError::Store)?, bit))
        }
    }
}

fn faulty(store: Store, settings: &Settings) -> Result<Store, OpenError> {
    match &settings.faults {
        None => Ok(store),
        Some(plan) => {
            let plan: FaultPlan = plan.parse().map_err(|error| OpenError::Faults(format!("{error}")))?;
            Ok(store.with_faults(plan))
        }
    }
}

/// What is opened once for a lineage, and passed on.
struct Means {
    proc: OwnedFd,
    device: Option<OwnedFd>,
    store: Store,
    bits: u64,
    pool: Pool,
    digester: Digester,
    kin: Option<Kin>,
}

fn failed(what: &'static str) -> impl Fn(Errno) -> OpenError {
    move |error| OpenError::Kernel(what, error)
}

/// Opens everything. `frames` is the budget in pages; threads that are started call
/// `thread_starts` first.
pub(crate) fn open(
    settings: &Settings,
    frames: u32,
    slots: u32,
    thread_starts: fn(),
    voice: Voice,
) -> Result<(Live, u64), OpenError> {
    let (store, bits) = open_store(settings, slots, thread_starts)?;
    let places = frames.saturating_mul(4).max(16_384);
    let means = Means {
        proc: maps::open_proc().map_err(failed("/proc cannot be opened"))?,
        device: uffd::device().ok(),
        store,
        bits,
        pool: Pool::new(places, frames).map_err(failed("the frame pool cannot be reserved"))?,
        digester: Digester::random().map_err(failed("no randomness for the digest's key"))?,
        // What an instance pages is not inherited.
        kin: if settings.scope == Scope::Process { Kin::first(slots) } else { None },
    };
    open_by(settings, means, slots, voice)
}

/// The same in a forked child, with what its parent left.
pub(crate) fn open_estate(
    settings: &Settings,
    mut estate: Estate,
    slots: u32,
    thread_starts: fn(),
    voice: Voice,
) -> Result<(Live, u64), OpenError> {
    let taken = estate.descriptors().map_err(failed("the parent's descriptors have not arrived"))?;
    let Descriptors { proc, file, device } = taken;
    let (store, bits) = match (file, estate.memory()) {
        (Some((file, direct)), _) => {
            let (aio, bit) = open_aio(settings, thread_starts)?;
            (Store::of_file(file, direct, u64::from(slots), PAGE, aio), bit)
        }
        (None, Some(memory)) if settings.map_files => {
            let (aio, bit) = open_aio(settings, thread_starts)?;
            (memory.with_transfers(aio), bit)
        }
        (None, Some(memory)) => (memory, 0),
        (None, None) => return Err(OpenError::Kernel("the parent's store has not arrived", Errno::BADMSG)),
    };
    let Estate { kin, pool, digester, .. } = estate;
    open_by(settings, Means { proc, device, store, bits, pool, digester, kin: Some(kin) }, slots, voice)
}

/// A userfaultfd for files that the program maps; none where these stay with the kernel. Of system calls that
/// are given a page of a file nobody expects EFAULT, so that it must serve those as well.
fn open_leases(settings: &Settings, arena: &Arena, device: Option<&OwnedFd>) -> Option<Uffd> {
    let possible =
        settings.map_files && settings.scope == Scope::Process && arena.source != Source::UserModeOnly;
    let want = Features::EVENT_REMAP
        | Features::EVENT_UNMAP
        | Features::THREAD_ID
        | Features::POISON
        | Features::PAGEFAULT_FLAG_WP;
    possible.then(|| open_uffd(arena.source, device, want).ok()).flatten()
}

fn open_by(settings: &Settings, means: Means, slots: u32, voice: Voice) -> Result<(Live, u64), OpenError> {
    let Means { proc, device, store, mut bits, pool, digester, kin } = means;
    let arena = open_arena(settings, device.as_ref())?;
    let more = |want| open_uffd(arena.source, device.as_ref(), want);
    let pool_side =
        more(pool_features(arena.mechanism)).map_err(failed("a second userfaultfd cannot be opened"))?;
    let forks = if settings.scope == Scope::Process { Features::EVENT_FORK } else { Features::empty() };
    let watched = more(forks);
    let bell_is_watched = watched.is_ok();
    let bell = watched
        .or_else(|_| more(Features::empty()))
        .map_err(failed("a third userfaultfd cannot be opened"))?;
    let leases = open_leases(settings, &arena, device.as_ref());
    // Where rings are not allowed, the guard alone keeps them open.
    let kept: Vec<_> = [&arena.uffd, &bell].into_iter().chain(&leases).map(AsFd::as_fd).collect();
    let is_anchored = settings.scope == Scope::Process && anchor::keep_open(&kept).is_ok();
    register_pool(&pool_side, &pool, arena.mechanism)
        .map_err(failed("the frame pool cannot be registered"))?;
    let zeros = Reservation::new(ZEROS * PAGE).map_err(failed("no memory"))?;
    // All of it is the kernel's one page of zeros; huge pages would be memory of our own.
    zeros.no_huge_pages().and_then(|()| zeros.read_ahead()).map_err(failed("no memory"))?;
    // SAFETY: the zeros are ours, and never written.
    let zero = unsafe { digester.of_page(zeros.addr(), PAGE) };
    let mut files = Files::new(arena.source, zero.0);
    let maps_files = leases.is_some();
    if let Some(uffd) = leases {
        files.begin_leases(Leases::new(uffd, pager::MAX_NUMBERS.saturating_sub(slots)), slots);
    }
    let file = store.file_fd().is_some();
    for (bit, on) in [
        (feature::MOVE, arena.mechanism == Mechanism::Move),
        (feature::FULL_USERFAULTFD, arena.source != Source::UserModeOnly),
        (feature::FILE_STORE, file),
        (feature::DIRECT_IO, store.direct()),
        (feature::FORKS, kin.is_some()),
        (feature::MAP_FILES, maps_files),
    ] {
        bits |= if on { bit } else { 0 };
    }
    let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    let dismissal = event();
    let shares = settings.scope == Scope::Process || settings.share.is_some();
    let nudge = shares.then(event);
    let live = Live {
        arena: arena.uffd,
        pool_side,
        bell,
        bell_is_watched,
        is_anchored,
        mechanism: arena.mechanism,
        pool,
        store: faulty(store, settings)?,
        assistant: Assistant::new(),
        digester,
        ops: Ops::new(),
        gather: Gather::new(),
        zeros,
        deferred: Vec::with_capacity(1024),
        victims: Vec::with_capacity(ops::MAX_OP_PAGES),
        addrs: Vec::with_capacity(ops::MAX_OP_PAGES),
        contents: Vec::with_capacity(ops::MAX_OP_PAGES),
        kin,
        has_relatives: false,
        handed: None,
        statm: Statm::open_in(proc.as_fd()).map_err(failed("/proc/self/statm cannot be opened"))?,
        pagemap: Pagemap::open_in(proc.as_fd()).map_err(failed("/proc/self/pagemap cannot be opened"))?,
        proc,
        device: device.filter(|_| arena.source == Source::Device),
        dismissal: dismissal.map_err(failed("no eventfd"))?,
        nudge: nudge.transpose().map_err(failed("no eventfd"))?,
        tree: None,
        listener: None,
        limits: Limits {
            scope: settings.scope,
            budget_bytes: settings.ram_bytes,
            next_sample: Instant::now(),
            overdraft: 0,
            unpaged_bytes: 0,
            peak_unpaged_bytes: 0,
            unsure: 0,
            rss_bytes: 0,
            peak_rss_bytes: 0,
        },
        tally: Tally::default(),
        demand: Demand::default(),
        steering: Steering::new(),
        watch: Watch::new(settings, voice.clone()),
        files,
        members: None,
        voice,
        knows: Knows::default(),
        stacks: Stacks::new(),
        stops: false,
    };
    Ok((live, bits))
}

fn pool_features(mechanism: Mechanism) -> Features {
    match mechanism {
        Mechanism::Move => Features::MOVE | Features::PAGEFAULT_FLAG_WP,
        Mechanism::Copy => Features::empty(),
    }
}

fn register_pool(uffd: &Uffd, pool: &Pool, mechanism: Mechanism) -> Result<(), Errno> {
    match mechanism {
        // A move's destination must be registered with the same userfaultfd. Not for
        // missing pages: the pager thread would wait for itself at the pool's holes.
        // SAFETY: the pool is ours, and nothing in it is ever write-protected.
        Mechanism::Move => unsafe {
            uffd.register(pool.addr(), pool.len(), sys::uffd::Register::WriteProtect)
        },
        Mechanism::Copy => Ok(()),
    }
}
