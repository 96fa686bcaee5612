#![expect(unsafe_code, reason = "preadv and pwritev on raw addresses")]
//! Transfers through a pool of threads.

use super::{Completion, Direction, Job, Piece, QueueFull};
use crate::errno;
use core::mem::MaybeUninit;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

#[derive(Debug)]
struct Shared {
    queues: Mutex<Queues>,
    /// There is something to do, or nothing ever again.
    work: Condvar,
    /// Something has ended, for [`Pool::wait`].
    ends: Condvar,
    /// The same, for poll(2).
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
    depth: usize,
    workers: Vec<JoinHandle<()>>,
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
            self.ends.notify_one();
            let _ = rustix::io::write(&self.ended, &1u64.to_ne_bytes());
        }
    }
}

fn run(job: &mut Job) -> Result<usize, Errno> {
    loop {
        let number = match job.direction {
            Direction::Read => libc::SYS_preadv,
            Direction::Write => libc::SYS_pwritev,
        };
        let rest = job.rest();
        // By number, for the program may have a preadv of its own. The kernel puts the
        // offset together from two halves, of which the first has 64 bits here.
        // SAFETY: the pieces' memory is the contract of `Aio::queue`.
        let answer = unsafe { libc::syscall(number, job.fd, rest.as_ptr(), rest.len(), job.offset, 0usize) };
        let answer = usize::try_from(answer).map_err(|_| errno::last());
        if let Some(result) = job.advance(answer) {
            return result;
        }
    }
}

impl Pool {
    pub(super) fn new(depth: u32, workers: usize, starts: fn()) -> Result<Self, Errno> {
        let depth = depth as usize;
        let shared = Arc::new(Shared {
            queues: Mutex::new(Queues {
                waiting: VecDeque::with_capacity(depth),
                done: VecDeque::with_capacity(depth),
                closed: false,
            }),
            work: Condvar::new(),
            ends: Condvar::new(),
            ended: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        let free = (0..depth).map(|_| Job::empty()).collect();
        // Whole before the first worker, so that dropping it ends those there are.
        let mut pool = Self { shared, free, depth, workers: Vec::with_capacity(workers) };
        without_signals(|| {
            for _ in 0..workers {
                let shared = Arc::clone(&pool.shared);
                let worker = std::thread::Builder::new()
                    .name("outcore-io".into())
                    .stack_size(64 << 10)
                    .spawn(move || {
                        starts();
                        shared.work();
                    })
                    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
                pool.workers.push(worker);
            }
            Ok(())
        })?;
        Ok(pool)
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

    pub(super) fn is_idle(&self) -> bool {
        self.depth - self.free.len() == self.shared.lock().done.len()
    }

    pub(super) fn wait(&self) {
        let mut queues = self.shared.lock();
        while self.free.len() < self.depth && queues.done.is_empty() {
            queues = self.shared.ends.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Pool {
    /// Waits for transfers under way: their memory and their descriptors are the
    /// caller's again afterwards.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// Does `work` with all signals blocked, as they stay for threads made in it: the
/// program's handlers must not run on the small stacks of workers.
fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: sigfillset fills the set that pthread_sigmask reads, which fills the other.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let result = work();
    // SAFETY: the set was filled in above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), core::ptr::null_mut()) };
    result
}
