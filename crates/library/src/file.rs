#![expect(unsafe_code, reason = "lends mapped memory")]
//! Files in paged memory.

use crate::at_exit;
use crate::bounds::{Bounds, bounds};
use crate::file_error::FileError;
use crate::fork::Listed;
use crate::paging::{Paging, RangeError};
use crate::racy;
use crate::resident;
use core::fmt::{self, Debug, Formatter};
use core::ops::RangeBounds;
use core::ptr;
use engine::{Access, FileMap, FileSpec, PAGE, Pattern, Usage};
use rustix::fs::{FileType, SeekFrom};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::sync::Arc;

/// What is to be mapped of a file, and for what. See [`Heap::map_file`](crate::Heap::map_file).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapOptions {
    access: Access,
    offset: u64,
    len: Option<usize>,
}

impl MapOptions {
    fn new(access: Access) -> Self {
        Self { access, offset: 0, len: None }
    }

    /// The map is only read.
    pub fn read_only() -> Self {
        Self::new(Access::ReadOnly)
    }

    /// What is written to the map reaches the file, and the other shared and read-only maps of
    /// the file in the same heap at once. The file has to be open for reading and writing.
    pub fn shared() -> Self {
        Self::new(Access::Shared)
    }

    /// What is written to the map is the map's alone, and goes to the heap's store.
    pub fn private() -> Self {
        Self::new(Access::Private)
    }

    /// Where the map begins in the file: a multiple of 4096; 0 if nothing is said.
    #[must_use]
    pub fn offset(self, offset: u64) -> Self {
        Self { offset, ..self }
    }

    /// How many bytes are mapped; up to the file's end if nothing is said.
    #[must_use]
    pub fn len(self, len: usize) -> Self {
        Self { len: Some(len), ..self }
    }
}

/// What the program is going to do with a part of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAdvice {
    /// Nothing special: streams are found by themselves.
    Normal,
    /// It will be read in order: what follows is read ahead from the first touch on.
    Sequential,
    /// It will be used in no order: nothing is read ahead.
    Random,
    /// It will be used soon: it is brought in in the background, in order, as far as nothing
    /// has to leave for it.
    WillNeed,
    /// It will not be used for long: what is in memory of it leaves next.
    Cold,
}

/// A part of a file, mapped, of which as much is in memory as the heap's budget allows.
///
/// It begins at an address that is a multiple of the page size, and stays there. Files are read
/// and written past the kernel's page cache where the file system can. The file may be closed or
/// unlinked meanwhile.
///
/// Several maps of one file in one heap see each other's writes at once, whatever parts they
/// have, except what was written to private ones; each page is in memory once for all of them.
/// Maps of different heaps, and read(2) and write(2), see what has been
/// [flushed](Self::flush); what they write is seen where a page is not in memory.
///
/// Where the file ends is looked up when it is mapped. Bytes behind that in the last page are
/// zero and never written to the file. If the file is made longer it has to be mapped again to
/// see more of it; if it is made shorter, touching a page that it has no longer is a bus error,
/// as with mmap(2), and what was dirty there is not written.
///
/// What is dirty is written when the map is dropped, and by exit(3). A process that ends otherwise takes with it
/// what has not been [flushed](Self::flush): unlike with mmap(2), the kernel does not have it.
///
/// ```
/// use outcore::{Heap, MapOptions};
/// # let dir = tempfile::tempdir_in("/var/tmp")?;
/// # let path = dir.path().join("numbers");
/// std::fs::write(&path, [7; 10_000])?;
/// let file = std::fs::File::options().read(true).write(true).open(&path)?;
///
/// let heap = Heap::builder().budget(8 << 20).build()?;
/// let map = heap.map_file(&file, MapOptions::shared())?;
/// let mut bytes = [0; 3];
/// map.read(9_990, &mut bytes)?;
/// assert_eq!(bytes, [7; 3]);
/// map.write(5_000, b"changed")?;
/// map.flush(..)?;
/// assert_eq!(&std::fs::read(&path)?[5_000..5_007], b"changed");
/// map.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MappedFile {
    paging: Arc<Paging>,
    /// None while it is being dropped.
    map: Option<Arc<FileMap>>,
    addr: usize,
    len: usize,
    access: Access,
    _listed: Listed,
}

/// Where a file ends; its position stays where it is.
fn end_of(file: &File) -> Result<u64, Errno> {
    let facts = rustix::fs::fstat(file)?;
    if FileType::from_raw_mode(facts.st_mode) == FileType::RegularFile {
        return Ok(facts.st_size as u64);
    }
    if FileType::from_raw_mode(facts.st_mode) != FileType::BlockDevice {
        // What it is, is said when it is to be mapped.
        return Ok(u64::MAX);
    }
    let position = rustix::fs::tell(file)?;
    let end = rustix::fs::seek(file, SeekFrom::End(0))?;
    rustix::fs::seek(file, SeekFrom::Start(position))?;
    Ok(end)
}

impl MappedFile {
    pub(crate) fn new(paging: &Arc<Paging>, file: &File, options: MapOptions) -> Result<Self, FileError> {
        if !paging.is_here() {
            return Err(FileError::Forked);
        }
        let len = match options.len {
            Some(len) => len,
            None => {
                let end = end_of(file).map_err(|error| FileError::Length(error.into()))?;
                usize::try_from(end.saturating_sub(options.offset)).unwrap_or(usize::MAX)
            }
        };
        resident::scope(|| {
            let spec = FileSpec { file: file.as_fd(), access: options.access, offset: options.offset, len };
            let map = paging.instance().map_file(spec).map_err(FileError::Map)?;
            let addr = map.addr();
            match Listed::new(addr, map.len()) {
                Some(listed) => {
                    let made = Self::of(paging, map, len, options.access, listed);
                    if options.access == Access::Shared {
                        made.map.iter().for_each(|map| at_exit::write_back(paging, map));
                    }
                    Ok(made)
                }
                None => {
                    // Nothing of it has been changed.
                    let _ = paging.instance().unmap_file(map);
                    Err(FileError::TooMany(RangeError::TooMany.to_string()))
                }
            }
        })
    }

    /// What has been mapped, and is listed.
    pub(crate) fn of(paging: &Arc<Paging>, map: FileMap, len: usize, access: Access, listed: Listed) -> Self {
        let addr = map.addr();
        Self { paging: Arc::clone(paging), map: Some(Arc::new(map)), addr, len, access, _listed: listed }
    }

    /// Whether its pager runs in this process.
    pub(crate) fn is_here(&self) -> bool {
        self.paging.is_here()
    }

    /// Ends the calls of what supplies it.
    pub(crate) fn cancel(&self) {
        if let Some(map) = self.map.as_ref().filter(|_| self.is_here()) {
            resident::scope(|| self.paging.instance().cancel(map));
        }
    }

    /// What supplies it said when it failed last.
    pub(crate) fn last_failure(&self) -> Option<String> {
        let map = self.map.as_ref().filter(|_| self.is_here())?;
        resident::scope(|| self.paging.instance().last_failure(map))
    }

    /// Has parts of it, as offsets and lengths in bytes, brought in in the background.
    pub(crate) fn will_need(&self, parts: &[(usize, usize)]) {
        if let Some(map) = self.map.as_ref().filter(|_| self.is_here()) {
            resident::scope(|| {
                let parts: Vec<_> = parts.iter().map(|(start, len)| (self.addr + start, *len)).collect();
                self.paging.instance().populate_parts(map, &parts);
            });
        }
    }

    /// Calls `each` with those of `count` pages from `first` on that are not only where the map is
    /// from, and false for those that are lost. None in a forked child.
    pub(crate) fn for_each_touched(&self, first: u64, count: u64, mut each: impl FnMut(u64, bool)) {
        if let Some(map) = self.map.as_ref().filter(|_| self.is_here()) {
            let (start, len) = (self.addr + first as usize * PAGE, count as usize * PAGE);
            let instance = self.paging.instance();
            instance.for_each_touched(map, start, len, |page, is_there| each(first + page, is_there));
        }
    }

    /// Bytes that are mapped.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: no map is without a byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where its first byte is.
    pub fn as_ptr(&self) -> *const u8 {
        ptr::with_exposed_provenance(self.addr)
    }

    /// The same, to write to. Writing to a read-only map is a fault (SIGSEGV).
    pub fn as_mut_ptr(&self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.addr)
    }

    /// Its bytes.
    ///
    /// # Safety
    /// While they are borrowed nobody writes to them: not by [`Self::write`], not by another
    /// map, nor to the file by other means. Touching what the file has no longer, or what the
    /// disk does not give back, is a bus error.
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped and readable as long as this; the rest is the caller's contract.
        unsafe { core::slice::from_raw_parts(self.as_ptr(), self.len) }
    }

    /// Its bytes, to be changed.
    ///
    /// # Safety
    /// As [`Self::as_slice`], and nobody reads them meanwhile either. The map is not read-only.
    pub unsafe fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { core::slice::from_raw_parts_mut(self.as_mut_ptr(), self.len) }
    }

    /// Copies bytes out of the map. What is written meanwhile is seen or not, byte by byte.
    ///
    /// # Errors
    /// [`FileError::OutOfRange`], [`FileError::Forked`].
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), FileError> {
        let (addr, len) = self.part(offset..offset.saturating_add(bytes.len()))?;
        debug_assert_eq!(len, bytes.len());
        // SAFETY: mapped for as long as this is.
        unsafe { racy::copy_out(addr, bytes) };
        Ok(())
    }

    /// Copies bytes into the map.
    ///
    /// # Errors
    /// [`FileError::ReadOnly`], [`FileError::OutOfRange`], [`FileError::Forked`].
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), FileError> {
        if self.access == Access::ReadOnly {
            return Err(FileError::ReadOnly);
        }
        let (addr, len) = self.part(offset..offset.saturating_add(bytes.len()))?;
        debug_assert_eq!(len, bytes.len());
        // SAFETY: mapped, and writable, for as long as this is.
        unsafe { racy::copy_in(addr, bytes) };
        Ok(())
    }

    /// Address and length of a part that is given in bytes.
    fn part(&self, range: impl RangeBounds<usize>) -> Result<(usize, usize), FileError> {
        let Bounds { start, end } = bounds(range, self.len);
        if start > end || end > self.len {
            return Err(FileError::OutOfRange { start, end, len: self.len });
        }
        if !self.paging.is_here() {
            return Err(FileError::Forked);
        }
        Ok((self.addr + start, end - start))
    }

    /// Does something with the whole pages that a part touches; without a byte, nothing.
    fn with<T: Default>(
        &self,
        range: impl RangeBounds<usize>,
        work: impl FnOnce(&FileMap, usize, usize) -> T,
    ) -> Result<T, FileError> {
        let (addr, len) = self.part(range)?;
        match &self.map {
            Some(map) if len > 0 => Ok(resident::scope(|| work(map, addr, len))),
            _ => Ok(T::default()),
        }
    }

    /// Writes what is dirty of a part to the file, by whichever map it was written, and waits
    /// until the disk has it. Nothing of private maps ever reaches the file.
    ///
    /// # Errors
    /// [`FileError::WriteBack`]: what could not be written is still in memory, and dirty; the
    /// next call tries again. [`FileError::OutOfRange`], [`FileError::Forked`].
    pub fn flush(&self, range: impl RangeBounds<usize>) -> Result<(), FileError> {
        let instance = self.paging.instance();
        let flushed = self.with(range, |map, addr, len| Some(instance.flush_file(map, addr, len)))?;
        flushed.unwrap_or(Ok(())).map_err(|error| FileError::WriteBack(error.into()))
    }

    /// Says what a part will be used for. The bytes stay what they are.
    ///
    /// # Errors
    /// [`FileError::OutOfRange`], [`FileError::Forked`].
    pub fn advise(&self, range: impl RangeBounds<usize>, advice: FileAdvice) -> Result<(), FileError> {
        let instance = self.paging.instance();
        self.with(range, |map, addr, len| match advice {
            FileAdvice::Normal => instance.use_file(map, addr, len, Pattern::Normal),
            FileAdvice::Sequential => instance.use_file(map, addr, len, Pattern::Sequential),
            FileAdvice::Random => instance.use_file(map, addr, len, Pattern::Random),
            FileAdvice::WillNeed => instance.populate_file(map, addr, len),
            FileAdvice::Cold => instance.cool_file(map, addr, len),
        })
    }

    /// Brings the pages of a part in and keeps them in memory, until they are
    /// [let go](Self::unpin).
    ///
    /// # Errors
    /// [`FileError::TooMuchPinned`] if more than half of the budget would be pinned;
    /// [`FileError::OutOfRange`], [`FileError::Forked`].
    pub fn pin(&mut self, range: impl RangeBounds<usize>) -> Result<(), FileError> {
        let instance = self.paging.instance();
        let pinned = self.with(range, |map, addr, len| {
            let pinned = instance.pin_file(map, addr, len, true);
            if pinned {
                touch(addr, len);
            }
            (!pinned).then_some(len)
        })?;
        pinned.map_or(Ok(()), |bytes| Err(FileError::TooMuchPinned { bytes }))
    }

    /// Lets a part go that was pinned, or was not.
    ///
    /// # Errors
    /// [`FileError::OutOfRange`], [`FileError::Forked`].
    pub fn unpin(&mut self, range: impl RangeBounds<usize>) -> Result<(), FileError> {
        let instance = self.paging.instance();
        self.with(range, |map, addr, len| instance.pin_file(map, addr, len, false)).map(|_| ())
    }

    /// Where a part's pages are; untouched ones are only in the file. Brings nothing in.
    ///
    /// # Errors
    /// [`FileError::OutOfRange`], [`FileError::Forked`].
    pub fn usage(&self, range: impl RangeBounds<usize>) -> Result<Usage, FileError> {
        let instance = self.paging.instance();
        self.with(range, |map, addr, len| instance.usage_of_file(map, addr, len))
    }

    /// Writes what is dirty to the file and unmaps it, which dropping does as well, but what
    /// went wrong is then said on standard error only. The disk need not have it yet.
    ///
    /// # Errors
    /// [`FileError::WriteBack`]: what could not be written is lost if no other map has it.
    /// [`Self::flush`] before loses nothing.
    pub fn close(mut self) -> Result<(), FileError> {
        self.unmap()
    }

    fn unmap(&mut self) -> Result<(), FileError> {
        let Some(mut map) = self.map.take() else { return Ok(()) };
        if !self.paging.is_here() {
            // Nothing of it is in a forked child.
            core::mem::forget(map);
            return Ok(());
        }
        resident::scope(|| {
            // While it is listed: the process may end meanwhile, and waits for what is listed only.
            let is_shared = self.access == Access::Shared;
            let instance = self.paging.instance();
            let written =
                if is_shared { instance.write_back_file(&map, map.addr(), map.len()) } else { Ok(()) };
            let map = loop {
                match Arc::try_unwrap(map) {
                    Ok(map) => break map,
                    // The process ends, and who ends it is writing it.
                    Err(shared) => map = shared,
                }
                std::thread::yield_now();
            };
            written.and(instance.unmap_file(map)).map_err(|error| FileError::WriteBack(error.into()))
        })
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        if let Err(error) = self.unmap() {
            // Where nobody listens it cannot be said, which is no reason to panic.
            let _ = writeln!(
                std::io::stderr(),
                "outcore: a mapped file was dropped, and {error}: what was not written is lost"
            );
        }
    }
}

impl Debug for MappedFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "MappedFile({:#x}..{:#x}, {:?})", self.addr, self.addr + self.len, self.access)
    }
}

/// Has all pages there in memory once, in order.
fn touch(addr: usize, len: usize) {
    let first = addr / PAGE * PAGE;
    for page in (first..addr + len).step_by(PAGE) {
        let byte: *const u8 = ptr::with_exposed_provenance(page);
        // SAFETY: mapped, and readable.
        unsafe { byte.read_volatile() };
    }
}
