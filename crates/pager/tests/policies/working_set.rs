//! The pager's own choice, which sees only touches of pages that are not mapped, beside LRU, which sees
//! all: how many reads it takes to find a working set that hardly fits, to keep it, to sort, and to merge.

use crate::drive::{misses, policy, replay};
use crate::traces::Random;
use pager::{
    Commit, Config, Content, Eviction, Fault, FillResult, FrameNo, PageNo, PageRange, Pager, Parking,
    PolicyKind, Read, Rights, State, WriteResult,
};

const PAGES: u64 = 65_536;
const FRAMES: u32 = 15_120;
const FIRST: PageNo = PageNo(0x10_0000);
/// Frames that are freed together.
const BATCH: u32 = 64;
/// What a read costs, in touches on parked pages.
const MISS_COST: u32 = 6;

/// A pager whose transfers take no time.
struct Driver {
    pager: Pager,
}

impl Driver {
    fn new() -> Self {
        let slots = 2 * PAGES as u32;
        let mut pager = Pager::new(Config { frames: FRAMES, slots, commit: Commit::Lazy, readahead: true });
        pager.add_area(PageRange { start: FIRST, count: PAGES }, Rights::ReadWrite);
        pager.set_miss_cost(MISS_COST);
        Self { pager }
    }

    /// How many reads touching these pages takes.
    fn reads_of(&mut self, trace: &[u64]) -> u64 {
        let before = self.pager.counters().swap_ins;
        trace.iter().for_each(|page| self.touch(FIRST.plus(*page)));
        self.pager.counters().swap_ins - before
    }

    fn touch(&mut self, page: PageNo) {
        while !matches!(self.pager.state(page), State::Resident { .. }) {
            match self.pager.fault(page) {
                Fault::Zero(_) | Fault::Map(_) | Fault::Read | Fault::NoFrame => {}
                other => panic!("{other:?} of {page:?}"),
            }
            let reads: Vec<Read> = self.pager.reads().to_vec();
            reads.iter().for_each(|read| _ = self.pager.fill_done(read.frame, FillResult::Good));
            while self.reclaim() {}
        }
    }

    /// One round of reclaim, as the engine does it; whether it did anything.
    fn reclaim(&mut self) -> bool {
        let need = self.pager.reclaim_need(0).min(BATCH);
        if need == 0 {
            return false;
        }
        let stock = self.pager.parking_target() + need;
        while self.pager.frames_parked() < stock
            && let Parking::Pages(range) = self.pager.next_parking(BATCH)
        {
            range.pages().for_each(|page| self.pager.parked(page));
        }
        let mut victims: Vec<FrameNo> = Vec::with_capacity(BATCH as usize);
        self.pager.next_evictions(need, &mut victims);
        for frame in &victims {
            let page = self.pager.page_of(*frame);
            // A page's bytes never change once they are there.
            let content = Some(Content::Digest(page.0.into())).filter(|_| !self.pager.known_clean(*frame));
            if let Eviction::Write(_) = self.pager.evict(*frame, content) {
                self.pager.write_done(*frame, WriteResult::Done);
            }
        }
        !victims.is_empty()
    }
}

/// Of 100 touches 95 go to a fifth of the pages, which lie everywhere.
fn hot(random: &mut Random, touches: usize) -> Vec<u64> {
    let mut page = || {
        let is_hot = random.below(100) < 95;
        random.below(if is_hot { PAGES / 5 } else { PAGES }) * 5 % PAGES
    };
    (0..touches).map(|_| page()).collect()
}

#[test]
fn a_hot_set_that_hardly_fits_is_found_and_kept() {
    let mut random = Random::new(1);
    let phases = [
        ("in order", (0..PAGES).collect::<Vec<u64>>()),
        ("at random", (0..30_000).map(|_| random.below(PAGES)).collect()),
        ("first touches of the hot", hot(&mut random, 37_500)),
        ("hot", hot(&mut random, 75_000)),
        ("hot, later", hot(&mut random, 150_000)),
        ("hot, much later", hot(&mut random, 150_000)),
    ];
    let mut driver = Driver::new();
    let whole: Vec<u64> = phases.iter().flat_map(|(_, trace)| trace.iter().copied()).collect();
    let lru = replay(policy(PolicyKind::Lru, &whole, FRAMES).as_mut(), &whole, FRAMES);
    let mut lru = lru.as_slice();
    // Of what LRU reads, in hundredths.
    for ((name, trace), most) in phases.iter().zip([0, 110, 120, 190, 95, 105]) {
        let reads = driver.reads_of(trace);
        let lru = misses(lru.split_off(..trace.len()).expect("as long as all phases")) as u64;
        println!("{name}: {reads} reads, LRU {lru}");
        assert!(reads * 100 <= lru * most, "{name}: {reads} reads, LRU {lru}");
    }
}

/// Sorts `range` in place as quicksort does: everything is looked at in order, and what is small is
/// put where the first of it was; then the two parts.
fn sort(range: core::ops::Range<u64>, random: &mut Random, trace: &mut Vec<u64>) {
    let pages = range.end - range.start;
    if pages < 2 {
        return trace.extend(range);
    }
    let small = pages * (40 + random.below(20)) / 100;
    trace.extend((0..pages).flat_map(|page| [range.start + page, range.start + page * small / pages]));
    let middle = range.start + small.max(1);
    sort(range.start..middle, random, trace);
    sort(middle..range.end, random, trace);
}

#[test]
fn what_is_gone_through_in_order_again_does_not_stay() {
    let mut trace = (0..PAGES).collect::<Vec<u64>>();
    let mut random = Random::new(1);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    sort(0..PAGES / 2, &mut random, &mut one);
    sort(PAGES / 2..PAGES, &mut random, &mut other);
    // Two threads sort a half each.
    trace.extend(one.iter().zip(&other).flat_map(|(one, other)| [*one, *other]));
    let lru = replay(policy(PolicyKind::Lru, &trace, FRAMES).as_mut(), &trace, FRAMES);
    let lru = misses(&lru[PAGES as usize..]) as u64;
    let reads = Driver::new().reads_of(&trace);
    println!("{reads} reads, LRU {lru}");
    assert!(reads * 100 <= lru * 103, "{reads} reads, LRU {lru}");
}

/// The pages of so many places by turns, at each turn so many.
fn by_turns(places: u64, pages_a_turn: u64) -> Vec<u64> {
    let each = PAGES / places;
    let turn =
        |first: u64, place: u64| (first..each.min(first + pages_a_turn)).map(move |page| place * each + page);
    let firsts = (0..each).step_by(pages_a_turn as usize);
    firsts.flat_map(|first| (0..places).flat_map(move |place| turn(first, place))).collect()
}

#[test]
fn streams_do_not_push_out_what_is_read_ahead_for_others() {
    // In hundredths, what is read of what there is; the first turns find out how many streams there are.
    for (places, pages_a_turn, most) in
        [(1, 1, 100), (4, 1, 102), (16, 1, 102), (28, 1, 101), (28, 16, 101), (8, 256, 103), (28, 256, 110)]
    {
        let mut driver = Driver::new();
        driver.reads_of(&(0..PAGES).collect::<Vec<u64>>());
        let merged = by_turns(places, pages_a_turn);
        for (round, most) in [most, most.min(101)].into_iter().enumerate() {
            let waits = driver.pager.counters().major_faults;
            let reads = driver.reads_of(&merged);
            let waits = driver.pager.counters().major_faults - waits;
            let all = merged.len() as u64;
            println!(
                "{places} streams, {pages_a_turn} a turn, round {round}: {reads} reads of {all}, {waits} waits"
            );
            assert!(reads * 100 <= all * most, "{places} streams, {pages_a_turn} a turn: {reads} reads");
            assert!(waits * 200 <= all, "{places} streams, {pages_a_turn} a turn: {waits} waits");
        }
    }
}
