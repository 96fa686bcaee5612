//! Asynchronous transfers: io_uring, or threads where it is not to be had.

mod ring;
mod threads;

use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// Pieces of memory that one transfer may have.
pub const MAX_PIECES: usize = 64;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the file.
    Read,
    /// To the file.
    Write,
}

/// A piece of memory.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Piece(libc::iovec);

// SAFETY: an address and a length; who may use the memory is the contract of `queue`.
#[expect(unsafe_code, reason = "a plain address")]
unsafe impl Send for Piece {}

impl Piece {
    /// `len` bytes at `addr`.
    pub fn new(addr: usize, len: usize) -> Self {
        Self(libc::iovec { iov_base: addr as *mut _, iov_len: len })
    }

    /// Its bytes.
    pub fn len(self) -> usize {
        self.0.iov_len
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Where it begins.
    pub fn addr(self) -> usize {
        self.0.iov_base as usize
    }
}

/// A transfer that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// The caller's number for it.
    pub token: u64,
    /// All its bytes, or why not.
    pub result: Result<usize, Errno>,
}

/// As many transfers are under way as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// A transfer under way, with what is left of it.
#[derive(Debug)]
struct Job {
    direction: Direction,
    fd: i32,
    offset: u64,
    token: u64,
    done: usize,
    pieces: Vec<Piece>,
    first_piece: usize,
}

impl Job {
    fn empty() -> Self {
        Self {
            direction: Direction::Read,
            fd: -1,
            offset: 0,
            token: 0,
            done: 0,
            pieces: Vec::with_capacity(MAX_PIECES),
            first_piece: 0,
        }
    }

    fn set(&mut self, direction: Direction, fd: i32, offset: u64, pieces: &[Piece], token: u64) {
        assert!(pieces.len() <= MAX_PIECES, "{} pieces in one transfer", pieces.len());
        self.pieces.clear();
        self.pieces.extend_from_slice(pieces);
        (self.direction, self.fd, self.offset, self.token) = (direction, fd, offset, token);
        (self.done, self.first_piece) = (0, 0);
    }

    fn rest(&self) -> &[Piece] {
        &self.pieces[self.first_piece..]
    }

    /// Takes the kernel's answer: the result if this was the end, else none, and
    /// the rest is to be transferred.
    fn advance(&mut self, answer: Result<usize, Errno>) -> Option<Result<usize, Errno>> {
        let mut bytes = match answer {
            Err(Errno::INTR | Errno::AGAIN) => return None,
            Err(error) => return Some(Err(error)),
            // The end of the file, where there should have been bytes.
            Ok(0) => return Some(Err(Errno::IO)),
            Ok(bytes) => bytes,
        };
        self.done += bytes;
        self.offset += bytes as u64;
        while let Some(piece) = self.pieces.get_mut(self.first_piece) {
            if bytes < piece.len() {
                *piece = Piece::new(piece.addr() + bytes, piece.len() - bytes);
                return None;
            }
            bytes -= piece.len();
            self.first_piece += 1;
        }
        Some(Ok(self.done))
    }
}

/// Transfers of one thread.
#[derive(Debug)]
pub enum Aio {
    /// Through io_uring.
    Ring(Box<ring::Ring>),
    /// Through threads.
    Threads(Box<threads::Pool>),
}

impl Aio {
    /// An io_uring for `depth` transfers at once.
    ///
    /// # Errors
    /// What io_uring_setup(2) says: `ENOSYS` and `EPERM` where it is forbidden.
    pub fn ring(depth: u32) -> Result<Self, Errno> {
        Ok(Self::Ring(Box::new(ring::Ring::new(depth)?)))
    }

    /// A pool of `workers` threads, for `depth` transfers at once. Each calls `starts` first.
    ///
    /// # Errors
    /// What eventfd(2) and clone(2) say.
    pub fn threads(depth: u32, workers: usize, starts: fn()) -> Result<Self, Errno> {
        Ok(Self::Threads(Box::new(threads::Pool::new(depth, workers, starts)?)))
    }

    /// Readable when a transfer may have ended.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Ring(ring) => ring.as_fd(),
            Self::Threads(pool) => pool.as_fd(),
        }
    }

    /// Transfers that can be queued now.
    pub fn room(&self) -> usize {
        match self {
            Self::Ring(ring) => ring.room(),
            Self::Threads(pool) => pool.room(),
        }
    }

    /// Queues a transfer between consecutive bytes of the file at `offset` and `pieces`.
    ///
    /// # Errors
    /// When there is no [`Self::room`].
    ///
    /// # Panics
    /// With more than [`MAX_PIECES`] pieces.
    ///
    /// # Safety
    /// Until the transfer's completion has been taken, `fd` stays open, and nobody
    /// touches the memory of the pieces; for writes, others may read it.
    #[expect(unsafe_code, reason = "hands addresses to the kernel")]
    pub unsafe fn queue(
        &mut self,
        direction: Direction,
        fd: BorrowedFd<'_>,
        offset: u64,
        pieces: &[Piece],
        token: u64,
    ) -> Result<(), QueueFull> {
        match self {
            Self::Ring(ring) => ring.queue(direction, fd, offset, pieces, token),
            Self::Threads(pool) => pool.queue(direction, fd, offset, pieces, token),
        }
    }

    /// Starts what has been queued.
    ///
    /// # Errors
    /// What io_uring_enter(2) says; what was queued stays so.
    pub fn submit(&mut self) -> Result<(), Errno> {
        match self {
            Self::Ring(ring) => ring.submit(),
            Self::Threads(_) => Ok(()),
        }
    }

    /// A transfer that has ended, if there is one. Does not wait.
    pub fn complete(&mut self) -> Option<Completion> {
        match self {
            Self::Ring(ring) => ring.complete(),
            Self::Threads(pool) => pool.complete(),
        }
    }

    /// Whether no transfer is under way that has not ended: the device has nothing to do.
    pub fn is_idle(&mut self) -> bool {
        match self {
            Self::Ring(ring) => ring.is_idle(),
            Self::Threads(pool) => pool.is_idle(),
        }
    }

    /// Waits until [`Self::complete`] may have something; at once if nothing is under way.
    ///
    /// # Errors
    /// What io_uring_enter(2) says.
    pub fn wait(&mut self) -> Result<(), Errno> {
        match self {
            Self::Ring(ring) => ring.wait(),
            Self::Threads(pool) => {
                pool.wait();
                Ok(())
            }
        }
    }
}
