//! The pager: its tables, its limits, and the questions that change nothing.

use crate::area::{Area, Areas, Backing, Inherit, Pattern, Rights};
use crate::changes::Changes;
use crate::counters::Counters;
use crate::entry::{NUMBER_LIMIT, State};
use crate::fault::Read;
use crate::frames::{Frames, Queue};
use crate::home::Homes;
use crate::lineage::{Lineage, MemberNo};
use crate::page::{FrameNo, PageNo, PageRange, SlotNo};
use crate::share::Share;
use crate::slots::Slots;
use crate::streams::Streams;
use crate::table::PageTable;

/// The most accesses that a stream prepares for: 1 MiB of 4 KiB pages.
pub(crate) const MAX_WINDOW: u32 = 256;

/// Windows that are kept read ahead of a stream: the store works on one while another is
/// used. Of long windows more, so that a fast disk always has the next request.
pub(crate) const WINDOWS_AHEAD: i64 = 2;
pub(crate) const LONG_WINDOWS_AHEAD: i64 = 4;
/// From so many accesses on a window is long.
pub(crate) const LONG_WINDOW: i64 = 64;

/// Reads that one fault may ask for: the page, and all windows ahead of it.
pub(crate) const MAX_READS: usize = LONG_WINDOWS_AHEAD as usize * MAX_WINDOW as usize + 1;

/// Slots and homes are numbered below this.
pub const MAX_NUMBERS: u32 = NUMBER_LIMIT;

/// When the store's room is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// When memory is promised: a promise that could not be kept is refused.
    Strict,
    /// At the first eviction: more may be promised than there is.
    Lazy,
}

/// What a pager is made for.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Frames that may be in use.
    pub frames: u32,
    /// Slots of the store.
    pub slots: u32,
    /// When slots are charged.
    pub commit: Commit,
    /// Whether pages are read before they are asked for.
    pub readahead: bool,
}

/// The state machine of all paged memory of one address space. See the crate's page.
#[derive(Clone, Debug)]
pub struct Pager {
    pub(crate) table: PageTable,
    pub(crate) frames: Frames,
    pub(crate) slots: Slots,
    pub(crate) areas: Areas,
    pub(crate) changes: Changes,
    pub(crate) streams: Streams,
    pub(crate) share: Share,
    pub(crate) homes: Homes,
    pub(crate) counters: Counters,
    /// What the last call asked to be read; capacity [`MAX_READS`], never grown.
    pub(crate) reads: Vec<Read>,
    /// Pages that are not untouched.
    pub(crate) touched: u64,
    /// Pages that were read ahead, or are being, and that nobody has touched.
    pub(crate) ahead: u32,
    /// Frames that a write will free.
    pub(crate) writing: u32,
    /// Reclaim has begun and not yet reached the reserve.
    pub(crate) reclaiming: bool,
    config: Config,
    promised: u64,
}

impl Pager {
    /// A pager without areas.
    ///
    /// # Panics
    /// If frames or slots exceed what an entry can name (2²⁸ − 1 each).
    pub fn new(config: Config) -> Self {
        assert!(config.slots < NUMBER_LIMIT, "{} slots are more than an entry can name", config.slots);
        let mut pager = Self {
            table: PageTable::default(),
            frames: Frames::new(0),
            slots: Slots::new(config.slots),
            areas: Areas::default(),
            changes: Changes::new(),
            streams: Streams::new(MAX_WINDOW),
            share: Share::new(),
            homes: Homes::default(),
            counters: Counters::default(),
            reads: Vec::with_capacity(MAX_READS),
            touched: 0,
            ahead: 0,
            writing: 0,
            reclaiming: false,
            config,
            promised: 0,
        };
        pager.set_frame_limit(config.frames);
        pager
    }

    /// What the pager was made for.
    pub fn config(&self) -> Config {
        self.config
    }

    /// Allows `frames` to be in use from now on. If more are, reclaim is needed.
    pub fn set_frame_limit(&mut self, frames: u32) {
        self.frames.set_limit(frames);
        self.share.set_frames(frames);
        self.homes.cover(frames);
        let window = if self.config.readahead { (frames / 32).min(MAX_WINDOW) } else { 0 };
        self.streams.set_max_window(window);
    }

    /// What it costs to read a page back, in touches on parked pages.
    pub fn set_miss_cost(&mut self, rescues: u32) {
        self.share.set_miss_cost(rescues);
    }

    /// Frames that may be in use.
    pub fn frame_limit(&self) -> u32 {
        self.frames.limit()
    }

    /// Frames in use: resident, parked or in a transfer.
    pub fn frames_used(&self) -> u32 {
        self.frames.used()
    }

    /// Frames whose pages are mapped.
    pub fn frames_resident(&self) -> u32 {
        self.frames.count(Queue::Probation) + self.frames.count(Queue::Protected)
    }

    /// Frames whose pages are unmapped but in memory, other than those read ahead.
    pub fn frames_parked(&self) -> u32 {
        self.frames.count(Queue::Parked)
    }

    /// Frames whose pages are in memory and unmapped, those read ahead and those being written included.
    pub fn frames_unmapped(&self) -> u32 {
        self.frames.count(Queue::Parked) + self.frames.count(Queue::Ahead) + self.writing
    }

    /// Frames that a transfer owns.
    pub fn frames_in_transfer(&self) -> u32 {
        self.frames.count(Queue::Transfer)
    }

    /// Slots in use.
    pub fn slots_used(&self) -> u32 {
        self.slots.in_use()
    }

    /// Slots in all.
    pub fn slots_total(&self) -> u32 {
        self.slots.capacity()
    }

    /// Pages that hold data: everything but untouched ones.
    pub fn pages_touched(&self) -> u64 {
        self.touched
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Bytes of the pager's tables that have been written, which is what they keep resident.
    pub fn metadata_bytes(&self) -> usize {
        self.table.metadata_bytes()
            + self.frames.metadata_bytes()
            + self.slots.metadata_bytes()
            + self.homes.metadata_bytes()
    }

    /// What is true of `page`.
    pub fn state(&self, page: PageNo) -> State {
        self.table.get(page)
    }

    /// The digest that was kept for `slot`.
    pub fn digest(&self, slot: SlotNo) -> u128 {
        self.slots.digest(slot)
    }

    /// The page that holds, or waits for, `frame`.
    pub fn page_of(&self, frame: FrameNo) -> PageNo {
        self.frames.page(frame)
    }

    /// The area that `page` lies in.
    pub fn area(&self, page: PageNo) -> Option<Area> {
        self.areas.find(page)
    }

    /// Every area, in order.
    pub fn areas(&self) -> impl Iterator<Item = Area> {
        self.areas.iter()
    }

    /// The parts of areas that lie in `range`, in order. Allocates.
    pub fn areas_within(&self, range: PageRange) -> Vec<Area> {
        self.areas.within(range)
    }

    /// Adds an area of untouched pages; what was there must have been discarded. Allocates.
    pub fn add_area(&mut self, range: PageRange, rights: Rights) {
        self.table.cover(range);
        let (backing, pattern, inherit) = (Backing::Zeros, Pattern::Normal, Inherit::Copied);
        let (charged, pinned) = (rights == Rights::ReadWrite, false);
        self.areas.insert(Area { range, rights, charged, pinned, inherit, backing, pattern });
    }

    /// Notes that the bytes of the areas in `range` are promised.
    pub fn charge(&mut self, range: PageRange) {
        for area in self.areas.within(range) {
            self.areas.insert(Area { charged: true, ..area });
        }
    }

    /// Changes the rights of the areas in `range`; they split where they must.
    pub fn set_rights(&mut self, range: PageRange, rights: Rights) {
        for area in self.areas.within(range) {
            let charged = area.charged || rights == Rights::ReadWrite;
            self.areas.insert(Area { rights, charged, ..area });
        }
    }

    /// Pins the areas in `range`, or lets them go.
    pub fn set_pinned(&mut self, range: PageRange, pinned: bool) {
        for area in self.areas.within(range) {
            self.areas.insert(Area { pinned, ..area });
        }
    }

    /// Pins the areas in `ranges`, of which no two overlap. False, and nothing changed, when
    /// more than `most` pages would be pinned then.
    pub fn pin(&mut self, ranges: &[PageRange], most: u64) -> bool {
        let parts = ranges.iter().flat_map(|range| self.areas.within(*range));
        let more: u64 = parts.filter(|area| !area.pinned).map(|area| area.range.count).sum();
        let fits = self.pages_pinned() + more <= most;
        if fits {
            ranges.iter().for_each(|range| self.set_pinned(*range, true));
        }
        fits
    }

    /// Says what forked children have of the areas in `range`.
    pub fn set_inherit(&mut self, range: PageRange, inherit: Inherit) {
        for area in self.areas.within(range) {
            self.areas.insert(Area { inherit, ..area });
        }
    }

    /// Pages of pinned areas.
    pub fn pages_pinned(&self) -> u64 {
        self.areas.iter().filter(|area| area.pinned).map(|area| area.range.count).sum()
    }

    /// The program begins to change what is mapped in `range`: until [`Self::end_change`]
    /// nothing there is parked, and faults there are [`Fault::Changing`](crate::Fault).
    /// Allocates beyond 1024 at once.
    pub fn begin_change(&mut self, range: PageRange) {
        self.changes.begin(range);
    }

    /// The end of the change begun with the same `range`.
    pub fn end_change(&mut self, range: PageRange) {
        self.changes.end(range);
    }

    /// Whether all of `range` is being changed by one who said so.
    pub fn knows_change(&self, range: PageRange) -> bool {
        self.changes.cover(range)
    }

    /// Whether any range is being changed.
    pub fn is_changing(&self) -> bool {
        self.changes.any()
    }

    /// Promises `pages` of memory. False, and nothing changed, when commit is
    /// strict and frames and slots together could not hold all that is promised.
    #[must_use]
    pub fn promise(&mut self, pages: u64) -> bool {
        let room = u64::from(self.frames.limit()) + u64::from(self.slots.capacity());
        let promised = self.promised.saturating_add(pages);
        let kept = self.config.commit == Commit::Lazy || promised <= room;
        if kept {
            self.promised = promised;
        }
        kept
    }

    /// Takes a promise back.
    pub fn renounce(&mut self, pages: u64) {
        self.promised = self.promised.saturating_sub(pages);
    }

    /// A stretch of slots (first, count) that became free as a whole: the store may
    /// forget its bytes. Each is told once.
    pub fn take_stale_slots(&mut self) -> Option<(SlotNo, u32)> {
        self.slots.take_stale_extent()
    }

    /// Whether [`Self::take_stale_slots`] has something to tell.
    pub fn has_stale_slots(&self) -> bool {
        self.slots.has_stale()
    }

    /// What [`Self::take_stale_slots`] told, from `start` on, has been forgotten.
    pub fn stale_slots_are_forgotten(&mut self, start: SlotNo) {
        self.slots.forgotten(start);
    }

    /// Gives out slots of a store that other pagers use as well from now on, as `member`.
    ///
    /// # Panics
    /// If slots are in use, or are not as many as the lineage has.
    pub fn join(&mut self, lineage: Lineage, member: MemberNo) {
        assert!(self.slots.in_use() == 0 && lineage.slots() == self.slots.capacity());
        self.slots.join(lineage, member);
    }

    /// Before a fork: `heir`, who has just joined the lineage, holds all slots that are in
    /// use here. False, and nothing changed, without a lineage.
    #[must_use]
    pub fn bequeath(&mut self, heir: MemberNo) -> bool {
        self.slots.bequeath(heir)
    }

    /// Takes over a page that is mapped already, even past the frame limit.
    pub fn adopt(&mut self, page: PageNo) {
        if self.table.get(page) != State::Untouched {
            return;
        }
        debug_assert!(self.home_area(page).is_none(), "what is at home is read, not adopted");
        let frame = self.frames.take(page);
        self.frames.move_to(frame, Queue::Probation);
        self.set(page, State::Resident { frame, slot: None });
    }

    /// Gives out frames and slots in order of arrival from now on, and makes all of them known.
    pub(crate) fn in_order_of_arrival(&mut self) {
        self.frames.stock();
        self.slots.in_order_of_arrival();
    }

    /// Says where the bytes of an untouched page are: in its home, which is no slot.
    pub(crate) fn settle(&mut self, page: PageNo, home: SlotNo) {
        debug_assert!(self.slots.is_home(home) && self.table.get(page) == State::Untouched);
        self.set(page, State::Swapped { slot: home });
    }

    /// Gives a resident page a slot now rather than at its first eviction. False: none is left.
    #[must_use]
    pub(crate) fn give_slot(&mut self, page: PageNo) -> bool {
        match self.table.get(page) {
            State::Resident { frame, slot: None } => match self.slots.allocate(0) {
                Some(slot) => {
                    self.set(page, State::Resident { frame, slot: Some(slot) });
                    true
                }
                None => false,
            },
            state => unreachable!("{page:?} is {state:?} and is given a slot"),
        }
    }

    /// Changes a page's state and keeps count.
    pub(crate) fn set(&mut self, page: PageNo, state: State) {
        let before = self.table.get(page);
        let touched = |state| u64::from(state != State::Untouched);
        self.touched = self.touched + touched(state) - touched(before);
        self.ahead = self.ahead + u32::from(state.is_ahead()) - u32::from(before.is_ahead());
        self.table.set(page, state);
    }
}
