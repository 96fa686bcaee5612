#![expect(unsafe_code, reason = "maps pages of shared memory into views")]
//! Where the program sees pages of shared memory.

use crate::PAGE;
use crate::core::{Live, page_of};
use crate::engine::die;
use crate::files::request::ViewPart;
use pager::{PageNo, PageRange, Pager, State};
use rustix::io::Errno;
use sys::maps;
use sys::uffd::{Event, EventBuffer, Stop, Waking};

/// All views, by address.
#[derive(Debug, Default)]
pub(crate) struct Views {
    parts: Vec<ViewPart>,
}

impl Views {
    pub(crate) fn add(&mut self, part: ViewPart) {
        let at = self.parts.partition_point(|other| other.addr < part.addr);
        self.parts.insert(at, part);
    }

    pub(crate) fn remove(&mut self, addr: usize) {
        self.parts.retain(|part| part.addr != addr);
    }

    /// The page that is seen at `addr`.
    fn page_at(&self, addr: usize) -> Option<PageNo> {
        let after = self.parts.partition_point(|part| part.addr <= addr);
        let part = self.parts[after.checked_sub(1)?];
        let offset = page_of(addr).0 - page_of(part.addr).0;
        (offset < part.pages.count).then(|| part.pages.start.plus(offset))
    }

    /// Where a range is seen: addresses and bytes.
    fn of(&self, range: PageRange) -> impl Iterator<Item = (usize, usize)> {
        self.parts.iter().filter_map(move |part| {
            let seen = part.pages.intersection(range);
            let addr =
                part.addr + (seen.start.0.wrapping_sub(part.pages.start.0) as usize).wrapping_mul(PAGE);
            (seen.count > 0).then_some((addr, seen.count as usize * PAGE))
        })
    }
}

/// Whether a page could be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Wherever it is seen.
    Mapped,
    /// The memory has no such page.
    Absent,
}

impl Live {
    /// Adds faults on views, as pages of the core's; how many there were.
    pub(crate) fn read_view_faults(&mut self, events: &mut EventBuffer, faults: &mut Vec<PageNo>) -> usize {
        let Some(uffd) = self.files.uffd() else { return 0 };
        let Ok(count) = uffd.read_events(events) else {
            die("the userfaultfd of mapped files cannot be read")
        };
        for index in 0..count {
            let Event::Fault { addr, thread, .. } = events.take(index) else { continue };
            self.steering.fault(thread);
            // A view that is no more: nobody who may touch it is left.
            faults.extend(self.files.views.page_at(addr));
        }
        count
    }

    /// Maps pages that are in shared memory wherever they are seen.
    pub(crate) fn map_views(&mut self, range: PageRange) -> Seen {
        let mut seen = Seen::Mapped;
        let waking = self.steering.waking();
        let Some(uffd) = self.files.uffd() else { return seen };
        for (addr, len) in self.files.views.of(range) {
            let mut done = 0;
            while done < len {
                // SAFETY: the core holds these pages to be what the program expects there.
                let mapped = unsafe { uffd.resume(addr + done, len - done, waking) };
                if waking == Waking::Later && mapped.done > 0 {
                    self.steering.wake(addr + done, mapped.done);
                }
                done += mapped.done;
                match mapped.stop {
                    None => {}
                    // Some is done: the next call tells the reason.
                    Some(Stop::Again) if mapped.done > 0 => {}
                    Some(Stop::Exists) => {
                        let _ = uffd.wake(addr + done, PAGE);
                        done += PAGE;
                    }
                    Some(Stop::Absent) => {
                        seen = Seen::Absent;
                        done += PAGE;
                    }
                    // The view is going away, or the kernel has no memory for a page table:
                    // who touches it faults again.
                    Some(_) => {
                        let _ = uffd.wake(addr + done, PAGE);
                        done += PAGE;
                    }
                }
            }
        }
        self.steering.mapped(range.count as usize);
        seen
    }

    /// Maps pages that the core has made resident.
    pub(crate) fn map_shared(&mut self, pager: &Pager, range: PageRange) {
        for page in range.pages() {
            let State::Resident { frame, .. } = pager.state(page) else {
                die("the core maps a page of a file that is not resident");
            };
            // It stays where it is, and is the program's now.
            let _ = self.pool.take_place(frame);
        }
        if self.map_views(range) == Seen::Absent {
            die("a page of a mapped file is in memory and has none");
        }
    }

    /// Takes resident pages out of all views; how many.
    pub(crate) fn park_shared(&mut self, pager: &mut Pager, range: PageRange) -> u32 {
        let mut views = self.files.views.of(range);
        // Locked in memory by the program, they stay.
        if views.any(|(addr, len)| maps::dont_need(addr, len).is_err()) {
            return 0;
        }
        drop(views);
        for page in range.pages() {
            let State::Resident { frame, .. } = pager.state(page) else { continue };
            pager.parked(page);
            let place = self.pool.in_window(self.files.in_window(page), 1);
            place.places().for_each(|place| self.pool.set_place(frame, place));
        }
        range.count as u32
    }

    /// A fault on a page that the core holds to be mapped.
    pub(crate) fn map_again(&mut self, pager: &mut Pager, page: PageNo) {
        if self.map_views(PageRange::one(page)) == Seen::Absent {
            // The program has dropped it by itself (MADV_REMOVE): it is at home only.
            pager.vanished(page);
            self.defer(page);
        }
    }

    /// Makes touches of a page bus errors wherever it is seen.
    pub(crate) fn poison_views(&mut self, page: PageNo) {
        let Some(uffd) = self.files.uffd() else { return };
        for (addr, len) in self.files.views.of(PageRange::one(page)) {
            // SAFETY: the core holds the page's bytes to be lost.
            match unsafe { uffd.poison(addr, len) } {
                Ok(()) | Err(Errno::EXIST) => drop(uffd.wake(addr, len)),
                // The view is going away.
                Err(Errno::NOENT | Errno::SRCH) => {}
                Err(_) => die("a page whose bytes are lost cannot be poisoned on this kernel"),
            }
        }
    }
}
