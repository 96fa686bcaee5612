//! A file that is to be mapped, opened for the pager.

use crate::PAGE;
use crate::files::directory::Identity;
use crate::files::error::MapError;
use crate::files::map::Access;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom};

/// Descriptors of the pager's own, and what the file is.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) buffered: OwnedFd,
    pub(crate) direct: Option<OwnedFd>,
    pub(crate) identity: Identity,
    /// Where it ends.
    pub(crate) end: u64,
}

impl Opened {
    pub(crate) fn new(file: BorrowedFd<'_>, access: Access) -> Result<Self, MapError> {
        let failed = |what: &'static str| move |error| MapError::Kernel(what, error);
        let flags = rustix::fs::fcntl_getfl(file).map_err(failed("the file's descriptor"))?;
        let facts = rustix::fs::fstat(file).map_err(failed("the file's descriptor"))?;
        let identity = match FileType::from_raw_mode(facts.st_mode) {
            FileType::RegularFile => (facts.st_dev, facts.st_ino),
            FileType::BlockDevice => (u64::MAX, facts.st_rdev),
            _ => return Err(MapError::NotAFile),
        };
        let wanted = match (flags & OFlags::RWMODE, access) {
            (OFlags::WRONLY, _) => return Err(MapError::NotReadable),
            (OFlags::RDWR, Access::Shared) => OFlags::RDWR,
            (_, Access::Shared) => return Err(MapError::NotWritable),
            (_, Access::ReadOnly | Access::Private) => OFlags::RDONLY,
        };
        // An open file of our own, so that what the program sets for its own (append,
        // direct) does not matter.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let buffered = match rustix::fs::open(path, wanted | OFlags::CLOEXEC, Mode::empty()) {
            Ok(own) => own,
            Err(_) if flags.contains(OFlags::APPEND) => return Err(MapError::Append),
            // Without /proc, or without the permission to open it again.
            Err(_) => rustix::io::fcntl_dupfd_cloexec(file, 0).map_err(failed("the file's descriptor"))?,
        };
        let end = rustix::fs::seek(&buffered, SeekFrom::End(0)).map_err(failed("the file's length"))?;
        let direct = store::open_direct(buffered.as_fd(), PAGE, wanted);
        Ok(Self { buffered, direct, identity, end })
    }
}
