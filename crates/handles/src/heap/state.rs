//! What the lock protects, and the page table that makes an access to a page at hand cheap.

use crate::blocks::{Blocks, Hold};
use crate::builder::Sizes;
use crate::bytes::Bytes;
use crate::handle::HEAP_BITS;
use crate::heap::Stats;
use crate::holders::Holders;
use pager::policy::Arrival;
use pager::space::{Access, Prot, Pte, SpaceNo, Spaces, SpacesConfig, StackRule, ZERO_FRAME};
use pager::{Commit, FrameNo, PageNo, PageRange, PolicyKind};
use std::sync::atomic::{AtomicU32, Ordering};

/// The only address space.
pub(super) const SPACE: SpaceNo = SpaceNo(0);

/// The core's number of the page with index 0: it maps no page 0.
const BASE: u64 = 1;

/// Frames that the core has beside those of the heap: that of zeros, which takes no memory here.
const ZEROS: u32 = 1;

/// Heaps made so far.
static HEAPS: AtomicU32 = AtomicU32::new(0);

/// The core's number of a page.
pub(super) fn page(index: u32) -> PageNo {
    PageNo(BASE + u64::from(index))
}

/// The index of a page.
fn index(page: PageNo) -> u32 {
    (page.0 - BASE) as u32
}

/// An entry of the page table: as the hardware's, so that the core is asked about faults only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) frame: FrameNo,
    pub(super) prot: Prot,
}

const NOT_AT_HAND: Entry = Entry { frame: ZERO_FRAME, prot: Prot::NONE };

/// A frame: the memory of one page.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// None: it was never used, or its page is one of a block whose pages are gathered.
    pub(super) bytes: Option<Bytes>,
    /// The page that it was last given to.
    pub(super) page: Option<u32>,
}

/// What the lock protects.
#[derive(Debug)]
pub(crate) struct State {
    pub(super) spaces: Spaces,
    pub(crate) blocks: Blocks,
    pub(super) entries: Vec<Entry>,
    pub(super) frames: Vec<Frame>,
    pub(super) holders: Holders,
    /// Frames that are pinned, or set aside for pins.
    pub(crate) pinned: usize,
    /// There is one frame more than usual, because all others are pinned.
    pub(super) lent: bool,
    /// What each slot of the store holds, by digest. None: nothing that is known.
    pub(super) digests: Vec<Option<u128>>,
    /// Pages that were not written because the store held the same bytes.
    pub(super) writes_saved: u64,
    pub(super) sizes: Sizes,
    updates: Vec<(SpaceNo, PageRange)>,
}

impl State {
    pub(crate) fn new(sizes: Sizes, policy: PolicyKind) -> Self {
        let Sizes { frames, pages, page_size } = sizes;
        let config = SpacesConfig {
            page_size: page_size as u32,
            frames: frames + ZEROS,
            slots: pages,
            commit: Commit::Strict,
            arena: PageRange { start: page(0), count: u64::from(pages) },
            stack: StackRule::default(),
        };
        // One frame more may be lent.
        let policy = policy.build(frames + 1, Arrival::Referenced).expect("OPT was refused");
        let mut spaces = Spaces::new(config, policy);
        spaces.create(SPACE);
        let heap = HEAPS.fetch_add(1, Ordering::Relaxed) & ((1 << HEAP_BITS) - 1);
        Self {
            spaces,
            blocks: Blocks::new(heap, pages),
            entries: Vec::new(),
            frames: Vec::new(),
            holders: Holders::default(),
            pinned: 0,
            lent: false,
            digests: Vec::new(),
            writes_saved: 0,
            sizes,
            updates: Vec::new(),
        }
    }

    /// Frames that hold a page.
    pub(crate) fn frames_used(&self) -> usize {
        (self.spaces.frames_used() - ZEROS) as usize
    }

    pub(crate) fn stats(&self) -> Stats {
        let counters = self.spaces.counters();
        Stats {
            minor_faults: counters.minor_faults,
            major_faults: counters.major_faults,
            swap_ins: counters.swap_ins,
            swap_outs: counters.swap_outs - self.writes_saved,
            clean_evictions: counters.clean_evictions + self.writes_saved,
        }
    }

    /// The entry of a page that a block has.
    #[inline]
    pub(super) fn entry(&self, index: u32) -> Entry {
        self.entries[index as usize]
    }

    /// Whether an access to the page needs nothing to be done before.
    #[inline]
    pub(super) fn is_at_hand(&self, index: u32, access: Access) -> bool {
        self.entry(index).prot.allows(access)
    }

    /// Brings the page table up to what the core says.
    pub(super) fn install(&mut self) {
        let mut updates = core::mem::take(&mut self.updates);
        self.spaces.take_updates(&mut updates);
        for page in updates.iter().flat_map(|(_, range)| range.pages()) {
            let index = index(page) as usize;
            if index >= self.entries.len() {
                self.entries.resize(index + 1, NOT_AT_HAND);
            }
            self.entries[index] = match self.spaces.pte(SPACE, page) {
                Some(Pte { frame, prot }) => Entry { frame, prot },
                None => NOT_AT_HAND,
            };
        }
        self.updates = updates;
    }

    /// One frame more than usual, so that reads and writes go on while all are pinned.
    pub(super) fn lend_frame(&mut self) {
        assert!(!self.lent, "no more frames are pinned than there are");
        self.lent = true;
        self.spaces.set_frames(self.sizes.frames + ZEROS + 1);
    }

    /// Takes it back, now that one is not pinned.
    pub(super) fn unlend_frame(&mut self) {
        if self.lent && self.pinned < self.sizes.frames as usize {
            self.lent = false;
            self.spaces.set_frames(self.sizes.frames + ZEROS);
        }
    }

    /// The bytes of a page that is in memory, and where in them it begins. `place` is which page
    /// of its block it is.
    #[inline]
    pub(super) fn bytes_of(&mut self, first: u32, place: usize) -> (&mut Bytes, usize) {
        let block = self.blocks.at(first);
        let index = block.pages[place];
        match &mut block.gathered {
            Some(bytes) => (bytes, place * self.sizes.page_size),
            None => {
                let frame = self.entries[index as usize].frame;
                let bytes = self.frames[frame.0 as usize].bytes.as_mut();
                (bytes.expect("a page in memory has bytes"), 0)
            }
        }
    }

    /// The bytes of `frame`, which the core has just given to the page `index`.
    pub(super) fn hand_out(&mut self, frame: FrameNo, index: u32) -> &mut Bytes {
        let number = frame.0 as usize;
        if number >= self.frames.len() {
            self.frames.resize_with(number + 1, Frame::default);
        }
        // The page that it was last given to has left memory, and with it what it was gathered for.
        if let Some(before) = self.frames[number].page.replace(index) {
            self.scatter_if_away(before);
        }
        self.scatter_if_away(index);
        let page_size = self.sizes.page_size;
        self.frames[number].bytes.get_or_insert_with(|| Bytes::zeroed(page_size))
    }

    /// The bytes of the page in `frame`, which is to leave.
    pub(super) fn leaving(&mut self, frame: FrameNo) -> &mut Bytes {
        let index = self.frames[frame.0 as usize].page.expect("a page that leaves is in memory");
        self.scatter(index);
        self.frames[frame.0 as usize].bytes.as_mut().expect("a page in memory has bytes")
    }

    fn scatter_if_away(&mut self, index: u32) {
        if self.spaces.frame(SPACE, page(index)).is_none() {
            self.scatter(index);
        }
    }

    /// Gives the pages of a gathered block back to their frames.
    fn scatter(&mut self, index: u32) {
        let Some(block) = self.blocks.of_page(index) else { return };
        let Some(mut gathered) = block.gathered.take() else { return };
        assert!(matches!(block.hold, Hold::Loose | Hold::Coming), "a pinned block stays together");
        let page_size = self.sizes.page_size;
        let mut copied = vec![0; page_size];
        for (place, index) in block.pages.iter().enumerate() {
            if let Some(frame) = self.spaces.frame(SPACE, page(*index)) {
                gathered.read(place * page_size, &mut copied);
                let mut bytes = Bytes::zeroed(page_size);
                bytes.write(0, &copied);
                self.frames[frame.0 as usize].bytes = Some(bytes);
            }
        }
    }

    /// Puts the pages of a block side by side. All of them must be in memory.
    pub(super) fn gather(&mut self, first: u32) {
        let page_size = self.sizes.page_size;
        let block = self.blocks.at(first);
        if block.pages.len() == 1 || block.gathered.is_some() {
            return;
        }
        let mut gathered = Bytes::zeroed(block.pages.len() * page_size);
        let mut copied = vec![0; page_size];
        for (place, index) in block.pages.iter().enumerate() {
            let frame = self.spaces.frame(SPACE, page(*index)).expect("it is in memory");
            let mut bytes = self.frames[frame.0 as usize].bytes.take().expect("a page in memory has bytes");
            bytes.read(0, &mut copied);
            gathered.write(place * page_size, &copied);
        }
        block.gathered = Some(gathered);
    }
}
