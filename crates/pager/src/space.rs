//! Many address spaces over one set of frames and slots.
//!
//! [`Spaces`] adds to the [`Pager`] what processes need: areas, entries, sharing, copy-on-write,
//! fork, exit, files, rights and commit accounting. Every page that holds something is a
//! *backing*, which is a page of the one `Pager` below; that is where states, frames and slots
//! are kept, as they are for the live engine.
//!
//! ```text
//! space 1  area ── entry ──┐                       ┌── frame (the Pager's queues and states)
//! space 1  area ── entry ──┼──▶ backing = page ────┤
//! space 2  area ── entry ──┘    of the Pager       └── place: a slot, or a block of a file
//! ```
//!
//! Intent (areas) and what is there (entries, backings) are separate; the rights of an entry
//! follow from both by one pure function, [`rights()`]. Like the `Pager`, `Spaces` decides and
//! never acts: a fault is taken step by step ([`Spaces::advance`]), and the driver does between
//! the steps what each one asks for. Whatever changed for the hardware is told by
//! [`Spaces::take_updates`].

mod area;
mod backing;
mod commit;
mod fault;
mod fork;
mod invariants;
mod look;
mod map;
mod pin;
mod prot;
mod protect;
mod rights;
mod room;
mod stack;
mod sync;
mod unmap;

pub use area::{Origin, Share, Source, SpaceArea};
pub use backing::{FileNo, Place, SpaceNo};
pub use commit::CommitError;
pub use fault::{FaultError, FaultKind, Next, Served, SpaceFault, Transfer};
pub use look::{Holding, Pte, Recipe};
pub use map::{FileRange, MapError, MapRequest, Memory};
pub use prot::{Access, Prot};
pub use rights::{Sharing, Standing, rights};
pub use stack::StackRule;
pub use sync::Dirty;

use crate::area::{Areas, Rights};
use crate::entry::{NUMBER_LIMIT, State};
use crate::page::{FrameNo, PageNo, PageRange, SlotNo};
use crate::pager::{Commit, Config, Pager};
use crate::policy::Policy;
use backing::{Backings, Key, Kind};
use stack::Stack;
use std::collections::BTreeMap;

/// The frame of zeros: pinned, never written, never mapped writable.
pub const ZERO_FRAME: FrameNo = FrameNo(0);

/// The most pages that one address space may have.
pub const MAX_SPACE_PAGES: u64 = 1 << 22;

/// Addresses below this are a process's own.
pub const USER_END: u64 = 1 << 47;

/// What [`Spaces`] are made for.
#[derive(Clone, Copy, Debug)]
pub struct SpacesConfig {
    /// Bytes in a page: a power of two.
    pub page_size: u32,
    /// Frames, that of zeros included.
    pub frames: u32,
    /// Slots of the store.
    pub slots: u32,
    /// When slots are charged.
    pub commit: Commit,
    /// Where [`Spaces::map_page`] puts pages.
    pub arena: PageRange,
    /// How the stack grows.
    pub stack: StackRule,
}

/// One process's memory.
#[derive(Clone, Debug, Default)]
struct Space {
    areas: Areas<SpaceArea>,
    /// What backs each page that is not zeros of its own.
    entries: BTreeMap<PageNo, PageNo>,
    stack: Option<Stack>,
    /// Pages with a slot reserved.
    charged: u64,
    /// Pages in all areas.
    pages: u64,
}

/// All address spaces. See the module's page.
#[derive(Debug)]
pub struct Spaces {
    pager: Pager,
    policy: Box<dyn Policy>,
    config: SpacesConfig,
    spaces: BTreeMap<SpaceNo, Space>,
    backings: Backings,
    /// Slots promised to pages, under strict commit.
    reserved: u64,
    objects: u32,
    updates: Vec<(SpaceNo, PageRange)>,
}

/// Backing numbers that the pager below is told of at a time.
const GROWTH: u64 = 64;

impl Spaces {
    /// No address space yet; frame 0 is taken.
    ///
    /// # Panics
    /// If there are fewer than two frames, the page size is no power of two, or frames or slots
    /// are more than an entry can name (2²⁸ − 1 each).
    pub fn new(config: SpacesConfig, policy: Box<dyn Policy>) -> Self {
        assert!(config.frames >= 2, "{} frames leave none beside that of zeros", config.frames);
        assert!(config.page_size.is_power_of_two(), "{} is no page size", config.page_size);
        let mut pager = Pager::new(Config {
            frames: config.frames,
            slots: config.slots,
            commit: config.commit,
            readahead: false,
        });
        pager.in_order_of_arrival();
        let zero = PageRange::one(PageNo(0));
        pager.add_area(zero, Rights::ReadWrite);
        pager.set_pinned(zero, true);
        pager.adopt(zero.start);
        Self {
            pager,
            policy,
            config,
            spaces: BTreeMap::new(),
            backings: Backings::default(),
            reserved: 0,
            objects: 0,
            updates: Vec::new(),
        }
    }

    /// What they were made for.
    pub fn config(&self) -> SpacesConfig {
        self.config
    }

    /// Whether the process is there.
    pub fn has(&self, space: SpaceNo) -> bool {
        self.spaces.contains_key(&space)
    }

    /// Every process, in order.
    pub fn spaces(&self) -> impl Iterator<Item = SpaceNo> {
        self.spaces.keys().copied()
    }

    /// A process with nothing mapped.
    ///
    /// # Panics
    /// If the number is used.
    pub fn create(&mut self, space: SpaceNo) {
        let before = self.spaces.insert(space, Space::default());
        assert!(before.is_none(), "{space:?} is used");
    }

    /// The pages whose entries may have changed since the last call. Ask [`Self::pte`] for each.
    pub fn take_updates(&mut self, into: &mut Vec<(SpaceNo, PageRange)>) {
        into.clear();
        core::mem::swap(&mut self.updates, into);
    }

    fn space(&self, space: SpaceNo) -> Option<&Space> {
        self.spaces.get(&space)
    }

    fn space_mut(&mut self, space: SpaceNo) -> &mut Space {
        self.spaces.get_mut(&space).expect("the driver names processes that are there")
    }

    fn changed(&mut self, space: SpaceNo, range: PageRange) {
        self.updates.push((space, range));
    }

    /// All entries of a backing change together.
    fn backing_changed(&mut self, page: PageNo) {
        let entries = self.backings.get(page).mappings.iter();
        self.updates.extend(entries.map(|(space, page)| (*space, PageRange::one(*page))));
    }

    /// A backing that nobody maps yet, made for the page `of` a process.
    fn add_backing(&mut self, kind: Kind, of: PageNo) -> PageNo {
        let (page, grown) = self.backings.add(kind, of);
        let numbers = u64::from(self.config.slots) + page.0;
        assert!(
            numbers < u64::from(NUMBER_LIMIT),
            "{numbers} pages and slots are more than an entry can name"
        );
        if grown && page.0 % GROWTH == 1 {
            let rights = Rights::ReadWrite;
            self.pager.add_area(PageRange { start: page, count: GROWTH }, rights);
        }
        if let Kind::Common(Key::File { .. }) = kind {
            self.pager.settle(page, self.home(page));
        }
        page
    }

    /// The home of a file block's backing: a number that is no slot's.
    fn home(&self, page: PageNo) -> SlotNo {
        SlotNo(self.config.slots + page.0 as u32)
    }

    fn place(&self, page: PageNo, slot: SlotNo) -> Place {
        match self.backings.get(page).file() {
            Some((file, block, bytes)) => Place::Block { file, block, bytes },
            None => Place::Slot(slot),
        }
    }

    /// The frame that holds a backing, unless a transfer owns it.
    fn frame_of(&self, page: PageNo) -> Option<FrameNo> {
        match self.pager.state(page) {
            State::Resident { frame, .. } | State::Parked { frame, .. } => Some(frame),
            _ => None,
        }
    }

    /// Forgets a backing and frees what it held.
    fn drop_backing(&mut self, page: PageNo) {
        if let State::Resident { frame, .. } | State::Parked { frame, .. } | State::Writing { frame, .. } =
            self.pager.state(page)
        {
            self.policy.removed(frame);
        }
        self.pager.discard(PageRange::one(page), |_, _| {});
        let backing = self.backings.remove(page);
        if matches!(backing.kind, Kind::Common(Key::Object { .. })) {
            self.uncharge(1);
        }
    }

    /// File blocks that nobody maps stay as long as they are in memory, and no longer.
    fn drop_if_forgotten(&mut self, page: PageNo) {
        let forgotten = self.backings.get(page).mappings.is_empty();
        if forgotten && matches!(self.pager.state(page), State::Swapped { .. }) {
            self.drop_backing(page);
        }
    }
}
