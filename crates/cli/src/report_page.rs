//! `outcore report`: a trace as one page of HTML, which needs no network.

use crate::draw::{Heat, Series, Timeline, svg};
use crate::mrc;
use crate::size::{grouped, shown};
use crate::symbols::Symbols;
use crate::touches::Touches;
use crate::traces;
use crate::trouble::{Trouble, say};
use clap::Args;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use trace::{Event, Outcome, Stamped, TICK_NS};

/// What `outcore report` was asked for.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The trace
    #[arg(value_name = "TRACE")]
    trace: PathBuf,

    /// The process, if there are several [default: the one with the most touches]
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// The page to be written [default: the trace's name with .html]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Columns of time in pictures, and rows of addresses.
const COLUMNS: usize = 240;
const ROWS: usize = 96;
/// Code addresses that are told.
const MOST_CODE: usize = 20;
/// Touches and samples that are kept to be drawn; of longer traces, every n-th.
const MOST_KEPT: usize = 4 << 20;

/// What is gathered while the trace is read.
#[derive(Default)]
struct Gathered {
    touches: Vec<(u64, u64, Outcome)>,
    /// Every so many touches one is kept.
    every: u64,
    seen: u64,
    samples: Vec<(u64, [u64; 3])>,
    codes: HashMap<u64, u64>,
    code: Option<u64>,
}

impl Gathered {
    fn add(&mut self, stamped: &Stamped) {
        match stamped.event {
            Event::Touch { page, outcome } => {
                if let Some(code) = self.code.take() {
                    *self.codes.entry(code).or_default() += 1;
                }
                self.every = self.every.max(1);
                if self.seen.is_multiple_of(self.every) {
                    self.touches.push((stamped.time, page, outcome));
                }
                self.seen += 1;
                if self.touches.len() >= MOST_KEPT {
                    let mut index = 0;
                    self.touches.retain(|_| {
                        index += 1;
                        index % 2 == 1
                    });
                    self.every *= 2;
                }
            }
            Event::Code { addr } => self.code = Some(addr),
            Event::Sample { resident, parked, swapped, .. } => {
                // Not more than pictures can show.
                let far = self.samples.last().is_none_or(|(at, _)| stamped.time >= at + 20_000);
                if far {
                    self.samples.push((stamped.time, [resident, parked, swapped]));
                }
            }
            _ => {}
        }
    }
}

/// `outcore report`.
///
/// # Errors
/// The trace cannot be read, or the page not be written.
pub(crate) fn report(options: &Options) -> Result<u8, Trouble> {
    let mut gathered = BTreeMap::<u32, Gathered>::new();
    let touches = Touches::read_with(&options.trace, options.pid, |pid, stamped| {
        gathered.entry(pid).or_default().add(stamped);
    })?;
    let gathered = gathered.remove(&touches.pid).unwrap_or_default();
    let path = options.output.clone().unwrap_or_else(|| options.trace.with_extension("html"));
    if path == options.trace {
        return Err(Trouble::bad_input("the page would overwrite the trace; say --output"));
    }
    let page = page(&options.trace, &touches, &gathered).map_err(Trouble::bad_input)?;
    traces::create(&path, &options.trace)?
        .write_all(page.as_bytes())
        .map_err(|error| Trouble::bad_input(format!("{} cannot be written: {error}", path.display())))?;
    say(&format!("report in {}, {}", path.display(), shown(page.len() as u64)));
    Ok(crate::trace_verbs::status(touches.contents.problems))
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 * TICK_NS as f64 / 1e9
}

fn page(trace: &Path, touches: &Touches, gathered: &Gathered) -> Result<String, String> {
    let start = touches.process.first.unwrap_or(0);
    let length = touches.process.seconds().max(1e-3);
    let page_bytes = touches.contents.header.page_bytes;
    let timeline = timeline(touches, gathered, start, length);
    let heat = heat(touches, gathered, start, length);
    let curves = mrc::picture_of(touches, mrc::lru(touches, None));
    let mut out = String::new();
    let name = escaped(&touches.contents.header.program);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Outcore: {name}</title>\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n<h1>{name}</h1>\n"
    );
    let budget = touches.contents.header.budget_bytes;
    let _ = writeln!(
        out,
        "<p>Process {}, {length:.1} s{}. Trace: {}.</p>",
        touches.pid,
        if budget > 0 { format!(" in {} of RAM", shown(budget)) } else { String::new() },
        escaped(&trace.display().to_string())
    );
    numbers(&mut out, touches);
    let _ = writeln!(out, "<h2>Over time</h2>\n{}", svg(&timeline)?);
    let _ = writeln!(
        out,
        "<h2>Where it touched</h2>\n{}\n<p>Darker is more, on a logarithmic scale. One row is {} of addresses.</p>",
        svg(&heat)?,
        shown((heat.bytes / ROWS as f64) as u64)
    );
    let _ = writeln!(out, "<h2>How much memory it needs</h2>\n{}", svg(&curves)?);
    match touches.valid_from() {
        Some(from) => {
            let _ = writeln!(
                out,
                "<p>Exact LRU over the touches in the trace: those of pages that were not mapped. Valid at or above the \
                 run's budget of {} only.</p>",
                shown(from)
            );
        }
        None => out.push_str("<p>LRU over the references in the trace.</p>\n"),
    }
    code(&mut out, touches, gathered);
    let _ = writeln!(
        out,
        "<footer>outcore {}; pages of {}.</footer>\n</body>\n</html>",
        env!("CARGO_PKG_VERSION"),
        shown(page_bytes)
    );
    Ok(out)
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;color:#333;max-width:1000px;margin:2em auto;padding:0 1em}\n\
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}\n\
table{border-collapse:collapse}td,th{padding:.2em .9em .2em 0;text-align:left;border-bottom:1px solid #eee}\n\
td.n{text-align:right;font-variant-numeric:tabular-nums}\n\
svg{max-width:100%;height:auto}footer{margin-top:3em;color:#777;font-size:.9em}\n\
code{font:13px/1.5 ui-monospace,monospace}\n";

/// Text that can stand in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn numbers(out: &mut String, touches: &Touches) {
    out.push_str("<table>\n");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(out, "<tr><td>{name}</td><td class=\"n\">{value}</td></tr>");
    };
    let process = &touches.process;
    row("touches in the trace", grouped(process.touches));
    row("pages touched", grouped(touches.trace.pages().into()));
    for (name, label, bytes) in [
        ("minor_faults", "minor faults", false),
        ("major_faults", "major faults", false),
        ("peak_heap_bytes", "largest heap", true),
        ("peak_rss_bytes", "largest resident set", true),
        ("writeback_bytes", "written to the store", true),
        ("read_bytes", "read from the store", true),
    ] {
        if let Some(value) = process.number(name) {
            row(label, if bytes { shown(value) } else { grouped(value) });
        }
    }
    if let Some(stall) = process.number("stall_ns") {
        row("threads waited for the store", format!("{:.1} s", stall as f64 / 1e9));
    }
    if let (Some(pages), Some(hits)) = (process.number("readahead_pages"), process.number("readahead_hits"))
        && pages > 0
    {
        let share = hits.min(pages) as f64 * 100.0 / pages as f64;
        row("read ahead, and used", format!("{} pages, {share:.0} %", grouped(pages)));
    }
    if process.dropped > 0 {
        row("events dropped, because the buffer was full", grouped(process.dropped));
    }
    out.push_str("</table>\n");
}

fn timeline(touches: &Touches, gathered: &Gathered, start: u64, length: f64) -> Timeline {
    let page = touches.contents.header.page_bytes as f64;
    // The last sample of each column.
    let column =
        |at: u64| ((seconds(at.saturating_sub(start)) / length * COLUMNS as f64) as usize).min(COLUMNS - 1);
    let mut memory: Vec<Series> =
        ["resident", "parked", "swapped"].map(|name| Series { name: name.into(), points: Vec::new() }).into();
    let mut last = None;
    for (at, counts) in &gathered.samples {
        if last == Some(column(*at)) {
            memory.iter_mut().for_each(|series| series.points.truncate(series.points.len() - 1));
        }
        last = Some(column(*at));
        for (series, count) in memory.iter_mut().zip(counts) {
            series.points.push((seconds(at.saturating_sub(start)), *count as f64 * page));
        }
    }
    let mut counts = [[0_u64; COLUMNS]; 2];
    for (at, _, outcome) in &gathered.touches {
        counts[usize::from(!outcome.is_major())][column(*at)] += gathered.every.max(1);
    }
    let width = length / COLUMNS as f64;
    let rates = ["major", "minor"].into_iter().zip(counts).map(|(name, counts)| Series {
        name: name.into(),
        points: counts
            .iter()
            .enumerate()
            .map(|(index, count)| ((index as f64 + 0.5) * width, *count as f64 / width))
            .collect(),
    });
    Timeline {
        title: "Paged memory by state, and faults".into(),
        memory,
        rates: rates.collect(),
        seconds: length,
    }
}

fn heat(touches: &Touches, gathered: &Gathered, start: u64, length: f64) -> Heat {
    let page_bytes = touches.contents.header.page_bytes;
    // Addresses without the gaps between what was touched: more than 2 MiB that nobody touched are one.
    let gap = ((2 << 20) / page_bytes).max(1);
    let mut pages: Vec<u64> = gathered.touches.iter().map(|(_, page, _)| *page).collect();
    pages.sort_unstable();
    pages.dedup();
    let mut starts: Vec<(u64, u64)> = Vec::new();
    let mut total = 0;
    let mut before = None::<u64>;
    for page in pages {
        match before {
            Some(last) if page - last <= gap => total += page - last,
            _ => {
                total += u64::from(before.is_some());
                starts.push((page, total));
            }
        }
        before = Some(page);
    }
    total += 1;
    let mut rows = vec![vec![0_u32; COLUMNS]; ROWS];
    for (at, page, _) in &gathered.touches {
        let index = starts.partition_point(|(first, _)| first <= page).saturating_sub(1);
        let Some((first, place)) = starts.get(index) else { continue };
        let row = ((place + page - first) as usize * ROWS / total.max(1) as usize).min(ROWS - 1);
        let column = (seconds(at.saturating_sub(start)) / length * COLUMNS as f64) as usize;
        rows[row][column.min(COLUMNS - 1)] += 1;
    }
    Heat {
        title: "Touches by address and time".into(),
        rows,
        seconds: length,
        bytes: (total * page_bytes) as f64,
    }
}

fn code(out: &mut String, touches: &Touches, gathered: &Gathered) {
    if gathered.codes.is_empty() {
        out.push_str(
            "<p>No code addresses: record them with <code>outcore run --trace FILE --trace-code 16</code>.</p>\n",
        );
        return;
    }
    let mut symbols = Symbols::new(touches.process.modules.clone());
    let mut named = BTreeMap::<String, u64>::new();
    for (addr, count) in &gathered.codes {
        *named.entry(symbols.name(*addr)).or_default() += count;
    }
    let total: u64 = named.values().sum();
    let mut named: Vec<_> = named.into_iter().collect();
    named.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let _ = writeln!(
        out,
        "<h2>Which code faulted</h2>\n<p>Of {} faults whose code was looked up.</p>\n<table>",
        grouped(total)
    );
    for (name, count) in named.iter().take(MOST_CODE) {
        let share = *count as f64 * 100.0 / total as f64;
        let _ = writeln!(
            out,
            "<tr><td class=\"n\">{share:.1} %</td><td><code>{}</code></td></tr>",
            escaped(name)
        );
    }
    out.push_str("</table>\n");
}
