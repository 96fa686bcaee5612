//! Where an image is written to.

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use std::ffi::OsString;
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// What a [`Writer`](crate::Writer) needs of a disk: a nameless file that can be written,
/// made durable, and then put in the place of what had the name before.
pub trait Medium {
    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// What the system says.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads what was written.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` past the end.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Returns when all that was written would outlive a power cut.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&mut self) -> io::Result<()>;

    /// Gives it the name, in one step, and returns when that would outlive a power cut.
    ///
    /// # Errors
    /// What the system says.
    fn publish(self) -> io::Result<()>;
}

/// A file that will replace another one, or have a new name.
#[derive(Debug)]
pub struct Replacement {
    file: File,
    directory: PathBuf,
    path: PathBuf,
    /// The file has this name already, because the file system knows no nameless ones.
    temporary: Option<PathBuf>,
}

impl Replacement {
    /// One for `path`, wherever the process works later. Nothing is seen of it before it is published. What is there
    /// leaves it its owner, group and mode as far as the system allows; to a group that is not the same
    /// nothing is allowed. Else its owner may read and write it.
    ///
    /// # Errors
    /// What the system says, and `InvalidInput` for a path that names no file.
    pub fn of(path: &Path) -> io::Result<Self> {
        // What a link points to is replaced, not the link.
        let path = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path))?;
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
        if path.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new(".")).to_owned();
        let before = std::fs::metadata(&path).ok();
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let owner = Mode::from_raw_mode(0o600);
        let (file, temporary) = match rustix::fs::open(&directory, flags | OFlags::TMPFILE, owner) {
            Ok(file) => (File::from(file), None),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
                let temporary = directory.join(temporary_name(name)?);
                let file = rustix::fs::open(&temporary, flags | OFlags::CREATE | OFlags::EXCL, owner)?;
                (File::from(file), Some(temporary))
            }
            Err(error) => return Err(error.into()),
        };
        let replacement = Self { file, directory, path, temporary };
        replacement.inherit(before.as_ref())?;
        Ok(replacement)
    }
}

impl Replacement {
    /// Gives it the owner, group and mode of what was there.
    pub(crate) fn inherit(&self, before: Option<&Metadata>) -> io::Result<()> {
        let Some(before) = before else { return Ok(()) };
        let (owner, group) = (before.uid(), before.gid());
        // Only who may give files away may keep another owner; members of a group may keep the group.
        if fchown(&self.file, Some(owner), Some(group)).is_err() {
            let _ = fchown(&self.file, None, Some(group));
        }
        let has_group = self.file.metadata()?.gid() == group;
        let allowed = if has_group { 0o777 } else { 0o707 };
        self.file.set_permissions(Permissions::from_mode(before.mode() & allowed))
    }
}

fn temporary_name(name: &std::ffi::OsStr) -> io::Result<OsString> {
    let mut random = [0; 8];
    crate::digest::fill_random(&mut random)?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{:016x}", u64::from_le_bytes(random)));
    Ok(temporary)
}

impl Medium for Replacement {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn publish(mut self) -> io::Result<()> {
        // Opened before anything is replaced, as it may not be readable.
        let directory = File::open(&self.directory)?;
        self.replace()?;
        directory.sync_all()
    }
}

impl Replacement {
    /// Gives it its name; a power cut may undo that.
    pub(crate) fn show(mut self) -> io::Result<()> {
        self.replace()
    }

    fn replace(&mut self) -> io::Result<()> {
        if self.temporary.is_none() {
            // Linked under a name of its own first: a link does not replace.
            let name = self.path.file_name().unwrap_or_default();
            let temporary = self.directory.join(temporary_name(name)?);
            let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            rustix::fs::linkat(CWD, own, CWD, &temporary, AtFlags::SYMLINK_FOLLOW)?;
            self.temporary = Some(temporary);
        }
        let temporary = self.temporary.as_ref().expect("it has a name now");
        std::fs::rename(temporary, &self.path)?;
        self.temporary = None;
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nothing can be done about it, and it does no harm.
            let _ = std::fs::remove_file(temporary);
        }
    }
}
