#![expect(unsafe_code, reason = "begins as a server before main, and lends shared memory")]
//! Arenas that several processes have.

use crate::arena::Arena;
use crate::builder::HeapBuilder;
use crate::fork::{self, Listed, MOST_RANGES};
use crate::racy;
use crate::resident;
use core::error::Error;
use core::fmt::{self, Debug, Display, Formatter};
use core::mem::ManuallyDrop;
use core::ptr;
use engine::shared::{ArenaStats, Membership, SharedError};
use engine::{Budget, Commit};
use std::path::PathBuf;

/// Runs before `main`, and in place of it where the process was started to serve an arena. The
/// linker keeps it because [`begin`] names it.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    if engine::shared::is_wanted() {
        resident::for_ever();
        engine::shared::run(resident::for_ever);
    }
}

/// What a shared arena is to be; see [`Arena::create_shared`].
#[derive(Clone, Debug)]
#[must_use = "an arena is made by `create`"]
pub struct SharedArenaBuilder {
    name: String,
    size: u64,
    heap: HeapBuilder,
}

impl SharedArenaBuilder {
    /// How many bytes of RAM its pages may take for all its members together, and the tables
    /// about them: at least 4 MiB. This has to be given, or [`share`](Self::share): of both, what
    /// was said last counts. Under `outcore run`, an arena of which neither was said shares the
    /// budget of `--ram` with the processes there.
    pub fn budget(self, bytes: u64) -> Self {
        Self { heap: self.heap.budget(bytes), ..self }
    }

    /// Has the arena share a budget with heaps and other arenas of this process, and of others that
    /// share it: what it has of it follows its need, which is that of all its members, and is never
    /// less than 4 MiB and its tables.
    pub fn share(self, budget: &Budget) -> Self {
        Self { heap: self.heap.share(budget), ..self }
    }

    /// The directory of its store, on a disk: `/var/tmp`, unless said otherwise.
    pub fn store_in(self, directory: impl Into<PathBuf>) -> Self {
        Self { heap: self.heap.store_in(directory), ..self }
    }

    /// How many bytes may go there: 64 GiB, unless said otherwise.
    pub fn store_size(self, bytes: u64) -> Self {
        Self { heap: self.heap.store_size(bytes), ..self }
    }

    /// When the store's room is charged. [`Commit::Lazy`], the default: when pages are evicted.
    /// [`Commit::Strict`]: now, and an arena that the store has no room for is refused.
    pub fn commit(self, commit: Commit) -> Self {
        Self { heap: self.heap.commit(commit), ..self }
    }

    /// Whether pages are read before they are asked for. They are, unless said otherwise.
    pub fn readahead(self, on: bool) -> Self {
        Self { heap: self.heap.readahead(on), ..self }
    }

    /// Has the store fail, for tests, as [`HeapBuilder::faults`].
    pub fn faults(self, plan: &str) -> Self {
        Self { heap: self.heap.faults(plan), ..self }
    }

    pub(crate) fn of_heap(name: &str, size: u64, heap: HeapBuilder) -> Self {
        Self { name: name.to_owned(), size, heap }
    }

    /// Makes the arena, and is its first member.
    ///
    /// # Errors
    /// See [`ShareError`]; nothing is left then.
    pub fn create(self) -> Result<SharedArena, ShareError> {
        let settings = self.heap.or_of_run().into_settings().ok_or(ShareError::NoBudget)?;
        let (name, size) = (self.name, self.size);
        begin(|| engine::shared::create(&name, size, &settings, resident::for_ever))
    }
}

fn begin(join: impl FnOnce() -> Result<Membership, SharedError>) -> Result<SharedArena, ShareError> {
    // What the server begins with must be in the program.
    core::hint::black_box(&raw const START);
    resident::scope(|| {
        if !fork::watch() {
            return Err(ShareError::NoForkHandler);
        }
        let membership = join().map_err(ShareError::Arena)?;
        let (addr, len) = (membership.addr(), membership.len());
        match Listed::new(addr, len) {
            Some(listed) => Ok(SharedArena {
                membership: ManuallyDrop::new(membership),
                generation: fork::generation(),
                _listed: listed,
            }),
            None => {
                // SAFETY: nobody has been told of it.
                unsafe { membership.detach() };
                Err(ShareError::TooMany)
            }
        }
    })
}

impl Arena {
    /// An arena of `size` bytes that other processes of this user [attach](Self::attach) to, by
    /// a name that is nowhere on a disk. A budget has to be given, or one to share.
    ///
    /// ```
    /// use outcore::Arena;
    ///
    /// let name = format!("example-{}", std::process::id());
    /// let arena = Arena::create_shared(&name, 64 << 20).budget(8 << 20).create()?;
    /// let other = Arena::attach(&name)?;        // in this process, or in another one
    /// arena.write(5000, b"for all")?;
    /// let mut seen = [0; 7];
    /// other.read(5000, &mut seen)?;
    /// assert_eq!(&seen, b"for all");
    /// assert_eq!(other.stats()?.members, 2);
    /// # Ok::<(), outcore::ShareError>(())
    /// ```
    pub fn create_shared(name: &str, size: u64) -> SharedArenaBuilder {
        SharedArenaBuilder::of_heap(name, size, HeapBuilder::new())
    }

    /// A member's view of the arena that was made with that name.
    ///
    /// # Errors
    /// See [`ShareError`]; nothing is left then.
    pub fn attach(name: &str) -> Result<SharedArena, ShareError> {
        begin(|| Membership::attach(name, resident::for_ever))
    }
}

/// A shared arena, as one member has it mapped. It is at another address in each process.
///
/// Each page is in memory once for all members, and leaves it for all of them at once. What is
/// written by one is seen by all others as any shared memory is. Members may end at any moment,
/// by SIGKILL too. The last one out removes the arena.
///
/// A child that is forked has not got it, and is no member: it may attach.
pub struct SharedArena {
    membership: ManuallyDrop<Membership>,
    generation: u32,
    _listed: Listed,
}

/// What cannot be done with shared arenas. Nothing has been changed then.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShareError {
    /// No budget was given.
    NoBudget,
    /// The arena, or its server, says why.
    Arena(SharedError),
    /// A range past the arena's end.
    OutOfRange {
        /// Where it begins, in bytes.
        offset: usize,
        /// Its bytes.
        len: usize,
        /// The arena's.
        size: usize,
    },
    /// There are as many ranges of heaps and arenas as there may be.
    TooMany,
    /// Children that are forked could not be kept from touching it: the C library has no
    /// memory for a fork handler.
    NoForkHandler,
    /// This is a forked child, which has not got the arena.
    Forked,
}

impl SharedArena {
    /// Its bytes.
    pub fn len(&self) -> usize {
        self.membership.len()
    }

    /// Never: it has at least a page.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The address of its first byte in this process: a multiple of the page size.
    pub fn addr(&self) -> usize {
        self.membership.addr()
    }

    /// Its first byte. It may be read and written as any memory that others change at the same
    /// time, by atomic operations or under a lock in it, until this is dropped.
    pub fn as_ptr(&self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.addr())
    }

    fn is_here(&self) -> bool {
        self.generation == fork::generation()
    }

    fn part(&self, offset: usize, len: usize) -> Result<usize, ShareError> {
        if !self.is_here() {
            return Err(ShareError::Forked);
        }
        let size = self.len();
        match offset.checked_add(len) {
            Some(end) if end <= size => Ok(self.addr() + offset),
            _ => Err(ShareError::OutOfRange { offset, len, size }),
        }
    }

    /// Copies bytes out. What is written meanwhile is seen or not, word by word.
    ///
    /// # Errors
    /// [`ShareError::OutOfRange`], [`ShareError::Forked`].
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), ShareError> {
        let addr = self.part(offset, bytes.len())?;
        // SAFETY: mapped for as long as this is.
        unsafe { racy::copy_out(addr, bytes) };
        Ok(())
    }

    /// Copies bytes in.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), ShareError> {
        let addr = self.part(offset, bytes.len())?;
        // SAFETY: mapped, and writable, for as long as this is.
        unsafe { racy::copy_in(addr, bytes) };
        Ok(())
    }

    /// Drops the contents of whole pages, in memory and in the store, for all members: they
    /// read as zeros then.
    ///
    /// # Errors
    /// [`SharedError::Range`], [`SharedError::Gone`]; [`ShareError::Forked`].
    pub fn discard(&self, offset: usize, len: usize) -> Result<(), ShareError> {
        if !self.is_here() {
            return Err(ShareError::Forked);
        }
        resident::scope(|| self.membership.discard(offset, len)).map_err(ShareError::Arena)
    }

    /// The arena's numbers now: those of all members together.
    ///
    /// # Errors
    /// [`SharedError::Gone`]; [`ShareError::Forked`].
    pub fn stats(&self) -> Result<ArenaStats, ShareError> {
        if !self.is_here() {
            return Err(ShareError::Forked);
        }
        resident::scope(|| self.membership.stats()).map_err(ShareError::Arena)
    }

    /// Whether the arena's server was killed. What was in memory stays usable, by this member
    /// and the others; touching what was not is a bus error.
    pub fn is_orphaned(&self) -> bool {
        self.membership.is_orphaned()
    }

    /// Whether system calls, too, wait for pages that are not in memory; else they fail
    /// with `EFAULT` there.
    pub fn serves_system_calls(&self) -> bool {
        self.membership.serves_system_calls()
    }

    /// Leaves the arena, as dropping it does.
    pub fn detach(self) {}
}

impl Drop for SharedArena {
    fn drop(&mut self) {
        if self.is_here() {
            // SAFETY: taken once; whoever has used the memory has borrowed this, or has said
            // that it was their business.
            resident::scope(|| unsafe { ManuallyDrop::take(&mut self.membership).detach() });
        }
    }
}

impl Debug for SharedArena {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "SharedArena({:#x}..{:#x})", self.addr(), self.addr() + self.len())
    }
}

impl Display for ShareError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBudget => {
                write!(
                    f,
                    "no budget was given: say how many bytes of RAM the arena may take, or what it shares"
                )
            }
            Self::Arena(error) => Display::fmt(error, f),
            Self::OutOfRange { offset, len, size } => {
                write!(f, "the {len} bytes at {offset} are not within the arena's {size} bytes")
            }
            Self::TooMany => write!(f, "{MOST_RANGES} ranges are paged in this process: drop some"),
            Self::NoForkHandler => {
                write!(f, "the C library refuses pthread_atfork: there is no memory for it")
            }
            Self::Forked => {
                write!(
                    f,
                    "a forked child has not got its parent's shared arenas: attach to them in the child"
                )
            }
        }
    }
}

impl Error for ShareError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Arena(error) => Some(error),
            _ => None,
        }
    }
}
