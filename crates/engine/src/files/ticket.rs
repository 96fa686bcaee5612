//! Work of the pager thread that a program thread waits for.

use core::sync::atomic::{AtomicU32, Ordering};
use rustix::io::Errno;
use rustix::thread::futex;
use std::sync::Arc;

const PENDING: u32 = 0;
const DONE: u32 = 1;
/// Above it, by the error's number.
const FAILED: u32 = 2;

/// What becomes of the work. Each side has one.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    word: Arc<AtomicU32>,
}

impl Ticket {
    /// Nothing has been done yet.
    pub(crate) fn new() -> Self {
        Self { word: Arc::new(AtomicU32::new(PENDING)) }
    }

    /// It is done, or cannot be.
    pub(crate) fn end(&self, result: Result<(), Errno>) {
        let value = match result {
            Ok(()) => DONE,
            Err(error) => FAILED + error.raw_os_error() as u32,
        };
        self.word.store(value, Ordering::Release);
        let _ = futex::wake(&self.word, futex::Flags::PRIVATE, u32::MAX >> 1);
    }

    /// Waits for the end. The pager thread must not.
    pub(crate) fn wait(&self) -> Result<(), Errno> {
        loop {
            match self.word.load(Ordering::Acquire) {
                // Interrupted, or woken early, it is looked again.
                PENDING => drop(futex::wait(&self.word, futex::Flags::PRIVATE, PENDING, None)),
                DONE => return Ok(()),
                error => return Err(Errno::from_raw_os_error((error - FAILED) as i32)),
            }
        }
    }
}
