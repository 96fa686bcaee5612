//! Digests of pages: XXH3-128 (Y. Collet, <https://xxhash.com>) keyed with a random secret of
//! this heap, so that what comes back from the store is known to be what went there.

use core::fmt;
use std::hash::{BuildHasher, RandomState};
use twox_hash::xxhash3_128::Hasher;

/// Bytes of a secret.
const SECRET: usize = 192;

/// Makes digests.
pub(crate) struct Digester {
    secret: [u8; SECRET],
}

impl Digester {
    /// One with a secret of its own. The standard library has no source of randomness but the
    /// keys of its hash tables, 128 bits from the system for each thread; all of the secret
    /// is made from them, with the hash that is made for that.
    pub(crate) fn random() -> Self {
        let source = RandomState::new();
        let mut secret = [0; SECRET];
        for (place, number) in secret.chunks_exact_mut(8).zip(0_u64..) {
            place.copy_from_slice(&source.hash_one(number).to_ne_bytes());
        }
        Self { secret }
    }

    /// The digest of a page.
    pub(crate) fn of(&self, page: &[u8]) -> u128 {
        match Hasher::oneshot_with_secret(&self.secret, page) {
            Ok(digest) => digest,
            Err(_) => unreachable!("{SECRET} bytes are a long enough secret"),
        }
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digester")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_changes_the_digest_and_another_secret_changes_all() {
        let (one, other) = (Digester::random(), Digester::random());
        let mut page = vec![0; 4096];
        let zeros = one.of(&page);
        assert_eq!(zeros, one.of(&page));
        assert_ne!(zeros, other.of(&page));
        for bit in [0, 77, 32767] {
            page[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(zeros, one.of(&page));
            page[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(zeros, one.of(&page));
    }
}
