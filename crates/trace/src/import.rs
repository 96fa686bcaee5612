//! Traces of others: valgrind's lackey, and lists of pages.

use crate::event::{Event, Outcome};
use crate::file::Writer;
use std::fmt;
use std::io::{self, BufRead, Write};

/// Why something cannot be imported.
#[derive(Debug)]
pub enum ImportError {
    /// It cannot be read, or the trace not written.
    Io(io::Error),
    /// A line of a list of pages that is no number.
    Malformed {
        /// Which, from 1.
        line: u64,
        /// What it says, cut to 40 characters.
        text: String,
    },
    /// There is no reference in it.
    Empty,
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Malformed { line, text } => {
                write!(f, "line {line}: {text:?} is no page; write one number a line, decimal or with 0x")
            }
            Self::Empty => f.write_str("there is no reference in it"),
        }
    }
}

impl std::error::Error for ImportError {}

impl From<io::Error> for ImportError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads lines to the end, and tells of each how many bytes it had.
fn each_line(
    mut from: impl BufRead,
    progress: &mut dyn FnMut(u64),
    mut each: impl FnMut(u64, &[u8]) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let count = from.read_until(b'\n', &mut line)?;
        if count == 0 {
            return Ok(());
        }
        number += 1;
        progress(count as u64);
        each(number, &line)?;
    }
}

/// A reference that follows one to the same page says nothing new to any policy.
struct Pages<'a, W> {
    into: &'a mut Writer<W>,
    last: Option<u64>,
    references: u64,
}

impl<W: Write> Pages<'_, W> {
    fn add(&mut self, page: u64, again: bool) -> Result<(), ImportError> {
        self.references += 1;
        if again || self.last != Some(page) {
            // There is no clock: one reference is one tick.
            let touch = Event::Touch { page, outcome: Outcome::Reference };
            self.into.add(1, self.references, 1, &touch)?;
        }
        self.last = Some(page);
        Ok(())
    }

    fn finish(self) -> Result<u64, ImportError> {
        if self.references == 0 { Err(ImportError::Empty) } else { Ok(self.references) }
    }
}

/// Imports what `valgrind --tool=lackey --trace-mem=yes` wrote; how many references there were. Lines
/// that are no reference are valgrind's own and are passed over. A reference that lies in two
/// pages is one to each. Instructions are references as well, if `instructions`.
///
/// # Errors
/// [`ImportError`].
pub fn lackey(
    from: impl BufRead,
    page_bytes: u64,
    instructions: bool,
    into: &mut Writer<impl Write>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, ImportError> {
    let mut pages = Pages { into, last: None, references: 0 };
    each_line(from, progress, |_, line| {
        let Some((kind, addr, size)) = reference(line) else { return Ok(()) };
        if kind == b'I' && !instructions {
            return Ok(());
        }
        let last = addr.saturating_add(size.saturating_sub(1)) / page_bytes;
        let first = addr / page_bytes;
        pages.add(first, false)?;
        if last != first { pages.add(last, false) } else { Ok(()) }
    })?;
    pages.finish()
}

/// The kind, address and size of a line such as ` L 1ffefff5a8,8` or `I  04001090,3`.
fn reference(line: &[u8]) -> Option<(u8, u64, u64)> {
    let line = line.trim_ascii_end();
    let (kind, rest) = match line {
        [b'I', b' ', b' ', rest @ ..] => (b'I', rest),
        [b' ', kind @ (b'L' | b'S' | b'M'), b' ', rest @ ..] => (*kind, rest),
        _ => return None,
    };
    let (addr, size) = std::str::from_utf8(rest).ok()?.split_once(',')?;
    Some((kind, u64::from_str_radix(addr, 16).ok()?, size.parse().ok()?))
}

/// Imports a list of page numbers, one a line, decimal or with `0x`; `#` begins a comment. How many
/// there were.
///
/// # Errors
/// [`ImportError`].
pub fn pages(
    from: impl BufRead,
    into: &mut Writer<impl Write>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, ImportError> {
    let mut pages = Pages { into, last: None, references: 0 };
    each_line(from, progress, |number, line| {
        let text = String::from_utf8_lossy(line);
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            return Ok(());
        }
        let page = match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        };
        let malformed = || ImportError::Malformed { line: number, text: text.chars().take(40).collect() };
        pages.add(page.ok_or_else(malformed)?, true)
    })?;
    pages.finish()
}
