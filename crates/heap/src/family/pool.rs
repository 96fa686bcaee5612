//! The pages of a heap of families: from the source in page units, and cached.

use crate::extents::Extents;
use crate::family::table::Table;
use crate::source::PageSource;
use std::sync::{Mutex, MutexGuard, OnceLock};

/// What a heap asks its source for.
const WANTED: usize = 1 << 38;
/// Pages that are made usable at a time, so that a page seldom costs a kernel call.
const STEP: usize = 64;
/// Runs of up to this many pages are kept when they leave a family.
const CACHED_RUN: usize = 16;
/// Pages kept at most.
const CACHED_PAGES: usize = 256;

/// A run that nobody has, contents and all.
#[derive(Clone, Copy, Debug)]
struct Cached {
    start: usize,
    touched: usize,
}

#[derive(Debug)]
struct State {
    /// Free pages that read as zeros, by number.
    extents: Extents,
    /// Pages below this address may be used.
    usable: usize,
    limit: usize,
    /// By their number of pages less one; the one that left last is last.
    cache: [Vec<Cached>; CACHED_RUN],
    cached_pages: usize,
}

/// A run from the pool, and what it cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetched {
    pub(super) start: usize,
    /// What lies from here on reads as zeros.
    pub(super) touched: usize,
    pub(super) kernel_calls: u64,
}

/// The pages. **Invariant: what is in the extents reads as zeros.**
#[derive(Debug)]
pub(super) struct Pool<S> {
    pub(super) source: S,
    page_size: usize,
    state: Mutex<Option<State>>,
    table: OnceLock<Table>,
}

impl<S: PageSource> Pool<S> {
    /// Reserves nothing before the first page is asked for.
    pub(super) fn new(source: S, page_size: usize) -> Self {
        Self { source, page_size, state: Mutex::new(None), table: OnceLock::new() }
    }

    /// The page table; none before the first page.
    pub(super) fn table(&self) -> Option<&Table> {
        self.table.get()
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().expect("nothing panics under this lock")
    }

    /// Reserves the region if there is none, and says how many calls that took.
    fn begin(&self, state: &mut Option<State>) -> Option<u64> {
        if state.is_some() {
            return Some(0);
        }
        let (base, len) = self.source.reserve(WANTED)?;
        let pages = base / self.page_size..(base + len) / self.page_size;
        *state = Some(State {
            extents: Extents::new(pages.start, pages.end),
            usable: base,
            limit: pages.end * self.page_size,
            cache: [const { Vec::new() }; CACHED_RUN],
            cached_pages: 0,
        });
        self.table.get_or_init(|| Table::new(base, len, self.page_size));
        Some(1)
    }

    /// A run of `len` bytes, a multiple of the page size, at a multiple of `align`.
    pub(super) fn fetch(&self, len: usize, align: usize) -> Option<Fetched> {
        let mut guard = self.lock();
        let mut calls = self.begin(&mut guard)?;
        let state = guard.as_mut().expect("begun");
        let pages = len / self.page_size;
        if let Some(cached) = state.take_cached(pages, align) {
            return Some(Fetched { start: cached.start, touched: cached.touched, kernel_calls: calls });
        }
        let mut fetched = self.carve(state, pages, align, &mut calls);
        if fetched.is_none() && state.cached_pages > 0 {
            // The cached pages may be what is missing.
            calls += self.shrink_cache(state, 0);
            fetched = self.carve(state, pages, align, &mut calls);
        }
        fetched.map(|start| Fetched { start, touched: 0, kernel_calls: calls })
    }

    /// New pages, or such as have been discarded.
    fn carve(&self, state: &mut State, pages: usize, align: usize, calls: &mut u64) -> Option<usize> {
        let len = pages * self.page_size;
        if !self.source.promise(len) {
            return None;
        }
        let carved = state.extents.take(pages, (align / self.page_size).max(1)).and_then(|first| {
            let usable = self.make_usable(state, (first + pages) * self.page_size, calls);
            if !usable {
                state.extents.give(first, pages);
            }
            usable.then_some(first * self.page_size)
        });
        if carved.is_none() {
            self.source.renounce(len);
        }
        carved
    }

    fn make_usable(&self, state: &mut State, end: usize, calls: &mut u64) -> bool {
        if end <= state.usable {
            return true;
        }
        let more = (end + (STEP - 1) * self.page_size).min(state.limit);
        let usable = [more, end].into_iter().find(|end| {
            *calls += 1;
            self.source.extend(*end)
        });
        state.usable = usable.unwrap_or(state.usable);
        usable.is_some()
    }

    /// Takes a run back, whose first `touched` bytes have been used; how many kernel
    /// calls that took. Touches nothing.
    pub(super) fn give(&self, start: usize, len: usize, touched: usize) -> u64 {
        let mut guard = self.lock();
        let state = guard.as_mut().expect("the run came from here");
        let pages = len / self.page_size;
        if pages > CACHED_RUN {
            return self.discard(state, start, pages);
        }
        state.cache[pages - 1].push(Cached { start, touched });
        state.cached_pages += pages;
        if state.cached_pages <= CACHED_PAGES { 0 } else { self.shrink_cache(state, CACHED_PAGES / 2) }
    }

    /// Gives what is cached back to the kernel, long runs first, and of equals those that
    /// were kept longest, until at most `keep` pages are left; how many calls that took.
    fn shrink_cache(&self, state: &mut State, keep: usize) -> u64 {
        let mut calls = 0;
        for index in (0..CACHED_RUN).rev() {
            let pages = index + 1;
            let excess = state.cached_pages.saturating_sub(keep).div_ceil(pages);
            let excess = excess.min(state.cache[index].len());
            let runs: Vec<Cached> = state.cache[index].drain(..excess).collect();
            state.cached_pages -= excess * pages;
            for run in runs {
                calls += self.discard(state, run.start, pages);
            }
        }
        calls
    }

    fn discard(&self, state: &mut State, start: usize, pages: usize) -> u64 {
        self.source.discard(start, pages * self.page_size);
        self.source.renounce(pages * self.page_size);
        state.extents.give(start / self.page_size, pages);
        1
    }

    /// Gives every cached page back to the kernel; how many there were.
    pub(super) fn trim(&self) -> usize {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else { return 0 };
        let pages = state.cached_pages;
        self.shrink_cache(state, 0);
        pages
    }

    /// Whether a page is in a run that is kept; false if somebody else has the lock.
    pub(super) fn keeps(&self, page: usize) -> bool {
        let Ok(guard) = self.state.try_lock() else { return false };
        guard.as_ref().is_some_and(|state| {
            let mut lengths = (1..).map(|pages| pages * self.page_size).zip(&state.cache);
            lengths.any(|(len, runs)| runs.iter().any(|run| page.wrapping_sub(run.start) < len))
        })
    }

    /// Pages that are kept for the next family that needs some.
    pub(super) fn cached_pages(&self) -> usize {
        self.lock().as_ref().map_or(0, |state| state.cached_pages)
    }
}

impl State {
    fn take_cached(&mut self, pages: usize, align: usize) -> Option<Cached> {
        let cache = self.cache.get_mut(pages - 1)?;
        let found = cache.iter().rposition(|cached| cached.start.is_multiple_of(align))?;
        self.cached_pages -= pages;
        Some(cache.remove(found))
    }
}
