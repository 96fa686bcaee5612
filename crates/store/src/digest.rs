#![expect(unsafe_code, reason = "reads pages by address")]
//! Digests of pages: XXH3-128 (Y. Collet, <https://xxhash.com>) keyed with a random
//! secret of this run. Two pages with one digest are taken to be equal, which for
//! pages chosen without knowledge of the secret fails once in 2¹²⁸ pairs.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use twox_hash::xxhash3_128::Hasher;

/// The digest of a page's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub u128);

/// Makes digests.
#[derive(Clone)]
pub struct Digester {
    secret: [u8; 192],
}

impl core::fmt::Debug for Digester {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Digester")
    }
}

impl Digester {
    /// One with a key from the kernel's randomness.
    ///
    /// # Errors
    /// What getrandom(2) says.
    pub fn random() -> Result<Self, Errno> {
        let mut secret = [0; 192];
        let mut filled = 0;
        while filled < secret.len() {
            filled += getrandom(&mut secret[filled..], GetRandomFlags::empty())?;
        }
        Ok(Self { secret })
    }

    /// The digest of `len` bytes at `addr`.
    ///
    /// # Safety
    /// The bytes are readable and nobody changes them meanwhile.
    pub unsafe fn of_page(&self, addr: usize, len: usize) -> Digest {
        // SAFETY: the caller's contract.
        let bytes = unsafe { core::slice::from_raw_parts(addr as *const u8, len) };
        match Hasher::oneshot_with_secret(&self.secret, bytes) {
            Ok(digest) => Digest(digest),
            Err(_) => unreachable!("192 bytes are a long enough secret"),
        }
    }
}

/// Whether `len` bytes at `addr`, a multiple of 64, are all zero.
///
/// # Safety
/// The bytes are readable, aligned to 8, and nobody changes them meanwhile.
pub unsafe fn is_zero(addr: usize, len: usize) -> bool {
    // SAFETY: the caller's contract.
    let words = unsafe { core::slice::from_raw_parts(addr as *const u64, len / 8) };
    words.chunks(8).all(|line| line.iter().fold(0, |all, word| all | word) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_changes_the_digest_and_another_key_changes_all() {
        let (one, other) = (Digester::random().unwrap(), Digester::random().unwrap());
        let mut page = [0u64; 512];
        let of = |digester: &Digester, page: &[u64; 512]| {
            // SAFETY: a page on the stack.
            unsafe { digester.of_page(page.as_ptr() as usize, 4096) }
        };
        let zero = of(&one, &page);
        assert_eq!(zero, of(&one, &page));
        assert_ne!(zero, of(&other, &page));
        // SAFETY: as above.
        assert!(unsafe { is_zero(page.as_ptr() as usize, 4096) });
        for bit in [0, 77, 32767] {
            page[bit / 64] ^= 1 << (bit % 64);
            assert_ne!(zero, of(&one, &page));
            // SAFETY: as above.
            assert!(!unsafe { is_zero(page.as_ptr() as usize, 4096) });
            page[bit / 64] ^= 1 << (bit % 64);
        }
    }
}
