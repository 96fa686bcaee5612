//! Bringing a page in: the core decides, the heap moves the bytes.

use super::VirtualHeap;
use super::state::{SPACE, State, page};
use crate::error::StoreError;
use pager::space::{Access, FaultError, Next, Place, Transfer};
use pager::{FillResult, SlotNo, WriteResult};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::MutexGuard;

impl VirtualHeap {
    /// Makes `access` to a page possible. The lock is let go meanwhile: whoever calls has to look
    /// again whether the page is still that of its block, and may find it away again.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) fn bring_in<'h>(
        &'h self,
        mut state: MutexGuard<'h, State>,
        index: u32,
        access: Access,
    ) -> Result<MutexGuard<'h, State>, StoreError> {
        let addr = page(index).0 * self.sizes.page_size as u64;
        let Ok(mut fault) = state.spaces.begin_fault(SPACE, addr, access) else {
            // Its block was freed meanwhile.
            return Ok(state);
        };
        loop {
            let next = state.spaces.advance(&mut fault);
            state.install();
            match next {
                Ok(Next::Ready(_)) | Err(FaultError::NoArea) => return Ok(state),
                Ok(Next::Zero(frame)) => state.hand_out(frame, index).clear(),
                Ok(Next::Read(transfer)) => state = self.read_in(state, transfer, index)?,
                Ok(Next::Write(transfer)) => state = self.write_out(state, transfer)?,
                Ok(Next::Wait) => state = self.wait_for_transfers(state),
                Err(FaultError::NoFrame) => state.lend_frame(),
                Ok(Next::Stage(_) | Next::Unstage(_)) => unreachable!("nothing is shared"),
                Err(error) => unreachable!("every page has a slot and all rights: {error}"),
            }
        }
    }

    pub(super) fn wait_for_transfers<'h>(&'h self, state: MutexGuard<'h, State>) -> MutexGuard<'h, State> {
        self.arrived.wait(state).expect("no thread has panicked inside the heap")
    }

    fn offset(&self, slot: SlotNo) -> u64 {
        u64::from(slot.0) * self.sizes.page_size as u64
    }

    fn read_in<'h>(
        &'h self,
        state: MutexGuard<'h, State>,
        Transfer { frame, place }: Transfer,
        index: u32,
    ) -> Result<MutexGuard<'h, State>, StoreError> {
        let slot = slot(place);
        let kept = state.digests[slot.0 as usize].expect("a page that is away was written");
        drop(state);
        let offset = self.offset(slot);
        let mut bytes = vec![0; self.sizes.page_size];
        let result = match guarded(|| self.store.read(offset, &mut bytes)) {
            Err(error) => Err(StoreError::Read { offset, error }),
            Ok(()) if self.digester.of(&bytes) != kept => Err(StoreError::Wrong { offset }),
            Ok(()) => Ok(()),
        };
        let mut state = self.lock();
        if result.is_ok() {
            state.hand_out(frame, index).write(0, &bytes);
        }
        state.spaces.read_done(frame, if result.is_ok() { FillResult::Good } else { FillResult::Bad });
        state.install();
        self.arrived.notify_all();
        result.map(|()| state)
    }

    /// A page that holds what its slot holds is not written: whoever had its address may not
    /// have changed it.
    fn write_out<'h>(
        &'h self,
        mut state: MutexGuard<'h, State>,
        Transfer { frame, place }: Transfer,
    ) -> Result<MutexGuard<'h, State>, StoreError> {
        let slot = slot(place);
        let mut bytes = vec![0; self.sizes.page_size];
        state.leaving(frame).read(0, &mut bytes);
        let number = slot.0 as usize;
        if number >= state.digests.len() {
            state.digests.resize(number + 1, None);
        }
        let kept = state.digests[number];
        drop(state);
        let offset = self.offset(slot);
        let digest = self.digester.of(&bytes);
        let saved = kept == Some(digest);
        let result = if saved { Ok(()) } else { guarded(|| self.store.write(offset, &bytes)) };
        let mut state = self.lock();
        // What a write that failed has left there is not known.
        state.digests[number] = result.is_ok().then_some(digest);
        state.writes_saved += u64::from(saved);
        state.spaces.write_done(frame, if result.is_ok() { WriteResult::Done } else { WriteResult::Failed });
        state.install();
        self.arrived.notify_all();
        result.map(|()| state).map_err(|error| StoreError::Write { offset, error })
    }
}

fn slot(place: Place) -> SlotNo {
    match place {
        Place::Slot(slot) => slot,
        Place::Block { .. } => unreachable!("no files are mapped"),
    }
}

/// A store that panics has failed: its page must not stay on its way for ever.
fn guarded(transfer: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    catch_unwind(AssertUnwindSafe(transfer)).unwrap_or_else(|_| Err(io::Error::other("the store panicked")))
}
