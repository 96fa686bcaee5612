//! Objects that have a class.

use crate::cache::{BIN, ThreadCache};
use crate::class::{GEOMETRY, UNIT, class_size, span_len};
use crate::heap::{Contents, FreeError, Heap, PAGE};
use crate::shelves::{Shelves, small};
use crate::source::PageSource;
use crate::span::{Kind, Small, SpanRef};
use core::sync::atomic::Ordering::Relaxed;

/// Empty spans that classes keep, in bytes, together.
const EMPTY_BYTES: usize = 512 << 10;
/// Objects in threads' caches hold whole spans back. Where less than one byte of so many
/// of such spans is in use, where they are at least so long, nothing is kept in caches.
const SPARSE_PART: usize = 8;
const SPARSE_BYTES: usize = 2 << 20;

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
        let (size, shift) = (class_size(class), GEOMETRY[class].shift());
        let filled = self.classes[class].with(|shelves| {
            let mut filled = 0;
            while filled < places.len() {
                let Some(span) = self.choose(shelves).or_else(|| self.add_span(shelves, class)) else {
                    break;
                };
                let (small, bitmap) = span.small().expect("of a class");
                let before = filled;
                bitmap.take(|place| {
                    places[filled] = span.start + (place << shift);
                    filled += 1;
                    filled < places.len()
                });
                let used = small.used.load(Relaxed) + (filled - before) as u32;
                let emptied = self.change(shelves, span, used);
                debug_assert!(emptied.is_none() && filled > before, "spans on shelves have room");
            }
            filled
        });
        self.in_use.fetch_add(filled * size, Relaxed);
        filled
    }

    /// The fullest span with room; where memory is scarce one whose next object is in RAM,
    /// if there is such a one.
    fn choose(&self, shelves: &Shelves) -> Option<SpanRef> {
        if !self.source.is_scarce() {
            return shelves.fullest();
        }
        shelves.fullest_of(|span| {
            let (small, bitmap) = span.small().expect("of a class");
            let lowest = bitmap.lowest_free().unwrap_or(0);
            self.source.is_resident((span.start + (lowest << small.geometry().shift())) / PAGE * PAGE)
        })
    }

    fn add_span(&self, shelves: &mut Shelves, class: usize) -> Option<SpanRef> {
        let len = span_len(class);
        let start = self.carve(len / UNIT, 1, len, Contents::Any)?;
        let span = self.enter(start, Kind::Small(Small::new(class)), len / UNIT);
        self.spans.fetch_add(1, Relaxed);
        self.span_bytes.fetch_add(len, Relaxed);
        self.metadata.fetch_add(span.metadata_bytes(), Relaxed);
        self.empty_bytes.fetch_add(len, Relaxed);
        shelves.add(span);
        Some(span)
    }

    /// The number of a span's used objects changes; a span that is to be dropped.
    fn change(&self, shelves: &mut Shelves, span: SpanRef, used: u32) -> Option<SpanRef> {
        let before = shelves.has_empty();
        let emptied = shelves.change(span, used);
        let len = || span_len(small(&span).class);
        match (before, shelves.has_empty()) {
            (false, true) if self.empty_bytes.fetch_add(len(), Relaxed) + len() > EMPTY_BYTES => {
                self.take_empty(shelves)
            }
            (true, false) => {
                self.empty_bytes.fetch_sub(len(), Relaxed);
                emptied
            }
            _ => emptied,
        }
    }

    /// The empty span of a class, which is to be dropped.
    fn take_empty(&self, shelves: &mut Shelves) -> Option<SpanRef> {
        let span = shelves.take_empty()?;
        self.empty_bytes.fetch_sub(span_len(small(&span).class), Relaxed);
        Some(span)
    }

    /// Frees an object whose bin is full, or seems to hold it already.
    #[cold]
    pub(crate) fn free_to_full(
        &self,
        cache: &mut ThreadCache,
        class: usize,
        addr: usize,
    ) -> Result<(), FreeError> {
        if cache.holds(class, addr) {
            return Err(FreeError::AlreadyFree(addr));
        }
        if self.is_sparse(cache) {
            let mut flushed = Ok(());
            if !cache.is_closed() {
                flushed = self.flush(cache);
                cache.close();
            }
            return flushed.and(self.give_back(class, &[addr]));
        }
        let result = cache.make_room(class, |older| self.give_back(class, older));
        let pushed = cache.push(class, addr);
        debug_assert!(pushed, "there is room now");
        result
    }

    /// Whether most of what is held is free, or in this cache.
    fn is_sparse(&self, cache: &ThreadCache) -> bool {
        let (held, in_use) = (self.span_bytes.load(Relaxed), self.in_use.load(Relaxed));
        held > SPARSE_BYTES
            && in_use < held / 2
            && in_use.saturating_sub(cache.kept_bytes()) < held / SPARSE_PART
    }

    /// Returns objects of a class, at most a binful, to their spans; drops the spans
    /// that empty, but for one.
    pub(crate) fn give_back(&self, class: usize, objects: &[usize]) -> Result<(), FreeError> {
        if objects.is_empty() {
            return Ok(());
        }
        let (mut result, mut freed) = (Ok(()), 0);
        let mut emptied = [None; BIN];
        self.classes[class].with(|shelves| {
            let mut rest = objects;
            for emptied in &mut emptied {
                let Some(first) = rest.first() else { break };
                let run;
                (run, rest) = self.give_back_run(class, *first, rest, &mut result);
                let Some((span, count)) = run else { continue };
                freed += count as usize;
                *emptied = self.change(shelves, span, small(&span).used.load(Relaxed) - count);
                // Under the class's lock, so that no double free finds it any more.
                if let Some(span) = *emptied {
                    self.untell(span, span_len(class) / UNIT);
                }
            }
        });
        self.in_use.fetch_sub(freed * class_size(class), Relaxed);
        emptied.into_iter().flatten().for_each(|span| self.drop_small(span));
        result
    }

    /// Frees the first of `objects`, and those of the same span that follow it: the span,
    /// how many they were, and the others. An object that is none any more is an error and
    /// is passed over.
    #[inline]
    fn give_back_run<'a>(
        &self,
        class: usize,
        first: usize,
        objects: &'a [usize],
        result: &mut Result<(), FreeError>,
    ) -> (Option<(SpanRef, u32)>, &'a [usize]) {
        // It was an object when it was freed; if it no longer is, its span went when it
        // was freed another time.
        let span = self.span_of(first).ok();
        let Some(span) = span.filter(|span| span.small().is_some_and(|(small, _)| small.class == class))
        else {
            *result = Err(FreeError::AlreadyFree(first));
            return (None, &objects[1..]);
        };
        let (_, bitmap) = span.small().expect("of a class");
        let (shift, len) = (GEOMETRY[class].shift(), span_len(class));
        let (mut count, mut seen) = (0, 0);
        for addr in objects {
            let offset = addr.wrapping_sub(span.start);
            if offset >= len {
                break;
            }
            seen += 1;
            // It was at the start of a place when it was freed, and spans of a class are alike.
            if bitmap.free(offset >> shift) {
                count += 1;
            } else {
                *result = Err(FreeError::AlreadyFree(*addr));
            }
        }
        ((count > 0).then_some((span, count)), &objects[seen..])
    }

    fn drop_small(&self, span: SpanRef) {
        let (start, len) = (span.start, span_len(small(&span).class));
        self.source.renounce(len);
        self.spans.fetch_sub(1, Relaxed);
        self.span_bytes.fetch_sub(len, Relaxed);
        self.metadata.fetch_sub(span.metadata_bytes(), Relaxed);
        self.end_span(span);
        self.uncarve_used(start, len / UNIT);
    }

    /// Drops the empty spans and the pages of free units that are kept; whether there
    /// were any. What threads keep stays.
    pub fn trim(&self) -> bool {
        let mut dropped = false;
        for class in &self.classes {
            let empty = class.with(|shelves| {
                self.take_empty(shelves).inspect(|span| {
                    self.untell(*span, span_len(small(span).class) / UNIT);
                })
            });
            if let Some(span) = empty {
                self.drop_small(span);
                dropped = true;
            }
        }
        self.cool() || dropped
    }
}
