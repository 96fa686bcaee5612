//! Memory whose pages the program's own code supplies, and takes back.

use crate::file::MappedFile;
use crate::file_error::FileError;
use crate::fork::Listed;
use crate::paging::{Paging, RangeError};
use crate::resident;
use core::error::Error;
use core::fmt::{self, Debug, Formatter};
use core::ops::{Deref, RangeBounds};
use engine::{Access, Call, ProgramSpec, Supply};
use std::io;
use std::sync::Arc;

/// What went wrong in a [`Backing`], for a person.
pub type BackingError = Box<dyn Error + Send + Sync>;

/// Pages by range, of a program's own making: a column that is decompressed, an object that is
/// far away, data that are computed. See [`Heap::map_backing`](crate::Heap::map_backing).
///
/// Its calls are made by threads of the map's own, several at once, never by the pager's:
/// however slow they are, only who touches these pages waits. They get and give bytes in a
/// buffer, and must not touch memory of the same heap. What they allocate is not paged. A call
/// that panics has failed.
pub trait Backing: Send + Sync + 'static {
    /// Fills `bytes`, which are zero, with those from `call.offset()` on, a multiple of 4096.
    ///
    /// # Errors
    /// The page that is waited for cannot be had: touching it is a bus error (SIGBUS), and this
    /// is said on standard error. Of what was asked for with it nothing is lost: a range that
    /// fails is asked for again page by page, as far as it is wanted.
    fn supply(&self, call: &BackingCall<'_>, bytes: &mut [u8]) -> Result<(), BackingError>;

    /// Keeps `bytes`, which are what is there from `call.offset()` on now. Only maps that are
    /// shared give pages back: when they leave, at a flush, and when the map ends. The same
    /// bytes as before are not given back.
    ///
    /// # Errors
    /// They stay in memory, past the budget if they must, until a flush gives them back.
    fn take_back(&self, call: &BackingCall<'_>, bytes: &[u8]) -> Result<(), BackingError> {
        let _ = (call, bytes);
        Err("it takes nothing back".into())
    }

    /// Makes durable what was taken back: the end of [`MappedBacking::flush`], on whose thread
    /// it is called.
    ///
    /// # Errors
    /// Those of the flush.
    fn sync(&self) -> Result<(), BackingError> {
        Ok(())
    }
}

/// A call of a [`Backing`].
#[derive(Debug)]
pub struct BackingCall<'a> {
    call: &'a Call<'a>,
}

impl BackingCall<'_> {
    /// Where the bytes begin.
    pub fn offset(&self) -> u64 {
        self.call.offset()
    }

    /// Whether nobody wants the result any more: the map has ended, or all its calls have been
    /// [cancelled](MappedBacking::cancel). Then it may as well return.
    pub fn is_cancelled(&self) -> bool {
        self.call.is_cancelled()
    }
}

/// What is to be mapped of a [`Backing`], and for what.
#[derive(Clone, Debug)]
pub struct BackingOptions {
    name: String,
    access: Access,
    len: usize,
    threads: usize,
}

impl BackingOptions {
    fn new(access: Access, len: usize) -> Self {
        Self { name: "a program's backing".to_owned(), access, len, threads: 2 }
    }

    /// `len` bytes that are only read.
    pub fn read_only(len: usize) -> Self {
        Self::new(Access::ReadOnly, len)
    }

    /// `len` bytes that are taken back when they have been changed.
    pub fn shared(len: usize) -> Self {
        Self::new(Access::Shared, len)
    }

    /// `len` bytes that may be changed for the map alone, in the heap's store.
    pub fn private(len: usize) -> Self {
        Self::new(Access::Private, len)
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// How many threads make calls: 2 if nothing is said.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }
}

/// Memory whose pages a [`Backing`] supplies, of which as much is in memory as the heap's budget
/// allows. It is used as a [`MappedFile`] is, but for what takes that as `&mut`: it cannot be
/// pinned, nor lent as bytes to be changed.
///
/// ```
/// use outcore::{Backing, BackingCall, BackingError, BackingOptions, Heap};
///
/// struct Squares;
///
/// impl Backing for Squares {
///     fn supply(&self, call: &BackingCall<'_>, bytes: &mut [u8]) -> Result<(), BackingError> {
///         for (n, number) in (call.offset() / 8..).zip(bytes.chunks_exact_mut(8)) {
///             number.copy_from_slice(&(n * n).to_le_bytes());
///         }
///         Ok(())
///     }
/// }
///
/// let heap = Heap::builder().budget(8 << 20).build()?;
/// let squares = heap.map_backing(Squares, BackingOptions::read_only(1 << 30))?;
/// let mut number = [0; 8];
/// squares.read(8 * 1_000_003, &mut number)?;
/// assert_eq!(u64::from_le_bytes(number), 1_000_003 * 1_000_003);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MappedBacking {
    map: MappedFile,
    backing: Arc<dyn Backing>,
}

/// A backing as the engine sees it.
struct Adapter(Arc<dyn Backing>);

impl Supply for Adapter {
    fn supply(&self, call: &Call<'_>, bytes: &mut [u8]) -> Result<(), String> {
        self.0.supply(&BackingCall { call }, bytes).map_err(|error| error.to_string())
    }

    fn take_back(&self, call: &Call<'_>, bytes: &[u8]) -> Result<(), String> {
        self.0.take_back(&BackingCall { call }, bytes).map_err(|error| error.to_string())
    }
}

impl MappedBacking {
    pub(crate) fn new(
        paging: &Arc<Paging>,
        backing: Arc<dyn Backing>,
        options: BackingOptions,
    ) -> Result<Self, FileError> {
        let BackingOptions { name, access, len, threads } = options;
        let supply: Arc<dyn Supply> = Arc::new(Adapter(Arc::clone(&backing)));
        let spec = ProgramSpec { supply, name, identity: None, threads, access, len };
        Ok(Self { map: map(paging, spec)?, backing })
    }

    /// Gives back what has been changed of a part, and waits until all of it is
    /// [durable](Backing::sync).
    ///
    /// # Errors
    /// [`FileError::WriteBack`] with what the backing said: what was not taken back is still in
    /// memory, and the next call tries again. [`FileError::OutOfRange`], [`FileError::Forked`].
    pub fn flush(&self, range: impl RangeBounds<usize>) -> Result<(), FileError> {
        // What was said before is about something else.
        drop(self.map.last_failure());
        self.map.flush(range).map_err(|error| self.told(error))?;
        self.backing.sync().map_err(|error| FileError::WriteBack(io::Error::other(error)))
    }

    /// What the backing said in place of what the engine knows.
    fn told(&self, error: FileError) -> FileError {
        match (error, self.map.last_failure()) {
            (FileError::WriteBack(_), Some(text)) => FileError::WriteBack(io::Error::other(text)),
            (error, _) => error,
        }
    }

    /// Ends all calls that are under way, as far as the map is concerned, and makes no more. Who
    /// waits for a page gets a bus error, as does who touches one that is not in memory; what
    /// has been changed stays in memory.
    pub fn cancel(&self) {
        self.map.cancel();
    }

    /// Gives back what has been changed and ends the map, which dropping does as well, but what
    /// went wrong is then said on standard error only.
    ///
    /// # Errors
    /// As [`MappedFile::close`]. What was not taken back is lost.
    pub fn close(self) -> Result<(), FileError> {
        self.map.close()
    }
}

impl Deref for MappedBacking {
    type Target = MappedFile;

    fn deref(&self) -> &MappedFile {
        &self.map
    }
}

impl Debug for MappedBacking {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "MappedBacking({:?})", self.map)
    }
}

/// Maps what is supplied.
pub(crate) fn map(paging: &Arc<Paging>, spec: ProgramSpec) -> Result<MappedFile, FileError> {
    if !paging.is_here() {
        return Err(FileError::Forked);
    }
    let (len, access) = (spec.len, spec.access);
    resident::scope(|| {
        // The pager's thread says it.
        let spec = ProgramSpec { name: spec.name.as_str().to_owned(), ..spec };
        let map = paging.instance().map_program(spec).map_err(FileError::Map)?;
        match Listed::new(map.addr(), map.len()) {
            Some(listed) => Ok(MappedFile::of(paging, map, len, access, listed)),
            None => {
                // Nothing of it has been changed.
                let _ = paging.instance().unmap_file(map);
                Err(FileError::TooMany(RangeError::TooMany.to_string()))
            }
        }
    })
}
