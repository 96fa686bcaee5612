//! Large objects that were freed lately, kept whole for whoever asks for the same length.

#[cfg(all(test, loom))]
mod model;

use crate::class::UNIT;
use core::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// Objects of so many units at most are kept.
const LONGEST: usize = 16;
/// Places of a list: with the promise they fill a line of the processor's cache.
const PLACES: usize = 7;
/// Units that a list keeps, if not those of one object.
const KEPT: usize = 16;

/// A number that several threads change.
trait Shared {
    fn get(&self) -> usize;
    /// Leaves zero.
    fn take(&self) -> usize;
    /// False if it was not zero.
    fn fill(&self, value: usize) -> bool;
    /// The sum.
    fn add(&self, value: usize) -> usize;
    /// False if it is less.
    fn subtract(&self, value: usize) -> bool;
}

impl Shared for AtomicUsize {
    #[inline]
    fn get(&self) -> usize {
        self.load(Relaxed)
    }

    #[inline]
    fn take(&self) -> usize {
        self.swap(0, Acquire)
    }

    #[inline]
    fn fill(&self, value: usize) -> bool {
        self.compare_exchange(0, value, Release, Relaxed).is_ok()
    }

    #[inline]
    fn add(&self, value: usize) -> usize {
        self.fetch_add(value, Relaxed) + value
    }

    #[inline]
    fn subtract(&self, value: usize) -> bool {
        self.fetch_update(Relaxed, Relaxed, |now| now.checked_sub(value)).is_ok()
    }
}

/// Free objects of one length in units. Who gives or takes one changes this line of memory and
/// no other: a line that all threads change costs more than the work.
#[derive(Debug)]
#[repr(C, align(64))]
struct QuickList<N = AtomicUsize> {
    /// Their first units, by number; 0 where there is none.
    places: [N; PLACES],
    /// Bytes that are promised for them, and more where they were promised too little.
    promised: N,
}

const _: () = assert!(size_of::<QuickList>() == 64);

impl QuickList {
    const fn new() -> Self {
        Self { places: [const { AtomicUsize::new(0) }; PLACES], promised: AtomicUsize::new(0) }
    }
}

impl<N: Shared> QuickList<N> {
    /// None if there is no place; else how much of what is promised is more than `most`, and the
    /// caller's to give back.
    #[inline]
    fn give(&self, first: usize, len: usize, places: usize, most: usize) -> Option<usize> {
        self.places[..places].iter().find(|place| place.get() == 0 && place.fill(first))?;
        // Who took the object before this finds that too little is promised, and sees to it.
        let promised = self.promised.add(len);
        // By half, so that it is not soon too much again.
        let surplus = if promised > most { promised - most / 2 } else { 0 };
        Some(if surplus > 0 && self.promised.subtract(surplus) { surplus } else { 0 })
    }

    #[inline]
    fn take(&self) -> Option<usize> {
        self.kept().map(Shared::take).find(|first| *first != 0)
    }

    /// The places where there is something.
    fn kept(&self) -> impl Iterator<Item = &N> {
        self.places.iter().filter(|place| place.get() != 0)
    }
}

/// A list for each length. *Quick lists*, in which free objects are not joined with their
/// neighbours: P. R. Wilson, M. S. Johnstone, M. Neely and D. Boles, "Dynamic Storage Allocation:
/// A Survey and Critical Review" (1995), 3.8.
///
/// They are closed until a program is seen to ask again for what it freed, and closed again
/// when it no longer does: what is in them keeps its pages.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct QuickLists {
    lists: [QuickList; LONGEST],
    open: AtomicBool,
}

impl QuickLists {
    pub(crate) const fn new() -> Self {
        Self { lists: [const { QuickList::new() }; LONGEST], open: AtomicBool::new(false) }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    pub(crate) fn open(&self) {
        // Read by all, and so written only when it changes.
        if !self.is_open() {
            self.open.store(true, Relaxed);
        }
    }

    /// Whether it was open. Somebody who is giving an object just now may still do so.
    pub(crate) fn close(&self) -> bool {
        self.is_open() && self.open.swap(false, Relaxed)
    }

    /// Keeps an object of so many units that nobody uses, and the promise for its `len` bytes. None
    /// where there is no place; else bytes of promises that are too many, as who asks again asks
    /// for less, and are the caller's to give back.
    #[inline]
    pub(crate) fn give(&self, units: usize, first: usize, len: usize) -> Option<usize> {
        let places = (KEPT / units).clamp(1, PLACES);
        self.lists.get(units - 1)?.give(first, len, places, 2 * places * units * UNIT)
    }

    /// The first unit of an object of so many, which is the caller's now.
    #[inline]
    pub(crate) fn take(&self, units: usize) -> Option<usize> {
        self.lists.get(units - 1)?.take()
    }

    /// Takes `len` bytes of what is promised for objects of so many units; false if that is less.
    #[inline]
    pub(crate) fn take_promise(&self, units: usize, len: usize) -> bool {
        self.lists[units - 1].promised.subtract(len)
    }

    /// [`Self::take`] of any length: how many units, and the first.
    pub(crate) fn take_any(&self) -> Option<(usize, usize)> {
        (1..=LONGEST).find_map(|units| Some((units, self.take(units)?)))
    }

    /// All that is promised. There are objects in use that it was promised for, if somebody is just
    /// taking one.
    pub(crate) fn take_promises(&self) -> usize {
        self.lists.iter().map(|list| list.promised.take()).sum()
    }

    /// Whether a unit is here; no while they are closed.
    pub(crate) fn has(&self, unit: usize) -> bool {
        self.is_open() && self.iter().any(|(units, first)| (first..first + units).contains(&unit))
    }

    /// Objects, and their units.
    pub(crate) fn count(&self) -> (usize, usize) {
        self.iter().fold((0, 0), |(objects, sum), (units, _)| (objects + 1, sum + units))
    }

    /// Bytes that are promised and in no object.
    pub(crate) fn promised(&self) -> usize {
        self.lists.iter().map(|list| list.promised.get()).sum()
    }

    /// How many units, and the first.
    fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        let lists = (1..).zip(&self.lists);
        lists
            .flat_map(|(units, list)| list.kept().map(move |place| (units, place.get())))
            .filter(|kept| kept.1 != 0)
    }
}
