//! `outcore machine replay`: what each policy misses.

use super::recorded::Run;
use crate::progress::{Progress, Unit};
use crate::size::grouped;
use crate::trouble::Trouble;
use ::machine::replay::{Format, MOST_FRAMES, Row, Trace, grid_telling};
use clap::{ArgGroup, Args, ValueEnum};
use pager::PolicyKind;
use serde::Serialize;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use trace::Source;

pub(crate) const LONG_ABOUT: &str = "\
Count how often each replacement policy misses.

Reads a trace, or the page numbers that a program referenced, in order, and replays them under every policy with every \
number of frames. All frames hold pages, and misses include the first touch of each page. OPT knows the future \
and is the bound that none beats.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  outcore machine replay --pages trace.txt --frames 100,200,400 --policy lru,clock,opt
      A table of three policies and three sizes.
  outcore machine replay --pages trace.bin --frames 1000 --json
      Every policy with 1000 frames, as one JSON array.
  outcore machine replay sort.trace
      A recorded run, decided again by the live pager's own policy with its own frames.
  outcore machine replay sort.trace --frames 10000,20000
      Its touches under every policy. Touches are of pages that were not mapped: with fewer frames than the
      run had, more pages would have been missing than are in the trace.
  seq 1 1000 | outcore machine replay --pages - --frames 10
      The trace from standard input.

Policies: fifo, lru, clock, sieve, s3fifo, 2q, arc, lirs, first, opt. What each is for: docs/policies.md.

Traces: text with one decimal page number a line, or binary with eight bytes a number, the least significant \
first; any 64-bit number is a page. Binary is told by its first eight bytes, where every number below 2^56 has a \
byte that no text has; --format says it where that is not enough.

Exit status: 0; 2 if the trace or an option makes no sense.";

/// How the trace is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TraceFormat {
    /// Told by its first eight bytes
    Auto,
    /// One decimal number a line
    Text,
    /// Eight bytes a number, the least significant first
    #[value(name = "u64le")]
    U64Le,
}

/// What `outcore machine replay` was asked for.
#[derive(Args, Debug)]
#[command(after_long_help = REPLAY_EXAMPLES, after_help = "More, with examples: outcore machine help replay", group(ArgGroup::new("input").required(true)))]
pub(crate) struct ReplayOptions {
    /// A trace, as 'outcore run --trace' writes; - for standard input
    ///
    /// Without --frames the run is decided again: by the live pager's own policy, with the frames that the
    /// process had, at the pace at which its pager worked. Of the trace only that and what the program did
    /// is looked at: not how its touches were resolved, nor which pages were evicted.
    #[arg(value_name = "TRACE", group = "input", conflicts_with = "format")]
    trace: Option<PathBuf>,

    /// The process whose touches are replayed, if there are several [default: the one with the most]
    #[arg(long, value_name = "PID", conflicts_with = "pages")]
    pid: Option<u32>,

    /// Page numbers, in the order of reference; - for standard input
    #[arg(long, value_name = "FILE", group = "input", requires = "frames")]
    pages: Option<PathBuf>,

    /// Frames of memory: one number, or several
    #[arg(long, value_name = "N[,N…]", value_delimiter = ',', value_parser = frames)]
    frames: Vec<u32>,

    /// Policies; all if none is named
    #[arg(long, value_name = "P[,P…]", value_delimiter = ',')]
    policy: Vec<PolicyKind>,

    /// How the trace is written: auto, text or u64le
    #[arg(
        long,
        value_enum,
        value_name = "auto|text|u64le",
        default_value = "auto",
        hide_possible_values = true
    )]
    format: TraceFormat,

    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

fn frames(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(0) => Err("a replay needs at least 1 frame".into()),
        Ok(frames) if digits && frames <= MOST_FRAMES => Ok(frames),
        _ if digits => Err(format!("at most {} frames are possible", grouped(MOST_FRAMES.into()))),
        _ => Err("write a number of frames, or several with commas between, such as 100,200".into()),
    }
}

/// One row of the JSON answer, in the order of its keys.
#[derive(Serialize)]
struct JsonRow {
    policy: &'static str,
    frames: u32,
    references: u64,
    misses: u64,
}

/// `outcore machine replay`.
///
/// # Errors
/// A trace that cannot be read.
pub(crate) fn replay(options: &ReplayOptions) -> Result<u8, Trouble> {
    let Some(pages) = options.pages.as_deref() else { return recorded(options) };
    let name =
        if pages == Path::new("-") { "standard input".to_owned() } else { pages.display().to_string() };
    let refused = |why: &dyn std::fmt::Display| Trouble::bad_input(format!("{name}: {why}"));
    let trace = read(pages, options.format).map_err(|why| refused(&why))?;
    answer(options, &trace).map_err(|why| refused(&why))
}

/// A trace of a run: decided again, or under other policies.
fn recorded(options: &ReplayOptions) -> Result<u8, Trouble> {
    let path = options.trace.as_deref().unwrap_or(Path::new("-"));
    let run = Run::read(path, options.pid)?;
    if !options.frames.is_empty() {
        let refused = |why: String| Trouble::bad_input(format!("{}: {why}", path.display()));
        return answer(options, &run.touches).map_err(refused);
    }
    if !options.policy.is_empty() {
        return Err(Trouble::bad_input(
            "--policy needs --frames: the run's own frames are for its own policy",
        ));
    }
    if run.header.source == Source::References {
        let path = path.display();
        return Err(Trouble::bad_input(format!("{path} has no run in it, only references; say --frames")));
    }
    print(&run.answer(options.json)).map(|()| super::super::trace_verbs::status(run.problems))
}

/// A table, or JSON, of every policy with every number of frames.
fn answer(options: &ReplayOptions, trace: &Trace) -> Result<u8, String> {
    let policies = if options.policy.is_empty() { &PolicyKind::ALL[..] } else { &options.policy };
    let total = policies.len() * options.frames.len();
    let progress = Progress::new("replaying", total as u64, Unit::Steps);
    let rows =
        grid_telling(trace, policies, &options.frames, &|| progress.add(1)).map_err(|why| why.to_string())?;
    progress.finish();
    let text =
        if options.json { json(trace, &rows).map_err(|trouble| trouble.text)? } else { table(trace, &rows) };
    print(&text).map(|()| 0).map_err(|trouble| trouble.text)
}

fn print(text: &str) -> Result<(), Trouble> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Nobody reads on: that is no mistake of the caller's.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Trouble::bad_input(format!("the answer cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

fn read(pages: &Path, format: TraceFormat) -> Result<Trace, ::machine::replay::TraceError> {
    let format = match format {
        TraceFormat::Auto => Format::Auto,
        TraceFormat::Text => Format::Text,
        TraceFormat::U64Le => Format::U64Le,
    };
    if pages == Path::new("-") {
        return Trace::read(io::stdin().lock(), format);
    }
    Trace::read(File::open(pages).map_err(::machine::replay::TraceError::Io)?, format)
}

fn json(trace: &Trace, rows: &[Row]) -> Result<String, Trouble> {
    let row = |row: &Row| JsonRow {
        policy: row.policy.name(),
        frames: row.frames,
        references: trace.references(),
        misses: row.misses,
    };
    let rows: Vec<JsonRow> = rows.iter().map(row).collect();
    let text = serde_json::to_string(&rows).map_err(|error| Trouble::own(error.to_string()))?;
    Ok(text + "\n")
}

fn table(trace: &Trace, rows: &[Row]) -> String {
    let references = trace.references();
    let frames: Vec<String> = rows.iter().map(|row| grouped(row.frames.into())).collect();
    let misses: Vec<String> = rows.iter().map(|row| grouped(row.misses)).collect();
    let width = |texts: &[String], least: usize| texts.iter().map(String::len).fold(least, usize::max);
    let (wide, wider) = (width(&frames, "frames".len()), width(&misses, "misses".len()));
    let pages = grouped(trace.pages().into());
    let mut text = format!("{} references to {pages} pages\n\n", grouped(references));
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:<6}  {:>wide$}  {:>wider$}  miss ratio", "policy", "frames", "misses");
    for ((row, frames), misses) in rows.iter().zip(frames).zip(misses) {
        let ratio = row.misses as f64 * 100.0 / references as f64;
        let _ = writeln!(text, "{:<6}  {frames:>wide$}  {misses:>wider$}  {ratio:>8.2} %", row.policy);
    }
    text
}
