//! The machine: its parts, and how they are wired.

mod access;
mod exec;
mod fault;
mod map;
mod process;

pub use access::AccessError;
pub use exec::ExecError;
pub use fault::FaultFailure;
pub use map::{Mmap, MmapSource};
pub use process::{MachineError, NoProcess};

use crate::disk::{Device, Direction, Disk, Request};
use crate::files::Files;
use crate::memory::Memory;
use crate::mmu::PageTable;
use crate::settings::{Settings, Writeback};
use crate::stats::Stats;
use crate::watch::{Order, Watched};
use pager::policy::{Arrival, Policy};
use pager::space::{Access, FileNo, Pte, SpaceNo, Spaces, SpacesConfig};
use pager::{FrameNo, PageNo, PageRange};
use std::collections::BTreeMap;

/// Nanoseconds of an access that hits.
const HIT_TIME: u64 = 1;

/// A simulated computer. See the crate's page.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    spaces: Spaces,
    memory: Memory,
    disk: Disk,
    files: Files,
    tables: BTreeMap<SpaceNo, PageTable>,
    current: Option<SpaceNo>,
    /// Bytes put aside while a page is copied.
    staged: Vec<u8>,
    /// Faults since [`Self::begin`]: where, how, and whether they were served.
    faults: Vec<(u64, Access, bool)>,
    /// Nanoseconds that faults and transfers took.
    spent: u64,
    /// Accesses that hit.
    hits: u64,
    stats: Stats,
    updates: Vec<(SpaceNo, PageRange)>,
    page_shift: u32,
    order: Order,
}

impl Machine {
    /// A machine without processes.
    ///
    /// # Errors
    /// What is impossible about the settings.
    pub fn new(settings: Settings) -> Result<Self, String> {
        settings.check()?;
        let page_size = settings.page_size as usize;
        let arena = PageRange {
            start: PageNo(settings.base / settings.page_size),
            count: settings.arena / settings.page_size,
        };
        let config = SpacesConfig {
            page_size: page_size as u32,
            frames: settings.frames as u32,
            slots: settings.slots as u32,
            commit: settings.commit,
            arena,
            stack: settings.stack,
        };
        // Frame 0 is pinned: it holds zeros, and no policy is told of it.
        let policy = settings.policy.build(settings.frames as u32 - 1, Arrival::Referenced);
        let policy = policy.ok_or_else(|| {
            let name = settings.policy;
            format!("{name} has to know the future, and works in `outcore machine replay` only")
        })?;
        let (policy, order) = if settings.watched {
            let (watched, order) = Watched::new(policy, settings.policy);
            (Box::new(watched) as Box<dyn Policy>, order)
        } else {
            (policy, Order::default())
        };
        Ok(Self {
            order,
            spaces: Spaces::new(config, policy),
            memory: Memory::new(settings.frames as usize, page_size),
            disk: Disk::new(settings.costs),
            files: Files::new(settings.files.clone()),
            tables: BTreeMap::new(),
            current: None,
            staged: vec![0; page_size],
            faults: Vec::new(),
            spent: 0,
            hits: 0,
            stats: Stats::default(),
            updates: Vec::new(),
            page_shift: settings.page_size.trailing_zeros(),
            settings,
        })
    }

    /// What it was built from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The core's view of all processes.
    pub fn spaces(&self) -> &Spaces {
        &self.spaces
    }

    /// The process that runs.
    pub fn current(&self) -> Option<SpaceNo> {
        self.current
    }

    /// Nanoseconds since the machine was built.
    pub fn now(&self) -> u64 {
        self.spent + self.hits * HIT_TIME
    }

    /// What happened so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Transfers that were made so far, in one direction, of swap or of files.
    pub fn transfers(&self, direction: Direction, of_swap: bool) -> u64 {
        self.disk.counts.get(&(direction, of_swap)).copied().unwrap_or(0)
    }

    /// Forgets the faults and transfers of the operation before.
    pub fn begin(&mut self) {
        self.faults.clear();
        self.disk.requests.clear();
    }

    /// The faults since [`Self::begin`]: where, how, and whether they were served.
    pub fn faults(&self) -> &[(u64, Access, bool)] {
        &self.faults
    }

    /// The transfers since [`Self::begin`].
    pub fn requests(&self) -> &[Request] {
        &self.disk.requests
    }

    /// The name of a file, as it was first given.
    pub fn file_name(&self, file: FileNo) -> &[u8] {
        self.files.name(file)
    }

    /// How many of the first `most` bytes of a block its file has now.
    pub(crate) fn bytes_in_file(&mut self, file: FileNo, block: u64, most: usize) -> u64 {
        let page_size = self.settings.page_size as usize;
        self.files.bytes_of(file, block, page_size, most).unwrap_or(0) as u64
    }

    /// The frames that may be taken, from the hand on, if the machine is watched.
    pub(crate) fn order(&self) -> Vec<FrameNo> {
        self.order.frames()
    }

    /// Orders transfers to fail, or no longer: those of a file, or of swap without a name.
    pub fn set_failing(&mut self, direction: Direction, file: Option<&[u8]>, block: u64, failing: bool) {
        let device = file.map_or(Device::Swap, |name| Device::File(self.files.number(name)));
        self.disk.set_failing((direction, device, block), failing);
    }

    /// What the page table of a process says.
    pub fn entry(&self, space: SpaceNo, page: PageNo) -> Pte {
        self.tables[&space].get(page)
    }

    /// The bytes of a frame; none, if it was never filled.
    pub fn frame(&self, frame: FrameNo) -> &[u8] {
        self.memory.bytes(frame)
    }

    /// The address of a page.
    pub fn address(&self, page: PageNo) -> u64 {
        page.0 << self.page_shift
    }

    fn page(&self, addr: u64) -> PageNo {
        PageNo(addr >> self.page_shift)
    }

    fn writes_at_exit(&self) -> bool {
        self.settings.writeback == Writeback::Exit
    }

    /// Brings the page tables up to what the core says.
    fn install(&mut self) {
        let mut updates = std::mem::take(&mut self.updates);
        self.spaces.take_updates(&mut updates);
        for (space, range) in &updates {
            let Some(table) = self.tables.get_mut(space) else { continue };
            for page in range.pages() {
                table.set(page, self.spaces.pte(*space, page));
            }
        }
        self.updates = updates;
    }

    /// Checks every law of the core, and that the page tables say what the core says.
    ///
    /// # Panics
    /// If a law is broken.
    pub fn check(&self) {
        self.spaces.check_invariants();
        assert!(
            self.memory.bytes(FrameNo(0)).iter().all(|byte| *byte == 0),
            "the frame of zeros was written"
        );
        for (space, table) in &self.tables {
            for area in self.spaces.areas(*space) {
                for page in area.range.pages() {
                    let pte = self.spaces.pte(*space, page).expect("it lies in an area");
                    let entry = table.get(page);
                    assert_eq!(entry.prot, pte.prot, "{page:?} of {space:?}");
                    if entry.prot != pager::space::Prot::NONE {
                        assert_eq!(entry.frame, pte.frame, "{page:?} of {space:?}");
                    }
                }
            }
        }
    }
}
