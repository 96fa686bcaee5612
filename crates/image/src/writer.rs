//! Saving an image.

use crate::digest::{Digest, Key, fill_random};
use crate::error::SaveError;
use crate::header::Header;
use crate::medium::Medium;
use crate::node::{Entry, FANOUT, Node};
use crate::{MOST_PAGES, PAGE};
use std::collections::HashMap;
use std::io;

/// Bytes that are written together.
const BUFFER: usize = 1 << 20;
/// Nodes that are gathered, so that they lie together: those of 128 MiB of pages.
const GATHERED: usize = 256;
/// Pages that are remembered, to find them again among later ones: as many as a table of 2²⁰ places
/// takes before it is doubled.
const REMEMBERED: usize = (1 << 20) / 8 * 7;

/// What an image has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Pages of the arena.
    pub pages: u64,
    /// Pages that were given and are not zero.
    pub touched: u64,
    /// Pages that take room: the distinct ones among them.
    pub stored: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Writes an image. Dropped before [`Self::finish`], nothing has happened.
///
/// Memory: 1 MiB, and up to 50 MiB by which repeated pages are found.
#[derive(Debug)]
pub struct Writer<M: Medium> {
    medium: M,
    key: Key,
    identity: u128,
    buffer: Vec<u8>,
    /// The block that the buffer begins with.
    first: u64,
    /// Where pages are, by their digests.
    seen: HashMap<u128, u64>,
    /// The node under construction of each level, leaves first.
    path: Vec<Open>,
    /// Nodes that are complete, with their level; they have no block yet.
    gathered: Vec<(usize, u64, Node)>,
    last: Option<u64>,
    touched: u64,
    stored: u64,
}

#[derive(Debug)]
struct Open {
    /// Which of its level it is, counted from the left.
    number: u64,
    node: Node,
}

impl<M: Medium> Writer<M> {
    /// Begins an image on `medium`.
    ///
    /// # Errors
    /// The kernel gives no random key.
    pub fn new(medium: M) -> Result<Self, SaveError> {
        let mut identity = [0; 16];
        fill_random(&mut identity)?;
        Ok(Self {
            medium,
            key: Key::random()?,
            identity: u128::from_le_bytes(identity),
            buffer: Vec::with_capacity(BUFFER),
            first: 1,
            seen: HashMap::new(),
            path: Vec::new(),
            gathered: Vec::new(),
            last: None,
            touched: 0,
            stored: 0,
        })
    }

    /// The image's page `number` holds `bytes`. Pages that are not given are zero.
    ///
    /// # Errors
    /// [`SaveError::Order`] unless pages come in ascending order; [`SaveError::Pages`]
    /// past the last page that an image can have; and what the medium says.
    pub fn page(&mut self, number: u64, bytes: &[u8; PAGE]) -> Result<(), SaveError> {
        if let Some(before) = self.last.filter(|last| *last >= number) {
            return Err(SaveError::Order { page: number, before });
        }
        if number >= MOST_PAGES {
            return Err(SaveError::Pages { pages: number + 1 });
        }
        self.last = Some(number);
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        self.touched += 1;
        let digest = self.key.digest(bytes);
        let block = match self.same(digest, bytes)? {
            Some(block) => block,
            None => {
                let block = self.append(bytes)?;
                self.stored += 1;
                if self.seen.len() >= REMEMBERED {
                    self.seen.clear();
                }
                self.seen.insert(digest.0, block);
                block
            }
        };
        self.set(0, number, Entry { block, digest });
        if self.gathered.len() >= GATHERED {
            self.write_nodes()?;
        }
        Ok(())
    }

    /// Where a page with these bytes is already. They are compared: a digest may lie.
    fn same(&self, digest: Digest, bytes: &[u8; PAGE]) -> io::Result<Option<u64>> {
        let Some(block) = self.seen.get(&digest.0).copied() else { return Ok(None) };
        let equal = if block >= self.first {
            let start = (block - self.first) as usize * PAGE;
            self.buffer[start..start + PAGE] == bytes[..]
        } else {
            let mut there = [0; PAGE];
            self.medium.read(block * PAGE as u64, &mut there)?;
            there == *bytes
        };
        Ok(equal.then_some(block))
    }

    /// Adds a block; its number.
    fn append(&mut self, block: &[u8]) -> io::Result<u64> {
        if self.buffer.len() == BUFFER {
            self.write_buffer()?;
        }
        let number = self.first + (self.buffer.len() / PAGE) as u64;
        self.buffer.extend_from_slice(block);
        Ok(number)
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        self.medium.write(self.first * PAGE as u64, &self.buffer)?;
        self.first += (self.buffer.len() / PAGE) as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Enters what is `number` of its level; the node before is complete if it is
    /// another one's.
    fn set(&mut self, level: usize, number: u64, entry: Entry) {
        let node = number / FANOUT as u64;
        if self.path.len() == level {
            self.path.push(Open { number: node, node: Node::empty() });
        }
        let open = &mut self.path[level];
        if open.number != node {
            let done = core::mem::replace(open, Open { number: node, node: Node::empty() });
            if !done.node.is_empty() {
                self.gathered.push((level, done.number, done.node));
            }
        }
        self.path[level].node.entries[(number % FANOUT as u64) as usize] = entry;
    }

    /// Gives the gathered nodes blocks and enters them in their parents, which may be
    /// complete then, and so on.
    fn write_nodes(&mut self) -> io::Result<()> {
        let mut next = 0;
        while next < self.gathered.len() {
            let (level, number, block) = {
                let (level, number, node) = &self.gathered[next];
                (*level, *number, node.encode())
            };
            let digest = self.key.digest(&block);
            let block = self.append(&block)?;
            self.set(level + 1, number, Entry { block, digest });
            next += 1;
        }
        self.gathered.clear();
        Ok(())
    }

    /// Writes the tree down to its root.
    fn write_root(&mut self, levels: u32) -> io::Result<Entry> {
        if self.touched == 0 {
            return Ok(Entry::ZERO);
        }
        for level in 0..levels as usize {
            // What is complete comes before what is not: numbers of a level ascend.
            self.write_nodes()?;
            let done = core::mem::replace(&mut self.path[level], Open { number: 0, node: Node::empty() });
            self.gathered.push((level, done.number, done.node));
        }
        self.write_nodes()?;
        Ok(self.path[levels as usize].node.entries[0])
    }

    /// Writes what is left of an image of `pages` pages, and puts it in the place of what
    /// had its name. When this returns, it outlives a power cut.
    ///
    /// # Errors
    /// [`SaveError::Pages`] if a page past them was given, or an image cannot have so
    /// many; and what the medium says. What was there before is unchanged then.
    pub fn finish(mut self, pages: u64) -> Result<Saved, SaveError> {
        if pages > MOST_PAGES || self.last.is_some_and(|last| last >= pages) {
            return Err(SaveError::Pages { pages });
        }
        let levels = if self.touched == 0 { 0 } else { levels_of(pages) };
        let root = self.write_root(levels)?;
        self.write_buffer()?;
        let bytes = self.first * PAGE as u64;
        let header = Header {
            identity: self.identity,
            pages,
            bytes,
            levels,
            root: root.block,
            root_digest: root.digest,
            key: self.key,
        };
        self.medium.write(0, &header.encode())?;
        self.medium.sync()?;
        self.medium.publish()?;
        Ok(Saved { pages, touched: self.touched, stored: self.stored, bytes })
    }
}

/// Levels of a tree for so many pages, at least one.
fn levels_of(pages: u64) -> u32 {
    let mut levels = 1;
    let mut room = FANOUT as u64;
    while room < pages {
        room *= FANOUT as u64;
        levels += 1;
    }
    levels
}
