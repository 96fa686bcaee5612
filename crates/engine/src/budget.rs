#![expect(unsafe_code, reason = "says when a ledger is not used any more")]
//! A budget that heaps and arenas share.

use crate::PAGE;
use crate::engine::MAX_FRAMES;
use crate::takeover::MIN_FRAMES;
use core::error::Error;
use core::fmt::{self, Debug, Display, Formatter};
use core::mem::ManuallyDrop;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, fstat};
use rustix::io::Errno;
use std::sync::Arc;
use sys::ledger::Ledger;

/// The smallest budget, in bytes: what one heap needs to page with.
const LEAST: u64 = MIN_FRAMES * PAGE as u64;
/// The largest, in bytes.
const MOST: u64 = MAX_FRAMES as u64 * PAGE as u64;

/// RAM that several heaps and arenas share, each by its need: who waits most for its pages gets
/// most of it, and who is idle gives. Clones are the same budget. It lasts until the last of them,
/// and of those that share it, is gone.
#[derive(Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

/// A mapping of the ledger, and the descriptor through which servers of arenas get theirs.
struct Shared {
    ledger: &'static Ledger,
    file: ManuallyDrop<OwnedFd>,
    /// Device and inode: what the descriptor is, unless the program has closed it.
    identity: (u64, u64),
}

/// What cannot be done with a budget. Nothing has been changed then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetError {
    /// It does not hold the transfers of a moment of one heap.
    Small {
        /// What was given, in bytes.
        given: u64,
        /// What works, in bytes.
        least: u64,
    },
    /// It has more pages than can be numbered.
    Large {
        /// What was given, in bytes.
        given: u64,
        /// What works, in bytes.
        most: u64,
    },
    /// Those that share it cannot do with so little.
    InUse {
        /// What was given, in bytes.
        given: u64,
        /// What they need, in bytes.
        least: u64,
    },
    /// The program has closed the budget's descriptor, which it did not open.
    Closed,
    /// The kernel refuses.
    Kernel(&'static str, Errno),
}

fn identity(file: impl AsFd) -> Option<(u64, u64)> {
    fstat(file).ok().map(|about| (about.st_dev, about.st_ino))
}

/// Whether a budget may be that large.
fn check(bytes: u64) -> Result<(), BudgetError> {
    match bytes {
        ..LEAST => Err(BudgetError::Small { given: bytes, least: LEAST }),
        LEAST..=MOST => Ok(()),
        _ => Err(BudgetError::Large { given: bytes, most: MOST }),
    }
}

impl Budget {
    /// So many bytes of RAM: at least 4 MiB, and what each of its heaps and arenas needs to page
    /// with, which is 4 MiB and its tables.
    ///
    /// # Errors
    /// [`BudgetError::Small`], [`BudgetError::Large`], [`BudgetError::Kernel`].
    pub fn new(bytes: u64) -> Result<Self, BudgetError> {
        check(bytes)?;
        let (file, ledger) = Ledger::create_for_areas(bytes)
            .map_err(|error| BudgetError::Kernel("no shared memory for a budget", error))?;
        Ok(Self::of(ledger, file))
    }

    /// The budget of the tree of processes that this one belongs to, if `outcore run` has started
    /// it.
    pub fn of_run() -> Option<Self> {
        let path = std::env::var_os("OUTCORE_LEDGER")?;
        let file = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?;
        Self::received(file)
    }

    /// The budget whose ledger a descriptor is for, if it is one.
    pub(crate) fn received(file: OwnedFd) -> Option<Self> {
        Ledger::of_file(&file).map(|ledger| Self::of(ledger, file))
    }

    fn of(ledger: &'static Ledger, file: OwnedFd) -> Self {
        let identity = identity(&file).unwrap_or_default();
        Self { shared: Arc::new(Shared { ledger, file: ManuallyDrop::new(file), identity }) }
    }

    pub(crate) fn ledger(&self) -> &'static Ledger {
        self.shared.ledger
    }

    /// The ledger's descriptor.
    pub(crate) fn file(&self) -> Result<BorrowedFd<'_>, BudgetError> {
        let file = self.shared.file.as_fd();
        if identity(file) == Some(self.shared.identity) { Ok(file) } else { Err(BudgetError::Closed) }
    }

    /// Bytes that those who share it can do without.
    pub(crate) fn left(&self) -> u64 {
        self.ledger().room().saturating_sub(self.ledger().floors())
    }

    /// Bytes for all that share it.
    pub fn bytes(&self) -> u64 {
        self.shared.ledger.budget()
    }

    /// Makes it another one at once. What does not fit any more is evicted: until it is, they
    /// hold what they held, and nobody gets more.
    ///
    /// # Errors
    /// [`BudgetError::Small`], [`BudgetError::Large`], [`BudgetError::InUse`].
    pub fn set(&self, bytes: u64) -> Result<(), BudgetError> {
        check(bytes)?;
        let least = self.shared.ledger.floors();
        if bytes < least {
            return Err(BudgetError::InUse { given: bytes, least });
        }
        self.shared.ledger.set_budget(bytes);
        Ok(())
    }

    /// Bytes of pages and tables that all have in memory, as their pagers have last told: they do
    /// when something happens, every 5 ms at most.
    pub fn used(&self) -> u64 {
        self.shared.ledger.used()
    }

    /// How many heaps and arenas share it.
    pub fn sharers(&self) -> usize {
        self.shared.ledger.taken().count()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: whoever has the ledger has this: an engine has it in its settings, and its pager has
        // ended before these are dropped. In a forked child nobody uses what it inherited.
        unsafe { Ledger::unmap(self.ledger) };
        // If the program has closed it, it is somebody else's by now.
        if identity(&*self.file) == Some(self.identity) {
            // SAFETY: dropped once.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

impl Debug for Budget {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({} of {} bytes used by {})", self.used(), self.bytes(), self.sharers())
    }
}

impl Display for BudgetError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Small { given, least } => {
                write!(f, "a budget of {given} bytes is too small: give at least {least} bytes")
            }
            Self::Large { given, most } => {
                write!(f, "a budget of {given} bytes is too large: give at most {most} bytes")
            }
            Self::InUse { given, least } => write!(
                f,
                "a budget of {given} bytes is too small for the heaps and arenas that share it, which need {least} \
                 bytes: drop some, or give more"
            ),
            Self::Closed => {
                write!(
                    f,
                    "the budget's descriptor was closed: close only descriptors that the program has opened"
                )
            }
            Self::Kernel(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl Error for BudgetError {}
