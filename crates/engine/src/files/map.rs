#![expect(unsafe_code, reason = "maps shared memory, and drops what nobody maps any more")]
//! Maps of files, for program threads.

use crate::PAGE;
use crate::advise::Usage;
use crate::core::{addr_of, pages_of};
use crate::files::desk::{Staffed, Supply};
use crate::files::directory::{Mapped, Object, Piece, Supplied};
use crate::files::error::MapError;
use crate::files::opened::Opened;
use crate::files::request::{FileRequest, NewSource, ViewPart};
use crate::files::source::Origin;
use crate::files::ticket::Ticket;
use crate::files::{directory::Identity, directory::Window};
use crate::instance::Instance;
use crate::signals::Blocked;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use pager::{PageNo, PageRange, Pattern, Sharing, SlotNo, State};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::sync::Arc;
use sys::maps::Reservation;
use sys::views::{self, Rights, ViewedMemory};

/// How long to wait for a transfer that is in the way.
const AGAIN: Duration = Duration::from_micros(200);

/// What may be done with a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is only read. What others write to the file by maps of the same engine is seen.
    ReadOnly,
    /// What is written reaches the file, and every other shared or read-only map of it.
    Shared,
    /// What is written is the map's alone.
    Private,
}

/// What is to be mapped.
#[derive(Clone, Copy, Debug)]
pub struct FileSpec<'a> {
    /// The file; it may be closed as soon as it is mapped.
    pub file: BorrowedFd<'a>,
    /// What may be done with the map.
    pub access: Access,
    /// Where the map begins in the file, in bytes: a multiple of [`PAGE`].
    pub offset: u64,
    /// Its bytes.
    pub len: usize,
}

/// What is to be mapped that is not in a file.
#[derive(Clone)]
pub struct ProgramSpec {
    /// Who supplies its pages.
    pub supply: Arc<dyn Supply>,
    /// What it is called in messages.
    pub name: String,
    /// Read-only maps with the same number show the same pages; of what has none no two do.
    pub identity: Option<u128>,
    /// Threads that call `supply`, at least one.
    pub threads: usize,
    /// What may be done with the map.
    pub access: Access,
    /// Its bytes.
    pub len: usize,
}

impl core::fmt::Debug for ProgramSpec {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ProgramSpec({}, {:?}, {} bytes)", self.name, self.access, self.len)
    }
}

/// Pages of a file, mapped. To be given to [`Instance::unmap_file`]; in a forked child, where
/// there is nothing at its addresses, to be forgotten.
#[derive(Debug)]
pub struct FileMap {
    addr: usize,
    /// In whole pages.
    len: usize,
    origin: Origin,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Shared { identity: Identity, of_file: PageRange, parts: Vec<ViewPart>, is_writable: bool },
    Private { memory: Reservation, number: u32 },
}

impl FileMap {
    /// Where it begins.
    pub fn addr(&self) -> usize {
        self.addr
    }

    /// Its bytes, in whole pages.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: it has at least a page.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The core's pages of a part.
    fn pages(&self, addr: usize, len: usize) -> Vec<PageRange> {
        match &self.kind {
            Kind::Private { .. } => vec![pages_of(addr, len)],
            Kind::Shared { parts, .. } => {
                let of_part = |part: &ViewPart| {
                    let seen = pages_of(part.addr, part.pages.count as usize * PAGE);
                    let wanted = seen.intersection(pages_of(addr, len));
                    let start = part.pages.start.plus(wanted.start.0.saturating_sub(seen.start.0));
                    PageRange { start, count: wanted.count }
                };
                parts.iter().map(of_part).filter(|range| range.count > 0).collect()
            }
        }
    }
}

impl Instance {
    /// Maps pages of a file.
    ///
    /// # Errors
    /// See [`MapError`]; nothing has changed then.
    pub fn map_file(&self, spec: FileSpec<'_>) -> Result<FileMap, MapError> {
        if spec.len == 0 {
            return Err(MapError::Empty);
        }
        if !spec.offset.is_multiple_of(PAGE as u64) {
            return Err(MapError::Offset { offset: spec.offset });
        }
        let file = Opened::new(spec.file, spec.access)?;
        let end = spec.offset.saturating_add(spec.len as u64);
        if end > file.end.next_multiple_of(PAGE as u64) || spec.offset >= file.end {
            return Err(MapError::PastEnd { end, len: file.end });
        }
        let of_file =
            PageRange { start: PageNo(spec.offset / PAGE as u64), count: spec.len.div_ceil(PAGE) as u64 };
        self.map_opened(file, spec.access, of_file)
    }

    /// Maps what a program supplies.
    ///
    /// # Errors
    /// See [`MapError`]; nothing has changed then.
    pub fn map_program(&self, spec: ProgramSpec) -> Result<FileMap, MapError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if spec.len == 0 {
            return Err(MapError::Empty);
        }
        let supplied = match spec.identity {
            Some(number) => Supplied::Named(number),
            None => Supplied::Alone(NEXT.fetch_add(1, Ordering::Relaxed)),
        };
        let desk = Staffed::new(self.shared(), spec.name, spec.supply, spec.threads).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::NOMEM);
            MapError::Kernel("threads that supply pages cannot be started", errno)
        })?;
        let (identity, end) = (Identity::Program(supplied), spec.len as u64);
        let of_file = PageRange { start: PageNo(0), count: spec.len.div_ceil(PAGE) as u64 };
        self.map_opened(Opened { origin: Origin::Program(desk), identity, end }, spec.access, of_file)
    }

    fn map_opened(&self, file: Opened, access: Access, of_file: PageRange) -> Result<FileMap, MapError> {
        let mut mapped = self.files.lock();
        if mapped.window.is_none() {
            let slots = self.slots();
            let window = Window::new(pager::MAX_NUMBERS.saturating_sub(slots))
                .map_err(|error| MapError::Kernel("no address space for mapped files", error))?;
            self.ask_about_files(FileRequest::Window(window.range()))
                .map_err(|error| MapError::Kernel("the pager", error))?;
            mapped.window = Some(window);
        }
        match access {
            Access::Private => self.map_private(&mut mapped, file, of_file),
            Access::ReadOnly => self.map_shared(&mut mapped, file, of_file, false),
            Access::Shared => self.map_shared(&mut mapped, file, of_file, true),
        }
    }

    fn slots(&self) -> u32 {
        let _blocked = Blocked::all();
        self.lock_core().pager.slots_total()
    }

    pub(crate) fn ask_about_files(&self, request: FileRequest) -> Result<(), Errno> {
        self.address_space().ask_about_files(request)
    }

    /// Has the pager thread get descriptors and make them homes.
    fn add_source(&self, file: &Opened, new: NewSource) -> Result<(), MapError> {
        self.send(file)?;
        let new = NewSource { program: file.origin.program().map(Arc::clone), ..new };
        self.ask_about_files(FileRequest::Source(new))
            .map_err(|error| MapError::Kernel("the pager cannot page the file", error))
    }

    fn send(&self, file: &Opened) -> Result<(), MapError> {
        let Some(file) = file.origin.file() else { return Ok(()) };
        let fds = [Some(file.buffered.as_fd()), file.direct.as_ref().map(AsFd::as_fd)];
        let count = 1 + usize::from(fds[1].is_some());
        let fds = [fds[0], fds[1].or(fds[0])].map(|fd| fd.unwrap_or(file.buffered.as_fd()));
        self.files
            .link
            .send(&fds[..count])
            .map_err(|error| MapError::Kernel("descriptors cannot be passed to the pager", error))
    }

    fn map_private(
        &self,
        mapped: &mut Mapped,
        file: Opened,
        of_file: PageRange,
    ) -> Result<FileMap, MapError> {
        let len = of_file.count as usize * PAGE;
        let bytes = len as u64;
        if !self.promise(bytes) {
            return Err(MapError::NoRoom { bytes });
        }
        let made = self.map_private_part(mapped, &file, of_file, len);
        match made {
            Ok((memory, number)) => {
                let kind = Kind::Private { memory, number };
                let addr = if let Kind::Private { memory, .. } = &kind { memory.addr() } else { 0 };
                Ok(FileMap { addr, len, origin: file.origin, kind })
            }
            Err(error) => {
                self.renounce(bytes);
                Err(error)
            }
        }
    }

    fn map_private_part(
        &self,
        mapped: &mut Mapped,
        file: &Opened,
        of_file: PageRange,
        len: usize,
    ) -> Result<(Reservation, u32), MapError> {
        let window = mapped.window.as_mut().ok_or(MapError::TooMuch { bytes: len as u64 })?;
        let memory = Reservation::new(len)
            .and_then(|memory| memory.dont_fork().map(|()| memory))
            .map_err(|error| MapError::Kernel("no address space for the map", error))?;
        let number = window.take(of_file.count).ok_or(MapError::TooMuch { bytes: len as u64 })?;
        let source = NewSource {
            first: SlotNo(self.slots() + number),
            pages: pages_of(memory.addr(), len),
            offset: of_file.start.0 * PAGE as u64,
            end: file.end,
            sharing: Sharing::Private,
            program: None,
        };
        if let Err(error) = self.add_source(file, source) {
            window.give_back(number, of_file.count);
            return Err(error);
        }
        Ok((memory, number))
    }

    fn map_shared(
        &self,
        mapped: &mut Mapped,
        file: Opened,
        of_file: PageRange,
        is_writable: bool,
    ) -> Result<FileMap, MapError> {
        let index = match mapped.objects.iter().position(|object| object.identity == file.identity) {
            Some(index) => index,
            None => {
                let memory = ViewedMemory::new(c"outcore-file", 0)
                    .map_err(|error| MapError::Kernel("no shared memory for the file", error))?;
                let (identity, end) = (file.identity, file.end);
                mapped.objects.push(Object { identity, memory, memory_len: 0, end, pieces: Vec::new() });
                mapped.objects.len() - 1
            }
        };
        let made = self.map_object(mapped, index, &file, of_file, is_writable);
        let identity = mapped.objects[index].identity;
        match made {
            Ok((addr, parts)) => {
                for piece in &mut mapped.objects[index].pieces {
                    piece.maps += u32::from(piece.of_file.intersection(of_file).count > 0);
                }
                let kind = Kind::Shared { identity, of_file, parts, is_writable };
                Ok(FileMap { addr, len: of_file.count as usize * PAGE, origin: file.origin, kind })
            }
            Err(error) => {
                self.end_unused(mapped, identity);
                Err(error)
            }
        }
    }

    fn map_object(
        &self,
        mapped: &mut Mapped,
        index: usize,
        file: &Opened,
        of_file: PageRange,
        is_writable: bool,
    ) -> Result<(usize, Vec<ViewPart>), MapError> {
        let slots = self.slots();
        let Mapped { window: Some(window), objects } = mapped else {
            return Err(MapError::Kernel("no window", Errno::NOMEM));
        };
        let object = &mut objects[index];
        let home = |number: u32| SlotNo(slots + number);
        if file.end > object.end {
            for piece in &object.pieces {
                self.tell_of_growth(home(piece.number), file.end)?;
            }
            object.end = file.end;
        }
        let whole = of_file.end().0 * PAGE as u64;
        if whole > object.memory_len {
            object
                .memory
                .set_len(whole)
                .map_err(|error| MapError::Kernel("shared memory as long as the file", error))?;
            object.memory_len = whole;
        }
        for piece in object.pieces.iter_mut().filter(|piece| is_writable && !piece.is_writable) {
            if piece.of_file.intersection(of_file).count > 0 {
                self.send(file)?;
                self.ask_about_files(FileRequest::Writable(home(piece.number)))
                    .map_err(|error| MapError::Kernel("the pager cannot write the file", error))?;
                piece.is_writable = true;
            }
        }
        for gap in object.gaps(of_file) {
            let len = gap.count as usize * PAGE;
            let number = window.take(gap.count).ok_or(MapError::TooMuch { bytes: len as u64 })?;
            let start = window.page(number);
            let offset = gap.start.0 * PAGE as u64;
            // SAFETY: addresses of the window that nobody has.
            let placed = unsafe { object.memory.map_over(addr_of(start), offset, len, Rights::ReadWrite) };
            let placed = placed
                .map_err(|error| MapError::Kernel("shared memory cannot be mapped", error))
                .and_then(|()| {
                    let pages = PageRange { start, count: gap.count };
                    let sharing = if is_writable { Sharing::Shared } else { Sharing::ReadOnly };
                    let (first, end) = (home(number), object.end);
                    self.add_source(file, NewSource { first, pages, offset, end, sharing, program: None })
                });
            if let Err(error) = placed {
                clear(start, gap.count);
                window.give_back(number, gap.count);
                return Err(error);
            }
            object.add(Piece { of_file: gap, number, is_writable, maps: 0 });
        }
        let rights = if is_writable { Rights::ReadWrite } else { Rights::Read };
        let len = of_file.count as usize * PAGE;
        let addr = object
            .memory
            .map(of_file.start.0 * PAGE as u64, len, rights)
            .map_err(|error| MapError::Kernel("the map", error))?;
        let mut parts: Vec<ViewPart> = Vec::new();
        for piece in &object.pieces {
            let part = piece.of_file.intersection(of_file);
            if part.count == 0 {
                continue;
            }
            let at = addr + (part.start.0 - of_file.start.0) as usize * PAGE;
            let start = window.page(piece.number).plus(part.start.0 - piece.of_file.start.0);
            let part = ViewPart { addr: at, pages: PageRange { start, count: part.count }, is_writable };
            if let Err(error) = self.ask_about_files(FileRequest::View(part)) {
                self.hide(&parts);
                // SAFETY: nobody has been told of the map.
                unsafe { views::release(addr, len) };
                return Err(MapError::Kernel("the map cannot be registered with userfaultfd", error));
            }
            parts.push(part);
        }
        Ok((addr, parts))
    }

    /// Waits while the page in which the file ended is being transferred.
    fn tell_of_growth(&self, home: SlotNo, end: u64) -> Result<(), MapError> {
        loop {
            match self.ask_about_files(FileRequest::Grow(home, end)) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) => std::thread::sleep(AGAIN),
                Err(error) => return Err(MapError::Kernel("the page in which the file ended", error)),
            }
        }
    }

    fn hide(&self, parts: &[ViewPart]) {
        for part in parts {
            let hidden = self.ask_about_files(FileRequest::NoView(part.addr));
            debug_assert_eq!(hidden, Ok(()));
        }
    }

    /// Ends what no map has of a file.
    fn end_unused(&self, mapped: &mut Mapped, identity: Identity) {
        let slots = self.slots();
        let Mapped { window: Some(window), objects } = mapped else { return };
        let Some(index) = objects.iter().position(|object| object.identity == identity) else { return };
        let object = &mut objects[index];
        for piece in object.pieces.iter().filter(|piece| piece.maps == 0) {
            self.end(SlotNo(slots + piece.number));
            clear(window.page(piece.number), piece.of_file.count);
            window.give_back(piece.number, piece.of_file.count);
        }
        object.pieces.retain(|piece| piece.maps > 0);
        if object.pieces.is_empty() {
            objects.remove(index);
        }
    }

    /// Waits until nothing uses a source, which is then gone.
    fn end(&self, home: SlotNo) {
        let ticket = Ticket::new();
        let asked = self.ask_about_files(FileRequest::End(home, ticket.clone()));
        debug_assert_eq!(asked, Ok(()));
        let ended = ticket.wait();
        debug_assert_eq!(ended, Ok(()));
    }

    /// Writes what is dirty of a part of the file to it, by whichever map it was written, and
    /// waits for it. Nothing is of what private maps have. What is
    /// meanwhile written to the map may be written or not.
    ///
    /// # Errors
    /// The first error; what could not be written is still in memory, and dirty.
    pub fn write_back_file(&self, map: &FileMap, addr: usize, len: usize) -> Result<(), Errno> {
        if matches!(map.kind, Kind::Private { .. }) {
            return Ok(());
        }
        let begin = |range: PageRange| {
            let ticket = Ticket::new();
            self.ask_about_files(FileRequest::Flush(range, ticket.clone())).map(|()| ticket)
        };
        let tickets: Vec<_> = map.pages(addr, len).into_iter().map(begin).collect();
        tickets.into_iter().map(|ticket| ticket.and_then(|ticket| ticket.wait())).fold(Ok(()), Result::and)
    }

    /// [`Self::write_back_file`], and waits until the disk has it.
    ///
    /// # Errors
    /// As there, and what fdatasync(2) says.
    pub fn flush_file(&self, map: &FileMap, addr: usize, len: usize) -> Result<(), Errno> {
        self.write_back_file(map, addr, len)?;
        match &map.origin {
            Origin::File(file) => rustix::fs::fdatasync(&file.buffered),
            // It has been told everything; what it does about disks is its own business.
            Origin::Program(_) => Ok(()),
        }
    }

    /// Ends all calls of what supplies a map, and makes no more: who waits for a page of it
    /// gets a bus error, and what is dirty stays in memory. Of a file, nothing.
    pub fn cancel(&self, map: &FileMap) {
        if map.origin.program().is_none() {
            return;
        }
        let slots = self.slots();
        let numbers: Vec<u32> = match &map.kind {
            Kind::Private { number, .. } => vec![*number],
            Kind::Shared { identity, .. } => {
                let mapped = self.files.lock();
                let object = mapped.objects.iter().find(|object| object.identity == *identity);
                object.map_or(Vec::new(), |object| object.pieces.iter().map(|piece| piece.number).collect())
            }
        };
        for number in numbers {
            let told = self.ask_about_files(FileRequest::Cancel(SlotNo(slots + number)));
            debug_assert_eq!(told, Ok(()));
        }
    }

    /// What the program's code said when it failed last, since this was asked last.
    pub fn last_failure(&self, map: &FileMap) -> Option<String> {
        map.origin.program().and_then(|desk| desk.last_failure())
    }

    /// Writes what is dirty of a shared map to the file and unmaps it. It is unmapped in any
    /// case; nobody may use its memory any more.
    ///
    /// # Errors
    /// The first error of a write: if no other map has the page, what was in it is lost.
    pub fn unmap_file(&self, map: FileMap) -> Result<(), Errno> {
        let may_be_dirty = matches!(map.kind, Kind::Shared { is_writable: true, .. });
        let written = if may_be_dirty { self.write_back_file(&map, map.addr, map.len) } else { Ok(()) };
        let FileMap { addr, len, kind, .. } = map;
        let mut mapped = self.files.lock();
        match kind {
            Kind::Private { memory, number } => {
                let space = self.address_space();
                let change = space.changing(addr, len);
                drop(memory);
                drop(change);
                drop(space);
                let pages = (len / PAGE) as u64;
                self.end(SlotNo(self.slots() + number));
                mapped.window.iter_mut().for_each(|window| window.give_back(number, pages));
                self.renounce(len as u64);
            }
            Kind::Shared { identity, of_file, parts, .. } => {
                self.hide(&parts);
                // SAFETY: the caller's contract: nobody uses the map.
                unsafe { views::release(addr, len) };
                let object = mapped.objects.iter_mut().find(|object| object.identity == identity);
                for piece in object.into_iter().flat_map(|object| &mut object.pieces) {
                    piece.maps -= u32::from(piece.of_file.intersection(of_file).count > 0);
                }
                self.end_unused(&mut mapped, identity);
            }
        }
        written
    }

    fn tell(&self, map: &FileMap, addr: usize, len: usize, request: impl Fn(PageRange) -> FileRequest) {
        for range in map.pages(addr, len) {
            let told = self.ask_about_files(request(range));
            debug_assert_eq!(told, Ok(()));
        }
    }

    /// How a part of a map will be used.
    pub fn use_file(&self, map: &FileMap, addr: usize, len: usize, pattern: Pattern) {
        self.tell(map, addr, len, |range| FileRequest::Pattern(range, pattern));
    }

    /// Has a part of a map brought in in the background, as far as nothing has to leave for it.
    pub fn populate_file(&self, map: &FileMap, addr: usize, len: usize) {
        self.populate_parts(map, &[(addr, len)]);
    }

    /// The same for several parts, in order.
    pub fn populate_parts(&self, map: &FileMap, parts: &[(usize, usize)]) {
        let ranges = parts.iter().flat_map(|(addr, len)| map.pages(*addr, *len)).collect();
        let told = self.ask_about_files(FileRequest::Populate(ranges));
        debug_assert_eq!(told, Ok(()));
    }

    /// Calls `each` with the pages of a part that are not only where it is mapped from: those in
    /// memory and in the store, by their number from the part's start on, and false for those that
    /// are lost. Holds up the pager as long as that takes.
    pub fn for_each_touched(&self, map: &FileMap, addr: usize, len: usize, mut each: impl FnMut(u64, bool)) {
        let _blocked = Blocked::all();
        let ranges = map.pages(addr, len);
        let core = self.lock_core();
        let mut before = 0;
        for range in ranges {
            core.pager.for_each_touched(range, |page, state| {
                each(before + page.0 - range.start.0, state != State::Poisoned);
            });
            before += range.count;
        }
    }

    /// Has the pages of a part leave next, unless they are touched before.
    pub fn cool_file(&self, map: &FileMap, addr: usize, len: usize) {
        self.tell(map, addr, len, FileRequest::Cool);
    }

    /// Where the pages of a part are.
    pub fn usage_of_file(&self, map: &FileMap, addr: usize, len: usize) -> Usage {
        let _blocked = Blocked::all();
        // Before: where the map is may be paged.
        let ranges = map.pages(addr, len);
        let core = self.lock_core();
        ranges.into_iter().fold(Usage::default(), |sum, range| sum + Usage::of(&core.pager, range))
    }

    /// Pins a part, or lets it go. False, and nothing changed, when pinned memory would leave
    /// less than half the frames.
    pub fn pin_file(&self, map: &FileMap, addr: usize, len: usize, pinned: bool) -> bool {
        let _blocked = Blocked::all();
        let ranges = map.pages(addr, len);
        self.lock_core().pin(&ranges, pinned)
    }
}

/// Drops what the window has there, which no page of the core's is any more.
fn clear(start: PageNo, pages: u64) {
    let (addr, len) = (addr_of(start), pages as usize * PAGE);
    // SAFETY: the core has no page there, and no view shows it. Failing, memory stays taken
    // until the file's last map ends, and the addresses are mapped over when they are used.
    unsafe {
        let _ = views::remove(addr, len);
        let _ = views::close_off(addr, len);
    }
}
