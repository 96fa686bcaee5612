//! `outcore trace import`.

use crate::progress::{Progress, Unit};
use crate::size::{self, grouped, shown};
use crate::traces;
use crate::trouble::{Trouble, say};
use clap::{Args, ValueEnum};
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;
use trace::{Header, Source, Writer};

const IMPORT_EXAMPLES: &str = "\
Examples:
  valgrind --tool=lackey --trace-mem=yes --log-file=refs.txt ls
  outcore trace import --from lackey refs.txt -o ls.trace
      Every reference of a program to its memory. A reference that follows another to the same page says
      nothing new to any policy, and is left out.
  outcore trace import --from pages pages.txt -o pages.trace
      A list of page numbers, one a line, decimal or with 0x; # begins a comment.";

/// What can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// What valgrind --tool=lackey --trace-mem=yes writes
    Lackey,
    /// Page numbers, one a line
    Pages,
}

/// What `outcore trace import` was asked for.
#[derive(Args, Debug)]
#[command(after_help = IMPORT_EXAMPLES)]
pub(crate) struct Options {
    /// What to import; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What it is
    #[arg(long, value_enum, value_name = "lackey|pages", hide_possible_values = true)]
    from: Kind,

    /// The trace to be written
    #[arg(long, short, value_name = "TRACE")]
    output: PathBuf,

    /// Bytes of a page
    #[arg(long, value_name = "SIZE", default_value = "4K")]
    page: String,

    /// Leave out where instructions are fetched from
    #[arg(long)]
    data_only: bool,
}

/// `outcore trace import`.
///
/// # Errors
/// What is to be imported makes no sense, or the trace cannot be written.
pub(crate) fn import(options: &Options) -> Result<u8, Trouble> {
    let (from, len) = traces::file(&options.file)?;
    let page = size::parse(&options.page);
    let page = page.ok().filter(|bytes| bytes.is_power_of_two()).ok_or_else(|| {
        Trouble::bad_input(format!("--page {}: write a power of two, such as 4K", options.page))
    })?;
    let refused = |error: std::io::Error| {
        Trouble::bad_input(format!("{} cannot be written: {error}", options.output.display()))
    };
    let header = Header {
        page_bytes: page,
        source: Source::References,
        program: options
            .file
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        ..Header::default()
    };
    let file = traces::create(&options.output, &options.file)?;
    let mut writer = Writer::new(BufWriter::new(file), &header).map_err(refused)?;
    let progress = Progress::new("importing", len, Unit::Bytes);
    let mut seen = 0;
    let mut count = |bytes| {
        seen += bytes;
        if seen >= 1 << 20 {
            progress.add(std::mem::take(&mut seen));
        }
    };
    let from = BufReader::with_capacity(1 << 18, from);
    let imported = match options.from {
        Kind::Lackey => trace::lackey(from, page, !options.data_only, &mut writer, &mut count),
        Kind::Pages => trace::pages(from, &mut writer, &mut count),
    };
    progress.finish();
    let references = imported.map_err(|error| {
        let hint = match (options.from, &error) {
            (Kind::Lackey, trace::ImportError::Empty) => ": run valgrind --tool=lackey --trace-mem=yes",
            _ => "",
        };
        Trouble::bad_input(format!("{}: {error}{hint}", options.file.display()))
    })?;
    let bytes = writer.finish().map_err(refused)?;
    say(&format!("{} references in {}, {}", grouped(references), options.output.display(), shown(bytes)));
    Ok(0)
}
