//! A recorded run, decided again.
//!
//! The core is told what the program did, which frames it had, and at what pace the pager worked: when it
//! went to park or to evict how many pages, what was in them, and when transfers ended. Which pages are parked
//! and evicted, and so which touches are major faults, it decides anew. How touches were resolved
//! and which pages left ([`Event::is_outcome`]) is not looked at.
//!
//! The same core on the same input decides the same, so the numbers are those of the run, unless events
//! were lost. A replay that has come to differ goes on as well as it can: what does not fit is passed over.

use super::deeds::{self, Fits};
use pager::{
    Commit, Config, Content, Counters, Eviction, Fault, FillResult, FrameNo, PageNo, PageRange, Pager,
    Parking, Rights, SlotNo, State, WriteResult,
};
use std::collections::VecDeque;
use trace::{Direction, Ending, Event, Fate, Header, Kept, Parked};

/// Pages that the engine parks in one call, and evicts.
const PARK_RUN: u32 = 256;
const MOST_VICTIMS: usize = 256;
/// Transfers that are remembered until they end.
const MOST_TRANSFERS: usize = 4096;
/// Frames of a run before it tells.
const FIRST_FRAMES: u32 = 1024;

/// A transfer under way.
#[derive(Debug)]
struct Transfer {
    writes: bool,
    frames: Vec<FrameNo>,
}

/// Frames that are to be written, in order, and what they are for.
#[derive(Clone, Copy, Debug)]
enum Claim {
    /// A transfer, by its number, which still lacks so many.
    Transfer { number: u64, lacks: u32 },
    /// No transfer: there was no room for one.
    Refused { lacks: u32 },
}

/// The core, and what the engine would know besides.
#[derive(Debug)]
pub struct Rerun {
    pager: Pager,
    /// Frames whose reads have not begun.
    reads: VecDeque<FrameNo>,
    /// Frames whose writes have not begun, and who will have them.
    writes: VecDeque<FrameNo>,
    claims: VecDeque<Claim>,
    /// Transfers by age, the oldest first; the number of the first.
    transfers: VecDeque<Option<Transfer>>,
    first_transfer: u64,
    /// Pages of the park that follows which were not parked.
    kept: Vec<(PageNo, Kept)>,
    victims: Vec<FrameNo>,
    next_victim: usize,
    /// Victims that the program's allocator was asked about, and that stay in the list.
    asked: usize,
    next_digest: u128,
    diverged: u64,
}

/// A core for the run that `header` is about; where it does not say how large the store was, it never fills.
pub(super) fn pager(header: &Header) -> Pager {
    const MOST: u32 = (1 << 28) - 2;
    let slots = if header.slots == 0 { MOST } else { header.slots.min(MOST) };
    Pager::new(Config { frames: FIRST_FRAMES, slots, commit: Commit::Lazy, readahead: header.readahead })
}

impl Rerun {
    /// A core for the run that `header` is about.
    pub fn new(header: &Header) -> Self {
        Self {
            pager: pager(header),
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            claims: VecDeque::new(),
            transfers: VecDeque::new(),
            first_transfer: 0,
            kept: Vec::new(),
            victims: Vec::with_capacity(MOST_VICTIMS),
            next_victim: 0,
            asked: 0,
            next_digest: 1,
            diverged: 0,
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.pager.counters()
    }

    /// Pages in memory and mapped, in memory and unmapped, and in the store only.
    pub fn pages(&self) -> [u64; 3] {
        let (used, unmapped) = (self.pager.frames_used(), self.pager.frames_unmapped());
        let swapped = self.pager.pages_touched().saturating_sub(used.into());
        [used.saturating_sub(unmapped).into(), unmapped.into(), swapped]
    }

    /// What is true of `page` now.
    pub fn state(&self, page: u64) -> State {
        self.pager.state(PageNo(page))
    }

    /// Events that did not fit: 0 as long as the replay is exact.
    pub fn diverged(&self) -> u64 {
        self.diverged
    }

    /// Events were lost here: transfers that are under way may have ended.
    pub fn lost_events(&mut self) {
        self.diverged += 1;
        while let Some(transfer) = self.transfers.pop_front() {
            self.first_transfer += 1;
            transfer.into_iter().for_each(|transfer| self.end(transfer, Ending::Done));
        }
        self.claims.clear();
        while let Some(frame) = self.reads.pop_front() {
            self.pager.fill_done(frame, FillResult::Good);
        }
        while let Some(frame) = self.writes.pop_front() {
            self.pager.write_done(frame, WriteResult::Done);
        }
    }

    /// Applies the next event.
    pub fn apply(&mut self, event: &Event) {
        match *event {
            Event::Touch { page, .. } => self.touch(PageNo(page)),
            Event::Area { .. } | Event::Gone { .. } | Event::Moved { .. } | Event::Protected { .. } => {
                if deeds::apply(&mut self.pager, event) == Fits::No {
                    self.diverged += 1;
                }
            }
            Event::Change { start, count, begins } => {
                let range = PageRange { start: PageNo(start), count };
                if begins { self.pager.begin_change(range) } else { self.pager.end_change(range) }
            }
            Event::Held { start, count } => {
                let Some(range) = paged(start, count.min(MOST_HELD)) else { return };
                for area in self.pager.areas_within(range) {
                    area.range.pages().for_each(|page| self.pager.adopt(page));
                }
            }
            Event::Frames { limit } => self.pager.set_frame_limit(limit.min(MOST_FRAMES)),
            Event::Park { count, found } => self.park(count, found),
            Event::Stay { page, why } => self.kept.push((PageNo(page), why)),
            Event::Sampled { page } => {
                let page = PageNo(page);
                if self.is_resident(page) { self.pager.parked(page) } else { self.diverged += 1 }
            }
            Event::Sweep { most } => {
                self.victims.clear();
                self.next_victim = 0;
                self.asked = 0;
                self.pager.next_evictions(most, &mut self.victims);
            }
            Event::Fates { count, fate: Fate::Used } => self.asked += count as usize,
            Event::Fates { count, fate: Fate::Unused } => (0..count).for_each(|_| self.evict_unused()),
            Event::Fates { count, fate } => (0..count).for_each(|_| self.evict(fate)),
            Event::Start { count, direction, .. } => self.start(count, direction),
            Event::End { age, ending } => {
                let index = self.transfers.len().checked_sub(age as usize + 1);
                match index.and_then(|index| self.transfers[index].take()) {
                    Some(transfer) => self.end(transfer, ending),
                    None => self.diverged += 1,
                }
                while let Some(None) = self.transfers.front() {
                    self.transfers.pop_front();
                    self.first_transfer += 1;
                }
            }
            Event::Refused { count, writes: true } => {
                self.claims.push_back(Claim::Refused { lacks: count });
                self.settle_claims();
            }
            Event::Refused { count, writes: false } => {
                for _ in 0..count {
                    self.reads.pop_front().into_iter().for_each(|frame| self.refuse_read(frame));
                }
            }
            Event::Unmapped { page } => {
                let page = PageNo(page);
                if self.is_resident(page) { self.pager.unmapped(page) } else { self.diverged += 1 }
            }
            Event::Poisoned { page } => {
                self.diverged += 1;
                self.pager.discard(PageRange::one(PageNo(page)), |_, _| {});
            }
            Event::Forked
            | Event::Along { .. }
            | Event::Evicted { .. }
            | Event::Sample { .. }
            | Event::Code { .. }
            | Event::Caller { .. } => {}
        }
    }

    fn is_resident(&self, page: PageNo) -> bool {
        matches!(self.pager.state(page), State::Resident { .. })
    }

    fn touch(&mut self, page: PageNo) {
        for _ in 0..MOST_TRANSFERS {
            match self.pager.fault(page) {
                Fault::Read | Fault::Map(_) | Fault::InFlight => {
                    self.reads.extend(self.pager.reads().iter().map(|read| read.frame));
                    return;
                }
                Fault::NoFrame => {
                    // The run had a frame: something went another way. One is made free.
                    self.diverged += 1;
                    if !self.make_room() {
                        return;
                    }
                }
                Fault::Zero(_) | Fault::Resident | Fault::Poisoned | Fault::Unmanaged | Fault::Changing => {
                    return;
                }
            }
        }
    }

    fn make_room(&mut self) -> bool {
        if let Parking::Pages(range) = self.pager.next_parking(1) {
            for page in range.pages() {
                if self.is_resident(page) {
                    self.pager.parked(page);
                }
            }
        }
        let mut victims = Vec::with_capacity(MOST_VICTIMS);
        self.pager.next_evictions(MOST_VICTIMS as u32, &mut victims);
        // What is still being read ahead is in the list, too.
        let is_parked = |frame: &FrameNo| self.slot_of_parked(*frame).is_some();
        let Some(frame) = victims.into_iter().find(is_parked) else { return false };
        self.next_digest += 1;
        let content =
            if self.pager.known_clean(frame) { None } else { Some(Content::Digest(self.next_digest)) };
        if let Eviction::Write(_) = self.pager.evict(frame, content) {
            self.pager.write_done(frame, WriteResult::Done);
        }
        true
    }

    fn park(&mut self, count: u32, found: Parked) {
        let kept = std::mem::take(&mut self.kept);
        let range = match (self.pager.next_parking(PARK_RUN), found) {
            (Parking::Pages(range), Parked::Pages) => range,
            (Parking::Scanned | Parking::Nothing, Parked::None) => return,
            _ => {
                self.diverged += 1;
                return;
            }
        };
        if range.count < count.into() {
            self.diverged += 1;
        }
        for page in range.pages().take(count as usize) {
            match kept.iter().find(|(other, _)| *other == page) {
                None if self.is_resident(page) => self.pager.parked(page),
                Some((_, Kept::Absent)) => self.pager.discard(PageRange::one(page), |_, _| {}),
                Some((_, Kept::Pinned)) | None => {}
            }
        }
    }

    /// The next victim holds nothing that will be read, and leaves before the others.
    fn evict_unused(&mut self) {
        let is_parked = |frame: &FrameNo| self.slot_of_parked(*frame).is_some();
        if !self.victims.get(self.asked).is_some_and(is_parked) {
            self.diverged += 1;
            return;
        }
        let frame = self.victims.remove(self.asked);
        let _ = self.pager.evict(frame, Some(Content::Zero));
    }

    /// The slot, if it has one, of the page that is parked in a frame which was to be evicted; none if
    /// it no longer is. The page may have been given up since, and have another frame now.
    fn slot_of_parked(&self, victim: FrameNo) -> Option<Option<SlotNo>> {
        match self.pager.state(self.pager.page_of(victim)) {
            State::Parked { frame, slot, .. } if frame == victim => Some(slot),
            _ => None,
        }
    }

    fn evict(&mut self, fate: Fate) {
        let Some(frame) = self.victims.get(self.next_victim).copied() else {
            self.diverged += 1;
            return;
        };
        self.next_victim += 1;
        let Some(slot) = self.slot_of_parked(frame) else {
            self.diverged += 1;
            return;
        };
        let content = match fate {
            Fate::Clean if self.pager.known_clean(frame) => None,
            Fate::Clean if slot.is_some() => Some(Content::Clean),
            Fate::Zero => Some(Content::Zero),
            Fate::Dirty | Fate::Clean | Fate::Unused | Fate::Used => {
                self.diverged += u64::from(fate == Fate::Clean);
                self.next_digest += 1;
                Some(Content::Digest(self.next_digest))
            }
        };
        if let Eviction::Write(_) = self.pager.evict(frame, content) {
            self.writes.push_back(frame);
            self.settle_claims();
        }
    }

    fn start(&mut self, count: u32, direction: Direction) {
        let number = self.first_transfer + self.transfers.len() as u64;
        let writes = direction == Direction::Write;
        let most = if writes { 0 } else { (count as usize).min(self.reads.len()) };
        self.diverged += u64::from(!writes && most < count as usize);
        self.transfers.push_back(Some(Transfer { writes, frames: self.reads.drain(..most).collect() }));
        if writes {
            self.claims.push_back(Claim::Transfer { number, lacks: count });
            self.settle_claims();
        }
        if self.transfers.len() > MOST_TRANSFERS {
            self.lost_events();
        }
    }

    /// Gives frames that are to be written to whom they are for.
    fn settle_claims(&mut self) {
        while let (Some(claim), Some(frame)) = (self.claims.front().copied(), self.writes.front().copied()) {
            self.claims.pop_front();
            self.writes.pop_front();
            let lacks = match claim {
                Claim::Refused { lacks } => {
                    self.pager.write_done(frame, WriteResult::Failed);
                    lacks
                }
                Claim::Transfer { number, lacks } => {
                    let index =
                        number.checked_sub(self.first_transfer).and_then(|index| usize::try_from(index).ok());
                    match index.and_then(|index| self.transfers.get_mut(index)).and_then(Option::as_mut) {
                        Some(transfer) => transfer.frames.push(frame),
                        None => drop(self.pager.write_done(frame, WriteResult::Done)),
                    }
                    lacks
                }
            };
            if lacks > 1 {
                let rest = match claim {
                    Claim::Refused { .. } => Claim::Refused { lacks: lacks - 1 },
                    Claim::Transfer { number, .. } => Claim::Transfer { number, lacks: lacks - 1 },
                };
                self.claims.push_front(rest);
            }
        }
    }

    fn end(&mut self, transfer: Transfer, ending: Ending) {
        for frame in transfer.frames {
            match (transfer.writes, ending) {
                (true, Ending::Done) => drop(self.pager.write_done(frame, WriteResult::Done)),
                (true, _) => drop(self.pager.write_done(frame, WriteResult::Failed)),
                (false, Ending::Done) => drop(self.pager.fill_done(frame, FillResult::Good)),
                (false, _) => drop(self.pager.fill_done(frame, FillResult::Bad)),
            }
        }
    }

    fn refuse_read(&mut self, frame: FrameNo) {
        // An orphan's read that is refused ends as any does.
        if matches!(self.pager.state(self.pager.page_of(frame)), State::Filling { frame: own, .. } if own == frame)
        {
            self.pager.fill_refused(frame);
        } else {
            self.pager.fill_done(frame, FillResult::Good);
        }
    }
}

/// The most frames that the core can name.
pub(super) const MOST_FRAMES: u32 = (1 << 27) - 1;
/// Longer areas than an address space holds are none.
const MOST_PAGES: u64 = 1 << 31;
/// Nor was more than this in memory when paging began: 256 GiB.
pub(super) const MOST_HELD: u64 = 1 << 26;

/// A range that can be paged, if it is one.
pub(super) fn paged(start: u64, count: u64) -> Option<PageRange> {
    let end = start.checked_add(count)?;
    (count > 0 && count <= MOST_PAGES && end <= 1 << 52).then_some(PageRange { start: PageNo(start), count })
}

/// Rights of an area; none where it is about pins.
pub(super) fn rights_of(rights: trace::Rights) -> Option<Rights> {
    match rights {
        trace::Rights::ReadWrite => Some(Rights::ReadWrite),
        trace::Rights::Restricted => Some(Rights::Restricted),
        trace::Rights::Pinned | trace::Rights::Unpinned => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Alone;
    use super::*;
    use proptest::prelude::*;

    /// Events as a trace might have them, near enough to one another to meet.
    fn event() -> impl Strategy<Value = Event> {
        let fates = vec![Fate::Clean, Fate::Dirty, Fate::Zero, Fate::Unused, Fate::Used];
        let directions = vec![Direction::Demand, Direction::Ahead, Direction::Write];
        let rights = vec![
            trace::Rights::ReadWrite,
            trace::Rights::Restricted,
            trace::Rights::Pinned,
            trace::Rights::Unpinned,
        ];
        let chosen = (
            prop::sample::select(fates),
            prop::sample::select(directions),
            prop::sample::select(rights),
            any::<bool>(),
        );
        (0..40_u8, 0..3000_u64, 0..400_u64, 0..3000_u64, chosen).prop_map(
            |(kind, start, count, to, (fate, direction, rights, odd))| {
                let (small, page) = (count as u32, start);
                match kind {
                    0..12 => Event::Touch { page, outcome: trace::Outcome::Zero },
                    12 => Event::Area { start, count, rights },
                    13 => Event::Gone { start, count, why: trace::Gone::Unmapped },
                    14 => Event::Gone { start, count, why: trace::Gone::Discarded },
                    15 => Event::Moved { from: start, to, count },
                    16 => Event::Protected { start, count, rights },
                    17 => Event::Change { start, count, begins: odd },
                    18 => Event::Held { start, count },
                    19 => Event::Frames { limit: small },
                    20..23 => {
                        Event::Park { count: small, found: if odd { Parked::Pages } else { Parked::None } }
                    }
                    23 => Event::Stay { page, why: if odd { Kept::Pinned } else { Kept::Absent } },
                    24 => Event::Sampled { page },
                    25 => Event::Sweep { most: small },
                    26..29 => Event::Fates { count: small % 20, fate },
                    29..32 => Event::Start { page, count: small % 5, direction },
                    32..36 => {
                        Event::End { age: small % 4, ending: if odd { Ending::Done } else { Ending::Failed } }
                    }
                    36 => Event::Refused { count: small % 3, writes: odd },
                    37 => Event::Unmapped { page },
                    38 => Event::Poisoned { page },
                    _ => Event::Forked,
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        /// What makes no sense is passed over, and counted.
        #[test]
        fn any_events_are_replayed(
            events in prop::collection::vec(event(), 0..400),
            lost in 0..400_usize,
        ) {
            let header = Header { page_bytes: 4096, slots: 2000, readahead: true, ..Header::default() };
            let (mut rerun, mut alone) = (Rerun::new(&header), Alone::new(&header));
            let area = Event::Area { start: 0, count: 2500, rights: trace::Rights::ReadWrite };
            rerun.apply(&area);
            alone.apply(&area);
            for (index, event) in events.iter().enumerate() {
                if index == lost {
                    rerun.lost_events();
                }
                rerun.apply(event);
                alone.apply(event);
            }
            prop_assert!(rerun.pages().iter().all(|count| *count < 10_000));
        }
    }
}
