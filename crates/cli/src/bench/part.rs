//! A part of a bench, in a process of its own: one line of JSON for each kind that was measured.

use crate::trouble::Trouble;
use clap::{Args, ValueEnum};
use measure::faults::{Extent, Figures, Kind, Measured, file, handle, kernel, paged};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// What a process measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// Memory that is paged: under `outcore run`
    Paged,
    /// The same as the kernel pages it, and files, of which standard input is one
    Kernel,
    /// Standard input, mapped in a heap of the library's
    File,
    /// Blocks by handle
    Handle,
}

impl Part {
    /// The kinds that it measures.
    pub(super) fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Paged => &paged::KINDS,
            Self::Kernel => &kernel::KINDS,
            Self::File => &file::KINDS,
            Self::Handle => &handle::KINDS,
        }
    }
}

/// What the process is told.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[arg(value_enum)]
    part: Part,

    /// MiB of data
    #[arg(long)]
    mib: usize,

    /// Faults of a kind
    #[arg(long)]
    samples: usize,

    /// MiB of RAM for a heap of the library's
    #[arg(long)]
    ram_mib: u64,

    /// Where its store goes
    #[arg(long)]
    dir: PathBuf,
}

/// A line that says what became of a kind.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Row {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
    #[serde(default)]
    median_ns: u64,
    #[serde(default)]
    p99_ns: u64,
    #[serde(default)]
    samples: usize,
}

impl Row {
    fn new(kind: Kind, measured: Measured) -> Self {
        let kind = kind.name().to_owned();
        match measured {
            Ok(Figures { median_ns, p99_ns, samples }) => {
                Self { kind, missing: None, median_ns, p99_ns, samples }
            }
            Err(why) => Self { kind, missing: Some(why), median_ns: 0, p99_ns: 0, samples: 0 },
        }
    }

    /// What it says; none for a kind that is not known.
    pub(super) fn meaning(self) -> Option<(Kind, Measured)> {
        let Self { kind, missing, median_ns, p99_ns, samples } = self;
        let measured = missing.map_or(Ok(Figures { median_ns, p99_ns, samples }), Err);
        Some((Kind::named(&kind)?, measured))
    }
}

/// Measures, and writes what it finds.
///
/// # Errors
/// It cannot be measured here.
pub(super) fn part(options: &Options) -> Result<u8, Trouble> {
    let extent = Extent { mib: options.mib, samples: options.samples };
    let tell = &mut |kind, measured| {
        // Whoever started this reads it, or has ended.
        if let Ok(line) = serde_json::to_string(&Row::new(kind, measured)) {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    };
    let mapped = || std::io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let done = match options.part {
        Part::Paged => paged::measure(extent, tell).map_err(Into::into),
        Part::Kernel => mapped().and_then(|file| kernel::measure(extent, &file, tell)).map_err(Into::into),
        Part::File => mapped()
            .map_err(Into::into)
            .and_then(|file| file::measure(extent, &file, options.ram_mib << 20, &options.dir, tell)),
        Part::Handle => handle::measure(tell),
    };
    done.map(|()| 0).map_err(|error: Box<dyn std::error::Error>| Trouble::own(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_what_was_measured() {
        let figures = Figures { median_ns: 7, p99_ns: 9, samples: 3 };
        for measured in [Ok(figures), Err("no such thing".to_owned())] {
            let line = serde_json::to_string(&Row::new(Kind::Parked, measured.clone())).unwrap();
            let row: Row = serde_json::from_str(&line).unwrap();
            assert_eq!(row.meaning(), Some((Kind::Parked, measured)));
        }
    }
}
