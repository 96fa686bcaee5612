#![expect(unsafe_code, reason = "drops pages of shared memory")]
//! The frame pool: addresses where pages are while they are not mapped.
//!
//! A frame is a permit; its bytes have a pool address only while its page is
//! parked or in a transfer. Addresses are several times the budget, so that runs
//! find room, and hold no memory while unused.

use crate::PAGE;
use crate::buffers::Buffers;
use pager::{FrameNo, RunMap};
use rustix::io::Errno;
use sys::maps::{self, Reservation};
use sys::views;

/// A page-sized place in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u32);

/// Consecutive places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlaceRun {
    pub(crate) start: Place,
    pub(crate) count: u32,
}

impl PlaceRun {
    fn has(self, place: Place) -> bool {
        place >= self.start && place.0 - self.start.0 < self.count
    }

    pub(crate) fn places(self) -> impl Iterator<Item = Place> {
        (self.start.0..self.start.0 + self.count).map(Place)
    }
}

#[derive(Debug)]
pub(crate) struct Pool {
    mapping: Reservation,
    map: RunMap,
    /// Place + 1 of each frame; 0 for frames that have none.
    of_frame: Vec<u32>,
    /// Places whose memory is to be dropped; capacity is fixed.
    stale: Vec<Place>,
    /// The first places: those that reads go to.
    buffers: Buffers,
    /// Where the pages of shared memory are that have a place after those of the pool.
    window: usize,
    /// Of `stale`, those in the window.
    stale_in_window: u32,
}

const STALE_BATCH: usize = 1024;
/// One frame in so many may be a buffer at once.
const BUFFER_SHARE: u32 = 8;

impl Pool {
    /// A pool of `places`, for frames numbered below `frames`.
    pub(crate) fn new(places: u32, frames: u32) -> Result<Self, Errno> {
        let mapping = Reservation::new(places as usize * PAGE)?;
        mapping.dont_fork()?;
        mapping.dont_dump()?;
        mapping.no_huge_pages()?;
        let buffers = (frames / BUFFER_SHARE).next_multiple_of(64).min(places / 2);
        Ok(Self {
            mapping,
            map: RunMap::new(places - buffers),
            of_frame: vec![0; frames as usize],
            stale: Vec::with_capacity(STALE_BATCH),
            buffers: Buffers::new(buffers),
            window: 0,
            stale_in_window: 0,
        })
    }

    pub(crate) fn addr(&self) -> usize {
        self.mapping.addr()
    }

    pub(crate) fn len(&self) -> usize {
        self.mapping.len()
    }

    pub(crate) fn address(&self, place: Place) -> usize {
        match place.0.checked_sub(self.places()) {
            None => self.mapping.addr() + place.0 as usize * PAGE,
            Some(page) => self.window + page as usize * PAGE,
        }
    }

    fn places(&self) -> u32 {
        (self.mapping.len() / PAGE) as u32
    }

    /// Shared memory is mapped from this address on.
    pub(crate) fn set_window(&mut self, addr: usize) {
        self.window = addr;
    }

    /// The places of the window's pages from `page` on, which belong to who uses those.
    pub(crate) fn in_window(&mut self, page: u32, count: u32) -> PlaceRun {
        let run = PlaceRun { start: Place(self.places() + page), count };
        // What is dropped late must not be what has come meanwhile.
        if self.stale_in_window > 0 && self.stale.iter().any(|place| run.has(*place)) {
            self.drop_stale();
        }
        run
    }

    /// Whether the place is that of a page of shared memory.
    pub(crate) fn is_in_window(&self, place: Place) -> bool {
        place.0 >= self.places()
    }

    /// Up to `most` consecutive places without memory.
    pub(crate) fn take(&mut self, most: u32) -> Option<PlaceRun> {
        let (start, count) = self.map.take_run(most)?;
        Some(PlaceRun { start: Place(start + self.buffers.count()), count })
    }

    /// Up to `most` consecutive places to read into: buffers, as long as there are such.
    pub(crate) fn take_for_read(&mut self, most: u32) -> Option<PlaceRun> {
        self.take_buffers(most).or_else(|| self.take(most))
    }

    /// Up to `most` consecutive buffers.
    pub(crate) fn take_buffers(&mut self, most: u32) -> Option<PlaceRun> {
        let (start, count) = self.buffers.take(most)?;
        Some(PlaceRun { start: Place(start), count })
    }

    /// Whether the place's bytes are to be copied and its memory kept.
    pub(crate) fn is_buffer(&self, place: Place) -> bool {
        place.0 < self.buffers.count()
    }

    /// Gives back a place that has no memory (its page was moved away, or never came).
    pub(crate) fn give_back_empty(&mut self, place: Place) {
        if self.is_in_window(place) {
            return;
        }
        self.map.free(place.0 - self.buffers.count());
    }

    /// Gives back a place and, at the next [`Self::drop_stale`], its memory.
    pub(crate) fn give_back(&mut self, place: Place) {
        if self.is_buffer(place) {
            return self.buffers.free(place.0);
        }
        if self.stale.len() == STALE_BATCH {
            self.drop_stale();
        }
        self.stale_in_window += u32::from(self.is_in_window(place));
        self.stale.push(place);
    }

    /// Drops the memory of given-back places, in runs, and of buffers that are not needed.
    pub(crate) fn drop_stale(&mut self) {
        if let Some((first, count)) = self.buffers.cool() {
            // Failing, they keep their memory, which does no harm.
            let _ = maps::dont_need(self.address(Place(first)), count as usize * PAGE);
        }
        self.stale.sort_unstable();
        let mut rest = self.stale.as_slice();
        while let Some(first) = rest.first() {
            let count = rest.iter().zip(first.0..).take_while(|(place, number)| place.0 == *number).count();
            if self.is_in_window(*first) {
                // Failing, the pages keep their memory until they are read again or unmapped.
                // SAFETY: no page of the core's has these bytes any more.
                let _ = unsafe { views::remove(self.address(*first), count * PAGE) };
                rest = &rest[count..];
                continue;
            }
            // Failing (which needs a kernel out of memory) leaves the pages
            // allocated; the place must then not be handed out as empty.
            if maps::dont_need(self.address(*first), count * PAGE).is_ok() {
                let places = rest[..count].iter();
                places.for_each(|place| self.map.free(place.0 - self.buffers.count()));
            }
            rest = &rest[count..];
        }
        self.stale.clear();
        self.stale_in_window = 0;
    }

    pub(crate) fn set_place(&mut self, frame: FrameNo, place: Place) {
        let index = frame.0 as usize;
        if index >= self.of_frame.len() {
            // Only with more frames than the machine has memory for.
            self.of_frame.resize(index + 1, 0);
        }
        debug_assert_eq!(self.of_frame[index], 0, "{frame:?} has a place");
        self.of_frame[index] = place.0 + 1;
    }

    pub(crate) fn place(&self, frame: FrameNo) -> Option<Place> {
        self.of_frame.get(frame.0 as usize)?.checked_sub(1).map(Place)
    }

    /// The frame's place, which it no longer has.
    pub(crate) fn take_place(&mut self, frame: FrameNo) -> Option<Place> {
        let place = self.place(frame)?;
        self.of_frame[frame.0 as usize] = 0;
        Some(place)
    }

    /// Pages of memory that are kept for reads and hold nothing.
    pub(crate) fn idle_buffers(&self) -> u32 {
        self.buffers.idle()
    }

    pub(crate) fn metadata_bytes(&self) -> usize {
        self.map.metadata_bytes() + self.map.taken() as usize * 4
    }
}
