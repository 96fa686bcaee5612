#![expect(unsafe_code, reason = "clears what it hands out, and takes back what it is told is unused")]
//! A heap of families: registration, allocation and freeing.

use crate::family::blocks::BlockState;
use crate::family::directory::{Directory, Entry, FamilyId};
use crate::family::error::{AllocError, BadFree, OptionsError, RegisterError};
use crate::family::index::Choice;
use crate::family::layout::{Layout, Shape};
use crate::family::ledger::{Freed, Ledger};
use crate::family::pool::Pool;
use crate::family::run::{Block, Run};
use crate::family::table::Holder;
use crate::source::PageSource;
use core::fmt::{self, Formatter};
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;
use std::sync::MutexGuard;

/// Raw bytes are handed out in pieces of this many.
const RAW_QUANTUM: usize = 16;
/// The built-in family's name.
const RAW_NAME: &str = "bytes";

/// How a heap of families works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Where meta blocks are.
    pub layout: Layout,
    /// Which free block a request is taken from.
    pub choice: Choice,
}

/// Where an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The family that holds its page.
    pub family: FamilyId,
    /// Where the run of pages begins that its block is cut from.
    pub run: usize,
    /// Where its block's data begin: what to free, if it is used.
    pub data: usize,
    /// Bytes of data in its block.
    pub size: usize,
    /// What its block is.
    pub state: BlockState,
}

/// A heap whose blocks belong to families of objects: every page holds the blocks of
/// one family only. Usable from any thread. Heaps are independent of each other.
///
/// When it is dropped, so is its source, and with it whatever was allocated.
pub struct Families<S> {
    pub(super) pool: Pool<S>,
    pub(super) options: Options,
    pub(super) directory: Directory,
    raw: FamilyId,
}

impl<S> fmt::Debug for Families<S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Families").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<S: PageSource> Families<S> {
    /// A heap with all metadata outside the pages, which takes from the free block with
    /// the most room. It reserves its memory at the first allocation.
    pub fn new(source: S) -> Self {
        Self::with_options(source, Options::default()).expect("the default options are valid")
    }

    /// A heap that works otherwise.
    ///
    /// # Errors
    /// The page or meta size is none of those that [`Layout::InPage`] has.
    pub fn with_options(source: S, options: Options) -> Result<Self, OptionsError> {
        let layout = options.layout.validate()?;
        let directory = Directory::new();
        let raw = directory.add(RAW_NAME, Shape::bytes(layout, RAW_QUANTUM)).expect("the first name");
        Ok(Self { pool: Pool::new(source, layout.page_size()), options, directory, raw })
    }

    /// Registers a family of objects of `size` bytes. They are aligned as any type of
    /// that size is that does not ask for more than 16.
    ///
    /// # Errors
    /// The name is empty, longer than 255 bytes or taken; the size is 0 or larger than
    /// [`Layout::largest_span`] less a meta block; the layout cannot give the alignment.
    pub fn register(&self, name: &str, size: usize) -> Result<FamilyId, RegisterError> {
        let shape = Shape::of(self.options.layout, size, None)?;
        self.apart(|| self.directory.add(name, shape))
    }

    /// The same with a stated alignment, which may be less or more.
    ///
    /// # Errors
    /// As [`Self::register`]; also if `align` is not a power of two that divides `size`.
    pub fn register_aligned(&self, name: &str, size: usize, align: usize) -> Result<FamilyId, RegisterError> {
        let shape = Shape::of(self.options.layout, size, Some(align))?;
        self.apart(|| self.directory.add(name, shape))
    }

    /// The built-in family of raw bytes, for buffers of any size: its units are bytes,
    /// of which blocks have a multiple of 16.
    pub fn bytes(&self) -> FamilyId {
        self.raw
    }

    /// The family of this name.
    pub fn find(&self, name: &str) -> Option<FamilyId> {
        self.directory.find(name)
    }

    /// How this heap works.
    pub fn options(&self) -> Options {
        self.options
    }

    /// `units` objects in a row, all bytes zero.
    ///
    /// # Errors
    /// See [`AllocError`].
    pub fn calloc(&self, family: FamilyId, units: usize) -> Result<NonNull<u8>, AllocError> {
        let (data, unclean) = self.apart(|| self.take(family, units))?;
        // SAFETY: the block is nobody else's yet, and has at least so many bytes.
        unsafe { ptr::write_bytes(data.as_ptr(), 0, unclean) };
        Ok(data)
    }

    /// `units` objects in a row, their bytes as they happen to be.
    ///
    /// # Errors
    /// See [`AllocError`].
    pub fn alloc(&self, family: FamilyId, units: usize) -> Result<NonNull<u8>, AllocError> {
        self.apart(|| self.take(family, units)).map(|(data, _)| data)
    }

    /// What `work` allocates its source says where.
    fn apart<R>(&self, work: impl FnOnce() -> R) -> R {
        let (mut work, mut result) = (Some(work), None);
        self.pool.source.apart(&mut || result = work.take().map(|work| work()));
        result.expect("sources call it")
    }

    /// A block, and how many of its first bytes may not be zero.
    fn take(&self, family: FamilyId, units: usize) -> Result<(NonNull<u8>, usize), AllocError> {
        let entry = self.directory.get(family).ok_or(AllocError::UnknownFamily)?;
        let shape = &entry.shape;
        if units == 0 {
            return Err(AllocError::ZeroUnits);
        }
        let overflow = AllocError::Overflow { units, size: shape.size };
        let bytes = units.checked_mul(shape.size).ok_or(overflow)?;
        let most = shape.largest - shape.meta;
        if bytes > most {
            return Err(AllocError::TooLarge { bytes, largest: most });
        }
        let total = shape.meta + bytes.next_multiple_of(shape.quantum);
        let mut ledger = entry.ledger();
        let (number, address) = match ledger.choose(total, self.options.choice) {
            Some((_, address)) => {
                let holder = self.pool.table().and_then(|table| table.holder(address));
                (holder.expect("free blocks lie in pages that are held").run, address)
            }
            None => self.add_run(family, entry, &mut ledger, total).ok_or(AllocError::NoMemory { bytes })?,
        };
        let handed = ledger.take(number, address, total, shape);
        drop(ledger);
        let data: *mut u8 = ptr::with_exposed_provenance_mut(handed.data);
        Ok((NonNull::new(data).expect("no page begins at 0"), handed.unclean))
    }

    /// Gets a run with room for a block of `total` bytes; its number and address.
    fn add_run(
        &self,
        family: FamilyId,
        entry: &Entry,
        ledger: &mut Ledger,
        total: usize,
    ) -> Option<(u32, usize)> {
        let shape = &entry.shape;
        let len = shape.run_for(total);
        let fetched = self.pool.fetch(len, shape.align)?;
        entry.kernel_calls.fetch_add(fetched.kernel_calls, Ordering::Relaxed);
        let number = ledger.add_run(Run::new(fetched.start, len, fetched.touched, shape), shape);
        let holder = Holder { family: family.0, run: number };
        self.pool.table().expect("there is a region").enter(fetched.start, len, Some(holder));
        Some((number, fetched.start))
    }

    /// The family and the run that `address` lies in, its family's lock taken.
    fn held(&self, address: usize) -> Result<(Holder, &Entry, MutexGuard<'_, Ledger>), BadFree> {
        let table = self.pool.table().filter(|table| table.owns(address));
        let table = table.ok_or(BadFree::Foreign { address })?;
        loop {
            let holder = table.holder(address).ok_or(BadFree::Unheld { address })?;
            let entry = self.directory.get(FamilyId(holder.family)).expect("holders are registered");
            let ledger = entry.ledger();
            // Only now can it not change any more.
            if table.holder(address) == Some(holder) {
                return Ok((holder, entry, ledger));
            }
        }
    }

    /// Frees the block whose data begin at `object`, without touching it in the default
    /// layout: which block that is takes a look into the page table, and at most
    /// O(log n) of the run's n blocks.
    ///
    /// # Errors
    /// See [`BadFree`]: what is no block of this heap, or none that is used, is refused.
    ///
    /// # Safety
    /// If it is a used block, nobody uses it any more.
    pub unsafe fn free(&self, object: *mut u8) -> Result<(), BadFree> {
        let address = object.addr();
        self.apart(|| self.give(address))
    }

    fn give(&self, address: usize) -> Result<(), BadFree> {
        let (holder, entry, mut ledger) = self.held(address)?;
        let run = ledger.run(holder.run).expect("pages in the table have runs");
        let used = used_block(run, address, &entry.shape)?;
        if let Freed::Run(run) = ledger.free(holder.run, &used, &entry.shape) {
            // Before the pages are anybody else's, and under the family's lock.
            self.pool.table().expect("there is a region").enter(run.start, run.len(), None);
            let calls = self.pool.give(run.start, run.len(), run.touched);
            entry.kernel_calls.fetch_add(calls, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Where an address lies: its family from the page table, at once; its block in the
    /// run as [`Self::free`] finds it.
    ///
    /// # Errors
    /// No family holds its page, or it is not this heap's.
    pub fn locate(&self, address: usize) -> Result<Location, BadFree> {
        let (holder, entry, ledger) = self.held(address)?;
        let run = ledger.run(holder.run).expect("pages in the table have runs");
        let block = run.around(address - run.start).expect("blocks tile their run");
        Ok(Location {
            family: FamilyId(holder.family),
            run: run.start,
            data: run.start + block.offset + entry.shape.meta,
            size: block.len - entry.shape.meta - block.hard,
            state: block.state,
        })
    }

    /// Bytes that may be used of the block whose data begin at `address`; none if no
    /// used block's do.
    pub fn usable_size(&self, address: usize) -> Option<usize> {
        let found = self.locate(address).ok()?;
        (found.data == address && found.state == BlockState::Used).then_some(found.size)
    }

    /// Gives the pages that no family holds back to the kernel; how many were kept.
    pub fn trim(&self) -> usize {
        self.apart(|| self.pool.trim())
    }

    /// Pages that no family holds, kept for the next that needs one: so that one object
    /// at a boundary does not cost two kernel calls each time.
    pub fn cached_pages(&self) -> usize {
        self.pool.cached_pages()
    }

    /// Where the pages come from.
    pub fn source(&self) -> &S {
        &self.pool.source
    }
}

/// The used block whose data begin at `address`.
fn used_block(run: &Run, address: usize, shape: &Shape) -> Result<Block, BadFree> {
    let found = run.around(address - run.start).expect("blocks tile their run");
    let start = run.start + found.offset + shape.meta;
    match found.state {
        BlockState::Free => Err(BadFree::AlreadyFree { address }),
        BlockState::Used if start == address => Ok(found),
        BlockState::Used => Err(BadFree::Interior { address, start }),
    }
}
