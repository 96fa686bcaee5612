//! The touches of one process of a trace, for curves and reports.

use crate::traces::{self, Contents, Process};
use crate::trouble::Trouble;
use machine::replay::{Builder, Trace};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use trace::{Event, Outcome, Source, Stamped};

/// No more was in memory when paging began: 256 GiB of small pages.
const MOST_HELD: u64 = 1 << 26;
/// Threads with fewer touches than this share of a thousand do not count.
const LEAST_SHARE: u64 = 20;

/// What one process touched.
pub(crate) struct Touches {
    pub(crate) contents: Contents,
    pub(crate) pid: u32,
    pub(crate) process: Process,
    pub(crate) trace: Trace,
    /// Threads that touched a good part of it.
    pub(crate) threads: u64,
    /// Pages in order of reference: only kept of sampled traces.
    pages: Vec<u64>,
}

#[derive(Default)]
struct Gathered {
    builder: Builder,
    pages: Vec<u64>,
    threads: BTreeMap<u32, u64>,
    too_long: bool,
}

impl Gathered {
    fn push(&mut self, page: u64) {
        self.too_long |= self.builder.push(page).is_err();
        self.pages.push(page);
    }

    fn add(&mut self, stamped: &Stamped) {
        match stamped.event {
            Event::Held { start, count } => {
                (start..start + count.min(MOST_HELD)).for_each(|page| self.push(page))
            }
            Event::Touch { outcome: Outcome::Lost, .. } => {}
            Event::Touch { page, .. } => {
                *self.threads.entry(stamped.thread).or_default() += 1;
                self.push(page);
            }
            // They lie beside the page that was just touched, and are touched next.
            Event::Along { start, count } => {
                let touched = self.pages.last().copied();
                let range = start..start + count.min(MOST_HELD);
                range.filter(|page| Some(*page) != touched).for_each(|page| self.push(page));
            }
            _ => {}
        }
    }
}

impl Touches {
    /// Reads those of process `pid`, or of the one with the most.
    ///
    /// # Errors
    /// The trace cannot be read, or has no such process.
    pub(crate) fn read(path: &Path, pid: Option<u32>) -> Result<Self, Trouble> {
        Self::read_with(path, pid, |_, _| {})
    }

    /// The same, and gives every event to `each`.
    ///
    /// # Errors
    /// The trace cannot be read, or has no such process.
    pub(crate) fn read_with(
        path: &Path,
        pid: Option<u32>,
        mut each: impl FnMut(u32, &Stamped),
    ) -> Result<Self, Trouble> {
        let gathered = RefCell::new(BTreeMap::<u32, Gathered>::new());
        let contents = traces::read(
            path,
            |of, stamped| {
                each(of, stamped);
                if pid.is_none_or(|pid| pid == of) {
                    gathered.borrow_mut().entry(of).or_default().add(stamped);
                }
            },
            |_| {},
        )?;
        let refused = |why: &str| Trouble::bad_input(format!("{}: {why}", path.display()));
        let pid = contents.choose(path, pid)?;
        let gathered = gathered.into_inner().remove(&pid).unwrap_or_default();
        if gathered.too_long {
            return Err(refused("it has more references than can be counted"));
        }
        let trace = gathered.builder.finish().map_err(|error| refused(&error.to_string()))?;
        let total: u64 = gathered.threads.values().sum();
        let threads = gathered.threads.values().filter(|count| **count * 1000 >= total * LEAST_SHARE).count();
        let process = contents.processes.get(&pid).cloned().unwrap_or_default();
        let sampled = matches!(contents.header.source, Source::Samples(_));
        let pages = if sampled { gathered.pages } else { Vec::new() };
        Ok(Self { contents, pid, process, trace, threads: threads as u64, pages })
    }

    /// References to sampled pages, one page in `one_in`.
    pub(crate) fn sampled(&self, one_in: u32) -> impl Iterator<Item = u64> {
        let below = u64::MAX / u64::from(one_in);
        self.pages.iter().copied().filter(move |page| trace::sampling_hash(*page) < below)
    }

    /// The memory in bytes from which on curves are valid; none if they are everywhere.
    pub(crate) fn valid_from(&self) -> Option<u64> {
        (self.contents.header.source == Source::Faults).then_some(self.contents.header.budget_bytes)
    }

    /// The program's short name.
    pub(crate) fn name(&self) -> &str {
        let program = &self.contents.header.program;
        program.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("a program")
    }
}
