//! The spans of a class that have room, by how full they are.

use crate::span::{Kind, Small, Span, SpanRef};
use core::sync::atomic::Ordering::Relaxed;

const SHELVES: usize = 4;
/// Marks in place of a shelf's number: on none.
const EMPTY: u8 = SHELVES as u8;
const FULL: u8 = SHELVES as u8 + 1;
/// Of each shelf, spans that are looked at for one that is in RAM.
const LOOKED_AT: usize = 8;

/// Spans that are neither full nor empty, and at most one that is empty: without it,
/// a program that allocates and frees one object would make and drop a span each time.
pub(crate) struct Shelves {
    shelves: [Vec<SpanRef>; SHELVES],
    empty: Option<SpanRef>,
    /// All spans of the class, full ones included, and the objects used in them.
    pub(crate) spans: usize,
    pub(crate) used: usize,
}

pub(crate) fn small(span: &Span) -> &Small {
    match &span.kind {
        Kind::Small(small) => small,
        Kind::Large(_) => unreachable!("classes have spans of small objects"),
    }
}

/// Where a span with `used` objects belongs.
#[inline]
fn shelf_of(objects: u32, used: u32) -> u8 {
    if used == 0 {
        return EMPTY;
    }
    if used == objects {
        return FULL;
    }
    u8::from(4 * used >= objects) + u8::from(2 * used >= objects) + u8::from(4 * used >= 3 * objects)
}

impl Shelves {
    pub(crate) const fn new() -> Self {
        Self { shelves: [const { Vec::new() }; SHELVES], empty: None, spans: 0, used: 0 }
    }

    /// The span to allocate from; about the fullest.
    pub(crate) fn fullest(&self) -> Option<SpanRef> {
        self.shelves.iter().rev().find_map(|shelf| shelf.last().copied()).or(self.empty)
    }

    /// The same among a few of each shelf for which `is_resident` holds; else any.
    pub(crate) fn fullest_of(&self, is_resident: impl Fn(&Span) -> bool) -> Option<SpanRef> {
        let candidates = self.shelves.iter().rev().flat_map(|shelf| shelf.iter().rev().take(LOOKED_AT));
        let mut candidates = candidates.copied();
        candidates.find(|span| is_resident(span)).or_else(|| self.fullest())
    }

    /// Whether there is an empty one.
    pub(crate) fn has_empty(&self) -> bool {
        self.empty.is_some()
    }

    /// A new span, empty.
    pub(crate) fn add(&mut self, span: SpanRef) {
        debug_assert!(self.empty.is_none(), "a span is made when no other has room");
        small(&span).shelf.store(EMPTY, Relaxed);
        self.spans += 1;
        self.empty = Some(span);
    }

    /// The number of used objects of a span changes to `used`. An empty span that is
    /// one too many, and so to be dropped, is no longer here.
    #[must_use]
    pub(crate) fn change(&mut self, span: SpanRef, used: u32) -> Option<SpanRef> {
        let small = small(&span);
        let (from, to) = (small.shelf.load(Relaxed), shelf_of(small.geometry().objects, used));
        self.used = self.used + used as usize - small.used.load(Relaxed) as usize;
        small.used.store(used, Relaxed);
        if from == to {
            return None;
        }
        small.shelf.store(to, Relaxed);
        match from {
            EMPTY => self.empty = None,
            FULL => {}
            shelf => self.unshelve(shelf, small.place.load(Relaxed)),
        }
        match to {
            EMPTY => {
                let before = self.empty.replace(span);
                self.spans -= usize::from(before.is_some());
                before
            }
            FULL => None,
            shelf => {
                let shelf = &mut self.shelves[shelf as usize];
                small.place.store(shelf.len() as u32, Relaxed);
                shelf.push(span);
                None
            }
        }
    }

    fn unshelve(&mut self, shelf: u8, place: u32) {
        let shelf = &mut self.shelves[shelf as usize];
        shelf.swap_remove(place as usize);
        if let Some(moved) = shelf.get(place as usize) {
            small(moved).place.store(place, Relaxed);
        }
    }

    /// The empty span, to be dropped.
    pub(crate) fn take_empty(&mut self) -> Option<SpanRef> {
        self.spans -= usize::from(self.empty.is_some());
        self.empty.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shelves_are_quarters() {
        for objects in [8, 9, 64, 819, 4096] {
            assert_eq!((shelf_of(objects, 0), shelf_of(objects, objects)), (EMPTY, FULL));
            for used in 1..objects {
                assert_eq!(u32::from(shelf_of(objects, used)), used * 4 / objects, "{used} of {objects}");
            }
        }
    }
}
