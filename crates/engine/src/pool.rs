//! The frame pool: addresses where pages are while they are not mapped.
//!
//! A frame is a permit; its bytes have a pool address only while its page is
//! parked or in a transfer. Addresses are several times the budget, so that runs
//! find room, and hold no memory while unused.

use crate::PAGE;
use pager::{FrameNo, RunMap};
use rustix::io::Errno;
use sys::maps::{self, Reservation};

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
    /// Places that short reads go to, by bit. Only reads ever wrote there and their
    /// bytes are copied out, so nobody else can hold on to the memory, and it is kept.
    buffers: Vec<u64>,
    /// Buffers that are not in use, with their memory; capacity is fixed.
    idle_buffers: Vec<Place>,
}

const STALE_BATCH: usize = 1024;
/// Buffers that are kept: 1 MiB.
const MOST_IDLE: usize = 256;
/// Reads of up to so many pages go to buffers.
pub(crate) const SHORT_READ: u32 = 4;

impl Pool {
    /// A pool of `places`, for frames numbered below `frames`.
    pub(crate) fn new(places: u32, frames: u32) -> Result<Self, Errno> {
        let mapping = Reservation::new(places as usize * PAGE)?;
        mapping.dont_fork()?;
        mapping.dont_dump()?;
        mapping.no_huge_pages()?;
        Ok(Self {
            mapping,
            map: RunMap::new(places),
            of_frame: vec![0; frames as usize],
            stale: Vec::with_capacity(STALE_BATCH),
            buffers: vec![0; places.div_ceil(64) as usize],
            idle_buffers: Vec::with_capacity(MOST_IDLE),
        })
    }

    pub(crate) fn addr(&self) -> usize {
        self.mapping.addr()
    }

    pub(crate) fn len(&self) -> usize {
        self.mapping.len()
    }

    pub(crate) fn address(&self, place: Place) -> usize {
        self.mapping.addr() + place.0 as usize * PAGE
    }

    /// Up to `most` consecutive places without memory.
    pub(crate) fn take(&mut self, most: u32) -> Option<PlaceRun> {
        let (start, count) = self.map.take_run(most)?;
        Some(PlaceRun { start: Place(start), count })
    }

    /// Up to `most` consecutive places to read into.
    pub(crate) fn take_for_read(&mut self, most: u32) -> Option<PlaceRun> {
        if most > SHORT_READ {
            return self.take(most);
        }
        if let Some(start) = self.idle_buffers.pop() {
            return Some(PlaceRun { start, count: 1 });
        }
        let run = self.take(most)?;
        run.places().for_each(|place| self.buffers[place.0 as usize / 64] |= 1 << (place.0 % 64));
        Some(run)
    }

    /// Whether the place's bytes are to be copied and its memory kept.
    pub(crate) fn is_buffer(&self, place: Place) -> bool {
        self.buffers[place.0 as usize / 64] >> (place.0 % 64) & 1 != 0
    }

    /// Gives back a place that has no memory (its page was moved away, or never came).
    pub(crate) fn give_back_empty(&mut self, place: Place) {
        self.buffers[place.0 as usize / 64] &= !(1 << (place.0 % 64));
        self.map.free(place.0);
    }

    /// Gives back a place and, at the next [`Self::drop_stale`], its memory.
    pub(crate) fn give_back(&mut self, place: Place) {
        if self.is_buffer(place) {
            if self.idle_buffers.len() < MOST_IDLE {
                return self.idle_buffers.push(place);
            }
            self.buffers[place.0 as usize / 64] &= !(1 << (place.0 % 64));
        }
        if self.stale.len() == STALE_BATCH {
            self.drop_stale();
        }
        self.stale.push(place);
    }

    /// Drops the memory of given-back places, in runs.
    pub(crate) fn drop_stale(&mut self) {
        self.stale.sort_unstable();
        let mut rest = self.stale.as_slice();
        while let Some(first) = rest.first() {
            let count = rest.iter().zip(first.0..).take_while(|(place, number)| place.0 == *number).count();
            // Failing (which needs a kernel out of memory) leaves the pages
            // allocated; the place must then not be handed out as empty.
            if maps::dont_need(self.address(*first), count * PAGE).is_ok() {
                rest[..count].iter().for_each(|place| self.map.free(place.0));
            }
            rest = &rest[count..];
        }
        self.stale.clear();
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

    pub(crate) fn metadata_bytes(&self) -> usize {
        self.map.metadata_bytes() + self.map.taken() as usize * 4
    }
}
