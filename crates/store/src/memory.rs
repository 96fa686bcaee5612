#![expect(unsafe_code, reason = "copies between the store's mapping and the engine's pool")]
//! A store in memory, which forked children share: for tests, and for machines without a
//! disk.

use rustix::io::Errno;
use std::collections::VecDeque;
use std::sync::Arc;
use sys::aio::{Completion, Direction, Piece};
use sys::shared::SharedMemory;

/// Transfers that may have ended and not been asked for.
const DEPTH: usize = 128;

#[derive(Debug)]
pub(crate) struct Memory {
    mapping: Arc<SharedMemory>,
    page_size: usize,
    done: VecDeque<Completion>,
}

impl Memory {
    pub(crate) fn new(slots: u64, page_size: usize) -> Result<Self, Errno> {
        let len = usize::try_from(slots).ok().and_then(|slots| slots.checked_mul(page_size));
        let mapping = Arc::new(SharedMemory::new(len.ok_or(Errno::NOMEM)?)?);
        Ok(Self { mapping, page_size, done: VecDeque::with_capacity(DEPTH) })
    }

    /// The same memory, with no transfer under way.
    pub(crate) fn heir(&self) -> Self {
        Self {
            mapping: Arc::clone(&self.mapping),
            page_size: self.page_size,
            done: VecDeque::with_capacity(DEPTH),
        }
    }

    /// # Safety
    /// As [`sys::aio::Aio::queue`].
    pub(crate) unsafe fn transfer(&mut self, direction: Direction, slot: u64, pieces: &[Piece], token: u64) {
        let mut offset = slot as usize * self.page_size;
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        let fits = offset.checked_add(bytes).is_some_and(|end| end <= self.mapping.len());
        if !fits {
            self.done.push_back(Completion { token, result: Err(Errno::INVAL) });
            return;
        }
        for piece in pieces {
            let stored = (self.mapping.addr() + offset) as *mut u8;
            let given = piece.addr() as *mut u8;
            // SAFETY: inside the mapping; the piece is the caller's contract.
            unsafe {
                match direction {
                    Direction::Read => given.copy_from_nonoverlapping(stored, piece.len()),
                    Direction::Write => stored.copy_from_nonoverlapping(given, piece.len()),
                }
            }
            offset += piece.len();
        }
        self.done.push_back(Completion { token, result: Ok(bytes) });
    }

    pub(crate) fn complete(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }

    pub(crate) fn has_completions(&self) -> bool {
        !self.done.is_empty()
    }

    pub(crate) fn room(&self) -> usize {
        self.done.capacity() - self.done.len()
    }

    pub(crate) fn punch(&self, slot: u64, count: u64) -> Result<(), Errno> {
        self.mapping.forget(slot as usize * self.page_size, count as usize * self.page_size)
    }
}
