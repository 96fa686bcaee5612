//! The first block of an image.

use crate::digest::{Digest, Key, SECRET, unkeyed};
use crate::error::ImageError;
use crate::node::{Bytes, LEVELS};
use crate::{MOST_PAGES, PAGE};

const MAGIC: [u8; 8] = *b"OUTCIMG\n";
/// The version written here, and the only one that is read.
pub(crate) const VERSION: u32 = 1;
/// What the block's own digest is of.
const COVERED: usize = PAGE - 16;

/// What an image says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    /// Random: no two images have the same.
    pub(crate) identity: u128,
    /// Pages of the arena, whether they are stored or not.
    pub(crate) pages: u64,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// Levels of the tree; 0 when all pages are zero.
    pub(crate) levels: u32,
    /// The block of the tree's root; 0 for none.
    pub(crate) root: u64,
    pub(crate) root_digest: Digest,
    pub(crate) key: Key,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(PAGE);
        block.extend(MAGIC);
        block.extend(VERSION.to_le_bytes());
        block.extend(self.levels.to_le_bytes());
        block.extend(self.identity.to_le_bytes());
        block.extend(self.pages.to_le_bytes());
        block.extend(self.bytes.to_le_bytes());
        block.extend(self.root.to_le_bytes());
        block.extend(self.root_digest.0.to_le_bytes());
        block.extend(self.key.secret());
        block.resize(COVERED, 0);
        let digest = unkeyed(&block);
        block.extend(digest.0.to_le_bytes());
        block
    }

    /// # Errors
    /// All of [`ImageError`] but a page out of range; `found` is the length of the file.
    pub(crate) fn decode(block: &[u8], found: u64) -> Result<Self, ImageError> {
        if !block.starts_with(&MAGIC) {
            return Err(ImageError::NotAnImage);
        }
        if block.len() < PAGE {
            return Err(ImageError::Truncated { expected: PAGE as u64, found });
        }
        let mut bytes = Bytes::of(&block[MAGIC.len()..]);
        let version = bytes.u32();
        let digest = Digest(Bytes::of(&block[COVERED..]).u128());
        if unkeyed(&block[..COVERED]) != digest {
            // Another version may have another digest; one that cannot be is damage.
            return Err(if (VERSION + 1..VERSION + 1000).contains(&version) {
                ImageError::Version { found: version }
            } else {
                ImageError::Corrupt { block: "the header", offset: 0 }
            });
        }
        if version != VERSION {
            return Err(ImageError::Version { found: version });
        }
        let header = Self {
            levels: bytes.u32(),
            identity: bytes.u128(),
            pages: bytes.u64(),
            bytes: bytes.u64(),
            root: bytes.u64(),
            root_digest: Digest(bytes.u128()),
            key: Key::of_secret(bytes.array::<SECRET>()),
        };
        if found < header.bytes {
            return Err(ImageError::Truncated { expected: header.bytes, found });
        }
        // Who made the digest made these too, but need not have been this program.
        let sound = header.pages <= MOST_PAGES
            && header.levels <= LEVELS
            && header.bytes.is_multiple_of(PAGE as u64)
            && (header.root == 0) == (header.levels == 0)
            && header.root < header.bytes / PAGE as u64;
        if sound { Ok(header) } else { Err(ImageError::Corrupt { block: "the header", offset: 0 }) }
    }
}
