//! S3-FIFO: three static queues.
//!
//! J. Yang, Y. Zhang, Z. Qiu, Y. Yue and K. V. Rashmi, "FIFO queues are all you need for
//! cache eviction", SOSP 2023. What comes in goes to a small queue of a tenth of the
//! frames. What leaves that queue goes to the main queue if it was accessed more than once
//! there, with its counter cleared; otherwise it is evicted and remembered as a ghost,
//! as many as the main queue is long. A page that comes back while it is a ghost goes to the
//! main queue at once. That is a FIFO with reinsertion and a counter of two bits: what was
//! accessed goes round once more, with one access less.
//!
//! As in the paper, the small queue gives a page while it has at least a tenth of the
//! frames, otherwise the main queue does. (The paper's pseudocode, having moved a page to a
//! full main queue, evicts one from each queue; here one page makes room for one.)
//!
//! A reference costs a counter; a miss is O(1) on average (a counter that is counted down
//! was counted up before) and O(n) at worst. 18 bytes a frame and about 40 a ghost. Pages
//! that are used once leave quickly, so scans do little harm, and of a loop that exceeds
//! the frames by little it keeps a part. Not for working sets that move: pages whose second
//! use comes later than the small queue is long miss twice before they are kept.
//!
//! With 3 frames (one page in the small queue is a tenth already), 1 1 1 2 3 4 5 1: 1 was
//! accessed more than once and moves to main, 2 leaves for 4, 3 for 5; 1 is a hit.

use super::ghosts::Ghosts;
use super::list::{ByFrame, Links, List};
use super::{Policy, Step};
use crate::page::FrameNo;
use core::fmt;

/// Two bits.
const MOST_ACCESSES: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    Small,
    Main,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    queue: Queue,
    accesses: u8,
}

/// A small queue on probation before the main one.
pub struct S3Fifo {
    pages: u32,
    links: Links,
    small: List,
    main: List,
    held: ByFrame<Held>,
    page_of: ByFrame<u64>,
    ghosts: Ghosts,
}

impl S3Fifo {
    /// For at most `pages` pages at once.
    ///
    /// # Panics
    /// If `pages` is 0.
    pub fn new(pages: u32) -> Self {
        assert!(pages > 0, "a policy without frames");
        Self {
            pages,
            links: Links::new(pages),
            small: List::EMPTY,
            main: List::EMPTY,
            held: ByFrame::new(pages, Held { queue: Queue::Small, accesses: 0 }),
            page_of: ByFrame::new(pages, 0),
            ghosts: Ghosts::new((u64::from(pages) * 9 / 10) as u32),
        }
    }

    fn push(&mut self, frame: FrameNo, held: Held) {
        self.held.set(frame, held);
        match held.queue {
            Queue::Small => self.small.push(&mut self.links, frame.0),
            Queue::Main => self.main.push(&mut self.links, frame.0),
        }
    }

    fn take(&mut self, frame: FrameNo) {
        match self.held.get(frame).queue {
            Queue::Small => self.small.remove(&mut self.links, frame.0),
            Queue::Main => self.main.remove(&mut self.links, frame.0),
        }
    }
}

impl Policy for S3Fifo {
    fn inserted(&mut self, frame: FrameNo, page: u64) {
        let queue = if self.ghosts.take(page) { Queue::Main } else { Queue::Small };
        self.page_of.set(frame, page);
        self.push(frame, Held { queue, accesses: 0 });
    }

    fn touched(&mut self, frame: FrameNo) {
        let held = self.held.get(frame);
        self.held.set(frame, Held { accesses: (held.accesses + 1).min(MOST_ACCESSES), ..held });
    }

    fn next(&mut self, _incoming: u64, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step> {
        let tenth = u64::from(self.small.len()) * 10 >= u64::from(self.pages);
        let [first, second] = if tenth { [&self.small, &self.main] } else { [&self.main, &self.small] };
        let found = first.oldest_of(&self.links, may).or_else(|| second.oldest_of(&self.links, may))?;
        let frame = FrameNo(found);
        let held = self.held.get(frame);
        let accesses = match (held.queue, held.accesses) {
            (Queue::Small, 2..) => 0,
            (Queue::Main, accesses @ 1..) => accesses - 1,
            _ => return Some(Step::Evict(frame)),
        };
        self.take(frame);
        self.push(frame, Held { queue: Queue::Main, accesses });
        Some(Step::Unreference(frame))
    }

    fn evicted(&mut self, frame: FrameNo) {
        if self.held.get(frame).queue == Queue::Small {
            self.ghosts.push(self.page_of.get(frame));
        }
        self.removed(frame);
    }

    fn removed(&mut self, frame: FrameNo) {
        self.take(frame);
    }
}

impl fmt::Debug for S3Fifo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = |frame| format!("+{}", self.held.get(FrameNo(frame)).accesses);
        self.small.show(&self.links, f, "s3fifo small", mark)?;
        self.main.show(&self.links, f, " main", mark)?;
        write!(f, " ghosts {}", self.ghosts.len())
    }
}
