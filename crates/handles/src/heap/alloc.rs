//! Blocks that come and go.

use super::VirtualHeap;
use super::state::{SPACE, page};
use crate::blocks::{Block, Hold};
use crate::error::{AllocError, ReleaseError};
use crate::handle::Handle;
use pager::PageRange;
use pager::space::{MapRequest, Memory, Origin, Prot, Share};

impl VirtualHeap {
    /// A block of `size` bytes, all zero. It takes whole pages, the lowest that are free, whether
    /// or not they follow one another. Takes no frame and does no I/O.
    ///
    /// # Errors
    /// [`AllocError::Full`] while too few pages are free; the others are mistakes.
    pub fn alloc(&self, size: usize) -> Result<Handle, AllocError> {
        let page_size = self.sizes.page_size;
        if size == 0 {
            return Err(AllocError::Empty);
        }
        let wanted = size.div_ceil(page_size);
        let mut state = self.lock();
        if wanted > state.blocks.most() {
            return Err(AllocError::TooLarge { size, most: state.blocks.most() * page_size });
        }
        let free = state.blocks.free();
        if wanted > free {
            return Err(AllocError::Full { wanted, free });
        }
        let handle = state.blocks.add(size, wanted);
        for range in runs(state.blocks.at(handle.index())) {
            let request = MapRequest {
                at: Some(range.start),
                count: range.count,
                prot: Prot::READ_WRITE,
                share: Share::Private,
                memory: Memory::Anonymous,
                replace: false,
                origin: Origin::Arena,
            };
            let mapped = state.spaces.map(SPACE, request);
            debug_assert_eq!(mapped, Ok(range.start), "a free page has room, and a slot");
        }
        state.install();
        Ok(handle)
    }

    /// Frees a block, whether or not its pages are in memory; they are not read for it. The
    /// handle, and every copy of it, is stale from now on.
    ///
    /// # Errors
    /// [`ReleaseError::Handle`] for a handle that names no block, because it was freed before or
    /// is not of this heap; [`ReleaseError::Pinned`].
    pub fn free(&self, handle: Handle) -> Result<(), ReleaseError> {
        let mut state = self.lock();
        let block = state.blocks.find(handle)?;
        if !matches!(block.hold, Hold::Loose) {
            return Err(ReleaseError::Pinned(handle));
        }
        block.dying = true;
        let first = handle.index();
        // A transfer keeps its slot until it ends, so the block's pages are no room before that.
        while state.is_in_transfer(first) {
            state = self.wait_for_transfers(state);
        }
        for range in runs(state.blocks.at(first)) {
            state.spaces.unmap(SPACE, range);
        }
        state.install();
        state.blocks.remove(first);
        Ok(())
    }
}

impl super::state::State {
    /// Whether any page of the block that begins at `first` is being read or written.
    fn is_in_transfer(&mut self, first: u32) -> bool {
        let spaces = &self.spaces;
        self.blocks.at(first).pages.iter().any(|index| spaces.is_in_transfer(SPACE, page(*index)))
    }
}

/// The pages of a block, those that follow one another together.
fn runs(block: &Block) -> Vec<PageRange> {
    let of_run = |run: &[u32]| PageRange { start: page(run[0]), count: run.len() as u64 };
    block.pages.chunk_by(|one, next| one + 1 == *next).map(of_run).collect()
}
