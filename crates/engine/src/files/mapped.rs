//! Maps of files that the program makes, as its own threads tell of them.

use crate::core::{Request, pages_of};
use crate::engine::{AddressSpace, Engine, Stage};
use crate::files::request::{FileRequest, NewLease};
use crate::files::ticket::Ticket;
use core::sync::atomic::Ordering;
use pager::Pattern;
use rustix::io::Errno;
use sys::lease;
use sys::status::kept;
use sys::views::Rights;

/// A map that the program has just made, for reading, or private.
#[derive(Clone, Copy, Debug)]
pub struct ProgramMap {
    /// Where it is. Nobody knows yet.
    pub addr: usize,
    /// Where the same is mapped once more.
    pub spare: usize,
    /// Its bytes, in whole pages.
    pub len: usize,
    /// Where it begins in the file.
    pub offset: u64,
    /// The descriptor that was mapped, in the calling thread's table.
    pub descriptor: i32,
    /// Its file's device and number.
    pub file: (u64, u64),
    /// It is private, and may be written.
    pub is_writable: bool,
}

impl Engine {
    /// Whether files are to be paged that the program maps.
    pub fn maps_files(&self) -> bool {
        self.settings.map_files && self.stage() != Stage::Off
    }

    /// Whether a map of so many bytes that is about to be made should be told of, by [`AddressSpace::file_mapped`]:
    /// not if all that was promised and mapped fits the budget. Waits until it can be paged. The
    /// address space is not locked.
    pub fn wants_file(&self, bytes: u64) -> bool {
        if self.stage() != Stage::Paging {
            let mapped = self.mapped_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
            if self.has_room_for(self.promised().saturating_add(mapped)) {
                self.keep_file(bytes, kept::FITS);
                return false;
            }
            self.wants_paging.store(true, Ordering::Release);
            self.watch();
        }
        // A pager that was killed makes nothing ready.
        self.files_ready.wait(self).is_ok() && self.stage() == Stage::Paging
    }

    /// A map of so many bytes is left to the kernel, for a reason of [`kept`].
    pub fn keep_file(&self, bytes: u64, reason: u64) {
        self.voice.record().into_iter().for_each(|record| record.keep_file(bytes, reason));
    }
}

impl AddressSpace<'_> {
    /// Has a map paged, as long as nobody can write to its file.
    ///
    /// # Errors
    /// It cannot be paged, and what is at its address is not known: the spare map is to be moved there.
    pub fn file_mapped(&self, map: &ProgramMap) -> Result<(), Errno> {
        let ProgramMap { addr, spare, len, offset, descriptor, file, is_writable } = *map;
        let pages = pages_of(addr, len);
        let thread = lease::this_thread();
        let rights = if is_writable { Rights::ReadWrite } else { Rights::Read };
        let new = NewLease { thread, descriptor, file, pages, offset, spare, rights };
        self.ask_about_files(FileRequest::Lease(new))
    }

    /// Whether a part of a range is a map of a file that is paged.
    pub fn has_files(&self, addr: usize, len: usize) -> bool {
        let engine = self.engine();
        if !engine.settings.map_files || engine.stage() != Stage::Paging {
            return false;
        }
        let areas = engine.lock_core().pager.areas_within(pages_of(addr, len));
        areas.iter().any(|area| area.home(area.range.start).is_some())
    }

    /// Gives maps of files that have pages here back to the kernel, all of each. They are the same to the
    /// program, which can do with them what the kernel allows.
    pub fn return_files(&self, addr: usize, len: usize) {
        let ticket = Ticket::new();
        let told = self.ask_about_files(FileRequest::Return(pages_of(addr, len), ticket.clone()));
        debug_assert_eq!(told, Ok(()));
        let ended = ticket.wait();
        debug_assert_eq!(ended, Ok(()));
    }

    /// How the program will use a range of such maps.
    pub fn use_files(&self, addr: usize, len: usize, pattern: Pattern) {
        let told = self.ask_about_files(FileRequest::Pattern(pages_of(addr, len), pattern));
        debug_assert_eq!(told, Ok(()));
    }

    /// Has the pager thread see to files; what it says.
    pub(crate) fn ask_about_files(&self, request: FileRequest) -> Result<(), Errno> {
        self.ask(Request::File(request));
        let answer = self.engine().lock_core().file_answer.take();
        answer.unwrap_or(Ok(()))
    }
}
