//! Calls of the program's own code, as the pager thread sees them.

use crate::core::Live;
use crate::files::desk::{Desk, Haste, Posted};
use crate::ops::{MAX_OPS, Op, Purpose};
use pager::{Pager, SlotNo};
use rustix::io::Errno;
use sys::aio::{Completion, Direction, Piece, QueueFull};

/// Transfers that may be calls at once: the others are left for the store and for files.
const MOST: u32 = (MAX_OPS / 2) as u32;

/// All that have not come back.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    under_way: u32,
    /// Pages that are being taken back.
    leaving: u32,
    /// Transfers whose desk makes no calls any more, which are to be ended.
    refused: Vec<u64>,
}

impl Calls {
    /// Leaves the call of a transfer at a desk.
    pub(crate) fn post(
        &mut self,
        desk: &Desk,
        op: &mut Op,
        offset: u64,
        pieces: &[Piece],
        token: u64,
    ) -> Result<(), QueueFull> {
        let (direction, haste) = match op.purpose {
            Purpose::Fill { demand: true } => (Direction::Read, Haste::Wanted),
            Purpose::Fill { demand: false } => (Direction::Read, Haste::None),
            // Who flushes has left room for others.
            Purpose::Write if op.flush.is_some() => (Direction::Write, Haste::Flush),
            Purpose::Write => (Direction::Write, Haste::None),
        };
        if self.under_way >= MOST && haste != Haste::Flush {
            return Err(QueueFull);
        }
        if desk.post(token, direction, offset, pieces, haste)? == Posted::Cancelled {
            self.refused.push(token);
        }
        op.by_program = true;
        self.under_way += 1;
        if op.purpose == Purpose::Write {
            self.leaving += op.frames.len() as u32;
        }
        Ok(())
    }

    /// A transfer that is to be ended, because its call will not be made.
    pub(crate) fn refused(&mut self) -> Option<Completion> {
        self.refused.pop().map(|token| Completion { token, result: Err(Errno::CANCELED) })
    }

    /// Transfers that wait for the program's code.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way as usize
    }

    /// Pages that are being taken back, which may take for ever.
    pub(crate) fn leaving(&self) -> u32 {
        self.leaving
    }
}

impl Live {
    /// Calls have come back.
    pub(crate) fn supplied(&mut self, pager: &mut Pager, desk: &Desk) {
        while let Some((token, result)) = desk.next_done() {
            let bytes = self.ops.get(token).bytes;
            self.finish_transfer(pager, Completion { token, result: result.map(|()| bytes) });
        }
    }

    /// Accounts for the end of a transfer, if the program's code was to make it.
    pub(crate) fn end_call(&mut self, token: u64) {
        let op = self.ops.get(token);
        if !op.by_program {
            return;
        }
        let calls = &mut self.files.calls;
        calls.under_way -= 1;
        if op.purpose == Purpose::Write {
            calls.leaving -= op.frames.len() as u32;
        }
        let source = op.home.and_then(|home| self.files.sources.find(home));
        let desk = source.and_then(|source| source.origin.program());
        desk.into_iter().for_each(|desk| desk.ended(token));
    }

    /// No calls are made any more for what is at home there; those under way have failed.
    pub(crate) fn cancel_calls(&mut self, pager: &mut Pager, home: SlotNo) {
        let source = self.files.sources.find(home);
        let Some(desk) = source.and_then(|source| source.origin.program()) else { return };
        for token in desk.cancel() {
            self.finish_transfer(pager, Completion { token, result: Err(Errno::CANCELED) });
        }
    }

    /// Whether a page may not leave for its home, because too much is on its way to where it
    /// may take for ever: an eighth of the frames.
    pub(crate) fn leaves_late(&self, pager: &Pager, slot: SlotNo) -> bool {
        let full = self.files.calls.leaving >= pager.frame_limit() / 8;
        let source = self.files.sources.find(slot).filter(|_| full && self.files.is_home(slot));
        source.is_some_and(|source| source.origin.program().is_some())
    }
}
