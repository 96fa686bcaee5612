#![expect(unsafe_code, reason = "writes to standard error")]
//! Whom an engine tells: the supervisor of its process, or, as an instance in a program
//! that was written for it, that program and who runs it.

use crate::engine::{program, record};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use rustix::fs::{Mode, OFlags};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use sys::status::{Phase, Record, StatusPage};

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
    record: Numbers,
    cries: AtomicU32,
}

/// Where an instance's numbers are.
#[derive(Debug)]
enum Numbers {
    /// On the status page of the run that the program belongs to, for everybody.
    Shared(&'static Record),
    /// Here, for the program alone.
    Own(Box<Record>),
}

/// The status page of `outcore run`, if that runs this program.
fn page() -> Option<&'static StatusPage> {
    static PAGE: OnceLock<Option<&StatusPage>> = OnceLock::new();
    *PAGE.get_or_init(|| StatusPage::open(std::env::var_os("OUTCORE_STATUS")?.as_ref()))
}

/// Instances that this process has begun so far. Held while one gets its record.
static BEGUN: Mutex<u64> = Mutex::new(0);

impl Told {
    /// Nothing yet.
    pub(crate) fn new() -> Arc<Self> {
        let mut begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
        *begun += 1;
        let shared = page().and_then(|page| page.claim_heap(std::process::id(), *begun));
        let record = shared.map_or_else(|| Numbers::Own(Box::default()), Numbers::Shared);
        Arc::new(Self { record, cries: AtomicU32::new(0) })
    }

    /// The numbers, and the first message.
    pub(crate) fn record(&self) -> &Record {
        match &self.record {
            Numbers::Shared(record) => record,
            Numbers::Own(record) => record,
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.record().phase.store(Phase::Free as u32, Ordering::Release);
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
