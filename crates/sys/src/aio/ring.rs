#![expect(unsafe_code, reason = "submission entries carry addresses")]
//! Transfers through io_uring. Buffers are not registered: that would pin them.

use super::{Completion, Direction, Job, Piece, QueueFull};
use io_uring::{IoUring, opcode, squeue, types};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// See [`super::Aio`].
pub struct Ring {
    ring: IoUring,
    jobs: Vec<Job>,
    free: Vec<usize>,
}

impl core::fmt::Debug for Ring {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Ring({} of {} jobs free)", self.free.len(), self.jobs.len())
    }
}

impl Ring {
    pub(super) fn new(depth: u32) -> Result<Self, Errno> {
        let ring = IoUring::builder()
            .dontfork()
            .build(depth)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOSYS))?;
        let jobs = (0..depth).map(|_| Job::empty()).collect();
        Ok(Self { ring, jobs, free: (0..depth as usize).collect() })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring owns the descriptor for as long as it is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }

    pub(super) fn room(&self) -> usize {
        self.free.len()
    }

    pub(super) fn queue(
        &mut self,
        direction: Direction,
        fd: BorrowedFd<'_>,
        offset: u64,
        pieces: &[Piece],
        token: u64,
    ) -> Result<(), QueueFull> {
        let index = self.free.pop().ok_or(QueueFull)?;
        self.jobs[index].set(direction, fd.as_raw_fd(), offset, pieces, token);
        self.push(index);
        Ok(())
    }

    fn push(&mut self, index: usize) {
        let job = &self.jobs[index];
        let fd = types::Fd(job.fd);
        let rest = job.rest();
        let entry: squeue::Entry = match (job.direction, rest) {
            (Direction::Read, [one]) => {
                opcode::Read::new(fd, one.addr() as *mut u8, one.len() as u32).offset(job.offset).build()
            }
            (Direction::Write, [one]) => {
                opcode::Write::new(fd, one.addr() as *const u8, one.len() as u32).offset(job.offset).build()
            }
            (Direction::Read, many) => {
                opcode::Readv::new(fd, many.as_ptr().cast(), many.len() as u32).offset(job.offset).build()
            }
            (Direction::Write, many) => {
                opcode::Writev::new(fd, many.as_ptr().cast(), many.len() as u32).offset(job.offset).build()
            }
        };
        let entry = entry.user_data(index as u64);
        // SAFETY: the pieces live in the job until it has ended; the memory is the
        // contract of `Aio::queue`. There are no more jobs than entries.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        debug_assert!(pushed.is_ok(), "the queue has room for every job");
    }

    pub(super) fn submit(&mut self) -> Result<(), Errno> {
        while !self.ring.submission().is_empty() {
            self.enter(0)?;
        }
        Ok(())
    }

    /// Hands over what has been queued and waits until `want` transfers have ended.
    fn enter(&self, want: usize) -> Result<(), Errno> {
        match self.ring.submit_and_wait(want) {
            Ok(0) if want == 0 => Err(Errno::AGAIN),
            Ok(_) => Ok(()),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::INTR) => Ok(()),
                other => Err(other.unwrap_or(Errno::IO)),
            },
        }
    }

    pub(super) fn complete(&mut self) -> Option<Completion> {
        loop {
            let Some(entry) = self.ring.completion().next() else {
                // What a failed submission left behind must not wait for the next one.
                let _ = self.submit();
                return None;
            };
            let index = entry.user_data() as usize;
            let answer =
                usize::try_from(entry.result()).map_err(|_| Errno::from_raw_os_error(-entry.result()));
            if let Some(result) = self.jobs[index].advance(answer) {
                self.free.push(index);
                return Some(Completion { token: self.jobs[index].token, result });
            }
            self.push(index);
        }
    }

    pub(super) fn is_idle(&mut self) -> bool {
        let ended = self.ring.completion().len();
        self.jobs.len() - self.free.len() == ended + self.ring.submission().len()
    }

    pub(super) fn wait(&mut self) -> Result<(), Errno> {
        while self.free.len() < self.jobs.len() && self.ring.completion().is_empty() {
            self.enter(1)?;
        }
        Ok(())
    }
}
