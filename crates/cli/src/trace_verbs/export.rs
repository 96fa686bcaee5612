//! `outcore trace export`.

use crate::traces;
use crate::trouble::Trouble;
use clap::{Args, ValueEnum};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

/// What a trace can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Comma-separated values: time_ns, pid, thread, event, page, count, detail
    Csv,
    /// Chrome trace events: JSON that Perfetto and chrome://tracing open
    Chrome,
}

/// What `outcore trace export` was asked for.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The trace; - for standard input
    #[arg(value_name = "TRACE")]
    trace: PathBuf,

    /// As what
    #[arg(long, value_enum, value_name = "csv|chrome", hide_possible_values = true)]
    format: Format,

    /// Where to; standard output if nothing is said
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `outcore trace export`.
///
/// # Errors
/// Nothing of the trace can be read, or the answer cannot be written.
pub(crate) fn export(options: &Options) -> Result<u8, Trouble> {
    let mut open = traces::open(&options.trace)?;
    let into: Box<dyn Write> = match &options.output {
        None => Box::new(io::stdout().lock()),
        Some(path) => Box::new(traces::create(path, &options.trace)?),
    };
    super::written(write(&mut open, options.format, BufWriter::new(into)))?;
    Ok(super::status(open.finish()))
}

fn write(open: &mut traces::Open, format: Format, mut into: BufWriter<Box<dyn Write>>) -> io::Result<()> {
    let mut next = open.next_block();
    while next.as_ref().is_some_and(|block| block.events().next().is_none()) {
        next = open.next_block();
    }
    let start = next.as_ref().map_or(0, |block| block.head.time);
    match format {
        Format::Csv => {
            trace::csv::begin(&mut into)?;
            while let Some(block) = next {
                for stamped in block.events() {
                    trace::csv::add(&mut into, start, block.head.pid, &stamped)?;
                }
                next = open.next_block();
            }
            into.flush()
        }
        Format::Chrome => {
            let mut chrome = trace::chrome(into, start)?;
            while let Some(block) = next {
                for stamped in block.events() {
                    chrome.add(block.head.pid, &stamped)?;
                }
                next = open.next_block();
            }
            chrome.finish()
        }
    }
}
