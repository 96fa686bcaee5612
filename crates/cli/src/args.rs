//! The command line.

use crate::bench::BenchVerb;
use crate::image::ImageVerb;
use crate::machine::MachineVerb;
use crate::trace_verbs::TraceVerb;
use crate::trouble::{BAD_INPUT, OWN_ERROR, say};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Gives a program more heap than it has RAM.
#[derive(Debug, Parser)]
#[command(
    name = "outcore",
    version,
    about = "Runs an unmodified program in a fixed amount of RAM, however large its heap",
    after_help = "Start with:\n  \
        outcore doctor                            what this machine offers\n  \
        outcore run --ram 256M -- PROGRAM ARGS    run a program in 256 MiB of RAM\n  \
        outcore help run                          every option, with examples"
)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a program in a fixed amount of RAM
    #[command(long_about = RUN_LONG_ABOUT)]
    Run(RunOptions),
    /// Say what this machine offers, and how to enable better
    Doctor(DoctorOptions),
    /// Draw how often a program would miss with more or less memory, from a trace
    #[command(long_about = crate::mrc::LONG_ABOUT)]
    Mrc(crate::mrc::Options),
    /// Print the numbers of processes that run under outcore
    Stat(crate::stat::Options),
    /// Give a run more or less RAM while it runs
    Set(crate::set::Options),
    /// Watch them live
    Top(crate::top::Options),
    /// Offer their numbers to Prometheus
    Metrics(crate::metrics::Options),
    /// Write a trace as one page of HTML: timeline, heat map, curves, code
    Report(crate::report_page::Options),
    /// Look into a trace, or bring it from or to other programs
    #[command(subcommand)]
    Trace(TraceVerb),
    /// The pager on a simulated computer, to watch, check and measure it
    #[command(subcommand)]
    Machine(MachineVerb),
    /// Measure what things cost on this machine
    #[command(subcommand)]
    Bench(BenchVerb),
    /// Arenas in files: what is in an image, and whether it is sound
    #[command(subcommand)]
    Image(ImageVerb),
}

const RUN_LONG_ABOUT: &str = "\
Run a program in a fixed amount of RAM.

The program's heap (malloc, large anonymous mappings and static arrays) may grow far beyond --ram: what does not fit is \
kept in a store on disk and comes back when it is touched. Nothing is paged, and nothing costs time, until \
the budget is reached. Neither root nor a change to the program is needed.

Code, thread stacks, and mappings of less than 64 KiB are not paged; what they take, the heap has less of the \
budget. All processes that the program starts share it: who waits most for its pages gets most of it. Programs that \
are static, built for musl, or privileged (setuid) cannot be run this way.";

const RUN_EXAMPLES: &str = "\
Examples:
  outcore run --ram 256M -- python3 train.py
      Python in 256 MiB of RAM; at the end a short report on stderr.
  outcore run --ram 25% -- sort -S 4G big.txt
      A quarter of the control group's memory limit, or else of RAM.
  outcore run --ram 1G --store /mnt/nvme --store-size 64G -- ./simulate
      Keep what does not fit on a disk of your choice, in at most 64 GiB.
  outcore run --ram 512M --report report.json -- make test
      Write every number of the run to a file.
  outcore run --require full-userfaultfd --require move -- ./service
      Rather fail at the start than run with a fallback.

Sizes: a number of bytes, or one with K, M, G or T in units of 1024: 4096K, 256M, 1.5G.

Exit status: the program's own; 128 + N if signal N ended it; 125 if Outcore cannot do what was asked, 126 \
if the program cannot be executed, 127 if there is no such program. Signals sent to outcore are passed on.

Environment: LD_PRELOAD is kept, with Outcore's library before it. TMPDIR is where the store goes, if it is \
not in memory; otherwise /var/tmp. XDG_CACHE_HOME (or ~/.cache) holds outcore/, which may be removed at any \
time.";

/// What `outcore run` was asked for.
#[derive(Args, Debug)]
#[command(override_usage = "outcore run [OPTIONS] -- PROGRAM [ARGUMENTS]...", after_long_help = RUN_EXAMPLES, after_help = "More, with examples: outcore help run")]
pub(crate) struct RunOptions {
    /// RAM for the program's heap: a size (256M), a percentage (25%), or auto
    ///
    /// A percentage is of the control group's memory limit, or else of the machine's RAM. `auto` is what
    /// the control group or the machine leaves, minus a tenth of it and at least 64 MiB, and follows that
    /// while the program runs. The smallest that works is 16M. See 'outcore set' for changing it later.
    #[arg(long, value_name = "SIZE|PERCENT|auto", default_value = "auto", allow_hyphen_values = true)]
    pub(crate) ram: String,

    /// Where what does not fit is kept: a directory, or memory
    ///
    /// The file has no name, only its owner can read it, and it is gone when the program ends, however it
    /// ends. The default is the first of $TMPDIR and /var/tmp that is not in memory. `memory` keeps it in
    /// RAM outside the budget, which is for tests.
    #[arg(long, value_name = "DIR|memory")]
    pub(crate) store: Option<OsString>,

    /// How much the store may hold [default: 90% of the free space, at most 1T]
    ///
    /// The default for a store in memory is half of the RAM.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) store_size: Option<String>,

    /// When room in the store is set aside: strict or lazy
    ///
    /// `lazy` takes room when a page is stored: programs may reserve far more than they touch, and if the
    /// store fills up, pages stay in RAM beyond the budget and you are told. `strict` sets it aside when
    /// the program asks for memory, which then fails with ENOMEM if there is no room.
    #[arg(long, value_enum, value_name = "strict|lazy", default_value_t = Commit::Lazy, hide_default_value = true, hide_possible_values = true)]
    pub(crate) commit: Commit,

    /// What to say at the end: text or json (on stderr), none, or a file for the JSON
    ///
    /// Failures are told even with `none`.
    #[arg(long, value_name = "text|json|none|FILE", default_value = "text")]
    pub(crate) report: OsString,

    /// Record what the program touches and what the pager does, in this file
    ///
    /// See 'outcore trace', 'outcore mrc', 'outcore report' and 'outcore machine replay' for what can be
    /// done with it. Events for which the buffer has no room are dropped and counted.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// Record the code address of one fault in N, which takes some microseconds each
    #[arg(long, value_name = "N", requires = "trace", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) trace_code: Option<u32>,

    /// With it, record who may have called that code
    #[arg(long, requires = "trace_code")]
    pub(crate) trace_callers: bool,

    /// Sample references to one page in N, by parking it again and again
    ///
    /// A trace of faults says nothing of budgets below the run's. With samples, 'outcore mrc' draws those too.
    #[arg(long, value_name = "N", requires = "trace", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) trace_access: Option<u32>,

    /// Buffer of each process's trace, which counts as memory that is not paged [default: 1M]
    #[arg(long, value_name = "SIZE", requires = "trace", allow_hyphen_values = true)]
    pub(crate) trace_buffer: Option<String>,

    /// Page files that the program maps, too, from 1 MiB on: those that are only read, or private and not yet written
    ///
    /// Their pages in memory count within --ram like the heap's, past the kernel's page cache, as long as nobody has
    /// the file open for writing: a lease tells. What is written, and files of other users, stay with the kernel,
    /// and take what they take; the report says how much that was, and why. Needs a full userfaultfd.
    #[arg(long, conflicts_with = "trace")]
    pub(crate) map_files: bool,

    /// Whether pages are read before they are asked for: on or off
    #[arg(long, value_enum, value_name = "on|off", default_value_t = Switch::On, hide_default_value = true, hide_possible_values = true)]
    pub(crate) readahead: Switch,

    /// Refuse to start where this is missing; may be repeated
    #[arg(long, value_enum, value_name = "FEATURE")]
    pub(crate) require: Vec<Feature>,

    /// Use this fallback even where better is offered; for testing; may be repeated
    #[arg(long, value_enum, value_name = "FALLBACK")]
    pub(crate) force: Vec<Fallback>,

    /// The program and its arguments
    #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true)]
    pub(crate) program: Vec<OsString>,
}

/// What `outcore doctor` was asked for.
#[derive(Args, Debug)]
pub(crate) struct DoctorOptions {
    /// Answer in JSON, on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// When room in the store is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Commit {
    /// When a page is stored
    Lazy,
    /// When the program asks for memory
    Strict,
}

/// Something that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// It is
    On,
    /// It is not
    Off,
}

/// What `--require` can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Feature {
    /// Pages move between RAM and store without a copy (Linux 6.8)
    Move,
    /// Transfers go through io_uring
    #[value(name = "io_uring", alias = "io-uring")]
    IoUring,
    /// Faults inside system calls are served too
    FullUserfaultfd,
    /// The store is a file
    FileStore,
    /// The pager is a process of its own, not a thread of the program
    PagerProcess,
}

/// What `--force` can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fallback {
    /// Copy pages in place of moving them
    Copy,
    /// Threads with pread and pwrite in place of io_uring
    Threads,
    /// A userfaultfd that serves no faults inside system calls
    UserMode,
    /// The pager as a thread of the program in place of a process of its own
    PagerThread,
}

/// The word that the command line and the environment use for a value.
pub(crate) fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Reads the command line.
///
/// # Errors
/// What [`answer`] prints: help that was asked for, or what is wrong.
pub(crate) fn read() -> Result<Verb, clap::Error> {
    CommandLine::try_parse().map(|line| line.verb)
}

/// Prints what reading the command line led to in place of a verb.
pub(crate) fn answer(usage: &clap::Error) -> ExitCode {
    match usage.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = usage.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = usage.print();
            ExitCode::from(usage_status())
        }
        _ => {
            let text = usage.render().to_string();
            let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            let text = lines.join("\n");
            say(text.strip_prefix("error: ").unwrap_or(&text));
            ExitCode::from(usage_status())
        }
    }
}

/// The exit status for a command line that makes no sense: that of `run` may not be taken for
/// its program's own.
fn usage_status() -> u8 {
    if std::env::args_os().nth(1).is_none_or(|verb| verb == "run" || verb == "doctor") {
        OWN_ERROR
    } else {
        BAD_INPUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn the_words_are_those_of_the_documentation() {
        assert_eq!(word(Feature::IoUring), "io_uring");
        assert_eq!(word(Feature::FullUserfaultfd), "full-userfaultfd");
        assert_eq!(word(Feature::FileStore), "file-store");
        assert_eq!(word(Fallback::UserMode), "user-mode");
        assert_eq!(word(Commit::Strict), "strict");
    }

    #[test]
    fn what_follows_the_program_is_its_own() {
        for before in [&["outcore", "run", "--ram", "1G", "--"][..], &["outcore", "run", "--ram", "1G"]] {
            let line =
                CommandLine::try_parse_from(before.iter().chain(&["ls", "--ram", "-l", "--", "--help"]));
            let Ok(CommandLine { verb: Verb::Run(options) }) = line else { panic!("{line:?}") };
            assert_eq!(options.program, ["ls", "--ram", "-l", "--", "--help"]);
        }
    }
}
