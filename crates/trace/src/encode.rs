//! Events to bytes, without allocating: this runs inside of the program that is traced.

use crate::event::Event;
use crate::varint::{self, fold, put};

/// Bytes of the longest event, with its time and thread.
pub const MOST_EVENT_BYTES: usize = 3 + 6 * varint::MOST;

/// Threads that a block's table holds; others are told by number each time.
pub(crate) const THREADS: usize = 64;

/// Tags: the kind of an event, in five bits.
pub(crate) mod tag {
    pub(crate) const TIME: u8 = 0;
    pub(crate) const THREAD: u8 = 1;
    pub(crate) const TOUCH: u8 = 2;
    pub(crate) const CODE: u8 = 3;
    pub(crate) const CALLER: u8 = 4;
    pub(crate) const AREA: u8 = 5;
    pub(crate) const GONE: u8 = 6;
    pub(crate) const MOVED: u8 = 7;
    pub(crate) const PROTECTED: u8 = 8;
    pub(crate) const CHANGE: u8 = 9;
    pub(crate) const HELD: u8 = 10;
    pub(crate) const FRAMES: u8 = 11;
    pub(crate) const PARK: u8 = 12;
    pub(crate) const STAY: u8 = 13;
    pub(crate) const SWEEP: u8 = 14;
    pub(crate) const FATES: u8 = 15;
    pub(crate) const START: u8 = 16;
    pub(crate) const END: u8 = 17;
    pub(crate) const REFUSED: u8 = 18;
    pub(crate) const UNMAPPED: u8 = 19;
    pub(crate) const POISONED: u8 = 20;
    pub(crate) const EVICTED: u8 = 21;
    pub(crate) const SAMPLE: u8 = 22;
    pub(crate) const FORKED: u8 = 23;
    pub(crate) const SAMPLED: u8 = 24;
    pub(crate) const ALONG: u8 = 25;
}

/// What differences are taken to, by what they are about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Last {
    pub(crate) touch: u64,
    pub(crate) code: u64,
    pub(crate) evicted: u64,
    pub(crate) area: u64,
    pub(crate) time: u64,
}

/// Threads of a block, by index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threads {
    numbers: [u32; THREADS],
    count: usize,
    pub(crate) current: u32,
}

impl Threads {
    pub(crate) fn new() -> Self {
        Self { numbers: [0; THREADS], count: 0, current: 0 }
    }

    /// The index of `thread`, or where it goes.
    fn find(&self, thread: u32) -> usize {
        let known = &self.numbers[..self.count];
        known.iter().position(|number| *number == thread).unwrap_or(self.count)
    }

    pub(crate) fn get(&self, index: usize) -> Option<u32> {
        self.numbers[..self.count].get(index).copied()
    }

    /// Where a thread that is told by number goes.
    pub(crate) fn next(&self) -> usize {
        self.count
    }

    pub(crate) fn add(&mut self, thread: u32) {
        if self.count < THREADS {
            self.numbers[self.count] = thread;
            self.count += 1;
        }
    }
}

/// Encodes the events of one block.
#[derive(Clone, Debug)]
pub struct Encoder {
    last: Last,
    threads: Threads,
}

struct Out<'a> {
    bytes: &'a mut [u8; MOST_EVENT_BYTES],
    len: usize,
}

impl Out<'_> {
    fn tag(&mut self, kind: u8, argument: u8) -> &mut Self {
        self.bytes[self.len] = kind | argument << 5;
        self.len += 1;
        self
    }

    fn number(&mut self, value: u64) -> &mut Self {
        self.len = put(self.bytes, self.len, value);
        self
    }

    fn difference(&mut self, value: u64, to: u64) -> &mut Self {
        self.number(fold(value.wrapping_sub(to) as i64))
    }
}

impl Encoder {
    /// For a block that begins at `time`, in ticks.
    pub fn new(time: u64) -> Self {
        Self { last: Last { time, ..Last::default() }, threads: Threads::new() }
    }

    /// Writes `event`, which happened at `time` (in ticks; never before the one before) in
    /// `thread` (0: the pager's own), into `bytes`; how many it took.
    pub fn encode(
        &mut self,
        bytes: &mut [u8; MOST_EVENT_BYTES],
        time: u64,
        thread: u32,
        event: &Event,
    ) -> usize {
        let mut out = Out { bytes, len: 0 };
        if time > self.last.time {
            out.tag(tag::TIME, 0).number(time - self.last.time);
            self.last.time = time;
        }
        if matches!(event, Event::Touch { .. }) && thread != self.threads.current {
            let index = self.threads.find(thread);
            out.tag(tag::THREAD, 0).number(index as u64);
            if index == self.threads.next() {
                out.number(thread.into());
                self.threads.add(thread);
            }
            self.threads.current = thread;
        }
        let last = &mut self.last;
        match *event {
            Event::Touch { page, outcome } => {
                out.tag(tag::TOUCH, outcome as u8).difference(page, last.touch);
                last.touch = page;
            }
            Event::Along { start, count } => {
                out.tag(tag::ALONG, 0).difference(start, last.touch).number(count);
            }
            Event::Code { addr } => {
                out.tag(tag::CODE, 0).difference(addr, last.code);
                last.code = addr;
            }
            Event::Caller { addr } => {
                out.tag(tag::CALLER, 0).difference(addr, last.code);
                last.code = addr;
            }
            Event::Area { start, count, rights } => {
                out.tag(tag::AREA, rights as u8).difference(start, last.area).number(count);
                last.area = start.wrapping_add(count);
            }
            Event::Gone { start, count, why } => {
                out.tag(tag::GONE, why as u8).difference(start, last.area).number(count);
                last.area = start.wrapping_add(count);
            }
            Event::Moved { from, to, count } => {
                out.tag(tag::MOVED, 0).difference(from, last.area).difference(to, from).number(count);
                last.area = to.wrapping_add(count);
            }
            Event::Protected { start, count, rights } => {
                out.tag(tag::PROTECTED, rights as u8).difference(start, last.area).number(count);
                last.area = start.wrapping_add(count);
            }
            Event::Change { start, count, begins } => {
                out.tag(tag::CHANGE, begins.into()).difference(start, last.area).number(count);
                last.area = start.wrapping_add(count);
            }
            Event::Held { start, count } => {
                out.tag(tag::HELD, 0).difference(start, last.area).number(count);
                last.area = start.wrapping_add(count);
            }
            Event::Frames { limit } => {
                out.tag(tag::FRAMES, 0).number(limit.into());
            }
            Event::Park { count, found } => {
                out.tag(tag::PARK, found as u8).number(count.into());
            }
            Event::Stay { page, why } => {
                out.tag(tag::STAY, why as u8).difference(page, last.touch);
            }
            Event::Sampled { page } => {
                out.tag(tag::SAMPLED, 0).difference(page, last.touch);
            }
            Event::Sweep { most } => {
                out.tag(tag::SWEEP, 0).number(most.into());
            }
            Event::Fates { count, fate } => {
                out.tag(tag::FATES, fate as u8).number(count.into());
            }
            Event::Start { page, count, direction } => {
                // Reads are near the touch that asked for them, writes near what was evicted.
                let to = if direction == crate::Direction::Write { last.evicted } else { last.touch };
                out.tag(tag::START, direction as u8).difference(page, to).number(count.into());
            }
            Event::End { age, ending } => {
                out.tag(tag::END, ending as u8).number(age.into());
            }
            Event::Refused { count, writes } => {
                out.tag(tag::REFUSED, writes.into()).number(count.into());
            }
            Event::Unmapped { page } => {
                out.tag(tag::UNMAPPED, 0).difference(page, last.touch);
            }
            Event::Poisoned { page } => {
                out.tag(tag::POISONED, 0).difference(page, last.touch);
            }
            Event::Evicted { start, count, fate } => {
                out.tag(tag::EVICTED, fate as u8).difference(start, last.evicted).number(count);
                last.evicted = start.wrapping_add(count);
            }
            Event::Sample { resident, parked, swapped, rss_bytes } => {
                out.tag(tag::SAMPLE, 0).number(resident).number(parked).number(swapped).number(rss_bytes);
            }
            Event::Forked => {
                out.tag(tag::FORKED, 0);
            }
        }
        out.len
    }
}
