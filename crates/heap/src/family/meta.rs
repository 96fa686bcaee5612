#![expect(unsafe_code, reason = "writes meta blocks into pages")]
//! The meta blocks of the textbook layout, as they are written into the page.
//!
//! ```text
//! bytes of 28    bytes of 48
//!  0..4           0..4         "FREE" or "USED"
//!                 4..8         zero
//!  4..8           8..16        bytes of data behind it
//!  8..12         16..24        its offset in the page
//! 12..16         24..32        offset of the previous meta block, all ones if none
//! 16..20         32..40        offset of the next meta block, all ones if none
//! 20..24         40..48        bytes that are neither meta block nor data
//! 24..28                       zero
//! ```
//!
//! Numbers are little-endian.

use crate::family::blocks::BlockState;
use core::ptr;

/// The longest meta block.
const LONGEST: usize = 48;

/// What a meta block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MetaBlock {
    pub(super) state: BlockState,
    pub(super) size: usize,
    pub(super) offset: usize,
    pub(super) previous: Option<usize>,
    pub(super) next: Option<usize>,
    pub(super) hard: usize,
}

impl MetaBlock {
    /// Its bytes; the first `meta_size` count.
    fn encode(&self, meta_size: usize) -> [u8; LONGEST] {
        let mark = match self.state {
            BlockState::Free => *b"FREE",
            BlockState::Used => *b"USED",
        };
        let wide = meta_size == LONGEST;
        let (first, width) = if wide { (8, 8) } else { (4, 4) };
        let none = usize::MAX;
        let numbers =
            [self.size, self.offset, self.previous.unwrap_or(none), self.next.unwrap_or(none), self.hard];
        let mut bytes = [0; LONGEST];
        bytes[..4].copy_from_slice(&mark);
        for (place, number) in bytes[first..].chunks_exact_mut(width).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes()[..width]);
        }
        bytes
    }

    /// Writes it at `address`.
    ///
    /// # Safety
    /// `meta_size` bytes from there on are the heap's own, writable, and nobody else's.
    pub(super) unsafe fn write(&self, address: usize, meta_size: usize) {
        let bytes = self.encode(meta_size);
        let place: *mut u8 = ptr::with_exposed_provenance_mut(address);
        // SAFETY: the caller's contract; `meta_size` is at most `LONGEST`.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place, meta_size) };
    }

    /// Whether it is what the page has at `address`.
    ///
    /// # Safety
    /// `meta_size` bytes from there on are the heap's own and readable.
    pub(super) unsafe fn is_at(&self, address: usize, meta_size: usize) -> bool {
        let mut found = [0; LONGEST];
        let place: *const u8 = ptr::with_exposed_provenance(address);
        // SAFETY: the caller's contract. A copy is compared, because a program that
        // overruns its objects may be writing there.
        unsafe { ptr::copy_nonoverlapping(place, found.as_mut_ptr(), meta_size) };
        found[..meta_size] == self.encode(meta_size)[..meta_size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_block_has_the_bytes_that_the_table_says() {
        let meta = MetaBlock {
            state: BlockState::Used,
            size: 36,
            offset: 64,
            previous: Some(0),
            next: None,
            hard: 3,
        };
        let narrow = meta.encode(28);
        assert_eq!(narrow[..12], *b"USED\x24\0\0\0\x40\0\0\0");
        assert_eq!(narrow[12..28], *b"\0\0\0\0\xff\xff\xff\xff\x03\0\0\0\0\0\0\0");
        let wide = meta.encode(48);
        assert_eq!(wide[..24], *b"USED\0\0\0\0\x24\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0");
        assert_eq!(wide[24..32], [0; 8]);
        assert_eq!((&wide[32..40], wide[40]), (&[0xff; 8][..], 3));
    }
}
