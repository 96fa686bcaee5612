#![expect(unsafe_code, reason = "lends paged memory as bytes")]
//! Arenas that come from images.

use crate::backing;
use crate::file::{FileAdvice, MappedFile};
use crate::file_error::FileError;
use crate::paging::Paging;
use crate::resident;
use crate::save::{SaveImageError, SavedImage, save};
use ::image::{Image, ImageError, Place, WorkingSet};
use core::error::Error;
use core::fmt::{self, Debug, Display, Formatter};
use core::ops::{Deref, RangeBounds};
use core::sync::atomic::{AtomicU64, Ordering};
use engine::{Access, Call, PAGE, ProgramSpec, Supply, Usage};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Threads that fetch pages: as many reads may be under way.
const THREADS: usize = 8;

/// What may be done with an image that is opened. See [`Heap::open_image`](crate::Heap::open_image).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageOptions {
    access: Access,
    set: WorkingSetUse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WorkingSetUse {
    /// What was recorded is read ahead; where nothing was, it is recorded.
    Usual,
    /// It is recorded anew.
    Record,
    /// Neither.
    None,
}

impl ImageOptions {
    /// It may be changed, for this opening alone: what is changed goes to the heap's store, and
    /// the image stays as it is.
    pub fn private() -> Self {
        Self { access: Access::Private, set: WorkingSetUse::Usual }
    }

    /// It is only read. Everybody who has the same image open like that in the same heap has
    /// the same pages in memory.
    pub fn shared() -> Self {
        Self { access: Access::ReadOnly, set: WorkingSetUse::Usual }
    }

    /// Records anew which pages are used, and reads nothing ahead.
    #[must_use]
    pub fn record_working_set(self) -> Self {
        Self { set: WorkingSetUse::Record, ..self }
    }

    /// Neither records which pages are used, nor reads ahead what was recorded.
    #[must_use]
    pub fn without_working_set(self) -> Self {
        Self { set: WorkingSetUse::None, ..self }
    }
}

/// Why an image cannot be opened.
#[derive(Debug)]
pub struct OpenImageError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Image(ImageError),
    Empty,
    Map(FileError),
}

impl OpenImageError {
    /// What is wrong with the image, if that is why.
    pub fn image(&self) -> Option<&ImageError> {
        match &self.cause {
            Cause::Image(error) => Some(error),
            Cause::Empty | Cause::Map(_) => None,
        }
    }
}

impl Display for OpenImageError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.cause {
            Cause::Image(error) => Display::fmt(error, f),
            Cause::Empty => write!(f, "the image is of an arena without pages, which cannot be mapped"),
            Cause::Map(error) => Display::fmt(error, f),
        }
    }
}

impl Error for OpenImageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Cause::Image(error) => Some(error),
            Cause::Empty => None,
            Cause::Map(error) => Some(error),
        }
    }
}

/// An image that supplies its pages.
struct Pages {
    image: Image,
    /// One bit a page that has been asked for, if that is recorded.
    fetched: Option<Vec<AtomicU64>>,
}

impl Supply for Pages {
    fn supply(&self, call: &Call<'_>, bytes: &mut [u8]) -> Result<(), String> {
        let first = call.offset() / PAGE as u64;
        self.image.read_run(first, bytes).map_err(|error| error.to_string())?;
        for page in first..first + (bytes.len() / PAGE) as u64 {
            if let Some(fetched) = &self.fetched {
                fetched[page as usize / 64].fetch_or(1 << (page % 64), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn take_back(&self, _: &Call<'_>, _: &[u8]) -> Result<(), String> {
        Err("images are not changed".to_owned())
    }
}

impl Pages {
    fn working_set(&self) -> Option<WorkingSet> {
        let fetched = self.fetched.as_ref()?;
        let pages = (0u64..).zip(fetched).flat_map(|(word, bits)| {
            let bits = bits.load(Ordering::Relaxed);
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * 64 + bit)
        });
        Some(WorkingSet::of(pages))
    }
}

/// An arena that comes from an image: pages are fetched and checked when they are touched. It
/// begins at an address that is a multiple of the page size, which need not be where it was when
/// it was saved: what is in it should not hold addresses.
///
/// Opening reads one block, whatever the size. A page that is damaged is a bus error (SIGBUS)
/// when it is touched, with a message; wrong bytes are never handed out. Which pages were
/// used is recorded when it is closed, in a file beside the image with the ending `.pages`, and
/// these are read ahead, as far as the budget has room, when it is opened again.
///
/// The image may be replaced or unlinked meanwhile: this has the old one.
///
/// ```
/// use outcore::{Arena, Heap, ImageOptions};
/// # let dir = tempfile::tempdir_in("/var/tmp")?;
/// # let path = dir.path().join("squares.image");
/// let heap = Heap::builder().budget(8 << 20).build()?;
/// let arena = heap.arena(64 << 20)?;
/// let mut pages = arena.alloc(64 << 20)?;
/// pages[5_000_000..5_000_003].copy_from_slice(b"abc");
/// let saved = arena.save(&path)?;
/// assert_eq!((saved.len, saved.stored), (64 << 20, 1));
///
/// let mut image = Arena::open(&heap, &path, ImageOptions::private())?;
/// assert_eq!(&image[5_000_000..5_000_003], b"abc");
/// image.bytes_mut().expect("a private one")[5_000_000] = b'x';
/// assert_eq!(&Arena::open(&heap, &path, ImageOptions::shared())?[5_000_000..5_000_003], b"abc");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ArenaImage {
    map: MappedFile,
    pages: Arc<Pages>,
    path: PathBuf,
    access: Access,
    is_recorded: bool,
}

impl ArenaImage {
    pub(crate) fn open(
        paging: &Arc<Paging>,
        path: &Path,
        options: ImageOptions,
    ) -> Result<Self, OpenImageError> {
        let refused = |cause: Cause| OpenImageError { path: path.to_owned(), cause };
        let image = resident::scope(|| Image::open(path)).map_err(|error| refused(Cause::Image(error)))?;
        if image.pages() == 0 {
            return Err(refused(Cause::Empty));
        }
        let len = usize::try_from(image.pages()).ok().and_then(|pages| pages.checked_mul(PAGE));
        let too_much = engine::MapError::TooMuch { bytes: image.pages().saturating_mul(PAGE as u64) };
        let len = len.ok_or_else(|| refused(Cause::Map(FileError::Map(too_much))))?;
        // Pages are read one by one, and read ahead by who knows better.
        // Only advice: without it more is read than is needed.
        let _ = rustix::fs::fadvise(image.file(), 0, None, rustix::fs::Advice::Random);
        let (identity, count) = (image.identity(), image.pages());
        let set = match options.set {
            WorkingSetUse::Usual => resident::scope(|| {
                // One without pages says as much as none.
                WorkingSet::load(path, identity, count).filter(|set| set.pages() > 0)
            }),
            WorkingSetUse::Record | WorkingSetUse::None => None,
        };
        let records = options.set != WorkingSetUse::None && set.is_none();
        let pages = resident::scope(|| {
            let bits = || (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
            Arc::new(Pages { image, fetched: records.then(bits) })
        });
        let supply: Arc<dyn Supply> = Arc::clone(&pages) as Arc<dyn Supply>;
        let name = format!("the image {}", path.display());
        let (access, identity) = (options.access, Some(identity));
        let spec = ProgramSpec { supply, name, identity, threads: THREADS, access, len };
        let map = backing::map(paging, spec).map_err(|error| refused(Cause::Map(error)))?;
        let parts: Vec<(usize, usize)> = set.iter().flat_map(WorkingSet::runs).map(in_bytes).collect();
        if !parts.is_empty() {
            map.will_need(&parts);
        }
        Ok(Self { map, pages, path: path.to_owned(), access, is_recorded: !records })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: who may change them has the only opening that shows the change, and borrows it
        // for that; the image itself is checked, so that changing it changes nothing here.
        unsafe { self.map.as_slice() }
    }

    /// Its bytes, to be changed; none of an image that is shared.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        // SAFETY: as above; of a private one nobody else has the memory.
        (self.access == Access::Private).then(|| unsafe { self.map.as_mut_slice() })
    }

    /// Says what a part will be used for. The bytes stay what they are.
    ///
    /// # Errors
    /// [`FileError::OutOfRange`], [`FileError::Forked`].
    pub fn advise(&self, range: impl RangeBounds<usize>, advice: FileAdvice) -> Result<(), FileError> {
        self.map.advise(range, advice)
    }

    /// Where a part's pages are; untouched ones are only in the image. Brings nothing in.
    ///
    /// # Errors
    /// [`FileError::OutOfRange`], [`FileError::Forked`].
    pub fn usage(&self, range: impl RangeBounds<usize>) -> Result<Usage, FileError> {
        self.map.usage(range)
    }

    /// Saves it, with what has been changed, as [`Arena::save`](crate::Arena::save) does; under the
    /// name of its own image as well.
    ///
    /// # Errors
    /// See [`SaveImageError`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<SavedImage, SaveImageError> {
        self.save_with(path, |_, _| {})
    }

    /// The same; `progress` is told now and then how many bytes have been seen to, and of how many.
    ///
    /// # Errors
    /// See [`SaveImageError`].
    pub fn save_with(
        &self,
        path: impl AsRef<Path>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<SavedImage, SaveImageError> {
        if !self.map.is_here() {
            return Err(SaveImageError::Forked);
        }
        let path = path.as_ref();
        resident::scope(|| {
            let pages_of = |first: u64, count: u64| {
                // Those that are only in the image, and those that were brought in.
                let mut pages = Vec::new();
                for page in first..first + count {
                    match self.pages.image.locate(page).map_err(SaveImageError::Source)? {
                        Place::Zero => {}
                        Place::At { .. } => pages.push(page),
                    }
                }
                let mut lost = None;
                self.map.for_each_touched(first, count, |page, is_there| {
                    pages.push(page);
                    lost = lost.or((!is_there).then_some(page));
                });
                pages.sort_unstable();
                pages.dedup();
                lost.map_or(Ok(pages), |page| Err(SaveImageError::Lost { page }))
            };
            let count = (self.map.len() / PAGE) as u64;
            save(path, self.map.as_ptr().addr(), count, pages_of, &mut progress)
        })
    }

    /// Writes beside the image which pages have been fetched since it was opened, if that is to
    /// be recorded. Closing does it as well.
    ///
    /// # Errors
    /// What the system says: the next start is not quicker then, and nothing is lost.
    pub fn record_working_set(&mut self) -> io::Result<()> {
        self.is_recorded = true;
        resident::scope(|| match self.pages.working_set() {
            // All that was used may have been fetched for another opening of it, which knows.
            Some(set) if set.pages() == 0 => Ok(()),
            Some(set) => set.save(&self.path, self.pages.image.identity()),
            None => Ok(()),
        })
    }

    /// Ends it, which dropping does as well without saying what went wrong.
    ///
    /// # Errors
    /// As [`Self::record_working_set`].
    pub fn close(mut self) -> io::Result<()> {
        if self.is_recorded { Ok(()) } else { self.record_working_set() }
    }
}

fn in_bytes((first, count): (u64, u64)) -> (usize, usize) {
    (first as usize * PAGE, count as usize * PAGE)
}

impl Deref for ArenaImage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for ArenaImage {
    fn drop(&mut self) {
        if !self.is_recorded && self.map.is_here() {
            // Where it cannot be written the next start is not quicker; nothing is lost.
            let _ = self.record_working_set();
        }
    }
}

impl Debug for ArenaImage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "ArenaImage({}, {:?})", self.path.display(), self.map)
    }
}
