#![expect(unsafe_code, reason = "writes to standard error")]
//! Whom an engine tells: the supervisor of its process, or, as an instance in a program
//! that was written for it, that program and who runs it.

use crate::engine::{program, record};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use rustix::fs::{Mode, OFlags};
use std::sync::Arc;
use sys::status::Record;

/// The pager's threads have the program's standard error.
static IS_HEARD: AtomicBool = AtomicBool::new(false);

/// From now on what stops the program is said on standard error as well.
pub(crate) fn be_heard() {
    IS_HEARD.store(true, Ordering::Release);
}

/// Writes a line to standard error, if that is ours. Does not allocate.
pub(crate) fn cry(text: &str) {
    if !IS_HEARD.load(Ordering::Acquire) {
        return;
    }
    let mut stream = libc::pollfd { fd: 2, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry; our own bytes. A pipe that nobody empties is not waited for, and
    // where nobody listens nothing more can be done.
    unsafe {
        if libc::poll(&mut stream, 1, 0) == 1 {
            for part in ["outcore: ", text, "\n"] {
                libc::write(2, part.as_ptr().cast(), part.len());
            }
        }
    }
}

/// Writes a line to the program's standard error, which is opened for that alone: kept open, it
/// would keep the other end of a pipe from ever seeing its end.
pub(crate) fn tell_program(text: &str) {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let path = format!("/proc/{}/fd/2", program());
    // Where it cannot be opened or written to at once, nobody is told.
    if let Ok(stream) = rustix::fs::open(path, flags, Mode::empty()) {
        let _ = rustix::io::write(stream, format!("outcore: {text}\n").as_bytes());
    }
}

/// Messages of one instance that are said aloud; the first stays in its record.
const MOST: u32 = 16;

/// What an instance tells its program.
#[derive(Debug)]
pub(crate) struct Told {
    record: Record,
    cries: AtomicU32,
}

impl Told {
    /// Nothing yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { record: Record::new(), cries: AtomicU32::new(0) })
    }

    /// The numbers, and the first message.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }
}

/// Whom one engine tells.
#[derive(Clone, Debug)]
pub(crate) enum Voice {
    /// The supervisor, by the process's record of the status page.
    Process,
    /// The program, by a record of the engine's own, and standard error.
    Instance(Arc<Told>),
}

impl Voice {
    /// Where the numbers go.
    pub(crate) fn record(&self) -> Option<&Record> {
        match self {
            Self::Process => record(),
            Self::Instance(told) => Some(told.record()),
        }
    }

    /// Leaves a message: for the supervisor, because the program's own descriptors are not
    /// ours to write to; or for the program, and on standard error.
    pub(crate) fn say(&self, text: &str) {
        if let Some(record) = self.record() {
            record.degraded.store(1, Ordering::Relaxed);
            record.say(text);
        }
        if let Self::Instance(told) = self
            && told.cries.fetch_add(1, Ordering::Relaxed) < MOST
        {
            cry(text);
        }
    }

    /// What the user calls the three limits: of RAM, of the store, and the store's place.
    pub(crate) fn limits(&self) -> [&'static str; 3] {
        match self {
            Self::Process => ["--ram", "--store-size", "--store"],
            Self::Instance(_) => ["the heap's budget", "the store's size", "the store"],
        }
    }
}
