//! The swap file: unnamed where the system allows, and made with nothing but the standard library.

use crate::store::Store;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

/// A file as a [`Store`]. Its bytes mean nothing to anybody else, or later: it is removed when it
/// is dropped, if it was not before.
pub struct SwapFile {
    file: File,
    /// Its name, while it has one.
    named: Option<PathBuf>,
    /// Where the file's position is shared by all who use it, they take turns.
    #[cfg(not(any(unix, windows)))]
    turn: std::sync::Mutex<()>,
}

/// Why there is no swap file.
#[derive(Debug)]
pub enum SwapFileError {
    /// Something has that name already, and is left alone.
    Exists(PathBuf),
    /// The system says no.
    Io {
        /// The file, or the directory for one without a name.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

impl fmt::Display for SwapFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(path) => write!(
                f,
                "{} exists already, and a swap file would overwrite it; remove it or choose another name",
                path.display()
            ),
            Self::Io { path, error } => {
                write!(f, "no swap file can be made at {}: {error}; choose another place", path.display())
            }
        }
    }
}

impl std::error::Error for SwapFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Exists(_) => None,
            Self::Io { error, .. } => Some(error),
        }
    }
}

/// Names that are tried for a file that is to have none.
const ATTEMPTS: u32 = 16;

impl SwapFile {
    /// A file without a name in the system's directory for temporary files.
    ///
    /// # Errors
    /// What the system says.
    pub fn unnamed() -> Result<Self, SwapFileError> {
        Self::unnamed_in(&std::env::temp_dir())
    }

    /// A file without a name in `dir`. On systems where an open file has to have one (neither
    /// Unix nor Windows), it has a random one until it is dropped.
    ///
    /// # Errors
    /// What the system says.
    pub fn unnamed_in(dir: &Path) -> Result<Self, SwapFileError> {
        let mut last = io::ErrorKind::AlreadyExists.into();
        for attempt in 0..ATTEMPTS {
            let name = format!(".outcore-swap-{:016x}", RandomState::new().hash_one(attempt));
            let path = dir.join(name);
            match create(&path, Lasts::UntilClosed) {
                Ok(file) => {
                    let mut swap = Self::new(file, path);
                    swap.forget_name();
                    return Ok(swap);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(SwapFileError::Io { path: dir.to_owned(), error }),
            }
        }
        Err(SwapFileError::Io { path: dir.to_owned(), error: last })
    }

    /// A file with the name `path`, which is removed when it is dropped.
    ///
    /// # Errors
    /// [`SwapFileError::Exists`] if something has that name already; what the system says.
    pub fn named(path: &Path) -> Result<Self, SwapFileError> {
        match create(path, Lasts::UntilRemoved) {
            Ok(file) => Ok(Self::new(file, path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(SwapFileError::Exists(path.to_owned()))
            }
            Err(error) => Err(SwapFileError::Io { path: path.to_owned(), error }),
        }
    }

    /// The file's name, if it has one.
    pub fn path(&self) -> Option<&Path> {
        self.named.as_deref()
    }

    /// How large the file is, in bytes: never more than the virtual size of its heap.
    ///
    /// # Errors
    /// What the system says.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn new(file: File, path: PathBuf) -> Self {
        Self {
            file,
            named: Some(path),
            #[cfg(not(any(unix, windows)))]
            turn: std::sync::Mutex::new(()),
        }
    }

    /// Unix keeps a file that is open; Windows was told to remove it when it is closed.
    fn forget_name(&mut self) {
        if cfg!(windows) {
            self.named = None;
        } else if cfg!(unix)
            && let Some(path) = &self.named
            && fs::remove_file(path).is_ok()
        {
            self.named = None;
        }
    }
}

impl Drop for SwapFile {
    fn drop(&mut self) {
        if let Some(path) = &self.named {
            // Nobody is left to be told; an empty name is all that can remain.
            let _ = fs::remove_file(path);
        }
    }
}

impl fmt::Debug for SwapFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.named {
            Some(path) => write!(f, "swap file {}", path.display()),
            None => f.write_str("swap file without a name"),
        }
    }
}

/// How long a file is to have its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lasts {
    UntilClosed,
    UntilRemoved,
}

/// A new file that only its owner may read.
#[cfg(unix)]
fn create(path: &Path, _lasts: Lasts) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(windows)]
fn create(path: &Path, lasts: Lasts) -> io::Result<File> {
    use std::os::windows::fs::OpenOptionsExt;
    const FILE_FLAG_DELETE_ON_CLOSE: u32 = 0x0400_0000;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    if lasts == Lasts::UntilClosed {
        options.custom_flags(FILE_FLAG_DELETE_ON_CLOSE);
    }
    options.open(path)
}

#[cfg(not(any(unix, windows)))]
fn create(path: &Path, _lasts: Lasts) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

#[cfg(unix)]
impl Store for SwapFile {
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, into, offset)
    }

    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, from, offset)
    }
}

#[cfg(windows)]
impl Store for SwapFile {
    fn read(&self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(&self.file, into, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    into = &mut into[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&self, mut offset: u64, mut from: &[u8]) -> io::Result<()> {
        while !from.is_empty() {
            match std::os::windows::fs::FileExt::seek_write(&self.file, from, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    from = &from[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(not(any(unix, windows)))]
impl Store for SwapFile {
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        let _turn = self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (&self.file).seek(SeekFrom::Start(offset))?;
        (&self.file).read_exact(into)
    }

    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        use std::io::{Seek, SeekFrom, Write};
        let _turn = self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (&self.file).seek(SeekFrom::Start(offset))?;
        (&self.file).write_all(from)
    }
}
