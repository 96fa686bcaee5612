//! Putting the embedded preload library where the loader finds it: a file in
//! the user's cache directory, or else a file in memory that we hold open.

use crate::status::descriptor_path;
use crate::trouble::Trouble;
use rustix::fs::{MemfdFlags, StatVfsMountFlags, memfd_create, statvfs};
use rustix::process::geteuid;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The library, as `build.rs` built it.
static LIBRARY: &[u8] = include_bytes!(env!("OUTCORE_PRELOAD_LIBRARY"));

/// What the names of our libraries begin with.
const STEM: &str = "liboutcore_preload-";

/// What our libraries in memory are called.
const IN_MEMORY: &str = "outcore-preload";

/// Anybody but the owner who may write could change what our programs load.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A place from which the loader can load the library.
pub(crate) struct Library {
    /// What goes into `LD_PRELOAD`.
    pub(crate) path: PathBuf,
    /// Keeps a file in memory reachable while the program runs.
    _held: Option<File>,
}

/// Puts the library into the cache directory, or else into memory.
///
/// # Errors
/// Neither place works, with the reasons of both.
pub(crate) fn place() -> Result<Library, Trouble> {
    if LIBRARY.is_empty() {
        return Err(Trouble::own(
            "this outcore was built without its preload library (as clippy does); build it with: \
             cargo build --release",
        ));
    }
    let cache_reason = match in_cache() {
        Ok(path) => return Ok(Library { path, _held: None }),
        Err(reason) => reason,
    };
    let file = in_memory().map_err(|error| {
        Trouble::own(format!(
            "no place to load the preload library from: {cache_reason}; and a file in memory is refused: {error}. \
             Set XDG_CACHE_HOME to a directory of yours on a file system that allows execution"
        ))
    })?;
    Ok(Library { path: descriptor_path(file.as_raw_fd()), _held: Some(file) })
}

/// The library in `$XDG_CACHE_HOME/outcore`, written unless it is there already.
fn in_cache() -> Result<PathBuf, String> {
    let dir = cache_directory().ok_or("neither XDG_CACHE_HOME nor HOME names a directory")?;
    let label = dir.display().to_string();
    // The loader splits LD_PRELOAD at spaces and colons.
    if dir.as_os_str().as_bytes().iter().any(|byte| b" :\t\n".contains(byte)) {
        return Err(format!("{label} has a space or colon in its name"));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|error| format!("{label} cannot be created: {error}"))?;
    let about = fs::symlink_metadata(&dir).map_err(|error| format!("{label}: {error}"))?;
    if !about.is_dir() {
        return Err(format!("{label} is not a directory"));
    }
    check_owner(&about).map_err(|why| format!("{label} {why}"))?;
    if statvfs(&dir).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::NOEXEC)) {
        return Err(format!("{label} is on a file system that forbids execution"));
    }
    let path = dir.join(format!("{STEM}{:016x}.so", fingerprint(LIBRARY)));
    if !is_ours(&path) {
        write(&dir, &path).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    Ok(path)
}

/// `$XDG_CACHE_HOME/outcore` or `~/.cache/outcore`.
fn cache_directory() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("outcore"))
}

/// Whether only we can change what this is about; if not, why not.
fn check_owner(about: &fs::Metadata) -> Result<(), String> {
    let us = geteuid().as_raw();
    if about.uid() != us {
        return Err(format!("belongs to user {}, not to {us}", about.uid()));
    }
    if about.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(format!(
            "is writable by others (mode {:o}); allow it only to its owner",
            about.mode() & 0o777
        ));
    }
    Ok(())
}

/// Whether the file at `path` is ours alone and holds the library, byte for byte.
fn is_ours(path: &Path) -> bool {
    let owned = fs::symlink_metadata(path).is_ok_and(|about| about.is_file() && check_owner(&about).is_ok());
    owned && fs::read(path).is_ok_and(|bytes| bytes == LIBRARY)
}

/// Writes the library under another name first, so that nobody loads half of it.
fn write(dir: &Path, path: &Path) -> std::io::Result<()> {
    let draft = dir.join(format!(".draft-{}", std::process::id()));
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(&draft)?;
    let written = file.write_all(LIBRARY).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

/// The library in a file in memory.
fn in_memory() -> std::io::Result<File> {
    // The flag that permits execution is newer than the call.
    let fd = memfd_create(IN_MEMORY, MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
        .or_else(|_| memfd_create(IN_MEMORY, MemfdFlags::CLOEXEC))?;
    let mut file = File::from(fd);
    file.write_all(LIBRARY)?;
    Ok(file)
}

/// Tells versions of the library apart in file names; the bytes are compared
/// besides. FNV-1a, <http://www.isthe.com/chongo/tech/comp/fnv/>.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// `LD_PRELOAD` with `library` before what was there; libraries of ours from an
/// outer `outcore run` give way to this one.
pub(crate) fn preload_list(library: &Path, already: Option<&OsStr>) -> OsString {
    let mut list = library.as_os_str().to_owned();
    let already = already.unwrap_or_default().as_bytes();
    for entry in already.split(|byte| b" :\t\n".contains(byte)).filter(|entry| !entry.is_empty()) {
        if !is_a_library_of_ours(entry) {
            list.push(":");
            list.push(OsStr::from_bytes(entry));
        }
    }
    list
}

/// Whether an entry of `LD_PRELOAD` is what [`place`] has made, by whichever way.
fn is_a_library_of_ours(entry: &[u8]) -> bool {
    let name = entry.rsplit(|byte| *byte == b'/').next().unwrap_or(entry);
    let in_memory = format!("/memfd:{IN_MEMORY}");
    name.starts_with(STEM.as_bytes())
        || fs::read_link(OsStr::from_bytes(entry))
            .is_ok_and(|file| file.as_os_str().as_bytes().starts_with(in_memory.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_in_memory_give_way_too() {
        let held = in_memory().unwrap();
        let entry = descriptor_path(held.as_raw_fd());
        let list = preload_list(Path::new("/c/new.so"), Some(entry.as_os_str()));
        assert_eq!(list, OsStr::new("/c/new.so"));
    }

    #[test]
    fn others_are_kept_after_ours() {
        let ours = Path::new("/c/outcore/liboutcore_preload-1.so");
        let list = |already: &str| preload_list(ours, Some(OsStr::new(already)));
        assert_eq!(preload_list(ours, None), ours.as_os_str());
        assert_eq!(list(""), ours.as_os_str());
        assert_eq!(
            list("liba.so /b/libb.so"),
            OsStr::new("/c/outcore/liboutcore_preload-1.so:liba.so:/b/libb.so")
        );
        assert_eq!(
            list("/old/liboutcore_preload-2.so:x.so"),
            OsStr::new("/c/outcore/liboutcore_preload-1.so:x.so")
        );
    }

    #[test]
    fn fingerprints_are_fnv() {
        assert_eq!(fingerprint(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
