//! What one fault costs, kind by kind, as the thread that touches the page sees it.
//!
//! Each part runs in a process of its own: [`paged`] under `outcore run`, [`kernel`] without,
//! and [`mod@file`] with a heap of the library's, which `outcore run` does not page.

pub mod file;
pub mod handle;
pub mod kernel;
pub mod paged;
pub mod parts;

mod calls;
mod fork;

use crate::memory::{WORDS, Words};
use crate::numbers::Random;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// A kind of fault, or of what stands for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The first touch of a page far from others that were touched.
    ZeroFill,
    /// The first touches in order: those of them that fault.
    Window,
    /// The same, by the page.
    WindowPage,
    /// A page that is in memory and unmapped.
    Parked,
    /// The first write of a forked child to a page that its parent has in memory.
    CopyOnWrite,
    /// A page that is in the store, and comes alone.
    SwapIn,
    /// A scan of what is in the store: those of its touches that fault.
    Ahead,
    /// The same, by the page.
    AheadPage,
    /// A page of a mapped file, which comes alone.
    File,
    /// A scan of a mapped file: those of its touches that fault.
    FileAhead,
    /// The same, by the page.
    FileAheadPage,
    /// The first touch of a page that a stack grows by.
    Stack,
    /// A handle's check, of a block in memory.
    Handle,
}

impl Kind {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 13] = [
        Self::ZeroFill,
        Self::Window,
        Self::WindowPage,
        Self::Parked,
        Self::CopyOnWrite,
        Self::SwapIn,
        Self::Ahead,
        Self::AheadPage,
        Self::File,
        Self::FileAhead,
        Self::FileAheadPage,
        Self::Stack,
        Self::Handle,
    ];

    /// Its name, for people and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroFill => "zero fill, alone",
            Self::Window => "zero fill in order, a window",
            Self::WindowPage => "zero fill in order, a page",
            Self::Parked => "parked",
            Self::CopyOnWrite => "copy-on-write after fork",
            Self::SwapIn => "swap-in, alone",
            Self::Ahead => "swap-in in order, a window",
            Self::AheadPage => "swap-in in order, a page",
            Self::File => "mapped file, alone",
            Self::FileAhead => "mapped file in order, a window",
            Self::FileAheadPage => "mapped file in order, a page",
            Self::Stack => "stack growth",
            Self::Handle => "handle check",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How long something took, many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Nanoseconds that half of them did not exceed.
    pub median_ns: u64,
    /// Nanoseconds that 99 of 100 did not exceed.
    pub p99_ns: u64,
    /// How many there were.
    pub samples: usize,
}

impl Figures {
    /// Of these nanoseconds; none if there are none.
    pub fn of(mut nanoseconds: Vec<u64>) -> Option<Self> {
        nanoseconds.sort_unstable();
        let at = |share: usize| nanoseconds.get(nanoseconds.len() * share / 100).copied();
        Some(Self { median_ns: at(50)?, p99_ns: at(99)?, samples: nanoseconds.len() })
    }
}

/// What became of the measurement of a kind: its figures, or why there are none.
pub type Measured = Result<Figures, String>;

/// How much is measured, and where.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// MiB of data, more than the budget.
    pub mib: usize,
    /// Faults of one kind, about.
    pub samples: usize,
}

/// Pages whose times are taken together where a fault brings several: more than the largest window has.
const CHUNK: usize = 1024;

/// Touches a page; how many nanoseconds it took.
fn touch(words: &[AtomicU64], page: usize, write: bool) -> u64 {
    let word = &words[page * WORDS + 1];
    let start = Instant::now();
    if write {
        word.store(1, Relaxed);
    } else {
        black_box(word.load(Relaxed));
    }
    start.elapsed().as_nanos() as u64
}

/// So many different pages of `pages`, in no order.
fn scattered(pages: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..pages).collect();
    let mut random = Random::new(seed);
    (1..order.len()).rev().for_each(|last| order.swap(last, random.below(last + 1)));
    order.truncate(count);
    order
}

/// Touches made in order: how long those took that are faults, and how long a page took.
struct InOrder {
    faults: Vec<u64>,
    a_page: Vec<u64>,
}

impl InOrder {
    /// `touch` makes the touch of a page, and tells how long it took and whether it was a fault.
    fn touch(pages: usize, mut touch: impl FnMut(usize) -> (u64, bool)) -> Self {
        let mut found = Self { faults: Vec::new(), a_page: Vec::new() };
        let mut chunk = 0;
        for page in 0..pages {
            let (took, fault) = touch(page);
            if fault {
                found.faults.push(took);
            }
            chunk += took;
            if (page + 1) % CHUNK == 0 {
                found.a_page.push(chunk / CHUNK as u64);
                chunk = 0;
            }
        }
        found
    }
}

/// Fills all pages with something that is not zero.
fn fill(words: &mut Words) {
    words.own().iter_mut().step_by(8).enumerate().for_each(|(index, word)| *word = index as u64 | 1);
}

fn missing(what: &str) -> String {
    format!("no {what} was seen")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_again() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.name()), Some(kind));
        }
        assert_eq!(Kind::named("zero"), None);
    }

    #[test]
    fn figures_are_those_of_the_definition() {
        assert_eq!(Figures::of(Vec::new()), None);
        let figures = Figures::of((1..=1000).rev().collect()).unwrap();
        assert_eq!(figures, Figures { median_ns: 501, p99_ns: 991, samples: 1000 });
    }

    #[test]
    fn scattered_pages_are_different_ones() {
        let mut order = scattered(1000, 600, 3);
        assert_ne!(order, (0..600).collect::<Vec<_>>());
        order.sort_unstable();
        order.dedup();
        assert_eq!(order.len(), 600);
    }

    #[test]
    fn what_comes_in_order_is_told_by_the_page() {
        // Every eighth touch is a fault of 800 ns, the others take nothing.
        let found = InOrder::touch(2 * CHUNK, |page| if page % 8 == 0 { (800, true) } else { (0, false) });
        assert_eq!((found.faults.len(), found.a_page), (2 * CHUNK / 8, vec![100, 100]));
    }
}
