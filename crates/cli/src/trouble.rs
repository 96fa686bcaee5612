//! What went wrong before the program ran, and how that is said.

use std::io::Write;

/// What was given makes no sense, where no program is run.
pub(crate) const BAD_INPUT: u8 = 2;
/// Outcore's own errors.
pub(crate) const OWN_ERROR: u8 = 125;
/// The program is there but cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The program is not there.
pub(crate) const NOT_FOUND: u8 = 127;

/// A reason not to start, with the exit status that says whose it is.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// [`BAD_INPUT`], [`OWN_ERROR`], [`NOT_EXECUTABLE`] or [`NOT_FOUND`].
    pub(crate) status: u8,
    /// What happened, to what, and what to do; without the `outcore: `.
    pub(crate) text: String,
}

impl Trouble {
    /// Outcore cannot do what was asked.
    pub(crate) fn own(text: impl Into<String>) -> Self {
        Self { status: OWN_ERROR, text: text.into() }
    }

    /// What was given makes no sense.
    pub(crate) fn bad_input(text: impl Into<String>) -> Self {
        Self { status: BAD_INPUT, text: text.into() }
    }

    /// The program is there but cannot be executed.
    pub(crate) fn not_executable(text: impl Into<String>) -> Self {
        Self { status: NOT_EXECUTABLE, text: text.into() }
    }

    /// The program is not there.
    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self { status: NOT_FOUND, text: text.into() }
    }
}

/// Says `text` on stderr, every line marked as Outcore's. A closed stderr is no
/// reason to fail: nobody is listening.
pub(crate) fn say(text: &str) {
    let mut lines = String::new();
    for line in text.lines() {
        lines.push_str("outcore: ");
        lines.push_str(line);
        lines.push('\n');
    }
    let _ = std::io::stderr().write_all(lines.as_bytes());
}
