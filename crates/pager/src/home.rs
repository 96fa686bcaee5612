//! Pages that have homes: what is kept about them, and what can be done with them alone.
//!
//! ```text
//! untouched ──touch, read ahead──▶ filling ──▶ resident ⇄ parked ──▶ untouched        clean
//! (at home)                                                  │ ├──▶ writing home ──▶ untouched    shared
//!                                                            │ └──▶ writing s ────▶ swapped s    private
//!                                                            └ clean ──▶ writing home ──▶ parked
//! ```
//!
//! A page that is at home and nowhere else is untouched, so that it costs nothing to map a
//! large file. While it is in memory its frame has the digest of the bytes at home: the
//! same bytes again are clean. A private page that was changed lives in a slot like any other.

use crate::area::{Area, Backing, Inherit, Pattern, Rights, Sharing};
use crate::entry::{NUMBER_LIMIT, State};
use crate::fault::Read;
use crate::frames::Queue;
use crate::page::{FrameNo, PageNo, PageRange, SlotNo};
use crate::pager::{MAX_READS, Pager};
use crate::reclaim::{Content, Eviction};

/// No digest: what is at home is not known. As improbable as any other.
const UNKNOWN: u128 = 0;
/// Pages that one call of [`Pager::populate`] looks at.
const MAX_LOOK: u64 = 16 * MAX_READS as u64;

/// What is kept of the bytes at home of pages that are in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Homes {
    /// There is an area with homes, or was.
    any: bool,
    /// By frame.
    digests: Vec<u128>,
    zero: u128,
}

impl Homes {
    pub(crate) fn any(&self) -> bool {
        self.any
    }

    /// The driver's digest of the content.
    fn key(&self, content: Content) -> u128 {
        match content {
            Content::Zero => self.zero,
            Content::Digest(digest) => digest,
            Content::Dirty | Content::Clean => UNKNOWN,
        }
    }

    pub(crate) fn set(&mut self, frame: FrameNo, digest: u128) {
        let index = frame.0 as usize;
        if index >= self.digests.len() {
            // Only past the limit of frames, for which there is room.
            self.digests.resize(index + 1, UNKNOWN);
        }
        self.digests[index] = digest;
    }

    pub(crate) fn forget(&mut self, frame: FrameNo) {
        self.set(frame, UNKNOWN);
    }

    fn is(&self, frame: FrameNo, digest: u128) -> bool {
        digest != UNKNOWN && self.digests.get(frame.0 as usize) == Some(&digest)
    }

    /// Makes room for so many frames.
    pub(crate) fn cover(&mut self, frames: u32) {
        if self.any && self.digests.len() < frames as usize {
            self.digests.resize(frames as usize, UNKNOWN);
        }
    }

    /// Bytes of the table, most of which are used when the frames are.
    pub(crate) fn metadata_bytes(&self) -> usize {
        self.digests.len() * size_of::<u128>()
    }
}

/// What [`Pager::populate`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Populated {
    /// Start [`Pager::reads`]; go on at this page.
    Until(PageNo),
    /// The same, and no frame is left that nobody needs: it is time to end.
    Full,
}

impl Pager {
    /// The digest by which the driver knows a page of zeros in areas with homes.
    pub fn set_zero_digest(&mut self, digest: u128) {
        self.homes.zero = digest;
    }

    /// Adds an area whose pages have homes. What was there must have been discarded.
    /// Allocates.
    ///
    /// # Panics
    /// If a home is none: below the number of slots, or past 2²⁸ − 2.
    pub fn add_home_area(&mut self, range: PageRange, first: SlotNo, sharing: Sharing) {
        let last = u64::from(first.0) + range.count.saturating_sub(1);
        assert!(
            self.slots.is_home(first) && last < u64::from(NUMBER_LIMIT),
            "{} pages have homes from {first:?} on, of which some are none",
            range.count
        );
        self.homes.any = true;
        self.homes.cover(self.frame_limit());
        self.slots.remember_homes(self.frame_limit());
        self.table.cover(range);
        let base = first.0.wrapping_sub(range.start.0 as u32);
        let backing = Backing::Home { base, sharing };
        // Maps are not inherited.
        let (rights, pattern, inherit) = (Rights::ReadWrite, Pattern::Normal, Inherit::Omitted);
        // Who maps it knows what it has promised.
        let (charged, pinned) = (false, false);
        self.areas.insert(Area { range, rights, charged, pinned, inherit, backing, pattern });
    }

    /// Changes where changed pages of areas with homes go. Pages that were read-only and are
    /// in memory are written once too often when they leave, unless [`Self::note_home`] has
    /// been told what they are.
    pub fn set_sharing(&mut self, range: PageRange, new: Sharing) {
        for area in self.areas.within(range) {
            if let Backing::Home { base, .. } = area.backing {
                self.areas.insert(Area { backing: Backing::Home { base, sharing: new }, ..area });
            }
        }
    }

    /// How the program uses the areas in `range`; they split where they must.
    pub fn set_pattern(&mut self, range: PageRange, pattern: Pattern) {
        for area in self.areas.within(range) {
            self.areas.insert(Area { pattern, ..area });
        }
    }

    /// The bytes in `frame` are those at its page's home.
    pub fn note_home(&mut self, frame: FrameNo, content: Content) {
        let key = self.homes.key(content);
        self.homes.set(frame, key);
    }

    /// The area of `page`, if its pages have homes. Without cost where none have.
    pub(crate) fn home_area(&self, page: PageNo) -> Option<(SlotNo, Sharing)> {
        if !self.homes.any {
            return None;
        }
        let area = self.areas.find(page)?;
        match area.backing {
            Backing::Home { sharing, .. } => area.home(page).map(|home| (home, sharing)),
            Backing::Zeros => None,
        }
    }

    /// Whether what `page` has in `slot` is at home, where an untouched page is.
    pub(crate) fn is_at_home(&self, page: PageNo, slot: SlotNo) -> bool {
        self.slots.is_home(slot) && self.home_area(page).is_some_and(|(home, _)| home == slot)
    }

    /// What a page is whose bytes are in `slot` and nowhere else.
    pub(crate) fn at_rest(&self, page: PageNo, slot: SlotNo) -> State {
        if self.is_at_home(page, slot) { State::Untouched } else { State::Swapped { slot } }
    }

    /// [`Self::evict`] for a page of an area with homes.
    pub(crate) fn evict_from_home(
        &mut self,
        page: PageNo,
        frame: FrameNo,
        content: Option<Content>,
        area: (SlotNo, Sharing),
    ) -> Eviction {
        let State::Parked { slot, .. } = self.table.get(page) else {
            unreachable!("only parked pages are evicted");
        };
        let (home, sharing) = area;
        let digest = self.homes.key(content.unwrap_or(Content::Clean));
        let is_clean = match slot {
            _ if matches!(content, None | Some(Content::Clean)) || sharing == Sharing::ReadOnly => true,
            Some(slot) if slot == home => self.homes.is(frame, digest),
            Some(slot) => digest != UNKNOWN && self.slots.digest(slot) == digest,
            None => false,
        };
        if is_clean {
            return self.evict_clean(page, frame, slot);
        }
        if sharing == Sharing::Shared {
            self.homes.set(frame, digest);
            return self.evict_dirty(page, frame, home);
        }
        slot.into_iter().for_each(|slot| self.slots.release(slot));
        match self.slots.allocate(digest) {
            Some(slot) => self.evict_dirty(page, frame, slot),
            None => {
                self.frames.move_to(frame, Queue::Parked);
                self.set(page, State::Parked { frame, slot: None, ahead: false });
                Eviction::StoreFull
            }
        }
    }

    /// Has a parked page of a shared area be at home as well, and stay in memory. None if
    /// it is; else write it there, then say [`Self::write_done`].
    pub fn clean(&mut self, frame: FrameNo, content: Content) -> Option<SlotNo> {
        let page = self.frames.page(frame);
        let State::Parked { slot: Some(slot), ahead, .. } = self.table.get(page) else {
            unreachable!("only parked pages are cleaned");
        };
        let area = self.home_area(page);
        let (home, sharing) = area.expect("only pages that have homes are cleaned");
        debug_assert_eq!(slot, home, "pages that go home have been nowhere else");
        let digest = self.homes.key(content);
        if ahead || sharing != Sharing::Shared || self.homes.is(frame, digest) {
            return None;
        }
        self.homes.set(frame, digest);
        self.frames.move_to(frame, Queue::Cleaning);
        self.set(page, State::Writing { frame, slot: home, wanted: false });
        Some(home)
    }

    /// Asks for the pages of `range` that are not in memory, as wanted ones, as far as there
    /// are frames that nobody needs.
    pub fn populate(&mut self, range: PageRange) -> Populated {
        self.reads.clear();
        let reserve = self.reserve();
        let mut page = range.start;
        let mut looked = 0;
        while page < range.end() && looked < MAX_LOOK && self.reads.len() < MAX_READS {
            looked += 1;
            let Some(area) = self.areas.find(page) else { break };
            let slot = match self.table.get(page) {
                State::Untouched => area.home(page),
                State::Swapped { slot } => Some(slot),
                _ => None,
            };
            if let Some(slot) = slot.filter(|_| !self.changes.touch(page)) {
                if self.frames.available() <= reserve {
                    return Populated::Full;
                }
                let frame = self.frames.take(page);
                self.set(page, State::Filling { frame, slot, wanted: true });
                self.reads.push(Read { page, frame, slot });
                self.counters.readahead_pages += 1;
            }
            page = page.plus(1);
        }
        Populated::Until(page)
    }
}
