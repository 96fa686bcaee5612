//! Making the swap file: without a name, readable by nobody else, past the page cache.

use core::fmt;
use rustix::fd::OwnedFd;
use rustix::fs::{FsWord, Mode, OFlags, fstatfs, open};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

const TMPFS_MAGIC: FsWord = 0x0102_1994;
const RAMFS_MAGIC: FsWord = 0x8584_58f6;

/// Why there is no swap file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The directory lies in memory.
    InMemory(PathBuf),
    /// There is nothing of that name.
    Missing(PathBuf),
    /// It is not a directory.
    NotADirectory(PathBuf),
    /// It may not be written to.
    NotWritable(PathBuf),
    /// The file system has no room for a single file more.
    Full(PathBuf),
    /// Something else.
    Other(PathBuf, Errno),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InMemory(dir) => write!(
                f,
                "the store directory {} is in memory (tmpfs), where swapping frees nothing; choose a directory on a disk",
                dir.display()
            ),
            Self::Missing(dir) => {
                write!(f, "the store directory {} does not exist; create it or choose another", dir.display())
            }
            Self::NotADirectory(dir) => {
                write!(f, "the store {} is not a directory; name a directory on a disk", dir.display())
            }
            Self::NotWritable(dir) => {
                write!(f, "the store directory {} is not writable; choose another", dir.display())
            }
            Self::Full(dir) => {
                write!(f, "the file system of {} is full; free some room or choose another", dir.display())
            }
            Self::Other(dir, error) => write!(f, "no swap file can be made in {}: {error}", dir.display()),
        }
    }
}

impl core::error::Error for OpenError {}

/// A new swap file in `dir`, and whether it bypasses the page cache.
pub(crate) fn create(dir: &Path) -> Result<(OwnedFd, bool), OpenError> {
    let named = |error: Errno| match error {
        Errno::NOENT => OpenError::Missing(dir.to_owned()),
        Errno::NOTDIR => OpenError::NotADirectory(dir.to_owned()),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => OpenError::NotWritable(dir.to_owned()),
        Errno::NOSPC | Errno::DQUOT => OpenError::Full(dir.to_owned()),
        error => OpenError::Other(dir.to_owned(), error),
    };
    let place =
        open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(named)?;
    let kind = fstatfs(&place).map_err(named)?.f_type;
    if kind == TMPFS_MAGIC || kind == RAMFS_MAGIC {
        return Err(OpenError::InMemory(dir.to_owned()));
    }
    let attempt = |extra: OFlags| {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE | extra;
        open(dir, flags, Mode::RUSR | Mode::WUSR)
    };
    match attempt(OFlags::DIRECT) {
        Ok(file) => return Ok((file, true)),
        // The file system has no O_DIRECT.
        Err(Errno::INVAL) => {}
        Err(Errno::OPNOTSUPP) => return create_named(dir).map_err(named),
        Err(error) => return Err(named(error)),
    }
    attempt(OFlags::empty()).map(|file| (file, false)).map_err(named)
}

/// For file systems without O_TMPFILE: made, then unlinked.
fn create_named(dir: &Path) -> Result<(OwnedFd, bool), Errno> {
    let path = dir.join(format!(".outcore-{}-{:p}", std::process::id(), &raw const *dir));
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL;
    let (file, direct) = match open(&path, flags | OFlags::DIRECT, Mode::RUSR | Mode::WUSR) {
        Ok(file) => (file, true),
        Err(Errno::INVAL) => {
            // Some file systems make the file and then refuse the flag.
            let _ = rustix::fs::unlink(&path);
            (open(&path, flags, Mode::RUSR | Mode::WUSR)?, false)
        }
        Err(error) => return Err(error),
    };
    rustix::fs::unlink(&path)?;
    Ok((file, direct))
}
