//! A fault of a process, taken step by step.
//!
//! The driver calls [`Spaces::begin_fault`], and then [`Spaces::advance`] until it says
//! [`Next::Ready`] or fails; before each further call it does what the last one asked for. Other
//! faults may be taken in between: every step looks at what is true then.
//!
//! ```text
//! never written, read           Ready
//! never written, written        [room] ─ Zero ─ Ready
//! away                          [room] ─ Read ─ Ready
//! in memory, trapped or clean   Ready
//! to be copied                  (as above until it is in memory) Stage ─ [room] ─ Unstage ─ Ready
//!
//! [room]: no frame is free ─ the policy's choice ─ Write if it is dirty
//! ```

use super::Spaces;
use super::area::{Origin, Share, SpaceArea};
use super::backing::{Key, Kind, Place, SpaceNo};
use super::commit::CommitError;
use super::prot::{Access, Prot};
use crate::entry::State;
use crate::fault::Fault;
use crate::page::{FrameNo, PageNo, PageRange};
use crate::pager::Commit;
use crate::transfer::{Fill, FillResult, WriteResult, Written};
use core::fmt;

/// What a fault turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The first write to a page of zeros.
    Zero,
    /// The same, of a stack, or the growth of one.
    Stack,
    /// A page was copied before it was written.
    CopyOnWrite,
    /// A block of a file was brought in.
    File,
    /// A page was brought in from its slot.
    SwapIn,
    /// The page was in memory; only its entry had to change.
    Mapped,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Zero, Self::Stack, Self::CopyOnWrite, Self::File, Self::SwapIn, Self::Mapped];
}

/// The kinds' names in reports.
impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zero => "zero",
            Self::Stack => "stack",
            Self::CopyOnWrite => "copy-on-write",
            Self::File => "file",
            Self::SwapIn => "swap-in",
            Self::Mapped => "mapped",
        })
    }
}

/// Why a fault cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// Nothing is mapped there.
    NoArea,
    /// The area's rights do not allow it.
    Denied {
        /// What the process wanted.
        access: Access,
        /// What the area allows.
        prot: Prot,
    },
    /// Below the stack, too far from the stack pointer for a push.
    BelowStack {
        /// Where the stack pointer is.
        sp: u64,
    },
    /// The stack may not become larger.
    StackLimit {
        /// Bytes that it may have.
        most: u64,
    },
    /// The stack should grow and no slot can be promised for it.
    Commit(CommitError),
    /// A dirty page had to leave, and no slot is left for it.
    StoreFull,
    /// Every frame is pinned.
    NoFrame,
}

impl From<CommitError> for FaultError {
    fn from(error: CommitError) -> Self {
        Self::Commit(error)
    }
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoArea => f.write_str("nothing is mapped there"),
            Self::Denied { access, prot } => write!(f, "access {access} to an area with rights {prot}"),
            Self::BelowStack { sp } => write!(f, "too far below the stack pointer {sp:#x}"),
            Self::StackLimit { most } => write!(f, "the stack would be larger than {most} bytes"),
            Self::Commit(error) => write!(f, "the stack cannot grow: {error}"),
            Self::StoreFull => f.write_str("a dirty page has to leave and no swap slot is left"),
            Self::NoFrame => f.write_str("every frame is pinned"),
        }
    }
}

/// A page on its way between a frame and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The frame.
    pub frame: FrameNo,
    /// The place.
    pub place: Place,
}

/// A fault that has been served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// What it was.
    pub kind: FaultKind,
    /// Whether it had to wait for a transfer.
    pub major: bool,
}

/// What a fault needs now. All but `Ready` and `Wait` are to be done before the next
/// [`Spaces::advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The access is possible.
    Ready(Served),
    /// Write the frame to the place, then say [`Spaces::write_done`]. If it failed, so has the
    /// fault, and everything else is as it was.
    Write(Transfer),
    /// Read the place into the frame, then say [`Spaces::read_done`]. As above if it failed.
    Read(Transfer),
    /// Fill the frame with zeros.
    Zero(FrameNo),
    /// Put a copy of the frame's bytes aside.
    Stage(FrameNo),
    /// Fill the frame with what was put aside.
    Unstage(FrameNo),
    /// The page, or every frame, is in a transfer of another fault: go on after one has ended.
    Wait,
}

/// A fault that is being served.
#[derive(Clone, Copy, Debug)]
pub struct SpaceFault {
    space: SpaceNo,
    page: PageNo,
    access: Access,
    /// No area had the page when the fault began: the stack grows.
    grows: bool,
    /// The backing whose bytes were put aside.
    staged: Option<PageNo>,
    /// What this fault brought into memory: that it is touched now says nothing more.
    brought: Option<PageNo>,
    kind: FaultKind,
    pub(super) major: bool,
}

impl Spaces {
    /// A process touches `addr`, and its entry does not allow it.
    ///
    /// # Errors
    /// If no area has the page and the stack does not grow there, or the area forbids the access.
    pub fn begin_fault(&self, space: SpaceNo, addr: u64, access: Access) -> Result<SpaceFault, FaultError> {
        let page = PageNo(addr / u64::from(self.config.page_size));
        let area = self.space(space).and_then(|space| space.areas.find(page));
        let (prot, kind) = match area {
            Some(area) => (area.prot, FaultKind::Mapped),
            None => {
                self.check_growth(space, addr)?;
                (Prot::READ_WRITE, FaultKind::Stack)
            }
        };
        if !prot.allows(access) {
            return Err(FaultError::Denied { access, prot });
        }
        let grows = area.is_none();
        Ok(SpaceFault { space, page, access, grows, staged: None, brought: None, kind, major: false })
    }

    /// Decides the next step of a fault.
    ///
    /// # Errors
    /// If it cannot be served, or the page was unmapped meanwhile. Nothing but reference bits, and clean pages that left, has changed.
    pub fn advance(&mut self, fault: &mut SpaceFault) -> Result<Next, FaultError> {
        let Some(space) = self.space(fault.space) else { return Err(FaultError::NoArea) };
        let Some(area) = space.areas.find(fault.page) else {
            return if fault.grows { self.grow_stack(fault) } else { Err(FaultError::NoArea) };
        };
        let Some(backing) = space.entries.get(&fault.page).copied() else {
            return self.touch_zeros(fault, area);
        };
        if fault.staged.is_some() {
            if self.copies(backing, area) {
                return self.copy_staged(fault, backing);
            }
            // The other owners have gone meanwhile.
            fault.staged = None;
        }
        match self.pager.state(backing) {
            State::Untouched if fault.access == Access::Write => {
                if let Some(next) = self.make_room(fault, self.backings.get(backing).identity)? {
                    return Ok(next);
                }
                fault.kind = FaultKind::Zero;
                self.fill_new(fault, backing).map(Next::Zero)
            }
            State::Untouched => Ok(self.ready(fault)),
            State::Filling { .. } | State::Writing { .. } => Ok(Next::Wait),
            State::Swapped { .. } => self.bring_in(fault, backing),
            State::Resident { .. } | State::Parked { .. } => {
                if fault.access == Access::Write && self.copies(backing, area) {
                    fault.staged = Some(backing);
                    return Ok(Next::Stage(self.frame_of(backing).expect("it is in memory")));
                }
                self.touch(fault, backing);
                Ok(self.ready(fault))
            }
            State::Poisoned => unreachable!("what cannot be read stays where it is"),
        }
    }

    fn ready(&self, fault: &SpaceFault) -> Next {
        Next::Ready(Served { kind: fault.kind, major: fault.major })
    }

    /// Whether a write through `area` goes to a copy.
    pub(super) fn copies(&self, backing: PageNo, area: SpaceArea) -> bool {
        let backing = self.backings.get(backing);
        match backing.kind {
            Kind::Anonymous => backing.mappings.len() > 1,
            Kind::Common(_) => area.share == Share::Private,
        }
    }

    fn grow_stack(&mut self, fault: &mut SpaceFault) -> Result<Next, FaultError> {
        self.check_commit(1, 0)?;
        if fault.access == Access::Write
            && let Some(next) = self.make_room(fault, u64::MAX)?
        {
            return Ok(next);
        }
        self.charge(1)?;
        self.add_stack_page(fault.space, fault.page);
        self.advance(fault)
    }

    /// A page of zeros of its own is written, or could have been read all along.
    fn touch_zeros(&mut self, fault: &mut SpaceFault, area: SpaceArea) -> Result<Next, FaultError> {
        if fault.access != Access::Write {
            return Ok(self.ready(fault));
        }
        if let Some(next) = self.make_room(fault, u64::MAX)? {
            return Ok(next);
        }
        fault.kind = if area.origin == Origin::Stack { FaultKind::Stack } else { FaultKind::Zero };
        let backing = self.add_backing(Kind::Anonymous, fault.page);
        self.attach(fault.space, fault.page, backing);
        self.fill_new(fault, backing).map(Next::Zero)
    }

    /// A frame, and under strict commit a slot, for an untouched backing that is written.
    fn fill_new(&mut self, fault: &mut SpaceFault, backing: PageNo) -> Result<FrameNo, FaultError> {
        let Fault::Zero(range) = self.pager.fault(backing) else {
            unreachable!("there is a frame, and the backing is new");
        };
        debug_assert_eq!(range, PageRange::one(backing));
        if self.config.commit == Commit::Strict {
            assert!(self.pager.give_slot(backing), "a slot was promised");
        }
        let frame = self.frame_of(backing).expect("it has just been given one");
        let record = self.backings.get_mut(backing);
        record.dirty = true;
        let identity = record.identity;
        self.policy.inserted(frame, identity);
        self.backing_changed(backing);
        fault.brought = Some(backing);
        Ok(frame)
    }

    fn bring_in(&mut self, fault: &mut SpaceFault, backing: PageNo) -> Result<Next, FaultError> {
        if let Some(next) = self.make_room(fault, self.backings.get(backing).identity)? {
            return Ok(next);
        }
        let read = match self.pager.fault(backing) {
            Fault::Read => self.pager.reads()[0],
            other => unreachable!("there is a frame, and the backing is away: {other:?}"),
        };
        let place = self.place(backing, read.slot);
        fault.kind = if matches!(place, Place::Slot(_)) { FaultKind::SwapIn } else { FaultKind::File };
        fault.major = true;
        fault.brought = Some(backing);
        Ok(Next::Read(Transfer { frame: read.frame, place }))
    }

    /// The bytes are put aside; the page they came from may leave, so one frame is enough for both.
    fn copy_staged(&mut self, fault: &mut SpaceFault, source: PageNo) -> Result<Next, FaultError> {
        if let Some(next) = self.make_room(fault, u64::MAX)? {
            return Ok(next);
        }
        let copy = self.add_backing(Kind::Anonymous, fault.page);
        self.detach(fault.space, fault.page, source);
        self.attach(fault.space, fault.page, copy);
        fault.staged = None;
        fault.kind = FaultKind::CopyOnWrite;
        self.fill_new(fault, copy).map(Next::Unstage)
    }

    /// The page is in memory: it is referenced now, and dirty if it is written.
    fn touch(&mut self, fault: &SpaceFault, backing: PageNo) {
        if matches!(self.pager.state(backing), State::Parked { .. }) {
            let Fault::Map(_) = self.pager.fault(backing) else {
                unreachable!("a parked page is mapped again without a transfer");
            };
        }
        if fault.brought != Some(backing) {
            let frame = self.frame_of(backing).expect("it is in memory");
            self.policy.touched(frame);
        }
        if fault.access == Access::Write {
            self.backings.get_mut(backing).dirty = true;
        }
        self.backing_changed(backing);
    }

    /// A read into `frame` has ended. If it failed, the page stays away and the frame is free.
    pub fn read_done(&mut self, frame: FrameNo, result: FillResult) {
        let backing = self.pager.page_of(frame);
        if !matches!(self.pager.state(backing), State::Filling { frame: own, .. } if own == frame) {
            // Its process has ended meanwhile.
            let freed = self.pager.fill_done(frame, result);
            debug_assert_eq!(freed, Fill::Freed);
            return;
        }
        match result {
            FillResult::Good | FillResult::Home(_) => {
                let filled = self.pager.fill_done(frame, result);
                debug_assert_eq!(filled, Fill::Map(backing));
                self.policy.inserted(frame, self.backings.get(backing).identity);
                self.backing_changed(backing);
            }
            FillResult::Bad => {
                self.pager.fill_refused(frame);
                self.drop_if_forgotten(backing);
            }
        }
    }

    /// The write of a page that is to leave has ended. If it failed, the page stays and is dirty.
    pub fn write_done(&mut self, frame: FrameNo, result: WriteResult) {
        let backing = self.pager.page_of(frame);
        if !matches!(self.pager.state(backing), State::Writing { frame: own, .. } if own == frame) {
            let freed = self.pager.write_done(frame, result);
            debug_assert_eq!(freed, Written::Freed);
            return;
        }
        match result {
            WriteResult::Done => {
                self.policy.evicted(frame);
                let freed = self.pager.write_done(frame, result);
                debug_assert_eq!(freed, Written::Freed);
                self.backings.get_mut(backing).dirty = false;
                self.drop_if_forgotten(backing);
            }
            WriteResult::Failed => self.pager.write_refused(frame),
        }
    }

    /// An entry of `space` names `backing` from now on.
    pub(super) fn attach(&mut self, space: SpaceNo, page: PageNo, backing: PageNo) {
        self.space_mut(space).entries.insert(page, backing);
        self.backings.get_mut(backing).mappings.insert((space, page));
        self.changed(space, PageRange::one(page));
    }

    /// What backs a page that has not been written, if it is not zeros of its own.
    pub(super) fn attach_key(&mut self, space: SpaceNo, page: PageNo, key: Key) {
        let backing = self.backings.find(key).unwrap_or_else(|| self.add_backing(Kind::Common(key), page));
        self.attach(space, page, backing);
    }

    /// An entry names its backing no longer. The last owner of the others may write again.
    pub(super) fn detach(&mut self, space: SpaceNo, page: PageNo, backing: PageNo) {
        self.space_mut(space).entries.remove(&page);
        let record = self.backings.get_mut(backing);
        record.mappings.remove(&(space, page));
        let (owners, of_file) = (record.mappings.len(), record.file().is_some());
        self.changed(space, PageRange::one(page));
        match owners {
            0 if of_file => self.drop_if_forgotten(backing),
            0 => self.drop_backing(backing),
            1 => self.backing_changed(backing),
            // Nothing changes for several others.
            _ => {}
        }
    }
}
