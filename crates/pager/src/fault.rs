//! A touch on a page that is not mapped.

use crate::area::{Area, Pattern};
use crate::entry::State;
use crate::frames::Queue;
use crate::page::{FrameNo, PageNo, PageRange, SlotNo};
use crate::pager::{LONG_WINDOW, LONG_WINDOWS_AHEAD, MAX_READS, Pager, WINDOWS_AHEAD};
use crate::streams::Going;

/// What the driver must do about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Map zeroed frames at these pages; they are resident now. Where that
    /// fails, say [`Pager::vanished`].
    Zero(PageRange),
    /// Map these parked pages; they are resident now. Where that fails, say
    /// [`Pager::unmapped`]. [`Pager::reads`] may ask for more.
    Map(PageRange),
    /// Start [`Pager::reads`]; the first is the page itself.
    Read,
    /// A transfer that is under way will bring the page. [`Pager::reads`] may ask
    /// for pages ahead of it.
    InFlight,
    /// The page is held to be mapped.
    Resident,
    /// The page's bytes are lost.
    Poisoned,
    /// No area has the page.
    Unmanaged,
    /// Every frame is in use: reclaim, and ask again.
    NoFrame,
    /// What is mapped there is being changed: ask again after [`Pager::end_change`].
    Changing,
}

/// A page to be read from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// The page.
    pub page: PageNo,
    /// The frame that will hold it.
    pub frame: FrameNo,
    /// Where it is read from.
    pub slot: SlotNo,
}

impl Pager {
    /// Decides what a touch on `page` needs. Does not allocate.
    pub fn fault(&mut self, page: PageNo) -> Fault {
        self.reads.clear();
        let Some(area) = self.areas.find(page) else {
            return Fault::Unmanaged;
        };
        if self.changes.touch(page) {
            return Fault::Changing;
        }
        match self.table.get(page) {
            State::Untouched => match area.home(page) {
                None => self.fault_untouched(page, area),
                Some(home) => self.fault_swapped(page, area, home),
            },
            State::Parked { frame, ahead, .. } => self.fault_parked(page, area, frame, ahead),
            State::Swapped { slot } => self.fault_swapped(page, area, slot),
            State::Filling { frame, slot, wanted } => {
                if !wanted {
                    self.count_hit();
                    self.counters.major_faults += 1;
                }
                self.set(page, State::Filling { frame, slot, wanted: true });
                if let Some(going) = self.stream_at(page, area) {
                    self.read_ahead(page, area, going);
                }
                Fault::InFlight
            }
            State::Writing { frame, slot, wanted } => {
                if !wanted {
                    self.counters.rescues += 1;
                    self.counters.minor_faults += 1;
                }
                self.set(page, State::Writing { frame, slot, wanted: true });
                Fault::InFlight
            }
            State::Resident { .. } => {
                self.counters.spurious_faults += 1;
                Fault::Resident
            }
            State::Poisoned => Fault::Poisoned,
        }
    }

    fn count_hit(&mut self) {
        self.counters.readahead_hits += 1;
        self.streams.used_one();
    }

    fn stream_at(&mut self, page: PageNo, area: Area) -> Option<Going> {
        let table = &self.table;
        let is_mapped = |page| matches!(table.get(page), State::Resident { .. });
        match area.pattern {
            Pattern::Random => None,
            Pattern::Normal => self.streams.touch(page, is_mapped),
            // Going up past pages that are not used is going in order, too.
            Pattern::Sequential => self.streams.touch(page, |_| true).or_else(|| self.streams.begin(page)),
        }
    }

    /// What the last [`Self::fault`] asked to be read, in the order of need.
    pub fn reads(&self) -> &[Read] {
        &self.reads
    }

    fn fault_untouched(&mut self, page: PageNo, area: Area) -> Fault {
        let available = u64::from(self.frames.available());
        if available == 0 {
            return Fault::NoFrame;
        }
        self.counters.minor_faults += 1;
        let going = self.stream_at(page, area);
        let window = match going {
            // What is being filled in order will go on being filled.
            Some(Going { stride: 1 | -1, window, .. }) => u64::from(window).clamp(1, available),
            _ => 1,
        };
        let backward = going.is_some_and(|going| going.stride < 0);
        let step = |count: u64| {
            if backward { page.0.checked_sub(count).map(PageNo) } else { Some(page.plus(count)) }
        };
        let mut count = 0;
        while count < window {
            let Some(next) = step(count) else { break };
            let free = area.range.contains(next) && self.table.get(next) == State::Untouched;
            if !free || self.changes.touch(next) {
                break;
            }
            let frame = self.frames.take(next);
            self.frames.move_to(frame, Queue::Probation);
            self.set(next, State::Resident { frame, slot: None });
            count += 1;
        }
        let last = step(count - 1).unwrap_or(page);
        if let Some(going) = going {
            self.streams.reached(going.id, last);
        }
        Fault::Zero(PageRange { start: page.min(last), count })
    }

    fn fault_parked(&mut self, page: PageNo, area: Area, frame: FrameNo, ahead: bool) -> Fault {
        self.counters.minor_faults += 1;
        let going = self.stream_at(page, area);
        let (mut first, mut last) = (page, page);
        // Of what was read ahead a first touch proves nothing, a second one does; unless it comes of a
        // pass in order, which is over when it has gone by.
        let proves = !ahead && going.is_none();
        let is_first = proves && !self.frames.is_proven(frame);
        self.unpark(page, proves);
        if ahead {
            self.count_hit();
        } else {
            self.counters.rescues += 1;
            self.share.rescued(is_first);
        }
        if let Some(going) = going {
            // The rest of what was read ahead goes in with it, so that a stream
            // costs one fault a window.
            for _ in 1..going.window {
                let next = match going.stride {
                    1 => last.plus(1),
                    -1 if first.0 > 0 => PageNo(first.0 - 1),
                    _ => break,
                };
                let State::Parked { ahead: true, .. } = self.table.get(next) else { break };
                if !area.range.contains(next) || self.changes.touch(next) {
                    break;
                }
                self.unpark(next, false);
                self.count_hit();
                (first, last) = (first.min(next), last.max(next));
            }
            let reached = if going.stride < 0 { first } else { last };
            self.streams.reached(going.id, reached);
            self.read_ahead(reached, area, going);
        }
        Fault::Map(PageRange::between(first, last.plus(1)))
    }

    /// A parked page is mapped; `proven` as for [`Frames::mapped`](crate::frames::Frames::mapped).
    fn unpark(&mut self, page: PageNo, proven: bool) {
        let State::Parked { frame, slot, .. } = self.table.get(page) else {
            unreachable!("only parked pages are unparked");
        };
        self.frames.mapped(frame, proven);
        self.set(page, State::Resident { frame, slot });
    }

    fn fault_swapped(&mut self, page: PageNo, area: Area, slot: SlotNo) -> Fault {
        if self.frames.available() == 0 {
            return Fault::NoFrame;
        }
        self.counters.major_faults += 1;
        let evictions_ago = self.slots.evictions_since(slot);
        // What is at home may never have been here.
        self.counters.refaults += u64::from(evictions_ago != u32::MAX);
        self.share.missed(evictions_ago);
        let frame = self.frames.take(page);
        self.set(page, State::Filling { frame, slot, wanted: true });
        self.reads.push(Read { page, frame, slot });
        let going = self.stream_at(page, area);
        // That a pass in order has come by again says nothing of the page.
        self.frames.set_proven(frame, going.is_none() && evictions_ago <= self.memory_of_evictions());
        if let Some(mut going) = going {
            // What had been read ahead was evicted before it was touched, if anything.
            if self.streams.lost_ahead(going.id, page) {
                going.window = self.streams.shrink(going.id);
            }
            self.read_ahead(page, area, going);
        }
        Fault::Read
    }

    /// Asks for the pages that a stream will want after `reached`: nothing while all
    /// windows but one are on their way, else up to all of them.
    fn read_ahead(&mut self, reached: PageNo, area: Area, going: Going) {
        let Going { id, stride, window } = going;
        let reached = reached.0 as i64;
        let on_the_way = ((self.streams.ahead(id) - reached) / stride).max(0);
        // Streams together may not push each other's pages out before they are used: half of what
        // may be ahead is shared out among them, the rest is for what others have left over.
        let most_ahead = self.most_ahead();
        let share = i64::from(most_ahead / 2 / self.streams.going_on(2 * most_ahead));
        let fits = |windows: i64| i64::from(window).min((share / windows).max(1));
        let is_long = fits(LONG_WINDOWS_AHEAD) >= LONG_WINDOW;
        let windows = if is_long { LONG_WINDOWS_AHEAD } else { WINDOWS_AHEAD };
        let window = fits(windows);
        if on_the_way > (windows - 1) * window {
            return;
        }
        let reserve = self.reserve() / 4;
        let mut ahead = reached + on_the_way * stride;
        for _ in on_the_way..windows * window {
            let next = ahead + stride;
            let Some(page) = u64::try_from(next).ok().map(PageNo) else { break };
            if !area.range.contains(page)
                || self.frames.available() <= reserve
                || self.ahead >= most_ahead
                || self.reads.len() == MAX_READS
            {
                break;
            }
            let slot = match self.table.get(page) {
                State::Swapped { slot } => Some(slot),
                State::Untouched => area.home(page),
                _ => None,
            };
            if let Some(slot) = slot {
                let frame = self.frames.take(page);
                self.set(page, State::Filling { frame, slot, wanted: false });
                self.reads.push(Read { page, frame, slot });
                self.counters.readahead_pages += 1;
                self.streams.read_one();
            }
            ahead = next;
        }
        self.streams.set_ahead(id, ahead);
    }

    /// The kernel could not map `page` where [`Fault::Map`] (or a fill, or a write
    /// that was waited for) had said so; it is parked again.
    pub fn unmapped(&mut self, page: PageNo) {
        let State::Resident { frame, slot } = self.table.get(page) else {
            unreachable!("only resident pages can turn out not to be mapped");
        };
        self.frames.move_to(frame, Queue::Parked);
        self.set(page, State::Parked { frame, slot, ahead: false });
    }

    /// The kernel has nothing where `page` was held to be mapped: it was discarded.
    pub fn vanished(&mut self, page: PageNo) {
        let State::Resident { frame, slot } = self.table.get(page) else {
            unreachable!("only resident pages can vanish");
        };
        self.frames.free(frame);
        slot.into_iter().for_each(|slot| self.slots.release(slot));
        self.set(page, State::Untouched);
    }
}
