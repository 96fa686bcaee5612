//! A recorded run, for `outcore machine replay`.

use crate::size::{grouped, shown};
use crate::traces::{self, Process};
use crate::trouble::Trouble;
use machine::replay::{Alone, Builder, Rerun, Trace};
use pager::Counters;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use trace::{Event, Header, Outcome};

/// One process of a trace, replayed.
pub(super) struct Run {
    pub(super) header: Header,
    pub(super) touches: Trace,
    pub(super) problems: u64,
    pid: u32,
    process: Process,
    counters: Counters,
    diverged: u64,
    /// Major faults from what the program did alone.
    alone: u64,
    /// The frames that it had, on average over its touches.
    frames: u32,
    /// Major faults as the trace has them.
    recorded: u64,
}

/// No more was in memory when paging began: 256 GiB.
const MOST_HELD: u64 = 1 << 26;

/// What is gathered of each process.
struct Gathered {
    rerun: Rerun,
    alone: Alone,
    touches: Builder,
    limit: u32,
    limits: u64,
    count: u64,
    recorded: u64,
    too_long: bool,
}

impl Run {
    /// Reads and replays the trace at `path`.
    ///
    /// # Errors
    /// It cannot be read, or has no such process.
    pub(super) fn read(path: &Path, pid: Option<u32>) -> Result<Self, Trouble> {
        let refused = |why: String| Trouble::bad_input(format!("{}: {why}", path.display()));
        let gathered = std::cell::RefCell::new(BTreeMap::<u32, Gathered>::new());
        let open = traces::open(path)?;
        let header = open.reader.header().clone();
        let contents = traces::read_all(
            open,
            |of, stamped| {
                if pid.is_some_and(|pid| pid != of) {
                    return;
                }
                let mut gathered = gathered.borrow_mut();
                let gathered = gathered.entry(of).or_insert_with(|| Gathered {
                    rerun: Rerun::new(&header),
                    alone: Alone::new(&header),
                    touches: Builder::default(),
                    limit: 0,
                    limits: 0,
                    count: 0,
                    recorded: 0,
                    too_long: false,
                });
                gathered.add(&stamped.event);
            },
            |of| {
                if let Some(gathered) = gathered.borrow_mut().get_mut(&of) {
                    gathered.rerun.lost_events();
                }
            },
        );
        let pid = contents.choose(path, pid)?;
        let gathered = gathered.into_inner().remove(&pid);
        let gathered = gathered.ok_or_else(|| refused("there are no touches".to_owned()))?;
        if gathered.too_long {
            return Err(refused("it has more touches than can be replayed".to_owned()));
        }
        let touches = gathered.touches.finish().map_err(|error| refused(error.to_string()))?;
        let average = gathered.limits.checked_div(gathered.count).unwrap_or(0);
        Ok(Self {
            touches,
            pid,
            problems: contents.problems,
            process: contents.processes.get(&pid).cloned().unwrap_or_default(),
            header: contents.header,
            counters: gathered.rerun.counters(),
            diverged: gathered.rerun.diverged(),
            alone: gathered.alone.major_faults(),
            frames: u32::try_from(average).unwrap_or(u32::MAX),
            recorded: gathered.recorded,
        })
    }

    /// The run's own major faults beside those of the replays.
    pub(super) fn answer(&self, as_json: bool) -> String {
        let run = self.process.number("major_faults").unwrap_or(self.recorded);
        let minor = self.process.number("minor_faults");
        let replayed = self.counters.major_faults;
        let off = |count: u64| (count as f64 - run as f64) * 100.0 / (run as f64).max(1.0);
        if as_json {
            let answer = json!({
                "program": self.header.program, "pid": self.pid, "budget_bytes": self.header.budget_bytes,
                "readahead": self.header.readahead, "touches": self.touches.references(),
                "pages": self.touches.pages(), "frames": self.frames,
                "run": { "major_faults": run, "minor_faults": minor },
                "replay": {
                    "major_faults": replayed, "minor_faults": self.counters.minor_faults,
                    "readahead_pages": self.counters.readahead_pages, "refaults": self.counters.refaults,
                    "rescues": self.counters.rescues, "diverged": self.diverged, "percent_off": off(replayed),
                },
                "touches_alone": { "major_faults": self.alone, "percent_off": off(self.alone) },
            });
            return format!("{answer}\n");
        }
        let readahead = if self.header.readahead { "on" } else { "off" };
        let mut text = format!(
            "{}, process {}: {} touches of {} pages, budget {}, read-ahead {readahead}\n\n",
            self.header.program,
            self.pid,
            grouped(self.touches.references()),
            grouped(self.touches.pages().into()),
            shown(self.header.budget_bytes),
        );
        let rows = [
            ("the run".to_owned(), run, minor, None),
            ("decided again".to_owned(), replayed, Some(self.counters.minor_faults), Some(off(replayed))),
            (
                format!("from touches alone, {} frames", grouped(self.frames.into())),
                self.alone,
                None,
                Some(off(self.alone)),
            ),
        ];
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<32} {:>14} {:>14}", "", "major faults", "minor faults");
        // Pages that are mapped along with others are touched without a fault.
        let shown = if self.header.readahead { 2 } else { 3 };
        for (name, major, minor, off) in rows.into_iter().take(shown) {
            let minor = minor.map_or(String::new(), grouped);
            let off = off.map_or(String::new(), |off| format!("  {off:+.2} %"));
            let line = format!("{name:<32} {:>14} {minor:>14}{off}", grouped(major));
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if self.process.dropped > 0 || self.diverged > 0 {
            let _ = writeln!(
                text,
                "\n{} events were lost, and {} did not fit: the replay is not exact",
                grouped(self.process.dropped),
                grouped(self.diverged)
            );
        }
        text
    }
}

impl Gathered {
    fn add(&mut self, event: &Event) {
        self.rerun.apply(event);
        self.alone.apply(event);
        match *event {
            Event::Frames { limit } => self.limit = limit,
            // Touched before there was a trace.
            Event::Held { start, count } => {
                let held = start..start + count.min(MOST_HELD);
                held.for_each(|page| self.too_long |= self.touches.push(page).is_err());
            }
            Event::Touch { page, outcome } => {
                self.recorded += u64::from(outcome.is_major());
                self.limits += u64::from(self.limit);
                self.count += 1;
                if outcome != Outcome::Lost {
                    self.too_long |= self.touches.push(page).is_err();
                }
            }
            _ => {}
        }
    }
}
