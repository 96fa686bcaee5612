//! Executing a file: an area for each segment, and nothing is loaded before it is touched.

use super::{Machine, NoProcess};
use crate::elf::{Image, ImageError, STACK_TOP};
use object::ReadCache;
use pager::space::{CommitError, FileRange, MapRequest, Memory, Origin, Prot, Share};
use pager::{Commit, PageNo, PageRange};
use std::fmt;
use std::io;

/// Why a file was not executed. The process is as it was.
#[derive(Debug)]
pub enum ExecError {
    /// No process runs.
    NoProcess,
    /// The file cannot be opened.
    File(io::Error),
    /// Its headers make no sense.
    Image(ImageError),
    /// The store could not hold its private pages.
    Commit(CommitError),
}

impl From<NoProcess> for ExecError {
    fn from(_: NoProcess) -> Self {
        Self::NoProcess
    }
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProcess => f.write_str("no process runs"),
            Self::File(error) => error.fmt(f),
            Self::Image(error) => error.fmt(f),
            Self::Commit(error) => error.fmt(f),
        }
    }
}

impl Machine {
    /// The current process becomes the program in the file `name`: what it had is unmapped, each
    /// segment becomes an area, and there is a stack of one page. No page is read.
    ///
    /// # Errors
    /// [`ExecError`]; the process is as it was.
    pub fn exec(&mut self, name: &[u8]) -> Result<Image, ExecError> {
        let space = self.current.ok_or(NoProcess)?;
        let page_size = self.settings.page_size;
        let file = self.file(name);
        let handle = self.files.handle(file).map_err(ExecError::File)?;
        let len = handle.metadata().map_err(ExecError::File)?.len();
        let cache = ReadCache::new(&*handle);
        let image = Image::read(&cache, len, page_size).map_err(ExecError::Image)?;
        let charged: u64 = image
            .segments
            .iter()
            .filter(|segment| segment.prot.contains(Prot::WRITE))
            .map(|segment| {
                let (first, after) = segment.pages(page_size);
                after - first
            })
            .sum();
        // And the stack's page.
        let (wanted, free) = (charged + 1, self.spaces.slots_free() + self.spaces.charged(space));
        if self.settings.commit == Commit::Strict && wanted > free {
            return Err(ExecError::Commit(CommitError { wanted, free }));
        }
        self.write_back(space, PageRange { start: PageNo(0), count: u64::MAX });
        self.spaces.clear(space);
        for segment in &image.segments {
            let (first, after) = segment.pages(page_size);
            let range = FileRange {
                file,
                block: segment.offset / page_size,
                // A segment without bytes in the file is zeros, wherever it says they begin.
                end: if segment.file_size == 0 { 0 } else { segment.offset + segment.file_size },
                writable: false,
            };
            let request = MapRequest {
                at: Some(PageNo(first)),
                count: after - first,
                prot: segment.prot,
                share: Share::Private,
                memory: Memory::File(range),
                replace: false,
                origin: Origin::Image,
            };
            self.spaces.map(space, request).expect("the image and the slots were checked");
        }
        self.spaces.set_stack_pointer(space, STACK_TOP).expect("the image and the slots were checked");
        self.install();
        self.close_unused();
        Ok(image)
    }
}
