//! What can be in a trace.

/// How a touch was resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Outcome {
    /// A minor fault on a page without bytes: zeros were mapped.
    Zero = 0,
    /// A minor fault on a parked page: it was mapped again.
    Parked = 1,
    /// A major fault: the page was read from the store.
    Swapped = 2,
    /// A major fault on a page whose read was already under way, as it was read ahead.
    Filling = 3,
    /// A minor fault on a page that was being written, and is kept.
    Writing = 4,
    /// The page was there already.
    Resident = 5,
    /// The page's bytes are lost: SIGBUS.
    Lost = 6,
    /// Not a fault: a reference of a complete trace.
    Reference = 7,
}

impl Outcome {
    /// Every one, by number.
    pub const ALL: [Self; 8] = [
        Self::Zero,
        Self::Parked,
        Self::Swapped,
        Self::Filling,
        Self::Writing,
        Self::Resident,
        Self::Lost,
        Self::Reference,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Parked => "parked",
            Self::Swapped => "swapped",
            Self::Filling => "filling",
            Self::Writing => "writing",
            Self::Resident => "resident",
            Self::Lost => "lost",
            Self::Reference => "reference",
        }
    }

    /// Whether it is counted as a major fault.
    pub fn is_major(self) -> bool {
        matches!(self, Self::Swapped | Self::Filling)
    }
}

/// What an area's pages may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rights {
    /// Read and write: pages may be evicted.
    ReadWrite = 0,
    /// Anything less.
    Restricted = 1,
    /// Locked in memory by the program.
    Pinned = 2,
    /// No longer locked.
    Unpinned = 3,
}

/// Why pages have no bytes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Gone {
    /// The mapping is gone.
    Unmapped = 0,
    /// The program discarded them (`madvise`).
    Discarded = 1,
}

/// What was in a page that was about to be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// What the store has already.
    Clean = 0,
    /// Something else, to be written.
    Dirty = 1,
    /// Only zeros.
    Zero = 2,
    /// Nothing that the program will read, as its allocator says. These leave before all others.
    Unused = 3,
    /// Something that it may read: what, is told when its turn comes.
    Used = 4,
}

impl Fate {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Dirty => "dirty",
            Self::Zero => "zero",
            Self::Unused => "unused",
            Self::Used => "used",
        }
    }
}

/// What came of an attempt to park pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Parked {
    /// So many, from the first of those that the core named.
    Pages = 0,
    /// The core named none.
    None = 1,
}

/// Why a page that was to be parked was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kept {
    /// It is pinned, or not movable.
    Pinned = 0,
    /// There was nothing: it had been discarded.
    Absent = 1,
}

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// A page that a thread waits for.
    Demand = 0,
    /// Pages that are read ahead.
    Ahead = 1,
    /// Pages that are written.
    Write = 2,
}

impl Direction {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Demand => "read",
            Self::Ahead => "read ahead",
            Self::Write => "write",
        }
    }
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ending {
    /// All bytes arrived.
    Done = 0,
    /// They did not.
    Failed = 1,
    /// It was never begun: there was no room for it.
    Refused = 2,
}

/// One event. Pages are virtual addresses divided by the page size of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A thread touched a page.
    Touch {
        /// Which.
        page: u64,
        /// What the pager did about it.
        outcome: Outcome,
    },
    /// Pages that were mapped together with the one that was just touched, because its thread goes through
    /// memory in order: it will touch them, and there will be no fault.
    Along {
        /// The first.
        start: u64,
        /// How many.
        count: u64,
    },
    /// The code address of the touch that follows.
    Code {
        /// The address.
        addr: u64,
    },
    /// A caller of the code of the touch that follows, the nearest first.
    Caller {
        /// Where the call returns to.
        addr: u64,
    },
    /// Memory that is paged from now on, and holds nothing.
    Area {
        /// Its first page.
        start: u64,
        /// How many.
        count: u64,
        /// What they may be used for.
        rights: Rights,
    },
    /// Pages lost their bytes.
    Gone {
        /// The first.
        start: u64,
        /// How many.
        count: u64,
        /// Why.
        why: Gone,
    },
    /// A mapping was moved, with what it held.
    Moved {
        /// The first page before.
        from: u64,
        /// The first page after.
        to: u64,
        /// How many.
        count: u64,
    },
    /// What pages may be used for has changed.
    Protected {
        /// The first.
        start: u64,
        /// How many.
        count: u64,
        /// To what.
        rights: Rights,
    },
    /// The program began to change what is mapped there, or has ended to.
    Change {
        /// The first page.
        start: u64,
        /// How many.
        count: u64,
        /// Whether it begins.
        begins: bool,
    },
    /// Pages that were in memory when paging began.
    Held {
        /// The first.
        start: u64,
        /// How many.
        count: u64,
    },
    /// Frames that may be in use from now on.
    Frames {
        /// How many.
        limit: u32,
    },
    /// The pager went to park the pages that were next.
    Park {
        /// How many of them it tried.
        count: u32,
        /// Whether there were any.
        found: Parked,
    },
    /// A page of the [`Event::Park`] that follows stayed, or was not there.
    Stay {
        /// Which.
        page: u64,
        /// Why.
        why: Kept,
    },
    /// A page was parked out of turn, to see whether it is touched again.
    Sampled {
        /// Which.
        page: u64,
    },
    /// The pager went to evict the parked pages whose turn it was.
    Sweep {
        /// How many at most.
        most: u32,
    },
    /// The next pages of the [`Event::Sweep`] held this.
    Fates {
        /// How many in a row.
        count: u32,
        /// What they held.
        fate: Fate,
    },
    /// A transfer began of the next pages that are to be transferred that way.
    Start {
        /// The first page.
        page: u64,
        /// How many.
        count: u32,
        /// Which way.
        direction: Direction,
    },
    /// A transfer ended.
    End {
        /// How many transfers have begun after it.
        age: u32,
        /// How.
        ending: Ending,
    },
    /// The next pages that are to be transferred are not: there is no room.
    Refused {
        /// How many.
        count: u32,
        /// Whether they were to be written.
        writes: bool,
    },
    /// A page could not be mapped, and is parked again.
    Unmapped {
        /// Which.
        page: u64,
    },
    /// A page's bytes were lost by the store.
    Poisoned {
        /// Which.
        page: u64,
    },
    /// Pages left, or began to.
    Evicted {
        /// The first.
        start: u64,
        /// How many in a row.
        count: u64,
        /// What they held.
        fate: Fate,
    },
    /// How things stood.
    Sample {
        /// Pages mapped, or being read.
        resident: u64,
        /// Pages in memory and unmapped.
        parked: u64,
        /// Pages in the store only.
        swapped: u64,
        /// The process's resident set in bytes.
        rss_bytes: u64,
    },
    /// A child was forked.
    Forked,
}

impl Event {
    /// Whether it tells what came of a decision, so that a replay does without it.
    pub fn is_outcome(&self) -> bool {
        matches!(
            self,
            Self::Along { .. }
                | Self::Evicted { .. }
                | Self::Sample { .. }
                | Self::Code { .. }
                | Self::Caller { .. }
        )
    }

    /// The same without what a replay decides by itself; none if nothing is left.
    #[must_use]
    pub fn stripped(self) -> Option<Self> {
        match self {
            Self::Touch { page, outcome } if outcome != Outcome::Reference => {
                Some(Self::Touch { page, outcome: Outcome::Zero })
            }
            event if event.is_outcome() => None,
            event => Some(event),
        }
    }
}
