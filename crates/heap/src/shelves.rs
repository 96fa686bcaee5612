//! The spans of a class that have room, by how full they are.

use crate::span::{Kind, Small, Span};
use core::sync::atomic::Ordering::Relaxed;

const SHELVES: usize = 4;

/// Spans that are neither full nor empty, and at most one that is empty: without it,
/// a program that allocates and frees one object would make and drop a span each time.
pub(crate) struct Shelves {
    shelves: [Vec<&'static Span>; SHELVES],
    empty: Option<&'static Span>,
}

pub(crate) fn small(span: &Span) -> &Small {
    match &span.kind {
        Kind::Small(small) => small,
        Kind::Large(_) => unreachable!("classes have spans of small objects"),
    }
}

/// Where a span with `used` objects belongs.
#[derive(PartialEq, Eq)]
enum Place {
    Empty,
    Shelf(usize),
    Full,
}

fn place_of(small: &Small, used: u32) -> Place {
    match used {
        0 => Place::Empty,
        used if used == small.objects => Place::Full,
        used => Place::Shelf(used as usize * SHELVES / small.objects as usize),
    }
}

impl Shelves {
    pub(crate) const fn new() -> Self {
        Self { shelves: [const { Vec::new() }; SHELVES], empty: None }
    }

    /// The span to allocate from; about the fullest.
    pub(crate) fn fullest(&self) -> Option<&'static Span> {
        self.shelves.iter().rev().find_map(|shelf| shelf.last().copied()).or(self.empty)
    }

    /// A new span, empty.
    pub(crate) fn add(&mut self, span: &'static Span) {
        debug_assert!(self.empty.is_none(), "a span is made when no other has room");
        self.empty = Some(span);
    }

    /// The number of used objects of a span changes to `used`. A span that is to be
    /// dropped is no longer here.
    #[must_use]
    pub(crate) fn change(&mut self, span: &'static Span, used: u32) -> Option<&'static Span> {
        let small = small(span);
        let (from, to) = (place_of(small, small.used.load(Relaxed)), place_of(small, used));
        small.used.store(used, Relaxed);
        if from == to {
            return None;
        }
        match from {
            Place::Empty => self.empty = None,
            Place::Shelf(shelf) => self.unshelve(shelf, small.place.load(Relaxed)),
            Place::Full => {}
        }
        match to {
            Place::Empty => self.empty.replace(span),
            Place::Shelf(shelf) => {
                small.place.store(self.shelves[shelf].len() as u32, Relaxed);
                self.shelves[shelf].push(span);
                None
            }
            Place::Full => None,
        }
    }

    fn unshelve(&mut self, shelf: usize, place: u32) {
        let shelf = &mut self.shelves[shelf];
        shelf.swap_remove(place as usize);
        if let Some(moved) = shelf.get(place as usize) {
            small(moved).place.store(place, Relaxed);
        }
    }

    /// The empty span, to be dropped.
    pub(crate) fn take_empty(&mut self) -> Option<&'static Span> {
        self.empty.take()
    }
}
