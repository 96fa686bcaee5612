#![expect(unsafe_code, reason = "maps the page")]
//! The status page: one block of shared memory in which every paged process of
//! a run keeps its numbers, written without locks and read by the supervisor.
//!
//! The supervisor creates it as a memfd; a program finds it by the path in
//! `OUTCORE_STATUS` (`/proc/PID/fd/N`), claims a free [`Record`] and writes
//! only there. Numbers are monotonic counters or gauges, in bytes, pages or
//! nanoseconds as their names say. A reader may see a set of numbers from
//! slightly different instants; each single number is whole.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::path::Path;

/// Marks a status page, and its layout's version in the last two digits.
pub const MAGIC: u64 = 0x4f55_5443_4f52_4501;

/// Processes that one status page can hold. Later ones run unreported.
pub const MAX_RECORDS: usize = 256;

/// Bytes of one process's message.
pub const MESSAGE_BYTES: usize = 480;

/// What the engine of a process is doing; stored in [`Record::phase`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    /// No process has claimed the record.
    Free = 0,
    /// What was promised fits the budget; nothing is watched or paged.
    Dormant = 1,
    /// Promises exceed the budget: resident bytes are being sampled.
    Watching = 2,
    /// The budget was reached: memory is paged.
    Paging = 3,
    /// The engine stopped the program; [`Record::message`] says why.
    Failed = 4,
}

impl Phase {
    /// The phase stored as `raw`; unknown values read as `Failed`.
    pub fn from_raw(raw: u32) -> Self {
        match raw {
            0 => Self::Free,
            1 => Self::Dormant,
            2 => Self::Watching,
            3 => Self::Paging,
            _ => Self::Failed,
        }
    }
}

macro_rules! record {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The numbers of one process. All zero when free.
        #[repr(C)]
        #[derive(Debug)]
        pub struct Record {
            /// A [`Phase`].
            pub phase: AtomicU32,
            /// The process.
            pub pid: AtomicU32,
            $($(#[$doc])* pub $name: AtomicU64,)*
            /// Bytes of `message` that are valid; stored after the bytes.
            pub message_len: AtomicU32,
            /// Non-zero when `message` reports a failure that lost service
            /// (not data): the store latched or filled.
            pub degraded: AtomicU32,
            /// UTF-8, not terminated.
            pub message: [AtomicU8; MESSAGE_BYTES],
        }

        impl Record {
            /// The record of a process that has no status page.
            pub const fn new() -> Self {
                Self {
                    phase: AtomicU32::new(0),
                    pid: AtomicU32::new(0),
                    $($name: AtomicU64::new(0),)*
                    message_len: AtomicU32::new(0),
                    degraded: AtomicU32::new(0),
                    message: [const { AtomicU8::new(0) }; MESSAGE_BYTES],
                }
            }

            /// Every number by name, in declaration order.
            pub fn numbers(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Relaxed)),)*]
            }
        }
    };
}

record! {
    /// The process's RAM budget in bytes.
    budget_bytes,
    /// Feature bits of [`feature`] that are in use.
    features,
    /// Faults resolved without I/O.
    minor_faults,
    /// Faults that waited for the store.
    major_faults,
    /// Pages read from the store.
    swap_ins,
    /// Pages written to the store.
    swap_outs,
    /// Frames looked at by reclaim.
    pages_scanned,
    /// Frames that reclaim freed.
    pages_reclaimed,
    /// Parked pages touched before their frame was taken.
    rescues,
    /// Pages that came back after having been evicted.
    refaults,
    /// Pages evicted without a write because the store held the same bytes.
    clean_evictions,
    /// Pages evicted without a write because they were all zero.
    zero_evictions,
    /// Pages read before they were asked for.
    readahead_pages,
    /// Pages read ahead that were then touched.
    readahead_hits,
    /// Bytes read from the store.
    read_bytes,
    /// Bytes written to the store.
    writeback_bytes,
    /// Nanoseconds for which faults waited, summed over threads.
    stall_ns,
    /// Bytes of paged memory that hold data now (resident, parked, swapped).
    heap_bytes,
    /// The largest `heap_bytes` seen.
    peak_heap_bytes,
    /// Paged pages that hold a frame now.
    resident_pages,
    /// Resident set of the whole process when last sampled, in bytes.
    rss_bytes,
    /// The largest `rss_bytes` seen.
    peak_rss_bytes,
    /// What of `peak_rss_bytes` was not paged: code, stacks, small mappings.
    unpaged_bytes,
    /// Outcore's own resident tables, in bytes.
    metadata_bytes,
    /// Pages whose bytes could not be read back right; touching them is SIGBUS.
    poisoned_pages,
    /// Moves that the kernel refused because a page was pinned or shared.
    busy_moves,
    /// Forks after paging began.
    forked_children,
}

/// Bits of [`Record::features`].
pub mod feature {
    /// Frames move (UFFDIO_MOVE); without it they are copied.
    pub const MOVE: u64 = 1;
    /// Transfers go through io_uring; without it through a thread pool.
    pub const IO_URING: u64 = 2;
    /// Faults taken inside system calls are served too.
    pub const FULL_USERFAULTFD: u64 = 4;
    /// The store is a file; without it memory.
    pub const FILE_STORE: u64 = 8;
    /// The store bypasses the page cache.
    pub const DIRECT_IO: u64 = 16;
    /// Children that are forked after paging began are paged as well.
    pub const FORKS: u64 = 32;
    /// The pager is a process of its own; otherwise a thread of the program.
    pub const PAGER_PROCESS: u64 = 64;
}

/// The page itself.
#[repr(C)]
#[derive(Debug)]
pub struct StatusPage {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// Records claimed so far; may exceed [`MAX_RECORDS`], the rest went unreported.
    pub claimed: AtomicU64,
    /// One per process, in the order in which they started.
    pub records: [Record; MAX_RECORDS],
}

impl StatusPage {
    /// Maps the page that `file` holds, for ever.
    ///
    /// # Errors
    /// What fstat(2) and mmap(2) say; `EINVAL` for a file that is too short.
    pub fn map(file: impl AsFd) -> Result<&'static Self, Errno> {
        if rustix::fs::fstat(&file)?.st_size < size_of::<Self>() as i64 {
            return Err(Errno::INVAL);
        }
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice. It is never
        // unmapped, as large as the type and page-aligned; every field allows every
        // bit pattern and is atomic, because others may write at any time.
        unsafe {
            let page = rustix::mm::mmap(null_mut(), size_of::<Self>(), rights, MapFlags::SHARED, file, 0)?;
            Ok(&*page.cast::<Self>())
        }
    }

    /// The page at `path`, if it is one.
    pub fn open(path: &Path) -> Option<&'static Self> {
        let file = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?;
        Self::map(file).ok().filter(|page| page.magic.load(Acquire) == MAGIC)
    }

    /// The last record of process `pid`.
    pub fn find(&self, pid: u32) -> Option<&Record> {
        let claimed = usize::try_from(self.claimed.load(Relaxed)).unwrap_or(MAX_RECORDS);
        let records = &self.records[..claimed.min(MAX_RECORDS)];
        records.iter().rev().find(|record| record.pid.load(Relaxed) == pid)
    }

    /// A record for process `pid`: the next free one, or that of the program which it
    /// ran before and which paged nothing and had nothing to say. None when all are
    /// taken. Others are not reused within a run, so that a report can name processes
    /// that have ended.
    pub fn claim(&self, pid: u32) -> Option<&Record> {
        let before = self.find(pid).filter(|record| {
            matches!(Phase::from_raw(record.phase.load(Relaxed)), Phase::Dormant | Phase::Watching)
                && record.message_len.load(Relaxed) == 0
        });
        if before.is_some() {
            return before;
        }
        let index = usize::try_from(self.claimed.fetch_add(1, Relaxed)).ok()?;
        let record = self.records.get(index)?;
        record.pid.store(pid, Relaxed);
        record.phase.store(Phase::Dormant as u32, Relaxed);
        Some(record)
    }
}

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

impl Record {
    /// Leaves `text` (cut to [`MESSAGE_BYTES`]) for the supervisor to print.
    /// The first message stays: it names the cause, later ones the consequences.
    pub fn say(&self, text: &str) {
        use core::sync::atomic::Ordering::Release;
        if self.message_len.load(Relaxed) != 0 {
            return;
        }
        let bytes = &text.as_bytes()[..text.len().min(MESSAGE_BYTES)];
        for (cell, byte) in self.message.iter().zip(bytes) {
            cell.store(*byte, Relaxed);
        }
        self.message_len.store(bytes.len() as u32, Release);
    }

    /// The message, if one was left.
    pub fn message(&self) -> Option<String> {
        let len = self.message_len.load(Acquire) as usize;
        let bytes: Vec<u8> = self.message.iter().take(len).map(|cell| cell.load(Relaxed)).collect();
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}
