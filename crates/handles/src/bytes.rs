//! Contiguous bytes that may be pinned: reached by several threads without the heap's lock.
//!
//! Bytes of a pinned block are shared between the heap, which serves reads and writes of the
//! same block, and everybody who pinned it. They are therefore atomic bytes. While nobody else
//! has them, as [`Arc::get_mut`] proves, they are copied as plain ones, which is as fast as
//! copying gets; the others are copied one by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What addresses are a multiple of: any type of C fits, and a cache line.
pub(crate) const ALIGN: usize = 64;

/// Contiguous bytes, zero at first, at an address that does not change. A clone is the same bytes.
#[derive(Clone, Debug)]
pub(crate) struct Bytes {
    /// [`ALIGN`] − 1 more than asked for, so that an aligned part can be used.
    all: Arc<[AtomicU8]>,
    start: usize,
    len: usize,
}

impl Bytes {
    pub(crate) fn zeroed(len: usize) -> Self {
        let all: Arc<[AtomicU8]> = (0..len + ALIGN - 1).map(|_| AtomicU8::new(0)).collect();
        let start = all.as_ptr().align_offset(ALIGN);
        assert!(start < ALIGN, "bytes can be aligned to {ALIGN}");
        Self { all, start, len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bytes as everybody may use them.
    pub(crate) fn shared(&self) -> &[AtomicU8] {
        &self.all[self.start..self.start + self.len]
    }

    /// The bytes as only one who has them to himself may use them.
    fn own(&mut self) -> Option<&mut [AtomicU8]> {
        let Self { start, len, .. } = *self;
        Arc::get_mut(&mut self.all).map(|all| &mut all[start..start + len])
    }

    /// Copies from `at` on into `into`.
    pub(crate) fn read(&mut self, at: usize, into: &mut [u8]) {
        let range = at..at + into.len();
        match self.own() {
            Some(own) => into.iter_mut().zip(&mut own[range]).for_each(|(to, from)| *to = *from.get_mut()),
            None => load(&self.shared()[range], into),
        }
    }

    /// Copies `from` to `at`.
    pub(crate) fn write(&mut self, at: usize, from: &[u8]) {
        let range = at..at + from.len();
        match self.own() {
            Some(own) => own[range].iter_mut().zip(from).for_each(|(to, from)| *to.get_mut() = *from),
            None => store(&self.shared()[range], from),
        }
    }

    pub(crate) fn clear(&mut self) {
        match self.own() {
            Some(own) => own.iter_mut().for_each(|byte| *byte.get_mut() = 0),
            None => self.shared().iter().for_each(|byte| byte.store(0, Ordering::Relaxed)),
        }
    }
}

/// Copies bytes that others may be changing.
pub(crate) fn load(from: &[AtomicU8], into: &mut [u8]) {
    into.iter_mut().zip(from).for_each(|(to, from)| *to = from.load(Ordering::Relaxed));
}

/// Changes bytes that others may be using.
pub(crate) fn store(to: &[AtomicU8], from: &[u8]) {
    to.iter().zip(from).for_each(|(to, from)| to.store(*from, Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_or_not_they_are_the_same_bytes_and_aligned() {
        for len in [1, 512, 4096, 12288] {
            let mut bytes = Bytes::zeroed(len);
            assert_eq!(bytes.shared().as_ptr() as usize % ALIGN, 0);
            assert_eq!(bytes.len(), len);
            let pattern: Vec<u8> = (0..len).map(|n| (n * 7 + 3) as u8).collect();
            let mut back = vec![1; len];
            bytes.write(0, &pattern);
            bytes.read(0, &mut back);
            assert_eq!(back, pattern);
            let mut other = bytes.clone();
            other.write(len / 2, &[250]);
            bytes.read(len / 2, &mut back[..1]);
            assert_eq!(back[0], 250);
            bytes.clear();
            drop(bytes);
            other.read(0, &mut back);
            assert!(back.iter().all(|byte| *byte == 0));
            other.write(0, &pattern);
            other.clear();
            assert!(other.shared().iter().all(|byte| byte.load(Ordering::Relaxed) == 0));
        }
    }
}
