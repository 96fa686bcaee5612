//! What is to be mapped, opened for the pager.

use crate::PAGE;
use crate::files::directory::Identity;
use crate::files::error::MapError;
use crate::files::map::Access;
use crate::files::source::{Descriptors, Origin};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

/// Where its bytes are, by descriptors of the pager's own if in a file, and what it is.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) origin: Origin,
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
            FileType::RegularFile => Identity::File(facts.st_dev, facts.st_ino),
            FileType::BlockDevice => Identity::Device(facts.st_rdev),
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
        let end = match identity {
            Identity::File(..) => facts.st_size as u64,
            // The position may be the program's as well.
            _ => end_of_device(&buffered).map_err(failed("the device's length"))?,
        };
        let direct = store::open_direct(buffered.as_fd(), PAGE, wanted);
        Ok(Self { origin: Origin::File(Descriptors { buffered, direct }), identity, end })
    }
}

/// Where a device ends; its position stays where it is.
fn end_of_device(device: &OwnedFd) -> Result<u64, Errno> {
    let position = rustix::fs::tell(device)?;
    let end = rustix::fs::seek(device, SeekFrom::End(0))?;
    rustix::fs::seek(device, SeekFrom::Start(position))?;
    Ok(end)
}
