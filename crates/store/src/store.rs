#![expect(unsafe_code, reason = "hands addresses to the transfer layer")]
//! The store.

use crate::faults::{FaultPlan, ReadFault};
use crate::file::{self, OpenError};
use crate::memory::Memory;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::path::Path;
use sys::aio::{Aio, Completion, Direction, Piece, QueueFull};

/// What a swap file is made for.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions<'a> {
    /// Where; the file has no name there.
    pub dir: &'a Path,
    /// How many pages it may hold.
    pub slots: u64,
    /// Bytes in a page.
    pub page_size: usize,
}

#[derive(Debug)]
enum Backing {
    /// The transfers are dropped, which ends them, before the file.
    File {
        aio: Aio,
        file: OwnedFd,
        direct: bool,
    },
    Memory(Memory),
}

impl Backing {
    fn room(&self) -> usize {
        match self {
            Self::File { aio, .. } => aio.room(),
            Self::Memory(memory) => memory.room(),
        }
    }
}

/// The failures of a faulty twin.
#[derive(Debug)]
struct Faulty {
    plan: FaultPlan,
    reads: u64,
    writes: u64,
    /// Reads that will come back wrong: the token, and the address of the byte.
    corrupt: Vec<(u64, usize)>,
}

/// Pages by slot. See the crate's page.
#[derive(Debug)]
pub struct Store {
    backing: Backing,
    slots: u64,
    page_size: usize,
    /// Transfers that may be under way at once.
    depth: usize,
    latched: Option<Errno>,
    /// Which tokens are writes, to know whose failure latches.
    writes: Vec<u64>,
    /// Operations refused without being tried.
    refused: VecDeque<Completion>,
    faulty: Option<Faulty>,
}

impl Store {
    fn new(backing: Backing, slots: u64, page_size: usize) -> Self {
        let depth = backing.room();
        Self {
            backing,
            slots,
            page_size,
            depth,
            latched: None,
            // As many as the backing has under way, and as many refused.
            writes: Vec::with_capacity(2 * depth),
            refused: VecDeque::with_capacity(depth),
            faulty: None,
        }
    }

    /// A swap file.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn file(options: FileOptions<'_>, aio: Aio) -> Result<Self, OpenError> {
        let (file, direct) = file::create(options)?;
        Ok(Self::new(Backing::File { aio, file, direct }, options.slots, options.page_size))
    }

    /// The swap file that another store has, [`Self::direct`] or not.
    pub fn of_file(file: OwnedFd, direct: bool, slots: u64, page_size: usize, aio: Aio) -> Self {
        Self::new(Backing::File { aio, file, direct }, slots, page_size)
    }

    /// In a forked child: the same store in memory, without the transfers that were under
    /// way. None if it is a file.
    pub fn heir(&self) -> Option<Self> {
        match &self.backing {
            Backing::File { .. } => None,
            Backing::Memory(memory) => {
                Some(Self::new(Backing::Memory(memory.heir()), self.slots, self.page_size))
            }
        }
    }

    /// The swap file; none if the store is memory.
    pub fn file_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.backing {
            Backing::File { file, .. } => Some(file.as_fd()),
            Backing::Memory(_) => None,
        }
    }

    /// A store in memory, resident as far as it is used.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub fn memory(slots: u64, page_size: usize) -> Result<Self, Errno> {
        Ok(Self::new(Backing::Memory(Memory::new(slots, page_size)?), slots, page_size))
    }

    /// The same store, failing as planned.
    #[must_use]
    pub fn with_faults(mut self, plan: FaultPlan) -> Self {
        self.faulty = Some(Faulty { plan, reads: 0, writes: 0, corrupt: Vec::new() });
        self
    }

    /// Readable when a transfer may have ended; none when all end at once.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.backing {
            Backing::File { aio, .. } => Some(aio.as_fd()),
            Backing::Memory(_) => None,
        }
    }

    /// Whether transfers bypass the page cache.
    pub fn direct(&self) -> bool {
        matches!(self.backing, Backing::File { direct: true, .. })
    }

    /// Transfers that can be queued now.
    pub fn room(&self) -> usize {
        self.backing.room().min(self.depth - self.refused.len())
    }

    /// Whether the bytes are in this process's memory.
    pub fn in_memory(&self) -> bool {
        matches!(self.backing, Backing::Memory(_))
    }

    /// The write error that latched the store.
    pub fn latched(&self) -> Option<Errno> {
        self.latched
    }

    /// Queues a transfer of consecutive slots, from `slot` on.
    ///
    /// # Errors
    /// When there is no [`Self::room`].
    ///
    /// # Panics
    /// If the slots are not all the store's.
    ///
    /// # Safety
    /// As [`Aio::queue`].
    pub unsafe fn queue(
        &mut self,
        direction: Direction,
        slot: u64,
        pieces: &[Piece],
        token: u64,
    ) -> Result<(), QueueFull> {
        if self.room() == 0 {
            return Err(QueueFull);
        }
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        let end = slot + bytes.div_ceil(self.page_size) as u64;
        assert!(end <= self.slots, "slots {slot}..{end} of {}", self.slots);
        if let Some(error) = self.refusal(direction, pieces, token) {
            self.refused.push_back(Completion { token, result: Err(error) });
            if direction == Direction::Write {
                self.writes.push(token);
            }
            return Ok(());
        }
        match &mut self.backing {
            Backing::File { file, aio, .. } => {
                let offset = slot * self.page_size as u64;
                // SAFETY: the caller's contract; the file is open as long as the store.
                unsafe { aio.queue(direction, file.as_fd(), offset, pieces, token)? };
            }
            // SAFETY: the caller's contract.
            Backing::Memory(memory) => unsafe { memory.transfer(direction, slot, pieces, token) },
        }
        if direction == Direction::Write {
            self.writes.push(token);
        }
        Ok(())
    }

    /// Why an operation is not even tried.
    fn refusal(&mut self, direction: Direction, pieces: &[Piece], token: u64) -> Option<Errno> {
        let planned = self.faulty.as_mut().and_then(|faulty| match direction {
            Direction::Write => {
                faulty.writes += 1;
                faulty.plan.of_write(faulty.writes)
            }
            Direction::Read => {
                faulty.reads += 1;
                match faulty.plan.of_read(faulty.reads)? {
                    ReadFault::Error => Some(Errno::IO),
                    ReadFault::Corrupt => {
                        let byte = pieces.first().map(|piece| piece.addr() + piece.len() / 2)?;
                        faulty.corrupt.push((token, byte));
                        None
                    }
                }
            }
        });
        planned.or(self.latched.filter(|_| direction == Direction::Write))
    }

    /// Starts what has been queued.
    ///
    /// # Errors
    /// What io_uring_enter(2) says; what was queued stays so, and is started by the
    /// next call.
    pub fn submit(&mut self) -> Result<(), Errno> {
        match &mut self.backing {
            Backing::File { aio, .. } => aio.submit(),
            Backing::Memory(_) => Ok(()),
        }
    }

    /// A transfer that has ended, if there is one. Does not wait.
    pub fn complete(&mut self) -> Option<Completion> {
        let completion = self.refused.pop_front().or_else(|| match &mut self.backing {
            Backing::File { aio, .. } => aio.complete(),
            Backing::Memory(memory) => memory.complete(),
        })?;
        if let Some(index) = self.writes.iter().position(|token| *token == completion.token) {
            self.writes.swap_remove(index);
            if let (Err(error), None) = (completion.result, self.latched) {
                self.latched = Some(error);
            }
        }
        if let Some(faulty) = &mut self.faulty
            && let Some(index) = faulty.corrupt.iter().position(|(token, _)| *token == completion.token)
        {
            let (_, byte) = faulty.corrupt.swap_remove(index);
            // SAFETY: the transfer's memory, which is still the store's until its
            // completion has been given out.
            unsafe { *(byte as *mut u8) ^= 1 };
        }
        Some(completion)
    }

    /// Whether its device has nothing to do: what was submitted has ended.
    pub fn is_idle(&mut self) -> bool {
        match &mut self.backing {
            Backing::File { aio, .. } => aio.is_idle(),
            Backing::Memory(_) => false,
        }
    }

    /// Waits until [`Self::complete`] may have something; at once if nothing is under way.
    ///
    /// # Errors
    /// What io_uring_enter(2) says.
    pub fn wait(&mut self) -> Result<(), Errno> {
        match &mut self.backing {
            Backing::File { aio, .. } if self.refused.is_empty() => aio.wait(),
            _ => Ok(()),
        }
    }

    /// Forgets the bytes of slots that nobody uses, which gives room back to the file system.
    ///
    /// # Errors
    /// What fallocate(2) says: `EOPNOTSUPP` where files have no holes.
    pub fn punch(&mut self, slot: u64, count: u64) -> Result<(), Errno> {
        match &self.backing {
            Backing::File { file, .. } => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let page = self.page_size as u64;
                rustix::fs::fallocate(file, flags, slot * page, count * page)
            }
            Backing::Memory(memory) => memory.punch(slot, count),
        }
    }
}
