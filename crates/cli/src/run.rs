//! `outcore run`.

use crate::args::{RunOptions, Switch, word};
use crate::ledger::Ledger;
use crate::library::Library;
use crate::memory::Memory;
use crate::place::Place;
use crate::recording::Recording;
use crate::report::{Report, Run};
use crate::status::Status;
use crate::trouble::{Trouble, say};
use crate::{budget, follow, library, offer, place, program, room, supervise};
use std::env;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

/// What a run was given, worked out and checked.
struct Settings {
    ram_bytes: u64,
    store: Place,
    store_bytes: u64,
}

impl Settings {
    /// What a trace of this run is told.
    fn for_trace(&self, program: &OsStr) -> trace::Header {
        let off = env::var_os("OUTCORE_READAHEAD").is_some_and(|word| word == "off");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        trace::Header {
            page_bytes: 4096,
            source: trace::Source::Faults,
            budget_bytes: self.ram_bytes,
            slots: (self.store_bytes / 4096).min((1 << 28) - 2) as u32,
            readahead: !off,
            started: now.map_or(0, |now| now.as_secs()),
            program: program.to_string_lossy().into_owned(),
        }
    }
}

/// Runs the program; its exit status.
///
/// # Errors
/// The program was not started, and why.
pub(crate) fn run(options: &RunOptions) -> Result<u8, Trouble> {
    let settings = settle(options)?;
    let Some((name, arguments)) = options.program.split_first() else {
        return Err(Trouble::own("no program is named; write it after --"));
    };
    let path = env::var_os("PATH");
    let file = program::find(name, path.as_deref())?;
    program::check(&file, path.as_deref())?;
    if let Some(caveat) = offer::check(options, &settings.store)? {
        say(&caveat);
    }
    let report = Report::open(&options.report)?;
    let library = library::place()?;
    let status = Status::create()?;
    let ledger = Ledger::create(settings.ram_bytes)?;
    let recording = Recording::start(options, &settings.for_trace(name), &status)?;
    let mut command = Command::new(&file);
    command.arg0(name).args(arguments);
    tell(&mut command, options, &settings, &library, &status);
    command.env("OUTCORE_LEDGER", ledger.path());
    if let Some(recording) = &recording {
        recording.tell(&mut command, options);
    }
    let runs = Arc::new(());
    if budget::is_automatic(&options.ram) {
        follow::follow(ledger.ledger(), Arc::downgrade(&runs));
    }
    let outcome = supervise::supervise(&mut command, status.watcher());
    drop(runs);
    ledger.dismiss();
    let traced = recording.map(Recording::finish);
    let outcome = outcome?;
    let run = Run {
        program: Path::new(name),
        budget_bytes: ledger.ledger().budget(),
        outcome: &outcome,
        status: &status,
    };
    report.write(&run, &settings.store);
    traced.into_iter().for_each(|told| say(&told));
    Ok(outcome.ended.status)
}

/// Works out the sizes and places, and warns of what may disappoint.
fn settle(options: &RunOptions) -> Result<Settings, Trouble> {
    let memory = Memory::look();
    let ram_bytes = budget::resolve(&options.ram, &memory)?;
    let store = place::resolve(options.store.as_deref())?;
    let store_bytes = place::size(options.store_size.as_deref(), &store, &memory)?;
    room::check(ram_bytes, store_bytes)?;
    let warnings = [budget::warning(ram_bytes, &memory), place::warning(store_bytes, &store, &memory)];
    warnings.iter().flatten().for_each(|warning| say(warning));
    Ok(Settings { ram_bytes, store, store_bytes })
}

/// Puts into the program's environment what the preload library needs to know.
/// `OUTCORE_FAULTS` and `OUTCORE_READAHEAD`, for tests, pass through.
fn tell(
    command: &mut Command,
    options: &RunOptions,
    settings: &Settings,
    library: &Library,
    status: &Status,
) {
    let already = env::var_os("LD_PRELOAD");
    command
        .env("LD_PRELOAD", library::preload_list(&library.path, already.as_deref()))
        .env("OUTCORE_RAM", settings.ram_bytes.to_string())
        .env("OUTCORE_STORE", settings.store.word())
        .env("OUTCORE_STORE_SIZE", settings.store_bytes.to_string())
        .env("OUTCORE_COMMIT", OsStr::new(&word(options.commit)))
        .env("OUTCORE_STATUS", status.path())
        .env_remove("OUTCORE_TRACE");
    if options.map_files {
        command.env("OUTCORE_MAP_FILES", "on");
    } else {
        command.env_remove("OUTCORE_MAP_FILES");
    }
    if options.readahead == Switch::Off {
        command.env("OUTCORE_READAHEAD", "off");
    }
    if options.force.is_empty() {
        command.env_remove("OUTCORE_FORCE");
    } else {
        let forced: Vec<_> = options.force.iter().map(|fallback| word(*fallback)).collect();
        command.env("OUTCORE_FORCE", forced.join(","));
    }
}
