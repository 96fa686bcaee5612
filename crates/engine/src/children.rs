#![expect(unsafe_code, reason = "copies pages into a forked child's address space")]
//! Children that fork after paging began.
//!
//! The kernel gives such a child a userfaultfd of its own, which arrives here as an
//! event. What was mapped, the child shares with its parent, copy-on-write, by the
//! kernel's doing. What was not, it gets from here by copying: from a snapshot of
//! the slots as they were at the fork, until it executes another program or ends.
//! Its own pages are not paged.

use crate::PAGE;
use crate::core::{Live, addr_of, page_of, pages_of};
use crate::engine::say;
use crate::ops::{Gather, Purpose};
use crate::pool::Place;
use pager::{PageNo, PageRange, Pager, SlotNo, State};
use std::os::fd::{AsFd, BorrowedFd};
use store::Digest;
use sys::aio::Direction;
use sys::uffd::{CopyFlags, Event, EventBuffer, Stop, Uffd};

/// A child, by number; numbers are not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChildId(u32);

#[derive(Debug)]
struct Child {
    id: ChildId,
    uffd: Uffd,
    /// Pages in the store when the child was made, in order of page.
    swapped: Vec<(PageNo, SlotNo)>,
    /// Faults that the kernel told us to try again.
    deferred: Vec<PageNo>,
    /// Children of its own, to be handed to [`Children::unserved`].
    forked: Vec<Uffd>,
}

#[derive(Debug, Default)]
pub(crate) struct Children {
    children: Vec<Child>,
    /// Grandchildren and theirs. They live on what was mapped when they were made;
    /// closing their userfaultfds would make everything else read as zeros.
    unserved: Vec<Uffd>,
    next: u32,
}

/// A finished read for a child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildRead {
    pub(crate) child: ChildId,
    pub(crate) page: PageNo,
    pub(crate) place: Place,
    pub(crate) slot: SlotNo,
    pub(crate) digest: Digest,
}

impl Children {
    pub(crate) fn any(&self) -> bool {
        !(self.children.is_empty() && self.unserved.is_empty())
    }

    pub(crate) fn made(&self) -> u32 {
        self.next
    }

    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.children.iter().map(|child| child.uffd.as_fd()).chain(self.unserved.iter().map(Uffd::as_fd))
    }

    fn find(&mut self, id: ChildId) -> Option<&mut Child> {
        self.children.iter_mut().find(|child| child.id == id)
    }
}

impl Live {
    /// A fork has been announced: the child's pages are those of this instant.
    ///
    /// Until the announcement was read the kernel refused to map anything in the
    /// parent, so whatever the core holds resident now is mapped in the child too.
    pub(crate) fn child_born(&mut self, pager: &mut Pager, uffd: Uffd) {
        let id = ChildId(self.children.next);
        self.children.next += 1;
        let mut swapped = Vec::new();
        let mut in_pool = Vec::new();
        for area in pager.areas().map(|area| area.range).collect::<Vec<_>>() {
            pager.for_each_touched(area, |page, state| match state {
                State::Swapped { slot } | State::Filling { slot, .. } => swapped.push((page, slot)),
                State::Parked { frame, .. } | State::Writing { frame, .. } => in_pool.push((page, frame)),
                State::Untouched | State::Resident { .. } | State::Poisoned => {}
            });
        }
        swapped.retain(|(page, slot)| {
            let shared = pager.share_slot(*slot);
            if !shared {
                say(&format!(
                    "slot {} has 65535 owners; the page at {:#x} is missing in a child",
                    slot.0,
                    addr_of(*page)
                ));
            }
            shared
        });
        for (page, frame) in in_pool {
            let Some(place) = self.pool.place(frame) else { continue };
            // SAFETY: the page's bytes are in the pool and not in the child. Exists
            // means that it was mapped when the child was made.
            let _ = unsafe { uffd.copy(addr_of(page), self.pool.address(place), PAGE, CopyFlags::empty()) };
        }
        self.children.children.push(Child { id, uffd, swapped, deferred: Vec::new(), forked: Vec::new() });
    }

    /// Serves every child's faults; whether there were any.
    pub(crate) fn serve_children(&mut self, pager: &mut Pager, events: &mut EventBuffer) -> bool {
        let ids: Vec<ChildId> = self.children.children.iter().map(|child| child.id).collect();
        let mut served = false;
        for id in ids {
            let mut faults = Vec::new();
            if let Some(child) = self.children.find(id) {
                faults.append(&mut child.deferred);
                while let Ok(count @ 1..) = child.uffd.read_events(events) {
                    for index in 0..count {
                        if let Some(fault) = child.take_event(pager, events.take(index)) {
                            faults.push(fault);
                        }
                    }
                }
            }
            served |= !faults.is_empty();
            faults.into_iter().for_each(|page| self.child_fault(pager, id, page));
            if let Some(child) = self.children.find(id) {
                let forked = core::mem::take(&mut child.forked);
                self.children.unserved.extend(forked);
            }
        }
        self.stop_unserved(events) || served
    }

    /// Stops grandchildren that touch what they have not got, rather than let them wait
    /// for ever; whether there were any.
    fn stop_unserved(&mut self, events: &mut EventBuffer) -> bool {
        let mut born = Vec::new();
        let mut stopped = false;
        for uffd in &self.children.unserved {
            while let Ok(count @ 1..) = uffd.read_events(events) {
                for index in 0..count {
                    match events.take(index) {
                        Event::Fault { thread, .. } => {
                            stopped = true;
                            say(&format!(
                                "process {thread} was stopped: it is the child of a process that forked after paging \
                                 began, and touched paged memory that was not in RAM. Such processes are not paged \
                                 yet; give the program more --ram"
                            ));
                            // SAFETY: no memory effects here. The thread waits for its page.
                            unsafe { libc::kill(thread as i32, libc::SIGKILL) };
                        }
                        Event::Fork(child) => born.push(child),
                        Event::Remove { start, end } | Event::Unmap { start, end } => {
                            let _ = uffd.wake(start, end - start);
                        }
                        Event::Remap { from, len, .. } => drop(uffd.wake(from, len)),
                        Event::Unknown(_) => {}
                    }
                }
            }
        }
        self.children.unserved.append(&mut born);
        stopped
    }

    fn child_fault(&mut self, pager: &Pager, id: ChildId, page: PageNo) {
        let zeros = self.zeros.addr();
        let Some(child) = self.children.find(id) else { return };
        let Ok(index) = child.swapped.binary_search_by_key(&page, |(page, _)| *page) else {
            child.land(page, zeros);
            return;
        };
        let slot = child.swapped[index].1;
        let started = (self.store.room() > 0).then(|| self.pool.take(1)).flatten().and_then(|run| {
            let place = run.places().next()?;
            let digest = Digest(pager.digest(slot));
            let purpose = Purpose::Child { child: id, page, place, slot, digest };
            let Some((token, op)) = self.ops.start(purpose) else {
                self.pool.give_back_empty(place);
                return None;
            };
            op.bytes = PAGE;
            let mut gather = Gather::new();
            gather.push(self.pool.address(place));
            // SAFETY: the place belongs to this transfer until it ends.
            let queued =
                unsafe { self.store.queue(Direction::Read, u64::from(slot.0), gather.pieces(), token) };
            if queued.is_err() {
                self.ops.end(token);
                self.pool.give_back_empty(place);
            }
            queued.ok()
        });
        let _ = self.store.submit();
        if started.is_none()
            && let Some(child) = self.children.find(id)
        {
            child.deferred.push(page);
        }
    }

    pub(crate) fn finish_child_read(&mut self, pager: &mut Pager, done: ChildRead, read: bool) {
        let src = self.pool.address(done.place);
        // SAFETY: the transfer has ended; the place is ours alone.
        let good = read && unsafe { self.digester.of_page(src, PAGE) } == done.digest;
        // The child keeps its share of the slot: it may be told to try again.
        debug_assert!(pager.digest(done.slot) == done.digest.0 || !good);
        if let Some(child) = self.children.find(done.child) {
            if good {
                child.land(done.page, src);
            } else {
                say(&format!(
                    "the page at {:#x} of a forked child is lost: the store did not return it",
                    addr_of(done.page)
                ));
                // SAFETY: the child's page has no bytes that could be lost by this.
                let _ = unsafe { child.uffd.poison(addr_of(done.page), PAGE) };
            }
        }
        self.pool.give_back(done.place);
    }

    /// Forgets children that have executed another program or ended.
    pub(crate) fn bury_children(&mut self, pager: &mut Pager) {
        let (probe, zeros) = (self.pool.addr(), self.zeros.addr());
        let gone = |uffd: &Uffd| {
            // The pool is not mapped in a child, so nothing is copied: only whether
            // there still is an address space is found out.
            // SAFETY: the destination is not mapped in the child.
            let transfer = unsafe { uffd.copy(probe, zeros, PAGE, CopyFlags::empty()) };
            matches!(transfer.stop, Some(Stop::Gone))
        };
        self.children.unserved.retain(|uffd| !gone(uffd));
        self.children.children.retain(|child| {
            let gone = gone(&child.uffd);
            if gone {
                child.swapped.iter().for_each(|(_, slot)| pager.release_slot(*slot));
            }
            !gone
        });
    }
}

impl Child {
    /// Maps a copy of `src` at `page` of the child.
    fn land(&mut self, page: PageNo, src: usize) {
        // SAFETY: the page is not mapped in the child, or the kernel says Exists.
        let transfer = unsafe { self.uffd.copy(addr_of(page), src, PAGE, CopyFlags::empty()) };
        match transfer.stop {
            Some(Stop::Exists) => {
                let _ = self.uffd.wake(addr_of(page), PAGE);
            }
            Some(Stop::Again | Stop::NoMemory) => self.deferred.push(page),
            // The address space or the area is gone, and with it who waited.
            None | Some(_) => {}
        }
    }

    /// Applies an announcement; the page, if it is a fault.
    fn take_event(&mut self, pager: &mut Pager, event: Event) -> Option<PageNo> {
        match event {
            Event::Fault { addr, .. } => return Some(page_of(addr)),
            Event::Remove { start, end } | Event::Unmap { start, end } => {
                self.forget(pager, pages_of(start, end - start));
                let _ = self.uffd.wake(start, end - start);
            }
            Event::Remap { from, to, len } => {
                let range = pages_of(from, len);
                for (page, _) in self.swapped.iter_mut().filter(|(page, _)| range.contains(*page)) {
                    *page = page_of(to).plus(page.0 - range.start.0);
                }
                self.swapped.sort_unstable_by_key(|(page, _)| *page);
                let _ = self.uffd.wake(from, len);
            }
            Event::Fork(grandchild) => self.forked.push(grandchild),
            Event::Unknown(_) => {}
        }
        None
    }

    fn forget(&mut self, pager: &mut Pager, range: PageRange) {
        self.swapped.retain(|(page, slot)| {
            let gone = range.contains(*page);
            if gone {
                pager.release_slot(*slot);
            }
            !gone
        });
    }
}
