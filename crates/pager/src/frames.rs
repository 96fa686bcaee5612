//! The frame table: who holds each permit, and in which order they came.

use crate::entry::NUMBER_LIMIT;
use crate::page::{FrameNo, PageNo, SlotNo};

const NONE: u32 = u32::MAX;

/// What a frame is doing. The first five are intrusive lists in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Queue {
    /// Nobody's.
    Free,
    /// Its page is mapped, and has not proved that it will be used again.
    Probation,
    /// Its page is mapped, and has been used again.
    Protected,
    /// Its page is unmapped and waits for its turn to be evicted.
    Parked,
    /// Its page was read ahead and has not been touched.
    Ahead,
    /// Owned by a transfer, whose page still wants it.
    Transfer,
    /// Owned by a write after which its page stays in memory.
    Cleaning,
    /// Owned by a transfer whose page was discarded.
    Orphan,
}

impl Queue {
    const ALL: [Self; 8] = [
        Self::Free,
        Self::Probation,
        Self::Protected,
        Self::Parked,
        Self::Ahead,
        Self::Transfer,
        Self::Cleaning,
        Self::Orphan,
    ];
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    /// The page's number, [`PROVEN`], and above them the queue's.
    tag: u64,
    /// The neighbour in the queue; in [`Queue::Orphan`] the slot of the transfer.
    prev: u32,
    next: u32,
}

/// Where a tag holds the queue.
const QUEUE_SHIFT: u32 = 56;
/// Of a tag: the page has been used again since it came in, as far as is known.
const PROVEN: u64 = 1 << 55;
/// Of a tag: the page's number.
const PAGE: u64 = (1 << 52) - 1;

impl Frame {
    fn page(self) -> u64 {
        self.tag & PAGE
    }

    fn set_page(&mut self, page: PageNo) {
        debug_assert!(page.0 <= PAGE);
        self.tag = self.tag & !PAGE | page.0;
    }

    fn queue(self) -> Queue {
        Queue::ALL[(self.tag >> QUEUE_SHIFT) as usize]
    }

    fn set_queue(&mut self, queue: Queue) {
        let proven = match queue {
            Queue::Free | Queue::Probation => 0,
            Queue::Protected => PROVEN,
            _ => self.tag & PROVEN,
        };
        self.tag = self.page() | proven | (queue as u64) << QUEUE_SHIFT;
    }
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
    len: u32,
}

const EMPTY: List = List { head: NONE, tail: NONE, len: 0 };

/// All frames, and how many may be in use.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    table: Vec<Frame>,
    free: List,
    probation: List,
    protected: List,
    parked: List,
    ahead: List,
    /// Frames in a transfer, orphaned or not.
    in_transfer: u32,
    limit: u32,
}

impl Frames {
    /// `limit` frames now; the table grows when the limit is raised or passed.
    pub(crate) fn new(limit: u32) -> Self {
        let mut frames = Self {
            table: Vec::new(),
            free: EMPTY,
            probation: EMPTY,
            protected: EMPTY,
            parked: EMPTY,
            ahead: EMPTY,
            in_transfer: 0,
            limit: 0,
        };
        frames.set_limit(limit);
        frames
    }

    pub(crate) fn set_limit(&mut self, limit: u32) {
        assert!(limit <= NUMBER_LIMIT, "{limit} frames are more than an entry can name");
        self.limit = limit;
        // The fault path must not allocate: room for the permits is made here.
        self.table.reserve((limit as usize).saturating_sub(self.table.len()));
    }

    /// Makes every permit a number now, free in order, so that numbers given back are used
    /// again only after those that were never used. Without this, tables grow as they are used.
    pub(crate) fn stock(&mut self) {
        while (self.table.len() as u32) < self.limit {
            let number = self.table.len() as u32;
            self.table.push(Frame { tag: (Queue::Transfer as u64) << QUEUE_SHIFT, prev: NONE, next: NONE });
            self.in_transfer += 1;
            self.move_to(FrameNo(number), Queue::Free);
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) fn used(&self) -> u32 {
        self.table.len() as u32 - self.free.len
    }

    /// Permits that may still be given out; zero while more are in use than allowed.
    pub(crate) fn available(&self) -> u32 {
        self.limit.saturating_sub(self.used())
    }

    pub(crate) fn count(&self, queue: Queue) -> u32 {
        match queue {
            Queue::Free => self.free.len,
            Queue::Probation => self.probation.len,
            Queue::Protected => self.protected.len,
            Queue::Parked => self.parked.len,
            Queue::Ahead => self.ahead.len,
            Queue::Transfer | Queue::Cleaning | Queue::Orphan => self.in_transfer,
        }
    }

    fn list(&mut self, queue: Queue) -> Option<&mut List> {
        match queue {
            Queue::Free => Some(&mut self.free),
            Queue::Probation => Some(&mut self.probation),
            Queue::Protected => Some(&mut self.protected),
            Queue::Parked => Some(&mut self.parked),
            Queue::Ahead => Some(&mut self.ahead),
            Queue::Transfer | Queue::Cleaning | Queue::Orphan => None,
        }
    }

    /// A frame for `page`, in no queue until [`Self::move_to`]; takes it even past the limit.
    pub(crate) fn take(&mut self, page: PageNo) -> FrameNo {
        let number = if self.free.head == NONE {
            let number = self.table.len() as u32;
            assert!(number < NUMBER_LIMIT, "more frames than an entry can name");
            self.table.push(Frame { tag: (Queue::Transfer as u64) << QUEUE_SHIFT, prev: NONE, next: NONE });
            self.in_transfer += 1;
            number
        } else {
            let number = self.free.head;
            self.move_to(FrameNo(number), Queue::Transfer);
            number
        };
        self.table[number as usize].set_page(page);
        FrameNo(number)
    }

    /// Puts `frame` at the tail of `queue`, out of whatever it was in.
    pub(crate) fn move_to(&mut self, frame: FrameNo, queue: Queue) {
        let record = self.table[frame.0 as usize];
        let Frame { prev, next, .. } = record;
        let old = record.queue();
        if self.list(old).is_some() {
            match prev {
                NONE => self.list(old).expect("a list").head = next,
                prev => self.table[prev as usize].next = next,
            }
            match next {
                NONE => self.list(old).expect("a list").tail = prev,
                next => self.table[next as usize].prev = prev,
            }
            self.list(old).expect("a list").len -= 1;
        } else {
            self.in_transfer -= 1;
        }
        let mut back = NONE;
        if let Some(list) = self.list(queue) {
            back = list.tail;
            list.tail = frame.0;
            list.len += 1;
            if back == NONE {
                list.head = frame.0;
            }
        } else {
            self.in_transfer += 1;
        }
        if back != NONE {
            self.table[back as usize].next = frame.0;
        }
        let record = &mut self.table[frame.0 as usize];
        (record.prev, record.next) = (back, NONE);
        record.set_queue(queue);
    }

    /// Its page is mapped, and has proved that it will be used again, or has not.
    pub(crate) fn mapped(&mut self, frame: FrameNo, proven: bool) {
        self.move_to(frame, if proven { Queue::Protected } else { Queue::Probation });
    }

    pub(crate) fn free(&mut self, frame: FrameNo) {
        debug_assert_ne!(self.queue(frame), Queue::Free, "{frame:?} freed twice");
        self.move_to(frame, Queue::Free);
    }

    /// Hands a transfer's frame to nobody; `slot` is freed with it.
    pub(crate) fn orphan(&mut self, frame: FrameNo, slot: SlotNo) {
        debug_assert!(matches!(self.queue(frame), Queue::Transfer | Queue::Cleaning));
        let record = &mut self.table[frame.0 as usize];
        record.set_queue(Queue::Orphan);
        record.prev = slot.0;
    }

    pub(crate) fn orphan_slot(&self, frame: FrameNo) -> SlotNo {
        SlotNo(self.table[frame.0 as usize].prev)
    }

    pub(crate) fn queue(&self, frame: FrameNo) -> Queue {
        self.table[frame.0 as usize].queue()
    }

    /// Whether its page belongs in [`Queue::Protected`], or was there when it was mapped last.
    pub(crate) fn is_proven(&self, frame: FrameNo) -> bool {
        self.table[frame.0 as usize].tag & PROVEN != 0
    }

    /// Says so of a page that is not there yet.
    pub(crate) fn set_proven(&mut self, frame: FrameNo, proven: bool) {
        let record = &mut self.table[frame.0 as usize];
        record.tag = record.tag & !PROVEN | if proven { PROVEN } else { 0 };
    }

    pub(crate) fn page(&self, frame: FrameNo) -> PageNo {
        PageNo(self.table[frame.0 as usize].page())
    }

    pub(crate) fn set_page(&mut self, frame: FrameNo, page: PageNo) {
        self.table[frame.0 as usize].set_page(page);
    }

    pub(crate) fn oldest(&self, queue: Queue) -> Option<FrameNo> {
        let head = match queue {
            Queue::Free => self.free.head,
            Queue::Probation => self.probation.head,
            Queue::Protected => self.protected.head,
            Queue::Parked => self.parked.head,
            Queue::Ahead => self.ahead.head,
            Queue::Transfer | Queue::Cleaning | Queue::Orphan => NONE,
        };
        (head != NONE).then_some(FrameNo(head))
    }

    pub(crate) fn after(&self, frame: FrameNo) -> Option<FrameNo> {
        let next = self.table[frame.0 as usize].next;
        (next != NONE).then_some(FrameNo(next))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (FrameNo, Queue, PageNo)> {
        self.table.iter().enumerate().map(|(n, f)| (FrameNo(n as u32), f.queue(), PageNo(f.page())))
    }

    pub(crate) fn metadata_bytes(&self) -> usize {
        self.table.len() * size_of::<Frame>()
    }
}

const _: () = assert!(size_of::<Frame>() == 16, "a frame's record is 16 bytes: 0.4 % of a page");
