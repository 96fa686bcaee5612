//! One decimal number a line, in whatever pieces it comes.

use super::{Sink, TraceError};

/// What of the line has been seen.
enum Line {
    /// Nothing but blanks.
    Blank,
    /// Digits, with this value so far.
    Number { value: u64, column: u64 },
    /// The number, and blanks after it.
    Done,
}

pub(super) struct Reader {
    line: Line,
    /// From 1.
    number: u64,
    /// Bytes before this piece, and before this line.
    before: u64,
    start: u64,
    inferred: bool,
}

impl Reader {
    /// `inferred`: nobody said that it is text.
    pub(super) fn new(inferred: bool) -> Self {
        Self { line: Line::Blank, number: 1, before: 0, start: 0, inferred }
    }

    /// Reads on.
    pub(super) fn take(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), TraceError> {
        for (at, byte) in bytes.iter().enumerate() {
            let at = self.before + at as u64;
            self.line = match (&self.line, *byte) {
                (Line::Number { value, column }, digit @ b'0'..=b'9') => {
                    let digit = u64::from(digit - b'0');
                    let value = value.checked_mul(10).and_then(|tens| tens.checked_add(digit));
                    let too_large = TraceError::TooLarge { line: self.number, column: *column };
                    Line::Number { value: value.ok_or(too_large)?, column: *column }
                }
                (Line::Blank, digit @ b'0'..=b'9') => {
                    Line::Number { value: u64::from(digit - b'0'), column: at - self.start + 1 }
                }
                (line, b'\n') => {
                    if let Line::Number { value, .. } = line {
                        sink(*value)?;
                    }
                    self.number += 1;
                    self.start = at + 1;
                    Line::Blank
                }
                (Line::Number { value, .. }, b' ' | b'\t' | b'\r') => {
                    sink(*value)?;
                    Line::Done
                }
                (Line::Blank, b' ' | b'\t' | b'\r') => Line::Blank,
                (Line::Done, b' ' | b'\t' | b'\r') => Line::Done,
                (_, found) => {
                    let (line, column, inferred) = (self.number, at - self.start + 1, self.inferred);
                    return Err(TraceError::Malformed { line, column, found, inferred });
                }
            };
        }
        self.before += bytes.len() as u64;
        Ok(())
    }

    /// The last line may end without a line feed.
    pub(super) fn finish(self, sink: &mut Sink<'_>) -> Result<(), TraceError> {
        match self.line {
            Line::Number { value, .. } => sink(value),
            Line::Blank | Line::Done => Ok(()),
        }
    }
}
