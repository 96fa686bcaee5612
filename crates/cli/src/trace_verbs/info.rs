//! `outcore trace info`.

use crate::size::{grouped, shown};
use crate::traces;
use crate::trouble::Trouble;
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use trace::{Event, Outcome, Source};

/// What `outcore trace info` was asked for.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The trace; - for standard input
    #[arg(value_name = "TRACE")]
    trace: PathBuf,

    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// What is counted of one process.
#[derive(Default)]
struct Counts {
    outcomes: [u64; 8],
    evicted: u64,
    transfers: u64,
    threads: std::collections::BTreeSet<u32>,
    pages: std::collections::HashSet<u64>,
    codes: u64,
}

/// `outcore trace info`.
///
/// # Errors
/// Nothing of the trace can be read.
pub(crate) fn info(options: &Options) -> Result<u8, Trouble> {
    let mut counts: BTreeMap<u32, Counts> = BTreeMap::new();
    let bytes = std::fs::metadata(&options.trace).map_or(0, |about| about.len());
    let contents = traces::read(
        &options.trace,
        |pid, stamped| {
            let counts = counts.entry(pid).or_default();
            match stamped.event {
                Event::Touch { page, outcome } => {
                    counts.outcomes[outcome as usize] += 1;
                    counts.threads.insert(stamped.thread);
                    counts.pages.insert(page);
                }
                Event::Evicted { count, .. } => counts.evicted += count,
                Event::Start { .. } => counts.transfers += 1,
                Event::Code { .. } => counts.codes += 1,
                _ => {}
            }
        },
        |_| {},
    )?;
    let header = &contents.header;
    let (source, one_in) = match header.source {
        Source::Faults => ("faults", 1),
        Source::References => ("references", 1),
        Source::Samples(one_in) => ("faults, and references to one page in", one_in),
    };
    let mut text = String::new();
    if options.json {
        let processes: Vec<_> = contents
            .processes
            .iter()
            .map(|(pid, process)| {
                let outcomes: BTreeMap<&str, u64> = counts.get(pid).map_or_else(BTreeMap::new, |counts| {
                    Outcome::ALL
                        .iter()
                        .map(|outcome| (outcome.name(), counts.outcomes[*outcome as usize]))
                        .collect()
                });
                let summary: BTreeMap<&str, u64> =
                    process.summary.iter().map(|(name, value)| (name.as_str(), *value)).collect();
                json!({
                    "pid": pid, "events": process.events, "touches": process.touches, "outcomes": outcomes,
                    "dropped": process.dropped, "seconds": process.seconds(), "summary": summary,
                    "pages": counts.get(pid).map_or(0, |counts| counts.pages.len()),
                })
            })
            .collect();
        let all = json!({
            "program": header.program, "source": source, "one_in": one_in, "page_bytes": header.page_bytes,
            "budget_bytes": header.budget_bytes, "readahead": header.readahead, "started": header.started,
            "bytes": bytes, "problems": contents.problems, "processes": processes,
        });
        let _ = writeln!(text, "{all}");
    } else {
        let rate = if one_in > 1 { format!(" {one_in}") } else { String::new() };
        let name = if header.program.is_empty() { "a program" } else { &header.program };
        let _ = write!(text, "{name}: {source}{rate}, pages of {}", shown(header.page_bytes));
        if header.budget_bytes > 0 {
            let readahead = if header.readahead { "on" } else { "off" };
            let _ = write!(text, ", budget {}, read-ahead {readahead}", shown(header.budget_bytes));
        }
        let _ = writeln!(text);
        let events: u64 = contents.processes.values().map(|process| process.events).sum();
        if bytes > 0 && events > 0 {
            let each = bytes as f64 / events as f64;
            let _ = writeln!(text, "{} in {}, {each:.1} bytes each", many(events, "event"), shown(bytes));
        }
        for (pid, process) in &contents.processes {
            let Some(counts) = counts.get(pid) else { continue };
            let _ = writeln!(
                text,
                "\nprocess {pid}: {:.1} s, {} of {} by {}",
                process.seconds(),
                many(process.touches, "touch"),
                many(counts.pages.len() as u64, "page"),
                many(counts.threads.len() as u64, "thread"),
            );
            for outcome in Outcome::ALL {
                let count = counts.outcomes[outcome as usize];
                if count > 0 {
                    let _ = writeln!(text, "  {:>14} {}", grouped(count), words(outcome));
                }
            }
            for (count, what) in [
                (counts.evicted, "pages evicted"),
                (counts.transfers, "transfers"),
                (counts.codes, "code addresses"),
                (process.dropped, "events dropped, because the buffer was full"),
            ] {
                if count > 0 {
                    let _ = writeln!(text, "  {:>14} {what}", grouped(count));
                }
            }
        }
    }
    super::written(std::io::stdout().write_all(text.as_bytes()))?;
    Ok(super::status(contents.problems))
}

/// A number and what it counts.
fn many(count: u64, what: &str) -> String {
    let plural = match (count, what.ends_with("ch")) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{} {what}{plural}", grouped(count))
}

fn words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Zero => "minor faults on pages without bytes",
        Outcome::Parked => "minor faults on parked pages",
        Outcome::Swapped => "major faults on swapped pages",
        Outcome::Filling => "major faults on pages that were being read ahead",
        Outcome::Writing => "minor faults on pages that were being written",
        Outcome::Resident => "touches of pages that were there or on their way",
        Outcome::Lost => "touches of lost pages",
        Outcome::Reference => "references",
    }
}
