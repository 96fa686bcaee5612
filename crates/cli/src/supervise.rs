//! Starting the program and staying beside it until it ends.

use crate::kernel::{Ended, Event, Signals, adopt_orphans, bury_others, ended, send};
use crate::trouble::Trouble;
use rustix::io::Errno;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What is known of a run from outside the program.
pub(crate) struct Outcome {
    /// The program's process number.
    pub(crate) pid: u32,
    /// How it ended.
    pub(crate) ended: Ended,
    /// From its start to its end.
    pub(crate) wall: Duration,
}

/// Starts `command` and waits for its end, passing on signals that are sent to
/// us. The terminal's own signals reach the program without our help. If we are
/// killed, the program goes on. Processes that have lost their parents become our children,
/// and pagers, which have none.
///
/// # Errors
/// The program cannot be started: status 127 or 126 if it is at fault, else 125.
pub(crate) fn supervise(command: &mut Command) -> Result<Outcome, Trouble> {
    let signals = Signals::take();
    signals.restore_in(command);
    adopt_orphans();
    let start = Instant::now();
    let child = command.spawn().map_err(|error| not_started(Path::new(command.get_program()), &error))?;
    let pid = child.id().cast_signed();
    loop {
        match signals.next() {
            Event::Child => {
                bury_others(pid);
                if let Some(ended) = ended(pid) {
                    return Ok(Outcome { pid: child.id(), ended, wall: start.elapsed() });
                }
            }
            // What the program sent to its whole group it has sent to itself.
            Event::Sent { signal, sender } if sender != pid => send(pid, signal),
            Event::Sent { .. } | Event::FromTerminal => {}
        }
    }
}

/// Why the kernel did not start `program`.
fn not_started(program: &Path, error: &io::Error) -> Trouble {
    let text = format!("{} cannot be started: {error}", program.display());
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => Trouble::not_found(text),
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => Trouble::own(text),
        _ => Trouble::not_executable(text),
    }
}
