//! `outcore bench faults`: what every kind of fault costs here.

use super::answer::Answer;
use super::part::{Part, Row};
use super::{costs, fit, model};
use crate::draw::Output;
use crate::place::{self, Place};
use crate::progress::{Progress, Unit};
use crate::size::{parse, typed};
use crate::trouble::Trouble;
use clap::Args;
use machine::Costs;
use measure::faults::{Kind, Measured};
use measure::numbers::number;
use rustix::fs::{Advice, CWD, Mode, OFlags, fadvise, openat};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) const LONG_ABOUT: &str = "\
Measure every kind of fault on this machine: median and 99th percentile, as the thread that touches the page sees it.

Outcore's are measured in a program that runs under 'outcore run' with more data than RAM, those of mapped files and \
handles in one that uses the library. The kernel's own stand beside them where it has such faults; those of its swap \
need swap space. The simulated machine's are what its cost model says, with its default costs and with costs fitted to \
this machine, which --fit writes to a file for 'outcore machine run --costs'.

A window is a touch that faults while pages are touched in order; it brings several. A page of it is how long all \
touches take, divided by their number.";

/// What `outcore bench faults` was asked for.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// RAM for the data
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = bytes)]
    ram: u64,

    /// Data: more than fits into the RAM
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = bytes)]
    data: u64,

    /// Faults of each kind, about
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    samples: u32,

    /// A directory on the disk to be measured [default: that of 'outcore run']
    #[arg(long, value_name = "DIR")]
    store: Option<OsString>,

    /// Draw the medians in this file: .svg or .png; may be repeated
    #[arg(long, short, value_name = "FILE")]
    output: Vec<PathBuf>,

    /// Write the costs of this machine to a file, for the simulated one
    #[arg(long, value_name = "FILE")]
    fit: Option<PathBuf>,

    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

fn bytes(text: &str) -> Result<u64, String> {
    let bytes = parse(text).map_err(|error| error.to_string())?;
    if bytes < 16 << 20 {
        Err(format!("{text} is too little to measure with; write at least 16M"))
    } else {
        Ok(bytes)
    }
}

/// The file that is mapped has as many bytes at most.
const MOST_OF_A_FILE: u64 = 64 << 20;

/// `outcore bench faults`.
///
/// # Errors
/// It cannot be measured here, or an answer not be written.
pub(super) fn faults(options: &Options) -> Result<u8, Trouble> {
    let outputs = options.output.iter().map(|path| Output::named(path)).collect::<Result<Vec<_>, _>>()?;
    if options.data < 2 * options.ram {
        return Err(Trouble::bad_input(format!(
            "--data {}: faults are there to see if it is at least twice --ram {}",
            typed(options.data),
            typed(options.ram)
        )));
    }
    if std::env::var_os("OUTCORE_STATUS").is_some() {
        return Err(Trouble::bad_input(
            "this is run by 'outcore run', which would be measured too: run it alone",
        ));
    }
    let place = place::resolve(options.store.as_deref())?;
    let Place::Directory(dir) = &place else {
        return Err(Trouble::bad_input(
            "--store memory: name a directory, so that there is a disk to measure",
        ));
    };
    let own = std::env::current_exe()
        .map_err(|error| Trouble::own(format!("this program's own file cannot be found: {error}")))?;
    let parts = [Part::Paged, Part::File, Part::Handle, Part::Kernel];
    let steps = parts.iter().map(|part| part.kinds().len() as u64).sum();
    let progress = Progress::new("measuring", steps, Unit::Steps);
    let file = mapped_file(dir, options.data)?;
    let bench = Bench { options, dir, own: &own, file: &file, progress: &progress };
    let mut answer = Answer::new(options.ram, options.data, dir);
    for part in parts {
        // Not what the part before has left in the page cache.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        let measured = bench.run(part)?;
        answer.add(part == Part::Kernel, measured);
    }
    progress.finish();
    let simulated = |costs: Costs| model::figures(costs).map_err(Trouble::own);
    let fitted = fit::fit(&answer.to_fit());
    answer.simulated(simulated(Costs::default())?, simulated(fitted)?, fitted);
    for (path, output) in options.output.iter().zip(outputs) {
        output.write(&answer.picture(), path)?;
    }
    if let Some(path) = &options.fit {
        costs::write(path, fitted)?;
    }
    let text = if options.json { answer.json() } else { answer.text() };
    crate::trace_verbs::written(std::io::stdout().write_all(text.as_bytes()))?;
    Ok(0)
}

/// What the parts of a bench have in common.
struct Bench<'a> {
    options: &'a Options,
    dir: &'a Path,
    own: &'a Path,
    file: &'a File,
    progress: &'a Progress,
}

impl Bench<'_> {
    /// Runs a part in a process of its own.
    fn run(&self, part: Part) -> Result<BTreeMap<Kind, Measured>, Trouble> {
        let failed =
            |what: &dyn std::fmt::Display| Trouble::own(format!("{part:?} cannot be measured: {what}"));
        let mut command = Command::new(self.own);
        if part == Part::Paged {
            let ram = self.options.ram.to_string();
            command
                .args(["run", "--report", "none", "--ram", &ram, "--store"])
                .arg(self.dir)
                .arg("--")
                .arg(self.own);
        }
        let word = clap::ValueEnum::to_possible_value(&part).map(|value| value.get_name().to_owned());
        command.args(["bench", "part"]).args(word);
        command.args(["--mib", &(self.options.data >> 20).to_string()]);
        command.args(["--samples", &self.options.samples.to_string()]);
        // A quarter of the RAM, so that the file does not fit.
        command.args(["--ram-mib", &(self.options.ram >> 22).max(4).to_string()]).arg("--dir").arg(self.dir);
        command.stdin(self.file.try_clone().map_err(|error| failed(&error))?).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let mut found = BTreeMap::new();
        for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
            let line = line.map_err(|error| failed(&error))?;
            let row: Row = serde_json::from_str(&line).map_err(|error| failed(&error))?;
            found.extend(row.meaning());
            self.progress.add(1);
        }
        match child.wait() {
            Ok(status) if status.success() => Ok(found),
            Ok(status) => Err(failed(&status)),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// A file without a name that is on the disk, and not in memory.
fn mapped_file(dir: &Path, data: u64) -> Result<File, Trouble> {
    let failed =
        |error: std::io::Error| Trouble::own(format!("a file in {} to be mapped: {error}", dir.display()));
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?;
    let file = File::from(file);
    let mut out = BufWriter::with_capacity(1 << 20, &file);
    for word in 0..MOST_OF_A_FILE.min(data / 2) / 8 {
        out.write_all(&number(word).to_ne_bytes()).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    drop(out);
    file.sync_all().map_err(failed)?;
    Ok(file)
}
