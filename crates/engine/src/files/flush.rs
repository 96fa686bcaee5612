//! Writing what is dirty without evicting it.

use crate::core::Live;
use crate::evict::Writing;
use crate::files::ticket::Ticket;
use crate::ops::{MAX_OP_PAGES, Purpose};
use pager::{FrameNo, PageNo, PageRange, Pager, State};
use rustix::io::Errno;

/// Of the transfers there may be, so many are left for faults.
const LEFT_FOR_FAULTS: usize = 32;

/// Which flush a write is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlushId(u32);

/// Whether there can be anything to flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dirty {
    Perhaps,
    Never,
}

/// A flush under way. What comes before `next` has been clean since it began, or is being
/// written.
#[derive(Debug)]
pub(crate) struct Flush {
    id: FlushId,
    next: PageNo,
    end: PageNo,
    writes: u32,
    error: Option<Errno>,
    /// None in the background.
    ticket: Option<Ticket>,
}

impl Live {
    /// Begins to write what is dirty of shared pages.
    pub(crate) fn begin_flush(&mut self, range: PageRange, ticket: Ticket) {
        if self.unlatch(range) == Dirty::Never {
            return ticket.end(Ok(()));
        }
        self.add_flush(range, Some(ticket));
    }

    /// The same for whoever may need the frames; where write-back has stopped, nothing.
    pub(crate) fn begin_cleaning(&mut self, range: PageRange) {
        let mut stopped = false;
        self.files.sources.each(|source| {
            stopped |= source.latched.is_some() && source.pages.intersection(range).count > 0;
        });
        if !stopped {
            self.add_flush(range, None);
        }
    }

    /// Flushes under way that nobody waits for.
    pub(crate) fn cleanings(&self) -> usize {
        self.files.flushes.iter().filter(|flush| flush.ticket.is_none()).count()
    }

    fn add_flush(&mut self, range: PageRange, ticket: Option<Ticket>) {
        self.files.flushes_begun = self.files.flushes_begun.wrapping_add(1);
        let id = FlushId(self.files.flushes_begun);
        let flush = Flush { id, next: range.start, end: range.end(), writes: 0, error: None, ticket };
        self.files.flushes.push(flush);
    }

    /// Goes on with flushes as far as there is room for transfers; whether anything was done.
    pub(crate) fn go_on_flushing(&mut self, pager: &mut Pager) -> bool {
        let mut acted = false;
        let mut index = 0;
        while index < self.files.flushes.len() {
            let Flush { id, next, end, .. } = self.files.flushes[index];
            let reached = self.flush_from(pager, id, PageRange::between(next, end));
            acted |= reached > next;
            let flush = &mut self.files.flushes[index];
            flush.next = reached;
            if reached == end && flush.writes == 0 {
                let flush = self.files.flushes.swap_remove(index);
                let result = flush.error.map_or(Ok(()), Err);
                flush.ticket.into_iter().for_each(|ticket| ticket.end(result));
                acted = true;
            } else {
                index += 1;
            }
        }
        acted
    }

    /// A write of a flush has ended.
    pub(crate) fn flush_written(&mut self, id: FlushId, error: Option<Errno>) {
        if let Some(flush) = self.files.flushes.iter_mut().find(|flush| flush.id == id) {
            flush.writes -= 1;
            flush.error = flush.error.or(error);
        }
    }

    /// Begins writes from the start of `range` on; the first page for which that is still to do.
    fn flush_from(&mut self, pager: &mut Pager, id: FlushId, range: PageRange) -> PageNo {
        let mut next = range.start;
        while next < range.end() {
            let rest = PageRange::between(next, range.end());
            let Some((page, state)) = pager.next_touched(rest) else { return range.end() };
            next = page;
            let room = self.has_room_to_flush();
            match state {
                // On its way out: it is at home when that has ended, or still here.
                State::Writing { .. } => break,
                State::Resident { .. } | State::Parked { .. } if !room => break,
                State::Resident { .. } => {
                    let run = resident_run(pager, PageRange::between(page, range.end()));
                    if self.park_shared(pager, run) == 0 {
                        self.fail_flush(id, Errno::BUSY);
                        next = run.end();
                    }
                }
                State::Parked { .. } => {
                    let run = parked_run(pager, PageRange::between(page, range.end()));
                    next = self.clean_run(pager, id, run);
                }
                // At home, or only being read.
                State::Untouched | State::Filling { .. } | State::Swapped { .. } | State::Poisoned => {
                    next = page.plus(1);
                }
            }
        }
        let _ = self.store.submit();
        next
    }

    /// Whether transfers are left for faults however long those of a flush take.
    fn has_room_to_flush(&self) -> bool {
        self.store.room() > LEFT_FOR_FAULTS && self.ops.room() > LEFT_FOR_FAULTS
    }

    /// Writes what is dirty of parked pages in a row; the page after the last that was seen to.
    fn clean_run(&mut self, pager: &mut Pager, id: FlushId, run: PageRange) -> PageNo {
        let mut frames = core::mem::take(&mut self.victims);
        frames.clear();
        frames.extend(run.pages().map_while(|page| frame_of(pager.state(page))));
        self.digest_parked(&frames);
        let contents = core::mem::take(&mut self.contents);
        let mut writing: Option<Writing> = None;
        let mut seen_to = 0;
        for (frame, found) in frames.iter().copied().zip(&contents) {
            if !self.has_room_to_flush() {
                break;
            }
            seen_to += 1;
            if let Some(home) = pager.clean(frame, (*found).into()) {
                writing = self.add_write(pager, writing, frame, home, Some(id));
                if writing.is_none() {
                    // No transfer was left: it is parked as before, and comes again.
                    seen_to -= 1;
                    break;
                }
            }
        }
        writing.into_iter().for_each(|writing| self.queue_write(pager, &writing));
        self.victims = frames;
        self.contents = contents;
        run.start.plus(seen_to)
    }

    pub(crate) fn note_flush(&mut self, token: u64, id: Option<FlushId>) {
        debug_assert_eq!(self.ops.get(token).purpose, Purpose::Write);
        self.ops.get_mut(token).flush = id;
        let flush = self.files.flushes.iter_mut().find(|flush| Some(flush.id) == id);
        flush.into_iter().for_each(|flush| flush.writes += 1);
    }

    fn fail_flush(&mut self, id: FlushId, error: Errno) {
        let flush = self.files.flushes.iter_mut().find(|flush| flush.id == id);
        flush.into_iter().for_each(|flush| flush.error = flush.error.or(Some(error)));
    }
}

fn frame_of(state: State) -> Option<FrameNo> {
    match state {
        State::Parked { frame, .. } => Some(frame),
        _ => None,
    }
}

fn resident_run(pager: &Pager, range: PageRange) -> PageRange {
    let resident = |page: &PageNo| matches!(pager.state(*page), State::Resident { .. });
    let count = range.pages().take(MAX_OP_PAGES).take_while(resident).count() as u64;
    PageRange { count, ..range }
}

fn parked_run(pager: &Pager, range: PageRange) -> PageRange {
    let parked = |page: &PageNo| frame_of(pager.state(*page)).is_some();
    let count = range.pages().take(MAX_OP_PAGES).take_while(parked).count() as u64;
    PageRange { count, ..range }
}
