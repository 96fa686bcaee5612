//! Names of arenas, and the sockets that they stand for.

use crate::shared::LONGEST_NAME;
use crate::shared::error::SharedError;
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;

/// A name that an arena may have. Each user has names of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn new(name: &str) -> Result<Self, SharedError> {
        let cause = if name.is_empty() {
            "it is empty"
        } else if name.len() > LONGEST_NAME {
            "it is longer than 64 bytes"
        } else if name.contains('/') {
            "it has a slash"
        } else if name.chars().any(char::is_control) {
            "it has a control character"
        } else {
            return Ok(Self(name.to_owned()));
        };
        // Whatever it is, a message has not all of it.
        let shown = name.chars().take(LONGEST_NAME).collect();
        Err(SharedError::Name { name: shown, cause })
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// A name in the caller's network namespace, which is nowhere on a disk and gone with
    /// the last socket that has it.
    pub(crate) fn address(&self) -> Result<SocketAddrUnix, Errno> {
        let user = rustix::process::geteuid().as_raw();
        SocketAddrUnix::new_abstract_name(format!("outcore-arena/{user}/{}", self.0).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_be_paths_or_do_not_fit_are_refused() {
        let longest = "x".repeat(LONGEST_NAME);
        for good in ["a", "with space", "ä.b-c", &longest] {
            assert!(Name::new(good).and_then(|name| name.address().map_err(|_| unreachable!())).is_ok());
        }
        for bad in ["", "/", "a/b", "../a", "a\0b", "a\nb", &format!("{longest}x"), &"ä/".repeat(5000)] {
            assert!(matches!(Name::new(bad), Err(SharedError::Name { .. })), "{bad:?}");
        }
    }
}
