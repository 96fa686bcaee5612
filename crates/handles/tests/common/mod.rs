//! Stores that fail, and numbers that look random.
#![allow(dead_code, reason = "every test file uses some of it")]

use handles::{Builder, MemoryStore, Store, VirtualHeap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Miri takes a second for a digest of 4 KiB.
pub(crate) const PAGE: usize = if cfg!(miri) { 512 } else { 4096 };

/// A heap of so many frames and virtual pages, whose store and policy are still to be chosen.
pub(crate) fn sized(frames: usize, pages: usize) -> Builder {
    VirtualHeap::builder().page_size(PAGE).physical(frames * PAGE).virtual_size(pages * PAGE)
}

/// The same, over this store.
pub(crate) fn over(store: impl Store + 'static, frames: usize, pages: usize) -> VirtualHeap {
    sized(frames, pages).store(store).build().expect("possible sizes")
}

/// The same, in memory that always works.
pub(crate) fn heap(frames: usize, pages: usize) -> VirtualHeap {
    over(MemoryStore::new(), frames, pages)
}

/// A store in memory that counts, and fails when it is told to.
#[derive(Debug, Default)]
pub(crate) struct Faulty {
    store: MemoryStore,
    pub(crate) fail_writes: AtomicBool,
    pub(crate) fail_reads: AtomicBool,
    /// Reads give a wrong bit.
    pub(crate) lie: AtomicBool,
    /// A write that fails has already changed half of its bytes.
    pub(crate) tear: AtomicBool,
    pub(crate) reads: AtomicU64,
    pub(crate) writes: AtomicU64,
    /// The end of the last byte that was ever written, or tried to be.
    pub(crate) end: AtomicU64,
}

impl Faulty {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }
}

impl Store for Faulty {
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.reads.fetch_add(1, SeqCst);
        if self.fail_reads.load(SeqCst) {
            into.fill(0xee);
            return Err(io::Error::other("told to fail"));
        }
        self.store.read(offset, into)?;
        if self.lie.load(SeqCst) {
            into[17] ^= 4;
        }
        Ok(())
    }

    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.writes.fetch_add(1, SeqCst);
        self.end.fetch_max(offset + from.len() as u64, SeqCst);
        if self.fail_writes.load(SeqCst) {
            if self.tear.load(SeqCst) {
                self.store.write(offset, &vec![0xdd; from.len() / 2])?;
            }
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.store.write(offset, from)
    }
}

/// xorshift64*, S. Vigna 2016.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }
}

/// Bytes that differ by page and place, zeros and line ends among them.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed.wrapping_add(1));
    (0..len).map(|_| random.next() as u8).collect()
}
