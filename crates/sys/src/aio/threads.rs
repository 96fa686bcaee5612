#![expect(unsafe_code, reason = "preadv and pwritev on raw addresses")]
//! Transfers through a pool of threads.

use super::{Completion, Direction, Job, Piece, QueueFull};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
struct Shared {
    queues: Mutex<Queues>,
    work: Condvar,
    ended: OwnedFd,
}

#[derive(Debug)]
struct Queues {
    waiting: VecDeque<Job>,
    done: VecDeque<(Job, Result<usize, Errno>)>,
    closed: bool,
}

/// See [`super::Aio`].
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    free: Vec<Job>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let mut queues = self.lock();
            let mut job = loop {
                if queues.closed {
                    return;
                }
                match queues.waiting.pop_front() {
                    Some(job) => break job,
                    None => queues = self.work.wait(queues).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(queues);
            let result = run(&mut job);
            self.lock().done.push_back((job, result));
            let _ = rustix::io::write(&self.ended, &1u64.to_ne_bytes());
        }
    }
}

fn run(job: &mut Job) -> Result<usize, Errno> {
    loop {
        let (rest, offset) = (job.rest(), job.offset as libc::off_t);
        let (pieces, count) = (rest.as_ptr().cast(), rest.len() as i32);
        // SAFETY: the pieces' memory is the contract of `Aio::queue`.
        let answer = unsafe {
            match job.direction {
                Direction::Read => libc::preadv(job.fd, pieces, count, offset),
                Direction::Write => libc::pwritev(job.fd, pieces, count, offset),
            }
        };
        let answer = usize::try_from(answer)
            .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
        if let Some(result) = job.advance(answer) {
            return result;
        }
    }
}

impl Pool {
    pub(super) fn new(depth: u32, workers: usize) -> Result<Self, Errno> {
        let depth = depth as usize;
        let shared = Arc::new(Shared {
            queues: Mutex::new(Queues {
                waiting: VecDeque::with_capacity(depth),
                done: VecDeque::with_capacity(depth),
                closed: false,
            }),
            work: Condvar::new(),
            ended: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        for _ in 0..workers {
            let shared = Arc::clone(&shared);
            // Made by a thread with all signals blocked, which they inherit.
            std::thread::Builder::new()
                .name("outcore-io".into())
                .stack_size(64 << 10)
                .spawn(move || shared.work())
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
        }
        Ok(Self { shared, free: (0..depth).map(|_| Job::empty()).collect() })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.ended.as_fd()
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
        let mut job = self.free.pop().ok_or(QueueFull)?;
        job.set(direction, fd.as_raw_fd(), offset, pieces, token);
        self.shared.lock().waiting.push_back(job);
        self.shared.work.notify_one();
        Ok(())
    }

    pub(super) fn complete(&mut self) -> Option<Completion> {
        let mut queues = self.shared.lock();
        let Some((job, result)) = queues.done.pop_front() else {
            // Under the lock, so that no end that is announced now is forgotten.
            let mut count = [0; 8];
            let _ = rustix::io::read(&self.shared.ended, &mut count);
            return None;
        };
        let token = job.token;
        self.free.push(job);
        Some(Completion { token, result })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}
