#![expect(unsafe_code, reason = "copies pages to and from places of a transfer")]
//! Pages that a program's own code supplies and takes back.
//!
//! The pager thread leaves a call at a desk and goes on; the desk's threads make it, with a
//! buffer of their own, so that the program's code never has a reference to a page. It may
//! be slow, fail, panic or never come back: nobody waits for it but who touches its pages.
//!
//! ```text
//! free ──post──▶ queued ─┬─read────────────────▶ running ─┬─▶ delivering ──▶ free
//!                        └─write─▶ collecting ──▶ running ─┘   told to the pager thread
//!                 cancelled: queued and running are free at once, and what the program's
//!                 code still does is nobody's; the others come to their end, which is near
//! ```
//!
//! A place of a transfer is touched while collecting and delivering only, and a transfer ends
//! only when its call is free.

use crate::core::Request;
use crate::engine::Engine;
use crate::files::request::FileRequest;
use crate::ops::MAX_OPS;
use crate::signals::Blocked;
use core::fmt::{self, Debug, Formatter};
use core::sync::atomic::{AtomicU32, Ordering};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use sys::aio::{Direction, MAX_PIECES, Piece, QueueFull};

/// Calls of one desk at once, but for those of flushes.
const MOST_CALLS: u32 = 32;
/// Of them, those that are left for pages that somebody waits for.
const LEFT_FOR_FAULTS: u32 = 8;

const CANCELLED: &str = "it was cancelled";

/// What supplies pages, and takes them back where they may be changed. It is called by
/// threads of its own, several at once, and must not touch memory that the same engine pages.
pub trait Supply: Send + Sync {
    /// Fills `bytes`, which are zero, with those from [`Call::offset`] on. A range that
    /// fails is asked for again page by page, so that only what fails is lost.
    ///
    /// # Errors
    /// What went wrong, for a person: the page that somebody waits for is lost then.
    fn supply(&self, call: &Call<'_>, bytes: &mut [u8]) -> Result<(), String>;

    /// Keeps `bytes`, which are those from [`Call::offset`] on now.
    ///
    /// # Errors
    /// What went wrong, for a person: the pages stay in memory, and dirty.
    fn take_back(&self, call: &Call<'_>, bytes: &[u8]) -> Result<(), String>;
}

/// What a call is about.
pub struct Call<'a> {
    offset: u64,
    job: Job,
    generations: &'a [AtomicU32],
}

impl Call<'_> {
    /// Where the bytes begin: a multiple of [`crate::PAGE`].
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether nobody wants the result any more.
    pub fn is_cancelled(&self) -> bool {
        self.generations[self.job.token as usize].load(Ordering::Acquire) != self.job.generation
    }
}

impl Debug for Call<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Call(from byte {})", self.offset)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Free,
    Queued,
    Collecting,
    Running,
    Delivering,
}

/// One call of a desk; its number is the transfer's.
#[derive(Debug)]
struct Slot {
    stage: Stage,
    /// Cancelled while collecting.
    is_abandoned: bool,
    direction: Direction,
    offset: u64,
    pieces: Vec<Piece>,
    /// Why it failed last.
    failure: Option<String>,
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    queue: VecDeque<u32>,
    calls: u32,
    is_cancelled: bool,
    is_closed: bool,
    /// What failed last, of all calls.
    failure: Option<String>,
    /// Calls that have come back, and that the pager thread has not been told of.
    done: VecDeque<(u64, Result<(), Errno>)>,
    /// A thread is telling it.
    is_told: bool,
}

/// A call that a thread has taken.
#[derive(Clone, Copy, Debug)]
struct Job {
    token: u32,
    generation: u32,
}

/// How soon a call is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// A thread waits for it.
    Wanted,
    /// A thread waits for it and others.
    Flush,
    /// Nobody does.
    None,
}

/// What became of a call that was to be left at a desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// It will be made.
    Queued,
    /// All calls have been cancelled, this one as well.
    Cancelled,
}

/// Of memory only: the pager thread, which has another file table, may be the last to have it.
/// What supplies pages is its threads'.
pub(crate) struct Desk {
    name: String,
    state: Mutex<State>,
    posted: Condvar,
    /// By token; changes when a call ends.
    generations: Vec<AtomicU32>,
}

impl Debug for Desk {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Desk({})", self.name)
    }
}

/// A desk with threads, which end when nobody has it any more and they have nothing to do.
#[derive(Debug)]
pub(crate) struct Staffed {
    desk: Arc<Desk>,
}

impl Drop for Staffed {
    fn drop(&mut self) {
        self.desk.lock().is_closed = true;
        self.desk.posted.notify_all();
    }
}

impl core::ops::Deref for Staffed {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

impl Staffed {
    /// A desk called `name` in messages, with so many threads.
    pub(crate) fn new(
        engine: &Arc<Engine>,
        name: String,
        supply: Arc<dyn Supply>,
        threads: usize,
    ) -> std::io::Result<Arc<Self>> {
        let slot = || Slot {
            stage: Stage::Free,
            is_abandoned: false,
            direction: Direction::Read,
            offset: 0,
            pieces: Vec::with_capacity(MAX_PIECES),
            failure: None,
        };
        let state = State {
            slots: (0..MAX_OPS).map(|_| slot()).collect(),
            queue: VecDeque::with_capacity(MAX_OPS),
            calls: 0,
            is_cancelled: false,
            is_closed: false,
            failure: None,
            done: VecDeque::with_capacity(MAX_OPS),
            is_told: false,
        };
        let generations = (0..MAX_OPS).map(|_| AtomicU32::new(0)).collect();
        let (state, posted) = (Mutex::new(state), Condvar::new());
        let desk = Arc::new(Desk { name, state, posted, generations });
        // Dropped, it ends the threads that have been started.
        let staffed = Arc::new(Self { desk });
        let _blocked = Blocked::all();
        for _ in 0..threads.max(1) {
            let (desk, engine, supply) = (Arc::clone(&staffed.desk), Arc::clone(engine), Arc::clone(&supply));
            std::thread::Builder::new().name("outcore-supply".into()).spawn(move || {
                (engine.thread_starts)();
                desk.work(&engine, &*supply);
            })?;
        }
        Ok(staffed)
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Leaves a call for the transfer `token`. Does not allocate, but for the message
    /// when all calls have been cancelled.
    pub(crate) fn post(
        &self,
        token: u64,
        direction: Direction,
        offset: u64,
        pieces: &[Piece],
        haste: Haste,
    ) -> Result<Posted, QueueFull> {
        let token = token as u32;
        let mut state = self.lock();
        if state.is_cancelled {
            state.slots[token as usize].failure = Some(CANCELLED.to_owned());
            return Ok(Posted::Cancelled);
        }
        let most = match haste {
            Haste::Wanted => MOST_CALLS,
            Haste::Flush => u32::MAX,
            Haste::None => MOST_CALLS - LEFT_FOR_FAULTS,
        };
        if state.calls >= most {
            return Err(QueueFull);
        }
        state.calls += 1;
        let slot = &mut state.slots[token as usize];
        debug_assert_eq!(slot.stage, Stage::Free, "two calls of one transfer");
        (slot.stage, slot.is_abandoned) = (Stage::Queued, false);
        (slot.direction, slot.offset) = (direction, offset);
        slot.pieces.clear();
        slot.pieces.extend_from_slice(pieces);
        match haste {
            Haste::Wanted => state.queue.push_front(token),
            Haste::Flush | Haste::None => state.queue.push_back(token),
        }
        drop(state);
        self.posted.notify_one();
        Ok(Posted::Queued)
    }

    /// For the pager thread: the transfer of a call has ended.
    pub(crate) fn ended(&self, token: u64) {
        let mut state = self.lock();
        let slot = &mut state.slots[token as usize];
        if slot.stage != Stage::Free {
            slot.stage = Stage::Free;
            state.calls -= 1;
            self.generations[token as usize].fetch_add(1, Ordering::AcqRel);
        }
    }

    /// No call is made any more: the transfers that are to be ended now.
    pub(crate) fn cancel(&self) -> Vec<u64> {
        let mut ended = Vec::new();
        let mut state = self.lock();
        state.is_cancelled = true;
        state.queue.clear();
        for (token, slot) in state.slots.iter_mut().enumerate() {
            match slot.stage {
                Stage::Queued | Stage::Running => {
                    slot.failure = Some(CANCELLED.to_owned());
                    ended.push(token as u64);
                }
                Stage::Collecting => slot.is_abandoned = true,
                Stage::Free | Stage::Delivering => {}
            }
        }
        ended
    }

    /// Why the last call of this number failed.
    pub(crate) fn failure(&self, token: u64) -> Option<String> {
        self.lock().slots[token as usize].failure.clone()
    }

    /// Why a call failed last.
    pub(crate) fn last_failure(&self) -> Option<String> {
        self.lock().failure.take()
    }

    /// Waits for a call; none when there will be no more. Its places are in `pieces`.
    fn take(&self, pieces: &mut Vec<Piece>) -> Option<(Job, Direction, u64)> {
        let mut state = self.lock();
        loop {
            if let Some(token) = state.queue.pop_front() {
                let slot = &mut state.slots[token as usize];
                let reads = slot.direction == Direction::Read;
                slot.stage = if reads { Stage::Running } else { Stage::Collecting };
                pieces.clear();
                pieces.extend_from_slice(&slot.pieces);
                let generation = self.generations[token as usize].load(Ordering::Acquire);
                return Some((Job { token, generation }, slot.direction, slot.offset));
            }
            if state.is_closed {
                return None;
            }
            state = self.posted.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether what has been collected is still wanted.
    fn has_collected(&self, job: Job) -> bool {
        let mut state = self.lock();
        let slot = &mut state.slots[job.token as usize];
        if !slot.is_abandoned {
            slot.stage = Stage::Running;
        }
        !slot.is_abandoned
    }

    /// The call has come back; whether anybody wants to know.
    fn delivers(&self, job: Job, failure: Option<String>) -> bool {
        let mut state = self.lock();
        let is_wanted = self.generations[job.token as usize].load(Ordering::Acquire) == job.generation;
        if is_wanted {
            state.failure = failure.clone().or_else(|| state.failure.take());
            let slot = &mut state.slots[job.token as usize];
            slot.stage = Stage::Delivering;
            slot.failure = failure;
        }
        is_wanted
    }

    /// The life of one of its threads.
    fn work(self: &Arc<Self>, engine: &Engine, supply: &dyn Supply) {
        let mut pieces = Vec::with_capacity(MAX_PIECES);
        let mut bytes: Vec<u8> = Vec::new();
        while let Some((job, direction, offset)) = self.take(&mut pieces) {
            let call = Call { offset, job, generations: &self.generations };
            bytes.clear();
            bytes.resize(pieces.iter().map(|piece| piece.len()).sum(), 0);
            let made = if direction == Direction::Read {
                guarded(|| supply.supply(&call, &mut bytes))
            } else {
                // SAFETY: a call is not free while it collects, so the places are the
                // transfer's: their pages are mapped nowhere, and nobody changes them.
                unsafe { collect(&pieces, &mut bytes) };
                if self.has_collected(job) {
                    guarded(|| supply.take_back(&call, &bytes))
                } else {
                    Err(CANCELLED.to_owned())
                }
            };
            let is_good = made.is_ok();
            if !self.delivers(job, made.err()) {
                continue;
            }
            if is_good && direction == Direction::Read {
                // SAFETY: a call is not free while it is delivered, so the places are the
                // transfer's, which nobody else touches.
                unsafe { deliver(&bytes, &pieces) };
            }
            let result = if is_good { Ok(()) } else { Err(Errno::IO) };
            self.tell(engine, u64::from(job.token), result);
        }
    }

    /// Has the pager thread end a transfer. One thread tells it of all that have come back until it
    /// listens; the others go on.
    fn tell(self: &Arc<Self>, engine: &Engine, token: u64, result: Result<(), Errno>) {
        let mut state = self.lock();
        state.done.push_back((token, result));
        let is_told = core::mem::replace(&mut state.is_told, true);
        drop(state);
        if !is_told {
            let space = engine.address_space();
            space.ask(Request::File(FileRequest::Supplied(Arc::clone(self))));
            let answer = engine.lock_core().file_answer.take();
            debug_assert_eq!(answer, Some(Ok(())));
        }
    }

    /// For the pager thread: a call that has come back. When there is none, the next that does is
    /// told anew.
    pub(crate) fn next_done(&self) -> Option<(u64, Result<(), Errno>)> {
        let mut state = self.lock();
        let next = state.done.pop_front();
        state.is_told = next.is_some();
        next
    }
}

/// What the program's code says, or that it panicked.
fn guarded(work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(format!("it panicked: {}", text.unwrap_or("without a message")))
    })
}

/// # Safety
/// The pieces are readable, and nobody changes them.
unsafe fn collect(pieces: &[Piece], bytes: &mut [u8]) {
    let mut rest = bytes;
    for piece in pieces {
        let (now, later) = rest.split_at_mut(piece.len());
        // SAFETY: the caller's contract.
        unsafe { core::ptr::copy_nonoverlapping(piece.addr() as *const u8, now.as_mut_ptr(), piece.len()) };
        rest = later;
    }
}

/// # Safety
/// The pieces are writable, and nobody else uses them.
unsafe fn deliver(bytes: &[u8], pieces: &[Piece]) {
    let mut rest = bytes;
    for piece in pieces {
        let (now, later) = rest.split_at(piece.len());
        // SAFETY: the caller's contract.
        unsafe { core::ptr::copy_nonoverlapping(now.as_ptr(), piece.addr() as *mut u8, piece.len()) };
        rest = later;
    }
}
