//! Progress of long commands: a bar on a terminal, and nothing where nobody looks.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Read};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes of a file.
    Bytes,
    /// Steps of about the same length.
    Steps,
}

/// A bar on stderr with a rate and the time left, if stderr is a terminal.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins with `total` to do; 0 if it is not known how much.
    pub(crate) fn new(what: &'static str, total: u64, unit: Unit) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let numbers = match (unit, total) {
            (Unit::Bytes, 0) => "{spinner} {msg} {bytes} at {bytes_per_sec}",
            (Unit::Bytes, _) => "{msg} [{bar:28}] {bytes} of {total_bytes} at {bytes_per_sec}, {eta} left",
            (Unit::Steps, _) => "{msg} [{bar:28}] {pos} of {len} at {per_sec}, {eta} left",
        };
        // A template of ours that is wrong leaves the default's.
        if let Ok(style) = ProgressStyle::with_template(numbers) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        Self { bar }
    }

    /// So much more is done.
    pub(crate) fn add(&self, done: u64) {
        self.bar.inc(done);
    }

    /// So much of the total is done.
    pub(crate) fn reached(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// Says something while the bar is out of the way.
    pub(crate) fn aside<R>(&self, say: impl FnOnce() -> R) -> R {
        self.bar.suspend(say)
    }

    /// All is done: the bar goes.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A reader that tells how far it has got.
pub(crate) struct Counted<R> {
    from: R,
    progress: Progress,
}

impl<R> Counted<R> {
    /// Reads `from`.
    pub(crate) fn new(from: R, progress: Progress) -> Self {
        Self { from, progress }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(into)?;
        self.progress.add(count as u64);
        Ok(count)
    }
}
