//! `outcore trace strip`.

use crate::traces;
use crate::trouble::Trouble;
use clap::Args;
use std::io::BufWriter;
use std::path::PathBuf;
use trace::{BlockKind, Event, Writer};

/// What `outcore trace strip` was asked for.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The trace
    #[arg(value_name = "TRACE")]
    trace: PathBuf,

    /// The trace to be written
    #[arg(long, short, value_name = "TRACE")]
    output: PathBuf,

    /// Keep nothing but touches: neither what the program did else, nor the pager's pace
    #[arg(long)]
    touches: bool,
}

/// `outcore trace strip`.
///
/// # Errors
/// Nothing of the trace can be read, or the other cannot be written.
pub(crate) fn strip(options: &Options) -> Result<u8, Trouble> {
    let mut open = traces::open(&options.trace)?;
    let refused = |error: std::io::Error| {
        Trouble::bad_input(format!("{} cannot be written: {error}", options.output.display()))
    };
    let file = traces::create(&options.output, &options.trace)?;
    let mut writer = Writer::new(BufWriter::new(file), open.reader.header()).map_err(refused)?;
    while let Some(block) = open.next_block() {
        let head = block.head;
        match head.kind {
            // Summaries say what the run's own numbers were, to compare with.
            BlockKind::Summary | BlockKind::Modules => {
                writer.text(head.kind, head.pid, head.time, block.text())
            }
            BlockKind::Events | BlockKind::Unknown(_) => block.events().try_for_each(|stamped| {
                let kept = stamped.event.stripped();
                let kept = kept.filter(|event| !options.touches || matches!(event, Event::Touch { .. }));
                kept.map_or(Ok(()), |event| writer.add(head.pid, stamped.time, stamped.thread, &event))
            }),
        }
        .map_err(refused)?;
    }
    writer.finish().map_err(refused)?;
    Ok(super::status(open.finish()))
}
