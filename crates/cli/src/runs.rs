//! Finding runs of `outcore` on this machine, and reading the numbers of their processes.

use crate::status::{Watcher, phase};
use crate::trouble::Trouble;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use sys::histogram::Histogram;
use sys::ledger::Ledger;
use sys::status::{
    MAGIC, MAGIC_OF_ANY_VERSION, MAX_FAMILIES, MAX_PARTS, PartKind, Phase, Record, StatusPage, start_ticks,
};

/// The name that a status page has as a descriptor.
const PAGE_NAME: &str = "/memfd:outcore-status";

/// And the ledger.
const LEDGER_NAME: &str = "/memfd:outcore-ledger";

/// A process that is busy draws its map while somebody looks, an idle one when it has rested.
const MAP_PATIENCE: Duration = Duration::from_millis(500);

/// Why a run cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It is another user's.
    Foreign { supervisor: u32, user: u32 },
    /// Another version of outcore made it.
    Version { supervisor: u32, version: u64 },
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Foreign { supervisor, user } => {
                write!(
                    f,
                    "the run of process {supervisor} belongs to user {user}: only that user and root can look at it"
                )
            }
            Self::Version { supervisor, version } => write!(
                f,
                "the run of process {supervisor} was started by another outcore, whose status page has version {version}; \
                 this one reads version {}",
                MAGIC & 0xff
            ),
        }
    }
}

/// Runs that are known.
#[derive(Default)]
pub(crate) struct Runs {
    /// By supervisor and when it started: pages stay mapped, so each is mapped once.
    pages: HashMap<(u32, u64), &'static StatusPage>,
    /// Those that could not be looked at when it was last tried.
    pub(crate) closed: Vec<Closed>,
}

impl Runs {
    /// The processes of every run that can be looked at, as they are now.
    pub(crate) fn look(&mut self) -> Vec<Sample> {
        self.closed.clear();
        let mut samples = Vec::new();
        for supervisor in supervisors() {
            let key = (supervisor, start_ticks(supervisor).unwrap_or(0));
            let page = match self.pages.get(&key) {
                Some(page) => Some(*page),
                None => match open(supervisor) {
                    Ok(page) => {
                        if let Some(page) = page {
                            self.pages.insert(key, page);
                        }
                        page
                    }
                    Err(closed) => {
                        self.closed.push(closed);
                        None
                    }
                },
            };
            let Some(page) = page else { continue };
            let records = Watcher::of(page).taken().iter().enumerate();
            let records = records.filter(|(_, record)| phase(record) != Phase::Free);
            let first = samples.len();
            samples.extend(records.map(|(index, record)| Sample::read(supervisor, index, record)));
            end_replaced(&mut samples[first..]);
        }
        samples
    }
}

/// A process that executed another program has a record of each, of which only the last is about what it does now.
fn end_replaced(samples: &mut [Sample]) {
    let mut seen = HashSet::new();
    for sample in samples.iter_mut().rev() {
        if sample.life == Life::Alive && !seen.insert((sample.pid, sample.heap())) {
            sample.life = Life::Ended;
            sample.name = ENDED.to_owned();
        }
    }
}

/// What has ended has no name any more.
const ENDED: &str = "(ended)";

/// The process that somebody typed; none if it is all of them.
///
/// # Errors
/// Neither a number nor `all`.
pub(crate) fn one_or_all(text: &str) -> Result<Option<u32>, Trouble> {
    if text == "all" {
        return Ok(None);
    }
    let pid = text.parse::<u32>();
    pid.map(Some)
        .map_err(|_| Trouble::bad_input(format!("{text} is neither the number of a process nor all")))
}

/// Processes that are called `outcore`.
fn supervisors() -> Vec<u32> {
    let mut found: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| comm(*pid).is_some_and(|name| name == "outcore"))
        .collect();
    found.sort_unstable();
    found
}

fn comm(pid: u32) -> Option<String> {
    Some(printable(fs::read(format!("/proc/{pid}/comm")).ok()?.trim_ascii_end()))
}

/// What others have written, without what a terminal would act on.
fn printable(text: &[u8]) -> String {
    let shown = |letter: char| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
    String::from_utf8_lossy(text).chars().map(shown).collect()
}

/// The ledger of `supervisor`, if it has one of this version.
pub(crate) fn ledger_of(supervisor: u32) -> Option<&'static Ledger> {
    Ledger::open(&shared_memory(supervisor, LEDGER_NAME).ok()??)
}

/// The status page of `supervisor`, if it has one.
fn open(supervisor: u32) -> Result<Option<&'static StatusPage>, Closed> {
    match shared_memory(supervisor, PAGE_NAME)? {
        Some(path) => open_page(supervisor, &path),
        None => Ok(None),
    }
}

/// Where `supervisor` has shared memory of this name, if it has any.
fn shared_memory(supervisor: u32, name: &str) -> Result<Option<PathBuf>, Closed> {
    let entries = match fs::read_dir(format!("/proc/{supervisor}/fd")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let user = fs::metadata(format!("/proc/{supervisor}")).map_or(0, |about| about.uid());
            return Err(Closed::Foreign { supervisor, user });
        }
        // It has ended meanwhile.
        Err(_) => return Ok(None),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if fs::read_link(&path).is_ok_and(|to| to.to_string_lossy().starts_with(name)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn open_page(supervisor: u32, path: &Path) -> Result<Option<&'static StatusPage>, Closed> {
    let mut word = [0; 8];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut word));
    if read.is_err() {
        return Ok(None);
    }
    let magic = u64::from_le_bytes(word);
    if magic >> 8 != MAGIC_OF_ANY_VERSION {
        return Ok(None);
    }
    if magic != MAGIC {
        return Err(Closed::Version { supervisor, version: magic & 0xff });
    }
    Ok(StatusPage::open(path))
}

/// Whether a process is still the one that wrote its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It runs.
    Alive,
    /// It has ended, or is another program now.
    Ended,
}

/// A piece of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) pages: u64,
    pub(crate) resident: u64,
    pub(crate) parked: u64,
    pub(crate) swapped: u64,
}

/// An area or family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartSample {
    pub(crate) name: String,
    pub(crate) pages: u64,
    pub(crate) resident: u64,
    pub(crate) parked: u64,
    pub(crate) swapped: u64,
    pub(crate) used_bytes: Option<u64>,
}

/// What one process says of itself at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) supervisor: u32,
    pub(crate) index: usize,
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) name: String,
    pub(crate) life: Life,
    pub(crate) phase: Phase,
    pub(crate) numbers: Vec<(&'static str, u64)>,
    pub(crate) minor: Histogram,
    pub(crate) stall: Histogram,
    pub(crate) read: Histogram,
    pub(crate) write: Histogram,
    pub(crate) message: Option<String>,
    pub(crate) at: Instant,
    pub(crate) detail: Detail,
}

/// What takes more room than a number, and is read when it is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Detail {
    /// In the record.
    There(&'static Record),
    /// Known already: the map, the parts, the code that faults.
    #[cfg_attr(not(test), expect(dead_code, reason = "what tests look at"))]
    Known(Vec<Piece>, Vec<PartSample>, Vec<(u64, u64)>),
}

impl Sample {
    fn read(supervisor: u32, index: usize, record: &'static Record) -> Self {
        let pid = record.pid.load(Relaxed);
        let started = record.start_ticks.load(Relaxed);
        let alive = started != 0 && start_ticks(pid) == Some(started);
        let named = match record.heap.load(Relaxed) {
            0 if alive => comm(pid),
            heap if alive => Some(format!("heap {heap}")),
            _ => None,
        };
        Self {
            supervisor,
            index,
            pid,
            parent: match record.heap.load(Relaxed) {
                0 if alive => parent(pid).unwrap_or(0),
                0 => 0,
                _ => pid,
            },
            name: named.unwrap_or_else(|| ENDED.to_owned()),
            life: if alive { Life::Alive } else { Life::Ended },
            phase: phase(record),
            numbers: record.numbers(),
            minor: record.minor_fault_ns.read(),
            stall: record.stall_ns_each.read(),
            read: record.read_ns.read(),
            write: record.write_ns.read(),
            message: record.message().map(|message| printable(message.as_bytes())),
            at: Instant::now(),
            detail: Detail::There(record),
        }
    }

    /// A number by its name; 0 if there is none.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.numbers.iter().find(|(other, _)| *other == name).map_or(0, |(_, value)| *value)
    }

    /// Which of its process's heaps it is of; 0: of the process itself.
    pub(crate) fn heap(&self) -> u64 {
        self.number("heap")
    }

    /// Bytes in memory: the resident set of a process, the pages of a heap.
    pub(crate) fn resident_bytes(&self) -> u64 {
        if self.heap() == 0 { self.number("rss_bytes") } else { self.number("resident_pages") * 4096 }
    }

    /// Whether it is the same process of the same run, later.
    pub(crate) fn follows(&self, earlier: &Self) -> bool {
        let key = |sample: &Self| {
            (sample.supervisor, sample.index, sample.pid, sample.number("start_ticks"), sample.heap())
        };
        key(self) == key(earlier)
    }

    /// By how much a counter has grown since `earlier`, each second.
    pub(crate) fn rate(&self, earlier: Option<&Self>, name: &str) -> f64 {
        let Some(earlier) = earlier else { return 0.0 };
        let seconds = self.at.saturating_duration_since(earlier.at).as_secs_f64();
        let grown = self.number(name).saturating_sub(earlier.number(name));
        if seconds > 0.0 { grown as f64 / seconds } else { 0.0 }
    }

    /// Says that somebody looks, so that the process draws its map and looks up code.
    pub(crate) fn watch(&self) {
        if let Detail::There(record) = self.detail {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            record.watched.store(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64, Relaxed);
        }
    }

    /// Waits, for half a second at most, until the map is as new as the numbers.
    pub(crate) fn wait_for_map(&self) {
        let Detail::There(record) = self.detail else { return };
        self.watch();
        let start = Instant::now();
        let is_old = || record.drawn_ns.load(Relaxed) < record.updated_ns.load(Relaxed);
        while self.life == Life::Alive
            && self.phase == Phase::Paging
            && is_old()
            && start.elapsed() < MAP_PATIENCE
        {
            std::thread::sleep(MAP_PATIENCE / 50);
        }
    }

    /// The map of what is paged, in order of address.
    pub(crate) fn map(&self) -> Vec<Piece> {
        let record = match &self.detail {
            Detail::There(record) => record,
            Detail::Known(map, ..) => return map.clone(),
        };
        let valid = usize::try_from(record.map_cells.load(Relaxed)).unwrap_or(0);
        let piece = |cell: &sys::status::Cell| Piece {
            pages: cell.pages.load(Relaxed).into(),
            resident: cell.resident.load(Relaxed).into(),
            parked: cell.parked.load(Relaxed).into(),
            swapped: cell.swapped.load(Relaxed).into(),
        };
        record.map.iter().take(valid).map(piece).collect()
    }

    /// Areas and families, the largest first.
    pub(crate) fn parts(&self) -> Vec<PartSample> {
        let record = match &self.detail {
            Detail::There(record) => record,
            Detail::Known(_, parts, _) => return parts.clone(),
        };
        let families = (record.families.load(Relaxed) as usize).min(MAX_FAMILIES);
        let areas = (record.parts.load(Relaxed) as usize).min(MAX_PARTS - families);
        let mut parts: Vec<PartSample> = record.part[..areas]
            .iter()
            .chain(&record.part[MAX_PARTS - families..])
            .map(|part| {
                let family = part.kind.load(Relaxed) == PartKind::Family as u32;
                let len = part.name_len.load(Relaxed) as usize;
                let bytes: Vec<u8> = part.name.iter().take(len).map(|byte| byte.load(Relaxed)).collect();
                let name = if family { printable(&bytes) } else { format!("{:x}", part.start.load(Relaxed)) };
                PartSample {
                    name,
                    pages: part.pages.load(Relaxed),
                    resident: part.resident.load(Relaxed),
                    parked: part.parked.load(Relaxed),
                    swapped: part.swapped.load(Relaxed),
                    used_bytes: family.then(|| part.used_bytes.load(Relaxed)),
                }
            })
            .collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.resident + part.parked + part.swapped));
        parts
    }

    /// Code addresses that faulted, with how often they were seen, the most first.
    pub(crate) fn hot(&self) -> Vec<(u64, u64)> {
        let record = match &self.detail {
            Detail::There(record) => record,
            Detail::Known(.., hot) => return hot.clone(),
        };
        let pair = |hot: &sys::status::Hot| (hot.code.load(Relaxed), hot.count.load(Relaxed));
        let mut hot: Vec<(u64, u64)> = record.hot.iter().map(pair).filter(|(code, _)| *code != 0).collect();
        hot.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        hot
    }
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Why there is nothing to see of process `pid`.
pub(crate) fn why_not(pid: u32, closed: &[Closed]) -> String {
    let dir = PathBuf::from(format!("/proc/{pid}"));
    let Ok(about) = fs::metadata(&dir) else {
        return format!("there is no process {pid}; it may have ended");
    };
    let name = comm(pid).unwrap_or_default();
    if let Some(closed) = closed.iter().find(|closed| match closed {
        Closed::Foreign { supervisor, .. } | Closed::Version { supervisor, .. } => *supervisor == pid,
    }) {
        return closed.to_string();
    }
    match fs::read(dir.join("environ")) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            format!(
                "process {pid} ({name}) belongs to user {}: only that user and root can look at it",
                about.uid()
            )
        }
        Ok(environ)
            if environ.split(|byte| *byte == 0).any(|entry| entry.starts_with(b"OUTCORE_STATUS=")) =>
        {
            match closed.first() {
                Some(closed) => closed.to_string(),
                None => format!(
                    "process {pid} ({name}) was started by 'outcore run', but the outcore that watched it has ended, and \
                     with it its numbers"
                ),
            }
        }
        _ => format!("process {pid} ({name}) does not run under 'outcore run'"),
    }
}
