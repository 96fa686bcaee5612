//! How heaps are made.

use crate::heap::Heap;
use crate::paging::Paging;
use core::error::Error;
use core::fmt::{self, Display, Formatter};
use engine::{Budget, Commit, Fallbacks, OpenError, Settings, StorePlace};
use std::path::PathBuf;

/// Where `outcore run` keeps its store, too.
const STORE_DIRECTORY: &str = "/var/tmp";
/// How much may go there if nothing else is said.
const STORE_BYTES: u64 = 64 << 30;

/// What a heap is to be; see [`Heap::builder`].
#[derive(Clone, Debug)]
#[must_use = "a heap is made by `build`"]
pub struct HeapBuilder {
    ram: Ram,
    settings: Settings,
}

/// What RAM a heap may take.
#[derive(Clone, Debug)]
enum Ram {
    Unsaid,
    /// So many bytes.
    Own(u64),
    /// A part of what others have as well.
    Shared(Budget),
}

/// Why there is no heap. Nothing is left of it.
#[derive(Debug)]
pub enum BuildError {
    /// No budget was given.
    NoBudget,
    /// The pager could not be made.
    Open(OpenError),
    /// Children that are forked could not be kept from reading zeros: the C library has no
    /// memory for a fork handler.
    Fork,
    /// The global heap has been started before.
    Started,
}

impl HeapBuilder {
    pub(crate) fn new() -> Self {
        let settings = Settings::for_areas(0, StorePlace::Directory(STORE_DIRECTORY.into()), STORE_BYTES);
        Self { ram: Ram::Unsaid, settings }
    }

    /// How many bytes of RAM its pages may take, and the tables about them: at least
    /// 4 MiB. This has to be given, or [`share`](Self::share): of both, what was said last counts.
    pub fn budget(mut self, bytes: u64) -> Self {
        self.ram = Ram::Own(bytes);
        self
    }

    /// Has the heap share a budget with other heaps and arenas: what it has of it follows its need,
    /// and is never less than 4 MiB and its tables.
    ///
    /// ```
    /// use outcore::{Budget, Heap};
    ///
    /// let budget = Budget::new(24 << 20)?;
    /// let hot = Heap::builder().share(&budget).build()?;
    /// let cold = Heap::builder().share(&budget).build()?;
    /// assert_eq!(budget.sharers(), 2);
    /// # drop((hot, cold));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn share(mut self, budget: &Budget) -> Self {
        self.ram = Ram::Shared(budget.clone());
        self
    }

    /// Where evicted pages go: `/var/tmp`, unless said otherwise.
    pub fn store(mut self, place: StorePlace) -> Self {
        self.settings.store = place;
        self
    }

    /// The same: a file without a name in this directory, which must be on a disk.
    pub fn store_in(self, directory: impl Into<PathBuf>) -> Self {
        self.store(StorePlace::Directory(directory.into()))
    }

    /// How many bytes may go there: 64 GiB, unless said otherwise, and at most 1 TiB.
    pub fn store_size(mut self, bytes: u64) -> Self {
        self.settings.store_bytes = bytes;
        self
    }

    /// When the store's room is charged. [`Commit::Lazy`], the default, when pages are
    /// evicted: when there is none left, nothing is lost, but RAM use may pass the budget.
    /// [`Commit::Strict`] when memory is allocated: what the store has no room for is
    /// refused.
    pub fn commit(mut self, commit: Commit) -> Self {
        self.settings.commit = commit;
        self
    }

    /// Whether pages are read before they are asked for, where accesses are regular. They
    /// are, unless said otherwise.
    pub fn readahead(mut self, on: bool) -> Self {
        self.settings.readahead = on;
        self
    }

    /// Does without features of the kernel, for tests.
    pub fn fallbacks(mut self, fallbacks: Fallbacks) -> Self {
        self.settings.force = fallbacks;
        self
    }

    /// Has the store fail, for tests: by a plan such as `write-error@20`, `read-error@3` or
    /// `corrupt-read@30`.
    pub fn faults(mut self, plan: &str) -> Self {
        self.settings.faults = Some(plan.to_owned());
        self
    }

    /// What was said; none if no budget was.
    pub(crate) fn into_settings(self) -> Option<Settings> {
        let (ram_bytes, share) = match self.ram {
            Ram::Unsaid => return None,
            Ram::Own(bytes) => (bytes, None),
            Ram::Shared(budget) => (budget.bytes(), Some(budget)),
        };
        Some(Settings { ram_bytes, share, ..self.settings })
    }

    /// The same with the budget of the tree that `outcore run` has started, if none was said.
    pub(crate) fn or_of_run(self) -> Self {
        match (&self.ram, Budget::of_run()) {
            (Ram::Unsaid, Some(budget)) => self.share(&budget),
            _ => self,
        }
    }

    /// Makes the heap, with a pager and a store of its own.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(self) -> Result<Heap, BuildError> {
        let settings = self.into_settings().ok_or(BuildError::NoBudget)?;
        let room = settings.ram_bytes.saturating_add(settings.store_bytes);
        Ok(Heap::new(Paging::start(settings)?, room))
    }
}

impl Display for BuildError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBudget => write!(f, "no budget was given: say how many bytes of RAM the heap may take"),
            Self::Open(error) => write!(f, "{error}"),
            Self::Fork => write!(f, "the C library refuses pthread_atfork: there is no memory for it"),
            Self::Started => write!(f, "the global heap has been started before: start it once"),
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Open(error) => Some(error),
            Self::NoBudget | Self::Fork | Self::Started => None,
        }
    }
}
