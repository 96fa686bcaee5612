//! What is said at the end of a run: a few lines for people, or every number.

use crate::place::Place;
use crate::size::{grouped, shown};
use crate::status::{Status, phase};
use crate::supervise::Outcome;
use crate::trouble::{Trouble, say};
use serde_json::{Map, Value, json};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use sys::status::{Phase, Record, feature, kept};

/// Bits of `Record::features` with the words of this program for them.
const FEATURES: [(u64, &str); 8] = [
    (feature::MOVE, "move"),
    (feature::IO_URING, "io_uring"),
    (feature::FULL_USERFAULTFD, "full-userfaultfd"),
    (feature::FILE_STORE, "file-store"),
    (feature::DIRECT_IO, "direct-io"),
    (feature::FORKS, "forks"),
    (feature::PAGER_PROCESS, "pager-process"),
    (feature::MAP_FILES, "map-files"),
];

/// Bits of `Record::kept_file_reasons`, for people.
const KEPT: [(u64, &str); 7] = [
    (kept::FITS, "they fit"),
    (kept::KIND, "they are written by all, executed, or not of files on a disk"),
    (kept::WRITABLE, "the file is open for writing"),
    (kept::NOT_OWNER, "the file is another user's"),
    (kept::FILE_SYSTEM, "of the file system"),
    (kept::LIMIT, "there are too many"),
    (kept::MACHINE, "this machine does not offer what it takes"),
];

/// How the end of a run is told.
pub(crate) enum Report {
    /// A few lines on stderr.
    Text,
    /// One JSON object on stderr.
    Json,
    /// The same object in a file.
    File(PathBuf, File),
    /// Failures only.
    None,
}

/// A run that has ended.
pub(crate) struct Run<'a> {
    /// The program as it was named.
    pub(crate) program: &'a Path,
    /// The budget of all its processes together.
    pub(crate) budget_bytes: u64,
    /// What the kernel says about it.
    pub(crate) outcome: &'a Outcome,
    /// What its processes said about themselves.
    pub(crate) status: &'a Status,
}

impl Report {
    /// Reads `--report`. A file is created now: better no run than one whose
    /// report is lost.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn open(option: &OsStr) -> Result<Self, Trouble> {
        if option == "text" {
            return Ok(Self::Text);
        }
        if option == "json" {
            return Ok(Self::Json);
        }
        if option == "none" {
            return Ok(Self::None);
        }
        let path = PathBuf::from(option);
        match File::create(&path) {
            Ok(file) => Ok(Self::File(path, file)),
            Err(error) => {
                Err(Trouble::own(format!("--report {} cannot be written: {error}", path.display())))
            }
        }
    }

    /// Tells what the processes of `run` had to say, and then how it went.
    pub(crate) fn write(self, run: &Run<'_>, store: &Place) {
        let silent = matches!(self, Self::None);
        for record in run.status.records() {
            let matters = phase(record) == Phase::Failed || record.degraded.load(Relaxed) != 0;
            if let Some(message) = record.message().filter(|_| matters || !silent) {
                say(&message);
            }
        }
        match self {
            Self::None => {}
            Self::Text => say(&text(run, store)),
            Self::Json => {
                let _ = writeln!(std::io::stderr(), "{}", numbers(run));
            }
            Self::File(path, mut file) => {
                if let Err(error) = writeln!(file, "{}", numbers(run)) {
                    say(&format!("the report {} could not be written: {error}", path.display()));
                }
            }
        }
    }
}

/// The records of a run: the program's own, and those of the processes it started.
struct Processes {
    /// The last of the program's own process: one that replaced itself with
    /// another program (exec) has left several.
    main: &'static Record,
    others: Vec<&'static Record>,
}

impl Processes {
    /// None if no process loaded the library.
    fn of(run: &Run<'_>) -> Option<Self> {
        let mut records: Vec<_> = run.status.records().collect();
        let own = records.iter().rposition(|record| record.pid.load(Relaxed) == run.outcome.pid);
        let main = records.remove(own.or(if records.is_empty() { None } else { Some(0) })?);
        Some(Self { main, others: records })
    }
}

/// The report for people.
fn text(run: &Run<'_>, store: &Place) -> String {
    let budget = shown(run.budget_bytes);
    let mut text = String::new();
    let Some(processes) = Processes::of(run) else {
        return format!(
            "Outcore's library was not loaded into {}, so its RAM was not limited to {budget} and nothing was \
             paged; it held {} at most",
            run.program.display(),
            shown(run.outcome.ended.max_rss_bytes)
        );
    };
    describe(&mut text, run, processes.main, store);
    if !processes.others.is_empty() {
        others(&mut text, &processes.others);
    }
    if run.status.unreported() > 0 {
        let _ = writeln!(text, "  {} more programs found no room in this report", run.status.unreported());
    }
    text
}

/// The lines about the program itself.
fn describe(text: &mut String, run: &Run<'_>, record: &Record, store: &Place) {
    let get = |number: &AtomicU64| number.load(Relaxed);
    let size = |number: &AtomicU64| shown(number.load(Relaxed));
    let program = run.program.display();
    let budget = shown(run.budget_bytes);
    let held = run.outcome.ended.max_rss_bytes.max(get(&record.peak_rss_bytes));
    if get(&record.swap_outs) == 0 && get(&record.minor_faults) == 0 && get(&record.major_faults) == 0 {
        let seconds = run.outcome.wall.as_secs_f64();
        let _ = if held <= run.budget_bytes {
            writeln!(
                text,
                "{program} never needed more than its {budget}: nothing was paged (peak resident set {}, {seconds:.1} s)",
                shown(held)
            )
        } else {
            writeln!(
                text,
                "{program} held up to {} with {budget} of RAM, and nothing was paged: code, files, stacks and shared \
                 memory are not ({seconds:.1} s)",
                shown(held)
            )
        };
        files(text, record);
        return;
    }
    let lines = [
        format!(
            "{program} had a heap of up to {} in {budget} of RAM, and took {:.1} s",
            size(&record.peak_heap_bytes),
            run.outcome.wall.as_secs_f64()
        ),
        format!(
            "  RAM held: {} at most, of it {} that is not paged (code, stacks, small mappings) and {} of Outcore's \
             tables",
            shown(held),
            size(&record.unpaged_bytes),
            size(&record.metadata_bytes)
        ),
        format!(
            "  faults: {} minor, {} major; threads waited {:.1} s for them in all",
            grouped(get(&record.minor_faults)),
            grouped(get(&record.major_faults)),
            get(&record.stall_ns) as f64 / 1e9
        ),
        format!(
            "  store: {} written, {} read; pages out {}, in {}; read ahead {}",
            size(&record.writeback_bytes),
            size(&record.read_bytes),
            grouped(get(&record.swap_outs)),
            grouped(get(&record.swap_ins)),
            accuracy(get(&record.readahead_hits), get(&record.readahead_pages))
        ),
        format!("  used: {} in {}", feature_words(get(&record.features)).join(", "), store_words(store)),
    ];
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    files(text, record);
    if get(&record.poisoned_pages) > 0 {
        let _ = writeln!(
            text,
            "  {} pages could not be read back and were lost; touching them is SIGBUS",
            grouped(get(&record.poisoned_pages))
        );
    }
}

/// The line about files that the program mapped, if they were to be paged.
fn files(text: &mut String, record: &Record) {
    let get = |number: &AtomicU64| number.load(Relaxed);
    let (paged, kept) = (get(&record.paged_file_bytes), get(&record.kept_file_bytes));
    if paged + kept == 0 {
        return;
    }
    let _ = write!(text, "  maps of files: {} paged", shown(paged));
    if get(&record.returned_file_bytes) > 0 {
        let _ = write!(
            text,
            ", of it {} given back to the kernel later",
            shown(get(&record.returned_file_bytes))
        );
    }
    if kept > 0 {
        let reasons = get(&record.kept_file_reasons);
        let _ = write!(text, "; {} left to the kernel ({})", shown(kept), kept_words(reasons).join("; "));
    }
    let _ = writeln!(text);
}

/// How many of the pages read ahead were wanted.
fn accuracy(hits: u64, pages: u64) -> String {
    if pages == 0 {
        return "nothing".to_owned();
    }
    format!("{} pages, {:.0} % of them used", grouped(pages), hits.min(pages) as f64 * 100.0 / pages as f64)
}

/// Where the store was.
fn store_words(store: &Place) -> String {
    match store {
        Place::Directory(dir) => dir.display().to_string(),
        Place::Memory => "memory".to_owned(),
    }
}

/// The line about the programs that the program started, or was before an exec.
fn others(text: &mut String, records: &[&Record]) {
    let sum = |number: fn(&Record) -> &AtomicU64| -> u64 {
        records.iter().map(|record| number(record).load(Relaxed)).sum()
    };
    let largest = records.iter().map(|record| record.peak_heap_bytes.load(Relaxed)).max().unwrap_or(0);
    let count = records.len();
    let plural = if count == 1 { "process" } else { "processes" };
    let _ = write!(text, "  {count} more {plural} shared that RAM: ");
    let written = sum(|record| &record.swap_outs);
    let _ = if written == 0 {
        writeln!(text, "nothing of that was paged")
    } else {
        writeln!(
            text,
            "largest paged heap {}, pages out {}, in {}, {} written, {} read",
            shown(largest),
            grouped(written),
            grouped(sum(|record| &record.swap_ins)),
            shown(sum(|record| &record.writeback_bytes)),
            shown(sum(|record| &record.read_bytes))
        )
    };
}

/// Every number of the run: the program's own by their names, then each process's.
fn numbers(run: &Run<'_>) -> Value {
    let processes = Processes::of(run);
    let mut report = processes.map(|processes| process(processes.main)).unwrap_or_default();
    let fields = [
        ("outcore", json!(env!("CARGO_PKG_VERSION"))),
        ("program", json!(run.program.to_string_lossy())),
        ("budget", json!(run.budget_bytes)),
        ("budget_bytes", json!(run.budget_bytes)),
        ("exit_status", json!(run.outcome.ended.status)),
        ("wall_seconds", json!(run.outcome.wall.as_secs_f64())),
        ("max_rss_bytes", json!(run.outcome.ended.max_rss_bytes)),
        ("unreported_processes", json!(run.status.unreported())),
        ("processes", run.status.records().map(|record| Value::Object(process(record))).collect()),
    ];
    report.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(report)
}

/// Every number of one process.
fn process(record: &Record) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, number) in record.numbers() {
        object.insert(name.to_owned(), json!(number));
    }
    object.insert("pid".to_owned(), json!(record.pid.load(Relaxed)));
    object.insert("phase".to_owned(), json!(phase_word(phase(record))));
    object.insert("degraded".to_owned(), json!(record.degraded.load(Relaxed) != 0));
    object.insert("feature_names".to_owned(), json!(feature_words(record.features.load(Relaxed))));
    object.insert("kept_files".to_owned(), json!(kept_words(record.kept_file_reasons.load(Relaxed))));
    object.insert("message".to_owned(), json!(record.message()));
    object
}

/// The word for a phase.
pub(crate) fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Free => "free",
        Phase::Dormant => "dormant",
        Phase::Watching => "watching",
        Phase::Paging => "paging",
        Phase::Failed => "failed",
    }
}

/// Why maps of files were left to the kernel.
fn kept_words(bits: u64) -> Vec<&'static str> {
    KEPT.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, word)| *word).collect()
}

/// The words for the features in `bits`.
pub(crate) fn feature_words(bits: u64) -> Vec<&'static str> {
    FEATURES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, word)| *word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_is_of_the_pages_read_ahead() {
        assert_eq!(accuracy(0, 0), "nothing");
        assert_eq!(accuracy(950, 1000), "1,000 pages, 95 % of them used");
    }

    #[test]
    fn features_have_words() {
        assert_eq!(feature_words(feature::MOVE | feature::FILE_STORE), ["move", "file-store"]);
    }
}
