//! Finding frames: two queues and a clock whose reference bit is whether an unmapped
//! page is touched.
//!
//! A page begins on probation. At the head of its queue it is parked: unmapped, but
//! still in memory. Touched there, it has proved itself and goes to the tail of the
//! protected queue, which is the second chance of the clock (Corbató, "A Paging
//! Experiment with the Multics System", 1968), in the form that VAX/VMS gave it for
//! machines that keep no reference bits (Levy and Lipman, 1982). Untouched until its
//! turn comes, it is evicted. A page that comes back soon, before a quarter as many
//! others have left as there are frames, has proved itself as well: the slot map
//! remembers when it left. What a pass through memory in order touches has proved
//! nothing. While the probation queue has more than its share, pages are taken from there,
//! so that what is used once does not push out what is used again. That is S3-FIFO (Yang,
//! Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction", 2023)
//! as far as it can be had where touches of mapped pages go unseen. How many pages are
//! parked is for `share` to say.

use crate::area::Sharing;
use crate::entry::State;
use crate::frames::Queue;
use crate::page::{FrameNo, PageNo, PageRange, SlotNo};
use crate::pager::Pager;

/// Pages that may be looked at in one search for something to park.
const MAX_SCAN: u32 = 512;

/// One frame in so many is for pages on probation, when there are others. Few: touches there go unseen,
/// those of the parked pages that come after it do not.
const PROBATION_SHARE: u32 = 64;

/// What [`Pager::next_parking`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parking {
    /// Unmap these pages, which hold the oldest frames, then say for each
    /// [`Pager::parked`] or [`Pager::vanished`]; nothing if it has to stay.
    Pages(PageRange),
    /// What was looked at may not be parked; more may be further on.
    Scanned,
    /// No page is resident.
    Nothing,
}

/// What a parked page was found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Only zeros.
    Zero,
    /// Bytes with this digest.
    Digest(u128),
    /// Other bytes than its slot, if it has one, as a dirty bit tells: it keeps its slot.
    Dirty,
    /// The bytes of its slot, as a dirty bit tells.
    Clean,
}

/// What becomes of a page's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// It is free now; nothing is to be written.
    Freed,
    /// Write it to the slot, then say [`Pager::write_done`].
    Write(SlotNo),
    /// It is dirty and the store has no slot left: the page stays parked.
    StoreFull,
}

impl Pager {
    /// Frames to keep available, so that faults need not wait for reclaim.
    pub fn reserve(&self) -> u32 {
        (self.frames.limit() / 32).clamp(32, 2048)
    }

    /// Frames that reclaim should still see to, beyond those being written, of which `late`
    /// may take for ever and are not counted on. Nothing until half of the reserve is gone,
    /// then all of it: batches are cheap.
    pub fn reclaim_need(&mut self, late: u32) -> u32 {
        let wanted = self.reserve() + self.frames.used().saturating_sub(self.frames.limit());
        let coming = self.frames.available() + self.writing.saturating_sub(late);
        self.reclaiming = coming < if self.reclaiming { wanted } else { wanted.div_ceil(2) };
        if self.reclaiming { wanted - coming } else { 0 }
    }

    /// Whether faults will find frames for a while without reclaim.
    pub fn reclaim_can_wait(&self) -> bool {
        self.frames.available() > self.reserve() / 2
    }

    /// Parked pages to keep as second chances while others can be evicted.
    pub fn parking_target(&self) -> u32 {
        self.share.target()
    }

    /// Evictions after which it no longer says anything that a page comes back.
    pub(crate) fn memory_of_evictions(&self) -> u32 {
        self.frames.limit() / 4
    }

    /// The next pages to unmap: a run of at most `most` whose frames arrived one
    /// after the other, from the head of the clock.
    pub fn next_parking(&mut self, most: u32) -> Parking {
        let untried = self.frames.count(Queue::Probation);
        let queues = if untried > self.frames.limit() / PROBATION_SHARE {
            [Queue::Probation, Queue::Protected]
        } else {
            [Queue::Protected, Queue::Probation]
        };
        queues.into_iter().find_map(|queue| self.park_from(queue, most)).map_or(
            if self.frames_resident() == 0 { Parking::Nothing } else { Parking::Scanned },
            Parking::Pages,
        )
    }

    fn park_from(&mut self, queue: Queue, most: u32) -> Option<PageRange> {
        for _ in 0..MAX_SCAN.min(self.frames.count(queue)) {
            let frame = self.frames.oldest(queue)?;
            self.counters.pages_scanned += 1;
            let page = self.frames.page(frame);
            let follower = self.frames.after(frame);
            self.frames.move_to(frame, queue);
            let Some(area) = self.areas.find(page).filter(|area| area.evictable()) else { continue };
            if self.changes.touch(page) {
                continue;
            }
            let (mut first, mut last) = (page, page);
            let mut next = follower.filter(|next| *next != frame);
            while let Some(frame) = next
                && last.0 - first.0 + 1 < u64::from(most)
            {
                let page = self.frames.page(frame);
                if !area.range.contains(page) || self.changes.touch(page) {
                    break;
                } else if page == last.plus(1) {
                    last = page;
                } else if page.plus(1) == first {
                    first = page;
                } else {
                    break;
                }
                self.counters.pages_scanned += 1;
                next = self.frames.after(frame);
                self.frames.move_to(frame, queue);
            }
            return Some(PageRange::between(first, last.plus(1)));
        }
        None
    }

    /// The first pages in a row of `range` that are mapped and may be parked, at most `most`.
    pub fn parkable(&self, range: PageRange, most: u32) -> Option<PageRange> {
        let may_leave =
            |page| self.areas.find(page).is_some_and(|area| area.evictable()) && !self.changes.touch(page);
        let mut found: Option<PageRange> = None;
        let mut next = range.start;
        while let Some((page, state)) = self.table.next_touched(PageRange::between(next, range.end())) {
            next = page.plus(1);
            let stays = !matches!(state, State::Resident { .. }) || !may_leave(page);
            match &mut found {
                Some(run) if stays || run.end() != page || run.count == u64::from(most) => break,
                Some(run) => run.count += 1,
                None if stays => {}
                None => found = Some(PageRange::one(page)),
            }
        }
        found
    }

    /// `page` has been unmapped and its bytes are safe.
    pub fn parked(&mut self, page: PageNo) {
        let State::Resident { frame, slot } = self.table.get(page) else {
            unreachable!("only resident pages are parked");
        };
        self.frames.move_to(frame, Queue::Parked);
        self.set(page, State::Parked { frame, slot, ahead: false });
    }

    /// Fills `found` with the parked frames whose turn it is, oldest first, up to
    /// its capacity and at most `most`. They stay parked until [`Self::evict`].
    pub fn next_evictions(&self, most: u32, found: &mut Vec<FrameNo>) {
        let room = (found.capacity() - found.len()).min(most as usize);
        // What was read ahead is about to be used, unless so much of it lies about
        // that its streams must have ended.
        let ahead = self.frames.count(Queue::Ahead);
        let stale = ahead > self.most_ahead() / 4 * 3 || self.frames.count(Queue::Parked) == 0;
        let from_ahead = if stale { room.div_ceil(2) } else { 0 };
        for (queue, most) in [(Queue::Ahead, from_ahead), (Queue::Parked, room)] {
            let mut next = self.frames.oldest(queue);
            for _ in 0..most.min(room - found.len()) {
                let Some(frame) = next else { break };
                found.push(frame);
                next = self.frames.after(frame);
            }
        }
    }

    /// Pages that may be in memory, or on their way there, without having been asked for.
    pub(crate) fn most_ahead(&self) -> u32 {
        self.frames.limit() / 8
    }

    /// Whether the bytes of a parked frame are known to be those of its slot or home, so
    /// that [`Self::evict`] need not be told the content.
    pub fn known_clean(&self, frame: FrameNo) -> bool {
        let page = self.frames.page(frame);
        matches!(self.table.get(page), State::Parked { ahead: true, slot: Some(_), .. })
            || self.home_area(page).is_some_and(|(_, sharing)| sharing == Sharing::ReadOnly)
    }

    /// Takes the frame of a parked page. `content` may be `None` only if [`Self::known_clean`].
    pub fn evict(&mut self, frame: FrameNo, content: Option<Content>) -> Eviction {
        let page = self.frames.page(frame);
        let State::Parked { slot, .. } = self.table.get(page) else {
            unreachable!("only parked pages are evicted");
        };
        self.share.evicted();
        if let Some(area) = self.home_area(page) {
            return self.evict_from_home(page, frame, content, area);
        }
        let digest = match content {
            None => {
                assert!(self.known_clean(frame), "{page:?} is evicted unseen");
                return self.evict_clean(page, frame, slot);
            }
            Some(Content::Zero) => {
                slot.into_iter().for_each(|slot| self.slots.release(slot));
                self.counters.zero_evictions += 1;
                self.counters.pages_reclaimed += 1;
                self.frames.free(frame);
                self.set(page, State::Untouched);
                return Eviction::Freed;
            }
            Some(Content::Digest(digest)) => digest,
            Some(Content::Clean) => return self.evict_clean(page, frame, slot),
            Some(Content::Dirty) => {
                let Some(slot) = slot.or_else(|| self.slots.allocate(0)) else { return Eviction::StoreFull };
                return self.evict_dirty(page, frame, slot);
            }
        };
        if slot.is_some_and(|slot| self.slots.digest(slot) == digest) {
            return self.evict_clean(page, frame, slot);
        }
        slot.into_iter().for_each(|slot| self.slots.release(slot));
        let Some(slot) = self.slots.allocate(digest) else {
            self.frames.move_to(frame, Queue::Parked);
            self.set(page, State::Parked { frame, slot: None, ahead: false });
            return Eviction::StoreFull;
        };
        self.evict_dirty(page, frame, slot)
    }

    pub(crate) fn evict_dirty(&mut self, page: PageNo, frame: FrameNo, slot: SlotNo) -> Eviction {
        self.slots.note_eviction(slot);
        self.frames.move_to(frame, Queue::Transfer);
        self.writing += 1;
        self.set(page, State::Writing { frame, slot, wanted: false });
        Eviction::Write(slot)
    }

    pub(crate) fn evict_clean(&mut self, page: PageNo, frame: FrameNo, slot: Option<SlotNo>) -> Eviction {
        let slot = slot.expect("a clean page has a slot");
        self.slots.note_eviction(slot);
        self.counters.clean_evictions += 1;
        self.counters.pages_reclaimed += 1;
        self.frames.free(frame);
        self.set(page, self.at_rest(page, slot));
        Eviction::Freed
    }
}
