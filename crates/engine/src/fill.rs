#![expect(unsafe_code, reason = "hands pool addresses to the kernel and to the digest")]
//! Pages coming from the store, and the end of every transfer.

use crate::core::{Live, addr_of};
use crate::ops::{MAX_OP_PAGES, Purpose};
use crate::pool::{Place, Pool};
use pager::{
    Content, Fill, FillResult, FrameNo, PageNo, PageRange, Pager, Read, SlotNo, State, WriteResult, Written,
};
use rustix::io::Errno;
use sys::aio;
use sys::aio::Completion;
use trace::Direction;

impl Live {
    /// Queues what the core asked to be read: the wanted page alone and first, pages
    /// ahead of it in transfers as large as their slots allow. The end of a turn
    /// submits what no page ahead has submitted.
    pub(crate) fn start_reads(&mut self, pager: &mut Pager) {
        let refused = self.start_reads_as(pager, Urgency::AsWanted);
        refused.into_iter().for_each(|next| self.refuse_reads(pager, next));
    }

    /// The same for pages that are not waited for, wanted or not. The first that could not be
    /// read; it and those after it are as if never asked for.
    pub(crate) fn start_reads_together(&mut self, pager: &mut Pager) -> Option<PageNo> {
        let next = self.start_reads_as(pager, Urgency::None)?;
        let page = pager.reads()[next].page;
        for index in next..pager.reads().len() {
            let frame = pager.reads()[index].frame;
            pager.fill_refused(frame);
        }
        Some(page)
    }

    /// Where it had to stop.
    fn start_reads_as(&mut self, pager: &mut Pager, urgency: Urgency) -> Option<usize> {
        let mut next = 0;
        while let Some(first) = pager.reads().get(next).copied() {
            let wanted = matches!(pager.state(first.page), State::Filling { wanted: true, .. });
            let demand = wanted && urgency == Urgency::AsWanted;
            let most = if demand { 1 } else { MAX_OP_PAGES.min(self.span(first.slot)) };
            let run = pager.reads()[next..]
                .iter()
                .take(most)
                .zip(first.slot.0..)
                .take_while(|(read, slot)| read.slot.0 == *slot)
                .count();
            let reads = Run { start: next, count: run };
            let started = self.start_read(pager, reads, demand);
            if started == 0 {
                return Some(next);
            }
            next += started;
            if demand && next < pager.reads().len() {
                // Handing over the pages ahead takes a while.
                let _ = self.store.submit();
            }
        }
        None
    }

    /// Starts one transfer of reads whose slots are consecutive; how many it took.
    fn start_read(&mut self, pager: &Pager, run: Run, demand: bool) -> usize {
        if self.store.room() == 0 {
            return 0;
        }
        let Some((token, op)) = self.ops.start(Purpose::Fill { demand }) else {
            return 0;
        };
        self.gather.clear();
        let reads = &pager.reads()[run.start..run.start + run.count];
        'gather: while op.frames.len() < reads.len() {
            let left = &reads[op.frames.len()..];
            let most = left.len() as u32;
            let places = if self.files.is_shared(left[0].page) {
                // In place a page would be made, zeroed and mapped for the read alone, which costs
                // more than the copy. Their slots, and so their pages, are in a row.
                let in_place = |pool: &mut Pool| pool.in_window(self.files.in_window(left[0].page), most);
                Some(self.pool.take_buffers(most).unwrap_or_else(|| in_place(&mut self.pool)))
            } else {
                self.pool.take_for_read(most)
            };
            let Some(places) = places else { break };
            for place in places.places() {
                let read: Read = reads[op.frames.len()];
                if !self.gather.push(self.pool.address(place)) {
                    // No piece left: the rest of these places goes back unused.
                    let used = op.frames.len();
                    let unused = places.places().filter(|p| *p >= place);
                    unused.for_each(|place| self.pool.give_back(place));
                    debug_assert!(used > 0);
                    break 'gather;
                }
                self.pool.set_place(read.frame, place);
                op.frames.push(read.frame);
            }
        }
        let count = op.frames.len();
        if count == 0 {
            self.ops.end(token);
            return 0;
        }
        // SAFETY: the places belong to this transfer until it ends.
        let queued = unsafe { self.queue(aio::Direction::Read, reads[0].slot, token) };
        if queued.is_err() {
            for frame in &self.ops.get(token).frames {
                let place = self.pool.take_place(*frame);
                place.into_iter().for_each(|place| self.pool.give_back(place));
            }
            self.ops.end(token);
            return 0;
        }
        let direction = if demand { Direction::Demand } else { Direction::Ahead };
        self.watch.recorder.started(token, reads[0].page, count, direction);
        if demand && !self.ops.get(token).by_program {
            self.demand.started();
        }
        count
    }

    /// No transfer or no room in the pool is left for these: as if never asked.
    fn refuse_reads(&mut self, pager: &mut Pager, from: usize) {
        let refused: Vec<Read> = pager.reads()[from..].to_vec();
        self.watch.recorder.refused(refused.len(), false);
        for read in refused {
            let wanted = matches!(pager.state(read.page), State::Filling { wanted: true, .. });
            pager.fill_refused(read.frame);
            if wanted {
                self.defer(read.page);
            }
        }
    }

    /// Acts on transfers that have ended, at most so many; how many.
    pub(crate) fn finish_transfers(&mut self, pager: &mut Pager, most: usize) -> usize {
        let mut finished = 0;
        while finished < most
            && let Some(completion) = self.store.complete().or_else(|| self.files.calls.refused())
        {
            finished += 1;
            self.finish_transfer(pager, completion);
        }
        finished
    }

    pub(crate) fn finish_transfer(&mut self, pager: &mut Pager, completion: Completion) {
        let op = self.ops.get(completion.token);
        let (home, flush, by_program) = (op.home, op.flush, op.by_program);
        // What lies past the end of a file is not written.
        let nothing = op.bytes == 0 && op.purpose == Purpose::Write;
        let full = nothing || completion.result.is_ok_and(|bytes| bytes == op.bytes);
        let error = completion.result.err().filter(|_| !nothing);
        let took = op.started.elapsed();
        let waited = took.as_nanos() as u64;
        match op.purpose {
            Purpose::Fill { demand } => {
                if demand && !by_program {
                    self.demand.ended(took);
                    self.steering.read_took(took);
                    self.demand.miss_cost().into_iter().for_each(|cost| pager.set_miss_cost(cost));
                }
                self.tally.read_bytes += op.bytes as u64;
                self.watch.read_took(took);
                self.watch.recorder.ended(completion.token, full);
                match (home, completion.result) {
                    (Some(_), Err(error)) => self.finish_failed_read(pager, completion.token, error),
                    _ => self.finish_fill(pager, completion.token, full, waited),
                }
            }
            Purpose::Write => {
                if full {
                    self.tally.writeback_bytes += op.bytes as u64;
                }
                self.watch.write_took(took);
                self.watch.recorder.ended(completion.token, full);
                self.finish_write(pager, completion.token, error, full);
                flush.into_iter().for_each(|id| self.flush_written(id, error));
            }
        }
        self.end_call(completion.token);
        self.ops.end(completion.token);
        home.into_iter().for_each(|home| self.let_source_go(home));
    }

    fn finish_fill(&mut self, pager: &mut Pager, token: u64, read: bool, waited: u64) {
        let home = self.ops.get(token).home;
        let unseen = home.is_some_and(|home| self.is_read_only(home));
        if home.is_some() {
            self.clear_tail(token);
        }
        if unseen {
            self.contents.clear();
        } else if read {
            self.digest_fill(pager, token);
        }
        let zero = self.files.zero_digest();
        let contents = core::mem::take(&mut self.contents);
        let mut found = contents.iter();
        let mut run: Option<PageRange> = None;
        for index in 0..self.ops.get(token).frames.len() {
            let frame = self.ops.get(token).frames[index];
            // What nobody wants any more has not been digested.
            let result = match self.wanted(pager, frame) {
                Some(_) if home.is_some() && read => {
                    let content = if unseen { None } else { found.next().copied() };
                    FillResult::Home(content.map_or(Content::Clean, Into::into))
                }
                Some((_, slot)) if read => match found.next() {
                    Some(found) if found.digest(zero) == pager.digest(slot) => FillResult::Good,
                    _ => FillResult::Bad,
                },
                None if read => FillResult::Good,
                _ => FillResult::Bad,
            };
            match pager.fill_done(frame, result) {
                Fill::Map(page) => {
                    self.tally.stall_ns += waited;
                    self.watch.arrived(page);
                    match &mut run {
                        Some(run) if run.end() == page => run.count += 1,
                        other => {
                            let before = other.replace(PageRange::one(page));
                            before.into_iter().for_each(|range| self.map_parked(pager, range));
                        }
                    }
                }
                Fill::Keep => {}
                Fill::Freed => self.drop_place(frame),
                Fill::Poison(page) => {
                    self.drop_place(frame);
                    self.watch.recorder.poisoned(page);
                    self.report_poison(page, read);
                    let _ = self.poison(pager, page);
                }
            }
        }
        run.into_iter().for_each(|range| self.map_parked(pager, range));
        self.contents = contents;
    }

    /// Digests what a transfer has read, in the order of its frames, into `contents`.
    fn digest_fill(&mut self, pager: &Pager, token: u64) {
        let mut addrs = core::mem::take(&mut self.addrs);
        let wanted = self.ops.get(token).frames.iter().filter_map(|frame| self.wanted(pager, *frame));
        addrs.clear();
        addrs.extend(wanted.map(|(place, _)| self.pool.address(place)));
        // SAFETY: the transfer has ended, so the places are ours alone.
        unsafe { self.assistant.contents(&self.digester, &addrs, &mut self.contents) };
        self.addrs = addrs;
    }

    /// Where a frame that is being filled has its bytes, and from which slot; none once its
    /// page has been discarded.
    fn wanted(&self, pager: &Pager, frame: FrameNo) -> Option<(Place, SlotNo)> {
        match pager.state(pager.page_of(frame)) {
            State::Filling { slot, .. } => self.pool.place(frame).map(|place| (place, slot)),
            _ => None,
        }
    }

    fn report_poison(&self, page: PageNo, read: bool) {
        let cause = if read {
            "the store returned other bytes than were written"
        } else {
            "the store could not read it"
        };
        let [_, _, store] = self.voice.limits();
        let place = match &self.members {
            None => format!("the page at {:#x}", addr_of(page)),
            Some(members) => format!("the page at byte {} of a shared arena", members.offset(page)),
        };
        self.voice.say(&format!(
            "{place} is lost: {cause}. Touching it is a bus error (SIGBUS). \
             Check the disk under {store}, or use another."
        ));
    }

    fn finish_write(&mut self, pager: &mut Pager, token: u64, error: Option<Errno>, full: bool) {
        let result = if full { WriteResult::Done } else { WriteResult::Failed };
        let home = self.ops.get(token).home;
        if let (Some(home), false) = (home, full) {
            self.note_failed_write(home, token, error.unwrap_or(Errno::IO));
        } else if !full {
            let error = error.unwrap_or(Errno::IO);
            let [ram, _, store] = self.voice.limits();
            self.voice.say(&format!(
                "writing to the store failed ({error}); nothing is evicted from now on and no data is lost, \
                 but the program may use more RAM than {ram}. Give {store} a directory with more room, or repair the disk."
            ));
        }
        for index in 0..self.ops.get(token).frames.len() {
            let frame = self.ops.get(token).frames[index];
            match pager.write_done(frame, result) {
                Written::Freed => self.drop_place(frame),
                Written::Map(page) => self.map_parked(pager, PageRange::one(page)),
                Written::Kept => {}
            }
        }
    }

    /// The frame is free: so is its memory.
    pub(crate) fn drop_place(&mut self, frame: FrameNo) {
        let place = self.pool.take_place(frame);
        place.into_iter().for_each(|place| self.pool.give_back(place));
    }

    /// Lets the store forget what no slot in use needs, a little at a time.
    pub(crate) fn punch_holes(&mut self, pager: &mut Pager) {
        for _ in 0..4 {
            let Some((SlotNo(start), count)) = pager.take_stale_slots() else { break };
            // A file system without holes keeps the bytes; the slots are reused all the same.
            let _ = self.store.punch(u64::from(start), u64::from(count));
            pager.stale_slots_are_forgotten(SlotNo(start));
        }
    }
}

/// Who waits for reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    /// A thread, for each page that is wanted.
    AsWanted,
    /// Nobody.
    None,
}

/// A part of [`Pager::reads`].
#[derive(Clone, Copy)]
struct Run {
    start: usize,
    count: usize,
}
