//! fork: what is done before and after it so that both sides keep every byte.
//!
//! ```text
//! parent, forking thread                              child, its only thread
//! ──────────────────────                              ──────────────────────
//! pager: sends descriptors to the inbox
//! the heap's locks taken; signals blocked
//! address space and core locked: all others rest
//! the heir joins the lineage and holds every slot
//! areas and pool may be inherited
//! fork ─────────────────────────────────────────────▶ the core is a copy, and consistent
//! areas and pool are not inherited any more           transfers become what they were before
//! everything unlocked                                 a pager of its own opens its userfaultfds,
//!                                                     registers everything, and serves
//!                                                     signals unblocked; fork returns
//! ```
//!
//! The pager is asked before any lock is taken: it may be starting a thread, for which the
//! C library allocates, and so wait for a lock of the heap's.
//!
//! Nothing that the child needs comes from the parent after the fork: the parent may die at
//! once. Resident pages are shared by the kernel, copy-on-write, and so are the pool with
//! what is parked in it, and all tables. Only slots are counted anew (see `pager::Lineage`).
//!
//! Paged memory is kept out of every other copy of the address space: a child made by a raw
//! clone(2) gets SIGSEGV where it touches it, and never reads zeros. The doorbell's page is
//! kept out of forks instead, so that its userfaultfd tells of such children where the kernel
//! lets it (`UFFD_FEATURE_EVENT_FORK`, CAP_SYS_PTRACE).

use crate::PAGE;
use crate::core::{Core, Inherited, Live, Request, addr_of};
use crate::engine::{
    AddressSpaceLock, Engine, Stage, attach_status, die, forget_status, this_is_the_program,
};
use crate::files::Returning;
use crate::pool::Pool;
use crate::signals::Blocked;
use core::mem;
use core::sync::atomic::Ordering;
use pager::{Commit, Config, Inherit, Lineage, MemberNo, PageRange, Pager, State};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::MutexGuard;
use store::{Digester, Store};
use sys::handover::{self, Address, Inbox};
use sys::maps;

/// A pager's place among those that use its store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kin {
    pub(crate) lineage: Lineage,
    pub(crate) member: MemberNo,
}

impl Kin {
    /// The first of a lineage. None where the kernel has no memory or address space for its
    /// tables: such a process cannot fork once it pages.
    pub(crate) fn first(slots: u32) -> Option<Self> {
        let words = sys::shared::words(Lineage::words(slots)).ok()?;
        let lineage = Lineage::over(words, slots);
        lineage.join().map(|member| Self { lineage, member })
    }
}

/// Which descriptors a message has, in their order: `/proc` always, and then these.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// The swap file, and whether it bypasses the page cache.
    file: Option<Direct>,
    device: bool,
}

#[derive(Clone, Copy, Debug)]
struct Direct(bool);

/// What the forking thread leaves its child.
#[derive(Debug)]
struct Will {
    inbox: Inbox,
    sent: Sent,
    heir: Kin,
    /// Files that are the kernel's in the child.
    files: Vec<Returning>,
}

impl Will {
    /// In the child, before anything else is mapped: their places are empty, and whatever is mapped could be put there.
    fn place_files(&self) {
        if let Some(error) = self.files.iter().find_map(|map| map.place().err()) {
            die(&format!("a mapped file could not be mapped in a forked child: {error}"));
        }
    }
}

/// What a child's pager begins with.
#[derive(Debug)]
pub(crate) struct Estate {
    inbox: Inbox,
    sent: Sent,
    pub(crate) kin: Kin,
    pub(crate) pool: Pool,
    pub(crate) digester: Digester,
    /// The store, if it is memory.
    memory: Option<Store>,
}

/// The descriptors of an [`Estate`].
pub(crate) struct Descriptors {
    pub(crate) proc: OwnedFd,
    /// The swap file, and whether it bypasses the page cache.
    pub(crate) file: Option<(OwnedFd, bool)>,
    pub(crate) device: Option<OwnedFd>,
}

impl Estate {
    /// The descriptor that the child's pager must not close.
    pub(crate) fn raw(&self) -> RawFd {
        self.inbox.raw()
    }

    /// Takes the store, if it is memory.
    pub(crate) fn memory(&mut self) -> Option<Store> {
        self.memory.take()
    }

    /// Takes the descriptors. To be called once.
    pub(crate) fn descriptors(&self) -> Result<Descriptors, Errno> {
        let mut taken = self.inbox.take()?.into_iter();
        let mut next = || taken.next().ok_or(Errno::BADMSG);
        Ok(Descriptors {
            proc: next()?,
            file: self.sent.file.map(|Direct(direct)| next().map(|file| (file, direct))).transpose()?,
            device: self.sent.device.then(&mut next).transpose()?,
        })
    }
}

impl Live {
    /// Sends what a child's pager needs.
    pub(crate) fn hand_over(&mut self, to: Address) {
        let file = self.store.file_fd();
        let mut descriptors: Vec<BorrowedFd<'_>> = Vec::with_capacity(handover::MOST);
        descriptors.push(self.proc.as_fd());
        descriptors.extend(file);
        descriptors.extend(self.device.as_ref().map(AsFd::as_fd));
        self.handed = Some(handover::send(to, &descriptors));
    }

    fn sent(&self) -> Sent {
        Sent {
            file: self.store.file_fd().map(|_| Direct(self.store.direct())),
            device: self.device.is_some(),
        }
    }
}

impl Core {
    /// Prepares for an heir. The error is a sentence's end.
    fn make_will(&mut self, inbox: Result<Inbox, Errno>) -> Result<Will, String> {
        let Self { pager, live: Some(live), .. } = self else { return Err("there is no pager".into()) };
        let cannot = |error: Errno| format!("its pager's descriptors could not be handed over ({error})");
        live.handed.take().unwrap_or(Err(Errno::NOTCONN)).map_err(cannot)?;
        let inbox = inbox.map_err(cannot)?;
        let Some(kin) = live.kin else { return Err("there was no memory for what both need to know".into()) };
        let Some(member) = kin.lineage.join() else {
            return Err(format!("{} related processes are paged already", Lineage::MEMBERS));
        };
        if !pager.bequeath(member) {
            die("slots of a store that is not shared cannot be bequeathed");
        }
        live.tally.forks += 1;
        // Under the core's lock, as the pager would; it may have nothing more to write for a while.
        live.voice
            .record()
            .into_iter()
            .for_each(|record| record.forked_children.store(live.tally.forks, Ordering::Relaxed));
        live.has_relatives = true;
        let files = live.all_returning(pager);
        Ok(Will { inbox, sent: live.sent(), heir: Kin { member, ..kin }, files })
    }

    /// Has a fork copy what is paged, or not.
    fn let_inherit(&mut self, inherited: bool, bell: usize) {
        let Self { pager, live: Some(live), .. } = self else { return };
        let advise = if inherited { maps::do_fork } else { maps::dont_fork };
        for area in pager.areas().filter(|area| area.inherit != Inherit::Omitted) {
            // Refused only for what is not mapped any more, and for want of memory: a child
            // then has a hole there, and gets SIGSEGV.
            let _ = advise(addr_of(area.range.start), area.range.count as usize * PAGE);
        }
        let _ = advise(live.pool.addr(), live.pool.len());
        // The doorbell is the reverse: copied, it tells of forks that were not announced.
        let advise = if inherited { maps::dont_fork } else { maps::do_fork };
        let _ = advise(bell, PAGE);
    }
}

/// Children there may be at once that go on with what their parents had paged.
pub const HEIRS: usize = Lineage::MEMBERS;

/// What a child's pager will need, if it will need anything.
#[derive(Debug)]
pub struct Preparation {
    inbox: Option<Result<Inbox, Errno>>,
}

/// Locks held over a fork.
#[derive(Debug)]
pub struct ForkGuard<'a> {
    engine: &'a Engine,
    core: MutexGuard<'a, Core>,
    /// None unless memory is paged; the error is why the child cannot have it.
    will: Option<Result<Will, String>>,
    _address_space: AddressSpaceLock<'a>,
    _blocked: Blocked,
}

impl Engine {
    /// Whether a child can be given its memory. Where not, fork(2) should fail with EAGAIN.
    pub fn may_fork(&self) -> bool {
        let can = |kin: &Kin| kin.lineage.has_room();
        self.stage() != Stage::Paging || self.kin.get().is_some_and(can)
    }

    /// Before `fork`, without any lock of the heap's.
    pub fn prepare_fork(&self) -> Preparation {
        self.return_own_files();
        let _blocked = Blocked::all();
        let _address_space = self.lock_address_space();
        Preparation { inbox: (self.stage() == Stage::Paging).then(|| self.ask_for_descriptors()) }
    }

    /// Just before `fork`, with the heap's locks held. Must be followed by one of the
    /// `after_fork` calls in each process. None if memory has been taken over since the
    /// preparation, or a private map of a file been written, or what is needed is not in memory, and it is
    /// to be made again.
    ///
    /// `has_all` says whether all is in memory that is touched before one of these calls: of each byte it can ask.
    pub fn before_fork(
        &self,
        preparation: Preparation,
        has_all: impl FnOnce(&dyn Fn(usize) -> bool) -> bool,
    ) -> Option<ForkGuard<'_>> {
        let blocked = Blocked::all();
        let address_space = self.lock_address_space();
        // Memory is not taken over while the address space is locked.
        let inbox = preparation.inbox;
        if inbox.is_none() && self.stage() == Stage::Paging {
            return None;
        }
        let mut core = self.lock_core();
        if inbox.is_some() && (core.has_own_files() || !has_all(&|addr| core.is_here(addr))) {
            return None;
        }
        let will = inbox.map(|inbox| core.make_will(inbox));
        if matches!(will, Some(Ok(_))) {
            core.let_inherit(true, self.doorbell.addr());
        }
        Some(ForkGuard { engine: self, core, will, _address_space: address_space, _blocked: blocked })
    }

    /// The fork has failed in which this child was to begin. What was set aside for it is free.
    pub fn disinherit(&self, heir: usize) {
        if let (Some(kin), Ok(number)) = (self.kin.get(), u16::try_from(heir)) {
            kin.lineage.leave(MemberNo(number));
        }
    }

    fn ask_for_descriptors(&self) -> Result<Inbox, Errno> {
        let inbox = Inbox::new()?;
        self.ask(Request::HandOver(inbox.address()));
        Ok(inbox)
    }
}

impl ForkGuard<'_> {
    /// In the parent. The child's number, if it has one: to be told to [`Engine::disinherit`] if there is no child.
    pub fn after_fork_in_parent(mut self) -> Option<usize> {
        let Some(Ok(will)) = &self.will else { return None };
        self.core.let_inherit(false, self.engine.doorbell.addr());
        Some(will.heir.member.0.into())
    }

    /// In the child: the engine that serves it from now on. None if nothing is paged here,
    /// as in the parent. Memory that it allocates must not be paged.
    ///
    /// # Errors
    /// A sentence for the user; the child's memory is then left to the kernel.
    pub fn after_fork_in_child(self) -> Result<Option<&'static Engine>, String> {
        let Self { engine, core, will, .. } = self;
        if let Some(Ok(will)) = &will {
            will.place_files();
        }
        forget_status();
        this_is_the_program();
        let watches = engine.stage() != Stage::Off;
        if watches && let Some(path) = &engine.settings.status {
            attach_status(path, engine.settings.ram_bytes);
        }
        match will {
            None if watches => engine.restart(core).map(Some),
            None => Ok(None),
            Some(Ok(will)) => engine.succeed(core, will).map(Some),
            Some(Err(reason)) => die(&format!(
                "a forked child was stopped, because its memory is paged and {reason}; have less than --ram in \
                 use where the program forks, or raise --ram"
            )),
        }
    }
}

impl Engine {
    /// Begins anew in a child whose parent did not page. Areas and promises are the
    /// parent's at the fork.
    fn restart(&self, mut core: MutexGuard<'_, Core>) -> Result<&'static Self, String> {
        let pager = core.take_areas();
        let child = self.child(Core::new(pager))?;
        child.start_thread()?;
        child.watch_if_needed();
        Ok(child)
    }

    /// Takes over in a child whose parent pages.
    fn succeed(&self, mut core: MutexGuard<'_, Core>, will: Will) -> Result<&'static Self, String> {
        let Will { inbox, sent, heir, .. } = will;
        let nothing = Config { frames: 0, slots: 0, commit: Commit::Lazy, readahead: false };
        let mut pager = mem::replace(&mut core.pager, Pager::new(nothing));
        let Some(live) = core.live.take() else { die("a forked child has lost what its parent's pager had") };
        let Inherited { mut pool, digester, memory } = live.inherited();
        let changing = pager.succeed(heir.member, |frame| {
            let place = pool.take_place(frame);
            place.into_iter().for_each(|place| pool.give_back(place));
        });
        let mut discard = |pager: &mut Pager, range: PageRange| {
            pager.discard(range, |_, state| {
                if let State::Parked { frame, .. } = state {
                    let place = pool.take_place(frame);
                    place.into_iter().for_each(|place| pool.give_back(place));
                }
            });
        };
        for range in changing {
            // Another thread of the parent was dropping it: here as well it is gone.
            discard(&mut pager, range);
            let _ = maps::dont_need(addr_of(range.start), range.count as usize * PAGE);
        }
        for area in pager.areas().filter(|area| area.inherit != Inherit::Copied).collect::<Vec<_>>() {
            discard(&mut pager, area.range);
            if area.inherit == Inherit::Omitted {
                pager.remove_area(area.range, |_, _| {});
            }
        }
        let raw = inbox.raw();
        let estate = Estate { inbox, sent, kin: heir, pool, digester, memory };
        let child = self.child(Core { estate: Some(estate), ..Core::new(pager) })?;
        child.start_thread()?;
        // Until then nothing may be touched that is paged.
        if child.served.wait(child).is_err() {
            die("the pager of a forked child was killed before it served");
        }
        // The pager has a table of its own, and in it the same descriptor.
        close(raw);
        Ok(child)
    }
}

#[expect(unsafe_code, reason = "closes a descriptor by its number")]
fn close(raw: RawFd) {
    // SAFETY: the forking thread opened it; the value that owns it is the pager's, in whose
    // table it is another.
    unsafe { libc::close(raw) };
}
