//! Carries out what the core decides, on the infrastructure's memory and files.

use crate::infrastructure::{PAGE_SIZE, Physical, TransferFailed, set_page_table};
use crate::names::Names;
use crate::table::{MOST_FRAMES, PAGES, PageTable};
use pager::policy::Arrival;
use pager::space::{
    Access, FileRange, MapError, Memory, Next, Place, SpaceNo, Spaces, SpacesConfig, StackRule, Transfer,
    ZERO_FRAME,
};
use pager::{Commit, FillResult, FrameNo, PageNo, PageRange, PolicyKind, WriteResult};
use std::collections::BTreeMap;
use std::ffi::CString;

/// The arena's first address.
const BASE: u64 = 0x6_0000_0000;
/// The most swap blocks: the core names pages and slots with 28 bits together.
const MOST_SLOTS: u32 = 1 << 27;

const ARENA: PageRange = PageRange { start: PageNo(BASE / PAGE_SIZE as u64), count: PAGES as u64 };

/// The pager's whole state.
pub(crate) struct Driver {
    spaces: Spaces,
    physical: Physical,
    tables: BTreeMap<SpaceNo, PageTable>,
    current: Option<SpaceNo>,
    names: Names,
    /// Bytes put aside while a page is copied.
    staged: Box<[u8; PAGE_SIZE]>,
    updates: Vec<(SpaceNo, PageRange)>,
}

/// A call that failed; what it was to change is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

impl From<TransferFailed> for Failed {
    fn from(_: TransferFailed) -> Self {
        Self
    }
}

impl Driver {
    /// A pager for so many frames and swap blocks. Frame 0 is filled with zeros, and no process runs.
    ///
    /// # Errors
    /// What is impossible about the numbers.
    pub(crate) fn new(frames: u32, slots: u32) -> Result<Self, String> {
        if !(2..=MOST_FRAMES).contains(&frames) {
            return Err(format!(
                "{frames} pages of memory: there must be 2 (one holds zeros) to {MOST_FRAMES}"
            ));
        }
        if slots > MOST_SLOTS {
            return Err(format!("{slots} swap blocks: at most {MOST_SLOTS} are possible"));
        }
        let config = SpacesConfig {
            page_size: PAGE_SIZE as u32,
            frames,
            slots,
            commit: Commit::Strict,
            arena: ARENA,
            stack: StackRule::default(),
        };
        let policy = PolicyKind::Clock.build(frames - 1, Arrival::Referenced).expect("it needs no future");
        let mut physical = Physical::new(frames)?;
        physical.zero(ZERO_FRAME);
        set_page_table(std::ptr::null_mut());
        Ok(Self {
            spaces: Spaces::new(config, policy),
            physical,
            tables: BTreeMap::new(),
            current: None,
            names: Names::default(),
            staged: Box::new([0; PAGE_SIZE]),
            updates: Vec::new(),
        })
    }

    /// A process: a copy of `parent` if there is one, else with an empty arena. It does not run.
    pub(crate) fn create(&mut self, parent: SpaceNo, child: SpaceNo) -> Result<(), Failed> {
        if self.spaces.has(child) {
            return Err(Failed);
        }
        if self.spaces.has(parent) {
            self.spaces.fork(parent, child).map_err(|_| Failed)?;
        } else {
            self.spaces.create(child);
        }
        self.tables.insert(child, PageTable::new());
        self.install();
        Ok(())
    }

    /// `space` runs from now on, if there is such a process.
    pub(crate) fn switch(&mut self, space: SpaceNo) -> Result<(), Failed> {
        let table = self.tables.get(&space).ok_or(Failed)?;
        self.current = Some(space);
        set_page_table(table.address());
        Ok(())
    }

    /// The process that runs ends, and none does.
    pub(crate) fn destroy(&mut self) {
        let Some(space) = self.current.take() else { return };
        set_page_table(std::ptr::null_mut());
        self.spaces.destroy(space);
        self.tables.remove(&space);
        self.install();
        let spaces = &self.spaces;
        self.names.forget(|file| spaces.uses_file(file));
    }

    /// Maps the lowest free page of the arena to zeros. Its address.
    pub(crate) fn map(&mut self) -> Result<u64, Failed> {
        self.map_to(Memory::Anonymous)
    }

    /// Maps the lowest free page of the arena to a block of the file whose name is at `name` in the arena of
    /// the process that runs. Its address.
    pub(crate) fn map_file(&mut self, name: u64, block: u32) -> Result<u64, Failed> {
        let space = self.current.ok_or(Failed)?;
        self.spaces.arena_gap(space).ok_or(Failed)?;
        let mut bytes = Vec::new();
        loop {
            let addr = name.checked_add(bytes.len() as u64).ok_or(Failed)?;
            match self.load(space, addr)? {
                0 => break,
                byte => bytes.push(byte),
            }
        }
        let name = CString::new(bytes).expect("it ends at its first zero byte");
        let file = self.names.number(name);
        let block = u64::from(block);
        self.map_to(Memory::File(FileRange { file, block, end: u64::MAX, writable: true }))
    }

    fn map_to(&mut self, memory: Memory) -> Result<u64, Failed> {
        let space = self.current.ok_or(Failed)?;
        let page = self.spaces.map_page(space, memory).map_err(|_: MapError| Failed)?;
        self.install();
        Ok(page.0 * PAGE_SIZE as u64)
    }

    /// Serves a fault of the process that runs.
    pub(crate) fn fault(&mut self, addr: u64, access: Access) -> Result<(), Failed> {
        let space = self.current.ok_or(Failed)?;
        let result = self.serve(space, addr, access);
        self.install();
        result
    }

    fn serve(&mut self, space: SpaceNo, addr: u64, access: Access) -> Result<(), Failed> {
        let mut fault = self.spaces.begin_fault(space, addr, access).map_err(|_| Failed)?;
        loop {
            match self.spaces.advance(&mut fault).map_err(|_| Failed)? {
                Next::Ready(_) => return Ok(()),
                Next::Write(transfer) => {
                    let result = self.write(transfer);
                    let done = if result.is_ok() { WriteResult::Done } else { WriteResult::Failed };
                    self.spaces.write_done(transfer.frame, done);
                    result?;
                }
                Next::Read(transfer) => {
                    let result = self.read(transfer);
                    let done = if result.is_ok() { FillResult::Good } else { FillResult::Bad };
                    self.spaces.read_done(transfer.frame, done);
                    result?;
                }
                Next::Zero(frame) => self.physical.zero(frame),
                Next::Stage(frame) => self.physical.save(frame, &mut self.staged),
                Next::Unstage(frame) => self.physical.restore(frame, &self.staged),
                Next::Wait => unreachable!("one fault is taken at a time"),
            }
        }
    }

    fn read(&mut self, transfer: Transfer) -> Result<(), TransferFailed> {
        // The hardware must not see the bytes of a page that is only half there.
        self.install();
        match transfer.place {
            Place::Slot(slot) => self.physical.read(None, slot.0 as usize, transfer.frame),
            Place::Block { file, block, .. } => {
                self.physical.read(Some(self.names.name(file)), block as usize, transfer.frame)
            }
        }
    }

    fn write(&mut self, transfer: Transfer) -> Result<(), TransferFailed> {
        self.install();
        match transfer.place {
            Place::Slot(slot) => self.physical.write(None, slot.0 as usize, transfer.frame),
            Place::Block { file, block, .. } => {
                self.physical.write(Some(self.names.name(file)), block as usize, transfer.frame)
            }
        }
    }

    /// One byte of the arena, as the process would read it: through its page table, with a read fault where
    /// that does not allow it.
    fn load(&mut self, space: SpaceNo, addr: u64) -> Result<u8, Failed> {
        let index = Self::index(PageNo(addr / PAGE_SIZE as u64)).ok_or(Failed)?;
        if self.tables[&space].translate(index, Access::Read).is_none() {
            self.fault(addr, Access::Read)?;
        }
        let frame = self.tables[&space].translate(index, Access::Read).ok_or(Failed)?;
        Ok(self.physical.byte(FrameNo(frame), addr as usize % PAGE_SIZE))
    }

    /// A page's place in the tables. None: it is not in the arena.
    fn index(page: PageNo) -> Option<usize> {
        ARENA.contains(page).then(|| (page.0 - ARENA.start.0) as usize)
    }

    /// Brings the page tables up to what the core says.
    fn install(&mut self) {
        let mut updates = std::mem::take(&mut self.updates);
        self.spaces.take_updates(&mut updates);
        for (space, range) in &updates {
            let Some(table) = self.tables.get(space) else { continue };
            for page in range.pages() {
                let index = Self::index(page).expect("nothing is mapped outside of the arena");
                table.set(index, self.spaces.pte(*space, page));
            }
        }
        self.updates = updates;
    }
}
