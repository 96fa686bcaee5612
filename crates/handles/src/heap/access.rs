//! Reading and writing without addresses. Never waits for pins.

use super::VirtualHeap;
use super::state::State;
use crate::error::AccessError;
use crate::handle::Handle;
use pager::space::{Access, ZERO_FRAME};
use std::ops::Range;
use std::sync::MutexGuard;

impl VirtualHeap {
    /// Bytes of a block, as they were asked for.
    ///
    /// # Errors
    /// [`AccessError::Handle`].
    pub fn size(&self, handle: Handle) -> Result<usize, AccessError> {
        Ok(self.lock().blocks.find(handle)?.size)
    }

    /// Copies the bytes of a block from `offset` on into `into`. Whatever is pinned: it needs no
    /// frame of its own. A page is read as a whole, but not a block, if others write it.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn read(&self, handle: Handle, offset: usize, into: &mut [u8]) -> Result<(), AccessError> {
        let len = into.len();
        self.each_page(handle, offset, len, Access::Read, |state, place, at, part| {
            let into = &mut into[part];
            let first = handle.index();
            let index = state.blocks.at(first).pages[place];
            if state.entry(index).frame == ZERO_FRAME {
                into.fill(0);
            } else {
                let (bytes, start) = state.bytes_of(first, place);
                bytes.read(start + at, into);
            }
        })
    }

    /// Copies `from` to the bytes of a block from `offset` on. Whatever is pinned: it needs no
    /// frame of its own.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn write(&self, handle: Handle, offset: usize, from: &[u8]) -> Result<(), AccessError> {
        self.each_page(handle, offset, from.len(), Access::Write, |state, place, at, part| {
            let (bytes, start) = state.bytes_of(handle.index(), place);
            bytes.write(start + at, &from[part]);
        })
    }

    /// Calls `copy` for each page of a range of bytes, with the state, which page of its block it
    /// is, where in it the bytes begin, and which part of the range they are.
    fn each_page(
        &self,
        handle: Handle,
        offset: usize,
        len: usize,
        access: Access,
        mut copy: impl FnMut(&mut State, usize, usize, Range<usize>),
    ) -> Result<(), AccessError> {
        let page_size = self.sizes.page_size;
        let mut state: MutexGuard<'_, State> = self.lock();
        let size = state.blocks.find(handle)?.size;
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(AccessError::OutOfBounds { offset, len, size });
        }
        let mut done = 0;
        let mut brought = false;
        while done < len {
            let (place, at) = ((offset + done) / page_size, (offset + done) % page_size);
            // The lock was let go if the page had to be brought in.
            let index = state.blocks.find(handle)?.pages[place];
            if !state.is_at_hand(index, access) {
                state = self.bring_in(state, index, access)?;
                brought = true;
                continue;
            }
            let part = done..len.min(done + page_size - at);
            done = part.end;
            copy(&mut state, place, at, part);
            if !brought {
                state.reference(index);
            }
            brought = false;
        }
        Ok(())
    }
}

impl State {
    /// Tells the policy of an access that needed nothing. That a page is used for which it was
    /// brought in says nothing more.
    #[inline]
    pub(super) fn reference(&mut self, index: u32) {
        let frame = self.entry(index).frame;
        if frame != ZERO_FRAME {
            self.spaces.referenced(frame);
        }
    }
}
