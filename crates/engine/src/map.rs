#![expect(unsafe_code, reason = "moves pages between pool and arena")]
//! Pages going to where the program sees them.

use crate::PAGE;
use crate::core::{Live, Mechanism, addr_of};
use crate::engine::die;
use crate::shared::Members;
use pager::{Fault, PageNo, PageRange, Pager, Rights, State};
use std::time::Instant;
use sys::maps::PageState;
use sys::uffd::{CopyFlags, Stop, Transfer, Waking, Witness};

/// Tries to move a page on which the device's pin may still rest for an instant.
const BUSY_TRIES: u32 = 64;

/// Pages of zeros that are copied at once.
pub(crate) const ZEROS: usize = 64;

/// What became of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Landing {
    /// Mapped; the pool's place is empty.
    Moved,
    /// Mapped; the pool still has the memory.
    Copied,
    /// The kernel says that a page is there already.
    Present,
    /// An address-space change is being announced: try again after it.
    Later,
    /// The destination is no longer ours.
    NoArea,
}

impl Live {
    /// Carries out a decision about `page`.
    pub(crate) fn resolve(&mut self, pager: &mut Pager, page: PageNo) {
        if self.condemn(pager, page) {
            return;
        }
        self.members.iter_mut().for_each(|members| members.begin(page));
        let fault = pager.fault(page);
        self.watch.touched(pager, page, fault);
        match fault {
            Fault::Zero(range) => self.map_zeros(pager, page, range),
            Fault::Map(range) => {
                // Reads first: the disk works while pages are moved.
                self.start_reads(pager);
                let start = Instant::now();
                self.map_parked(pager, range);
                if range.count == 1 {
                    self.demand.rescued(start.elapsed());
                }
            }
            Fault::Read | Fault::InFlight => self.start_reads(pager),
            Fault::Resident => self.resolve_spurious(pager, page),
            Fault::Poisoned => drop(self.poison(pager, page)),
            Fault::Unmanaged => self.resolve_unmanaged(pager, page),
            Fault::NoFrame | Fault::Changing => self.defer(page),
        }
        self.watch.resolved(page, fault);
        self.members.iter_mut().for_each(Members::end);
    }

    /// Tries again later. Duplicates are harmless but would grow the list.
    pub(crate) fn defer(&mut self, page: PageNo) {
        if !self.deferred.contains(&page) {
            self.deferred.push(page);
        }
    }

    /// Maps zeroed frames at `range`, which the core has made resident for a fault on `wanted`.
    fn map_zeros(&mut self, pager: &mut Pager, wanted: PageNo, range: PageRange) {
        let mut next = range.start;
        while next < range.end() {
            let count = (range.end().0 - next.0).min(ZEROS as u64) as usize;
            // A copy of zeros that are in the cache costs less than a move, which needs
            // a page made in the pool before, and interrupts other processors.
            let copied =
                if count > 1 { self.copy_to(pager, next, self.zeros.addr(), count).done / PAGE } else { 0 };
            next = next.plus(copied as u64);
            if copied < count {
                // One page alone, or it finds out what is the matter.
                self.map_zero_copy(pager, wanted, next);
                next = next.plus(1);
            }
        }
    }

    fn map_zero_copy(&mut self, pager: &mut Pager, wanted: PageNo, page: PageNo) {
        match self.copy_in(pager, page, self.zeros.addr()) {
            Landing::Moved | Landing::Copied => {}
            Landing::Present => {
                let _ = self.arena.wake(addr_of(page), PAGE);
            }
            Landing::Later => {
                self.watch.vanished(page);
                pager.vanished(page);
                if page == wanted {
                    self.defer(page);
                }
            }
            Landing::NoArea => {
                self.watch.vanished(page);
                pager.vanished(page);
            }
        }
    }

    /// Maps pages that the core has made resident and that have places in the pool.
    pub(crate) fn map_parked(&mut self, pager: &mut Pager, range: PageRange) {
        if self.files.is_shared(range.start) {
            return self.map_shared(pager, range);
        }
        let mut next = range.start;
        while next < range.end() {
            next = self.map_run(pager, next, range.end());
        }
    }

    /// Maps the longest run from `first` that lies in one piece in the pool; the page after it.
    fn map_run(&mut self, pager: &mut Pager, first: PageNo, end: PageNo) -> PageNo {
        let place_of = |pool: &crate::pool::Pool, page: PageNo| {
            let State::Resident { frame, .. } = pager.state(page) else {
                die("the core maps a page that is not resident");
            };
            pool.place(frame)
        };
        let Some(start) = place_of(&self.pool, first) else {
            die("the core maps a page that is not in the pool");
        };
        let src = self.pool.address(start);
        let buffer = self.pool.is_buffer(start);
        let mut count = 1;
        while first.plus(count) < end
            && place_of(&self.pool, first.plus(count)).is_some_and(|place| {
                self.pool.address(place) == src + count as usize * PAGE
                    && self.pool.is_buffer(place) == buffer
            })
        {
            count += 1;
        }
        let movable = self.mechanism == Mechanism::Move
            && !buffer
            && pager.area(first).is_some_and(|area| area.rights == Rights::ReadWrite)
            && !self.is_leased(pager, first);
        let (mut done, mut copied) = (0, 0);
        if movable {
            // SAFETY: the frames are those of the destination's pages, whose bytes
            // they hold; only the pager thread touches the pool.
            let transfer = unsafe { self.move_to(first, src, count as usize * PAGE) };
            done = (transfer.done / PAGE) as u64;
            if self.has_relatives && transfer.stop == Some(Stop::Busy) {
                // Shared since a fork, and so not movable: neither are its neighbours.
                let rest = (count - done) as usize;
                let transfer = self.copy_to(pager, first.plus(done), src + done as usize * PAGE, rest);
                copied = done + (transfer.done / PAGE) as u64;
            }
        } else if count > 1 {
            copied = (self.copy_to(pager, first, src, count as usize).done / PAGE) as u64;
        }
        for page in PageRange::between(first, first.plus(count)).pages() {
            let landing = if page.0 - first.0 < done {
                Landing::Moved
            } else if page.0 - first.0 < copied {
                Landing::Copied
            } else {
                let src = src + (page.0 - first.0) as usize * PAGE;
                if movable { self.move_in(pager, page, src) } else { self.copy_in(pager, page, src) }
            };
            self.landed(pager, page, landing);
        }
        first.plus(count)
    }

    /// Tells core and pool what became of a parked page.
    fn landed(&mut self, pager: &mut Pager, page: PageNo, landing: Landing) {
        let State::Resident { frame, .. } = pager.state(page) else {
            die("a page that was mapped is not resident");
        };
        match landing {
            Landing::Moved => {
                let place = self.pool.take_place(frame);
                place.into_iter().for_each(|place| self.pool.give_back_empty(place));
            }
            Landing::Copied => {
                let place = self.pool.take_place(frame);
                place.into_iter().for_each(|place| self.pool.give_back(place));
            }
            Landing::Present => die("a page is mapped that the core holds in the pool"),
            Landing::Later => {
                self.watch.recorder.unmapped(page);
                pager.unmapped(page);
                self.defer(page);
            }
            // The announcement that explains this will discard the page.
            Landing::NoArea => {
                self.watch.recorder.unmapped(page);
                pager.unmapped(page);
            }
        }
    }

    fn move_in(&mut self, pager: &Pager, page: PageNo, src: usize) -> Landing {
        let tries = if self.has_relatives { 1 } else { BUSY_TRIES };
        for _ in 0..tries {
            // SAFETY: as in `map_run`.
            let transfer = unsafe { self.move_to(page, src, PAGE) };
            match transfer.stop {
                None => return Landing::Moved,
                Some(Stop::Busy) => {
                    self.tally.busy_moves += 1;
                    std::hint::spin_loop();
                }
                Some(Stop::Exists) => return Landing::Present,
                Some(Stop::Again) => return Landing::Later,
                Some(_) => break,
            }
        }
        // Pinned for long, or not movable there: the bytes are final, so a copy is as good.
        self.copy_in(pager, page, src)
    }

    /// Moves pages from the pool to `page` and those after it.
    ///
    /// # Safety
    /// As for [`sys::uffd::Uffd::move_pages`]; the pool has all the pages.
    unsafe fn move_to(&mut self, page: PageNo, src: usize, len: usize) -> Transfer {
        // SAFETY: the caller's contract; only the pager thread touches the pool.
        let transfer = unsafe {
            self.arena.move_pages(addr_of(page), src, len, self.steering.waking(), Witness::Source)
        };
        self.wake_later(page, transfer);
        transfer
    }

    /// Whoever waits for what has been transferred must be woken, if that was not done.
    fn wake_later(&mut self, page: PageNo, transfer: Transfer) {
        self.steering.mapped(transfer.done / PAGE);
        if self.steering.waking() == Waking::Later && transfer.done > 0 {
            self.steering.wake(addr_of(page), transfer.done);
        }
    }

    /// Copies `count` pages from `src`, which is in the pool or zeros, to `page` and those
    /// after it, which the core holds to be resident and which are not mapped.
    fn copy_to(&mut self, pager: &Pager, page: PageNo, src: usize, count: usize) -> Transfer {
        if let Some(members) = &mut self.members {
            members.followed = self.steering.followed_member();
            // SAFETY: the source is ours; the core holds its bytes to be the pages'.
            let transfer = unsafe { members.bring(page, src, count) };
            self.steering.mapped(transfer.done / PAGE);
            self.wake_members_later();
            return transfer;
        }
        let mut flags = match self.steering.waking() {
            Waking::Now => CopyFlags::empty(),
            Waking::Later => CopyFlags::DONT_WAKE,
        };
        // Who writes to the program's own map of a file is to be heard of.
        flags.set(CopyFlags::WRITE_PROTECT, self.is_protected(pager, page));
        // SAFETY: nothing of the program's is there; the source is ours.
        let transfer = unsafe { self.uffd_of(pager, page).copy(addr_of(page), src, count * PAGE, flags) };
        self.wake_later(page, transfer);
        transfer
    }

    fn copy_in(&mut self, pager: &Pager, page: PageNo, src: usize) -> Landing {
        match self.copy_to(pager, page, src, 1).stop {
            None => Landing::Copied,
            Some(Stop::Exists) => Landing::Present,
            Some(Stop::Again | Stop::NoMemory) => Landing::Later,
            Some(Stop::Absent | Stop::Invalid | Stop::Gone) => Landing::NoArea,
            Some(Stop::Busy | Stop::Other(_)) => die("the kernel refuses to copy a page into the arena"),
        }
    }

    /// A fault on a page held to be mapped: it has been mapped since, or the kernel
    /// dropped it at the program's wish, and it reads as zeros. Nothing is at rest
    /// where a discard is under way that was made by the names that the preload
    /// library has; others explain an absent page, and without them it is lost.
    fn resolve_spurious(&mut self, pager: &mut Pager, page: PageNo) {
        if self.files.is_shared(page) {
            return self.map_again(pager, page);
        }
        if self.members.is_some() {
            return self.show_again(pager, page);
        }
        if self.is_leased(pager, page) {
            // What the program has dropped is in the file.
            return self.look_again(pager, page);
        }
        if self.mechanism == Mechanism::Move && self.tally.raw_changes == 0 {
            match self.pagemap.present(addr_of(page)) {
                Ok(PageState::Present) => drop(self.arena.wake(addr_of(page), PAGE)),
                Ok(PageState::Absent) => die(&format!(
                    "the page at {:#x} should be in memory and is not: a fault of Outcore's. \
                     The program is stopped, because it would read zeros there",
                    addr_of(page)
                )),
                Err(_) => die("/proc/self/pagemap cannot be read, so a fault cannot be explained"),
            }
            return;
        }
        let at_home = pager.area(page).is_some_and(|area| area.home(page).is_some());
        if at_home {
            // The program has dropped what it had changed: the file's bytes are there again.
            return self.look_again(pager, page);
        }
        match self.copy_in(pager, page, self.zeros.addr()) {
            Landing::Moved | Landing::Copied => {
                self.watch.vanished(page);
                pager.vanished(page);
                pager.adopt(page);
                self.watch.recorder.held(PageRange::one(page));
            }
            Landing::Present => {
                let _ = self.arena.wake(addr_of(page), PAGE);
            }
            Landing::Later => self.defer(page),
            Landing::NoArea => {}
        }
    }

    /// A page that is at home, and is held to be mapped: it is, or comes from there.
    fn look_again(&mut self, pager: &mut Pager, page: PageNo) {
        if self.pagemap.present(addr_of(page)) == Ok(PageState::Present) {
            self.wake_all(addr_of(page), PAGE);
            self.lift_protection(pager, page);
        } else {
            pager.vanished(page);
            self.defer(page);
        }
    }

    /// A registered page that no area has: the program grew a mapping behind our
    /// back. It is served, and not paged.
    fn resolve_unmanaged(&mut self, pager: &Pager, page: PageNo) {
        match self.copy_in(pager, page, self.zeros.addr()) {
            Landing::Present => {
                let _ = self.arena.wake(addr_of(page), PAGE);
            }
            Landing::Later => self.defer(page),
            Landing::Moved | Landing::Copied => {}
            Landing::NoArea => self.end_of_map(page),
        }
    }

    /// A map of a file that was made longer by a raw system call has nothing there.
    fn end_of_map(&mut self, page: PageNo) {
        if let Some(leases) = &self.files.leases {
            // SAFETY: no area has the page, so nothing is known to be there. Refused where something else is mapped.
            let _ = unsafe { leases.uffd().poison(addr_of(page), PAGE) };
            let _ = leases.uffd().wake(addr_of(page), PAGE);
        }
    }

    /// Makes a touch on `page` a bus error; false when that is to be tried again.
    pub(crate) fn poison(&mut self, pager: &Pager, page: PageNo) -> bool {
        if self.files.is_shared(page) {
            self.poison_views(page);
            return true;
        }
        if let Some(members) = &mut self.members {
            let poisoned = members.poison(page);
            if !poisoned {
                self.defer(page);
            }
            return poisoned;
        }
        // SAFETY: the core holds the page's bytes to be lost.
        let poisoned = unsafe { self.uffd_of(pager, page).poison(addr_of(page), PAGE) };
        match poisoned {
            Ok(()) => true,
            Err(rustix::io::Errno::EXIST) => {
                self.wake_all(addr_of(page), PAGE);
                true
            }
            Err(rustix::io::Errno::AGAIN) => {
                self.defer(page);
                false
            }
            Err(_) => die("a page whose bytes are lost cannot be poisoned on this kernel"),
        }
    }
}
