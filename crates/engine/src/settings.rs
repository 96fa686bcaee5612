//! What `outcore run` asked for, as it reaches the program: `OUTCORE_*` variables.

use crate::budget::Budget;
use pager::Commit;
use std::path::PathBuf;

/// Where evicted pages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// A file without a name in this directory.
    Directory(PathBuf),
    /// Memory outside the budget; for tests and for machines without a disk.
    Memory,
}

/// Whose memory an engine pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The process's. The budget bounds its resident set; nothing is paged before that
    /// comes near it. There is one such engine in a process, and it never ends.
    #[default]
    Process,
    /// What it is given, from the start. The budget bounds what of that is in memory, and
    /// the engine's tables about it. See [`crate::Instance`].
    Areas,
}

/// Ways to do without a kernel feature, forced for tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fallbacks {
    /// Copy pages in place of moving them.
    pub copy: bool,
    /// A thread pool in place of io_uring.
    pub threads: bool,
    /// A userfaultfd that serves no faults taken inside system calls.
    pub user_mode: bool,
    /// A thread of the program in place of a process that shares its memory.
    pub pager_thread: bool,
}

/// The settings of one process.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The budget in bytes.
    pub ram_bytes: u64,
    /// Where evicted pages go.
    pub store: StorePlace,
    /// How much may go there.
    pub store_bytes: u64,
    /// When the store's room is charged.
    pub commit: Commit,
    /// Forced fallbacks.
    pub force: Fallbacks,
    /// Failures that the store is to have, for tests.
    pub faults: Option<String>,
    /// Whether pages are read before they are asked for.
    pub readahead: bool,
    /// The status page's path.
    pub status: Option<PathBuf>,
    /// The ledger of the budget that the tree's processes share.
    pub ledger: Option<PathBuf>,
    /// Where the rings of traces are.
    pub trace: Option<PathBuf>,
    /// Of so many faults, one's code address is traced; 0: none's.
    pub trace_code: u32,
    /// With them, who called that code.
    pub trace_callers: bool,
    /// References to one page in so many are traced; 0: none.
    pub trace_access: u32,
    /// Whether numbers are kept for people; without them, what they cost can be measured.
    pub counted: bool,
    /// Whether files that the program maps are paged, where nobody can write to them.
    pub map_files: bool,
    /// Whose memory is paged.
    pub scope: Scope,
    /// Of [`Scope::Areas`]: the budget that it shares, in place of one of its own.
    pub share: Option<Budget>,
}

impl Settings {
    /// Settings of a pager of its own, that pages what it is given.
    pub fn for_areas(ram_bytes: u64, store: StorePlace, store_bytes: u64) -> Self {
        Self {
            ram_bytes,
            store,
            store_bytes,
            commit: Commit::Lazy,
            force: Fallbacks::default(),
            faults: None,
            readahead: true,
            status: None,
            ledger: None,
            trace: None,
            trace_code: 0,
            trace_callers: false,
            trace_access: 0,
            counted: true,
            map_files: false,
            scope: Scope::Areas,
            share: None,
        }
    }

    /// The settings that the environment gives; none without `OUTCORE_RAM`.
    ///
    /// # Errors
    /// The variable that cannot be understood, as a sentence.
    pub fn from_env() -> Result<Option<Self>, String> {
        let text = |name: &str| std::env::var(name).ok();
        let bytes = |name: &str| -> Result<Option<u64>, String> {
            text(name)
                .map(|value| value.parse().map_err(|_| format!("{name}={value} is not a number of bytes")))
                .transpose()
        };
        let number = |name: &str| -> Result<u32, String> {
            let parse = |value: String| value.parse().map_err(|_| format!("{name}={value} is not a number"));
            text(name).map(parse).transpose().map(Option::unwrap_or_default)
        };
        let Some(ram_bytes) = bytes("OUTCORE_RAM")? else {
            return Ok(None);
        };
        let forced = text("OUTCORE_FORCE").unwrap_or_default();
        let force = |name: &str| forced.split(',').any(|word| word == name);
        Ok(Some(Self {
            ram_bytes,
            store: match text("OUTCORE_STORE").as_deref() {
                Some("memory") => StorePlace::Memory,
                Some(dir) => StorePlace::Directory(dir.into()),
                None => StorePlace::Directory("/var/tmp".into()),
            },
            store_bytes: bytes("OUTCORE_STORE_SIZE")?.unwrap_or(64 << 30),
            commit: match text("OUTCORE_COMMIT").as_deref() {
                Some("strict") => Commit::Strict,
                Some("lazy") | None => Commit::Lazy,
                Some(other) => return Err(format!("OUTCORE_COMMIT={other} is neither strict nor lazy")),
            },
            force: Fallbacks {
                copy: force("copy"),
                threads: force("threads"),
                user_mode: force("user-mode"),
                pager_thread: force("pager-thread"),
            },
            faults: text("OUTCORE_FAULTS"),
            readahead: text("OUTCORE_READAHEAD").as_deref() != Some("off"),
            status: text("OUTCORE_STATUS").map(PathBuf::from),
            ledger: text("OUTCORE_LEDGER").map(PathBuf::from),
            trace: text("OUTCORE_TRACE").map(PathBuf::from),
            trace_code: number("OUTCORE_TRACE_CODE")?,
            trace_callers: text("OUTCORE_TRACE_CALLERS").as_deref() == Some("on"),
            trace_access: number("OUTCORE_TRACE_ACCESS")?,
            counted: text("OUTCORE_COUNTERS").as_deref() != Some("off"),
            map_files: text("OUTCORE_MAP_FILES").as_deref() == Some("on"),
            scope: Scope::Process,
            share: None,
        }))
    }
}
