//! Backings: what pages of address spaces stand for, however many of them name one.
//!
//! A backing is a page of the core below, which knows its state, frame and slot; here is what
//! that page is a copy of, whether it is dirty, and who maps it.

use crate::page::{PageNo, SlotNo};
use std::collections::{BTreeMap, BTreeSet};

/// An address space: the process that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceNo(pub u32);

/// A file, as the driver numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNo(pub u32);

/// Where a page's bytes are when they are not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A slot of the store.
    Slot(SlotNo),
    /// The first `bytes` of a block of a file; the rest of the page is zeros.
    Block {
        /// The file.
        file: FileNo,
        /// Its offset, in pages.
        block: u64,
        /// How many of its bytes: at most a page.
        bytes: u32,
    },
}

/// What several entries can find each other by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A block of shared memory without a name.
    Object { object: u32, block: u64 },
    /// The first bytes of a block of a file.
    File { file: FileNo, block: u64, bytes: u32 },
}

/// Which bytes a backing stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A private page that has been written, and is copied when one of several owners writes.
    Anonymous,
    /// Found by everybody who maps the same.
    Common(Key),
}

/// One backing. See the module's page.
#[derive(Debug)]
pub(crate) struct Backing {
    pub(crate) kind: Kind,
    /// Its bytes in memory differ from those in its place.
    pub(crate) dirty: bool,
    /// It is being written while it stays; its frame may not be taken.
    pub(crate) syncing: bool,
    /// How often it was pinned; its frame may not be taken until it is 0.
    pub(crate) pins: u32,
    /// The number by which policies know it, also after it was away.
    pub(crate) identity: u64,
    /// The entries that name it.
    pub(crate) mappings: BTreeSet<(SpaceNo, PageNo)>,
}

impl Backing {
    /// Whether its frame may not be taken now.
    pub(crate) fn stays(&self) -> bool {
        self.syncing || self.pins > 0
    }

    /// The file block that it is a copy of.
    pub(crate) fn file(&self) -> Option<(FileNo, u64, u32)> {
        match self.kind {
            Kind::Common(Key::File { file, block, bytes }) => Some((file, block, bytes)),
            Kind::Common(Key::Object { .. }) | Kind::Anonymous => None,
        }
    }
}

/// All backings, numbered by the page of the core below that each one is.
#[derive(Debug, Default)]
pub(crate) struct Backings {
    table: Vec<Option<Backing>>,
    vacant: Vec<PageNo>,
    by_key: BTreeMap<Key, PageNo>,
    made: u64,
}

/// Bits of an identity that count; above them is the page that the backing was made for, so
/// that identities are in the order of pages.
const COUNT_BITS: u32 = 24;

/// Set in the identity of file blocks, which is their place.
const FILE_IDENTITY: u64 = 1 << 63;

/// Page 0 of the core below is the frame of zeros, so backings are counted from here.
const FIRST: u64 = 1;

impl Backings {
    /// Adds one that nobody maps yet, made for the page `of` a process. The second value tells
    /// whether the table has grown.
    pub(crate) fn add(&mut self, kind: Kind, of: PageNo) -> (PageNo, bool) {
        self.made += 1;
        let identity = match kind {
            Kind::Common(Key::File { file, block, .. }) => {
                FILE_IDENTITY | u64::from(file.0) << 40 | block & ((1 << 40) - 1)
            }
            _ => (of.0 << COUNT_BITS | self.made & ((1 << COUNT_BITS) - 1)) & !FILE_IDENTITY,
        };
        let backing =
            Backing { kind, dirty: false, syncing: false, pins: 0, identity, mappings: BTreeSet::new() };
        let (page, grown) = match self.vacant.pop() {
            Some(page) => (page, false),
            None => {
                self.table.push(None);
                (PageNo(self.table.len() as u64 - 1 + FIRST), true)
            }
        };
        self.table[(page.0 - FIRST) as usize] = Some(backing);
        if let Kind::Common(key) = kind {
            self.by_key.insert(key, page);
        }
        (page, grown)
    }

    pub(crate) fn remove(&mut self, page: PageNo) -> Backing {
        let backing = self.table[(page.0 - FIRST) as usize].take().expect("a backing is removed once");
        if let Kind::Common(key) = backing.kind {
            self.by_key.remove(&key);
        }
        self.vacant.push(page);
        backing
    }

    pub(crate) fn find(&self, key: Key) -> Option<PageNo> {
        self.by_key.get(&key).copied()
    }

    pub(crate) fn try_get(&self, page: PageNo) -> Option<&Backing> {
        self.table.get(page.0.checked_sub(FIRST)? as usize)?.as_ref()
    }

    pub(crate) fn get(&self, page: PageNo) -> &Backing {
        self.try_get(page).expect("a backing that is named is there")
    }

    pub(crate) fn get_mut(&mut self, page: PageNo) -> &mut Backing {
        self.table[(page.0 - FIRST) as usize].as_mut().expect("a backing that is named is there")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PageNo, &Backing)> {
        let all = self.table.iter().enumerate();
        all.filter_map(|(n, backing)| Some((PageNo(n as u64 + FIRST), backing.as_ref()?)))
    }

    pub(crate) fn keys(&self) -> &BTreeMap<Key, PageNo> {
        &self.by_key
    }
}
