//! How a trace is written: as text, or as binary numbers.

mod binary;
mod text;

use std::fmt;
use std::io::{self, ErrorKind, Read};

/// How page numbers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Told by the first eight bytes: [`Format::U64Le`] if they hold a control character other than tab,
    /// line feed and carriage return, or are not UTF-8, otherwise [`Format::Text`].
    ///
    /// This finds every binary trace whose first page number is below 2⁵⁶, because its last byte is
    /// zero, and no address space has larger ones. It never takes text for binary. Of other binary
    /// traces, those whose first number happens to be text are refused at their first byte that is no
    /// digit.
    #[default]
    Auto,
    /// One decimal number a line. Blanks around it and empty lines do not matter.
    Text,
    /// Eight bytes a number, the least significant first.
    U64Le,
}

/// Why a trace cannot be read.
#[derive(Debug)]
pub enum TraceError {
    /// The file, or whatever it is, could not be read.
    Io(io::Error),
    /// There is no page number in it.
    Empty,
    /// Something else than a page number, in text.
    Malformed {
        /// Its line, from 1.
        line: u64,
        /// Its column, from 1, in bytes.
        column: u64,
        /// The byte that does not belong there.
        found: u8,
        /// Whether the format was inferred, and binary might have been meant.
        inferred: bool,
    },
    /// A number of more than 64 bits, in text.
    TooLarge {
        /// Its line, from 1.
        line: u64,
        /// The column of its first digit, from 1.
        column: u64,
    },
    /// The length of a binary trace is not a multiple of eight.
    Torn {
        /// Bytes in all.
        bytes: u64,
    },
    /// More references than can be counted.
    TooLong,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::Empty => f.write_str("there is no page number in it; write one a line"),
            Self::Malformed { line, column, found, inferred } => {
                let found = found.escape_ascii();
                write!(
                    f,
                    "line {line}, column {column}: '{found}' where a digit or the end of the line belongs; "
                )?;
                f.write_str("write one decimal page number a line")?;
                if *inferred {
                    f.write_str(", or say --format u64le if the file is binary")?;
                }
                Ok(())
            }
            Self::TooLarge { line, column } => {
                write!(f, "line {line}, column {column}: the number does not fit in 64 bits; ")?;
                write!(f, "the largest page is {}", u64::MAX)
            }
            Self::Torn { bytes } => {
                write!(f, "its {bytes} bytes are not a multiple of 8, so the last page number is cut off; ")?;
                f.write_str("say --format text if it is text")
            }
            Self::TooLong => f.write_str("it has more than 4,294,967,293 references; replay a part of it"),
        }
    }
}

impl std::error::Error for TraceError {}

/// Called for each page number, in order.
type Sink<'a> = dyn FnMut(u64) -> Result<(), TraceError> + 'a;

/// What is read at once.
const CHUNK: usize = 1 << 18;
/// What is looked at to tell the format.
const HEAD: usize = 8;

/// Reads page numbers to the end, and gives each to `sink`.
pub(super) fn read(mut from: impl Read, format: Format, sink: &mut Sink<'_>) -> Result<(), TraceError> {
    let mut chunk = vec![0; CHUNK];
    let mut filled = 0;
    while filled < HEAD {
        match next(&mut from, &mut chunk[filled..])? {
            0 => break,
            more => filled += more,
        }
    }
    let head = &chunk[..filled.min(HEAD)];
    let binary = format == Format::U64Le || format == Format::Auto && !is_text(head);
    let mut text = text::Reader::new(format == Format::Auto);
    let mut words = binary::Reader::default();
    while filled > 0 {
        let bytes = &chunk[..filled];
        if binary {
            words.take(bytes, sink)?
        } else {
            text.take(bytes, sink)?
        }
        filled = next(&mut from, &mut chunk)?;
    }
    if binary { words.finish() } else { text.finish(sink) }
}

/// Reads something; 0 at the end.
fn next(from: &mut impl Read, into: &mut [u8]) -> Result<usize, TraceError> {
    loop {
        match from.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(TraceError::Io(error)),
            Ok(count) => return Ok(count),
        }
    }
}

/// Whether bytes at the start of a file can be those of text.
fn is_text(head: &[u8]) -> bool {
    let control = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r');
    // The last character may be cut off.
    let cut_off = |error: std::str::Utf8Error| error.error_len().is_none();
    !head.iter().any(control) && std::str::from_utf8(head).err().is_none_or(cut_off)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A reader that gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(into.len());
            self.0.read(&mut into[..count])
        }
    }

    fn pages(bytes: &[u8], format: Format) -> Result<Vec<u64>, String> {
        let mut at_once = Vec::new();
        let result = read(bytes, format, &mut |page| {
            at_once.push(page);
            Ok(())
        });
        for step in [1, 3, 9] {
            let mut slowly = Vec::new();
            let again = read(Slow(bytes, step), format, &mut |page| {
                slowly.push(page);
                Ok(())
            });
            assert_eq!(format!("{result:?} {at_once:?}"), format!("{again:?} {slowly:?}"));
        }
        result.map(|()| at_once).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(bytes: &[u8], format: Format, part: &str) {
        let message = pages(bytes, format).expect_err("malformed");
        assert!(message.contains(part), "{message}");
    }

    #[test]
    fn text_is_one_number_a_line() {
        let all = [1, 20, 0, 7, u64::MAX];
        assert_eq!(pages(b"1\n20\n0\n007\n18446744073709551615\n", Format::Auto), Ok(all.to_vec()));
        assert_eq!(
            pages(b"1\r\n\r\n \t20 \r\n0\n\n\n7\n18446744073709551615", Format::Text),
            Ok(all.to_vec())
        );
        assert_eq!(pages(b"\n \n", Format::Auto), Ok(vec![]));
        assert_eq!(pages(b"", Format::Auto), Ok(vec![]));
    }

    #[test]
    fn mistakes_in_text_have_a_line_and_a_column() {
        refused(b"12\nabc\n", Format::Auto, "line 2, column 1: 'a'");
        refused(b"12\n3x\n", Format::Auto, "line 2, column 2: 'x'");
        refused(b"1\n\n  5 6\n", Format::Auto, "line 3, column 5: '6'");
        refused(b"-1\n", Format::Auto, "line 1, column 1: '-'");
        refused(b"+1\n", Format::Auto, "'+'");
        refused(b"0x10\n", Format::Auto, "line 1, column 2: 'x'");
        refused(b"1.5\n", Format::Auto, "column 2: '.'");
        refused(b"hello world 1234", Format::Auto, "say --format u64le if");
        refused("12\n٣\n".as_bytes(), Format::Auto, "line 2, column 1: '\\xd9'");
        refused(b"9\n 18446744073709551616\n", Format::Auto, "line 2, column 2: the number does not fit");
        refused(b"99999999999999999999999999999999999999999", Format::Auto, "line 1, column 1: the number");
        refused(b"1\n2\0\n", Format::Text, "line 2, column 2: '\\x00'");
        assert!(!pages(b"x", Format::Text).expect_err("no number").contains("u64le"));
    }

    #[test]
    fn binary_is_eight_bytes_a_number() {
        let all = [0, 5, 1 << 55, u64::MAX, 0x3131_3131_3131_3131];
        let bytes: Vec<u8> = all.iter().flat_map(|page: &u64| page.to_le_bytes()).collect();
        assert_eq!(pages(&bytes, Format::Auto), Ok(all.to_vec()));
        assert_eq!(pages(&bytes, Format::U64Le), Ok(all.to_vec()));
        refused(&bytes[..13], Format::Auto, "13 bytes are not a multiple of 8");
        refused(&bytes[..3], Format::Auto, "3 bytes");
        // What is text is text, unless it is said to be binary.
        assert_eq!(pages(&all[4].to_le_bytes(), Format::Auto), Ok(vec![11_111_111]));
        assert_eq!(pages(&all[4].to_le_bytes(), Format::U64Le), Ok(vec![all[4]]));
        assert_eq!(pages(b"1\n2\n3\n4\n", Format::Auto), Ok(vec![1, 2, 3, 4]));
    }

    #[test]
    fn failing_reads_are_told() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is gone"))
            }
        }
        let error = read(Failing, Format::Auto, &mut |_| Ok(())).expect_err("it fails");
        assert_eq!(error.to_string(), "cannot be read: the disk is gone");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Any bytes are read or refused, in pieces as at once; a refusal names a place that is there.
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80),
                "[0-9]{0,4}(\r?\n[ \t]?[0-9]{1,20}){0,6}[x ]?\n?".prop_map(String::into_bytes),
            ],
            format in prop::sample::select(vec![Format::Auto, Format::Text, Format::U64Le]),
        ) {
            if let Err(error) = read(&bytes[..], format, &mut |_| Ok(())) {
                let (TraceError::Malformed { line, column, .. } | TraceError::TooLarge { line, column }) = error else {
                    let torn = matches!(error, TraceError::Torn { .. });
                    prop_assert!(torn);
                    return Ok(());
                };
                let found = bytes.split(|byte| *byte == b'\n').nth(line as usize - 1);
                prop_assert!(found.is_some_and(|line| line.len() >= column as usize));
            }
            let _ = pages(&bytes, format);
        }

        /// What is written is read, in both formats, and told apart.
        #[test]
        fn what_is_written_is_read(numbers in prop::collection::vec(0..1u64 << 56, 1..50)) {
            let text: String = numbers.iter().map(|number| format!("{number}\n")).collect();
            let binary: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            prop_assert_eq!(pages(text.as_bytes(), Format::Auto), Ok(numbers.clone()));
            prop_assert_eq!(pages(&binary, Format::Auto), Ok(numbers));
        }
    }
}
