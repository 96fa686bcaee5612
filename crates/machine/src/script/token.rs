//! The words of one line, and where each begins.

use super::ScriptError;

/// A word, a string, or a mark before one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything without spaces.
    Word(String),
    /// What stood between double quotes.
    Text(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Its column, from 1.
    pub(super) column: u32,
}

/// The column of the byte at `index`, in characters.
pub(super) fn column(line: &[u8], index: usize) -> u32 {
    let before = &line[..index.min(line.len())];
    1 + before.iter().filter(|byte| **byte & 0xc0 != 0x80).count() as u32
}

/// Splits a line, without its end and up to a comment.
pub(super) fn tokens(number: u32, line: &[u8]) -> Result<Vec<Token>, ScriptError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        let start = at;
        let kind = match byte {
            b' ' | b'\t' | b'\r' => {
                at += 1;
                continue;
            }
            b'#' => break,
            b'"' => Kind::Text(text(number, line, &mut at)?),
            _ => {
                while line.get(at).is_some_and(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'#' | b'"')) {
                    at += 1;
                }
                Kind::Word(String::from_utf8_lossy(&line[start..at]).into_owned())
            }
        };
        tokens.push(Token { kind, column: column(line, start) });
    }
    Ok(tokens)
}

/// The string that begins at `at`, which is moved past it.
fn text(number: u32, line: &[u8], at: &mut usize) -> Result<Vec<u8>, ScriptError> {
    let start = *at;
    let error =
        |index: usize, message: String| ScriptError { line: number, column: column(line, index), message };
    let mut bytes = Vec::new();
    *at += 1;
    loop {
        let Some(byte) = line.get(*at) else {
            return Err(error(start, "the string has no closing quote".into()));
        };
        match byte {
            b'"' => {
                *at += 1;
                return Ok(bytes);
            }
            b'\\' => {
                let escape = line.get(*at + 1).copied();
                let (byte, len) = match escape {
                    Some(b'0') => (0, 2),
                    Some(b'n') => (b'\n', 2),
                    Some(byte @ (b'"' | b'\\')) => (byte, 2),
                    Some(b'x') => {
                        let digits =
                            line.get(*at + 2..*at + 4).and_then(|digits| str::from_utf8(digits).ok());
                        let byte = digits
                            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                        let byte = byte
                            .ok_or_else(|| error(*at, "\\x is followed by two hexadecimal digits".into()))?;
                        (byte, 4)
                    }
                    _ => return Err(error(*at, "an escape is one of \\0 \\n \\\" \\\\ \\xNN".into())),
                };
                bytes.push(byte);
                *at += len;
            }
            byte => {
                bytes.push(*byte);
                *at += 1;
            }
        }
    }
}
