#![expect(unsafe_code, reason = "copies pages between pool and shared memory, and maps them in members")]
//! Who has the arena mapped, as the server knows it, and what the server does to their views.

use crate::PAGE;
use crate::core::page_of;
use crate::shared::charge::{self, Charge};
use pager::{PageNo, PageRange};
use rustix::event::epoll;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::time::{Duration, Instant};
use sys::uffd::{Protect, Stop, Transfer, Uffd, Waking};
use sys::views::ViewedMemory;

/// Pages that are mapped together where another member has brought them in: as the kernel
/// does with its own faults on files.
const AROUND: u64 = 16;
/// How long members have for their message before what it is about can end them.
const SAID: Duration = Duration::from_millis(50);

/// A member's mapping of the arena.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) uffd: Uffd,
    pub(crate) addr: usize,
    /// Where its process would count the arena's pages as well.
    pub(crate) charge: Option<Charge>,
}

/// How far somebody has got who has connected.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It has said nothing yet.
    New,
    /// It has the memory's descriptor.
    Greeted,
    /// It is a member.
    Joined(View),
}

/// Somebody who has connected.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) id: u64,
    /// None once it has hung up, which a member does by ending or by executing another
    /// program: its threads may run on for an instant, and are served until it has no memory.
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) stage: Stage,
}

impl Guest {
    pub(crate) fn view(&self) -> Option<&View> {
        match &self.stage {
            Stage::Joined(view) => Some(view),
            Stage::New | Stage::Greeted => None,
        }
    }

    /// Whether it was a member and has hung up.
    pub(crate) fn is_leaving(&self) -> bool {
        self.socket.is_none() && self.view().is_some()
    }
}

/// What the server of a shared arena has besides what every pager has.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) memory: ViewedMemory,
    /// The core's pages: addresses that the server has reserved, and at which nothing is.
    pub(crate) range: PageRange,
    pub(crate) listener: OwnedFd,
    /// Tells of the listener, the starter and guests.
    pub(crate) epoll: OwnedFd,
    /// Who has started the server, until it hangs up.
    pub(crate) starter: Option<OwnedFd>,
    pub(crate) guests: Vec<Guest>,
    pub(crate) next_id: u64,
    /// Who waits for which page.
    pub(crate) waiting: Vec<(PageNo, u64)>,
    /// Who waits for the page that is being resolved.
    current: Vec<u64>,
    /// The member that is woken later, by who is asked for that.
    pub(crate) followed: Option<u64>,
    /// What of its view is to be woken then.
    later: Option<(usize, usize)>,
    /// When members were told what went wrong.
    pub(crate) told: Option<Instant>,
    pub(crate) next_look: Instant,
}

impl Members {
    pub(crate) fn new(
        memory: ViewedMemory,
        range: PageRange,
        listener: OwnedFd,
        starter: OwnedFd,
    ) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (id, fd) in [(Self::LISTENER, &listener), (Self::STARTER, &starter)] {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(id), epoll::EventFlags::IN)?;
        }
        Ok(Self {
            memory,
            range,
            listener,
            epoll,
            starter: Some(starter),
            guests: Vec::new(),
            next_id: Self::FIRST_GUEST,
            waiting: Vec::with_capacity(4096),
            current: Vec::with_capacity(crate::shared::MOST_MEMBERS),
            followed: None,
            later: None,
            told: None,
            next_look: Instant::now(),
        })
    }

    /// What the epoll's events are called.
    pub(crate) const LISTENER: u64 = 0;
    pub(crate) const STARTER: u64 = 1;
    pub(crate) const FIRST_GUEST: u64 = 2;

    /// Where a page is in the arena, in bytes.
    pub(crate) fn offset(&self, page: PageNo) -> u64 {
        (page.0 - self.range.start.0) * PAGE as u64
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = &View> {
        self.guests.iter().filter_map(Guest::view)
    }

    /// Where a view has a page.
    fn at(&self, view: &View, page: PageNo) -> usize {
        view.addr + self.offset(page) as usize
    }

    /// The page that a view has at `addr`.
    pub(crate) fn page_at(&self, view: &View, addr: usize) -> Option<PageNo> {
        let offset = page_of(addr).0.checked_sub(page_of(view.addr).0)?;
        (offset < self.range.count).then(|| self.range.start.plus(offset))
    }

    /// Every descriptor that there is something to read of when a member faults.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        core::iter::once(self.epoll.as_fd()).chain(self.views().map(|view| view.uffd.as_fd()))
    }

    pub(crate) fn anybody_leaves(&self) -> bool {
        self.guests.iter().any(Guest::is_leaving)
    }

    /// A fault on `page` is being resolved: who waits for it gets what comes with it, too.
    pub(crate) fn begin(&mut self, page: PageNo) {
        self.current.clear();
        self.current.extend(self.waiting.iter().filter(|(waited, _)| *waited == page).map(|(_, id)| *id));
    }

    pub(crate) fn end(&mut self) {
        self.current.clear();
    }

    /// Brings pages in from `src`, and maps them for who waits.
    ///
    /// # Safety
    /// `src` is as many readable pages, which nobody changes; the core holds these pages to be
    /// resident, and the bytes to be theirs.
    pub(crate) unsafe fn bring(&mut self, page: PageNo, src: usize, count: usize) -> Transfer {
        // SAFETY: the caller's contract.
        let (bytes, result) = unsafe { self.memory.copy_in(self.offset(page), src, count * PAGE) };
        let done = bytes / PAGE * PAGE;
        self.show_to_waiting(PageRange { start: page, count: (done / PAGE) as u64 });
        // Whatever the reason is, it is tried again when there may be memory again.
        Transfer { done, stop: result.err().map(|_| Stop::NoMemory) }
    }

    /// Maps pages that are in memory for who waits for one of them, or for what they came with.
    fn show_to_waiting(&mut self, range: PageRange) {
        if range.count == 0 {
            return;
        }
        let mut later = None;
        for guest in &self.guests {
            let waits = self.current.contains(&guest.id)
                || self.waiting.iter().any(|(page, id)| *id == guest.id && range.contains(*page));
            if let (true, Some(view)) = (waits, guest.view()) {
                self.show(view, range, self.waking(guest));
                if self.waking(guest) == Waking::Later {
                    let start = self.at(view, range.start);
                    later = Some((start, start + range.count as usize * PAGE));
                }
            }
        }
        self.wake_later(later);
        self.waiting.retain(|(page, _)| !range.contains(*page));
    }

    fn waking(&self, guest: &Guest) -> Waking {
        if self.followed == Some(guest.id) { Waking::Later } else { Waking::Now }
    }

    fn wake_later(&mut self, more: Option<(usize, usize)>) {
        let (Some(more), before) = (more, self.later) else { return };
        let (start, end) = before.unwrap_or(more);
        self.later = Some((start.min(more.0), end.max(more.1)));
    }

    /// What of the followed member's view is to be woken: where it begins, and its bytes.
    pub(crate) fn take_later(&mut self) -> Option<(usize, usize)> {
        self.later.take().map(|(start, end)| (start, end - start))
    }

    /// Pages are mapped in a view.
    fn charge(&self, view: &View, range: PageRange) {
        let (first, count) = charge::within(self.range, range);
        view.charge.iter().for_each(|charge| charge.mapped(first, count));
    }

    /// Pages are in no view any more.
    fn discharge(&self, range: PageRange) {
        let (first, count) = charge::within(self.range, range);
        self.views().filter_map(|view| view.charge.as_ref()).for_each(|charge| charge.unmapped(first, count));
    }

    fn show(&self, view: &View, range: PageRange, waking: Waking) {
        let (addr, len) = (self.at(view, range.start), range.count as usize * PAGE);
        let mut done = 0;
        while done < len {
            // SAFETY: the core holds these pages to be what the members expect there.
            let mapped = unsafe { view.uffd.resume(addr + done, len - done, waking) };
            let start = range.start.plus((done / PAGE) as u64);
            self.charge(view, PageRange { start, count: (mapped.done / PAGE) as u64 });
            done += mapped.done;
            match mapped.stop {
                None => {}
                // Some is done: the next call tells the reason.
                Some(Stop::Again) if mapped.done > 0 => {}
                // It has no memory any more.
                Some(Stop::Gone) => break,
                Some(Stop::Exists) => {
                    self.charge(view, PageRange::one(range.start.plus((done / PAGE) as u64)));
                    self.release(view, addr + done, PAGE);
                    done += PAGE;
                }
                // Unmapped by a member that does not keep to its part, or dropped by one, or
                // the kernel has no memory for a page table: who touches it faults again.
                Some(_) => {
                    let _ = view.uffd.wake(addr + done, PAGE);
                    done += PAGE;
                }
            }
        }
    }

    /// Lets a range be written, and wakes who waits there.
    fn release(&self, view: &View, addr: usize, len: usize) {
        // SAFETY: nobody is kept from writing but while a page leaves.
        if unsafe { view.uffd.write_protect(addr, len, Protect::Off) }.is_err() {
            let _ = view.uffd.wake(addr, len);
        }
    }

    /// A fault on a page that the core holds to be resident: maps it, and some after it, for
    /// who waits; how many. None if the memory has no such page.
    pub(crate) fn show_again(&mut self, page: PageNo) -> Option<usize> {
        let (mut is_there, mut later, mut shown) = (true, None, 0);
        let count = AROUND.min(self.range.end().0 - page.0);
        for guest in &self.guests {
            let waits = self.waiting.iter().any(|(waited, id)| *id == guest.id && *waited == page);
            let (true, Some(view)) = (waits, guest.view()) else { continue };
            let addr = self.at(view, page);
            // SAFETY: what is in the memory is what the members expect there.
            let mapped = unsafe { view.uffd.resume(addr, count as usize * PAGE, self.waking(guest)) };
            if mapped.done > 0 && self.waking(guest) == Waking::Later {
                later = Some((addr, addr + mapped.done));
            }
            shown += mapped.done / PAGE;
            let pages = (mapped.done / PAGE).max(usize::from(mapped.stop == Some(Stop::Exists)));
            self.charge(view, PageRange { start: page, count: pages as u64 });
            match mapped.stop {
                _ if mapped.done > 0 => {}
                Some(Stop::Exists) => self.release(view, addr, PAGE),
                Some(Stop::Absent) if self.has(view, page) => is_there = false,
                _ => {
                    let _ = view.uffd.wake(addr, PAGE);
                }
            }
        }
        self.wake_later(later);
        if is_there {
            self.waiting.retain(|(waited, _)| *waited != page);
        }
        is_there.then_some(shown)
    }

    /// Whether a view is still where it was: `ENOENT` alone would not tell.
    fn has(&self, view: &View, page: PageNo) -> bool {
        // SAFETY: as in `release`.
        unsafe { view.uffd.write_protect(self.at(view, page), PAGE, Protect::Off) }.is_ok()
    }

    /// Takes resident pages out of all views, to `place`. Nothing has changed if it fails.
    ///
    /// # Safety
    /// `place` is as many writable pages that nobody else uses.
    pub(crate) unsafe fn park(&mut self, range: PageRange, place: usize) -> Result<(), Errno> {
        let (offset, len) = (self.offset(range.start), range.count as usize * PAGE);
        let mut result = Ok(());
        for view in self.views() {
            // SAFETY: who writes meanwhile waits, and is woken below or by the hole.
            let protected = unsafe { view.uffd.write_protect(self.at(view, range.start), len, Protect::On) };
            match protected {
                // It has ended, or has unmapped its view, or has changed it in ways that no
                // member has: what it writes meanwhile may be lost, which is its own affair.
                Ok(()) | Err(Errno::SRCH | Errno::NOENT | Errno::AGAIN | Errno::INVAL) => {}
                Err(error) => result = Err(error),
            }
        }
        // SAFETY: the caller's contract.
        let copied = result.and_then(|()| unsafe { self.memory.copy_out(offset, place, len) });
        let left = copied.and_then(|()| self.memory.punch(offset, len as u64));
        if left.is_err() {
            self.views().for_each(|view| self.release(view, self.at(view, range.start), len));
        } else {
            self.discharge(range);
        }
        left
    }

    /// Makes touches of a page bus errors everywhere; false while members may not have said yet why.
    pub(crate) fn poison(&mut self, page: PageNo) -> bool {
        if self.told.is_none_or(|at| at.elapsed() < SAID) {
            return false;
        }
        for view in self.views() {
            let addr = self.at(view, page);
            // SAFETY: the core holds the page's bytes to be lost.
            let poison = || unsafe { view.uffd.poison(addr, PAGE) };
            let mut poisoned = poison();
            // What the protection has left at a hole is in the way once.
            if poisoned == Err(Errno::EXIST) {
                self.release(view, addr, PAGE);
                poisoned = poison();
            }
            // Who waits there faults again, and it is tried again.
            if poisoned.is_err() {
                let _ = view.uffd.wake(addr, PAGE);
            }
        }
        self.waiting.retain(|(waited, _)| *waited != page);
        true
    }

    /// Drops what the memory has of pages that the core has forgotten.
    pub(crate) fn drop_pages(&mut self, range: PageRange) -> Result<(), Errno> {
        let dropped = self.memory.punch(self.offset(range.start), range.count * PAGE as u64);
        if dropped.is_ok() {
            self.discharge(range);
        }
        let len = range.count as usize * PAGE;
        // Who waited for what is no more must find out.
        for view in self.views() {
            let _ = view.uffd.wake(self.at(view, range.start), len);
        }
        self.waiting.retain(|(page, _)| !range.contains(*page));
        dropped
    }

    /// Whether a member has no memory any more, or no view that its userfaultfd is for.
    pub(crate) fn is_gone(view: &View) -> bool {
        // SAFETY: as in `release`.
        let asked = unsafe { view.uffd.write_protect(view.addr, PAGE, Protect::Off) };
        !matches!(asked, Ok(()) | Err(Errno::AGAIN | Errno::NOMEM))
    }

    /// Forgets somebody.
    pub(crate) fn forget(&mut self, id: u64) {
        self.guests.retain(|guest| guest.id != id);
        self.waiting.retain(|(_, waits)| *waits != id);
    }
}
