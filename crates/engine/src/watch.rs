//! What is measured for people: how long threads wait, what is where, and which code faults.
//!
//! All of it goes to this process's record on the status page, and to its trace if there is one.
//! A fault costs two readings of the clock and some stores; turns without anything to do cost nothing. The map of what is paged is
//! drawn a piece at a time, while somebody looks.

use crate::assistant::Found;
use crate::callers;
use crate::core::{Live, Mechanism, addr_of};
use crate::engine::program;
use crate::families;
use crate::recorder::{Recorder, now_ns};
use crate::settings::Settings;
use crate::voice::Voice;
use core::sync::atomic::Ordering::Relaxed;
use pager::{Eviction, Fault, PageNo, PageRange, Pager, Rights, State};
use rustix::fs::{Mode, OFlags};
use std::collections::VecDeque;
use std::io::Write as _;
use std::time::{Duration, Instant};
use sys::status::{Cell, MAP_CELLS, MAX_FAMILIES, MAX_PARTS, Part, PartKind, Record};
use trace::{Fate, Gone, Outcome};

/// Faults that are waited for at once; of more, the time is not taken.
const MOST_WAITING: usize = 4096;
/// Somebody looks if they did so within this time.
const LOOKED: u64 = 3_000_000_000;
/// The map is drawn again after this time.
const DRAW_EVERY: u64 = 250_000_000;
/// Pages that are drawn in one go, so that faults do not wait.
const DRAWN_AT_ONCE: u64 = 8192;
/// A code address is looked up at most so often while somebody looks: it takes some microseconds.
const LOOK_UP_EVERY: u64 = 1_000_000;
/// Callers that are kept.
const MOST_CALLERS: usize = 8;
/// While there is something to sample, the pager does not sleep longer.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_millis(5);
/// Pages that are parked again in one go.
const SAMPLED_AT_ONCE: usize = 32;
/// A page that was just touched is left where it is for so long.
const SETTLED: u64 = 10_000_000;

/// A thread that waits for a page.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    page: PageNo,
    thread: u32,
    since: u64,
    /// The touch is in the trace.
    told: bool,
}

/// Code that waits for a page.
#[derive(Clone, Copy, Debug)]
struct Code {
    page: PageNo,
    thread: u32,
    addr: u64,
    callers: [u64; MOST_CALLERS],
    count: usize,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) recorder: Recorder,
    /// Whether anything is measured at all.
    pub(crate) counted: bool,
    voice: Voice,
    waiting: VecDeque<Waiting>,
    /// When this turn began: on the monotonic clock in nanoseconds, and in this process.
    now: u64,
    instant: Instant,
    /// The clock has not been read in this turn.
    is_stale: bool,
    /// The counters at the last touch, which tell what became of the next.
    majors: u64,
    rescues: u64,
    peak_transfers: u64,
    code: Option<Code>,
    /// Of so many faults, one's code address goes to the trace; 0: none's.
    code_one_in: u32,
    callers: bool,
    known_code: callers::Code,
    until_code: u32,
    last_code: u64,
    draw: Draw,
    /// References to one page in so many are sampled; 0: none.
    access_one_in: u32,
    /// Sampled pages that are mapped, and since when.
    sampled: VecDeque<(PageNo, u64)>,
    next_sample: u64,
}

/// A map that is being drawn.
#[derive(Debug, Default)]
struct Draw {
    /// What is touched of the areas, from its first page to its last, in order; capacity is kept.
    areas: Vec<PageRange>,
    /// Where it has got to.
    area: usize,
    page: u64,
    cell: usize,
    pages_a_cell: u64,
    under_way: bool,
    /// When it was begun, and the one before was done.
    begun: u64,
    ended: u64,
    /// Whether something has changed since it was begun.
    is_stale: bool,
    /// Pages that are touched and resident, when that was last looked at.
    pages: (u64, u32),
    /// The page family that is drawn next, once the areas are.
    family: Option<u32>,
}

/// Whether references to `page` are sampled where one page in `one_in` is: a hash of its number decides
/// (SHARDS: Waldspurger, Park, Garthwaite and Ahmad, FAST 2015), the same as in the curves.
fn is_sampled(page: PageNo, one_in: u32) -> bool {
    one_in > 0 && trace::sampling_hash(page.0) < u64::MAX / u64::from(one_in)
}

impl Watch {
    pub(crate) fn new(settings: &Settings, voice: Voice) -> Self {
        // What an instance does is in no trace.
        let recorder = match voice {
            Voice::Process => Recorder::open(settings),
            Voice::Instance(_) => Recorder::default(),
        };
        let only_with_trace = |one_in: u32| if recorder.is_open() { one_in } else { 0 };
        let access_one_in = only_with_trace(settings.trace_access);
        Self {
            waiting: VecDeque::with_capacity(MOST_WAITING),
            now: now_ns(),
            instant: Instant::now(),
            is_stale: true,
            majors: 0,
            rescues: 0,
            peak_transfers: 0,
            code: None,
            code_one_in: only_with_trace(settings.trace_code),
            callers: settings.trace_callers,
            known_code: callers::Code::new(),
            until_code: 0,
            last_code: 0,
            draw: Draw::default(),
            access_one_in,
            sampled: VecDeque::with_capacity(if access_one_in > 0 { 1 << 16 } else { 0 }),
            next_sample: 0,
            counted: settings.counted || recorder.is_open(),
            recorder,
            voice,
        }
    }

    /// Pages that were to be parked, not because it was their turn.
    pub(crate) fn parked_out_of_turn(&mut self, pager: &Pager, range: PageRange) {
        if self.recorder.is_open() {
            let parked = range.pages().filter(|page| matches!(pager.state(*page), State::Parked { .. }));
            parked.for_each(|page| self.recorder.sampled(page));
        }
    }

    /// A turn begins: what happens in it happens now. Most turns find nothing to do, so the clock is read when
    /// something does happen, or for a trace.
    pub(crate) fn begin_turn(&mut self) {
        self.is_stale = true;
        if self.recorder.is_open() {
            self.tick();
        }
    }

    /// Reads the clock, the first time in a turn.
    fn stamp(&mut self) {
        if self.is_stale {
            self.tick();
        }
    }

    /// Reads the clock.
    pub(crate) fn tick(&mut self) {
        if self.counted {
            self.read_clock();
            self.recorder.at(self.now);
        }
    }

    fn read_clock(&mut self) {
        let before = core::mem::replace(&mut self.instant, Instant::now());
        self.now += self.instant.duration_since(before).as_nanos() as u64;
        self.is_stale = false;
    }

    /// When this turn began, or if nobody has asked, now: one reading of the clock is enough for a turn.
    pub(crate) fn instant(&mut self) -> Instant {
        if self.is_stale {
            self.read_clock();
        }
        self.instant
    }

    /// Whether a map is being drawn, which goes on with every turn.
    pub(crate) fn is_drawing(&self) -> bool {
        self.draw.under_way || self.draw.family.is_some()
    }

    /// Whether the pager thread should not sleep for long.
    pub(crate) fn is_sampling(&self) -> bool {
        !self.sampled.is_empty()
    }

    /// A thread waits for `page`.
    pub(crate) fn faulted(&mut self, pager: &Pager, page: PageNo, thread: u32) {
        if !self.counted {
            return;
        }
        self.stamp();
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push_back(Waiting { page, thread, since: self.now, told: false });
        }
        self.look_up(pager, page, thread);
    }

    /// What the core said about a touch on `page`.
    pub(crate) fn touched(&mut self, pager: &Pager, page: PageNo, fault: Fault) {
        let counters = pager.counters();
        let major = counters.major_faults != self.majors;
        let rescued = counters.rescues != self.rescues;
        (self.majors, self.rescues) = (counters.major_faults, counters.rescues);
        if !self.recorder.is_open() {
            return;
        }
        let outcome = match fault {
            Fault::Zero(_) => Outcome::Zero,
            Fault::Map(_) => Outcome::Parked,
            Fault::Read => Outcome::Swapped,
            Fault::InFlight if major => Outcome::Filling,
            Fault::InFlight if rescued => Outcome::Writing,
            Fault::InFlight | Fault::Resident => Outcome::Resident,
            Fault::Poisoned => Outcome::Lost,
            Fault::Unmanaged | Fault::NoFrame | Fault::Changing => return,
        };
        let waiting = self.waiting.iter_mut().find(|waiting| waiting.page == page && !waiting.told);
        let thread = waiting.map_or(0, |waiting| {
            waiting.told = true;
            waiting.thread
        });
        if let Some(code) = self.code.take_if(|code| (code.page, code.thread) == (page, thread)) {
            self.recorder.code(code.addr, &code.callers[..code.count]);
        }
        self.recorder.touch(thread, page, outcome);
        if let Fault::Zero(range) | Fault::Map(range) = fault
            && range.count > 1
        {
            self.recorder.along(range);
        }
        if is_sampled(page, self.access_one_in) && self.sampled.len() < self.sampled.capacity() {
            self.sampled.push_back((page, self.now));
        }
    }

    /// The decision about `page` has been carried out.
    pub(crate) fn resolved(&mut self, page: PageNo, fault: Fault) {
        match fault {
            Fault::Read | Fault::InFlight | Fault::NoFrame | Fault::Changing => {}
            Fault::Zero(_) | Fault::Map(_) => {
                if self.waiting.is_empty() {
                    return;
                }
                let now = now_ns();
                self.end_waits(page, |record, since| record.minor_fault_ns.add(now.saturating_sub(since)));
            }
            Fault::Resident | Fault::Poisoned | Fault::Unmanaged => self.end_waits(page, |_, _| {}),
        }
    }

    /// A page that was waited for has come.
    pub(crate) fn arrived(&mut self, page: PageNo) {
        if self.waiting.is_empty() {
            return;
        }
        let now = now_ns();
        self.end_waits(page, |record, since| record.stall_ns_each.add(now.saturating_sub(since)));
    }

    fn end_waits(&mut self, page: PageNo, mut each: impl FnMut(&Record, u64)) {
        let record = self.voice.record();
        let mut end = |waiting: Waiting| record.into_iter().for_each(|record| each(record, waiting.since));
        // Most often it is the first, and the only one.
        while self.waiting.front().is_some_and(|waiting| waiting.page == page) {
            self.waiting.pop_front().into_iter().for_each(&mut end);
        }
        if self.waiting.iter().any(|waiting| waiting.page == page) {
            self.waiting.retain(|waiting| {
                let ends = waiting.page == page;
                if ends {
                    end(*waiting);
                }
                !ends
            });
        }
    }

    /// Paging begins.
    pub(crate) fn begin(&mut self, pager: &Pager) {
        self.tick();
        self.voice.record().into_iter().for_each(|record| record.paging_since_ns.store(self.now, Relaxed));
        self.recorder.begin(pager);
    }

    /// Pages are gone, or their mapping is: who waited for them will fault again, or never.
    pub(crate) fn gone(&mut self, range: PageRange, mapping: bool) {
        if !self.waiting.is_empty() {
            self.waiting.retain(|waiting| !range.contains(waiting.page));
        }
        self.recorder.gone(range, if mapping { Gone::Unmapped } else { Gone::Discarded });
    }

    /// A mapping has been moved.
    pub(crate) fn moved(&mut self, from: PageRange, to: PageNo) {
        self.waiting.retain(|waiting| !from.contains(waiting.page));
        self.recorder.moved(from, to);
    }

    /// A page was not there, or could not be mapped.
    pub(crate) fn vanished(&mut self, page: PageNo) {
        self.recorder.gone(PageRange::one(page), Gone::Discarded);
    }

    /// A parked page was evicted, or is being written.
    pub(crate) fn evicted(&mut self, page: PageNo, eviction: Eviction, content: Option<Found>) {
        let fate = match eviction {
            Eviction::Freed if content == Some(Found::Zero) => Fate::Zero,
            Eviction::Freed => Fate::Clean,
            Eviction::Write(_) => Fate::Dirty,
            Eviction::StoreFull => return,
        };
        self.recorder.evicted(page, fate);
    }

    /// A read has ended.
    pub(crate) fn read_took(&self, took: Duration) {
        if !self.counted {
            return;
        }
        self.voice.record().into_iter().for_each(|record| record.read_ns.add(took.as_nanos() as u64));
    }

    /// A write has ended.
    pub(crate) fn write_took(&self, took: Duration) {
        if !self.counted {
            return;
        }
        self.voice.record().into_iter().for_each(|record| record.write_ns.add(took.as_nanos() as u64));
    }

    /// Looks up where the thread that faulted is, if it is this one's turn.
    fn look_up(&mut self, pager: &Pager, page: PageNo, thread: u32) {
        let Some(record) = self.voice.record() else { return };
        let traced = self.code_one_in > 0 && {
            self.until_code = self.until_code.saturating_sub(1);
            self.until_code == 0
        };
        let looked_at = self.now.saturating_sub(record.watched.load(Relaxed)) < LOOKED
            && self.now.saturating_sub(self.last_code) >= LOOK_UP_EVERY;
        if !traced && !looked_at {
            return;
        }
        self.until_code = self.code_one_in;
        self.last_code = self.now;
        let Some((addr, stack)) = place_of(thread) else { return };
        record.note_code(addr);
        if traced {
            let mut code = Code { page, thread, addr, callers: [0; MOST_CALLERS], count: 0 };
            if self.callers {
                // A stack of the program's own making may be paged, and would be waited for by who pages it.
                let stack_page = crate::core::page_of(stack as usize);
                let free = [stack_page, stack_page.plus(1)].iter().all(|page| pager.area(*page).is_none());
                if free {
                    code.count = self.known_code.callers(self.now, addr, stack, &mut code.callers);
                }
            }
            self.code = Some(code);
        }
    }

    /// So many transfers are under way.
    fn note_transfers(&mut self, count: u64) -> u64 {
        self.peak_transfers = self.peak_transfers.max(count);
        self.peak_transfers
    }
}

/// A path in the caller's bytes; none if it does not fit.
pub(crate) fn path<'a>(bytes: &'a mut [u8], text: core::fmt::Arguments<'_>) -> Option<&'a core::ffi::CStr> {
    let room = bytes.len();
    let mut rest = &mut bytes[..];
    rest.write_fmt(text).and_then(|()| rest.write_all(&[0])).ok()?;
    let len = room - rest.len();
    core::ffi::CStr::from_bytes_with_nul(&bytes[..len]).ok()
}

/// The code address of a thread that waits for a page, and its stack pointer. None where the
/// kernel does not tell.
fn place_of(thread: u32) -> Option<(u64, u64)> {
    let mut bytes = [0; 64];
    let path = path(&mut bytes, format_args!("/proc/{}/task/{thread}/syscall", program()))?;
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut bytes = [0; 256];
    let len = rustix::io::read(&file, &mut bytes).ok()?;
    // "-1 SP PC", or a system call's number, its six arguments, SP and PC.
    let mut words = core::str::from_utf8(&bytes[..len]).ok()?.split_ascii_whitespace().rev();
    let mut hex = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let (code, stack) = (hex()?, hex()?);
    Some((code, stack))
}

impl Live {
    /// Writes the numbers that only people want.
    pub(crate) fn publish_watch(&mut self, pager: &Pager, acted: bool) {
        let Self { watch, voice, ops, knows, .. } = self;
        let Some(record) = voice.record() else { return };
        watch.stamp();
        let used = u64::from(pager.frames_used());
        let transfers = ops.under_way() as u64;
        let now = watch.now;
        for (cell, value) in [
            (&record.parked_pages, u64::from(pager.frames_unmapped())),
            (&record.swapped_pages, pager.pages_touched().saturating_sub(used)),
            (&record.frames, u64::from(pager.frame_limit())),
            (&record.transfers, transfers),
            (&record.peak_transfers, watch.note_transfers(transfers)),
            (&record.updated_ns, now),
        ] {
            cell.store(value, Relaxed);
        }
        // The program's threads give up pages, too, and paging begins with what there is.
        let pages = (pager.pages_touched(), pager.frames_used());
        if acted || watch.draw.pages != pages {
            (watch.draw.pages, watch.draw.is_stale) = (pages, true);
        } else if !watch.draw.is_stale && !watch.is_drawing() {
            record.drawn_ns.store(now, Relaxed);
        }
        let looked_at = now.saturating_sub(record.watched.load(Relaxed)) < LOOKED;
        if watch.draw.under_way {
            watch.draw.go_on(pager, record);
        } else if let Some(number) = watch.draw.family {
            watch.draw.family = families::draw(pager, knows, number, record);
            if watch.draw.family.is_none() {
                record.drawn_ns.store(watch.draw.begun, Relaxed);
                watch.draw.ended = now;
            }
        } else if looked_at && now.saturating_sub(watch.draw.ended) >= DRAW_EVERY {
            watch.draw.begin(pager, record, now);
        }
    }

    /// Nothing has happened for a while: begins the map, so that whoever looks later sees how it is.
    /// The turns that follow go on with it, and serve who comes meanwhile.
    pub(crate) fn draw_at_rest(&mut self, pager: &Pager) {
        self.watch.tick();
        self.watch.recorder.pass();
        let Self { watch, voice, .. } = self;
        let Some(record) = voice.record() else { return };
        if watch.draw.is_stale && !watch.is_drawing() {
            watch.draw.begin(pager, record, watch.now);
        }
    }

    /// Whether the map that was drawn last is older than what it shows.
    pub(crate) fn map_is_stale(&self) -> bool {
        self.watch.draw.is_stale
    }

    /// Parks sampled pages that were touched a while ago, so that it shows when they are touched again.
    pub(crate) fn sample_accesses(&mut self, pager: &mut Pager) {
        if self.watch.sampled.is_empty() || self.watch.now < self.watch.next_sample {
            return;
        }
        self.watch.next_sample = self.watch.now + SAMPLE_EVERY.as_nanos() as u64;
        for _ in 0..SAMPLED_AT_ONCE {
            let settled = |(_, since): &(PageNo, u64)| self.watch.now.saturating_sub(*since) >= SETTLED;
            if !self.watch.sampled.front().is_some_and(settled) {
                break;
            }
            let Some((page, _)) = self.watch.sampled.pop_front() else { break };
            let mapped = matches!(pager.state(page), State::Resident { .. });
            let movable =
                pager.area(page).is_some_and(|area| area.rights == Rights::ReadWrite && !area.pinned);
            let one = PageRange::one(page);
            if !mapped || !movable || pager.is_changing() || self.mechanism != Mechanism::Move {
                continue;
            }
            self.park_run(pager, one);
        }
    }
}

impl Draw {
    fn begin(&mut self, pager: &Pager, record: &Record, now: u64) {
        (self.begun, self.is_stale) = (now, false);
        record.area_pages.store(pager.areas().map(|area| area.range.count).sum(), Relaxed);
        self.areas.clear();
        // Of a heap's terabyte of addresses a small part is in use.
        self.areas.extend(pager.areas().filter_map(|area| pager.extent(area.range)));
        let total: u64 = self.areas.iter().map(|range| range.count).sum();
        self.pages_a_cell = total.div_ceil(MAP_CELLS as u64).max(1);
        (self.area, self.page, self.cell) = (0, 0, 0);
        self.under_way = true;
        // The smallest of the parts that are kept gives way to a larger one. The last places are for families.
        let most = MAX_PARTS - record.families.load(Relaxed).min(MAX_FAMILIES as u64) as usize;
        let mut parts = 0;
        for range in &self.areas {
            let place = if parts < most {
                parts += 1;
                Some(&record.part[parts - 1])
            } else {
                let smallest = record.part[..most].iter().min_by_key(|part| part.pages.load(Relaxed));
                smallest.filter(|part| part.pages.load(Relaxed) < range.count)
            };
            place.into_iter().for_each(|part| clear(part, *range));
        }
        record.parts.store(parts as u64, Relaxed);
    }

    /// Draws some more.
    fn go_on(&mut self, pager: &Pager, record: &Record) {
        let mut left = DRAWN_AT_ONCE;
        while left > 0 {
            let (Some(area), Some(cell)) = (self.areas.get(self.area), record.map.get(self.cell)) else {
                record.map_cells.store(self.cell.min(MAP_CELLS) as u64, Relaxed);
                self.under_way = false;
                self.family = Some(1);
                return;
            };
            // A cell is a part of one area, or several whole small ones.
            let range = PageRange {
                start: area.start.plus(self.page),
                count: self.pages_a_cell.min(area.count - self.page),
            };
            let counts = count(pager, range);
            left = left.saturating_sub(range.count);
            draw(cell, range, counts);
            let parts = &record.part[..record.parts.load(Relaxed).min(MAX_PARTS as u64) as usize];
            if let Some(part) = parts.iter().find(|part| {
                part.kind.load(Relaxed) == PartKind::Area as u32
                    && part.start.load(Relaxed) == addr_of(area.start) as u64
            }) {
                for (number, more) in [&part.resident, &part.parked, &part.swapped].into_iter().zip(counts) {
                    number.store(number.load(Relaxed) + more, Relaxed);
                }
            }
            self.page += range.count;
            self.cell += 1;
            if self.page == area.count {
                (self.area, self.page) = (self.area + 1, 0);
            }
        }
    }
}

fn clear(part: &Part, range: PageRange) {
    part.kind.store(PartKind::Area as u32, Relaxed);
    part.start.store(addr_of(range.start) as u64, Relaxed);
    part.pages.store(range.count, Relaxed);
    [&part.resident, &part.parked, &part.swapped].into_iter().for_each(|number| number.store(0, Relaxed));
}

/// Pages of `range` that are resident, parked and swapped.
pub(crate) fn count(pager: &Pager, range: PageRange) -> [u64; 3] {
    let mut counts = [0; 3];
    pager.for_each_touched(range, |_, state| match state {
        State::Resident { .. } | State::Filling { .. } => counts[0] += 1,
        State::Parked { .. } | State::Writing { .. } => counts[1] += 1,
        State::Swapped { .. } => counts[2] += 1,
        State::Untouched | State::Poisoned => {}
    });
    counts
}

fn draw(cell: &Cell, range: PageRange, counts: [u64; 3]) {
    cell.start.store(addr_of(range.start) as u64, Relaxed);
    cell.pages.store(range.count.min(u32::MAX.into()) as u32, Relaxed);
    for (number, count) in [&cell.resident, &cell.parked, &cell.swapped].into_iter().zip(counts) {
        number.store(count.min(u32::MAX.into()) as u32, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::StorePlace;
    use crate::voice::Told;
    use pager::{Commit, Config};
    use std::hint::black_box;

    /// Nanoseconds for a fault, served in a turn of its own, that nobody looks at.
    fn cost(counted: bool) -> f64 {
        const FAULTS: u64 = 1 << 20;
        let pager = Pager::new(Config { frames: 256, slots: 256, commit: Commit::Lazy, readahead: true });
        let settings = Settings { counted, ..Settings::for_areas(1 << 20, StorePlace::Memory, 1 << 20) };
        let mut watch = Watch::new(&settings, Voice::Instance(Told::new()));
        let start = Instant::now();
        for number in 0..FAULTS {
            let page = PageNo(black_box(number));
            watch.begin_turn();
            watch.faulted(&pager, page, 1);
            let fault = black_box(Fault::Zero(PageRange::one(page)));
            watch.touched(&pager, page, fault);
            watch.resolved(page, fault);
            // The budget is looked at in every turn.
            black_box(watch.instant());
        }
        let took = start.elapsed();
        let seen = watch.voice.record().map(|record| record.minor_fault_ns.read().count());
        assert_eq!(seen, Some(if counted { FAULTS } else { 0 }));
        took.as_nanos() as f64 / FAULTS as f64
    }

    #[test]
    #[ignore = "measures: to be run alone, optimised, with --nocapture"]
    fn what_counting_a_fault_costs() {
        let mut more: Vec<_> = (0..9).map(|_| cost(true) - cost(false)).collect();
        more.sort_by(f64::total_cmp);
        eprintln!("counting a fault costs {:.0} ns ({:.0} to {:.0})", more[4], more[0], more[8]);
    }
}
