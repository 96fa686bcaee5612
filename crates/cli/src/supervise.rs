//! Starting the program and staying beside it until it ends.

use crate::kernel::{
    Ended, Event, Signals, adopt_orphans, bury_others, ended, is_in_foreground, is_missed, is_stopped, send,
    stop,
};
use crate::status::Watcher;
use crate::trouble::Trouble;
use rustix::io::Errno;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};
use sys::status::start_ticks;

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
/// us. The terminal's own signals reach the program without our help, but for its hangup where we lead the
/// session. On a terminal we stop when the program does, and have it continue when we do. If we are killed, the program goes on. Processes that have lost their parents become our children,
/// and pagers, which have none. What a pager that was killed has paged is in `watcher`'s records:
/// such a process is ended, if the pager's guard has not done it.
///
/// # Errors
/// The program cannot be started: status 127 or 126 if it is at fault, else 125.
pub(crate) fn supervise(command: &mut Command, watcher: Watcher) -> Result<Outcome, Trouble> {
    let signals = Signals::take();
    signals.restore_in(command);
    adopt_orphans();
    let start = Instant::now();
    let child = command.spawn().map_err(|error| not_started(Path::new(command.get_program()), &error))?;
    let pid = child.id().cast_signed();
    loop {
        match signals.next() {
            Event::Child => {
                bury_others(pid, |pager| end_program_of(pager, watcher));
                if let Some(ended) = ended(pid) {
                    return Ok(Outcome { pid: child.id(), ended, wall: start.elapsed() });
                }
                // Elsewhere nobody may know that both are to be continued.
                if is_in_foreground(pid) && is_stopped(pid) {
                    stop();
                    // Who continued us did not know of it.
                    send(pid, libc::SIGCONT);
                }
            }
            // What the program sent to its whole group it has sent to itself.
            Event::Sent { signal, sender } if sender != pid => send(pid, signal),
            Event::FromTerminal { signal } if is_missed(pid, signal) => send(pid, signal),
            Event::Sent { .. } | Event::FromTerminal { .. } => {}
        }
    }
}

/// Kills the process whose pager, process `pager`, was killed: it would wait for ever where it
/// touches what is not in its memory.
fn end_program_of(pager: u32, watcher: Watcher) {
    let left = watcher.records().find(|record| record.pager_pid.load(Acquire) == u64::from(pager));
    let Some(record) = left else { return };
    let pid = record.pid.load(Relaxed);
    // Another program in its place, or another process of that number, has other records.
    let newest = watcher.records().filter(|other| other.pid.load(Relaxed) == pid).last();
    let is_it = newest.is_some_and(|newest| std::ptr::eq(newest, record));
    if is_it && start_ticks(pid) == Some(record.start_ticks.load(Relaxed)) {
        if record.message().is_none() {
            record.say("the pager's process was killed and its guard as well, and with them the program");
        }
        send(pid.cast_signed(), libc::SIGKILL);
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
