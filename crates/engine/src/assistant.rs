#![expect(unsafe_code, reason = "digests pages on a second thread")]
//! A second thread for digests, which are most of what a long transfer costs.
//!
//! Who goes through memory in order waits for the pager most of the time, and its
//! processor has nothing to do. The [`Assistant`] digests a part of the pages there: both
//! threads take small pieces from one list until none is left, so that whoever is held up
//! does less. It yields to everybody, and where it is held up for long itself it is not
//! asked for a while.

use crate::PAGE;
use crate::engine::die;
use crate::rest::Rest;
use crate::signals::Blocked;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use pager::Content;
use rustix::thread::futex;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use store::Digester;

/// Pages of one list.
pub(crate) const MOST: usize = 256;
/// Pages that are taken from it at once.
const PIECE: usize = 4;
const PIECES: usize = MOST / PIECE;
/// Of fewer pages there is nothing to share.
const LEAST: usize = 12;
/// How long the assistant stays awake for the next list: waking it costs more than a list.
const AWAKE: Duration = Duration::from_micros(400);
/// Its last piece is waited for; longer than this is too long.
const LATE: Duration = Duration::from_micros(100);
/// Of the last [`LISTS`] lists, those that may be late.
const MOST_LATE: u32 = 4;
const LISTS: u32 = 64;

/// What a page was found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Only zeros.
    Zero,
    /// Bytes with this digest.
    Digest(u128),
}

impl Found {
    /// A digest in any case; that of a page of zeros is `zero`.
    pub(crate) fn digest(self, zero: u128) -> u128 {
        match self {
            Self::Zero => zero,
            Self::Digest(digest) => digest,
        }
    }
}

impl From<Found> for Content {
    fn from(found: Found) -> Self {
        match found {
            Found::Zero => Self::Zero,
            Found::Digest(digest) => Self::Digest(digest),
        }
    }
}

/// The pager thread's side.
#[derive(Debug)]
pub(crate) struct Assistant {
    shared: Option<Arc<Shared>>,
    thread: Option<JoinHandle<()>>,
    processors: usize,
    /// Other pagers need all processors.
    is_crowded: bool,
    generation: u32,
    lists: u32,
    late: u32,
    /// While it is not asked.
    rest: Rest,
}

#[derive(Debug)]
struct Shared {
    /// Which list, how many pieces it has, and the next one: 32, 16 and 16 bits.
    turn: AtomicU64,
    is_over: AtomicBool,
    /// What is called when nothing happens: odd while the assistant sleeps or is about to.
    sleeping: AtomicU32,
    pages: [Page; MOST],
    /// The list of which the assistant has finished the piece.
    finished: [AtomicU32; PIECES],
}

#[derive(Debug)]
struct Page {
    addr: AtomicUsize,
    /// What the assistant found: the halves of a digest, both zero for a page of zeros.
    low: AtomicU64,
    high: AtomicU64,
}

/// A piece of a list that has been taken.
#[derive(Clone, Copy)]
struct Taken {
    generation: u32,
    piece: usize,
}

impl Shared {
    fn new() -> Self {
        let page = || Page { addr: AtomicUsize::new(0), low: AtomicU64::new(0), high: AtomicU64::new(0) };
        Self {
            turn: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            sleeping: AtomicU32::new(0),
            pages: core::array::from_fn(|_| page()),
            finished: core::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// The next piece for one taker; none when all have been taken.
    fn take(&self) -> Option<Taken> {
        let taken = self.turn.fetch_update(Ordering::AcqRel, Ordering::Acquire, |turn| {
            let (next, pieces) = (turn & 0xffff, turn >> 16 & 0xffff);
            (next < pieces).then_some(turn + 1)
        });
        let turn = taken.ok()?;
        Some(Taken { generation: (turn >> 32) as u32, piece: (turn & 0xffff) as usize })
    }

    fn offer(&self, generation: u32, pages: usize) {
        let pieces = pages.div_ceil(PIECE) as u64;
        // Ordered with what `sleep` does: one of the two sees the other.
        self.turn.store(u64::from(generation) << 32 | pieces << 16, Ordering::SeqCst);
        self.wake();
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if self.sleeping.load(Ordering::SeqCst) % 2 == 1 {
            self.sleeping.fetch_add(1, Ordering::SeqCst);
            let _ = futex::wake(&self.sleeping, futex::Flags::PRIVATE, 1);
        }
    }

    /// Digests a piece for the pager thread. Addresses past the end of a list are 0.
    fn assist(&self, digester: &Digester, taken: Taken) {
        for page in &self.pages[taken.piece * PIECE..][..PIECE] {
            let addr = page.addr.load(Ordering::Relaxed);
            if addr == 0 {
                break;
            }
            // SAFETY: the pager thread waits for the piece before it lets go of its pages.
            let digest = match unsafe { content(digester, addr) } {
                Found::Zero => 0,
                Found::Digest(digest) => digest,
            };
            page.low.store(digest as u64, Ordering::Relaxed);
            page.high.store((digest >> 64) as u64, Ordering::Relaxed);
        }
        self.finished[taken.piece].store(taken.generation, Ordering::Release);
    }

    /// The assistant's life.
    fn work(&self, digester: &Digester) {
        let mut last = Instant::now();
        while !self.is_over.load(Ordering::Relaxed) {
            if let Some(taken) = self.take() {
                self.assist(digester, taken);
                last = Instant::now();
            } else if last.elapsed() < AWAKE {
                // SAFETY: a system call without memory effects.
                unsafe { libc::sched_yield() };
            } else {
                self.sleep();
                last = Instant::now();
            }
        }
    }

    fn sleep(&self) {
        let state = self.sleeping.load(Ordering::SeqCst) | 1;
        self.sleeping.store(state, Ordering::SeqCst);
        // Offered before that could be seen?
        let turn = self.turn.load(Ordering::SeqCst);
        if turn & 0xffff >= turn >> 16 & 0xffff && !self.is_over.load(Ordering::SeqCst) {
            let _ = futex::wait(&self.sleeping, futex::Flags::PRIVATE, state, None);
        }
        self.sleeping.fetch_and(!1, Ordering::SeqCst);
    }
}

/// Only an engine that ends drops it.
impl Drop for Assistant {
    fn drop(&mut self) {
        self.shared.iter().for_each(|shared| shared.end());
        // A panic there has been reported; there is nothing to clean up after it.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// # Safety
/// `addr` is a readable page that nobody changes meanwhile.
unsafe fn content(digester: &Digester, addr: usize) -> Found {
    // SAFETY: the caller's contract.
    unsafe {
        if store::is_zero(addr, PAGE) { Found::Zero } else { Found::Digest(digester.of_page(addr, PAGE).0) }
    }
}

impl Assistant {
    /// Nobody helps yet.
    pub(crate) fn new() -> Self {
        Self {
            shared: None,
            thread: None,
            processors: 1,
            is_crowded: false,
            generation: 0,
            lists: 0,
            late: 0,
            rest: Rest::new(),
        }
    }

    /// So many pagers have much to do: as many as processors need no help, which would come from the
    /// same processors and cost its waking.
    pub(crate) fn beside(&mut self, pagers: usize) {
        self.is_crowded = pagers >= self.processors;
    }

    /// Starts the thread, which calls `thread_starts` first and may touch the program's
    /// memory when it starts: the caller, who serves that, must not wait for it. Where the
    /// kernel gives none, nobody helps.
    pub(crate) fn begin(&mut self, digester: &Digester, thread_starts: fn()) {
        let processors = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
        if processors < 2 {
            return;
        }
        self.processors = processors;
        let shared = Arc::new(Shared::new());
        let (theirs, digester) = (Arc::clone(&shared), digester.clone());
        let _blocked = Blocked::all();
        let builder = std::thread::Builder::new().name("outcore-helper".into()).stack_size(64 << 10);
        let started = builder.spawn(move || {
            thread_starts();
            let parameters = libc::sched_param { sched_priority: 0 };
            // It need not be quick to start, and must not hold anybody up. Refused or not.
            // SAFETY: a system call on this thread without memory effects.
            let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &parameters) };
            theirs.work(&digester);
        });
        self.thread = started.ok();
        self.shared = self.thread.is_some().then_some(shared);
    }

    /// What the pages at these addresses hold, in order, into `contents`; at most [`MOST`].
    ///
    /// # Safety
    /// The pages are readable and nobody changes them meanwhile.
    pub(crate) unsafe fn contents(
        &mut self,
        digester: &Digester,
        addrs: &[usize],
        contents: &mut Vec<Found>,
    ) {
        contents.clear();
        let rested = self.rest.is_over(Instant::now());
        match &self.shared {
            Some(shared) if rested && !self.is_crowded && addrs.len() >= LEAST => {
                self.generation = self.generation.wrapping_add(1);
                // SAFETY: as the caller's.
                let waited = unsafe { share(shared, self.generation, digester, addrs, contents) };
                self.judge(waited);
            }
            // SAFETY: as the caller's.
            _ => contents.extend(addrs.iter().map(|addr| unsafe { content(digester, *addr) })),
        }
    }

    fn judge(&mut self, waited: Duration) {
        self.lists += 1;
        self.late += u32::from(waited > LATE);
        if self.late > MOST_LATE {
            self.rest.begin();
        } else if self.lists < LISTS {
            return;
        }
        (self.lists, self.late) = (0, 0);
    }
}

/// How long the assistant's last piece was waited for.
///
/// # Safety
/// As [`Assistant::contents`].
unsafe fn share(
    shared: &Shared,
    generation: u32,
    digester: &Digester,
    addrs: &[usize],
    contents: &mut Vec<Found>,
) -> Duration {
    if addrs.len() > MOST {
        die("more pages are to be digested than a transfer has");
    }
    let ends = addrs.iter().copied().chain([0; PIECE]);
    for (page, addr) in shared.pages.iter().zip(ends) {
        page.addr.store(addr, Ordering::Relaxed);
    }
    contents.resize(addrs.len(), Found::Zero);
    shared.offer(generation, addrs.len());
    let mut own = 0u64;
    while let Some(taken) = shared.take() {
        own |= 1 << taken.piece;
        let first = taken.piece * PIECE;
        for (content_of, addr) in contents[first..].iter_mut().zip(addrs[first..].iter().take(PIECE)) {
            // SAFETY: the caller's contract.
            *content_of = unsafe { content(digester, *addr) };
        }
    }
    let begun = Instant::now();
    for piece in (0..addrs.len().div_ceil(PIECE)).filter(|piece| own >> piece & 1 == 0) {
        let mut looks = 0u32;
        while shared.finished[piece].load(Ordering::Acquire) != generation {
            looks += 1;
            if looks.is_multiple_of(64) {
                // SAFETY: a system call without memory effects.
                unsafe { libc::sched_yield() };
            }
            core::hint::spin_loop();
        }
        let first = piece * PIECE;
        for (content_of, page) in contents[first..].iter_mut().zip(&shared.pages[first..first + PIECE]) {
            let (low, high) = (page.low.load(Ordering::Relaxed), page.high.load(Ordering::Relaxed));
            let digest = u128::from(high) << 64 | u128::from(low);
            *content_of = if digest == 0 { Found::Zero } else { Found::Digest(digest) };
        }
    }
    begun.elapsed()
}
