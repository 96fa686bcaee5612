#![expect(unsafe_code, reason = "calls functions on another stack")]
//! Memory that is never paged, in programs whose global allocator or stacks are.
//!
//! What Outcore keeps about pages must not lie in them: the thread that brings a page in
//! would wait for itself. Inside a scope of this module, and in the pager's threads, what
//! is allocated comes from the system. Nor may a thread that holds the pager's lock touch a
//! page that the pager must bring in: if it runs on a paged stack, the scope runs on another.

use core::cell::Cell;
use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use sys::maps::Reservation;

thread_local! {
    /// Scopes that this thread is in. Without a destructor, so that it may be used from an
    /// allocator, and to the very end of a thread.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// For a thread that has run on a paged stack.
    static OWN_STACK: Cell<Option<Reservation>> = const { Cell::new(None) };
}

struct Inside;

impl Inside {
    fn new() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// What is allocated meanwhile is not paged, nor is the stack.
pub(crate) fn scope<R>(work: impl FnOnce() -> R) -> R {
    let _inside = Inside::new();
    if POOLS.load(Ordering::Relaxed) > 0 && stack_is_paged() { elsewhere(work) } else { work() }
}

/// Nothing that this thread ever allocates is paged.
pub(crate) fn for_ever() {
    core::mem::forget(Inside::new());
}

/// Whether this thread allocates what must not be paged.
pub(crate) fn is_inside() -> bool {
    DEPTH.get() > 0
}

/// Ranges of stacks at once.
pub(crate) const MOST_POOLS: usize = 256;

struct Pool {
    start: AtomicUsize,
    /// 0 while the place is free; 1 while it is being written.
    len: AtomicUsize,
}

static STACKS: [Pool; MOST_POOLS] =
    [const { Pool { start: AtomicUsize::new(0), len: AtomicUsize::new(0) } }; MOST_POOLS];
static POOLS: AtomicUsize = AtomicUsize::new(0);

/// A range of paged stacks, and where it is listed.
#[derive(Debug)]
pub(crate) struct ListedStacks(usize);

impl ListedStacks {
    /// Lists a range; none when [`MOST_POOLS`] are.
    pub(crate) fn new(start: usize, len: usize) -> Option<Self> {
        let free = |pool: &Pool| pool.len.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let place = STACKS.iter().position(free)?;
        STACKS[place].start.store(start, Ordering::Relaxed);
        STACKS[place].len.store(len, Ordering::Release);
        POOLS.fetch_add(1, Ordering::AcqRel);
        Some(Self(place))
    }
}

impl Drop for ListedStacks {
    fn drop(&mut self) {
        STACKS[self.0].len.store(0, Ordering::Release);
        POOLS.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Whether the calling function runs on one.
fn stack_is_paged() -> bool {
    let here = 0u8;
    let here = black_box(&raw const here).addr();
    STACKS.iter().any(|pool| {
        let len = pool.len.load(Ordering::Acquire);
        here.wrapping_sub(pool.start.load(Ordering::Relaxed)) < len
    })
}

/// What calls into the engine need, many times over.
const OWN_STACK_LEN: usize = 512 << 10;

struct Call<F, R> {
    work: Option<F>,
    result: Option<std::thread::Result<R>>,
}

/// Calls `work` on a stack of the thread's own.
#[cold]
fn elsewhere<F: FnOnce() -> R, R>(work: F) -> R {
    let kept = OWN_STACK.try_with(Cell::take).ok().flatten();
    let stack = kept.map_or_else(|| Reservation::new(OWN_STACK_LEN), Ok);
    let Ok(stack) = stack else {
        eprintln!("outcore: there is no memory for a stack that is not paged: the program is stopped");
        std::process::abort();
    };
    let mut call = Call { work: Some(work), result: None };
    let top = (stack.addr() + stack.len()) & !15;
    // SAFETY: the stack is ours, and nobody runs on it: it was taken out of its place. The
    // function returns, because it catches what unwinds, and gets what it expects.
    unsafe {
        core::arch::asm!(
            "mov r12, rsp",
            "mov rsp, {top}",
            "call {function}",
            "mov rsp, r12",
            top = in(reg) top,
            function = in(reg) run::<F, R> as extern "C" fn(*mut Call<F, R>),
            in("rdi") &raw mut call,
            out("r12") _,
            clobber_abi("C"),
        );
    }
    // A thread that is ending keeps none.
    let _ = OWN_STACK.try_with(|own| own.set(Some(stack)));
    match call.result.expect("the call has been made") {
        Ok(result) => result,
        Err(panic) => resume_unwind(panic),
    }
}

/// On the other stack. Neither what is called nor what it gives lies on the first one while
/// it runs.
extern "C" fn run<F: FnOnce() -> R, R>(call: *mut Call<F, R>) {
    // SAFETY: the caller waits, and has nobody else use it.
    let call = unsafe { &mut *call };
    let work = call.work.take().expect("called once");
    let mut result = Some(catch_unwind(AssertUnwindSafe(work)));
    // Here first, and copied when no lock is held any more.
    call.result = black_box(&mut result).take();
}
