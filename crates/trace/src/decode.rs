//! Bytes to events.

use crate::encode::{Last, Threads, tag};
use crate::event::{Direction, Ending, Event, Fate, Gone, Kept, Outcome, Parked, Rights};
use crate::varint::{take, unfold};

/// An event, with when it happened and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// In ticks.
    pub time: u64,
    /// The thread of the last touch; 0 before there was one.
    pub thread: u32,
    /// What happened.
    pub event: Event,
}

/// Reads the events of one block. Ends at the first that is none; see [`Self::rest`].
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    last: Last,
    threads: Threads,
}

impl<'a> Decoder<'a> {
    /// The events of `payload`, of a block that begins at `time`.
    pub fn new(payload: &'a [u8], time: u64) -> Self {
        Self { bytes: payload, at: 0, last: Last { time, ..Last::default() }, threads: Threads::new() }
    }

    /// Bytes that have not been read. Once the decoder gives nothing more: those that make no sense.
    pub fn rest(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn number(&self, at: &mut usize) -> Option<u64> {
        take(self.bytes, at)
    }

    fn near(&self, at: &mut usize, to: u64) -> Option<u64> {
        Some(to.wrapping_add(unfold(self.number(at)?) as u64))
    }

    fn small(&self, at: &mut usize) -> Option<u32> {
        u32::try_from(self.number(at)?).ok()
    }

    /// A range's start, near `to`, and length; none if it is longer than there are pages.
    fn range(&self, at: &mut usize, to: u64) -> Option<(u64, u64)> {
        let start = self.near(at, to)?;
        let count = self.number(at)?;
        start.checked_add(count).map(|_| (start, count))
    }

    fn read(&mut self) -> Option<Stamped> {
        loop {
            let mut at = self.at;
            let first = *self.bytes.get(at)?;
            at += 1;
            let (kind, argument) = (first & 31, first >> 5);
            match kind {
                tag::TIME => {
                    let time = self.last.time.checked_add(self.number(&mut at)?)?;
                    self.last.time = time;
                }
                tag::THREAD => {
                    let index = usize::try_from(self.number(&mut at)?).ok()?;
                    if index == self.threads.next() {
                        let thread = self.small(&mut at)?;
                        self.threads.add(thread);
                        self.threads.current = thread;
                    } else {
                        self.threads.current = self.threads.get(index)?;
                    }
                }
                _ => {
                    let event = self.event(kind, argument, &mut at)?;
                    self.at = at;
                    return Some(Stamped { time: self.last.time, thread: self.threads.current, event });
                }
            }
            self.at = at;
        }
    }

    fn event(&mut self, kind: u8, argument: u8, at: &mut usize) -> Option<Event> {
        let last = self.last;
        let event = match kind {
            tag::TOUCH => {
                let page = self.near(at, last.touch)?;
                self.last.touch = page;
                Event::Touch { page, outcome: Outcome::ALL[usize::from(argument)] }
            }
            tag::CODE | tag::CALLER => {
                let addr = self.near(at, last.code)?;
                self.last.code = addr;
                if kind == tag::CODE { Event::Code { addr } } else { Event::Caller { addr } }
            }
            tag::AREA | tag::GONE | tag::PROTECTED | tag::CHANGE | tag::HELD => {
                let (start, count) = self.range(at, last.area)?;
                let event = match kind {
                    tag::AREA => Event::Area { start, count, rights: rights(argument)? },
                    tag::GONE => {
                        let why = [Gone::Unmapped, Gone::Discarded].get(usize::from(argument)).copied()?;
                        Event::Gone { start, count, why }
                    }
                    tag::PROTECTED => Event::Protected { start, count, rights: rights(argument)? },
                    tag::CHANGE => Event::Change { start, count, begins: argument == 1 },
                    _ => Event::Held { start, count },
                };
                self.last.area = start + count;
                event
            }
            tag::MOVED => {
                let from = self.near(at, last.area)?;
                let to = self.near(at, from)?;
                let count = self.number(at)?;
                from.checked_add(count)?;
                self.last.area = to.checked_add(count)?;
                Event::Moved { from, to, count }
            }
            tag::FRAMES => Event::Frames { limit: self.small(at)? },
            tag::PARK => {
                let found = [Parked::Pages, Parked::None].get(usize::from(argument)).copied()?;
                Event::Park { count: self.small(at)?, found }
            }
            tag::STAY => {
                let why = [Kept::Pinned, Kept::Absent].get(usize::from(argument)).copied()?;
                Event::Stay { page: self.near(at, last.touch)?, why }
            }
            tag::ALONG => {
                let (start, count) = self.range(at, last.touch)?;
                Event::Along { start, count }
            }
            tag::SAMPLED => Event::Sampled { page: self.near(at, last.touch)? },
            tag::SWEEP => Event::Sweep { most: self.small(at)? },
            tag::FATES => Event::Fates { count: self.small(at)?, fate: fate(argument)? },
            tag::START => {
                let directions = [Direction::Demand, Direction::Ahead, Direction::Write];
                let direction = directions.get(usize::from(argument)).copied()?;
                let to = if direction == Direction::Write { last.evicted } else { last.touch };
                Event::Start { page: self.near(at, to)?, count: self.small(at)?, direction }
            }
            tag::END => {
                let endings = [Ending::Done, Ending::Failed, Ending::Refused];
                Event::End { ending: endings.get(usize::from(argument)).copied()?, age: self.small(at)? }
            }
            tag::REFUSED => Event::Refused { count: self.small(at)?, writes: argument == 1 },
            tag::UNMAPPED => Event::Unmapped { page: self.near(at, last.touch)? },
            tag::POISONED => Event::Poisoned { page: self.near(at, last.touch)? },
            tag::EVICTED => {
                let (start, count) = self.range(at, last.evicted)?;
                self.last.evicted = start + count;
                Event::Evicted { start, count, fate: fate(argument)? }
            }
            tag::SAMPLE => Event::Sample {
                resident: self.number(at)?,
                parked: self.number(at)?,
                swapped: self.number(at)?,
                rss_bytes: self.number(at)?,
            },
            tag::FORKED => Event::Forked,
            _ => return None,
        };
        Some(event)
    }
}

fn rights(argument: u8) -> Option<Rights> {
    let all = [Rights::ReadWrite, Rights::Restricted, Rights::Pinned, Rights::Unpinned];
    all.get(usize::from(argument)).copied()
}

fn fate(argument: u8) -> Option<Fate> {
    [Fate::Clean, Fate::Dirty, Fate::Zero, Fate::Unused, Fate::Used].get(usize::from(argument)).copied()
}

impl Iterator for Decoder<'_> {
    type Item = Stamped;

    fn next(&mut self) -> Option<Stamped> {
        self.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{Encoder, MOST_EVENT_BYTES};
    use proptest::prelude::*;

    pub(crate) fn any_event() -> impl Strategy<Value = Event> {
        let page = prop_oneof![0..1u64 << 20, 0..1u64 << 52, Just(0), Just((1 << 52) - 1)];
        let count = prop_oneof![0..300u64, 0..1u64 << 40];
        let rights = prop::sample::select(vec![
            Rights::ReadWrite,
            Rights::Restricted,
            Rights::Pinned,
            Rights::Unpinned,
        ]);
        let fate = prop::sample::select(vec![Fate::Clean, Fate::Dirty, Fate::Zero, Fate::Unused, Fate::Used]);
        let direction = prop::sample::select(vec![Direction::Demand, Direction::Ahead, Direction::Write]);
        (
            0..23u8,
            page.clone(),
            page,
            count,
            any::<u64>(),
            prop::sample::select(Outcome::ALL.to_vec()),
            (rights, fate, direction),
        )
            .prop_map(|(kind, page, other, count, word, outcome, (rights, fate, direction))| {
                let (small, odd) = (word as u32, word % 2 == 1);
                match kind {
                    0..3 => Event::Touch { page, outcome },
                    4 => Event::Code { addr: word },
                    5 => Event::Caller { addr: word },
                    6 => Event::Area { start: page, count, rights },
                    3 => Event::Along { start: page, count },
                    7 => Event::Gone { start: page, count, why: Gone::Unmapped },
                    8 => Event::Gone { start: page, count, why: Gone::Discarded },
                    9 => Event::Moved { from: page, to: other, count },
                    10 => Event::Protected { start: page, count, rights },
                    11 => Event::Change { start: page, count, begins: odd },
                    12 => Event::Held { start: page, count },
                    13 => Event::Frames { limit: small },
                    14 => Event::Park { count: small, found: if odd { Parked::None } else { Parked::Pages } },
                    15 => Event::Stay { page, why: if odd { Kept::Absent } else { Kept::Pinned } },
                    16 => Event::Sweep { most: small },
                    17 => Event::Fates { count: small, fate },
                    18 => Event::Start { page, count: small, direction },
                    19 => Event::End { age: small, ending: if odd { Ending::Done } else { Ending::Failed } },
                    20 => Event::Evicted { start: page, count, fate },
                    21 => Event::Sample { resident: page, parked: other, swapped: count, rss_bytes: word },
                    22 if odd => Event::Sampled { page },
                    _ if odd => Event::Unmapped { page },
                    _ => Event::Refused { count: small, writes: odd },
                }
            })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            events in prop::collection::vec((any_event(), 0..5u64, 0..100u32), 0..200),
            start in 0..1u64 << 60,
        ) {
            let mut encoder = Encoder::new(start);
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            let (mut now, mut current) = (start, 0);
            for (event, later, thread) in events {
                now += later;
                let mut one = [0; MOST_EVENT_BYTES];
                let len = encoder.encode(&mut one, now, thread, &event);
                bytes.extend_from_slice(&one[..len]);
                if matches!(event, Event::Touch { .. }) {
                    current = thread;
                }
                expected.push(Stamped { time: now, thread: current, event });
            }
            let mut decoder = Decoder::new(&bytes, start);
            let found: Vec<Stamped> = decoder.by_ref().collect();
            prop_assert_eq!(decoder.rest(), 0);
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_events_or_not(bytes in prop::collection::vec(any::<u8>(), 0..400), time: u64) {
            let mut decoder = Decoder::new(&bytes, time);
            let found = decoder.by_ref().count();
            prop_assert!(found <= bytes.len() && decoder.rest() <= bytes.len());
        }
    }

    #[test]
    fn touches_nearby_take_few_bytes() {
        let mut encoder = Encoder::new(0);
        let mut one = [0; MOST_EVENT_BYTES];
        let mut bytes = 0;
        for at in 0..1000 {
            let touch =
                Event::Touch { page: 0x7f00_0000_0000 + at * 7919 % 65_536, outcome: Outcome::Swapped };
            bytes += encoder.encode(&mut one, 600 * at, 17, &touch);
        }
        assert!(bytes < 8 * 1000, "{bytes}");
    }
}
