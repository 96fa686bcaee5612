//! OPT, Belady's algorithm: the bound that no policy beats.
//!
//! L. A. Belady, "A study of replacement algorithms for a virtual-storage computer", IBM
//! Systems Journal 5(2), 1966, where it is MIN; R. L. Mattson et al. 1970 prove it optimal.
//! The page leaves that is referenced again last, or never. A page that is missed is always
//! brought in (no bypass). Among pages that are never referenced again, the one that was last
//! referenced first leaves; no choice changes the number of misses.
//!
//! It needs the whole future and so exists in replay only. O(log n) in the length of the
//! trace a reference, in effect a few words; eight bytes a reference, shared by all sizes that
//! are replayed, and 1/8 of a byte a reference for each. More frames never miss more.
//!
//! With 3 frames, 1 2 3 4 1 2 5 1 2 3 4 5 misses 7 times.

use super::list::{ByFrame, Links, List, NONE};
use super::positions::Positions;
use super::{Policy, Step};
use crate::page::FrameNo;
use crate::pagemap::PageMap;
use core::fmt;
use std::sync::Arc;

/// A trace as OPT needs it: for each reference when the same page is referenced next.
pub struct Future {
    /// For each reference, a number for its page.
    numbers: Vec<u32>,
    /// For each reference, the position of the page's next one.
    next: Vec<u32>,
    /// For each number, its page.
    pages: Vec<u64>,
}

/// A trace of 2³² − 2 references or more, which is more than positions can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the trace has more than 4,294,967,293 references; replay a part of it")
    }
}

impl core::error::Error for TooLong {}

impl Future {
    /// The future of a driver that will reference `pages` in this order, and nothing else.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn new(pages: impl IntoIterator<Item = u64>) -> Result<Self, TooLong> {
        let mut future = Self { numbers: Vec::new(), next: Vec::new(), pages: Vec::new() };
        let mut known = PageMap::default();
        let mut last: Vec<u32> = Vec::new();
        for (position, page) in pages.into_iter().enumerate() {
            let position = u32::try_from(position).ok().filter(|at| *at < NONE - 2).ok_or(TooLong)?;
            let number = known.get_or_insert(page, future.pages.len() as u32);
            if number as usize == future.pages.len() {
                future.pages.push(page);
                last.push(position);
            } else {
                let before = core::mem::replace(&mut last[number as usize], position);
                future.next[before as usize] = position;
            }
            future.numbers.push(number);
            future.next.push(NONE);
        }
        Ok(future)
    }

    /// Distinct pages.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }
}

impl fmt::Debug for Future {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "future of {} references to {} pages", self.numbers.len(), self.pages.len())
    }
}

/// The page that is needed last leaves.
pub struct Opt {
    future: Arc<Future>,
    /// The reference that comes next.
    now: u32,
    /// When each page that is held and will be referenced again is.
    needed: Positions,
    /// Frames whose page will never be referenced again, by arrival.
    links: Links,
    never: List,
    number_of: ByFrame<u32>,
    /// The position in `needed`; none for a page in `never`.
    needed_at: ByFrame<u32>,
    /// By the page's number.
    frame_of: Vec<u32>,
}

impl Opt {
    /// Knows `future`: every page in it must be brought in or touched in turn.
    pub fn new(future: Arc<Future>) -> Self {
        let needed = Positions::new(future.numbers.len());
        let frame_of = vec![NONE; future.pages.len()];
        Self {
            future,
            now: 0,
            needed,
            links: Links::new(0),
            never: List::EMPTY,
            number_of: ByFrame::new(0, NONE),
            needed_at: ByFrame::new(0, NONE),
            frame_of,
        }
    }

    /// The page in `frame` is referenced now: notes when it is needed next.
    fn note(&mut self, frame: FrameNo) {
        let next = self.future.next[self.now as usize];
        match next {
            NONE => self.never.push(&mut self.links, frame.0),
            next => self.needed.insert(next),
        }
        self.needed_at.set(frame, next);
        self.now += 1;
    }

    /// The number of the page that is to be referenced now.
    fn expected(&self) -> u32 {
        *self.future.numbers.get(self.now as usize).expect("OPT was asked beyond the future it knows")
    }

    fn frame_at(&self, position: u32) -> FrameNo {
        FrameNo(self.frame_of[self.future.numbers[position as usize] as usize])
    }
}

impl Policy for Opt {
    /// # Panics
    /// If `page` is not the one that the future has here.
    fn inserted(&mut self, frame: FrameNo, page: u64) {
        let number = self.expected();
        let known = self.future.pages[number as usize];
        assert!(known == page, "page {page} came in where the future has {known}");
        self.number_of.set(frame, number);
        self.frame_of[number as usize] = frame.0;
        self.note(frame);
    }

    /// # Panics
    /// If the page in `frame` is not the one that the future has here.
    fn touched(&mut self, frame: FrameNo) {
        let number = self.expected();
        assert!(
            self.number_of.get(frame) == number,
            "{frame:?} was touched where the future has another page"
        );
        self.needed.remove(self.now);
        self.note(frame);
    }

    fn next(&mut self, _incoming: u64, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step> {
        if let Some(frame) = self.never.oldest_of(&self.links, may) {
            return Some(Step::Evict(FrameNo(frame)));
        }
        let mut needed = self.needed.last();
        while let Some(position) = needed {
            let frame = self.frame_at(position);
            if may(frame) {
                return Some(Step::Evict(frame));
            }
            needed = self.needed.before(position);
        }
        None
    }

    fn evicted(&mut self, frame: FrameNo) {
        let number = self.number_of.get(frame);
        match self.needed_at.get(frame) {
            NONE => self.never.remove(&mut self.links, frame.0),
            position => self.needed.remove(position),
        }
        self.number_of.set(frame, NONE);
        self.frame_of[number as usize] = NONE;
    }

    fn removed(&mut self, frame: FrameNo) {
        self.evicted(frame);
    }
}

impl fmt::Debug for Opt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "opt at reference {} of a {:?}", self.now, self.future)?;
        self.never.show(&self.links, f, ", never again", super::list::plain)
    }
}
