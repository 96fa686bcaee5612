#![expect(unsafe_code, reason = "registers the pool, and digests a page of zeros")]
//! Opening what paging needs, best first.

use crate::assistant::Assistant;
use crate::children::Children;
use crate::core::{Limits, Live, Mechanism, Tally};
use crate::error::OpenError;
use crate::files::Files;
use crate::map::ZEROS;
use crate::ops::{Gather, Ops};
use crate::pool::Pool;
use crate::settings::{Scope, Settings, StorePlace};
use crate::steer::Steering;
use crate::unused::Knows;
use crate::voice::Voice;
use crate::wait::Demand;
use crate::{PAGE, ops};
use rustix::io::Errno;
use std::time::Instant;
use store::{Digester, FaultPlan, FileOptions, Store};
use sys::aio::Aio;
use sys::maps::{Pagemap, Reservation, Statm};
use sys::status::feature;
use sys::uffd::{Features, Source, Uffd};

/// Threads that transfer where io_uring is not to be had.
const TRANSFER_THREADS: usize = 4;

/// A userfaultfd for the arena, with what it can do.
struct Arena {
    uffd: Uffd,
    source: Source,
    mechanism: Mechanism,
    forks: bool,
}

fn open_arena(settings: &Settings) -> Result<Arena, OpenError> {
    let sources: &[Source] = if settings.force.user_mode {
        &[Source::UserModeOnly]
    } else {
        &[Source::Device, Source::Syscall, Source::UserModeOnly]
    };
    let changes = Features::EVENT_REMAP | Features::EVENT_UNMAP | Features::THREAD_ID;
    let ways =
        [(Mechanism::Move, Features::MOVE | Features::EVENT_REMOVE), (Mechanism::Copy, Features::empty())];
    let mut last = Errno::NOSYS;
    for source in sources {
        for (mechanism, needs) in ways {
            if mechanism == Mechanism::Move && settings.force.copy {
                continue;
            }
            // What is paged from the start is not inherited at all.
            let ways: &[bool] = if settings.scope == Scope::Process { &[true, false] } else { &[false] };
            for forks in ways.iter().copied() {
                let fork = if forks { Features::EVENT_FORK } else { Features::empty() };
                match Uffd::open(*source, changes | needs | fork | Features::POISON) {
                    Ok((uffd, _)) => return Ok(Arena { uffd, source: *source, mechanism, forks }),
                    Err(error) => last = error,
                }
            }
        }
    }
    Err(OpenError::Userfaultfd(last))
}

fn open_transfers(settings: &Settings, depth: u32, thread_starts: fn()) -> Result<(Aio, u64), OpenError> {
    let ring = if settings.force.threads { Err(Errno::NOSYS) } else { Aio::ring(depth) };
    match ring {
        Ok(ring) => Ok((ring, feature::IO_URING)),
        Err(_) => {
            let pool = Aio::threads(depth, TRANSFER_THREADS, thread_starts);
            Ok((pool.map_err(|error| OpenError::Kernel("transfer threads cannot be started", error))?, 0))
        }
    }
}

fn open_store(settings: &Settings, slots: u64, thread_starts: fn()) -> Result<(Store, u64), OpenError> {
    let depth = ops::MAX_OPS as u32;
    let (store, bits) = match &settings.store {
        StorePlace::Memory => {
            let store = Store::memory(slots, PAGE)
                .map_err(|error| OpenError::Kernel("the memory store cannot be mapped", error))?;
            match settings.scope {
                Scope::Process => (store, 0),
                // Files may be mapped.
                Scope::Areas => {
                    let (aio, bit) = open_transfers(settings, depth, thread_starts)?;
                    (store.with_transfers(aio), bit)
                }
            }
        }
        StorePlace::Directory(dir) => {
            let (aio, bit) = open_transfers(settings, depth, thread_starts)?;
            let options = FileOptions { dir, slots, page_size: PAGE };
            let store = Store::file(options, aio).map_err(OpenError::Store)?;
            let direct = if store.direct() { feature::DIRECT_IO } else { 0 };
            (store, bit | direct | feature::FILE_STORE)
        }
    };
    match &settings.faults {
        None => Ok((store, bits)),
        Some(plan) => {
            let plan: FaultPlan = plan.parse().map_err(|error| OpenError::Faults(format!("{error}")))?;
            Ok((store.with_faults(plan), bits))
        }
    }
}

/// Opens everything. `frames` is the budget in pages; threads that are started call
/// `thread_starts` first.
pub(crate) fn open(
    settings: &Settings,
    frames: u32,
    slots: u64,
    thread_starts: fn(),
    voice: Voice,
) -> Result<(Live, u64), OpenError> {
    let failed = |what: &'static str| move |error: Errno| OpenError::Kernel(what, error);
    let arena = open_arena(settings)?;
    let (pool_side, _) = Uffd::open(arena.source, pool_features(arena.mechanism))
        .map_err(failed("a second userfaultfd cannot be opened"))?;
    let (bell, _) = Uffd::open(arena.source, Features::empty())
        .map_err(failed("a third userfaultfd cannot be opened"))?;
    let (store, store_bits) = open_store(settings, slots, thread_starts)?;
    let places = frames.saturating_mul(4).max(16_384);
    let pool = Pool::new(places, frames).map_err(failed("the frame pool cannot be reserved"))?;
    register_pool(&pool_side, &pool, arena.mechanism)
        .map_err(failed("the frame pool cannot be registered"))?;
    let zeros = Reservation::new(ZEROS * PAGE).map_err(failed("no memory"))?;
    // All of it is the kernel's one page of zeros; huge pages would be memory of our own.
    zeros.no_huge_pages().and_then(|()| zeros.read_ahead()).map_err(failed("no memory"))?;
    let digester = Digester::random().map_err(failed("no randomness for the digest's key"))?;
    // SAFETY: the zeros are ours, and never written.
    let zero = unsafe { digester.of_page(zeros.addr(), PAGE) };
    let files = Files::new(arena.source, slots as u32, zero.0);
    let mut bits = store_bits;
    for (bit, on) in [
        (feature::MOVE, arena.mechanism == Mechanism::Move),
        (feature::FULL_USERFAULTFD, arena.source != Source::UserModeOnly),
        (feature::FORK_EVENTS, arena.forks),
    ] {
        bits |= if on { bit } else { 0 };
    }
    let live = Live {
        arena: arena.uffd,
        pool_side,
        bell,
        mechanism: arena.mechanism,
        pool,
        store,
        assistant: Assistant::new(),
        digester,
        ops: Ops::new(),
        gather: Gather::new(),
        zeros,
        deferred: Vec::with_capacity(1024),
        victims: Vec::with_capacity(ops::MAX_OP_PAGES),
        addrs: Vec::with_capacity(ops::MAX_OP_PAGES),
        contents: Vec::with_capacity(ops::MAX_OP_PAGES),
        children: Children::default(),
        children_are_served: arena.forks,
        statm: Statm::open().map_err(failed("/proc/self/statm cannot be opened"))?,
        pagemap: Pagemap::open().map_err(failed("/proc/self/pagemap cannot be opened"))?,
        limits: Limits {
            scope: settings.scope,
            budget_bytes: settings.ram_bytes,
            next_sample: Instant::now(),
            overdraft: 0,
            unpaged_bytes: 0,
            peak_unpaged_bytes: 0,
            rss_bytes: 0,
            peak_rss_bytes: 0,
        },
        tally: Tally::default(),
        demand: Demand::default(),
        steering: Steering::new(),
        files,
        voice,
        knows: Knows::default(),
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
