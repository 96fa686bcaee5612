#![expect(unsafe_code, reason = "maps pages of shared memory into views")]
//! Where the program sees pages of shared memory.

use crate::PAGE;
use crate::core::{Live, addr_of, page_of};
use crate::engine::die;
use crate::files::request::ViewPart;
use crate::files::{Files, PARKED_AT_ONCE};
use pager::{PageNo, PageRange, Pager, State};
use rustix::io::Errno;
use sys::maps;
use sys::uffd::{Access, CopyFlags, Event, EventBuffer, Protect, Stop, Waking};

/// Pages that are copied with one call, before which nobody who waits for one is woken.
const COPIED_AT_ONCE: usize = 32;

/// All views, by address.
#[derive(Debug, Default)]
pub(crate) struct Views {
    views: Vec<View>,
}

/// A view, and what its last fault wanted.
#[derive(Clone, Copy, Debug)]
struct View {
    part: ViewPart,
    last: Access,
}

/// Where pages are seen.
#[derive(Clone, Copy, Debug)]
struct Shown {
    addr: usize,
    len: usize,
    /// What is going to be written is not protected from it: that would be one more fault.
    protect: Protect,
}

impl Views {
    pub(crate) fn add(&mut self, part: ViewPart) {
        let at = self.views.partition_point(|other| other.part.addr < part.addr);
        self.views.insert(at, View { part, last: Access::Read });
    }

    pub(crate) fn remove(&mut self, addr: usize) {
        self.views.retain(|view| view.part.addr != addr);
    }

    /// The page that is seen at `addr`, and touched.
    fn touched(&mut self, addr: usize, access: Access) -> Option<PageNo> {
        let after = self.views.partition_point(|view| view.part.addr <= addr);
        let view = &mut self.views[after.checked_sub(1)?];
        let part = view.part;
        let offset = page_of(addr).0 - page_of(part.addr).0;
        let page = (offset < part.pages.count).then(|| part.pages.start.plus(offset))?;
        view.last = access;
        Some(page)
    }

    /// The parts that can be written, by address.
    pub(crate) fn writable(&self) -> impl Iterator<Item = ViewPart> {
        self.views.iter().map(|view| view.part).filter(|part| part.is_writable)
    }

    /// Where all of a range is seen in one piece, if anywhere.
    fn whole(&self, range: PageRange) -> Option<Shown> {
        self.of(range).find(|shown| shown.len == range.count as usize * PAGE)
    }

    /// Where a range is seen.
    fn of(&self, range: PageRange) -> impl Iterator<Item = Shown> {
        self.views.iter().filter_map(move |View { part, last }| {
            let seen = part.pages.intersection(range);
            let addr =
                part.addr + (seen.start.0.wrapping_sub(part.pages.start.0) as usize).wrapping_mul(PAGE);
            let is_clean = part.is_writable && *last == Access::Read;
            let protect = if is_clean { Protect::On } else { Protect::Off };
            (seen.count > 0).then_some(Shown { addr, len: seen.count as usize * PAGE, protect })
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
            let Event::Fault { addr, thread, access, .. } = events.take(index) else { continue };
            self.steering.fault(thread);
            // A view that is no more: nobody who may touch it is left.
            faults.extend(self.files.views.touched(addr, access));
        }
        count
    }

    /// Maps pages that are in shared memory wherever they are seen, but not at `mapped`,
    /// where they are.
    fn map_views(&mut self, range: PageRange, mapped: Option<usize>) -> Seen {
        let mut seen = Seen::Mapped;
        let waking = self.steering.waking();
        let Some(uffd) = self.files.uffd() else { return seen };
        let tracks = self.files.write_back.tracks();
        for Shown { addr, len, protect } in self.files.views.of(range) {
            if Some(addr) == mapped {
                continue;
            }
            let protect = if tracks { protect } else { Protect::Off };
            let mut done = 0;
            while done < len {
                // SAFETY: the core holds these pages to be what the program expects there.
                let mapped = unsafe { uffd.resume_as(addr + done, len - done, waking, protect) };
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
        let mut next = range.start;
        while next < range.end() {
            let (run, buffers) = self.take_together(pager, PageRange::between(next, range.end()));
            next = run.end();
            let seen = match buffers {
                None => self.map_views(run, None),
                Some(src) => self.fill_views(run, src),
            };
            if seen == Seen::Absent {
                die("a page of a mapped file is in memory and has none");
            }
            let buffers = buffers.map(|_| core::mem::take(&mut self.files.emptied));
            for place in buffers.iter().flatten() {
                self.pool.give_back(*place);
            }
            buffers.into_iter().for_each(|buffers| self.files.emptied = buffers);
        }
    }

    /// Takes the places of the first pages of `range` that are where they belong, or that are
    /// next to each other in buffers: then the address of the first, and the places are in
    /// `emptied`.
    fn take_together(&mut self, pager: &Pager, range: PageRange) -> (PageRange, Option<usize>) {
        self.files.emptied.clear();
        let mut run = PageRange { count: 0, ..range };
        let mut buffers = None;
        for page in range.pages() {
            let State::Resident { frame, .. } = pager.state(page) else {
                die("the core maps a page of a file that is not resident");
            };
            // Without a place it has been where it belongs all the time.
            let place = self.pool.place(frame);
            let buffer = place.filter(|place| self.pool.is_buffer(*place));
            let addr = buffer.map(|place| self.pool.address(place));
            let joins = match (run.count, buffers, addr) {
                (0, ..) => true,
                (count, Some(first), Some(addr)) => {
                    addr == first + count as usize * PAGE
                        && self.files.emptied.len() < self.files.emptied.capacity()
                }
                (_, None, None) => true,
                _ => false,
            };
            if !joins {
                break;
            }
            if run.count == 0 {
                buffers = addr;
            }
            self.files.emptied.extend(buffer);
            // It is the program's now.
            let _ = self.pool.take_place(frame);
            run.count += 1;
        }
        (run, buffers)
    }

    /// Brings pages from `src` to shared memory and maps them.
    fn fill_views(&mut self, range: PageRange, src: usize) -> Seen {
        // What is dropped late must not be what has come meanwhile.
        let _ = self.pool.in_window(self.files.in_window(range.start), range.count as u32);
        let view = self.files.views.whole(range);
        let copied = view.map_or(0, |view| self.copy_to_view(view, src));
        let there = PageRange { count: copied as u64, ..range };
        let rest = PageRange::between(there.end(), range.end());
        // In other views as well, of which there seldom are any.
        let seen = self.map_views(there, view.map(|view| view.addr));
        if rest.count == 0 {
            return seen;
        }
        let (from, to) = (src + copied * PAGE, addr_of(rest.start));
        // SAFETY: buffers and window are the pager's alone, and apart; the core has just given
        // these pages frames, so no view shows them yet.
        unsafe {
            core::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, rest.count as usize * PAGE)
        };
        if seen == Seen::Absent { seen } else { self.map_views(rest, None) }
    }

    /// Copies pages to a view, and with that to shared memory; how many, from the first on.
    fn copy_to_view(&mut self, view: Shown, src: usize) -> usize {
        let (addr, pages) = (view.addr, view.len / PAGE);
        let waking = self.steering.waking();
        let mut flags = match waking {
            Waking::Now => CopyFlags::empty(),
            Waking::Later => CopyFlags::DONT_WAKE,
        };
        let is_protected = view.protect == Protect::On && self.files.write_back.tracks();
        flags.set(CopyFlags::WRITE_PROTECT, is_protected);
        let Some(uffd) = self.files.uffd() else { return 0 };
        let mut done = 0;
        while done < pages {
            // Who waits for the first need not wait for all.
            let piece = (pages - done).min(COPIED_AT_ONCE);
            // SAFETY: the core holds these pages to be what the program expects there; the
            // source is ours.
            let transfer = unsafe { uffd.copy(addr + done * PAGE, src + done * PAGE, piece * PAGE, flags) };
            if waking == Waking::Later && transfer.done > 0 {
                self.steering.wake(addr + done * PAGE, transfer.done);
            }
            done += transfer.done / PAGE;
            // Partly done, the next call tells the reason.
            if transfer.stop.is_some() && transfer.done == 0 {
                break;
            }
        }
        self.steering.mapped(done);
        done
    }

    /// Takes resident pages out of all views; how many.
    pub(crate) fn park_shared(&mut self, pager: &mut Pager, range: PageRange) -> u32 {
        let mut views = self.files.views.of(range);
        // Locked in memory by the program, they stay.
        if views.any(|Shown { addr, len, .. }| maps::dont_need(addr, len).is_err()) {
            return 0;
        }
        drop(views);
        self.are_parked(pager, range);
        range.count as u32
    }

    /// The same for several ranges, with one call for all of them where the kernel can.
    pub(crate) fn park_shared_together(&mut self, pager: &mut Pager, ranges: &[PageRange]) -> u32 {
        let mut parked = 0;
        for ranges in ranges.chunks(PARKED_AT_ONCE) {
            let Files { views, drops, .. } = &mut self.files;
            // What has been dropped and is not parked is found to be in memory when it is touched.
            let dropped = ranges.len() > 1
                && drops.drop_all(
                    ranges.iter().flat_map(|range| views.of(*range)).map(|shown| (shown.addr, shown.len)),
                );
            for range in ranges.iter().copied() {
                parked += if dropped {
                    self.are_parked(pager, range);
                    range.count as u32
                } else {
                    self.park_shared(pager, range)
                };
            }
        }
        parked
    }

    fn are_parked(&mut self, pager: &mut Pager, range: PageRange) {
        for page in range.pages() {
            let State::Resident { frame, .. } = pager.state(page) else { continue };
            pager.parked(page);
            let place = self.pool.in_window(self.files.in_window(page), 1);
            place.places().for_each(|place| self.pool.set_place(frame, place));
        }
    }

    /// A fault on a page that the core holds to be mapped.
    pub(crate) fn map_again(&mut self, pager: &mut Pager, page: PageNo) {
        if self.map_views(PageRange::one(page), None) == Seen::Absent {
            // The program has dropped it by itself (MADV_REMOVE): it is at home only.
            pager.vanished(page);
            self.defer(page);
        }
    }

    /// Makes touches of a page bus errors wherever it is seen.
    pub(crate) fn poison_views(&mut self, page: PageNo) {
        let Some(uffd) = self.files.uffd() else { return };
        for Shown { addr, len, .. } in self.files.views.of(PageRange::one(page)) {
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
