#![expect(unsafe_code, reason = "shared memory that one process writes and another reads")]
//! The way of a trace out of the program: a ring of blocks in shared memory.
//!
//! One process appends bytes to the block at hand and passes it on when it is full; another takes
//! full blocks out, and in the end what is in the last. Nobody waits: where no block is free, what
//! would be written is counted as dropped. Whatever becomes of the writer, what it has
//! written stays.
//!
//! ```text
//! page 0:  magic  blocks  passed  taken  dropped  writer's number
//! then     BLOCKS × { used  events  dropped before  time  pid   payload … }
//! ```

use crate::shared;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::path::Path;

/// Bytes of a block, its head included.
pub const BLOCK_BYTES: usize = 32 << 10;
/// Bytes that a block can hold.
pub const PAYLOAD_BYTES: usize = BLOCK_BYTES - size_of::<Head>();
/// The fewest blocks of a ring.
pub const FEWEST_BLOCKS: u32 = 4;
/// The most: 1 GiB.
pub const MOST_BLOCKS: u32 = 1 << 15;
const PAGE: usize = 4096;
const MAGIC: u64 = 0x4f55_5443_5249_4e01;

#[repr(C)]
#[derive(Debug)]
struct Shared {
    magic: AtomicU64,
    blocks: AtomicU64,
    /// Blocks that the writer has passed on.
    passed: AtomicU64,
    /// Blocks that the reader has taken out.
    taken: AtomicU64,
    /// Events for which there was no room.
    dropped: AtomicU64,
}

#[repr(C, align(64))]
#[derive(Debug)]
struct Head {
    /// Bytes of the payload that are valid; stored after them.
    used: AtomicU32,
    events: AtomicU32,
    dropped_before: AtomicU64,
    time: AtomicU64,
    pid: AtomicU32,
}

/// Bytes of a ring of so many blocks.
pub fn ring_bytes(blocks: u32) -> usize {
    PAGE + blocks as usize * BLOCK_BYTES
}

/// A mapping of one ring, for ever.
#[derive(Clone, Copy, Debug)]
struct Ring {
    shared: &'static Shared,
    base: *mut u8,
    blocks: u64,
}

// SAFETY: the shared part is atomic; payloads are written by the one writer before `used` says so,
// and read by the one reader after.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps ring number `index` of those of `blocks` blocks that `file` holds one after the other.
    fn map(file: impl AsFd, index: usize, blocks: u32) -> Result<Self, Errno> {
        let len = ring_bytes(blocks);
        let offset = (index * len) as u64;
        let base = shared::map_for_ever(file, offset, len)?;
        // SAFETY: never unmapped, longer than the head and page-aligned; the head is atomic and
        // allows every bit pattern.
        let shared = unsafe { &*base.cast::<Shared>() };
        Ok(Self { shared, base, blocks: blocks.into() })
    }

    fn head(&self, block: u64) -> &'static Head {
        // SAFETY: within the mapping, which is for ever; aligned, because blocks and pages are.
        unsafe { &*self.base.add(PAGE + (block % self.blocks) as usize * BLOCK_BYTES).cast::<Head>() }
    }

    fn payload(&self, block: u64) -> *mut u8 {
        // SAFETY: within the mapping.
        unsafe { self.base.add(PAGE + (block % self.blocks) as usize * BLOCK_BYTES + size_of::<Head>()) }
    }
}

/// The writer's side.
#[derive(Debug)]
pub struct RingWriter {
    ring: Ring,
    pid: u32,
    /// The block at hand.
    block: u64,
    open: bool,
    used: usize,
    events: u32,
    dropped: u64,
}

/// Whether there is room for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// In the block at hand.
    Here,
    /// In a block that begins with it.
    NewBlock,
    /// Nowhere: it has been counted as dropped.
    None,
}

impl RingWriter {
    /// Opens ring number `index` at `path`, to go on behind whatever is in it. None where there is none.
    pub fn open(path: &Path, index: usize, pid: u32) -> Option<Self> {
        let file = shared::open(path)?;
        // How long rings are is told by the first.
        let first = Ring::map(&file, 0, FEWEST_BLOCKS).ok()?;
        let blocks = u32::try_from(first.shared.blocks.load(Relaxed)).ok()?;
        let known =
            first.shared.magic.load(Acquire) == MAGIC && (FEWEST_BLOCKS..=MOST_BLOCKS).contains(&blocks);
        let ring = if known { Ring::map(&file, index, blocks).ok()? } else { return None };
        // A process that was another program before has left a block behind.
        let block = ring.shared.passed.load(Relaxed);
        let left =
            block < ring.shared.taken.load(Relaxed) + ring.blocks && ring.head(block).used.load(Relaxed) > 0;
        let block = block + u64::from(left);
        ring.shared.passed.store(block, Release);
        Some(Self { ring, pid, block, open: false, used: 0, events: 0, dropped: 0 })
    }

    /// Makes room for an event of at most `most` bytes, at `time`, if there is any.
    pub fn room(&mut self, most: usize, time: u64) -> Room {
        if self.open && self.used + most <= PAYLOAD_BYTES {
            return Room::Here;
        }
        self.pass();
        if self.block >= self.ring.shared.taken.load(Acquire) + self.ring.blocks {
            self.dropped += 1;
            let dropped = &self.ring.shared.dropped;
            dropped.store(dropped.load(Relaxed) + 1, Relaxed);
            return Room::None;
        }
        let head = self.ring.head(self.block);
        head.used.store(0, Relaxed);
        head.events.store(0, Relaxed);
        head.dropped_before.store(core::mem::take(&mut self.dropped), Relaxed);
        head.time.store(time, Relaxed);
        head.pid.store(self.pid, Relaxed);
        (self.open, self.used, self.events) = (true, 0, 0);
        Room::NewBlock
    }

    /// Passes the block at hand on to the reader, if there is anything in it.
    pub fn pass(&mut self) {
        if self.open && self.used > 0 {
            self.open = false;
            self.block += 1;
            self.ring.shared.passed.store(self.block, Release);
        }
    }

    /// Appends an event, for which [`Self::room`] has made room.
    ///
    /// # Panics
    /// If there is no room for it.
    pub fn append(&mut self, bytes: &[u8]) {
        assert!(self.open && self.used + bytes.len() <= PAYLOAD_BYTES, "no room was made");
        // SAFETY: within the block's payload, which nobody else writes, and nobody reads
        // before `used` says so.
        unsafe {
            let place = self.ring.payload(self.block).add(self.used);
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
        }
        self.used += bytes.len();
        self.events += 1;
        let head = self.ring.head(self.block);
        head.events.store(self.events, Relaxed);
        head.used.store(self.used as u32, Release);
    }
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whose it is.
    pub pid: u32,
    /// How many events.
    pub events: u32,
    /// Events that were dropped before it.
    pub dropped_before: u64,
    /// When it begins.
    pub time: u64,
}

/// The reader's side.
#[derive(Debug)]
pub struct RingReader {
    ring: Ring,
}

impl RingReader {
    /// Makes ring number `index` of `file`, which is long enough and reads as zeros there.
    ///
    /// # Errors
    /// What fstat(2) and mmap(2) say.
    ///
    /// # Panics
    /// If `blocks` is not from [`FEWEST_BLOCKS`] to [`MOST_BLOCKS`].
    pub fn make(file: impl AsFd, index: usize, blocks: u32) -> Result<Self, Errno> {
        assert!((FEWEST_BLOCKS..=MOST_BLOCKS).contains(&blocks), "{blocks} blocks");
        let ring = Ring::map(file, index, blocks)?;
        ring.shared.blocks.store(blocks.into(), Relaxed);
        ring.shared.magic.store(MAGIC, Release);
        Ok(Self { ring })
    }

    /// Takes the next full block out: what is said of it, and its payload in `into`.
    pub fn take(&mut self, into: &mut Vec<u8>) -> Option<Taken> {
        let taken = self.ring.shared.taken.load(Relaxed);
        let full = taken < self.ring.shared.passed.load(Acquire);
        full.then(|| {
            let block = self.read(taken, into);
            // What is left of this round must not be taken for the next one's.
            self.ring.head(taken).used.store(0, Relaxed);
            self.ring.shared.taken.store(taken + 1, Release);
            block
        })
    }

    /// What is in the block at hand, which stays: to be called when [`Self::take`] gives nothing
    /// more and the writer has ended.
    pub fn last(&mut self, into: &mut Vec<u8>) -> Option<Taken> {
        let taken = self.ring.shared.taken.load(Relaxed);
        let block = self.read(taken, into);
        (!into.is_empty()).then_some(block)
    }

    /// Events dropped so far.
    pub fn dropped(&self) -> u64 {
        self.ring.shared.dropped.load(Relaxed)
    }

    fn read(&self, block: u64, into: &mut Vec<u8>) -> Taken {
        let head = self.ring.head(block);
        let used = (head.used.load(Acquire) as usize).min(PAYLOAD_BYTES);
        into.clear();
        // SAFETY: the first `used` bytes of a payload are not written any more. They are copied
        // without a reference to them.
        unsafe {
            into.reserve(used);
            core::ptr::copy_nonoverlapping(self.ring.payload(block), into.as_mut_ptr(), used);
            into.set_len(used);
        }
        Taken {
            pid: head.pid.load(Relaxed),
            events: head.events.load(Relaxed),
            dropped_before: head.dropped_before.load(Relaxed),
            time: head.time.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn rings(count: usize) -> (rustix::fd::OwnedFd, std::path::PathBuf) {
        let file = shared::file("ring", (count * ring_bytes(FEWEST_BLOCKS)) as u64).expect("memory");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
        (file, path)
    }

    fn write(writer: &mut RingWriter, number: u32) -> Room {
        let room = writer.room(100, number.into());
        if room != Room::None {
            let bytes = [&number.to_le_bytes()[..], &[7; 60]].concat();
            writer.append(&bytes);
        }
        room
    }

    fn numbers(bytes: &[u8]) -> Vec<u32> {
        let first = |event: &[u8]| u32::from_le_bytes([event[0], event[1], event[2], event[3]]);
        bytes.chunks(64).map(first).collect()
    }

    #[test]
    fn what_is_written_arrives_in_order_and_what_does_not_fit_is_counted() {
        let (file, path) = rings(3);
        RingReader::make(&file, 0, FEWEST_BLOCKS).expect("a ring");
        let mut reader = RingReader::make(&file, 2, FEWEST_BLOCKS).expect("a ring");
        let mut writer = RingWriter::open(&path, 2, 99).expect("it is there");
        let mut bytes = Vec::new();
        assert_eq!(reader.take(&mut bytes), None);
        let (mut found, mut written, mut dropped) = (Vec::new(), Vec::new(), 0);
        for number in 0..50_000 {
            match write(&mut writer, number) {
                Room::None => dropped += 1,
                Room::Here | Room::NewBlock => written.push(number),
            }
            // A reader that is slow now and then.
            if number % 10_000 > 6_000 {
                while let Some(taken) = reader.take(&mut bytes) {
                    assert_eq!((taken.pid, taken.events as usize), (99, bytes.len() / 64));
                    assert_eq!(taken.time, u64::from(numbers(&bytes)[0]));
                    found.extend(numbers(&bytes));
                }
            }
        }
        while reader.take(&mut bytes).is_some() {
            found.extend(numbers(&bytes));
        }
        assert!(reader.last(&mut bytes).is_some());
        found.extend(numbers(&bytes));
        assert!(dropped > 1000, "{dropped}");
        assert_eq!((found, reader.dropped()), (written, dropped));
    }

    #[test]
    fn another_writer_goes_on_behind_the_first() {
        let (file, path) = rings(1);
        let mut reader = RingReader::make(&file, 0, FEWEST_BLOCKS).expect("a ring");
        for pid in [1, 2] {
            let mut writer = RingWriter::open(&path, 0, pid).expect("it is there");
            write(&mut writer, pid);
        }
        let mut bytes = Vec::new();
        assert_eq!(reader.take(&mut bytes).map(|block| block.pid), Some(1));
        assert_eq!(reader.take(&mut bytes), None);
        assert_eq!(reader.last(&mut bytes).map(|block| block.pid), Some(2));
        assert_eq!(numbers(&bytes), [2]);
    }

    #[test]
    fn what_is_no_ring_is_refused() {
        let (_file, path) = rings(1);
        assert!(RingWriter::open(&path, 0, 1).is_none());
        assert!(RingWriter::open(Path::new("/dev/null"), 0, 1).is_none());
    }
}
