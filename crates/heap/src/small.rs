//! Objects that have a class.

use crate::cache::{BIN, ThreadCache};
use crate::class::{UNIT, class_size, span_len};
use crate::heap::{FreeError, Heap};
use crate::shelves::{Shelves, small};
use crate::source::PageSource;
use crate::span::{Kind, Small, Span};
use core::sync::atomic::Ordering::Relaxed;

impl<S: PageSource> Heap<S> {
    /// Fills the empty bin of a class, as far as memory allows.
    #[cold]
    pub(crate) fn refill(&self, cache: &mut ThreadCache, class: usize) {
        cache.refill(class, |places| self.fill(class, places));
    }

    /// One object of a class, for a thread without a cache.
    #[cold]
    pub(crate) fn take_one(&self, class: usize) -> Option<usize> {
        let mut one = [0];
        (self.fill(class, &mut one) == 1).then_some(one[0])
    }

    /// Allocates objects of a class into `places`; how many.
    fn fill(&self, class: usize, places: &mut [usize]) -> usize {
        let size = class_size(class);
        let filled = self.classes[class].with(|shelves| {
            let mut filled = 0;
            while filled < places.len() {
                let Some(span) = shelves.fullest().or_else(|| self.add_span(shelves, class)) else { break };
                let (small, before) = (small(span), filled);
                small.bitmap.take(|object| {
                    places[filled] = span.start + object * size;
                    filled += 1;
                    filled < places.len()
                });
                let emptied = shelves.change(span, small.used.load(Relaxed) + (filled - before) as u32);
                debug_assert!(emptied.is_none() && filled > before, "spans on shelves have room");
            }
            filled
        });
        self.in_use.fetch_add(filled * size, Relaxed);
        filled
    }

    fn add_span(&self, shelves: &mut Shelves, class: usize) -> Option<&'static Span> {
        let len = span_len(class);
        let span = Span { start: self.carve(len / UNIT, 1, len)?, kind: Kind::Small(Small::new(class)) };
        let span = self.enter(span, len / UNIT, len);
        shelves.add(span);
        Some(span)
    }

    #[inline]
    pub(crate) fn free_small(
        &self,
        cache: Option<&mut ThreadCache>,
        span: &'static Span,
        small: &Small,
        addr: usize,
    ) -> Result<(), FreeError> {
        let object = small.object_at(addr - span.start).ok_or(FreeError::NotAnObject)?;
        if !small.bitmap.is_taken(object) {
            return Err(FreeError::AlreadyFree);
        }
        let class = small.class;
        let Some(cache) = cache else { return self.give_back(class, &[addr]) };
        if cache.is_last(class, addr) {
            return Err(FreeError::AlreadyFree);
        }
        if cache.push(class, addr) {
            return Ok(());
        }
        self.make_room_and_push(cache, class, addr)
    }

    #[cold]
    fn make_room_and_push(
        &self,
        cache: &mut ThreadCache,
        class: usize,
        addr: usize,
    ) -> Result<(), FreeError> {
        let result = cache.make_room(class, |older| self.give_back(class, older));
        let pushed = cache.push(class, addr);
        debug_assert!(pushed, "there is room now");
        result
    }

    /// Returns objects of a class, at most a binful, to their spans; drops the spans
    /// that empty, but for one.
    pub(crate) fn give_back(&self, class: usize, objects: &[usize]) -> Result<(), FreeError> {
        let (mut result, mut freed) = (Ok(()), 0);
        let mut emptied = [None; BIN];
        self.classes[class].with(|shelves| {
            for (addr, emptied) in objects.iter().zip(&mut emptied) {
                match self.give_back_one(shelves, class, *addr) {
                    Ok(span) => (*emptied, freed) = (span, freed + 1),
                    Err(error) => result = Err(error),
                }
            }
        });
        self.in_use.fetch_sub(freed * class_size(class), Relaxed);
        emptied.into_iter().flatten().for_each(|span| self.drop_small(span));
        result
    }

    fn give_back_one(
        &self,
        shelves: &mut Shelves,
        class: usize,
        addr: usize,
    ) -> Result<Option<&'static Span>, FreeError> {
        // It was an object when it was freed; if it no longer is, its span went when it
        // was freed another time.
        let span = self.span_of(addr).map_err(|_| FreeError::AlreadyFree)?;
        let Kind::Small(small) = &span.kind else { return Err(FreeError::AlreadyFree) };
        let object = small.object_at(addr - span.start).filter(|_| small.class == class);
        if !object.is_some_and(|object| small.bitmap.free(object)) {
            return Err(FreeError::AlreadyFree);
        }
        let emptied = shelves.change(span, small.used.load(Relaxed) - 1);
        // Under the class's lock, so that no double free finds it any more.
        if let Some(span) = emptied {
            self.untell(span, span_len(small.class) / UNIT);
        }
        Ok(emptied)
    }

    fn drop_small(&self, span: &'static Span) {
        let len = span_len(small(span).class);
        self.drop_span(span, len / UNIT, len);
    }

    /// Drops the empty spans and free large objects that are kept at hand; whether
    /// there were any. What threads keep stays.
    pub fn trim(&self) -> bool {
        let mut dropped = self.cool();
        for class in &self.classes {
            let empty = class.with(|shelves| {
                shelves.take_empty().inspect(|span| {
                    self.untell(span, span_len(small(span).class) / UNIT);
                })
            });
            if let Some(span) = empty {
                self.drop_small(span);
                dropped = true;
            }
        }
        dropped
    }
}
