//! Mapping, unmapping, rights and write-back, as a process asks for them.

use super::{Machine, MachineError, NoProcess};
use pager::space::{
    Access, Dirty, FileNo, FileRange, MapError, MapRequest, Memory, Origin, Prot, Share, SpaceNo, USER_END,
};
use pager::{PageNo, PageRange};

/// What `mmap` is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmapSource<'a> {
    /// Zeros; whatever is there may be replaced.
    Anonymous {
        /// Whether areas that are in the way are to go.
        replace: bool,
    },
    /// A file from an offset on.
    File {
        /// Its name.
        name: &'a [u8],
        /// Where the area begins, in bytes.
        offset: u64,
    },
}

/// What a process asks `mmap` for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mmap<'a> {
    /// The first address. None: anywhere.
    pub addr: Option<u64>,
    /// How many bytes; the last page counts as a whole.
    pub len: u64,
    /// The rights.
    pub prot: Prot,
    /// Who sees what is written.
    pub share: Share,
    /// What it shows.
    pub source: MmapSource<'a>,
}

impl Machine {
    fn runs(&self) -> Result<SpaceNo, NoProcess> {
        self.current.ok_or(NoProcess)
    }

    /// Maps the lowest free page of the arena to zeros.
    ///
    /// # Errors
    /// [`MachineError::Map`] where the arena is full or no slot is left.
    pub fn map(&mut self) -> Result<u64, MachineError> {
        let space = self.runs()?;
        let page = self.spaces.map_page(space, Memory::Anonymous)?;
        self.install();
        Ok(self.address(page))
    }

    /// Maps the lowest free page of the arena to a block of a file, which need not exist.
    ///
    /// # Errors
    /// [`MachineError::Map`] where the arena is full.
    pub fn map_file(&mut self, name: &[u8], block: u64) -> Result<u64, MachineError> {
        let space = self.runs()?;
        let file = self.files.number(name);
        let range = FileRange { file, block, end: u64::MAX, writable: true };
        let page = self.spaces.map_page(space, Memory::File(range))?;
        self.install();
        Ok(self.address(page))
    }

    /// [`Self::map_file`] with a name that the process has in its arena, read through its page
    /// table up to a zero byte.
    ///
    /// # Errors
    /// [`MachineError::Map`] where the arena is full, which is looked at first;
    /// [`MachineError::BadName`].
    pub fn map_named(&mut self, name: u64, block: u64) -> Result<u64, MachineError> {
        let space = self.runs()?;
        self.spaces.arena_gap(space).ok_or(MapError::NoRoom)?;
        let mut bytes = Vec::new();
        loop {
            let addr = name.checked_add(bytes.len() as u64).ok_or(MachineError::BadName)?;
            match self.name_byte(space, addr)? {
                0 => break,
                byte => bytes.push(byte),
            }
        }
        self.map_file(&bytes, block)
    }

    fn name_byte(&mut self, space: SpaceNo, addr: u64) -> Result<u8, MachineError> {
        let page = self.page(addr);
        if !self.spaces.config().arena.contains(page) {
            return Err(MachineError::BadName);
        }
        if self.tables[&space].translate(page, Access::Read).is_none() {
            self.fault(space, addr, Access::Read).map_err(|_| MachineError::BadName)?;
        }
        let frame = self.tables[&space].translate(page, Access::Read).ok_or(MachineError::BadName)?;
        Ok(self.memory.bytes(frame)[(addr & (self.settings.page_size - 1)) as usize])
    }

    /// Maps an area.
    ///
    /// # Errors
    /// [`MachineError`]; nothing has changed.
    pub fn mmap(&mut self, request: Mmap<'_>) -> Result<u64, MachineError> {
        let space = self.runs()?;
        let at = request.addr.map(|addr| self.aligned(addr)).transpose()?;
        let count = self.pages(request.len)?;
        let (memory, replace) = match request.source {
            MmapSource::Anonymous { replace } => (Memory::Anonymous, replace),
            MmapSource::File { name, offset } => {
                if offset % self.settings.page_size != 0 {
                    return Err(MachineError::Offset(offset));
                }
                // The kernel's offsets are signed, so a file ends there at the latest.
                let last = count.checked_mul(self.settings.page_size).and_then(|len| offset.checked_add(len));
                if last.is_none_or(|last| last > i64::MAX as u64) {
                    return Err(MachineError::PastFile { offset, len: request.len });
                }
                (Memory::File(self.file_range(name, offset)?), false)
            }
        };
        let Mmap { prot, share, .. } = request;
        let request = MapRequest { at, count, prot, share, memory, replace, origin: Origin::Mapping };
        let range = self.spaces.check_map(space, request)?;
        if replace {
            self.write_back(space, range);
        }
        let page = self.spaces.map(space, request)?;
        self.install();
        self.close_unused();
        Ok(self.address(page))
    }

    fn file_range(&mut self, name: &[u8], offset: u64) -> Result<FileRange, MachineError> {
        let file = self.files.number(name);
        let writable = self.files.open(file).map_err(|_| MachineError::BadFile)?;
        Ok(FileRange { file, block: offset >> self.page_shift, end: u64::MAX, writable })
    }

    /// Unmaps whatever is in a range; dirty pages of files are written, if that is when they are.
    ///
    /// # Errors
    /// [`MachineError`]; nothing has changed.
    pub fn munmap(&mut self, addr: u64, len: u64) -> Result<(), MachineError> {
        let space = self.runs()?;
        let range = self.range(addr, len)?;
        self.write_back(space, range);
        self.spaces.unmap(space, range);
        self.install();
        self.close_unused();
        Ok(())
    }

    /// Changes the rights of a range.
    ///
    /// # Errors
    /// [`MachineError`]; nothing has changed.
    pub fn mprotect(&mut self, addr: u64, len: u64, prot: Prot) -> Result<(), MachineError> {
        let space = self.runs()?;
        let range = self.range(addr, len)?;
        self.spaces.protect(space, range, prot)?;
        self.install();
        Ok(())
    }

    /// Writes the dirty pages of shared files in a range, which stay in memory.
    ///
    /// # Errors
    /// [`MachineError`]: nothing has changed, or with [`MachineError::Unwritten`] what could not
    /// be written is dirty.
    pub fn msync(&mut self, addr: u64, len: u64) -> Result<(), MachineError> {
        let space = self.runs()?;
        let range = self.range(addr, len)?;
        let mapped: u64 = self.spaces.areas_within(space, range).iter().map(|area| area.range.count).sum();
        if mapped != range.count {
            return Err(MachineError::Map(MapError::Hole));
        }
        if self.sync(space, range, Dirty::All) { Ok(()) } else { Err(MachineError::Unwritten) }
    }

    /// Sets the stack pointer; the first time, makes a stack of one page.
    ///
    /// # Errors
    /// [`MachineError`]; nothing has changed.
    pub fn set_sp(&mut self, sp: u64) -> Result<(), MachineError> {
        let space = self.runs()?;
        self.spaces.set_stack_pointer(space, sp)?;
        self.install();
        Ok(())
    }

    fn aligned(&self, addr: u64) -> Result<PageNo, MachineError> {
        if addr.is_multiple_of(self.settings.page_size) {
            Ok(self.page(addr))
        } else {
            Err(MachineError::Unaligned(addr))
        }
    }

    fn pages(&self, len: u64) -> Result<u64, MachineError> {
        if len == 0 {
            return Err(MapError::Empty.into());
        }
        Ok(len.div_ceil(self.settings.page_size))
    }

    fn range(&self, addr: u64, len: u64) -> Result<PageRange, MachineError> {
        let start = self.aligned(addr)?;
        let count = self.pages(len)?;
        let end = start.0.checked_add(count).filter(|end| *end <= USER_END >> self.page_shift);
        end.ok_or(MapError::Address)?;
        Ok(PageRange { start, count })
    }

    /// The number of a file by its name.
    pub(super) fn file(&mut self, name: &[u8]) -> FileNo {
        self.files.number(name)
    }
}
