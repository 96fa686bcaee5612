#![expect(
    unsafe_code,
    reason = "takes the place of maps that nobody has seen yet, and copies from those that are read-only"
)]
//! Maps of files that the program made itself, paged as long as nobody can write to the file.
//!
//! ```text
//! leased     program's range = core's pages, anonymous, read-only ── read past the page cache, dropped
//!            spare           = the kernel's map of the same, of which nothing is touched
//! broken     the spare is moved to the program's range, then the lease is given up, then the writer goes on
//! ```
//!
//! While a lease (`sys::lease`) is held the file cannot change, so what was read past the page cache is what
//! the file has. Each map has a lease of its own, on an open file of the pager's: whoever wants to write waits
//! for all of them. They are broken by a thread of their own, the clerk: who maps something over registered
//! memory waits until the pager has read about it.
//!
//! Most can only be read, so that pages cannot be moved (`UFFDIO_MOVE` wants writable ones). They come by
//! copying, and leave by being copied to the pool, if they are given a second chance, and dropped. The pages of a
//! private map that may be written are write-protected, until the first write (`own.rs`). The userfaultfd that
//! they are registered with announces what is unmapped and moved, but no discards: the pager itself makes
//! those. A discard that it was not told of leaves a page absent that it holds to be there, which is read again.

use crate::PAGE;
use crate::core::{Live, addr_of};
use crate::engine::die;
use crate::files::numbers::Numbers;
use crate::files::request::NewLease;
use crate::files::source::{Descriptors, Leased, Origin, Source};
use crate::files::ticket::Ticket;
use crate::pool::PlaceRun;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use pager::{PageNo, PageRange, Pager, Sharing, SlotNo, State};
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use sys::lease::{self, End};
use sys::maps;
use sys::status::kept;
use sys::uffd::{Register, Uffd};
use sys::views::Rights;
use trace::Kept as Stays;

/// Maps that are leased at once: each takes two descriptors of the pager's.
const MOST: usize = 256;
/// Where those who break leases wait less, none are taken.
const LEAST_BREAK_TIME: Duration = Duration::from_secs(5);

/// All of them.
#[derive(Debug)]
pub(crate) struct Leases {
    /// Registered on what is leased.
    uffd: Uffd,
    numbers: Numbers,
    count: usize,
    /// The thread that gives maps back; none before it has begun.
    clerk: Option<i32>,
    orders: Vec<Order>,
    /// Pages that the program is about to write, and waits.
    pub(super) written: Vec<PageNo>,
    /// Those of them whose maps the kernel is to have before.
    refused: Vec<PageNo>,
    /// Something was unmapped since it was last looked which leases are of use.
    is_unmapped: bool,
}

/// Maps that are to be given back, because the program changes them.
#[derive(Debug)]
pub(crate) struct Order {
    range: PageRange,
    pub(crate) ticket: Ticket,
}

/// A part of a map that is in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) addr: usize,
    pub(super) len: usize,
    pub(super) spare: usize,
}

/// A map that goes back to the kernel.
#[derive(Debug)]
pub(crate) struct Returning {
    spare: usize,
    len: usize,
    /// In the order of their places in the spare map.
    pub(super) pieces: Vec<Piece>,
    /// The program has written to it.
    pub(super) is_own: bool,
}

impl Leases {
    /// None yet. `uffd` announces what is unmapped and moved, and no discards; homes are numbered below `most`.
    pub(crate) fn new(uffd: Uffd, most: u32) -> Self {
        let numbers = Numbers::new(most);
        Self {
            uffd,
            numbers,
            count: 0,
            clerk: None,
            orders: Vec::new(),
            written: Vec::new(),
            refused: Vec::new(),
            is_unmapped: false,
        }
    }

    pub(crate) fn uffd(&self) -> &Uffd {
        &self.uffd
    }

    pub(crate) fn are_none(&self) -> bool {
        self.count == 0
    }

    /// The clerk has begun.
    pub(crate) fn set_clerk(&mut self, thread: i32) {
        self.clerk = Some(thread);
    }

    /// The next map that is to be given back for the program.
    pub(crate) fn next_order(&mut self) -> Option<Order> {
        self.orders.pop()
    }
}

impl Order {
    pub(crate) fn range(&self) -> PageRange {
        self.range
    }
}

impl Returning {
    /// Where it is paged: addresses and lengths.
    pub(crate) fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        self.pieces.iter().map(|piece| (piece.addr, piece.len))
    }

    /// Has the kernel's map in the place of what is paged, or in a forked child of what is not there. The address
    /// space is locked.
    ///
    /// # Errors
    /// What the kernel says. What is mapped is not known then.
    pub(crate) fn place(&self) -> Result<(), Errno> {
        let mut at = self.spare;
        for piece in &self.pieces {
            if piece.spare > at {
                // SAFETY: the spare map is ours, and what it stands for the program has unmapped.
                unsafe { maps::unmap(at, piece.spare - at)? };
            }
            // SAFETY: the same bytes, as the lease is still held.
            unsafe { maps::move_over(piece.spare, piece.len, piece.addr)? };
            at = piece.spare + piece.len;
        }
        let end = self.spare + self.len;
        // SAFETY: as above.
        if at < end { unsafe { maps::unmap(at, end - at) } } else { Ok(()) }
    }

    /// Bytes that are paged.
    pub(crate) fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len as u64).sum()
    }

    /// Bytes that were promised when the program wrote to it first.
    pub(crate) fn promised(&self) -> u64 {
        if self.is_own { self.len as u64 } else { 0 }
    }
}

/// Why a map stays with the kernel, of what fcntl(2) says.
fn refused(error: Errno) -> u64 {
    match error {
        Errno::AGAIN => kept::WRITABLE,
        Errno::ACCESS => kept::NOT_OWNER,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => kept::LIMIT,
        _ => kept::FILE_SYSTEM,
    }
}

impl Live {
    /// Whether a page is one of a map of the program's.
    pub(crate) fn is_leased(&self, pager: &Pager, page: PageNo) -> bool {
        self.files.leases.as_ref().is_some_and(|leases| !leases.are_none())
            && pager.area(page).is_some_and(|area| area.home(page).is_some())
    }

    /// The userfaultfd that serves a page.
    pub(crate) fn uffd_of(&self, pager: &Pager, page: PageNo) -> &Uffd {
        match &self.files.leases {
            Some(leases) if self.is_leased(pager, page) => &leases.uffd,
            _ => &self.arena,
        }
    }

    /// Whoever waits there looks again, whatever the memory is.
    pub(crate) fn wake_all(&self, addr: usize, len: usize) {
        let _ = self.arena.wake(addr, len);
        let _ = self.files.leases.as_ref().map(|leases| leases.uffd.wake(addr, len));
    }

    /// Pages a map that the program has just made and nobody has seen, if it can be had.
    pub(crate) fn lease(&mut self, pager: &mut Pager, map: &NewLease) -> Result<(), Errno> {
        let bytes = map.pages.count * PAGE as u64;
        let taken = self.try_lease(pager, map);
        if let Some(record) = self.voice.record() {
            let paged = taken.unwrap_or(0);
            record.paged_file_bytes.fetch_add(paged, Relaxed);
            // What lies past the end of a file is nothing.
            taken.err().into_iter().for_each(|reason| record.keep_file(bytes, reason));
        }
        taken.map(drop).map_err(|_| Errno::NOTSUP)
    }

    /// The bytes that are paged from now on, or why none are.
    fn try_lease(&mut self, pager: &mut Pager, map: &NewLease) -> Result<u64, u64> {
        let Some(leases) = &self.files.leases else { return Err(kept::MACHINE) };
        let Some(clerk) = leases.clerk else { return Err(kept::MACHINE) };
        let waits = lease::break_time(self.proc.as_fd()).map_err(|_| kept::MACHINE)?;
        if waits.is_some_and(|time| time < LEAST_BREAK_TIME) {
            return Err(kept::MACHINE);
        }
        if leases.count >= MOST {
            return Err(kept::LIMIT);
        }
        let buffered = self.open_of_program(map).map_err(refused)?;
        let facts = fstat(&buffered).map_err(refused)?;
        let is_the_file = (facts.st_dev, facts.st_ino) == map.file;
        if !is_the_file || FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
            return Err(kept::KIND);
        }
        if !lease::are_complete(&buffered) {
            return Err(kept::FILE_SYSTEM);
        }
        let direct = store::open_direct(buffered.as_fd(), PAGE, OFlags::RDONLY).ok_or(kept::FILE_SYSTEM)?;
        lease::take(direct.as_fd(), clerk).map_err(refused)?;
        // From here on the file is what it is. Dropped, a descriptor gives its lease up.
        let end = fstat(&direct).map_err(refused)?.st_size as u64;
        let pages = end.saturating_sub(map.offset).div_ceil(PAGE as u64).min(map.pages.count);
        if pages == 0 {
            return Err(kept::KIND);
        }
        let range = PageRange { count: pages, ..map.pages };
        let number = match &mut self.files.leases {
            Some(leases) => leases.numbers.take(pages).ok_or(kept::LIMIT)?,
            None => return Err(kept::MACHINE),
        };
        if let Err(error) = self.take_place(range, map.rights) {
            self.files.leases.iter_mut().for_each(|leases| leases.numbers.give_back(number, pages));
            debug_assert!(error != Errno::INVAL, "what is put there can be registered");
            return Err(kept::LIMIT);
        }
        let first = SlotNo(pager.slots_total() + number);
        pager.discard(range, |_, _| {});
        pager.add_home_area(range, first, Sharing::ReadOnly);
        self.files.sources.add(Source {
            first,
            count: pages as u32,
            pages: range,
            offset: map.offset,
            end,
            sharing: Sharing::ReadOnly,
            origin: Origin::File(Descriptors { buffered, direct: Some(direct) }),
            retired: Vec::new(),
            latched: None,
            under_way: 0,
            closing: None,
            leased: Some(Leased {
                spare: map.spare,
                len: map.pages.count as usize * PAGE,
                is_returning: false,
                is_own: false,
            }),
        });
        self.files.leases.iter_mut().for_each(|leases| leases.count += 1);
        Ok(pages * PAGE as u64)
    }

    /// Opens for reading what the program has open.
    fn open_of_program(&self, map: &NewLease) -> Result<OwnedFd, Errno> {
        let path = format!("{}/task/{}/fd/{}", crate::engine::program(), map.thread, map.descriptor);
        // Whoever has a lease to write would be waited for.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.proc, path, flags, Mode::empty())?;
        // A transfer is to wait for the disk all the same.
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
        Ok(file)
    }

    /// Puts memory that is served here in the place of a map.
    fn take_place(&self, range: PageRange, rights: Rights) -> Result<(), Errno> {
        let Some(leases) = &self.files.leases else { return Err(Errno::NOTSUP) };
        let (addr, len) = (addr_of(range.start), range.count as usize * PAGE);
        // SAFETY: the program's thread that has made the map waits, and nobody else knows of it. It puts the
        // spare map there if this fails.
        unsafe { maps::put_memory(addr, len, rights)? };
        maps::dont_fork(addr, len)?;
        maps::no_huge_pages(addr, len)?;
        // SAFETY: as above; its faults are served from now on.
        unsafe { leases.uffd.register(addr, len, Register::MissingAndWriteProtect) }
    }

    /// Parks pages of such maps: what is there is what is parked, as nobody can change it.
    pub(crate) fn park_leased(&mut self, pager: &mut Pager, range: PageRange, run: PlaceRun) -> u32 {
        let (start, end) = (addr_of(range.start), addr_of(range.end()));
        let Self { pool, pagemap, .. } = self;
        let (dst, mut there) = (pool.address(run.start), [0_u64; 4]);
        // A page that the program has dropped by a raw system call would be this thread's own to serve.
        let scanned = pagemap.scan_present(start, end, |from, to| {
            for addr in (from..to).step_by(PAGE) {
                let index = (addr - start) / PAGE;
                there[index / 64] |= 1 << (index % 64);
            }
            // SAFETY: the program's memory that can be read, and is mapped; the places are empty and ours.
            unsafe {
                core::ptr::copy_nonoverlapping(from as *const u8, (dst + from - start) as *mut u8, to - from);
            }
        });
        let dropped = scanned.is_ok() && maps::dont_need(start, end - start).is_ok();
        let mut parked = 0;
        for (index, (place, page)) in run.places().zip(range.pages()).enumerate() {
            let is_there = there[index / 64] >> (index % 64) & 1 != 0;
            let resident = match pager.state(page) {
                State::Resident { frame, .. } => Some(frame),
                _ => None,
            };
            match resident.filter(|_| dropped) {
                Some(frame) if is_there => {
                    pager.parked(page);
                    self.pool.set_place(frame, place);
                    parked += 1;
                    continue;
                }
                Some(_) => pager.vanished(page),
                None => self.watch.recorder.stayed(page, Stays::Pinned),
            }
            self.pool.give_back(place);
        }
        parked
    }

    /// Gives maps back, which the clerk does.
    pub(crate) fn order_return(&mut self, range: PageRange, ticket: Ticket) {
        match &mut self.files.leases {
            Some(leases) if leases.clerk.is_some() && !leases.are_none() => {
                leases.orders.push(Order { range, ticket });
                leases.clerk.into_iter().for_each(lease::wake);
            }
            // There is nothing to give back.
            _ => ticket.end(Ok(())),
        }
    }

    /// A thread of the program's waits to write to a private map: it goes on when the kernel has it.
    pub(super) fn return_written(&mut self, page: PageNo) {
        if let Some(leases) = &mut self.files.leases {
            leases.refused.push(page);
            leases.clerk.into_iter().for_each(lease::wake);
        }
    }

    /// The first homes of the maps that are to be given back because they are written, since this was asked last.
    pub(crate) fn written_leases(&mut self, pager: &Pager) -> Vec<SlotNo> {
        let refused = self.files.leases.as_mut().map(|leases| core::mem::take(&mut leases.refused));
        let pages = refused.unwrap_or_default();
        pages.iter().flat_map(|page| self.leases_within(pager, PageRange::one(*page))).collect()
    }

    /// The first homes of the maps that have pages in `range`.
    pub(crate) fn leases_within(&self, pager: &Pager, range: PageRange) -> Vec<SlotNo> {
        let mut homes: Vec<SlotNo> = Vec::new();
        for area in pager.areas_within(range) {
            let home = area.home(area.range.start).and_then(|home| self.files.sources.find(home));
            homes.extend(home.filter(|source| source.leased.is_some()).map(|source| source.first));
        }
        homes.dedup();
        homes
    }

    /// The same of those that somebody wants to write to.
    pub(crate) fn broken_leases(&self) -> Vec<SlotNo> {
        let leased =
            self.files.sources.all().filter(|source| source.leased.is_some() && source.closing.is_none());
        let is_broken = |source: &&Source| {
            let direct = source.origin.file().and_then(|file| file.direct.as_ref());
            direct.is_some_and(|direct| lease::state(direct.as_fd()) == lease::State::Broken)
        };
        leased.filter(is_broken).map(|source| source.first).collect()
    }

    /// What is to be done to give a map back; none if it has been.
    pub(crate) fn returning(&self, pager: &Pager, home: SlotNo) -> Option<Returning> {
        let source = self.files.sources.find(home).filter(|source| source.closing.is_none())?;
        let Leased { spare, len, is_own, .. } = source.leased?;
        let mut pieces: Vec<Piece> = Vec::new();
        for area in pager.areas() {
            let Some(home) = area.home(area.range.start).filter(|home| source.has(*home)) else { continue };
            pieces.push(Piece {
                addr: addr_of(area.range.start),
                len: area.range.count as usize * PAGE,
                spare: spare + (home.0 - source.first.0) as usize * PAGE,
            });
        }
        pieces.sort_by_key(|piece| piece.spare);
        Some(Returning { spare, len, pieces, is_own })
    }

    /// The same for the clerk, who is about to do it.
    pub(crate) fn begin_return(&mut self, pager: &Pager, home: SlotNo) -> Option<Returning> {
        let returning = self.returning(pager, home)?;
        let source = self.files.sources.find_mut(home)?;
        source.leased.iter_mut().for_each(|leased| leased.is_returning = true);
        Some(returning)
    }

    /// All of them, as a forked child has to give them back.
    pub(crate) fn all_returning(&self, pager: &Pager) -> Vec<Returning> {
        let homes = self.files.sources.all().map(|source| source.first);
        homes.filter_map(|home| self.returning(pager, home)).collect()
    }

    /// A map has been given back: so is its lease.
    pub(crate) fn returned(&mut self, home: SlotNo, map: &Returning) {
        let bytes = map.bytes();
        if let Some(record) = self.voice.record() {
            record.returned_file_bytes.fetch_add(bytes, Relaxed);
        }
        // Whether a private map that has been written shows what is written to the file later, nobody has promised.
        if self.end_lease(home) == Some(End::Late) && bytes > 0 && !map.is_own {
            die(
                "somebody wrote to a file that the program has mapped, and the kernel did not wait until the map was \
                 given back (/proc/sys/fs/lease-break-time): the program is stopped, because it may have read what \
                 was there before. Without --map-files this cannot happen",
            );
        }
    }

    fn end_lease(&mut self, home: SlotNo) -> Option<End> {
        let source = self.files.sources.find_mut(home).filter(|source| source.closing.is_none())?;
        let direct = source.origin.file()?.direct.as_ref()?;
        let end = lease::give_up(direct.as_fd());
        source.closing = Some(Ticket::new());
        if source.under_way == 0 {
            self.end_source(home);
        }
        Some(end)
    }

    /// A range has been unmapped or moved, in which one of these may have been.
    pub(crate) fn note_unmapped(&mut self, range: PageRange) {
        let Some(leases) = self.files.leases.as_mut().filter(|leases| leases.count > 0) else { return };
        let is_hit = |source: &Source| source.leased.is_some() && source.pages.intersection(range).count > 0;
        leases.is_unmapped |= self.files.sources.all().any(is_hit);
    }

    /// Gives up the leases of maps of which nothing is left; the bytes that are promised no more.
    pub(crate) fn end_unused_leases(&mut self, pager: &Pager) -> u64 {
        let Some(leases) = &mut self.files.leases else { return 0 };
        if !core::mem::take(&mut leases.is_unmapped) || leases.are_none() {
            return 0;
        }
        let mut renounced = 0;
        for home in self.unused(pager) {
            let Some(unused) = self.returning(pager, home) else { continue };
            let Returning { spare, len, .. } = unused;
            renounced += unused.promised();
            // SAFETY: the spare map is ours, and its map is gone. Nothing is registered there, so that nobody is
            // told.
            if unsafe { maps::unmap(spare, len) }.is_err() {
                die("the kernel refuses munmap on a map of Outcore's own");
            }
            // Late or not: nobody could have read it since.
            let _ = self.end_lease(home);
        }
        renounced
    }

    fn unused(&self, pager: &Pager) -> Vec<SlotNo> {
        // Of what is being returned the spare map is not there any more.
        let is_ours = |source: &&Source| source.leased.is_some_and(|leased| !leased.is_returning);
        let leased = self.files.sources.all().filter(is_ours);
        let homes: Vec<SlotNo> = leased.map(|source| source.first).collect();
        let is_unused = |home: &SlotNo| self.returning(pager, *home).is_some_and(|map| map.pieces.is_empty());
        homes.into_iter().filter(is_unused).collect()
    }

    /// A source is no more: its numbers may be another's.
    pub(crate) fn forget_lease(&mut self, source: &Source) {
        let number = self.files.number(source.first);
        if let (Some(_), Some(leases)) = (source.leased, &mut self.files.leases) {
            leases.count -= 1;
            leases.numbers.give_back(number, u64::from(source.count));
        }
    }
}
