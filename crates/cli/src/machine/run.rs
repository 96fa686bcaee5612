//! `outcore machine run`: a script from its first line to its last.

use super::options::{MachineOptions, read_script};
use crate::trouble::{BAD_INPUT, Trouble, say};
use ::machine::script::{Line, Op};
use ::machine::{Outcome, PteLine, Ran, Ret, Runner, log};
use clap::{Args, ValueEnum};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;

pub(crate) const LONG_ABOUT: &str = "\
Carry out a script on a simulated computer, and log what happens.

Each line of the script is one operation: processes begin, map memory and files, read, write, fork and end. \
The log says of each what it returned, which faults and transfers it took, and what the page table of the \
current process says then. Files named by the script are those of --files, and are really written.";

const RUN_EXAMPLES: &str = "\
Example:
  printf 'create 0 1\\nswitch 1\\nmap\\nwrite 0x600000000 \"hi\"\\n' > hello.oc
  outcore machine run hello.oc

Sizes: a number of bytes, or one with K, M, G or T in units of 1024: 512, 4K, 16M.

Exit status: 0; 1 if an `expect` was not met; 2 if the script, an option or an executed file makes no sense.";

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogForm {
    /// For people
    Text,
    /// One line of JSON an operation
    Json,
}

/// What `outcore machine run` was asked for.
#[derive(Args, Debug)]
#[command(after_long_help = RUN_EXAMPLES)]
pub(crate) struct RunScript {
    /// The script
    #[arg(value_name = "FILE")]
    script: PathBuf,

    #[command(flatten)]
    machine: MachineOptions,

    /// How the log is written: text or json
    #[arg(long, value_enum, value_name = "text|json", default_value = "text", hide_possible_values = true)]
    log: LogForm,
}

/// Exit status where something else happened than the script expects.
const UNEXPECTED: u8 = 1;

/// `outcore machine run`.
///
/// # Errors
/// A script, options or files that make no sense.
pub(crate) fn run(options: &RunScript) -> Result<u8, Trouble> {
    let lines = read_script(&options.script)?;
    let mut runner = Runner::new(options.machine.settings()?).map_err(Trouble::bad_input)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut before = None;
    for line in &lines {
        let outcome = runner.step(line);
        let written = match options.log {
            LogForm::Text => out.write_all(text(&outcome, &mut before).as_bytes()),
            LogForm::Json => writeln!(out, "{}", log::json(&outcome)),
        };
        if let Err(error) = written {
            return unwritten(&error);
        }
        if options.log == LogForm::Json
            && let Some(report) = &outcome.report
        {
            eprint!("{report}");
        }
        complain(options, line, &outcome);
    }
    if let Err(error) = out.flush() {
        return unwritten(&error);
    }
    Ok(match runner.ran() {
        Ran::Well => 0,
        Ran::Unexpected => UNEXPECTED,
        Ran::BadFile => BAD_INPUT,
    })
}

/// The log's lines, with the page table where it is another one than `before`.
fn text(outcome: &Outcome, before: &mut Option<(Option<u32>, Vec<PteLine>)>) -> String {
    let now = Some((outcome.pid, outcome.ptes.clone()));
    if now == *before {
        return log::text(&Outcome { ptes: Vec::new(), ..outcome.clone() });
    }
    *before = now;
    log::text(outcome)
}

/// Says on stderr what a caller should not have to look for in the log.
fn complain(options: &RunScript, line: &Line, outcome: &Outcome) {
    let place = format!("{}:{}", options.script.display(), line.number);
    match &line.op {
        Op::Expect(_) if outcome.ret == Ret::MinusOne => {
            let found = outcome.reason.as_deref().unwrap_or_default();
            say(&format!("{place}: `{}` was not met: {found}", line.op));
        }
        Op::Exec { .. } if outcome.pid.is_some() => {
            if let Some(error) = &outcome.error {
                say(&format!("{place}: {error}"));
            }
        }
        _ => {}
    }
}

/// Nobody reads on: that is no mistake of the script's.
fn unwritten(error: &io::Error) -> Result<u8, Trouble> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(0),
        _ => Err(Trouble::bad_input(format!("the log cannot be written: {error}"))),
    }
}
