//! The slot map: places in the store, when their pages left, and their digests.

use crate::lineage::{Leases, Lineage, MemberNo};
use crate::page::SlotNo;
use crate::runmap::RunMap;
use std::collections::VecDeque;

/// Slots in one extent: what is given back to the file system at a time (2 MiB at 4 KiB).
pub(crate) const EXTENT_SLOTS: u32 = 512;
/// Evictions that pass for simultaneous.
const TICK: u32 = 64;
/// Slots that are free together are found in runs of so many.
const RUN: u32 = 64;

/// The order in which free slots are given out.
#[derive(Clone, Debug)]
enum Order {
    /// Side by side, so that what is evicted together lies together.
    Local,
    /// First those never used, then in the order in which they were given back.
    Arrival { fresh: u32, freed: VecDeque<u32> },
    /// As `Local`, of the extents that this pager has leased of a lineage's.
    Leased(Leases),
}

/// Slot numbers from the capacity on are *homes*: places outside of the store that belong to
/// one page each, such as its block of a mapped file. They are not given out or freed.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    order: Order,
    map: RunMap,
    /// When the slot's page was last evicted, in [`TICK`]s.
    left_at: Vec<u16>,
    evictions: u32,
    /// Keyed digest of the bytes that the slot holds.
    digests: Vec<u128>,
    /// Slots in use in each extent.
    extent_used: Vec<u16>,
    /// Extents that were used, are empty now and have not been punched.
    extent_stale: Vec<u8>,
    stale: u32,
    punch_cursor: usize,
    last: u32,
    /// Homes whose pages were evicted, and after how many evictions; each at one place only,
    /// which a later one may take.
    left_home: Vec<(u32, u32)>,
}

impl Slots {
    pub(crate) fn new(capacity: u32) -> Self {
        let extents = capacity.div_ceil(EXTENT_SLOTS) as usize;
        Self {
            order: Order::Local,
            map: RunMap::new(capacity),
            left_at: vec![0; capacity as usize],
            evictions: 0,
            digests: vec![0; capacity as usize],
            extent_used: vec![0; extents],
            extent_stale: vec![0; extents],
            stale: 0,
            punch_cursor: 0,
            last: u32::MAX - 1,
            left_home: Vec::new(),
        }
    }

    /// Remembers, of homes as well, when the pages that left last did: of about as many as
    /// there are frames.
    pub(crate) fn remember_homes(&mut self, frames: u32) {
        let places = (frames as usize).next_power_of_two();
        if self.left_home.len() < places {
            self.left_home = vec![(0, 0); places];
        }
    }

    /// The place of a home in `left_home`.
    fn home_place(&self, slot: SlotNo) -> Option<usize> {
        self.left_home.len().checked_sub(1).map(|mask| slot.0 as usize & mask)
    }

    /// Gives slots out first-in first-out from now on, beginning with 0.
    pub(crate) fn in_order_of_arrival(&mut self) {
        debug_assert_eq!(self.in_use(), 0);
        self.order = Order::Arrival { fresh: 0, freed: VecDeque::new() };
    }

    /// Gives out slots of the lineage that are this member's to give from now on.
    pub(crate) fn join(&mut self, lineage: Lineage, member: MemberNo) {
        debug_assert_eq!(self.in_use(), 0);
        self.order = Order::Leased(Leases::new(lineage, member));
    }

    /// Has `heir` hold all slots that are in use here. False without a lineage.
    pub(crate) fn bequeath(&mut self, heir: MemberNo) -> bool {
        let Self { order: Order::Leased(leases), map, .. } = self else { return false };
        leases.bequeath(heir, |word| map.word(word));
        true
    }

    /// Goes on as `heir`, in a copy of its parent's memory.
    pub(crate) fn succeed(&mut self, heir: MemberNo) {
        if let Order::Leased(leases) = &mut self.order {
            leases.succeed(heir);
        }
        self.extent_stale.iter_mut().filter(|stale| **stale != 0).for_each(|stale| *stale = 0);
        self.stale = 0;
        self.last = u32::MAX - 1;
    }

    /// Whether `slot` is a place outside of the store.
    pub(crate) fn is_home(&self, slot: SlotNo) -> bool {
        slot.0 >= self.capacity()
    }

    pub(crate) fn in_use(&self) -> u32 {
        self.map.taken()
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.map.capacity()
    }

    /// A slot: the one after the last given out where that is
    /// free, so that what is evicted together lies together; but slots used before
    /// rather than new ones, so that the store and its tables stay small.
    pub(crate) fn allocate(&mut self, digest: u128) -> Option<SlotNo> {
        let capacity = self.capacity();
        let number = match &mut self.order {
            Order::Local => {
                let next = self.last + 1;
                let goes_on = !next.is_multiple_of(RUN) && !self.map.is_taken(next);
                if goes_on { next } else { self.map.find()? }
            }
            Order::Leased(leases) => {
                let next = self.last + 1;
                let goes_on = !next.is_multiple_of(RUN) && !self.map.is_taken(next) && leases.may_give(next);
                let map = &self.map;
                if goes_on { next } else { leases.find(map.taken(), |word| map.word(word))? }
            }
            Order::Arrival { fresh, .. } if *fresh < capacity => {
                *fresh += 1;
                *fresh - 1
            }
            Order::Arrival { freed, .. } => freed.pop_front()?,
        };
        self.map.take(number);
        self.last = number;
        self.digests[number as usize] = digest;
        let extent = (number / EXTENT_SLOTS) as usize;
        self.extent_used[extent] += 1;
        if self.extent_stale[extent] != 0 {
            self.extent_stale[extent] = 0;
            self.stale -= 1;
        }
        Some(SlotNo(number))
    }

    /// The slot is free, unless other members of the lineage hold it.
    pub(crate) fn release(&mut self, slot: SlotNo) {
        if self.is_home(slot) {
            return;
        }
        self.map.free(slot.0);
        let extent = (slot.0 / EXTENT_SLOTS) as usize;
        let mut is_ours = true;
        match &mut self.order {
            Order::Local => {}
            Order::Arrival { freed, .. } => freed.push_back(slot.0),
            Order::Leased(leases) => {
                leases.let_go(slot.0);
                is_ours = leases.has(extent as u32);
            }
        }
        self.extent_used[extent] -= 1;
        if self.extent_used[extent] == 0 && is_ours {
            self.extent_stale[extent] = 1;
            self.stale += 1;
        }
    }

    pub(crate) fn digest(&self, slot: SlotNo) -> u128 {
        self.digests[slot.0 as usize]
    }

    /// The slot's page leaves memory.
    pub(crate) fn note_eviction(&mut self, slot: SlotNo) {
        self.evictions = self.evictions.wrapping_add(1);
        if let Some(left_at) = self.left_at.get_mut(slot.0 as usize) {
            *left_at = (self.evictions / TICK) as u16;
        } else if let Some(place) = self.home_place(slot) {
            self.left_home[place] = (slot.0, self.evictions);
        }
    }

    /// About how many evictions there have been since that of the slot's page. Starts
    /// again after 2²², which makes a page that was away for so long look used again: a
    /// worse choice, no more. Of homes only the last ones are remembered.
    pub(crate) fn evictions_since(&self, slot: SlotNo) -> u32 {
        if self.is_home(slot) {
            let left = self.home_place(slot).map(|place| self.left_home[place]);
            return left
                .filter(|(home, _)| *home == slot.0)
                .map_or(u32::MAX, |(_, at)| self.evictions.wrapping_sub(at));
        }
        let now = (self.evictions / TICK) as u16;
        u32::from(now.wrapping_sub(self.left_at[slot.0 as usize])) * TICK
    }

    pub(crate) fn is_in_use(&self, slot: SlotNo) -> bool {
        self.map.is_taken(slot.0)
    }

    /// An extent (first slot, count) whose bytes the store may forget, once each. Not one
    /// of which others hold slots: it is seen to when it is used and free again.
    pub(crate) fn take_stale_extent(&mut self) -> Option<(SlotNo, u32)> {
        while self.stale > 0 {
            let extents = self.extent_stale.len();
            let extent = (0..extents)
                .map(|step| (self.punch_cursor + step) % extents)
                .find(|extent| self.extent_stale[*extent] != 0)?;
            self.extent_stale[extent] = 0;
            self.stale -= 1;
            self.punch_cursor = extent;
            if let Order::Leased(leases) = &mut self.order
                && leases.is_held_by_others(extent as u32)
            {
                continue;
            }
            let start = extent as u32 * EXTENT_SLOTS;
            return Some((SlotNo(start), EXTENT_SLOTS.min(self.capacity() - start)));
        }
        None
    }

    /// The bytes of the extent that begins at `start` are forgotten: others may have it.
    pub(crate) fn forgotten(&mut self, start: SlotNo) {
        let extent = start.0 / EXTENT_SLOTS;
        if let Order::Leased(leases) = &mut self.order
            && self.extent_used[extent as usize] == 0
        {
            leases.give_back(extent);
        }
    }

    pub(crate) fn has_stale(&self) -> bool {
        self.stale > 0
    }

    /// Bytes of the tables that have been written.
    pub(crate) fn metadata_bytes(&self) -> usize {
        let bitmap = match &self.order {
            // Others use the slots in between.
            Order::Leased(leases) => leases.slots() / 8,
            Order::Local | Order::Arrival { .. } => self.map.metadata_bytes(),
        };
        let homes = self.left_home.len() * size_of::<(u32, u32)>();
        bitmap + bitmap * 8 * (size_of::<u16>() + size_of::<u128>()) + homes
    }
}
