//! A word that a program thread waits for and the pager sets, once.

use crate::engine::Engine;
use crate::home;
use core::sync::atomic::{AtomicU32, Ordering};
use rustix::thread::{Timespec, futex};

/// How often it is looked whether the pager is still there.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Closed at first.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicU32);

/// A pager that was killed opens nothing.
#[derive(Debug)]
pub(crate) struct PagerIsGone;

impl Gate {
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// Lets everybody through, for ever.
    pub(crate) fn open(&self) {
        self.0.store(1, Ordering::Release);
        let _ = futex::wake(&self.0, futex::Flags::PRIVATE, i32::MAX.cast_unsigned());
    }

    /// Waits until it is open.
    pub(crate) fn wait(&self, engine: &Engine) -> Result<(), PagerIsGone> {
        while !self.is_open() {
            // Ends early or not: it is looked again.
            let _ = futex::wait(&self.0, futex::Flags::PRIVATE, 0, Some(&LOOK));
            if engine.pager_is_a_process() && home::pager_is_gone() {
                return Err(PagerIsGone);
            }
        }
        Ok(())
    }
}
