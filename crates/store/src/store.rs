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
    File { file: OwnedFd, direct: bool },
    Memory(Memory),
}

/// The failures of a faulty twin.
#[derive(Debug)]
struct Faulty {
    plan: FaultPlan,
    reads: u64,
    writes: u64,
    file_reads: u64,
    file_writes: u64,
    /// Reads that will come back wrong: the token, and the address of the byte.
    corrupt: Vec<(u64, usize)>,
}

impl Faulty {
    /// What the next transfer of a file fails with.
    fn of_file(&mut self, direction: Direction) -> Option<Errno> {
        match direction {
            Direction::Read => {
                self.file_reads += 1;
                self.plan.of_file_read(self.file_reads)
            }
            Direction::Write => {
                self.file_writes += 1;
                self.plan.of_file_write(self.file_writes)
            }
        }
    }
}

/// Pages by slot. See the crate's page.
#[derive(Debug)]
pub struct Store {
    /// Transfers of files; dropped, which ends them, before the store's own. A store in
    /// memory needs none for itself.
    aio: Option<Aio>,
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
    fn new(aio: Option<Aio>, backing: Backing, slots: u64, page_size: usize) -> Self {
        let depth = match &backing {
            Backing::File { .. } => aio.as_ref().map_or(0, Aio::room),
            Backing::Memory(memory) => memory.room(),
        };
        Self {
            aio,
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
        Ok(Self::new(Some(aio), Backing::File { file, direct }, options.slots, options.page_size))
    }

    /// The swap file that another store has, [`Self::direct`] or not.
    pub fn of_file(file: OwnedFd, direct: bool, slots: u64, page_size: usize, aio: Aio) -> Self {
        Self::new(Some(aio), Backing::File { file, direct }, slots, page_size)
    }

    /// In a forked child: the same store in memory, without the transfers that were under
    /// way. None if it is a file.
    pub fn heir(&self) -> Option<Self> {
        match &self.backing {
            Backing::File { .. } => None,
            Backing::Memory(memory) => {
                Some(Self::new(None, Backing::Memory(memory.heir()), self.slots, self.page_size))
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
        Ok(Self::new(None, Backing::Memory(Memory::new(slots, page_size)?), slots, page_size))
    }

    /// A store in memory with transfers for [`Self::queue_file`].
    #[must_use]
    pub fn with_transfers(mut self, aio: Aio) -> Self {
        self.aio.get_or_insert(aio);
        self
    }

    /// The same store, failing as planned.
    #[must_use]
    pub fn with_faults(mut self, plan: FaultPlan) -> Self {
        let corrupt = Vec::new();
        self.faulty = Some(Faulty { plan, reads: 0, writes: 0, file_reads: 0, file_writes: 0, corrupt });
        self
    }

    /// Readable when a transfer may have ended; none when all end at once.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.aio.as_ref().map(Aio::as_fd)
    }

    /// Whether transfers bypass the page cache.
    pub fn direct(&self) -> bool {
        matches!(self.backing, Backing::File { direct: true, .. })
    }

    /// Transfers that can be queued now.
    pub fn room(&self) -> usize {
        let room = match &self.backing {
            Backing::File { .. } => self.file_room(),
            Backing::Memory(memory) => memory.room().min(self.aio.as_ref().map_or(usize::MAX, Aio::room)),
        };
        room.min(self.depth - self.refused.len())
    }

    fn file_room(&self) -> usize {
        self.aio.as_ref().map_or(0, Aio::room)
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
        match (&mut self.backing, &mut self.aio) {
            (Backing::File { file, .. }, Some(aio)) => {
                let offset = slot * self.page_size as u64;
                // SAFETY: the caller's contract; the file is open as long as the store.
                unsafe { aio.queue(direction, file.as_fd(), offset, pieces, token)? };
            }
            (Backing::File { .. }, None) => return Err(QueueFull),
            // SAFETY: the caller's contract.
            (Backing::Memory(memory), _) => unsafe { memory.transfer(direction, slot, pieces, token) },
        }
        if direction == Direction::Write {
            self.writes.push(token);
        }
        Ok(())
    }

    /// Queues a transfer of another file's bytes from `offset` on. Its failure latches
    /// nothing.
    ///
    /// # Errors
    /// When there is no [`Self::room`], or the store was made in memory without transfers.
    ///
    /// # Safety
    /// As [`Aio::queue`].
    pub unsafe fn queue_file(
        &mut self,
        direction: Direction,
        file: BorrowedFd<'_>,
        offset: u64,
        pieces: &[Piece],
        token: u64,
    ) -> Result<(), QueueFull> {
        if self.room() == 0 {
            return Err(QueueFull);
        }
        let planned = self.faulty.as_mut().and_then(|faulty| faulty.of_file(direction));
        if let Some(error) = planned {
            self.refused.push_back(Completion { token, result: Err(error) });
            return Ok(());
        }
        let aio = self.aio.as_mut().ok_or(QueueFull)?;
        // SAFETY: the caller's contract.
        unsafe { aio.queue(direction, file, offset, pieces, token) }
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
        self.aio.as_mut().map_or(Ok(()), Aio::submit)
    }

    /// A transfer that has ended, if there is one. Does not wait.
    pub fn complete(&mut self) -> Option<Completion> {
        let of_memory = |backing: &mut Backing| match backing {
            Backing::File { .. } => None,
            Backing::Memory(memory) => memory.complete(),
        };
        let completion = self
            .refused
            .pop_front()
            .or_else(|| of_memory(&mut self.backing))
            .or_else(|| self.aio.as_mut().and_then(Aio::complete))?;
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
        self.aio.as_mut().is_some_and(Aio::is_idle)
    }

    /// Waits until [`Self::complete`] may have something; at once if nothing is under way.
    ///
    /// # Errors
    /// What io_uring_enter(2) says.
    pub fn wait(&mut self) -> Result<(), Errno> {
        let done = match &self.backing {
            Backing::File { .. } => false,
            Backing::Memory(memory) => memory.has_completions(),
        };
        match &mut self.aio {
            Some(aio) if self.refused.is_empty() && !done => aio.wait(),
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
