//! The store's place and size: what `--store` and `--store-size` mean here.

use crate::memory::Memory;
use crate::size::{self, shown};
use crate::trouble::Trouble;
use rustix::fs::{CWD, Mode, OFlags, openat, statfs, statvfs};
use rustix::io::Errno;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The most that a store takes without being told to.
const DEFAULT_MAX_BYTES: u64 = 1 << 40;

/// A store smaller than this is a full disk, not a choice.
const MIN_FREE_BYTES: u64 = 1 << 20;

/// `f_type` of the file systems that keep files in memory: tmpfs and ramfs.
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// Where evicted pages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file without a name in this directory, an absolute path.
    Directory(PathBuf),
    /// Memory outside the budget.
    Memory,
}

impl Place {
    /// The word or path for `OUTCORE_STORE`.
    pub(crate) fn word(&self) -> &OsStr {
        match self {
            Self::Directory(dir) => dir.as_os_str(),
            Self::Memory => OsStr::new("memory"),
        }
    }
}

/// The place that `--store` asks for, tried out.
///
/// # Errors
/// No such directory, not a directory, not writable, or in memory.
pub(crate) fn resolve(option: Option<&OsStr>) -> Result<Place, Trouble> {
    match option {
        None => default_directory().map(Place::Directory),
        Some(word) if word == "memory" => Ok(Place::Memory),
        Some(dir) => {
            let dir = check(Path::new(dir))
                .map_err(|reason| Trouble::own(format!("--store {} {reason}", Path::new(dir).display())))?;
            Ok(Place::Directory(dir))
        }
    }
}

/// The first of `$TMPDIR` and `/var/tmp` that can hold a store.
pub(crate) fn default_directory() -> Result<PathBuf, Trouble> {
    let named = env::var_os("TMPDIR").filter(|dir| !dir.is_empty());
    let mut reasons = Vec::new();
    for dir in named.into_iter().chain([OsString::from("/var/tmp")]) {
        match check(Path::new(&dir)) {
            Ok(dir) => return Ok(dir),
            Err(reason) => reasons.push(format!("{} {reason}", Path::new(&dir).display())),
        }
    }
    Err(Trouble::own(format!(
        "no directory for the store: {}. Name one on a disk with --store DIR",
        reasons.join("; ")
    )))
}

/// Tries whether a store can be made in `dir`, and makes the path absolute.
fn check(dir: &Path) -> Result<PathBuf, String> {
    let absolute = dir.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist; create it or name another directory".to_owned(),
        std::io::ErrorKind::NotADirectory => "is not a directory".to_owned(),
        _ => format!("cannot be reached: {error}"),
    })?;
    if !absolute.is_dir() {
        return Err("is not a directory".to_owned());
    }
    if in_memory(&absolute) {
        return Err("is in memory (tmpfs), where a store frees nothing; name a directory on a disk, or say \
                    --store memory if you mean it"
            .to_owned());
    }
    match try_file(&absolute, OFlags::empty()) {
        // A file system without unnamed files: the store makes a named one and removes the name.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(absolute),
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
            Err("is not writable for you; name another directory".to_owned())
        }
        Err(Errno::NOSPC | Errno::DQUOT) => {
            Err("is full; free some space or name another directory".to_owned())
        }
        Err(error) => Err(format!("cannot hold a file: {error}")),
    }
}

/// Whether files in `dir` live in memory.
fn in_memory(dir: &Path) -> bool {
    statfs(dir).is_ok_and(|fs| IN_MEMORY.contains(&(fs.f_type as u32)))
}

/// Creates a file without a name in `dir`, opened with `flags` besides.
fn try_file(dir: &Path, flags: OFlags) -> Result<(), Errno> {
    let flags = flags | OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR).map(drop)
}

/// Whether a store in `dir` can go past the page cache.
pub(crate) fn does_direct_io(dir: &Path) -> bool {
    try_file(dir, OFlags::DIRECT).is_ok()
}

/// Bytes that are free for us in the file system of `dir`.
pub(crate) fn free_bytes(dir: &Path) -> Option<u64> {
    statvfs(dir).ok().map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize))
}

/// How much the store may hold: what `--store-size` says, or the default.
///
/// # Errors
/// An unparsable or impossible size; a directory without room.
pub(crate) fn size(option: Option<&str>, place: &Place, memory: &Memory) -> Result<u64, Trouble> {
    if let Some(text) = option {
        return size::parse(text).map_err(|error| Trouble::own(format!("--store-size {text} {error}")));
    }
    let Place::Directory(dir) = place else { return Ok(memory.total / 2) };
    let free = free_bytes(dir).unwrap_or(DEFAULT_MAX_BYTES);
    if free < MIN_FREE_BYTES {
        return Err(Trouble::own(format!(
            "the store directory {} is full: {} free; free some space or name another with --store DIR",
            dir.display(),
            shown(free)
        )));
    }
    Ok((free / 10 * 9).min(DEFAULT_MAX_BYTES))
}

/// What to warn of when the store is to hold `bytes`: none if they fit.
pub(crate) fn warning(bytes: u64, place: &Place, memory: &Memory) -> Option<String> {
    let (room, what) = match place {
        Place::Directory(dir) => (free_bytes(dir)?, format!("is free in {}", dir.display())),
        Place::Memory => (memory.total, "of RAM this machine has".to_owned()),
    };
    (bytes > room)
        .then(|| format!("warning: the store may hold {}, but only {} {what}", shown(bytes), shown(room)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Memory = Memory { total: 8 << 30, available: 1 << 30, limit: None, limit_leaves: None };

    #[test]
    fn directories_are_tried_out() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let place = resolve(Some(dir.path().as_os_str())).unwrap();
        assert_eq!(place, Place::Directory(dir.path().canonicalize().unwrap()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the trial leaves nothing");
        let missing = resolve(Some(dir.path().join("nowhere").as_os_str())).unwrap_err().text;
        assert!(missing.contains("nowhere does not exist"), "{missing}");
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let file = resolve(Some(file.as_os_str())).unwrap_err().text;
        assert!(file.contains("is not a directory"), "{file}");
    }

    #[test]
    fn the_default_size_leaves_room() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let free = free_bytes(dir.path()).unwrap();
        let bytes = size(None, &Place::Directory(dir.path().into()), &MEMORY).unwrap();
        assert!(bytes <= free && bytes <= DEFAULT_MAX_BYTES);
        assert_eq!(size(None, &Place::Memory, &MEMORY).unwrap(), 4 << 30);
        assert_eq!(size(Some("64G"), &Place::Memory, &MEMORY).unwrap(), 64 << 30);
        assert!(
            size(Some("-1"), &Place::Memory, &MEMORY)
                .unwrap_err()
                .text
                .contains("--store-size -1 is negative")
        );
        assert!(warning(9 << 30, &Place::Memory, &MEMORY).unwrap().contains("8 GiB of RAM"));
    }
}
