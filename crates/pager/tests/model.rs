//! The core against a plain map of what the program wrote.
//!
//! A small driver carries out the core's decisions as the engine does, with a store
//! whose transfers end late, in random order, and fail. After every step the core's
//! laws hold; every touch sees the bytes of the model, or a poisoned page whose slot
//! was made to fail; at the end nothing is left in use.
//!
//! Beside memory that begins as zeros there are maps of a file: a shared one, a private one,
//! and one that is only read. Writes to the file that fail leave half of each behind.

use pager::{
    Commit, Config, Content, Eviction, Fault, Fill, FillResult, FrameNo, PageNo, PageRange, Pager, Parking,
    Populated, Rights, Sharing, SlotNo, State, WriteResult, Written,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

#[path = "model/lineage.rs"]
mod lineage;

/// A page's bytes: one word is as good as 4096 to tell pages apart. Zero is a zero page.
type Bytes = u64;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

enum Transfer {
    Fill(FrameNo, SlotNo),
    Write(FrameNo, SlotNo),
}

struct Twin {
    pager: Pager,
    mapped: HashMap<PageNo, Bytes>,
    pool: HashMap<FrameNo, Bytes>,
    /// Of all twins of a lineage.
    store: Rc<RefCell<HashMap<SlotNo, Bytes>>>,
    /// What has been written to the file, by home.
    file: HashMap<SlotNo, Bytes>,
    transfers: Vec<Transfer>,
    model: HashMap<PageNo, Bytes>,
    random: Random,
    /// One transfer in so many fails; 0: none.
    failing: u64,
    /// A discard that has been announced: what is mapped stays so until its end.
    changing: Option<PageRange>,
}

const PAGES: u64 = 400;
const HOME: u64 = 0x1000;
/// Half of the pages lie here after an odd number of moves.
const AWAY: u64 = 0x9000;
/// Maps of the file: each of the same pages, with homes of its own.
const SHARED: u64 = 0x2_0000;
const PRIVATE: u64 = 0x3_0000;
const READ_ONLY: u64 = 0x4_0000;

/// What the file holds at first where page `page` of a map is at home.
fn origin(page: PageNo) -> Bytes {
    let word = (page.0 & 0xfff).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    if page.0 < SHARED || word.is_multiple_of(5) { 0 } else { word }
}

fn is_shared(page: PageNo) -> bool {
    (SHARED..SHARED + PAGES).contains(&page.0)
}

fn content(bytes: Bytes) -> Content {
    if bytes == 0 { Content::Zero } else { Content::Digest(digest(bytes)) }
}

fn digest(bytes: Bytes) -> u128 {
    u128::from(bytes) << 64 | u128::from(!bytes)
}

impl Twin {
    fn new(seed: u64, frames: u32, slots: u32, failing: u64) -> Self {
        let config = Config { frames, slots, commit: Commit::Lazy, readahead: true };
        let mut pager = Pager::new(config);
        pager.add_area(PageRange { start: PageNo(HOME), count: PAGES }, Rights::ReadWrite);
        pager.set_zero_digest(digest(0));
        let sharing =
            [(SHARED, Sharing::Shared), (PRIVATE, Sharing::Private), (READ_ONLY, Sharing::ReadOnly)];
        for ((start, sharing), first) in sharing.into_iter().zip((slots..).step_by(PAGES as usize)) {
            let range = PageRange { start: PageNo(start), count: PAGES };
            pager.add_home_area(range, SlotNo(first), sharing);
        }
        Self {
            pager,
            mapped: HashMap::new(),
            pool: HashMap::new(),
            store: Rc::default(),
            file: HashMap::new(),
            transfers: Vec::new(),
            model: HashMap::new(),
            random: Random(seed),
            failing,
            changing: None,
        }
    }

    fn fails(&mut self) -> bool {
        self.failing > 0 && self.random.below(self.failing) == 0
    }

    fn map(&mut self, page: PageNo) {
        let State::Resident { frame, .. } = self.pager.state(page) else {
            panic!("{page:?} is not resident")
        };
        if self.random.below(50) == 0 {
            // The kernel would not: it stays in the pool.
            self.pager.unmapped(page);
            return;
        }
        let bytes = self.pool.remove(&frame).expect("a parked page has bytes");
        assert!(self.mapped.insert(page, bytes).is_none(), "{page:?} was mapped");
    }

    fn start_reads(&mut self) {
        for read in self.pager.reads() {
            self.transfers.push(Transfer::Fill(read.frame, read.slot));
        }
    }

    /// Ends one transfer, any of them.
    fn complete(&mut self) {
        if self.transfers.is_empty() {
            return;
        }
        let index = self.random.below(self.transfers.len() as u64) as usize;
        match self.transfers.swap_remove(index) {
            Transfer::Fill(frame, slot) => {
                let page = self.pager.page_of(frame);
                let filling = matches!(self.pager.state(page), State::Filling { frame: f, .. } if f == frame);
                let home = self.pager.area(page).and_then(|area| area.home(page)) == Some(slot);
                let bytes = if home {
                    Some(self.file.get(&slot).copied().unwrap_or(origin(page)))
                } else {
                    self.store.borrow().get(&slot).copied()
                };
                let good = bytes.is_some() && !self.fails();
                if filling && home && !good && self.random.below(2) == 0 {
                    // It is tried again, as if never asked.
                    return self.pager.fill_refused(frame);
                }
                let result = match bytes {
                    // Nobody needs to know what cannot change.
                    Some(_) if good && home && page.0 >= READ_ONLY => FillResult::Home(Content::Clean),
                    Some(bytes) if good && home => FillResult::Home(content(bytes)),
                    Some(_) if good => FillResult::Good,
                    _ => FillResult::Bad,
                };
                if filling && good && !home {
                    assert_eq!(
                        self.pager.digest(slot),
                        digest(bytes.expect("good")),
                        "{page:?} from {slot:?}"
                    );
                }
                self.pool.insert(frame, bytes.unwrap_or(0));
                match self.pager.fill_done(frame, result) {
                    Fill::Map(page) => self.map(page),
                    Fill::Keep => {}
                    Fill::Freed => drop(self.pool.remove(&frame)),
                    Fill::Poison(page) => {
                        self.pool.remove(&frame);
                        assert_eq!(self.pager.state(page), State::Poisoned);
                    }
                }
            }
            Transfer::Write(frame, slot) => {
                let done = !self.fails();
                let bytes = self.pool[&frame];
                let home = slot.0 >= self.pager.slots_total();
                match (home, done) {
                    (true, true) => drop(self.file.insert(slot, bytes)),
                    (true, false) => drop(self.file.insert(slot, bytes ^ 0xffff)),
                    (false, true) => drop(self.store.borrow_mut().insert(slot, bytes)),
                    (false, false) => {}
                }
                let result = if done { WriteResult::Done } else { WriteResult::Failed };
                match self.pager.write_done(frame, result) {
                    Written::Freed => drop(self.pool.remove(&frame)),
                    Written::Map(page) => self.map(page),
                    Written::Kept => {}
                }
            }
        }
    }

    fn park(&mut self, range: PageRange) {
        for page in range.pages() {
            assert!(!self.changing(page), "{page:?} is parked amid a change");
            match self.mapped.remove(&page) {
                // Pinned: it stays.
                Some(bytes) if self.random.below(20) == 0 => drop(self.mapped.insert(page, bytes)),
                Some(bytes) => {
                    let State::Resident { frame, .. } = self.pager.state(page) else { panic!("{page:?}") };
                    self.pager.parked(page);
                    self.pool.insert(frame, bytes);
                }
                None => self.pager.vanished(page),
            }
        }
    }

    /// The program will not need these pages for a while.
    fn cool(&mut self, range: PageRange, most: u32) {
        let found = self.pager.parkable(range, most);
        let may_leave = |page: &PageNo| {
            let area = self.pager.area(*page);
            matches!(self.pager.state(*page), State::Resident { .. })
                && area.is_some_and(|area| area.rights == Rights::ReadWrite && !area.pinned)
                && !self.changing(*page)
        };
        let first = range.pages().find(may_leave);
        let count = first.map_or(0, |first| {
            PageRange::between(first, range.end()).pages().take_while(may_leave).take(most as usize).count()
        });
        assert_eq!(found, first.map(|start| PageRange { start, count: count as u64 }));
        found.into_iter().for_each(|run| self.park(run));
    }

    fn reclaim(&mut self, rounds: u64) {
        for _ in 0..rounds {
            if self.pager.reclaim_need(0) == 0 {
                break;
            }
            if let Parking::Pages(range) = self.pager.next_parking(8) {
                self.park(range);
            }
            let mut victims = Vec::with_capacity(8);
            self.pager.next_evictions(8, &mut victims);
            for frame in victims {
                let bytes = self.pool[&frame];
                let content = (!self.pager.known_clean(frame)).then(|| content(bytes));
                match self.pager.evict(frame, content) {
                    Eviction::Freed => drop(self.pool.remove(&frame)),
                    Eviction::Write(slot) => self.transfers.push(Transfer::Write(frame, slot)),
                    Eviction::StoreFull => break,
                }
            }
        }
    }

    /// Touches a page until it is mapped. False when it is poisoned.
    fn touch(&mut self, page: PageNo) -> bool {
        for attempt in 0.. {
            assert!(attempt < 10_000, "{page:?} never comes: {:?}", self.pager.state(page));
            if self.changing(page) {
                assert_eq!(self.pager.fault(page), Fault::Changing);
                self.end_change();
            }
            if self.mapped.contains_key(&page) {
                return true;
            }
            match self.pager.fault(page) {
                Fault::Zero(range) => {
                    assert!(range.contains(page));
                    assert!(self.pager.frames_used() <= self.pager.frame_limit());
                    for page in range.pages() {
                        assert!(!self.changing(page), "{page:?} is mapped amid a change");
                        assert!(self.mapped.insert(page, 0).is_none());
                    }
                }
                Fault::Map(range) => {
                    assert!(range.contains(page));
                    self.start_reads();
                    range.pages().for_each(|page| self.map(page));
                }
                Fault::Read | Fault::InFlight => {
                    self.start_reads();
                    self.complete();
                }
                Fault::Resident => {
                    // The driver dropped it.
                    self.pager.vanished(page);
                    self.pager.adopt(page);
                    self.mapped.insert(page, 0);
                }
                Fault::Poisoned => return false,
                Fault::Unmanaged | Fault::Changing => panic!("{page:?} is in the area and at rest"),
                Fault::NoFrame => {
                    self.reclaim(4);
                    self.complete();
                    if attempt > 1000 {
                        // Store full, everything dirty: the budget is passed.
                        self.pager.set_frame_limit(self.pager.frame_limit() + 8);
                    }
                }
            }
            self.check();
        }
        unreachable!()
    }

    fn read(&mut self, page: PageNo) {
        if self.touch(page) {
            let wanted = self.model.get(&page).copied().unwrap_or(origin(page));
            assert_eq!(self.mapped[&page], wanted, "{page:?} holds other bytes");
        } else {
            assert!(self.failing > 0, "{page:?} was poisoned by nobody");
            // The program gives up on what is in memory.
            self.discard(PageRange::one(page));
        }
    }

    fn write(&mut self, page: PageNo, bytes: Bytes) {
        if self.touch(page) {
            self.mapped.insert(page, bytes);
            self.model.insert(page, bytes);
        } else {
            self.discard(PageRange::one(page));
        }
    }

    fn changing(&self, page: PageNo) -> bool {
        self.changing.is_some_and(|range| range.contains(page))
    }

    /// As the kernel does it: announced first, done later.
    fn begin_change(&mut self, range: PageRange) {
        self.end_change();
        self.pager.begin_change(range);
        self.changing = Some(range);
        let mapped = self.mapped.clone();
        self.discard(range);
        self.mapped = mapped;
    }

    fn end_change(&mut self) {
        if let Some(range) = self.changing.take() {
            for page in range.pages() {
                self.mapped.remove(&page);
            }
            self.pager.end_change(range);
            assert!(!self.pager.is_changing());
        }
    }

    fn discard(&mut self, range: PageRange) {
        let pool = &mut self.pool;
        self.pager.discard(range, |_, state| {
            if let State::Parked { frame, .. } = state {
                pool.remove(&frame);
            }
        });
        for page in range.pages() {
            self.mapped.remove(&page);
            if !is_shared(page) {
                self.model.remove(&page);
            }
        }
    }

    fn park_surely(&mut self, page: PageNo) {
        let State::Resident { frame, .. } = self.pager.state(page) else { return };
        match self.mapped.remove(&page) {
            Some(bytes) => {
                self.pager.parked(page);
                self.pool.insert(frame, bytes);
            }
            None => self.pager.vanished(page),
        }
    }

    /// Begins to write what is dirty of the shared map's `range`, which stays in memory.
    fn clean(&mut self, range: PageRange) {
        for page in range.pages() {
            self.park_surely(page);
            let State::Parked { frame, .. } = self.pager.state(page) else { continue };
            if let Some(home) = self.pager.clean(frame, content(self.pool[&frame])) {
                self.transfers.push(Transfer::Write(frame, home));
            }
        }
    }

    /// Writes all of the shared map to the file.
    fn flush(&mut self) {
        let all = PageRange { start: PageNo(SHARED), count: PAGES };
        let dirty = |twin: &Self| {
            let wrong = |page: &PageNo| {
                let home = twin.pager.area(*page).and_then(|area| area.home(*page)).expect("a home");
                let wanted = twin.model.get(page).copied().unwrap_or(origin(*page));
                twin.file.get(&home).copied().unwrap_or(origin(*page)) != wanted
            };
            all.pages().find(wrong)
        };
        for attempt in 0.. {
            self.clean(all);
            while !self.transfers.is_empty() {
                self.complete();
            }
            self.check();
            let Some(page) = dirty(self) else { break };
            assert!(self.failing > 0 && attempt < 100, "{page:?} is not in the file");
        }
    }

    /// Reads ahead what somebody has announced.
    fn populate(&mut self, range: PageRange) {
        let most = self.pager.frames_used().max(self.pager.frame_limit());
        if let Populated::Until(next) = self.pager.populate(range) {
            assert!(next > range.start && next <= range.end());
        }
        assert!(self.pager.frames_used() <= most, "nothing leaves for what nobody needs");
        self.start_reads();
    }

    fn remap(&mut self, from: u64, to: u64) {
        let count = PAGES / 2;
        self.end_change();
        self.pager.remap(PageRange { start: PageNo(from), count }, PageNo(to));
        for offset in 0..count {
            let (old, new) = (PageNo(from + offset), PageNo(to + offset));
            for map in [&mut self.mapped, &mut self.model] {
                if let Some(bytes) = map.remove(&old) {
                    map.insert(new, bytes);
                }
            }
        }
    }

    fn check(&self) {
        self.pager.check_invariants();
    }
}

fn run(seed: u64, steps: u64, frames: u32, slots: u32, failing: u64) {
    let mut twin = Twin::new(seed, frames, slots, failing);
    let mut away = false;
    for _ in 0..steps {
        let area = [HOME, HOME, SHARED, PRIVATE, READ_ONLY][twin.random.below(5) as usize];
        let base = |page: u64| {
            let home = area != HOME || page >= PAGES / 2 || !away;
            PageNo(if home { area + page } else { AWAY + page })
        };
        let start = twin.random.below(PAGES);
        let step = match twin.random.below(24) {
            // Nobody writes there, and what is shared is not thrown away.
            5..=8 | 13 if area == READ_ONLY => 0,
            14 | 20 if area == SHARED => 22,
            step => step,
        };
        match step {
            0..=4 => twin.read(base(start)),
            5..=8 => {
                let bytes = twin.random.below(1000);
                twin.write(base(start), bytes);
            }
            9 | 10 => (start..PAGES.min(start + 40)).for_each(|page| twin.read(base(page))),
            11 => (start.saturating_sub(40)..start).rev().for_each(|page| twin.read(base(page))),
            12 => (start..PAGES).step_by(5).take(12).for_each(|page| twin.read(base(page))),
            13 => {
                let bytes = twin.random.next();
                (start..PAGES.min(start + 60)).for_each(|page| twin.write(base(page), bytes ^ page));
            }
            14 => {
                let count = 1 + twin.random.below(20);
                (start..PAGES.min(start + count)).for_each(|page| twin.discard(PageRange::one(base(page))));
            }
            15 => twin.reclaim(3),
            20 => {
                // Not across the two halves, which may lie apart.
                let half = (PAGES / 2 - start % (PAGES / 2)).min(20);
                let range = PageRange { start: base(start), count: 1 + twin.random.below(half) };
                twin.begin_change(range);
            }
            21 => {
                let range = PageRange { start: base(start), count: 1 + twin.random.below(40) };
                let most = 1 + twin.random.below(16) as u32;
                twin.cool(range, most);
            }
            16 => twin.complete(),
            22 => twin.clean(PageRange { start: PageNo(SHARED + start), count: (PAGES - start).min(40) }),
            23 => twin.populate(PageRange { start: base(start), count: (PAGES / 2).min(PAGES - start) }),
            17 => {
                let rights = if twin.random.below(3) == 0 { Rights::Restricted } else { Rights::ReadWrite };
                twin.pager.set_rights(PageRange { start: base(start), count: 10 }, rights);
            }
            18 => {
                let limit = frames / 2 + twin.random.below(u64::from(frames)) as u32;
                twin.pager.set_frame_limit(limit.max(8));
            }
            _ if twin.random.below(8) == 0 => {
                if away {
                    twin.remap(AWAY, HOME)
                } else {
                    twin.remap(HOME, AWAY)
                }
                away = !away;
            }
            _ => {}
        }
        twin.check();
    }
    twin.end_change();
    twin.flush();
    for base in [HOME, AWAY, SHARED, PRIVATE, READ_ONLY] {
        twin.discard(PageRange { start: PageNo(base), count: PAGES });
    }
    while !twin.transfers.is_empty() {
        twin.complete();
    }
    twin.check();
    assert_eq!((twin.pager.frames_used(), twin.pager.slots_used(), twin.pager.pages_touched()), (0, 0, 0));
    assert!(twin.pool.is_empty());
}

fn steps() -> u64 {
    std::env::var("OUTCORE_TEST_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(400)
}

#[test]
fn random_operations_keep_every_byte() {
    for seed in 0..12 {
        println!("seed {seed}");
        run(seed, steps(), 16 + 8 * (seed as u32 % 6), 4096, 0);
    }
}

/// One page of the read-only map is read and made writable; what it costs then.
fn upgrade(noted: bool) -> u64 {
    let mut twin = Twin::new(3, 64, 4096, 0);
    let all = PageRange { start: PageNo(READ_ONLY), count: PAGES };
    let pages = PageRange { start: all.start.plus(1), count: 8 };
    pages.pages().for_each(|page| twin.read(page));
    twin.pager.set_sharing(all, Sharing::Shared);
    for page in pages.pages().filter(|_| noted) {
        let State::Resident { frame, .. } = twin.pager.state(page) else { panic!("{page:?}") };
        twin.pager.note_home(frame, content(twin.mapped[&page]));
    }
    twin.clean(all);
    while !twin.transfers.is_empty() {
        twin.complete();
    }
    twin.pager.counters().file_writes
}

#[test]
fn what_was_only_read_is_clean_when_it_may_be_written() {
    assert_eq!((upgrade(true), upgrade(false)), (0, 8));
}

#[test]
fn what_is_read_again_unchanged_is_not_written_to_the_file() {
    let mut twin = Twin::new(4, 64, 4096, 0);
    for _ in 0..3 {
        (0..PAGES).for_each(|page| twin.read(PageNo(SHARED + page)));
        (0..PAGES).for_each(|page| twin.read(PageNo(PRIVATE + page)));
    }
    let counters = twin.pager.counters();
    assert!(counters.file_reads >= 6 * (PAGES - 64), "{counters:?}");
    assert_eq!((counters.file_writes, counters.swap_outs), (0, 0));
    // The same bytes, written again, are no change.
    let page = PageNo(SHARED + 7);
    twin.write(page, origin(page));
    twin.flush();
    assert_eq!(twin.pager.counters().file_writes, 0);
    twin.write(page, 1);
    twin.flush();
    assert_eq!(twin.pager.counters().file_writes, 1);
    assert!(twin.mapped.contains_key(&page) || matches!(twin.pager.state(page), State::Parked { .. }));
}

#[test]
fn a_page_keeps_its_home_when_it_is_moved() {
    let mut twin = Twin::new(5, 64, 4096, 0);
    let (page, other) = (PageNo(PRIVATE + 33), PageNo(PRIVATE + 34));
    twin.write(page, 77);
    let half = PageRange { start: PageNo(PRIVATE), count: PAGES / 2 };
    let homes = [page, other].map(|page| twin.pager.area(page).and_then(|area| area.home(page)));
    twin.pager.remap(half, PageNo(0x9_0000));
    let moved = [PageNo(0x9_0000 + 33), PageNo(0x9_0000 + 34)];
    assert_eq!(homes, moved.map(|page| twin.pager.area(page).and_then(|area| area.home(page))));
    assert!(matches!(twin.pager.state(moved[0]), State::Resident { .. }));
    twin.pager.check_invariants();
}

#[test]
fn a_failing_store_gives_no_wrong_byte() {
    for seed in 100..108 {
        println!("seed {seed}");
        run(seed, steps(), 48, 4096, 15);
    }
}

#[test]
fn a_full_store_loses_nothing() {
    for seed in 200..204 {
        println!("seed {seed}");
        run(seed, steps(), 32, 60, 0);
    }
}

#[test]
fn a_second_scan_of_clean_pages_writes_nothing() {
    let mut twin = Twin::new(1, 256, 4096, 0);
    let pages = || (0..PAGES).map(|page| PageNo(HOME + page));
    pages().for_each(|page| twin.write(page, page.0));
    pages().for_each(|page| twin.read(page));
    let before = twin.pager.counters().swap_outs;
    pages().for_each(|page| twin.read(page));
    // Only what the first scan left dirty in memory may still be written.
    assert!(twin.pager.counters().swap_outs - before <= 256);
}

#[test]
fn a_parked_page_that_is_touched_survives_and_one_that_is_not_leaves() {
    let mut twin = Twin::new(2, 64, 4096, 0);
    let hot = PageNo(HOME);
    for page in 0..PAGES {
        twin.write(PageNo(HOME + page), page + 1);
        twin.read(hot);
        twin.reclaim(1);
        twin.complete();
    }
    let counters = twin.pager.counters();
    assert!(counters.rescues > 0, "the hot page was parked and came back: {counters:?}");
    assert!(matches!(twin.pager.state(PageNo(HOME + 1)), State::Swapped { .. }));
}
