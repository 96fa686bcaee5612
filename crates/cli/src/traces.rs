//! Reading trace files for the verbs that use them.

use crate::progress::{Counted, Progress, Unit};
use crate::trouble::{Trouble, say};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use trace::{Block, BlockKind, Event, Header, Module, Reader, Summary};

/// Where a trace comes from.
pub(crate) type From = Counted<Box<dyn Read>>;

/// A trace that is being read.
pub(crate) struct Open {
    path: PathBuf,
    progress: Progress,
    pub(crate) reader: Reader<From>,
}

/// Opens the file at `path`, or standard input for `-`, with how many bytes it has.
///
/// # Errors
/// It cannot be opened.
pub(crate) fn file(path: &Path) -> Result<(Box<dyn Read>, u64), Trouble> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), 0));
    }
    let refused = |error| Trouble::bad_input(format!("{} cannot be read: {error}", path.display()));
    let file = File::open(path).map_err(refused)?;
    let about = file.metadata().map_err(refused)?;
    if about.is_dir() {
        return Err(Trouble::bad_input(format!("{} is a directory, not a trace", path.display())));
    }
    Ok((Box::new(file), about.len()))
}

/// Opens the trace at `path`, or standard input for `-`.
///
/// # Errors
/// Nothing of it can be read.
pub(crate) fn open(path: &Path) -> Result<Open, Trouble> {
    let (from, len) = file(path)?;
    let progress = Progress::new("reading", len, Unit::Bytes);
    let reader = Reader::open(Counted::new(from, progress.clone()))
        .map_err(|problem| Trouble::bad_input(format!("{} {problem}", path.display())))?;
    Ok(Open { path: path.to_owned(), progress, reader })
}

impl Open {
    /// The next block.
    pub(crate) fn next_block(&mut self) -> Option<Block> {
        self.reader.next_block()
    }

    /// Says what was wrong with the trace; how many things were.
    pub(crate) fn finish(self) -> u64 {
        self.progress.finish();
        let (problems, more) = self.reader.problems();
        for problem in problems {
            say(&format!("{} {problem}", self.path.display()));
        }
        if more > 0 {
            say(&format!("{}: {more} more problems like these", self.path.display()));
        }
        problems.len() as u64 + more
    }
}

/// What a trace says of one process, apart from its events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    pub(crate) touches: u64,
    pub(crate) events: u64,
    pub(crate) dropped: u64,
    pub(crate) first: Option<u64>,
    pub(crate) last: u64,
    pub(crate) summary: Summary,
    pub(crate) modules: Vec<Module>,
}

impl Process {
    /// A number that the process had at its end.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.summary.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
    }

    /// Seconds from the first event to the last.
    pub(crate) fn seconds(&self) -> f64 {
        let ticks = self.last.saturating_sub(self.first.unwrap_or(self.last));
        ticks as f64 * trace::TICK_NS as f64 / 1e9
    }
}

/// What a trace holds, by process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) header: Header,
    pub(crate) processes: BTreeMap<u32, Process>,
    pub(crate) problems: u64,
}

impl Contents {
    /// The process that is meant: `pid`, or the one with the most touches.
    ///
    /// # Errors
    /// There is no such process.
    pub(crate) fn choose(&self, path: &Path, pid: Option<u32>) -> Result<u32, Trouble> {
        let list = || {
            let pids: Vec<String> = self.processes.keys().map(ToString::to_string).collect();
            pids.join(", ")
        };
        match pid {
            Some(pid) if self.processes.get(&pid).is_none_or(|process| process.touches == 0) => {
                let path = path.display();
                Err(Trouble::bad_input(format!("{path} has no touches of process {pid}; it has {}", list())))
            }
            Some(pid) => Ok(pid),
            None => {
                let most = self.processes.iter().max_by_key(|(_, process)| process.touches);
                let most = most.filter(|(_, process)| process.touches > 0);
                most.map(|(pid, _)| *pid).ok_or_else(|| {
                    Trouble::bad_input(format!("{} has no touches: nothing was paged", path.display()))
                })
            }
        }
    }
}

/// Reads the trace at `path` to its end, gives every event to `each` with its process, and says what was wrong.
///
/// # Errors
/// Nothing of it can be read.
pub(crate) fn read(
    path: &Path,
    each: impl FnMut(u32, &trace::Stamped),
    lost: impl FnMut(u32),
) -> Result<Contents, Trouble> {
    Ok(read_all(open(path)?, each, lost))
}

/// The same of a trace that is open.
pub(crate) fn read_all(
    mut open: Open,
    mut each: impl FnMut(u32, &trace::Stamped),
    mut lost: impl FnMut(u32),
) -> Contents {
    let mut contents = Contents { header: open.reader.header().clone(), ..Contents::default() };
    while let Some(block) = open.next_block() {
        let pid = block.head.pid;
        let process = contents.processes.entry(pid).or_default();
        match block.head.kind {
            BlockKind::Summary => process.summary = trace::summary(block.text()),
            BlockKind::Modules => process.modules = trace::modules(block.text()),
            BlockKind::Events | BlockKind::Unknown(_) => {}
        }
        if block.head.dropped > 0 {
            process.dropped += block.head.dropped;
            lost(pid);
        }
        for stamped in block.events() {
            process.first.get_or_insert(stamped.time);
            process.last = process.last.max(stamped.time);
            process.events += 1;
            process.touches += u64::from(matches!(stamped.event, Event::Touch { .. }));
            each(pid, &stamped);
        }
    }
    // A process that never paged is not worth a word.
    contents.processes.retain(|_, process| process.events > 0);
    contents.problems = open.finish();
    contents
}

/// Makes the file that is written from what `input` has, or standard input for `-`.
///
/// # Errors
/// It cannot be made, or is what is read.
pub(crate) fn create(output: &Path, input: &Path) -> Result<File, Trouble> {
    let refused = |why: String| Trouble::bad_input(format!("{} cannot be written: {why}", output.display()));
    let input = if input == Path::new("-") { Path::new("/dev/stdin") } else { input };
    let file_of = |path: &Path| path.metadata().ok().map(|about| (about.dev(), about.ino()));
    if file_of(output).is_some_and(|file| file_of(input) == Some(file)) {
        return Err(refused("it is what is read; name another file".to_owned()));
    }
    File::create(output).map_err(|error| refused(error.to_string()))
}
