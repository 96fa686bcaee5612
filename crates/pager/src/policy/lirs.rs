//! LIRS, low inter-reference recency set.
//!
//! S. Jiang and X. Zhang, "LIRS: an efficient low inter-reference recency set replacement
//! policy to improve buffer cache performance", SIGMETRICS 2002. What counts is not when a
//! page was last referenced, but how many distinct pages there were between its last two
//! references. Pages with few (LIR) hold all frames but one in a hundred, at least one; pages
//! with many (HIR) pass through the rest, a FIFO queue, and one of them always gives its frame.
//!
//! ```text
//! stack, by recency:  newest … LIR, HIR with a frame, HIR without, LIR … oldest (always LIR)
//! queue of HIR with a frame:  oldest (next to leave) … newest
//!
//! hit on LIR            → top of the stack; prune
//! hit on HIR, on stack  → LIR, off the queue; the oldest LIR becomes HIR, at the queue's end; prune
//! hit on HIR, off it    → on top of the stack; to the queue's end
//! miss, on the stack    → the same as a hit on HIR, on stack, once a frame has been had
//! miss, off the stack   → HIR, on top of the stack and at the queue's end; LIR while there are too few
//! prune                 : what lies below the oldest LIR leaves the stack; ghosts are forgotten
//! ```
//!
//! O(1) on average: every entry that is pruned was pushed. 12 bytes a frame and 33 an entry
//! of the stack. The stack remembers every page that was referenced since the oldest LIR page
//! was: that is without bound, as published, and makes this a policy for replay and for moderate
//! amounts of memory, not for a pager that must not allocate. Strong on loops that exceed the
//! frames, where LRU is weakest; weak where the pages that are hot change at once, because old LIR
//! pages stay until the stack has turned over. With very few frames a single HIR frame thrashes.
//!
//! With 3 frames (2 LIR, 1 HIR), 1 2 3 1 4 1 3: 1 and 2 are LIR; 3 is HIR and leaves for 4, and
//! both remain on the stack; 3 comes back in 4's place and is LIR, and 2, the oldest, is HIR.

use super::list::{ByFrame, Links, List, NONE};
use super::{Policy, Step};
use crate::page::FrameNo;
use crate::pagemap::PageMap;
use core::fmt;

/// One resident HIR frame in so many.
const HIR_SHARE: u32 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Resident, on the stack.
    Lir,
    /// Resident, in the queue, and on the stack.
    HirOn,
    /// Resident, in the queue, not on the stack.
    HirOff,
    /// Not resident, on the stack.
    Ghost,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    page: u64,
    frame: FrameNo,
    kind: Kind,
}

/// Few distinct pages between two references.
pub struct Lirs {
    /// How many LIR pages there should be.
    lir_limit: u32,
    lir: u32,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Entries by the page of a ghost.
    ghosts: PageMap,
    entry_of: ByFrame<u32>,
    /// Entries, by recency.
    stack_links: Links,
    stack: List,
    /// Frames, by arrival.
    queue_links: Links,
    queue: List,
}

impl Lirs {
    /// For at most `pages` pages at once.
    ///
    /// # Panics
    /// If `pages` is 0.
    pub fn new(pages: u32) -> Self {
        assert!(pages > 0, "a policy without frames");
        Self {
            lir_limit: pages - (pages / HIR_SHARE).max(1),
            lir: 0,
            entries: Vec::new(),
            free: Vec::new(),
            ghosts: PageMap::default(),
            entry_of: ByFrame::new(pages, NONE),
            stack_links: Links::new(pages),
            stack: List::EMPTY,
            queue_links: Links::new(pages),
            queue: List::EMPTY,
        }
    }

    fn new_entry(&mut self, entry: Entry) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.entries[number as usize] = entry;
                number
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        }
    }

    fn entry(&mut self, number: u32) -> &mut Entry {
        &mut self.entries[number as usize]
    }

    /// Puts the entry, which is on the stack or not, on top of it.
    fn bring_up(&mut self, number: u32) {
        match self.entry(number).kind {
            Kind::HirOff => self.stack.push(&mut self.stack_links, number),
            Kind::Lir | Kind::HirOn | Kind::Ghost => self.stack.renew(&mut self.stack_links, number),
        }
    }

    /// Makes the entry on top of the stack, whose page is resident and not queued, LIR.
    fn promote(&mut self, number: u32) {
        self.entry(number).kind = Kind::Lir;
        self.lir += 1;
        if self.lir > self.lir_limit {
            self.prune();
            let oldest = self.stack.oldest().expect("what was promoted is on the stack");
            self.stack.remove(&mut self.stack_links, oldest);
            let entry = self.entry(oldest);
            entry.kind = Kind::HirOff;
            let frame = entry.frame.0;
            self.lir -= 1;
            self.queue.push(&mut self.queue_links, frame);
        }
    }

    /// Takes from the bottom of the stack what is not LIR.
    fn prune(&mut self) {
        while let Some(oldest) = self.stack.oldest() {
            let Entry { page, kind, .. } = *self.entry(oldest);
            match kind {
                Kind::Lir => return,
                Kind::HirOn => self.entry(oldest).kind = Kind::HirOff,
                Kind::Ghost => {
                    self.ghosts.remove(page);
                    self.free.push(oldest);
                }
                Kind::HirOff => unreachable!("it is not on the stack"),
            }
            self.stack.remove(&mut self.stack_links, oldest);
        }
    }

    /// The page of `frame` has none any more; its entry, taken off the queue.
    fn leave(&mut self, frame: FrameNo) -> u32 {
        let number = self.entry_of.get(frame);
        self.entry_of.set(frame, NONE);
        match self.entry(number).kind {
            Kind::Lir => self.lir -= 1,
            Kind::HirOn | Kind::HirOff => self.queue.remove(&mut self.queue_links, frame.0),
            Kind::Ghost => unreachable!("a ghost has no frame"),
        }
        number
    }

    /// Forgets the entry, which is on the stack unless it is [`Kind::HirOff`].
    fn forget(&mut self, number: u32) {
        if self.entry(number).kind != Kind::HirOff {
            self.stack.remove(&mut self.stack_links, number);
        }
        self.free.push(number);
    }
}

impl Policy for Lirs {
    fn inserted(&mut self, frame: FrameNo, page: u64) {
        if let Some(number) = self.ghosts.remove(page) {
            self.entry_of.set(frame, number);
            self.entry(number).frame = frame;
            self.bring_up(number);
            self.promote(number);
        } else {
            let number = self.new_entry(Entry { page, frame, kind: Kind::HirOff });
            self.entry_of.set(frame, number);
            self.bring_up(number);
            if self.lir < self.lir_limit {
                self.promote(number);
            } else {
                self.entry(number).kind = Kind::HirOn;
                self.queue.push(&mut self.queue_links, frame.0);
            }
        }
        self.prune();
    }

    fn touched(&mut self, frame: FrameNo) {
        let number = self.entry_of.get(frame);
        let kind = self.entry(number).kind;
        self.bring_up(number);
        match kind {
            Kind::Lir => {}
            // Off the stack it earns LIR status only where there are too few of them.
            Kind::HirOff if self.lir >= self.lir_limit => {
                self.entry(number).kind = Kind::HirOn;
                self.queue.renew(&mut self.queue_links, frame.0);
            }
            Kind::HirOn | Kind::HirOff => {
                self.queue.remove(&mut self.queue_links, frame.0);
                self.promote(number);
            }
            Kind::Ghost => unreachable!("a ghost has no frame"),
        }
        self.prune();
    }

    fn next(&mut self, _incoming: u64, may: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step> {
        if let Some(frame) = self.queue.oldest_of(&self.queue_links, may) {
            return Some(Step::Evict(FrameNo(frame)));
        }
        let lir = self.stack.iter(&self.stack_links).map(|number| self.entries[number as usize]);
        lir.filter(|entry| entry.kind == Kind::Lir)
            .find(|entry| may(entry.frame))
            .map(|entry| Step::Evict(entry.frame))
    }

    fn evicted(&mut self, frame: FrameNo) {
        let number = self.leave(frame);
        if self.entry(number).kind == Kind::HirOff {
            self.forget(number);
        } else {
            let entry = self.entry(number);
            entry.kind = Kind::Ghost;
            let page = entry.page;
            self.ghosts.insert(page, number);
        }
        self.prune();
    }

    fn removed(&mut self, frame: FrameNo) {
        let number = self.leave(frame);
        self.forget(number);
        self.prune();
    }
}

impl fmt::Debug for Lirs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lirs stack [")?;
        for (index, number) in self.stack.iter(&self.stack_links).enumerate() {
            let Entry { page, frame, kind } = self.entries[number as usize];
            let space = if index > 0 { " " } else { "" };
            match kind {
                Kind::Lir => write!(f, "{space}{frame:?}!")?,
                Kind::HirOn | Kind::HirOff => write!(f, "{space}{frame:?}")?,
                Kind::Ghost => write!(f, "{space}({page:x})")?,
            }
        }
        f.write_str("]")?;
        self.queue.show(&self.queue_links, f, " queue", super::list::plain)
    }
}
