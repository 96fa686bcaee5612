//! The files that can be mapped: those of one directory.

use crate::disk::TransferError;
use pager::space::FileNo;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

/// A file by its name, and once it has been found, open: it may then lose its name.
#[derive(Clone, Debug)]
struct Known {
    name: Vec<u8>,
    open: Option<Open>,
}

#[derive(Clone, Debug)]
struct Open {
    file: Rc<File>,
    writable: bool,
}

/// All files that were named so far.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: PathBuf,
    known: Vec<Known>,
    by_name: BTreeMap<Vec<u8>, FileNo>,
}

impl Files {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, known: Vec::new(), by_name: BTreeMap::new() }
    }

    /// The number of the file with this name, which need not exist.
    pub(crate) fn number(&mut self, name: &[u8]) -> FileNo {
        let plain = plain(name);
        if let Some(number) = self.by_name.get(&plain) {
            return *number;
        }
        let number = FileNo(self.known.len() as u32);
        self.known.push(Known { name: name.to_vec(), open: None });
        self.by_name.insert(plain, number);
        number
    }

    /// The name as it was first given.
    pub(crate) fn name(&self, file: FileNo) -> &[u8] {
        &self.known[file.0 as usize].name
    }

    /// Every number that was given out.
    pub(crate) fn all(&self) -> impl Iterator<Item = FileNo> + use<> {
        (0..self.known.len() as u32).map(FileNo)
    }

    /// Opens the file, if it is not open. Tells whether it may be written.
    pub(crate) fn open(&mut self, file: FileNo) -> io::Result<bool> {
        self.opened(file).map(|open| open.writable)
    }

    /// The open file, for its headers to be read.
    pub(crate) fn handle(&mut self, file: FileNo) -> io::Result<Rc<File>> {
        self.opened(file).map(|open| Rc::clone(&open.file))
    }

    /// Closes the file: its name is looked up again when it is next used.
    pub(crate) fn close(&mut self, file: FileNo) {
        self.known[file.0 as usize].open = None;
    }

    fn opened(&mut self, file: FileNo) -> io::Result<&Open> {
        let known = &mut self.known[file.0 as usize];
        if known.open.is_none() {
            known.open = Some(open(&self.root, &known.name)?);
        }
        Ok(known.open.as_ref().expect("it is open now"))
    }

    /// Reads up to `most` bytes of a block and zeros the rest: how many there were.
    pub(crate) fn read(
        &mut self,
        file: FileNo,
        block: u64,
        most: usize,
        bytes: &mut [u8],
    ) -> Result<usize, TransferError> {
        let open = self.opened(file).map_err(|error| failed(&error))?;
        let (offset, there) = extent(open, block, bytes.len(), most).map_err(|error| failed(&error))?;
        bytes.fill(0);
        open.file.read_exact_at(&mut bytes[..there], offset).map_err(|error| failed(&error))?;
        Ok(there)
    }

    /// Writes up to `most` bytes of a block, none past the file's end: how many there were.
    pub(crate) fn write(
        &mut self,
        file: FileNo,
        block: u64,
        most: usize,
        bytes: &[u8],
    ) -> Result<usize, TransferError> {
        let open = self.opened(file).map_err(|error| failed(&error))?;
        let (offset, there) = extent(open, block, bytes.len(), most).map_err(|error| failed(&error))?;
        if there > 0 && !open.writable {
            return Err(TransferError("the file is read-only".into()));
        }
        open.file.write_all_at(&bytes[..there], offset).map_err(|error| failed(&error))?;
        Ok(there)
    }

    /// How many bytes of a block the file has now. None: it cannot be opened.
    pub(crate) fn bytes_of(&mut self, file: FileNo, block: u64, page: usize, most: usize) -> Option<usize> {
        let open = self.opened(file).ok()?;
        extent(open, block, page, most).ok().map(|(_, there)| there)
    }
}

fn failed(error: &io::Error) -> TransferError {
    TransferError(error.to_string())
}

/// Where a block begins, and how many bytes the file has from there on.
fn extent(open: &Open, block: u64, page: usize, most: usize) -> io::Result<(u64, usize)> {
    let len = open.file.metadata()?.len();
    let offset = block.saturating_mul(page as u64);
    Ok((offset, usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX).min(most)))
}

/// The name without what does not change the file: `./a//b` is `a/b`.
fn plain(name: &[u8]) -> Vec<u8> {
    let mut plain = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(name)).components() {
        if part != Component::CurDir {
            plain.push(part);
        }
    }
    plain.into_os_string().as_bytes().to_vec()
}

/// Opens a regular file beneath `root`, for writing if its permissions allow that.
fn open(root: &Path, name: &[u8]) -> io::Result<Open> {
    let outside =
        || io::Error::new(io::ErrorKind::PermissionDenied, "the name leaves the directory of the files");
    let root = root.canonicalize()?;
    let relative = Path::new(OsStr::from_bytes(name));
    if relative.is_absolute() {
        return Err(outside());
    }
    // Through symbolic links, too.
    let path = root.join(relative).canonicalize()?;
    if !path.starts_with(&root) {
        return Err(outside());
    }
    // Opening a pipe would wait for somebody at its other end.
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    // The superuser may open anything; the permissions say what was meant.
    if !metadata.permissions().readonly()
        && let Ok(file) = OpenOptions::new().read(true).write(true).open(&path)
    {
        return Ok(Open { file: Rc::new(file), writable: true });
    }
    Ok(Open { file: Rc::new(File::open(&path)?), writable: false })
}
