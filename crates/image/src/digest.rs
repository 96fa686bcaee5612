//! Digests of blocks: XXH3-128 (Y. Collet, <https://xxhash.com>), keyed by a secret that each
//! image has of its own.

use rustix::rand::{GetRandomFlags, getrandom};
use std::io;
use twox_hash::xxhash3_128::Hasher;

/// Bytes of a key.
pub(crate) const SECRET: usize = 192;

/// What a block is recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub u128);

/// Makes the digests of one image.
#[derive(Clone)]
pub struct Key {
    secret: [u8; SECRET],
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// One of the kernel's randomness.
    pub(crate) fn random() -> io::Result<Self> {
        let mut secret = [0; SECRET];
        fill_random(&mut secret)?;
        Ok(Self { secret })
    }

    pub(crate) fn of_secret(secret: [u8; SECRET]) -> Self {
        Self { secret }
    }

    pub(crate) fn secret(&self) -> &[u8; SECRET] {
        &self.secret
    }

    /// The digest of `bytes`.
    ///
    /// # Panics
    /// Never: the key is long enough for the hash.
    pub fn digest(&self, bytes: &[u8]) -> Digest {
        Digest(Hasher::oneshot_with_secret(&self.secret, bytes).expect("192 bytes are a long enough secret"))
    }
}

/// The digest of what says its own key.
pub(crate) fn unkeyed(bytes: &[u8]) -> Digest {
    Digest(Hasher::oneshot(bytes))
}

pub(crate) fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(())
}
