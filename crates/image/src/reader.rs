//! Reading an image, a page at a time.

use crate::PAGE;
use crate::digest::{Digest, Key};
use crate::error::ImageError;
use crate::header::Header;
use crate::node::{Entry, FANOUT, Node};
use crate::nodes::Nodes;
use crate::survey::{Damage, Survey, survey};
use core::num::NonZeroU64;
use rustix::fs::Advice;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Bytes around a node that are read with it.
const INDEX_AHEAD: u64 = 128 << 10;

/// Where a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it is zero.
    Zero,
    /// In the file.
    At {
        /// In bytes; a multiple of [`PAGE`].
        offset: u64,
        /// What its bytes must have, under [`Image::key`].
        digest: Digest,
    },
}

/// An image that is open. Any number of threads may read it.
///
/// Opening reads the header and nothing else. Nodes of the tree are read when they are
/// needed, and up to 1024 of them kept.
#[derive(Debug)]
pub struct Image {
    file: File,
    header: Header,
    nodes: Nodes,
}

impl Image {
    /// Opens the image at `path`.
    ///
    /// # Errors
    /// All of [`ImageError`] but a page out of range.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        Self::of(File::open(path)?)
    }

    /// Reads the image that `file` is.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of(file: File) -> Result<Self, ImageError> {
        let found = file.metadata()?.len();
        let mut block = [0; PAGE];
        let read = read_most(&file, &mut block)?;
        let header = Header::decode(&block[..read], found)?;
        Ok(Self { file, header, nodes: Nodes::default() })
    }

    /// Pages of the arena that it was made of.
    pub fn pages(&self) -> u64 {
        self.header.pages
    }

    /// Bytes of the image; the file may be longer.
    pub fn bytes(&self) -> u64 {
        self.header.bytes
    }

    /// A number that no other image has.
    pub fn identity(&self) -> u128 {
        self.header.identity
    }

    /// What makes its digests.
    pub fn key(&self) -> &Key {
        &self.header.key
    }

    /// The file, for transfers of the caller's own.
    pub fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn root(&self) -> (u32, Entry) {
        (self.header.levels, Entry { block: self.header.root, digest: self.header.root_digest })
    }

    /// Where `page` is.
    ///
    /// # Errors
    /// [`ImageError::OutOfRange`]; `Corrupt` or `Io` for a node on the way.
    pub fn locate(&self, page: u64) -> Result<Place, ImageError> {
        if page >= self.header.pages {
            return Err(ImageError::OutOfRange { page, pages: self.header.pages });
        }
        let (levels, mut entry) = self.root();
        for level in (0..levels).rev() {
            if entry.block == 0 {
                break;
            }
            let number = page / (FANOUT as u64).pow(level) % FANOUT as u64;
            entry = self.node(entry)?.entries[number as usize];
        }
        if entry.block == 0 {
            return Ok(Place::Zero);
        }
        Ok(Place::At { offset: entry.block * PAGE as u64, digest: entry.digest })
    }

    /// Reads `page` and checks it.
    ///
    /// # Errors
    /// As [`Self::locate`], for the page itself as well. `bytes` says nothing then.
    pub fn read(&self, page: u64, bytes: &mut [u8; PAGE]) -> Result<(), ImageError> {
        match self.locate(page)? {
            Place::Zero => {
                bytes.fill(0);
                Ok(())
            }
            Place::At { offset, digest } => {
                let entry = Entry { block: offset / PAGE as u64, digest };
                self.block(entry, "a page", bytes)
            }
        }
    }

    /// Reads pages from `first` on, as many as `bytes` has, in as few transfers as they
    /// lie in pieces.
    ///
    /// # Errors
    /// As [`Self::read`].
    ///
    /// # Panics
    /// If `bytes` is not whole pages.
    pub fn read_run(&self, first: u64, bytes: &mut [u8]) -> Result<(), ImageError> {
        assert!(bytes.len().is_multiple_of(PAGE), "{} bytes are not whole pages", bytes.len());
        let places: Vec<Place> = (first..first + (bytes.len() / PAGE) as u64)
            .map(|page| self.locate(page))
            .collect::<Result<_, _>>()?;
        let mut rest = bytes;
        for run in places.chunk_by(|one, next| follows(*one, *next)) {
            let (now, later) = rest.split_at_mut(run.len() * PAGE);
            rest = later;
            let Place::At { offset, .. } = run[0] else {
                now.fill(0);
                continue;
            };
            self.file.read_exact_at(now, offset).map_err(|error| self.damage(error, "a page", offset))?;
            for (place, page) in run.iter().zip(now.chunks(PAGE)) {
                let Place::At { offset, digest } = *place else { unreachable!("a run is all of one kind") };
                if self.header.key.digest(page) != digest {
                    return Err(ImageError::Corrupt { block: "a page", offset });
                }
            }
        }
        Ok(())
    }

    /// Goes through the whole tree, and with `pages` reads every page as well.
    /// `progress` is told how many of [`Self::pages`] have been seen.
    ///
    /// # Errors
    /// What the file system says; damage is counted, and told to `damaged`.
    pub fn survey(
        &self,
        pages: bool,
        progress: &mut dyn FnMut(u64),
        damaged: &mut dyn FnMut(Damage),
    ) -> io::Result<Survey> {
        survey(self, pages, progress, damaged)
    }

    /// The node that `entry` names.
    pub(crate) fn node(&self, entry: Entry) -> Result<Arc<Node>, ImageError> {
        if let Some(node) = self.nodes.get(entry.block) {
            return Ok(node);
        }
        // Nodes lie together, and who needs one soon needs others.
        let around = entry.block * PAGE as u64 / INDEX_AHEAD * INDEX_AHEAD;
        // Only advice: without it each costs a read of its own.
        let _ = rustix::fs::fadvise(&self.file, around, NonZeroU64::new(INDEX_AHEAD), Advice::WillNeed);
        let mut block = [0; PAGE];
        self.block(entry, "a node of the index", &mut block)?;
        let node = Node::decode(&block, self.header.bytes / PAGE as u64)
            .ok_or(ImageError::Corrupt { block: "a node of the index", offset: entry.block * PAGE as u64 })?;
        let node = Arc::new(node);
        self.nodes.keep(entry.block, &node);
        Ok(node)
    }

    /// Reads a block and checks it.
    pub(crate) fn block(
        &self,
        entry: Entry,
        what: &'static str,
        bytes: &mut [u8; PAGE],
    ) -> Result<(), ImageError> {
        let offset = entry.block * PAGE as u64;
        self.file.read_exact_at(bytes, offset).map_err(|error| self.damage(error, what, offset))?;
        if self.header.key.digest(bytes) == entry.digest {
            Ok(())
        } else {
            Err(ImageError::Corrupt { block: what, offset })
        }
    }

    /// A file that has become shorter since it was opened is damaged.
    fn damage(&self, error: io::Error, block: &'static str, offset: u64) -> ImageError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => ImageError::Corrupt { block, offset },
            _ => ImageError::Io(error),
        }
    }
}

fn follows(one: Place, next: Place) -> bool {
    match (one, next) {
        (Place::Zero, Place::Zero) => true,
        (Place::At { offset, .. }, Place::At { offset: next, .. }) => next == offset + PAGE as u64,
        _ => false,
    }
}

/// As many bytes as there are, from the start.
fn read_most(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
