#![expect(unsafe_code, reason = "copies memory that others may use at the same time")]
//! Bytes of memory that others may change at the same time, copied by atomic places: what is
//! written meanwhile is seen or not, word by word.

use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

const WORD: usize = size_of::<usize>();

enum Place<'a> {
    Byte(&'a AtomicU8),
    Word(&'a AtomicUsize),
}

/// Copies bytes out of memory at `addr`.
///
/// # Safety
/// As many bytes are mapped there, and stay so meanwhile.
pub(crate) unsafe fn copy_out(addr: usize, bytes: &mut [u8]) {
    // SAFETY: the caller's contract.
    let places = unsafe { places(addr, bytes.len()) };
    places.for_each(|(place, of)| match place {
        Place::Byte(byte) => bytes[of.start] = byte.load(Ordering::Relaxed),
        Place::Word(word) => bytes[of].copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes()),
    });
}

/// Copies bytes into memory at `addr`.
///
/// # Safety
/// As many bytes are mapped there, writable, and stay so meanwhile.
pub(crate) unsafe fn copy_in(addr: usize, bytes: &[u8]) {
    // SAFETY: the caller's contract.
    let places = unsafe { places(addr, bytes.len()) };
    places.for_each(|(place, of)| match place {
        Place::Byte(byte) => byte.store(bytes[of.start], Ordering::Relaxed),
        Place::Word(word) => {
            let mut value = [0; WORD];
            value.copy_from_slice(&bytes[of]);
            word.store(usize::from_ne_bytes(value), Ordering::Relaxed);
        }
    });
}

/// Every place of `addr..addr + len`, by words where these are whole, and where its bytes are
/// from `addr` on.
///
/// # Safety
/// Mapped for as long as the result is used. All that is done to it here is atomic, and bytes
/// that others change in other ways are their business, as with any memory that is shared.
unsafe fn places<'a>(addr: usize, len: usize) -> impl Iterator<Item = (Place<'a>, Range<usize>)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let (at, from) = (addr + done, done);
        if done == len {
            return None;
        }
        // SAFETY: the caller's contract.
        let place = unsafe {
            if at.is_multiple_of(WORD) && len - done >= WORD {
                done += WORD;
                let word: *const AtomicUsize = ptr::with_exposed_provenance(at);
                Place::Word(&*word)
            } else {
                done += 1;
                let byte: *const AtomicU8 = ptr::with_exposed_provenance(at);
                Place::Byte(&*byte)
            }
        };
        Some((place, from..done))
    })
}
