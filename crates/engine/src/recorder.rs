//! The trace of this process: what it did and what its pager did, to a ring in shared memory.
//!
//! Nothing here allocates or waits once it is open. An event costs some tens of nanoseconds,
//! and nothing where no trace is kept.

use crate::core::page_of;
use crate::engine::{program, record};
use crate::ops::MAX_OPS;
use crate::settings::Settings;
use core::sync::atomic::Ordering::Relaxed;
use pager::{PageNo, PageRange, Pager, Rights};
use rustix::time::{ClockId, clock_gettime};
use sys::ring::{RingWriter, Room};
use sys::status::StatusPage;
use trace::{
    Direction, Encoder, Ending, Event, Fate, Gone, Kept, MOST_EVENT_BYTES, Outcome, Parked, TICK_NS,
};

/// Writes the trace, if there is to be one.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    ring: RingWriter,
    encoder: Encoder,
    /// In ticks.
    now: u64,
    /// Transfers begun so far, and at which of them each token's was.
    begun: u32,
    begun_at: [u32; MAX_OPS],
    /// What is still growing.
    fates: Option<(Fate, u32)>,
    evicted: Option<(PageRange, Fate)>,
}

/// Nanoseconds of the monotonic clock.
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn rights_of(rights: Rights) -> trace::Rights {
    match rights {
        Rights::ReadWrite => trace::Rights::ReadWrite,
        Rights::Restricted => trace::Rights::Restricted,
    }
}

impl Recorder {
    /// Opens the ring that belongs to this process's record on the status page.
    pub(crate) fn open(settings: &Settings) -> Self {
        let ring = || {
            let page = StatusPage::open(settings.status.as_ref()?)?;
            let index = page.index_of(page.find(program())?)?;
            RingWriter::open(settings.trace.as_ref()?, index, program())
        };
        let open = |ring| {
            Box::new(Open {
                ring,
                encoder: Encoder::new(0),
                now: now_ns() / TICK_NS,
                begun: 0,
                begun_at: [0; MAX_OPS],
                fates: None,
                evicted: None,
            })
        };
        Self { open: ring().map(open) }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// What follows happens now.
    pub(crate) fn at(&mut self, now_ns: u64) {
        if let Some(open) = &mut self.open {
            open.now = open.now.max(now_ns / TICK_NS);
        }
    }

    /// Lets the reader have what there is.
    pub(crate) fn pass(&mut self) {
        self.open.iter_mut().for_each(|open| open.ring.pass());
    }

    fn add(&mut self, event: Event) {
        self.add_of(0, event);
    }

    fn add_of(&mut self, thread: u32, event: Event) {
        if let Some(open) = &mut self.open {
            open.add(thread, event);
        }
    }

    /// Paging begins: what there is to page, and what of it is in memory.
    pub(crate) fn begin(&mut self, pager: &Pager) {
        if self.open.is_none() {
            return;
        }
        self.at(now_ns());
        self.add(Event::Frames { limit: pager.frame_limit() });
        for area in pager.areas() {
            self.area(area.range, area.rights);
            if area.pinned {
                self.pinned(area.range, true);
            }
        }
    }

    pub(crate) fn held(&mut self, range: PageRange) {
        self.add(Event::Held { start: range.start.0, count: range.count });
    }

    pub(crate) fn frames(&mut self, limit: u32) {
        self.add(Event::Frames { limit });
    }

    pub(crate) fn code(&mut self, addr: u64, callers: &[u64]) {
        self.add(Event::Code { addr });
        callers.iter().for_each(|addr| self.add(Event::Caller { addr: *addr }));
    }

    pub(crate) fn touch(&mut self, thread: u32, page: PageNo, outcome: Outcome) {
        self.add_of(thread, Event::Touch { page: page.0, outcome });
    }

    pub(crate) fn along(&mut self, range: PageRange) {
        self.add(Event::Along { start: range.start.0, count: range.count });
    }

    pub(crate) fn area(&mut self, range: PageRange, rights: Rights) {
        self.add(Event::Area { start: range.start.0, count: range.count, rights: rights_of(rights) });
    }

    pub(crate) fn gone(&mut self, range: PageRange, why: Gone) {
        self.add(Event::Gone { start: range.start.0, count: range.count, why });
    }

    pub(crate) fn moved(&mut self, from: PageRange, to: PageNo) {
        self.add(Event::Moved { from: from.start.0, to: to.0, count: from.count });
    }

    pub(crate) fn protected(&mut self, range: PageRange, rights: Rights) {
        self.add(Event::Protected { start: range.start.0, count: range.count, rights: rights_of(rights) });
    }

    pub(crate) fn pinned(&mut self, range: PageRange, pinned: bool) {
        let rights = if pinned { trace::Rights::Pinned } else { trace::Rights::Unpinned };
        self.add(Event::Protected { start: range.start.0, count: range.count, rights });
    }

    pub(crate) fn change(&mut self, range: PageRange, begins: bool) {
        self.add(Event::Change { start: range.start.0, count: range.count, begins });
    }

    pub(crate) fn forked(&mut self) {
        self.add(Event::Forked);
    }

    /// The first `count` pages of those that the core named are about to be parked, or were.
    pub(crate) fn park(&mut self, count: u32) {
        self.add(Event::Park { count, found: Parked::Pages });
    }

    pub(crate) fn nothing_to_park(&mut self) {
        self.add(Event::Park { count: 0, found: Parked::None });
    }

    /// A page of the next [`Self::park`] was not parked.
    pub(crate) fn stayed(&mut self, page: PageNo, why: Kept) {
        self.add(Event::Stay { page: page.0, why });
    }

    /// A page was parked out of turn, to see whether it is touched again.
    pub(crate) fn sampled(&mut self, page: PageNo) {
        self.add(Event::Sampled { page: page.0 });
    }

    pub(crate) fn sweep(&mut self, most: u32) {
        self.add(Event::Sweep { most });
    }

    pub(crate) fn evicted(&mut self, page: PageNo, fate: Fate) {
        let Some(open) = &mut self.open else { return };
        match &mut open.fates {
            Some((same, count)) if *same == fate => *count += 1,
            _ => {
                open.flush_fates();
                open.fates = Some((fate, 1));
            }
        }
        match &mut open.evicted {
            Some((run, same)) if *same == fate && run.end() == page => run.count += 1,
            _ => {
                open.flush_evicted();
                open.evicted = Some((PageRange::one(page), fate));
            }
        }
    }

    /// Whether anything in a page will be read again. Those with nothing leave before the others.
    pub(crate) fn asked(&mut self, page: PageNo, unused: bool) {
        let Some(open) = &mut self.open else { return };
        let fate = if unused { Fate::Unused } else { Fate::Used };
        match &mut open.fates {
            Some((same, count)) if *same == fate => *count += 1,
            _ => {
                open.flush_fates();
                open.fates = Some((fate, 1));
            }
        }
        if unused {
            open.flush_evicted();
            open.evicted = Some((PageRange::one(page), Fate::Unused));
        }
    }

    /// All have been asked about: that the last are in use need not be told.
    pub(crate) fn end_asking(&mut self) {
        if let Some(open) = &mut self.open {
            match open.fates {
                Some((Fate::Used, _)) => open.fates = None,
                _ => open.flush_fates(),
            }
        }
    }

    pub(crate) fn end_sweep(&mut self) {
        if let Some(open) = &mut self.open {
            open.flush_fates();
            open.flush_evicted();
        }
    }

    pub(crate) fn started(&mut self, token: u64, page: PageNo, count: usize, direction: Direction) {
        let Some(open) = &mut self.open else { return };
        open.begun_at[token as usize] = open.begun;
        open.begun = open.begun.wrapping_add(1);
        open.add(0, Event::Start { page: page.0, count: count as u32, direction });
    }

    pub(crate) fn ended(&mut self, token: u64, done: bool) {
        let Some(open) = &mut self.open else { return };
        let age = open.begun.wrapping_sub(open.begun_at[token as usize]).wrapping_sub(1);
        open.add(0, Event::End { age, ending: if done { Ending::Done } else { Ending::Failed } });
    }

    pub(crate) fn refused(&mut self, count: usize, writes: bool) {
        self.add(Event::Refused { count: count as u32, writes });
    }

    pub(crate) fn unmapped(&mut self, page: PageNo) {
        self.add(Event::Unmapped { page: page.0 });
    }

    pub(crate) fn poisoned(&mut self, page: PageNo) {
        self.add(Event::Poisoned { page: page.0 });
    }

    pub(crate) fn sample(&mut self, pager: &Pager, rss_bytes: u64) {
        if self.open.is_none() {
            return;
        }
        let (used, parked) = (pager.frames_used(), pager.frames_unmapped());
        self.add(Event::Sample {
            resident: used.saturating_sub(parked).into(),
            parked: parked.into(),
            swapped: pager.pages_touched().saturating_sub(used.into()),
            rss_bytes,
        });
    }
}

impl Open {
    fn add(&mut self, thread: u32, event: Event) {
        match self.ring.room(MOST_EVENT_BYTES, self.now) {
            Room::Here => {}
            Room::NewBlock => self.encoder = Encoder::new(self.now),
            Room::None => {
                if let Some(record) = record() {
                    record.trace_dropped.store(record.trace_dropped.load(Relaxed) + 1, Relaxed);
                }
                return;
            }
        }
        let mut bytes = [0; MOST_EVENT_BYTES];
        let len = self.encoder.encode(&mut bytes, self.now, thread, &event);
        self.ring.append(&bytes[..len]);
    }

    fn flush_fates(&mut self) {
        if let Some((fate, count)) = self.fates.take() {
            self.add(0, Event::Fates { count, fate });
        }
    }

    fn flush_evicted(&mut self) {
        if let Some((run, fate)) = self.evicted.take() {
            self.add(0, Event::Evicted { start: run.start.0, count: run.count, fate });
        }
    }
}

/// The pages of `from..to`, both addresses.
pub(crate) fn between(from: usize, to: usize) -> PageRange {
    PageRange::between(page_of(from), page_of(to))
}
