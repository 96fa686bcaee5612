#![expect(unsafe_code, reason = "says that a page may be shared")]
//! The status page: one block of shared memory in which every paged process of
//! a run keeps its numbers, written without locks and read by the supervisor.
//!
//! The supervisor creates it as a memfd; a program finds it by the path in
//! `OUTCORE_STATUS` (`/proc/PID/fd/N`), claims a free [`Record`] and writes
//! only there. Numbers are monotonic counters or gauges, in bytes, pages or
//! nanoseconds as their names say. A reader may see a set of numbers from
//! slightly different instants; each single number is whole.
//!
//! Besides numbers a record has histograms, a map of what is paged by state, and a table
//! of the code addresses that fault most. The last two are drawn while somebody watches,
//! who says so in [`Record::watched`].

use crate::histogram::SharedHistogram;
use crate::shared::{self, Common};
use core::sync::atomic::{
    AtomicU8, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::path::Path;

/// Marks a status page, and its layout's version in the last two digits.
pub const MAGIC: u64 = 0x4f55_5443_4f52_4504;

/// What all versions of [`MAGIC`] have in common.
pub const MAGIC_OF_ANY_VERSION: u64 = MAGIC >> 8;

/// Processes that one status page can hold. Later ones run unreported.
pub const MAX_RECORDS: usize = 256;

/// Bytes of one process's message.
pub const MESSAGE_BYTES: usize = 480;

/// Cells of the map of what is paged.
pub const MAP_CELLS: usize = 1024;

/// Areas and families that are told apart.
pub const MAX_PARTS: usize = 32;

/// Of these, places for families: the last ones, from the end.
pub const MAX_FAMILIES: usize = 16;

/// Bytes of a part's name.
pub const NAME_BYTES: usize = 32;

/// Code addresses that are told apart.
pub const MAX_HOT: usize = 64;

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
            /// How long faults without I/O took to serve, in nanoseconds, from when they were read.
            pub minor_fault_ns: SharedHistogram,
            /// How long threads waited for the store in one fault, in nanoseconds.
            pub stall_ns_each: SharedHistogram,
            /// How long reads took, in nanoseconds.
            pub read_ns: SharedHistogram,
            /// How long writes took, in nanoseconds.
            pub write_ns: SharedHistogram,
            /// What is paged, in order of address. Valid up to `map_cells`.
            pub map: [Cell; MAP_CELLS],
            /// The largest areas, valid up to `parts`; from the end, families, as many as `families` says.
            pub part: [Part; MAX_PARTS],
            /// Code that faults, in no order; unused ones are 0.
            pub hot: [Hot; MAX_HOT],
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
                    minor_fault_ns: SharedHistogram::new(),
                    stall_ns_each: SharedHistogram::new(),
                    read_ns: SharedHistogram::new(),
                    write_ns: SharedHistogram::new(),
                    map: [const { Cell::new() }; MAP_CELLS],
                    part: [const { Part::new() }; MAX_PARTS],
                    hot: [const { Hot { code: AtomicU64::new(0), count: AtomicU64::new(0) } }; MAX_HOT],
                }
            }

            /// As it is when nobody has it, but for its process.
            fn clear(&self) {
                $(self.$name.store(0, Relaxed);)*
                self.message_len.store(0, Relaxed);
                self.degraded.store(0, Relaxed);
                for histogram in [&self.minor_fault_ns, &self.stall_ns_each, &self.read_ns, &self.write_ns] {
                    histogram.clear();
                }
                self.hot.iter().for_each(|hot| hot.code.store(0, Relaxed));
            }

            /// Every number by name, in declaration order.
            pub fn numbers(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Relaxed)),)*]
            }
        }
    };
}

record! {
    /// The RAM budget in bytes, of the process and all that share it.
    budget_bytes,
    /// Bytes that may be resident here now, of a budget that several processes share.
    share_bytes,
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
    /// Paged pages in memory that are not mapped.
    parked_pages,
    /// Pages that are only in the store.
    swapped_pages,
    /// Pages of everything that is paged, touched or not.
    area_pages,
    /// Frames that paged pages may hold now.
    frames,
    /// Transfers between memory and store that are under way.
    transfers,
    /// The most there were at once.
    peak_transfers,
    /// Events of a trace that were lost, because its buffer was full.
    trace_dropped,
    /// When the process started, in clock ticks since the machine did (proc(5), `starttime`).
    start_ticks,
    /// The process that is its pager; 0 before there is one, or if that is a thread.
    pager_pid,
    /// When paging began, in nanoseconds of the monotonic clock; 0 before.
    paging_since_ns,
    /// When the numbers were last written, in nanoseconds of the monotonic clock.
    updated_ns,
    /// When somebody last looked, in the same; written by the reader.
    watched,
    /// When the map and the parts were last drawn, in the same.
    drawn_ns,
    /// Cells of the map that are valid.
    map_cells,
    /// Areas that are valid.
    parts,
    /// Families that are valid.
    families,
    /// Which of its process's heaps it is of, from 1 on; 0: of the process itself.
    heap,
    /// Faults whose code address was looked up.
    hot_samples,
    /// Bytes of maps of files that have been paged.
    paged_file_bytes,
    /// Of these, bytes that were given back to the kernel, because somebody wanted to write to the file or the
    /// program changed the map.
    returned_file_bytes,
    /// Bytes of maps of files that were left to the kernel although files were to be paged.
    kept_file_bytes,
    /// Why: bits of [`kept`].
    kept_file_reasons,
}

/// A piece of what is paged: pages that follow one another, gaps between areas aside.
#[repr(C)]
#[derive(Debug)]
pub struct Cell {
    /// Where its first page is.
    pub start: AtomicU64,
    /// How many pages it has.
    pub pages: AtomicU32,
    /// Of these, mapped or being read.
    pub resident: AtomicU32,
    /// In memory and unmapped.
    pub parked: AtomicU32,
    /// In the store only.
    pub swapped: AtomicU32,
}

impl Cell {
    const fn new() -> Self {
        Self {
            start: AtomicU64::new(0),
            pages: AtomicU32::new(0),
            resident: AtomicU32::new(0),
            parked: AtomicU32::new(0),
            swapped: AtomicU32::new(0),
        }
    }
}

/// What a [`Part`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PartKind {
    /// A range of addresses.
    Area = 0,
    /// A page family of the library, by its name.
    Family = 1,
}

/// An area or a page family.
#[repr(C)]
#[derive(Debug)]
pub struct Part {
    /// A [`PartKind`].
    pub kind: AtomicU32,
    /// Bytes of `name` that are valid.
    pub name_len: AtomicU32,
    /// A family's name, UTF-8.
    pub name: [AtomicU8; NAME_BYTES],
    /// Where the first page of an area lies that is touched.
    pub start: AtomicU64,
    /// How many pages it has, of an area up to the last one that is touched.
    pub pages: AtomicU64,
    /// Of an area's, mapped or being read.
    pub resident: AtomicU64,
    /// In memory and unmapped.
    pub parked: AtomicU64,
    /// In the store only.
    pub swapped: AtomicU64,
    /// Bytes that objects of a family take.
    pub used_bytes: AtomicU64,
}

impl Part {
    /// Makes it a family's.
    pub fn set_family(&self, name: &str, used_bytes: u64, pages: u64, states: [u64; 3]) {
        let mut len = name.len().min(NAME_BYTES);
        while !name.is_char_boundary(len) {
            len -= 1;
        }
        self.kind.store(PartKind::Family as u32, Relaxed);
        for (cell, byte) in self.name.iter().zip(&name.as_bytes()[..len]) {
            cell.store(*byte, Relaxed);
        }
        self.name_len.store(len as u32, Relaxed);
        self.used_bytes.store(used_bytes, Relaxed);
        self.pages.store(pages, Relaxed);
        for (number, count) in [&self.resident, &self.parked, &self.swapped].into_iter().zip(states) {
            number.store(count, Relaxed);
        }
    }

    const fn new() -> Self {
        Self {
            kind: AtomicU32::new(0),
            name_len: AtomicU32::new(0),
            name: [const { AtomicU8::new(0) }; NAME_BYTES],
            start: AtomicU64::new(0),
            pages: AtomicU64::new(0),
            resident: AtomicU64::new(0),
            parked: AtomicU64::new(0),
            swapped: AtomicU64::new(0),
            used_bytes: AtomicU64::new(0),
        }
    }
}

/// A code address, and how many faults were seen there.
#[repr(C)]
#[derive(Debug)]
pub struct Hot {
    /// The address; 0: unused.
    pub code: AtomicU64,
    /// Faults seen there; at most too many by those that the entry had before.
    pub count: AtomicU64,
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
    /// Files that the program maps are paged as long as nobody can write to them.
    pub const MAP_FILES: u64 = 128;
}

/// Bits of [`Record::kept_file_reasons`]: why maps of files were left to the kernel.
pub mod kept {
    /// They fit the budget.
    pub const FITS: u64 = 1;
    /// They can be written or executed, or are locked or at an address of the program's choice.
    pub const KIND: u64 = 2;
    /// Somebody has the file open for writing.
    pub const WRITABLE: u64 = 4;
    /// The file is another user's, and the program has not `CAP_LEASE`.
    pub const NOT_OWNER: u64 = 8;
    /// The file system has no leases that say everything, or no transfers past the page cache.
    pub const FILE_SYSTEM: u64 = 16;
    /// There are as many such maps as there may be, or no memory, descriptors or addresses for more.
    pub const LIMIT: u64 = 32;
    /// The machine does not offer what it takes: a full userfaultfd, and time to give leases back.
    pub const MACHINE: u64 = 64;
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

// SAFETY: of C's layout, and atomic all through.
unsafe impl Common for StatusPage {}

impl StatusPage {
    /// Maps the page that `file` holds, for ever.
    ///
    /// # Errors
    /// What fstat(2) and mmap(2) say; `EINVAL` for a file that is too short.
    pub fn map(file: impl AsFd) -> Result<&'static Self, Errno> {
        shared::value(file)
    }

    /// The page at `path`, if it is one.
    pub fn open(path: &Path) -> Option<&'static Self> {
        shared::value_at::<Self>(path).filter(|page| page.magic.load(Acquire) == MAGIC)
    }

    /// Records that somebody has or had.
    fn claimed(&self) -> &[Record] {
        let claimed = usize::try_from(self.claimed.load(Relaxed)).unwrap_or(MAX_RECORDS);
        &self.records[..claimed.min(MAX_RECORDS)]
    }

    /// The last record of process `pid`; those of its heaps aside.
    pub fn find(&self, pid: u32) -> Option<&Record> {
        let is_its = |record: &Record| record.pid.load(Relaxed) == pid && record.heap.load(Relaxed) == 0;
        self.claimed().iter().rev().find(|record| is_its(record))
    }

    /// The records of process `pid`'s heaps.
    fn heaps_of(&self, pid: u32) -> impl Iterator<Item = &Record> {
        let is_its =
            move |record: &&Record| record.pid.load(Relaxed) == pid && record.heap.load(Relaxed) != 0;
        self.claimed().iter().filter(is_its)
    }

    /// A record for the heap of number `heap`, not 0, of process `pid`: one that another heap of
    /// that process has given back, or the next free one. None when all are taken. Two
    /// threads do not call this at once.
    pub fn claim_heap(&self, pid: u32, heap: u64) -> Option<&Record> {
        let is_free = |record: &&Record| record.phase.load(Acquire) == Phase::Free as u32;
        let record = match self.heaps_of(pid).find(is_free) {
            Some(record) => record,
            None => {
                let index = usize::try_from(self.claimed.fetch_add(1, Relaxed)).ok()?;
                self.records.get(index)?
            }
        };
        record.clear();
        record.heap.store(heap, Relaxed);
        record.pid.store(pid, Relaxed);
        record.start_ticks.store(start_ticks(pid).unwrap_or(0), Relaxed);
        record.phase.store(Phase::Dormant as u32, Release);
        Some(record)
    }

    /// A record for process `pid`: the next free one, or that of the program which it
    /// ran before and which paged nothing and had nothing to say. None when all are
    /// taken. Others are not reused within a run, so that a report can name processes
    /// that have ended.
    pub fn claim(&self, pid: u32) -> Option<&Record> {
        // The program before had heaps, this one has none.
        self.heaps_of(pid).for_each(|record| record.phase.store(Phase::Free as u32, Release));
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
        record.start_ticks.store(start_ticks(pid).unwrap_or(0), Relaxed);
        record.phase.store(Phase::Dormant as u32, Relaxed);
        Some(record)
    }
}

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

/// When process `pid` started, as `/proc` has it: two processes that had the same number
/// one after the other differ in it. None if there is no such process.
pub fn start_ticks(pid: u32) -> Option<u64> {
    state_and_start(pid).map(|(_, start)| start)
}

/// The same; none as well for a process that has ended and has not been buried.
pub fn running_since(pid: u32) -> Option<u64> {
    state_and_start(pid).filter(|(state, _)| !matches!(state, b'Z' | b'X')).map(|(_, start)| start)
}

fn state_and_start(pid: u32) -> Option<(u8, u64)> {
    let file = rustix::fs::open(format!("/proc/{pid}/stat"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut bytes = [0; 1024];
    let len = rustix::io::read(&file.ok()?, &mut bytes).ok()?;
    // The name, in parentheses, may hold anything; the state follows, and nineteen fields
    // after it the start.
    let after = bytes[..len].iter().rposition(|byte| *byte == b')')? + 1;
    let text = core::str::from_utf8(&bytes[after..len]).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

impl StatusPage {
    /// Which one of [`Self::records`] that is.
    pub fn index_of(&self, record: &Record) -> Option<usize> {
        self.records.iter().position(|other| core::ptr::eq(other, record))
    }
}

impl Record {
    /// A map of so many bytes of a file is left to the kernel, for a reason of [`kept`].
    pub fn keep_file(&self, bytes: u64, reason: u64) {
        self.kept_file_bytes.fetch_add(bytes, Relaxed);
        self.kept_file_reasons.fetch_or(reason, Relaxed);
    }

    /// Counts a fault at `code`, in place of whatever was seen least where the table is full
    /// (Metwally, Agrawal and El Abbadi, "Efficient computation of frequent and top-k
    /// elements in data streams", 2005). Only the one writer may call this.
    pub fn note_code(&self, code: u64) {
        let known = self.hot.iter().find(|hot| hot.code.load(Relaxed) == code);
        let place = known.or_else(|| self.hot.iter().min_by_key(|hot| hot.count.load(Relaxed)));
        if let Some(hot) = place {
            hot.code.store(code, Relaxed);
            hot.count.store(hot.count.load(Relaxed) + 1, Relaxed);
        }
        self.hot_samples.store(self.hot_samples.load(Relaxed) + 1, Relaxed);
    }

    /// Leaves `text` (cut to [`MESSAGE_BYTES`]) for the supervisor to print.
    /// The first message stays: it names the cause, later ones the consequences.
    pub fn say(&self, text: &str) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> &'static StatusPage {
        let memory = shared::file("test", size_of::<StatusPage>() as u64).expect("a file in memory");
        StatusPage::map(&memory).expect("a mapping")
    }

    #[test]
    fn heaps_have_records_of_their_own_and_leave_them_to_the_next() {
        let (page, pid) = (page(), std::process::id());
        let own = page.claim(pid).expect("a record");
        let first = page.claim_heap(pid, 1).expect("a record");
        let second = page.claim_heap(pid, 2).expect("a record");
        assert!(!core::ptr::eq(first, second) && !core::ptr::eq(first, own));
        assert!(core::ptr::eq(page.find(pid).expect("its own"), own));
        first.minor_faults.store(7, Relaxed);
        first.minor_fault_ns.add(100);
        first.phase.store(Phase::Free as u32, Relaxed);
        let third = page.claim_heap(pid, 3).expect("a record");
        assert!(core::ptr::eq(third, first));
        assert_eq!((third.minor_faults.load(Relaxed), third.minor_fault_ns.read().count()), (0, 0));
        // Another program of the same process has no heaps yet.
        page.claim(pid);
        assert!([second, third].iter().all(|heap| heap.phase.load(Relaxed) == Phase::Free as u32));
    }

    #[test]
    fn names_are_cut_between_characters() {
        let part = Part::new();
        let name = format!("{}é", "a".repeat(NAME_BYTES - 1));
        part.set_family(&name, 1, 2, [3, 4, 5]);
        assert_eq!(part.name_len.load(Relaxed) as usize, NAME_BYTES - 1);
        assert_eq!([&part.resident, &part.parked, &part.swapped].map(|n| n.load(Relaxed)), [3, 4, 5]);
    }
}
