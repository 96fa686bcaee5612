#![expect(unsafe_code, reason = "moves pages from arena to pool and digests them there")]
//! Pages leaving: parked in the pool, then written and dropped.

use crate::PAGE;
use crate::core::{Live, Mechanism, addr_of};
use crate::files::FlushId;
use crate::ops::{MAX_OP_PAGES, Purpose};
use crate::pool::PlaceRun;
use pager::{Content, Eviction, FrameNo, PageNo, PageRange, Pager, Parking, SlotNo, State};
use rustix::io::Errno;
use sys::aio;
use sys::maps;
use sys::uffd::{Protect, Stop, Waking, Witness};
use trace::{Direction, Kept};

/// Pages parked in one call.
const PARK_RUN: u32 = 256;
/// Calls of one round: scattered pages are parked one by one.
const PARK_CALLS: u32 = 16;
/// Pages evicted together, so that they make one write.
const EVICT_BATCH: u32 = 64;
/// Rounds of one call to [`Live::reclaim`], so that faults do not wait for long.
const ROUNDS: u32 = 4;
/// Rounds without progress after which frames beyond the budget are granted.
const STUCK: u32 = 64;
/// The same while the program's own code is to take pages back: at least two seconds.
const STUCK_BY_PROGRAM: u32 = 2048;

/// What became of pages that were to be evicted.
#[derive(Clone, Copy, Debug, Default)]
struct Swept {
    /// They left, or are on their way.
    evicted: u32,
    /// What they go home to takes nothing now: they are parked as before.
    refused: u32,
}

/// A write being put together.
pub(crate) struct Writing {
    token: u64,
    next: SlotNo,
    first: SlotNo,
}

impl Live {
    /// Sees to it that frames will be free before they are asked for. Returns
    /// whether it did anything.
    pub(crate) fn reclaim(&mut self, pager: &mut Pager) -> bool {
        let mut acted = false;
        for _ in 0..ROUNDS {
            let late = self.files.calls.leaving();
            let need = pager.reclaim_need(late);
            if need == 0 || self.store.latched().is_some() {
                break;
            }
            // Beside those that cannot leave others are parked, which can.
            let stock = pager.parking_target() + need.min(EVICT_BATCH) + late + self.files.stuck.pages();
            let parked = self.park(pager, stock);
            let ripe = pager.frames_parked() >= stock || parked == 0;
            let Swept { evicted, refused } =
                if ripe { self.evict(pager, need.min(MAX_OP_PAGES as u32)) } else { Swept::default() };
            acted |= parked + evicted > 0;
            if !ripe || parked + evicted + refused == 0 {
                break;
            }
        }
        self.pool.drop_stale();
        self.overdraw(pager, acted);
        acted
    }

    /// Grants frames beyond the budget when faults wait and nothing can be evicted.
    fn overdraw(&mut self, pager: &mut Pager, acted: bool) {
        let waiting = !self.deferred.is_empty() && pager.frames_used() >= pager.frame_limit();
        // The program's own code may be slow, and may never come back.
        let calls = self.files.calls.under_way();
        let helpless = waiting && !acted && self.ops.under_way() == calls;
        let stuck = if calls > 0 { STUCK_BY_PROGRAM } else { STUCK };
        self.tally.stuck_rounds = if helpless { self.tally.stuck_rounds + 1 } else { 0 };
        let latched = self.store.latched().is_some();
        if (helpless && self.tally.stuck_rounds > stuck) || (latched && waiting) {
            if self.limits.overdraft == 0 && !latched {
                let [ram, store_size, _] = self.voice.limits();
                self.voice.say(&format!(
                    "nothing more can be evicted (the store is full, or what remains is pinned or not writable): \
                     no data is lost, but the program may use more RAM than {ram}. \
                     Raise {store_size} or {ram}."
                ));
            }
            let more = (pager.frame_limit() / 16).max(256);
            self.limits.overdraft = self.limits.overdraft.saturating_add(more);
            pager.set_frame_limit(pager.frame_limit().saturating_add(more));
            self.watch.recorder.frames(pager.frame_limit());
        }
    }

    /// Unmaps the oldest runs until so many pages are parked; how many were.
    fn park(&mut self, pager: &mut Pager, stock: u32) -> u32 {
        let (mut parked, mut calls, mut gathered) = (0, 0, 0);
        while pager.frames_parked() + gathered < stock && calls < PARK_CALLS {
            let Parking::Pages(range) = pager.next_parking(PARK_RUN) else {
                self.watch.recorder.nothing_to_park();
                break;
            };
            if self.files.is_shared(range.start) {
                self.files.parking.push(range);
                gathered += range.count as u32;
                if self.files.parking.len() == self.files.parking.capacity() {
                    break;
                }
                continue;
            }
            parked += self.park_gathered(pager);
            gathered = 0;
            let (tried, more) = self.unmap_run(pager, range);
            self.watch.recorder.park(tried);
            parked += more;
            calls += 1;
            if more == 0 {
                break;
            }
        }
        parked + self.park_gathered(pager)
    }

    /// Unmaps what has been gathered of shared pages; how many were parked.
    fn park_gathered(&mut self, pager: &mut Pager) -> u32 {
        let mut ranges = core::mem::take(&mut self.files.parking);
        let parked = self.park_shared_together(pager, &ranges);
        ranges.iter().for_each(|range| self.watch.recorder.park(range.count as u32));
        ranges.clear();
        self.files.parking = ranges;
        parked
    }

    /// Unmaps the first pages of a resident run, out of turn; how many were parked.
    pub(crate) fn park_run(&mut self, pager: &mut Pager, range: PageRange) -> u32 {
        let (tried, parked) = self.unmap_run(pager, range);
        self.watch.parked_out_of_turn(pager, PageRange { count: tried.into(), ..range });
        parked
    }

    /// Unmaps the first pages of a resident run; how many were tried, and parked.
    fn unmap_run(&mut self, pager: &mut Pager, range: PageRange) -> (u32, u32) {
        if self.files.is_shared(range.start) {
            return (range.count as u32, self.park_shared(pager, range));
        }
        let Some(run) = self.pool.take(range.count as u32) else { return (0, 0) };
        let range = PageRange { count: u64::from(run.count), ..range };
        let parked = match self.mechanism {
            _ if self.members.is_some() => self.park_by_members(pager, range, run),
            _ if self.is_leased(pager, range.start) && !self.is_own(pager, range.start) => {
                self.park_leased(pager, range, run)
            }
            Mechanism::Move => self.park_by_move(pager, range, run),
            Mechanism::Copy => self.park_by_copy(pager, range, run),
        };
        (run.count, parked)
    }

    fn park_by_move(&mut self, pager: &mut Pager, range: PageRange, run: PlaceRun) -> u32 {
        let (mut done, mut parked) = (0, 0);
        // Pages up to here have been made this process's own.
        let mut own = range.start;
        while done < run.count {
            let page = range.start.plus(u64::from(done));
            let dst = self.pool.address(run.start) + done as usize * PAGE;
            let len = (run.count - done) as usize * PAGE;
            // SAFETY: the pool run is empty and ours. The program may touch the
            // source at any time: a page is mapped or moved, never in between.
            let transfer = unsafe {
                self.pool_side.move_pages(dst, addr_of(page), len, Waking::Now, Witness::Destination)
            };
            let moved = (transfer.done / PAGE) as u32;
            for (offset, place) in run.places().enumerate().skip(done as usize).take(moved as usize) {
                let page = range.start.plus(offset as u64);
                let State::Resident { frame, .. } = pager.state(page) else { continue };
                pager.parked(page);
                self.pool.set_place(frame, place);
            }
            parked += moved;
            done += moved;
            let Some(stop) = transfer.stop.filter(|_| done < run.count) else { continue };
            let page = range.start.plus(u64::from(done));
            if stop == Stop::Busy && page >= own && !self.is_leased(pager, page) {
                // Shared since a fork, most likely, and its neighbours with it: writing to them
                // in place ends that. All of them are mapped: a hole would be our own
                // fault to serve.
                own = if self.has_relatives { range.end() } else { page.plus(1) };
                self.tally.busy_moves += 1;
                let _ = maps::populate_write(addr_of(page), (own.0 - page.0) as usize * PAGE);
                continue;
            }
            let absent = stop == Stop::Absent;
            self.watch.recorder.stayed(page, if absent { Kept::Absent } else { Kept::Pinned });
            if absent {
                pager.vanished(page);
            }
            // Pinned by a device, read-only, or going away: it stays where it is.
            let place = run.places().nth(done as usize);
            place.into_iter().for_each(|place| self.pool.give_back_empty(place));
            done += 1;
        }
        parked
    }

    fn park_by_copy(&mut self, pager: &mut Pager, range: PageRange, run: PlaceRun) -> u32 {
        let mut parked = 0;
        for (place, page) in run.places().zip(range.pages()) {
            if self.copy_out(page, self.pool.address(place)) {
                let State::Resident { frame, .. } = pager.state(page) else { continue };
                pager.parked(page);
                self.pool.set_place(frame, place);
                parked += 1;
            } else {
                self.watch.recorder.stayed(page, Kept::Pinned);
                self.pool.give_back(place);
            }
        }
        parked
    }

    /// Copies a page out and unmaps it; without effect when that is not possible.
    fn copy_out(&mut self, page: PageNo, dst: usize) -> bool {
        let addr = addr_of(page);
        // SAFETY: the page is write-protected before it is read, so a write comes
        // before the copy or waits for a page that will be parked; the source is
        // mapped readable because its area is read-write and the core holds it
        // resident; the destination is ours alone.
        unsafe {
            if self.arena.write_protect(addr, PAGE, Protect::On).is_err() {
                return false;
            }
            core::ptr::copy_nonoverlapping(addr as *const u8, dst as *mut u8, PAGE);
        }
        if maps::dont_need(addr, PAGE).is_err() {
            // SAFETY: undoes the protection above.
            let _ = unsafe { self.arena.write_protect(addr, PAGE, Protect::Off) };
            return false;
        }
        true
    }

    /// Evicts up to `most` parked pages.
    fn evict(&mut self, pager: &mut Pager, most: u32) -> Swept {
        if self.store.room() == 0 {
            return Swept::default();
        }
        let mut victims = core::mem::take(&mut self.victims);
        victims.clear();
        pager.next_evictions(most, &mut victims);
        self.watch.recorder.sweep(most);
        let unused = self.drop_unused(pager, &mut victims);
        self.digest_victims(pager, &victims);
        let contents = core::mem::take(&mut self.contents);
        let mut found = contents.iter();
        let (mut evicted, mut refused) = (unused, 0);
        let mut writing: Option<Writing> = None;
        for frame in victims.iter().copied() {
            if writing.is_none() && self.store.room() == 0 {
                break;
            }
            let content = if pager.known_clean(frame) { None } else { found.next() };
            let page = pager.page_of(frame);
            let eviction = pager.evict(frame, content.copied().map(Into::into));
            self.watch.evicted(page, eviction, content.copied());
            match eviction {
                Eviction::Freed => self.drop_place(frame),
                Eviction::Write(slot) if self.latched(slot).is_some() || self.leaves_late(pager, slot) => {
                    // What waits for the program may leave soon; a file takes nothing until it is told to.
                    refused += u32::from(self.latched(slot).is_none());
                    pager.write_refused(frame);
                    continue;
                }
                Eviction::Write(slot) => writing = self.add_write(pager, writing, frame, slot, None),
                Eviction::StoreFull => break,
            }
            evicted += 1;
        }
        writing.into_iter().for_each(|writing| self.queue_write(pager, &writing));
        self.watch.recorder.end_sweep();
        let _ = self.store.submit();
        self.victims = victims;
        self.contents = contents;
        self.files.stuck.looked(evicted + refused, refused, pager.frames_parked());
        Swept { evicted, refused }
    }

    /// Drops those that hold nothing the program will read, and takes them out of the list;
    /// how many.
    fn drop_unused(&mut self, pager: &mut Pager, victims: &mut Vec<FrameNo>) -> u32 {
        let before = victims.len();
        victims.retain(|frame| {
            let page = pager.page_of(*frame);
            let unused = self.is_unused(addr_of(page));
            self.watch.recorder.asked(page, unused);
            if unused {
                // Zeros are as good as what is there. They take neither slot nor write.
                match pager.evict(*frame, Some(Content::Zero)) {
                    Eviction::Freed => self.drop_place(*frame),
                    Eviction::Write(_) | Eviction::StoreFull => {
                        crate::engine::die("a page of zeros was to be written")
                    }
                }
            }
            !unused
        });
        self.watch.recorder.end_asking();
        (before - victims.len()) as u32
    }

    /// Digests the victims that may have changed, in their order, into `contents`.
    fn digest_victims(&mut self, pager: &Pager, victims: &[FrameNo]) {
        let unknown = victims.iter().filter(|frame| !pager.known_clean(**frame));
        self.digest_places(unknown);
    }

    /// Digests parked pages, in their order, into `contents`.
    pub(crate) fn digest_parked(&mut self, frames: &[FrameNo]) {
        self.digest_places(frames.iter());
    }

    fn digest_places<'a>(&mut self, frames: impl Iterator<Item = &'a FrameNo>) {
        self.addrs.clear();
        for frame in frames {
            let Some(place) = self.pool.place(*frame) else {
                crate::engine::die("a parked page has no place in the pool");
            };
            self.addrs.push(self.pool.address(place));
        }
        // SAFETY: a parked page's place is ours alone.
        unsafe { self.assistant.contents(&self.digester, &self.addrs, &mut self.contents) };
    }

    /// Adds a page to the write under construction, or begins the next.
    pub(crate) fn add_write(
        &mut self,
        pager: &mut Pager,
        writing: Option<Writing>,
        frame: FrameNo,
        slot: SlotNo,
        flush: Option<FlushId>,
    ) -> Option<Writing> {
        let addr = self.pool.place(frame).map(|place| self.pool.address(place))?;
        if let Some(mut writing) = writing {
            let op_has_room = self.ops.get(writing.token).frames.len() < MAX_OP_PAGES;
            let joins = writing.next == slot && self.joins(writing.first, slot);
            if joins && op_has_room && self.gather.push(addr) {
                self.ops.get_mut(writing.token).frames.push(frame);
                writing.next = SlotNo(slot.0 + 1);
                return Some(writing);
            }
            self.queue_write(pager, &writing);
        }
        let started = (self.store.room() > 0).then(|| self.ops.start(Purpose::Write)).flatten();
        let Some((token, op)) = started else {
            self.refuse_write(pager, frame);
            return None;
        };
        op.frames.push(frame);
        self.gather.clear();
        self.gather.push(addr);
        self.note_flush(token, flush);
        Some(Writing { token, first: slot, next: SlotNo(slot.0 + 1) })
    }

    pub(crate) fn queue_write(&mut self, pager: &mut Pager, writing: &Writing) {
        // SAFETY: the places belong to the write until it ends: their pages are
        // not mapped, and a touch waits for the end.
        let queued = unsafe { self.queue(aio::Direction::Write, writing.first, writing.token) };
        if queued.is_err() {
            let flush = self.ops.get(writing.token).flush;
            flush.into_iter().for_each(|id| self.flush_written(id, Some(Errno::AGAIN)));
            let frames = core::mem::take(&mut self.ops.get_mut(writing.token).frames);
            frames.iter().for_each(|frame| self.refuse_write(pager, *frame));
            self.ops.get_mut(writing.token).frames = frames;
            self.ops.end(writing.token);
        } else {
            let op = self.ops.get(writing.token);
            let first = pager.page_of(op.frames[0]);
            self.watch.recorder.started(writing.token, first, op.frames.len(), Direction::Write);
        }
    }

    /// There is no room for the write: the page is parked as before.
    fn refuse_write(&mut self, pager: &mut Pager, frame: FrameNo) {
        self.watch.recorder.refused(1, true);
        match pager.write_done(frame, pager::WriteResult::Failed) {
            pager::Written::Kept => {}
            pager::Written::Freed => self.drop_place(frame),
            pager::Written::Map(page) => self.map_parked(pager, PageRange::one(page)),
        }
    }
}
