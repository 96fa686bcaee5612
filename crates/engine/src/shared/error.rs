//! What cannot be done with a shared arena.

use crate::budget::BudgetError;
use crate::error::OpenError;
use crate::shared::{LARGEST_ARENA, MOST_MEMBERS, VERSION};
use core::error::Error;
use core::fmt::{self, Display, Formatter};
use rustix::io::Errno;

/// Why there is no shared arena, or why something cannot be done with one. Nothing has been
/// changed then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedError {
    /// No arena may have such a name.
    Name {
        /// The name, or its beginning.
        name: String,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// No arena may have such a size.
    Size {
        /// What was asked for, in bytes.
        bytes: u64,
    },
    /// The budget does not hold the transfers of a moment.
    SmallBudget {
        /// What was given, in bytes.
        given: u64,
        /// What works, in bytes.
        least: u64,
    },
    /// The budget that is to be shared cannot be.
    Budget(BudgetError),
    /// Others that share the budget leave too little of it.
    NoRoom {
        /// All of it, in bytes.
        budget: u64,
        /// What is left, in bytes.
        left: u64,
        /// What works, in bytes.
        least: u64,
    },
    /// This user has an arena of that name.
    Exists {
        /// The name.
        name: String,
    },
    /// This user has no arena of that name.
    NotFound {
        /// The name.
        name: String,
    },
    /// The name is taken by another user's process, or the arena is another user's.
    NotOurs {
        /// The name.
        name: String,
    },
    /// The arena's server is of another version of Outcore.
    Version {
        /// The server's.
        theirs: u64,
    },
    /// Who has the name does not answer as an arena's server does.
    Strange {
        /// The name.
        name: String,
    },
    /// The arena has [`MOST_MEMBERS`].
    TooManyMembers,
    /// The arena's server could not begin: what it said.
    Server(String),
    /// The arena's server was killed; what was not in memory is lost.
    Gone,
    /// A range past the arena's end, or not of whole pages.
    Range {
        /// Where it begins, in bytes.
        offset: u64,
        /// Its bytes.
        len: u64,
    },
    /// The kernel gives no userfaultfd that serves shared memory.
    Userfaultfd(Errno),
    /// The kernel refuses something else.
    Kernel(&'static str, Errno),
}

impl Display for SharedError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name, cause } => write!(
                f,
                "{name:?} cannot be an arena's name, because {cause}: give 1 to 64 bytes without slashes"
            ),
            Self::Size { bytes } => {
                write!(f, "an arena of {bytes} bytes cannot be shared: give 1 to {LARGEST_ARENA} bytes")
            }
            Self::SmallBudget { given, least } => {
                write!(f, "a budget of {given} bytes is too small: give at least {least} bytes")
            }
            Self::Budget(error) => write!(f, "{error}"),
            Self::NoRoom { budget, left, least } => {
                write!(f, "{}", OpenError::SharedBudget { budget: *budget, left: *left, least: *least })
            }
            Self::Exists { name } => {
                write!(f, "there is an arena named {name:?} already: attach to it, or choose another name")
            }
            Self::NotFound { name } => write!(f, "there is no arena named {name:?}: create it first"),
            Self::NotOurs { name } => {
                write!(f, "the arena named {name:?} is another user's: only its own user can attach to it")
            }
            Self::Version { theirs } => write!(
                f,
                "the arena has layout {theirs}, and this program knows layout {VERSION}: \
                 build both with the same version of Outcore"
            ),
            Self::Strange { name } => {
                write!(
                    f,
                    "whoever has the name {name:?} does not answer as an arena does: choose another name"
                )
            }
            Self::TooManyMembers => {
                write!(f, "the arena has {MOST_MEMBERS} members: detach one first")
            }
            Self::Server(text) => write!(f, "the arena's server: {text}"),
            Self::Gone => write!(f, "the arena's server was killed: what was not in memory is lost"),
            Self::Range { offset, len } => write!(
                f,
                "the {len} bytes at {offset} are not whole pages of the arena: give multiples of 4096 within it"
            ),
            Self::Userfaultfd(error) => write!(
                f,
                "no userfaultfd for shared memory is to be had ({error}); 'outcore doctor' says how to enable it"
            ),
            Self::Kernel(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl Error for SharedError {}
