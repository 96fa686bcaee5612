//! The end of a transfer.

use crate::counters::Counters;
use crate::entry::State;
use crate::frames::Queue;
use crate::lineage::MemberNo;
use crate::page::{FrameNo, PageNo, PageRange, SlotNo};
use crate::pager::Pager;
use crate::reclaim::Content;

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillResult {
    /// The bytes have the slot's digest.
    Good,
    /// The bytes are those at home, and this is what they are.
    Home(Content),
    /// They could not be read, or are not what was written.
    Bad,
}

/// What a read's end asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Map the page; it is resident now. Where that fails, say [`Pager::unmapped`].
    Map(PageNo),
    /// Keep the bytes: the page was read ahead and is parked.
    Keep,
    /// The page was discarded meanwhile; the frame is free.
    Freed,
    /// The page is lost; the frame is free. Make a touch on it a bus error.
    Poison(PageNo),
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// The store has the bytes.
    Done,
    /// It has not.
    Failed,
}

/// What a write's end asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The frame is free.
    Freed,
    /// Somebody waits: map the page; it is resident now. Where that fails, say
    /// [`Pager::unmapped`].
    Map(PageNo),
    /// The page is parked as before: the write failed, or was made to clean it.
    Kept,
}

impl Pager {
    /// The read into `frame` has ended.
    pub fn fill_done(&mut self, frame: FrameNo, result: FillResult) -> Fill {
        let page = self.frames.page(frame);
        let read = match result {
            FillResult::Home(_) => &mut self.counters.file_reads,
            FillResult::Good | FillResult::Bad => &mut self.counters.swap_ins,
        };
        *read += 1;
        if self.frames.queue(frame) == Queue::Orphan {
            self.free_orphan(frame);
            return Fill::Freed;
        }
        let State::Filling { slot, wanted, .. } = self.table.get(page) else {
            unreachable!("a fill ends on a page that is filling");
        };
        if result == FillResult::Bad {
            self.counters.poisoned_pages += 1;
            self.slots.release(slot);
            self.frames.free(frame);
            self.set(page, State::Poisoned);
            return Fill::Poison(page);
        }
        if let FillResult::Home(content) = result {
            debug_assert!(self.is_at_home(page, slot));
            self.note_home(frame, content);
        }
        if wanted {
            self.frames.mapped(frame, self.frames.is_proven(frame));
            self.set(page, State::Resident { frame, slot: Some(slot) });
            Fill::Map(page)
        } else {
            self.frames.move_to(frame, Queue::Ahead);
            self.set(page, State::Parked { frame, slot: Some(slot), ahead: true });
            Fill::Keep
        }
    }

    /// The read into `frame` could not be started; all is as before the fault.
    pub fn fill_refused(&mut self, frame: FrameNo) {
        let page = self.frames.page(frame);
        let State::Filling { slot, .. } = self.table.get(page) else {
            unreachable!("only a fill can be refused");
        };
        self.frames.free(frame);
        self.set(page, self.at_rest(page, slot));
    }

    /// The write of `frame` could not be made; the page is parked as before, and keeps the slot.
    pub fn write_refused(&mut self, frame: FrameNo) {
        let page = self.frames.page(frame);
        let State::Writing { slot, .. } = self.table.get(page) else {
            unreachable!("only a write can be refused");
        };
        self.writing -= u32::from(self.frames.queue(frame) != Queue::Cleaning);
        if self.is_at_home(page, slot) {
            self.homes.forget(frame);
        }
        self.frames.move_to(frame, Queue::Parked);
        self.set(page, State::Parked { frame, slot: Some(slot), ahead: false });
    }

    /// The write of `frame` has ended.
    pub fn write_done(&mut self, frame: FrameNo, result: WriteResult) -> Written {
        let page = self.frames.page(frame);
        let cleaning = self.frames.queue(frame) == Queue::Cleaning;
        self.writing -= u32::from(!cleaning);
        if result == WriteResult::Done {
            self.counters.pages_reclaimed += u64::from(!cleaning);
            let home = self.homes.any() && self.slots.is_home(self.slot_written(frame));
            *(if home { &mut self.counters.file_writes } else { &mut self.counters.swap_outs }) += 1;
        }
        if self.frames.queue(frame) == Queue::Orphan {
            self.free_orphan(frame);
            return Written::Freed;
        }
        let State::Writing { slot, wanted, .. } = self.table.get(page) else {
            unreachable!("a write ends on a page that is writing");
        };
        let home = self.is_at_home(page, slot);
        let slot = match result {
            WriteResult::Done => Some(slot),
            // It is dirty for certain: what is at home may be half of each.
            WriteResult::Failed if home => {
                self.homes.forget(frame);
                Some(slot)
            }
            WriteResult::Failed => {
                self.slots.release(slot);
                None
            }
        };
        match (wanted, slot) {
            (true, slot) => {
                self.frames.move_to(frame, Queue::Protected);
                self.set(page, State::Resident { frame, slot });
                Written::Map(page)
            }
            (false, Some(slot)) if result == WriteResult::Done && !cleaning => {
                self.frames.free(frame);
                self.set(page, self.at_rest(page, slot));
                Written::Freed
            }
            (false, slot) => {
                self.frames.move_to(frame, Queue::Parked);
                self.set(page, State::Parked { frame, slot, ahead: false });
                Written::Kept
            }
        }
    }

    /// Where the bytes of `frame`, which a write owns, go.
    fn slot_written(&self, frame: FrameNo) -> SlotNo {
        match self.table.get(self.frames.page(frame)) {
            State::Writing { slot, frame: owner, .. } if owner == frame => slot,
            _ => self.frames.orphan_slot(frame),
        }
    }

    /// Goes on in a forked child as `heir`, to whom the parent has bequeathed its slots. The
    /// transfers that were under way are the parent's: what was being read is in the store,
    /// what was being written is parked and has no slot. `dropped` is told each frame that
    /// no longer holds anything. Allocates.
    ///
    /// The result are the ranges whose mapping was being changed by others at the fork, who
    /// do not exist here: nobody can say what is mapped there, and it should be discarded.
    pub fn succeed(&mut self, heir: MemberNo, mut dropped: impl FnMut(FrameNo)) -> Vec<PageRange> {
        self.slots.succeed(heir);
        let under_way: Vec<(FrameNo, Queue, PageNo)> = self
            .frames
            .all()
            .filter(|(_, queue, _)| matches!(queue, Queue::Transfer | Queue::Orphan))
            // Most often there are none, and the table of frames is long.
            .take(self.frames.count(Queue::Transfer) as usize)
            .collect();
        for (frame, queue, page) in under_way {
            match (queue, self.table.get(page)) {
                (Queue::Transfer, State::Writing { slot, .. }) => {
                    self.slots.release(slot);
                    self.frames.move_to(frame, Queue::Parked);
                    self.set(page, State::Parked { frame, slot: None, ahead: false });
                }
                (Queue::Transfer, _) => {
                    self.fill_refused(frame);
                    dropped(frame);
                }
                _ => {
                    self.free_orphan(frame);
                    dropped(frame);
                }
            }
        }
        self.writing = 0;
        self.counters = Counters::default();
        self.reads.clear();
        self.changes.take_all()
    }

    fn free_orphan(&mut self, frame: FrameNo) {
        self.slots.release(self.frames.orphan_slot(frame));
        self.frames.free(frame);
    }
}
