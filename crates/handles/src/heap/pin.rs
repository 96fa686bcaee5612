//! Addresses: for as long as a guard lives, or until the next call.

use super::VirtualHeap;
use super::state::{SPACE, State, page};
use crate::blocks::{Hold, PinKind, Pins};
use crate::bytes::{self, Bytes};
use crate::error::{PinError, ReleaseError, StoreError};
use crate::handle::Handle;
use pager::space::Access;
use std::fmt;
use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::sync::atomic::AtomicU8;
use std::thread;

/// A block that stays in memory, at one address, as long as this lives.
///
/// Several may be had of one block, by several threads, and the block can be read and written
/// through the heap meanwhile. The bytes are therefore atomic ones; a single thread, or threads
/// that order their accesses by other means, see what they wrote.
///
/// It belongs to the thread that made it, because whether others should wait for its release
/// depends on what that thread does.
#[must_use = "the block may leave memory as soon as this is dropped"]
pub struct Pinned<'h> {
    heap: &'h VirtualHeap,
    handle: Handle,
    size: usize,
    bytes: Bytes,
    /// Not to be sent to other threads.
    thread: PhantomData<*const ()>,
}

impl VirtualHeap {
    /// Brings a block into memory and holds it there, contiguous.
    ///
    /// Where too many frames are pinned, it waits for other threads to release some, but not for
    /// ever: it fails at once when every thread with pins is this one or itself waits.
    ///
    /// ```
    /// use handles::VirtualHeap;
    /// use std::sync::atomic::Ordering::Relaxed;
    ///
    /// let heap = VirtualHeap::builder().physical(8 * 4096).build()?;
    /// let block = heap.alloc(3 * 4096)?;
    /// let pinned = heap.pin(block)?;
    /// pinned.write(4095, b"two pages");
    /// assert_eq!(pinned.bytes()[4096].load(Relaxed), b'w');
    /// drop(pinned);
    /// let mut word = [0; 9];
    /// heap.read(block, 4095, &mut word)?;
    /// assert_eq!(&word, b"two pages");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PinError`].
    pub fn pin(&self, handle: Handle) -> Result<Pinned<'_>, PinError> {
        let (state, bytes, size) = self.acquire(handle, PinKind::Guard)?;
        drop(state);
        Ok(Pinned { heap: self, handle, size, bytes, thread: PhantomData })
    }

    /// [`Self::pin`] for languages without guards: the address of the block, which stays until
    /// [`Self::release`] was called as often as this. It is a multiple of 64.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn pin_address(&self, handle: Handle) -> Result<*mut u8, PinError> {
        let (state, bytes, _) = self.acquire(handle, PinKind::Address)?;
        drop(state);
        Ok(address(&bytes))
    }

    /// Takes one [`Self::pin_address`] back: one of this thread, if it has one of this block.
    /// What a guard pinned, only the guard releases.
    ///
    /// # Errors
    /// [`ReleaseError`]; nothing has changed then.
    pub fn release(&self, handle: Handle) -> Result<(), ReleaseError> {
        self.release_in(self.lock(), handle, PinKind::Address)
    }

    /// Brings a block into memory, contiguous, and tells its address. It is good until the next
    /// call for this heap, by any thread, begins, or one that had begun goes on; to be sure of
    /// it among threads, pin. It is a multiple of 64, and the block counts as written.
    ///
    /// A block of one page is always found an address. One of several needs so many frames that
    /// are not pinned, and waits for them, or fails, as [`Self::pin`] does.
    ///
    /// # Errors
    /// [`PinError`].
    #[inline]
    pub fn check(&self, handle: Handle) -> Result<*mut u8, PinError> {
        let mut state = self.lock();
        let first = handle.index();
        let mut brought = false;
        loop {
            let [index] = state.blocks.find(handle)?.pages[..] else {
                return self.check_pages(state, handle);
            };
            if state.is_at_hand(index, Access::Write) {
                if !brought {
                    state.reference(index);
                }
                return Ok(address(state.bytes_of(first, 0).0));
            }
            state = self.bring_in(state, index, Access::Write)?;
            brought = true;
        }
    }

    fn check_pages(&self, mut state: MutexGuard<'_, State>, handle: Handle) -> Result<*mut u8, PinError> {
        let first = handle.index();
        if let Some(bytes) = state.gathered_at_hand(first) {
            return Ok(address(&bytes));
        }
        drop(state);
        let (state, bytes, _) = self.acquire(handle, PinKind::Address)?;
        match self.release_in(state, handle, PinKind::Address) {
            Ok(()) => Ok(address(&bytes)),
            Err(error) => unreachable!("it has just been pinned: {error}"),
        }
    }

    /// Pins a block: its bytes and its size.
    fn acquire(
        &self,
        handle: Handle,
        kind: PinKind,
    ) -> Result<(MutexGuard<'_, State>, Bytes, usize), PinError> {
        let thread = thread::current().id();
        let frames = self.sizes.frames as usize;
        let mut state = self.lock();
        loop {
            let block = state.blocks.find(handle)?;
            let (pages, size) = (block.pages.len(), block.size);
            if pages > frames {
                return Err(PinError::TooLarge { pages, frames });
            }
            match &mut block.hold {
                Hold::Pinned(pins) => {
                    pins.by.push((thread, kind));
                    let bytes = pins.bytes.clone();
                    state.holders.add(thread);
                    return Ok((state, bytes, size));
                }
                Hold::Coming => {
                    state = self.wait_for_transfers(state);
                    continue;
                }
                Hold::Loose => {}
            }
            if state.pinned + pages <= frames {
                block_at(&mut state, handle).hold = Hold::Coming;
                state.pinned += pages;
                state.holders.add(thread);
                break;
            }
            if !state.holders.others_run(thread) {
                return Err(PinError::Deadlock { pages, free: frames - state.pinned });
            }
            state.holders.set_waiting(thread, true);
            state = self.released.wait(state).expect("no thread has panicked inside the heap");
            state.holders.set_waiting(thread, false);
        }
        // From here on the block cannot be freed, because it is held.
        let (mut state, result) = self.hold_pages(state, handle);
        let first = handle.index();
        if let Err(error) = result {
            let pages = block_at(&mut state, handle).pages.len();
            block_at(&mut state, handle).hold = Hold::Loose;
            state.holders.remove(thread);
            state.give_back(pages);
            self.arrived.notify_all();
            self.released.notify_all();
            return Err(error.into());
        }
        state.gather(first);
        let bytes = state.bytes_of(first, 0).0.clone();
        let block = block_at(&mut state, handle);
        block.hold = Hold::Pinned(Pins { by: vec![(thread, kind)], bytes: bytes.clone() });
        let size = block.size;
        self.arrived.notify_all();
        Ok((state, bytes, size))
    }

    /// Brings all pages of a block in, for which frames were set aside, and holds each.
    fn hold_pages<'h>(
        &'h self,
        mut state: MutexGuard<'h, State>,
        handle: Handle,
    ) -> (MutexGuard<'h, State>, Result<(), StoreError>) {
        let count = block_at(&mut state, handle).pages.len();
        for place in 0..count {
            let index = block_at(&mut state, handle).pages[place];
            let mut brought = false;
            while !state.is_at_hand(index, Access::Write) {
                match self.bring_in(state, index, Access::Write) {
                    Ok(again) => state = again,
                    Err(error) => {
                        let mut state = self.lock();
                        state.unpin_pages(handle.index(), place);
                        return (state, Err(error));
                    }
                }
                brought = true;
            }
            if !brought {
                state.reference(index);
            }
            state.spaces.pin(SPACE, page(index));
        }
        (state, Ok(()))
    }

    fn release_in(
        &self,
        mut state: MutexGuard<'_, State>,
        handle: Handle,
        kind: PinKind,
    ) -> Result<(), ReleaseError> {
        let block = state.blocks.find(handle)?;
        let pages = block.pages.len();
        let Hold::Pinned(pins) = &mut block.hold else {
            return Err(ReleaseError::NotPinned(handle));
        };
        let own = thread::current().id();
        let place = pins.by.iter().position(|pin| *pin == (own, kind));
        let place = place.or_else(|| pins.by.iter().position(|(_, other)| *other == kind));
        let (thread, _) = pins.by.swap_remove(place.ok_or(ReleaseError::NotPinned(handle))?);
        let last = pins.by.is_empty();
        if last {
            block.hold = Hold::Loose;
            state.unpin_pages(handle.index(), pages);
            state.give_back(pages);
        }
        state.holders.remove(thread);
        // Also for pins that free no frame: the last thread that ran may be gone with it.
        self.released.notify_all();
        Ok(())
    }
}

/// The block of a handle that cannot have become stale.
fn block_at<'s>(state: &'s mut MutexGuard<'_, State>, handle: Handle) -> &'s mut crate::blocks::Block {
    state.blocks.at(handle.index())
}

fn address(bytes: &Bytes) -> *mut u8 {
    bytes.shared().as_ptr().cast_mut().cast()
}

impl State {
    /// The bytes of a block of several pages if all are in memory, side by side, and known to be
    /// written.
    fn gathered_at_hand(&mut self, first: u32) -> Option<Bytes> {
        let block = self.blocks.at(first);
        let bytes = block.gathered.clone()?;
        let entries = &self.entries;
        let frame = |index: &u32| {
            let entry = entries[*index as usize];
            entry.prot.allows(Access::Write).then_some(entry.frame)
        };
        if block.pages.iter().any(|index| frame(index).is_none()) {
            return None;
        }
        let spaces = &mut self.spaces;
        block.pages.iter().filter_map(frame).for_each(|frame| spaces.referenced(frame));
        Some(bytes)
    }

    /// Lets the first `count` pages of a block go.
    fn unpin_pages(&mut self, first: u32, count: usize) {
        for index in &self.blocks.at(first).pages[..count] {
            self.spaces.unpin(SPACE, page(*index));
        }
    }

    /// Frames are set aside no longer.
    fn give_back(&mut self, frames: usize) {
        self.pinned -= frames;
        self.unlend_frame();
    }
}

impl Pinned<'_> {
    /// The block's handle.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Bytes of the block, as they were asked for.
    #[expect(clippy::len_without_is_empty, reason = "no block is empty")]
    pub fn len(&self) -> usize {
        self.size
    }

    /// The bytes themselves.
    pub fn bytes(&self) -> &[AtomicU8] {
        &self.bytes.shared()[..self.size]
    }

    /// Where they are: a multiple of 64, good for [`Self::len`] bytes as long as this lives.
    /// Plain reads and writes through it need that no other thread uses the block meanwhile.
    pub fn as_ptr(&self) -> *mut u8 {
        address(&self.bytes)
    }

    /// Copies the bytes from `offset` on into `into`.
    ///
    /// # Panics
    /// If they are not all in the block.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        bytes::load(&self.bytes()[offset..][..into.len()], into);
    }

    /// Copies `from` to the bytes from `offset` on.
    ///
    /// # Panics
    /// If they are not all in the block.
    pub fn write(&self, offset: usize, from: &[u8]) {
        bytes::store(&self.bytes()[offset..][..from.len()], from);
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size];
        self.read(0, &mut bytes);
        bytes
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        let released = self.heap.release_in(self.heap.lock(), self.handle, PinKind::Guard);
        debug_assert_eq!(released, Ok(()), "a pinned block is not freed, and only its guard releases it");
    }
}

impl fmt::Debug for Pinned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pinned {:?} of {} bytes at {:p}", self.handle, self.size, self.as_ptr())
    }
}
